//! The machine against the VRRP checklist: every state with every event, and the times.

use std::net::Ipv4Addr;

use super::*;

const I: Duration = Duration::from_secs(1);
const LOW: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const HIGH: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3));

fn at(ms: u64) -> Time {
    Time::ZERO + Duration::from_millis(ms)
}

fn settings(priority: u8) -> Settings {
    Settings {
        rules: Rules::V3,
        priority,
        interval: I,
        preempt: true,
        preempt_delay: Duration::ZERO,
        source: OURS,
        grouped: false,
    }
}

fn heard(source: IpAddr, priority: u8) -> Event {
    let interval = I;
    Event::Heard(Heard {
        source,
        priority,
        interval,
    })
}

fn step(machine: &mut Machine, ms: u64, event: Event) -> Vec<Action> {
    let mut out = Vec::new();
    machine.step(at(ms), event, &mut out);
    out
}

fn backup(settings: Settings) -> Machine {
    let mut machine = Machine::new(settings);
    step(&mut machine, 0, Event::Start);
    assert_eq!(machine.state().0, State::Backup);
    machine
}

/// Became Active at time 0.
fn active(settings: Settings) -> Machine {
    let mut machine = backup(settings);
    let mut out = Vec::new();
    machine.timer = Some(Time::ZERO);
    machine.step(Time::ZERO, Event::Expired, &mut out);
    assert_eq!(machine.state().0, State::Active);
    machine
}

fn changes(out: &[Action]) -> Vec<(State, State)> {
    let change = |action: &Action| match *action {
        Action::Change { from, to, .. } => Some((from, to)),
        Action::Advert(_) | Action::Announce => None,
    };
    out.iter().filter_map(change).collect()
}

#[test]
fn v27_the_owner_is_active_at_once_and_all_others_listen_first() {
    let mut owner = Machine::new(settings(255));
    let out = step(&mut owner, 0, Event::Start);
    assert_eq!(out[0], Action::Advert(255));
    assert_eq!(changes(&out), [(State::Init, State::Active)]);
    let mut other = Machine::new(settings(254));
    let out = step(&mut other, 0, Event::Start);
    assert_eq!(changes(&out), [(State::Init, State::Backup)]);
    assert_eq!(out.len(), 1, "and says nothing");
}

#[test]
fn v38_skew_and_down_interval_are_exact_for_every_priority_and_interval() {
    for priority in [1, 100, 200, 254] {
        for centiseconds in [1_u64, 10, 100, 4095] {
            let interval = Duration::from_millis(centiseconds * 10);
            let machine = backup(Settings {
                interval,
                ..settings(priority)
            });
            let nanos = |d: Duration| d.as_nanos();
            let skew = (256 - u128::from(priority)) * nanos(interval) / 256;
            assert!(skew > 0);
            assert_eq!(nanos(machine.skew()), skew);
            assert_eq!(machine.deadline(), Some(Time::ZERO + machine.down()));
            assert_eq!(nanos(machine.down()), 3 * nanos(interval) + skew);
        }
    }
    // Version 2 skews by parts of a second, whatever the interval.
    let machine = backup(Settings {
        rules: Rules::V2,
        interval: Duration::from_secs(10),
        ..settings(100)
    });
    assert_eq!(machine.skew(), Duration::from_nanos(609_375_000));
    assert_eq!(machine.down(), Duration::from_nanos(30_609_375_000));
}

#[test]
fn v32_a_backup_takes_over_exactly_at_the_deadline_and_adverts_first() {
    let mut machine = backup(settings(100));
    let due = Time::ZERO + Duration::from_nanos(3_609_375_000);
    assert_eq!(machine.deadline(), Some(due));
    let mut out = Vec::new();
    let early = Time::from_nanos(due.as_nanos() - 1);
    machine.step(early, Event::Expired, &mut out);
    assert!(out.is_empty());
    machine.step(due, Event::Expired, &mut out);
    assert_eq!(out[0], Action::Advert(100));
    assert_eq!(changes(&out), [(State::Backup, State::Active)]);
    assert_eq!(machine.deadline(), Some(due + I));
}

