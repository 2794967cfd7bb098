//! What goes wrong in a run, and how it is chosen.

use std::time::Duration;

use super::director::Halt;
use super::network::Weather;
use super::plan::Wish;
use super::random::Random;

/// One thing that happens to the world.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// A director's process ends without a word.
    Kill(usize),
    /// It ends in order.
    Stop(usize),
    /// It starts, if it does not run.
    Start(usize),
    /// A part of a director stands still.
    Halt(usize, Halt),
    /// It goes on.
    Wake(usize),
    /// The operator wants another to be Active.
    Resign(usize),
    /// Turns of the control thread come late by up to this.
    Slow(usize, Duration),
    /// The operator changes the configuration.
    Reload(usize, Wish),
    /// The tables for it are built.
    Adopt(usize),
    /// A director's card sends nothing, or hears nothing, or neither: one-way loss.
    Cut {
        director: usize,
        segment: usize,
        mute: bool,
        deaf: bool,
    },
    /// A director's port has link or not.
    Link(usize, usize, bool),
    /// The two switches of a segment are joined or not.
    Trunk(usize, bool),
    /// How bad a segment is.
    Weather(usize, Weather),
    /// Somebody sends a broken advert about an instance.
    Forge(usize),
}

/// No trouble lasts for more advert intervals: all that follows from it has followed by then.
const LONG: u32 = 6;

/// What trouble is chosen by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    pub(super) wishes: &'a [Wish],
    pub(super) segments: usize,
    pub(super) version: u8,
    /// The longest advert interval in use.
    pub(super) interval: Duration,
    /// How long the trouble may last.
    pub(super) span: Duration,
}

/// One kind of trouble, with what ends it: each with its time from now.
pub(super) fn choose(random: &mut Random, scope: &Scope<'_>) -> Vec<(Duration, Trouble)> {
    let director = random.below(scope.wishes.len());
    let segment = random.below(scope.segments);
    let at = random.between(Duration::ZERO, scope.span);
    let end = at + random.between(Duration::from_millis(1), scope.interval * LONG);
    let (begin, over) = match random.below(13) {
        0 => (Trouble::Kill(director), Trouble::Start(director)),
        1 => (Trouble::Stop(director), Trouble::Start(director)),
        2 | 3 => return halt(random, scope, (director, at)),
        4 => return vec![(at, Trouble::Resign(director))],
        5 => {
            let slow = |by| Trouble::Slow(director, Duration::from_millis(by));
            (slow(50), slow(0))
        }
        6 | 7 => return reload(random, scope, (director, at)),
        8 => {
            let (mute, deaf) = random.pick(&[(true, false), (false, true), (true, true)]);
            let cut = |mute, deaf| Trouble::Cut {
                director,
                segment,
                mute,
                deaf,
            };
            (cut(mute, deaf), cut(false, false))
        }
        9 => {
            let link = |up| Trouble::Link(director, segment, up);
            (link(false), link(true))
        }
        10 => (
            Trouble::Trunk(segment, false),
            Trouble::Trunk(segment, true),
        ),
        11 => {
            let mut share = |most: usize| u16::try_from(random.below(most)).unwrap_or(0);
            let rough = Weather {
                rough: true,
                loss: share(500),
                duplicate: share(300),
                late: share(300),
                late_by: scope.interval * 2,
            };
            let weather = |weather| Trouble::Weather(segment, weather);
            (weather(rough), weather(Weather::default()))
        }
        _ => {
            let forge = |n| (at + Duration::from_millis(n), Trouble::Forge(segment));
            return (1..=4).map(forge).collect();
        }
    };
    vec![(at, begin), (end, over)]
}

/// A part of a director stands still for 50 ms to 10 s.
fn halt(
    random: &mut Random,
    scope: &Scope<'_>,
    (director, at): (usize, Duration),
) -> Vec<(Duration, Trouble)> {
    let halts = [
        Halt::Machine,
        Halt::MachineAndClock,
        Halt::Control,
        Halt::Worker,
    ];
    let span = random.between(Duration::from_millis(50), Duration::from_secs(10));
    let end = at + span.min(scope.interval * LONG);
    let halt = random.pick(&halts);
    vec![
        (at, Trouble::Halt(director, halt)),
        (end, Trouble::Wake(director)),
    ]
}

/// One to eight changes of a director's configuration, each built and then run by.
fn reload(
    random: &mut Random,
    scope: &Scope<'_>,
    (director, first): (usize, Duration),
) -> Vec<(Duration, Trouble)> {
    let mut storm = Vec::new();
    let mut at = first;
    for _ in 0..=random.below(8) {
        let mut wish = scope.wishes[director];
        wish.extra = u8::try_from(random.below(6)).unwrap_or(0);
        if random.chance(400) {
            wish.priority = random.pick(&[1, 50, 100, 101, 150, 200, 254]);
        }
        if random.chance(200) {
            wish.preempt = !wish.preempt;
        }
        if scope.version == 3 && random.chance(100) {
            wish.interval = random.pick(&[scope.interval, scope.interval / 10 * 5]);
            wish.interval = wish.interval.max(Duration::from_millis(10));
            let odd = wish.interval.subsec_millis() % 10;
            wish.interval -= Duration::from_millis(odd.into());
        }
        storm.push((at, Trouble::Reload(director, wish)));
        let built = random.between(Duration::ZERO, Duration::from_millis(30));
        storm.push((at + built, Trouble::Adopt(director)));
        at += built + random.between(Duration::ZERO, scope.interval);
    }
    storm
}
