//! What holds for any frame: no panic, no frame lost, and no difference whether a buffer is in one
//! piece.

mod frames;

use frames::{Tcp, client, everything, seeds};
use proptest::prelude::*;
use weir_engine::Ingress;
use weir_engine::id::DeviceId;
use weir_engine::testing::TestFrame;
use weir_engine::testing::world::World;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// `World::burst` asserts conservation after every burst.
    #[test]
    fn damaged_frames_never_panic_and_are_conserved(
        picks in prop::collection::vec(
            (
                any::<prop::sample::Index>(),
                any::<prop::sample::Index>(),
                any::<u8>(),
                0..4u8,
                0..3u8,
            ),
            1..200,
        ),
        pool in prop::option::of(0usize..20),
    ) {
        let seeds = seeds();
        let mut world = World::with_flows(&everything(), 16);
        world.io.pool = pool;
        for (seed, at, value, how, device) in picks {
            let mut frame = seed.get(&seeds).clone();
            let at = at.index(frame.len());
            match how {
                0 => {}
                1 => frame[at] = value,
                2 => frame.truncate(at),
                _ => {
                    frame[at] ^= value;
                    if frame.len() >= 34 && frame[12..14] == [8, 0] {
                        frames::fix_ip(&mut frame);
                    }
                }
            }
            let frame = TestFrame::new(&frame).with_headroom(usize::from(value));
            world.send(u16::from(device), frame);
        }
    }

    #[test]
    fn noise_never_panics_and_is_conserved(
        noise in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..64),
    ) {
        let mut world = World::with_flows(&everything(), 16);
        let mut frames: Vec<TestFrame> = noise.iter().map(|bytes| TestFrame::new(bytes)).collect();
        world.burst(Ingress::Device(DeviceId(0)), &mut frames);
        world.burst(Ingress::HandedIn, &mut frames);
    }
}

#[test]
fn every_truncation_of_every_kind_of_frame_is_survived() {
    let mut world = World::with_flows(&everything(), 64);
    for frame in seeds() {
        for len in 0..=frame.len() {
            world.send(0, TestFrame::new(&frame[..len]));
        }
    }
}

#[test]
fn d13_where_a_frame_is_cut_into_segments_makes_no_difference() {
    for frame in seeds() {
        let whole = {
            let mut world = World::with_flows(&everything(), 16);
            open(&mut world);
            let sent = world.send(device_of(&frame), TestFrame::new(&frame));
            (sent.verdict, sent.out)
        };
        for at in 0..=128.min(frame.len()) {
            let mut world = World::with_flows(&everything(), 16);
            open(&mut world);
            let sent = world.send(device_of(&frame), TestFrame::new(&frame).split_at(at));
            assert_eq!(
                (sent.verdict, &sent.out),
                (whole.0, &whole.1),
                "cut at {at}"
            );
        }
    }
}

/// Starts the flows that some of the frames belong to.
fn open(world: &mut World) {
    for port in [80, 81, 82] {
        world.send(
            0,
            TestFrame::new(
                &Tcp {
                    port,
                    ..Tcp::syn(client(1))
                }
                .frame(),
            ),
        );
    }
}

fn device_of(frame: &[u8]) -> u16 {
    u16::from(frame.get(5) == Some(&1))
}