#[test]
fn v28_a_resigned_active_is_followed_after_the_skew_alone() {
    let mut machine = backup(settings(100));
    assert!(step(&mut machine, 500, heard(HIGH, 0)).is_empty());
    assert_eq!(machine.deadline(), Some(at(500) + machine.skew()));
}

#[test]
fn v29_an_equal_or_higher_active_is_learned_from_and_restarts_the_clock() {
    for priority in [100, 101, 255] {
        let mut machine = backup(settings(100));
        let event = Event::Heard(Heard {
            source: LOW, // V31: addresses are not compared in Backup.
            priority,
            interval: Duration::from_millis(200),
        });
        assert!(step(&mut machine, 700, event).is_empty());
        assert_eq!(machine.active_interval(), Duration::from_millis(200));
        let down = Duration::from_nanos(600_000_000 + 200_000_000 * 156 / 256);
        assert_eq!(machine.deadline(), Some(at(700) + down));
    }
    // Version 2 knows no learning.
    let mut machine = backup(Settings {
        rules: Rules::V2,
        ..settings(100)
    });
    let interval = Duration::from_secs(9);
    let source = HIGH;
    let event = Event::Heard(Heard {
        source,
        priority: 100,
        interval,
    });
    step(&mut machine, 1, event);
    assert_eq!(machine.active_interval(), I);
}

#[test]
fn v30_a_lower_active_is_preempted_when_the_clock_runs_out() {
    let mut machine = backup(settings(100));
    let due = machine.deadline();
    for ms in [1000, 2000, 3000] {
        assert!(step(&mut machine, ms, heard(HIGH, 99)).is_empty());
        assert_eq!(machine.deadline(), due, "the clock runs on");
    }
    let mut polite = backup(Settings {
        preempt: false,
        ..settings(100)
    });
    step(&mut polite, 1000, heard(HIGH, 1));
    assert_eq!(polite.deadline(), Some(at(1000) + polite.down()));
}

#[test]
fn v37_the_owner_preempts_also_where_preempting_is_off_and_a_delay_is_kept() {
    let mut owner = Machine::new(Settings {
        preempt: false,
        ..settings(255)
    });
    step(&mut owner, 0, Event::Start);
    // Two owners: the greater address wins; the loser preempts as soon as that is possible.
    step(&mut owner, 10, heard(HIGH, 255));
    assert_eq!(owner.state().0, State::Backup);
    let due = owner.deadline();
    step(&mut owner, 500, heard(LOW, 200));
    assert_eq!(owner.deadline(), due);

    let mut late = backup(Settings {
        preempt_delay: Duration::from_secs(5),
        ..settings(100)
    });
    for ms in (1000..=5000).step_by(1000) {
        step(&mut late, ms, heard(HIGH, 50));
        assert_eq!(late.deadline(), Some(at(ms) + late.down()), "{ms}");
    }
    let due = late.deadline();
    step(&mut late, 6000, heard(HIGH, 50));
    assert_eq!(late.deadline(), due, "five seconds after the first");
}

#[test]
fn v33_an_active_answers_a_resignation_at_once() {
    let mut machine = active(settings(100));
    let out = step(&mut machine, 300, heard(HIGH, 0));
    assert_eq!(out, [Action::Advert(100)]);
    assert_eq!(machine.deadline(), Some(at(300) + I));
    // It was Active as well: caches may follow it, if this one's announcements are long ago.
    let out = step(&mut machine, 1300, heard(HIGH, 0));
    assert_eq!(out, [Action::Advert(100), Action::Announce]);
}

#[test]
fn v34_a_higher_priority_or_an_equal_one_from_a_greater_address_wins() {
    for (source, priority, loses) in [
        (LOW, 101, true),
        (HIGH, 100, true),
        (LOW, 100, false),
        (HIGH, 99, false),
    ] {
        let mut machine = active(settings(100));
        let event = Event::Heard(Heard {
            source,
            priority,
            interval: Duration::from_millis(500),
        });
        let out = step(&mut machine, 400, event);
        let state = if loses { State::Backup } else { State::Active };
        assert_eq!(machine.state().0, state, "{source} {priority}");
        if loses {
            let word = out.first() == Some(&Action::Advert(100)) && out.len() == 2;
            assert!(word, "one last word, so that the winner knows of the split");
            assert_eq!(machine.active_interval(), Duration::from_millis(500));
            assert_eq!(machine.deadline(), Some(at(400) + machine.down()));
        }
    }
    // Unsigned, in network order.
    let ours = IpAddr::V4(Ipv4Addr::new(127, 255, 255, 255));
    let theirs = IpAddr::V4(Ipv4Addr::new(128, 0, 0, 0));
    assert!(is_greater(theirs, ours) && !is_greater(ours, theirs));
}

#[test]
fn v35_an_inferior_active_is_answered_in_version_3_and_the_vips_are_announced_again() {
    for (rules, answer) in [(Rules::V3, true), (Rules::V2, false)] {
        let mut machine = active(Settings {
            rules,
            ..settings(100)
        });
        let out = step(&mut machine, 1500, heard(HIGH, 50));
        assert_eq!(out.contains(&Action::Advert(100)), answer);
        assert!(out.contains(&Action::Announce));
        // A flood of them makes no flood of ours.
        let flood: usize = (0..1000)
            .map(|_| step(&mut machine, 1501, heard(HIGH, 50)).len())
            .sum();
        assert_eq!(flood, 0);
        // But what they call for is made up for, once: they may have been another split (V60).
        let announced: Vec<u64> = (1600..9000)
            .filter(|ms| step(&mut machine, *ms, Event::Expired).contains(&Action::Announce))
            .collect();
        assert_eq!(announced.len(), 1, "{announced:?}");
        assert!((2500..=3500).contains(&announced[0]), "{announced:?}");
    }
}

#[test]
fn v36_an_active_that_ends_faults_or_resigns_says_so() {
    for (event, state) in [
        (Event::Stop, State::Init),
        (Event::Fault, State::Fault),
        (Event::Resign, State::Backup),
        (Event::Demote, State::Backup),
    ] {
        let mut machine = active(settings(100));
        let out = step(&mut machine, 100, event);
        assert_eq!(changes(&out), [(State::Active, state)]);
        assert_eq!(out.last(), Some(&Action::Advert(0)));
        assert_eq!(machine.lease(), None);
    }
}

#[test]
fn after_a_resignation_any_active_is_accepted_until_it_falls_silent() {
    let mut machine = active(settings(200));
    step(&mut machine, 0, Event::Resign);
    for ms in (500..20_000).step_by(500) {
        step(&mut machine, ms, heard(LOW, 1));
        assert!(step(&mut machine, ms, Event::Expired).is_empty());
    }
    let due = machine.deadline().unwrap();
    let mut out = Vec::new();
    machine.step(due, Event::Expired, &mut out);
    assert_eq!(machine.state().0, State::Active);
    // And from now on its priority counts again.
    step(&mut machine, 60_000, Event::Demote);
    let due = machine.deadline();
    step(&mut machine, 60_500, heard(LOW, 1));
    assert_eq!(machine.deadline(), due);
}

#[test]
fn v40_an_active_that_was_woken_late_steps_back_and_listens() {
    let mut machine = active(settings(200));
    assert_eq!(
        step(&mut machine, 2999, Event::Expired),
        [Action::Advert(200)]
    );
    let out = step(&mut machine, 2999 + 3000, Event::Expired);
    assert_eq!(changes(&out), [(State::Active, State::Backup)]);
    assert!(!out.contains(&Action::Advert(200)) && !out.contains(&Action::Advert(0)));
    assert_eq!(machine.deadline(), Some(at(5999) + machine.down()));
    // So does a Backup that slept over its own deadline.
    let mut machine = backup(settings(100));
    assert!(step(&mut machine, 30_000, Event::Expired).is_empty());
    let listens = I + machine.skew();
    assert_eq!(machine.deadline(), Some(at(30_000) + listens));
}

#[test]
fn v45_the_lease_ends_before_any_other_can_have_taken_over() {
    let mut machine = active(settings(100));
    let quickest = 3 * I + I * 2 / 256; // priority 254
    let lease = machine.lease().unwrap();
    assert!(lease < Time::ZERO + quickest);
    assert!(lease > Time::ZERO + 2 * I, "two adverts may be late");
    step(&mut machine, 1000, Event::Expired);
    assert_eq!(machine.lease(), Some(lease + I));
    assert_eq!(backup(settings(1)).lease(), None);
}

#[test]
fn v42_a_grouped_instance_waits_for_its_group() {
    let mut machine = backup(Settings {
        grouped: true,
        ..settings(100)
    });
    assert!(step(&mut machine, 3700, Event::Promote).is_empty());
    assert!(step(&mut machine, 3700, Event::Expired).is_empty());
    assert!(machine.is_willing());
    // The Active is heard again before the group is ready.
    step(&mut machine, 3800, heard(HIGH, 150));
    assert!(!machine.is_willing());
    assert!(step(&mut machine, 3900, Event::Promote).is_empty());
    let due = machine.deadline().unwrap();
    let mut out = Vec::new();
    machine.step(due, Event::Expired, &mut out);
    machine.step(due, Event::Promote, &mut out);
    assert_eq!(out[0], Action::Advert(100));
    assert_eq!(machine.state().0, State::Active);
}

#[test]
fn v24_tracking_changes_the_priority_that_is_advertised_and_compared() {
    let mut machine = active(settings(200));
    step(&mut machine, 100, Event::Priority(90));
    assert_eq!(
        step(&mut machine, 1000, Event::Expired),
        [Action::Advert(90)]
    );
    step(&mut machine, 1100, heard(LOW, 100));
    assert_eq!(machine.state().0, State::Backup);
    assert_eq!(machine.skew(), I * 166 / 256);
}

/// The state after each of `every_state_and_event_has_its_successor`'s events, by state before.
fn successors() -> [(State, [State; 13]); 4] {
    use State::{Active, Backup, Fault, Init};
    [
        (
            Init,
            [
                Backup, Fault, Init, Init, Init, Init, Init, Init, Init, Init, Init, Init, Init,
            ],
        ),
        (
            Backup,
            [
                Backup, Fault, Init, Backup, Backup, Backup, Backup, Backup, Backup, Active,
                Backup, Backup, Backup,
            ],
        ),
        (
            Active,
            [
                Active, Fault, Init, Backup, Active, Active, Active, Backup, Backup, Active,
                Active, Active, Backup,
            ],
        ),
        (
            Fault,
            [
                Backup, Fault, Init, Fault, Fault, Fault, Fault, Fault, Fault, Fault, Fault, Fault,
                Fault,
            ],
        ),
    ]
}

/// Every state with every event: the state that follows.
#[test]
fn every_state_and_event_has_its_successor() {
    use State::{Active, Backup, Fault, Init};
    let events = [
        Event::Start,
        Event::Fault,
        Event::Stop,
        Event::Resign,
        heard(HIGH, 0),
        heard(HIGH, 50),
        heard(LOW, 100),
        heard(HIGH, 100),
        heard(LOW, 150),
        Event::Expired, // with the timer due
        Event::Priority(100),
        Event::Promote,
        Event::Demote,
    ];
    for (from, row) in successors() {
        for (event, to) in events.into_iter().zip(row) {
            let mut machine = match from {
                Init => Machine::new(settings(100)),
                Backup => backup(settings(100)),
                Active => active(settings(100)),
                Fault => {
                    let mut machine = backup(settings(100));
                    step(&mut machine, 0, Event::Fault);
                    machine
                }
            };
            let now = machine.deadline().filter(|_| event == Event::Expired);
            let mut out = Vec::new();
            machine.step(now.unwrap_or(at(20)), event, &mut out);
            assert_eq!(machine.state().0, to, "{from:?} {event:?}");
            let changed = from != to;
            let expected = if changed {
                vec![(from, to)]
            } else {
                Vec::new()
            };
            assert_eq!(changes(&out), expected, "{from:?} {event:?}");
            // Who runs always has a deadline; who does not, has none.
            let runs = matches!(machine.state().0, Active | Backup);
            assert_eq!(machine.deadline().is_some(), runs, "{from:?} {event:?}");
        }
    }
}
