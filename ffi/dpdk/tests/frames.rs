//! Frames, bursts and pools on a real EAL.

mod common;
#[cfg(feature = "hash")]
#[path = "frames/hash.rs"]
mod hash;

use common::{DATA_ROOM, POOL_COUNT, eal, pool};
use weir_dpdk::{
    BURST_MAX, Burst, ChecksumVerdict, Eal, EalConfig, EalError, HEADROOM, Hugepages, Mbuf,
    Mempool, MempoolConfig, MempoolError, spawn_pinned,
};

/// `len` octets that tell their positions.
fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| u8::try_from(i % 251).expect("below 251"))
        .collect()
}

/// All octets of a frame.
fn octets(frame: &Mbuf) -> Vec<u8> {
    let mut all = vec![0; frame.len()];
    assert_eq!(frame.copy_to(&mut all), all.len());
    all
}

/// A frame with `bytes`, cut into segments at the given offsets.
fn split(pool: Mempool, bytes: &[u8], cuts: &[usize]) -> Mbuf {
    let mut ends = cuts.to_vec();
    ends.push(bytes.len());
    let mut frame = pool.alloc().expect("the pool is not empty");
    assert!(frame.copy_from(&bytes[..ends[0]]));
    for pair in ends.windows(2) {
        let mut next = pool.alloc().expect("the pool is not empty");
        assert!(next.copy_from(&bytes[pair[0]..pair[1]]));
        frame.chain(next).expect("the chain is short");
    }
    frame
}

#[test]
fn a_second_start_is_refused() {
    let _eal = eal();
    let config = EalConfig {
        file_prefix: "second".into(),
        control_cpu: 0,
        hugepages: Hugepages::Off,
        memory: 0,
        pci: Vec::new(),
    };
    assert!(matches!(Eal::init(&config), Err(EalError::AlreadyRunning)));
}

#[test]
fn a_fresh_frame_is_empty_with_headroom_and_the_whole_data_room() {
    let pool = pool(&eal(), "fresh");
    let mut frame = pool.alloc().expect("the pool is full");
    assert_eq!(
        (frame.len(), frame.segment_count(), frame.headroom()),
        (0, 1, HEADROOM)
    );
    assert_eq!(frame.tailroom(), usize::from(DATA_ROOM));
    assert_eq!(frame.rss_hash(), None);
    assert_eq!(frame.ip_checksum(), ChecksumVerdict::Unknown);
    assert_eq!(frame.l4_checksum(), ChecksumVerdict::Unknown);
    frame.set_port(9);
    frame.set_note(u64::MAX - 7);
    assert_eq!(
        (frame.port(), frame.note(), frame.rss_hash()),
        (9, u64::MAX - 7, None)
    );
}

#[test]
fn prepend_and_trim_are_inverse_at_every_length_of_the_headroom() {
    let pool = pool(&eal(), "prepend");
    let bytes = pattern(60);
    for len in 0..=HEADROOM {
        let mut frame = pool.alloc_from(&bytes).expect("the pool is not empty");
        frame.prepend(len).expect("there is room").fill(0xa5);
        assert_eq!((frame.len(), frame.headroom()), (60 + len, HEADROOM - len));
        assert_eq!(octets(&frame), [vec![0xa5; len], bytes.clone()].concat());
        assert!(
            frame.prepend(HEADROOM - len + 1).is_none(),
            "no more than the headroom"
        );
        assert_eq!(frame.len(), 60 + len, "a refusal changes nothing");
        assert!(frame.trim_front(len));
        assert_eq!(
            (octets(&frame), frame.headroom()),
            (bytes.clone(), HEADROOM)
        );
        assert!(!frame.trim_front(61) && frame.len() == 60);
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn d13_pull_makes_every_prefix_contiguous_at_every_split() {
    let pool = pool(&eal(), "pull");
    let bytes = pattern(128);
    for cut in 0..=128 {
        for len in 0..=128 {
            let mut frame = split(pool, &bytes, &[cut]);
            assert!(frame.pull(len), "cut {cut}, length {len}");
            assert!(frame.data().len() >= len);
            assert_eq!(frame.data()[..len], bytes[..len]);
            assert_eq!((octets(&frame), frame.len()), (bytes.clone(), 128));
            assert_eq!(frame.slices().count(), frame.segment_count());
        }
        let mut frame = split(pool, &bytes, &[cut]);
        assert!(
            !frame.pull(129) && octets(&frame) == bytes,
            "longer than the frame"
        );
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn d13_three_segments_pull_linearize_and_truncate_at_every_pair_of_splits() {
    let pool = pool(&eal(), "three");
    let bytes = pattern(64);
    for first in 0..=64 {
        for second in first..=64 {
            let mut frame = split(pool, &bytes, &[first, second]);
            let len = (first * 7 + second * 3) % 65;
            assert!(frame.pull(len) && octets(&frame) == bytes);
            let mut frame = split(pool, &bytes, &[first, second]);
            frame.truncate(len);
            assert_eq!(octets(&frame), bytes[..len], "{first} {second} {len}");
            assert_eq!(frame.slices().count(), frame.segment_count());
            assert!(frame.linearize());
            assert_eq!((frame.segment_count(), frame.data()), (1, &bytes[..len]));
        }
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn pull_without_tailroom_is_refused_and_changes_nothing() {
    let pool = pool(&eal(), "full");
    let room = usize::from(DATA_ROOM);
    let bytes = pattern(room + 100);
    let mut frame = pool.alloc_from(&bytes).expect("the pool is not empty");
    assert_eq!((frame.segment_count(), frame.tailroom()), (2, 0));
    assert!(!frame.pull(room + 1) && !frame.linearize());
    assert_eq!(octets(&frame), bytes);
    assert!(frame.pull(room));
    frame.truncate(room);
    assert_eq!(
        (frame.segment_count(), octets(&frame)),
        (1, bytes[..room].to_vec())
    );
}

#[test]
fn copy_out_reads_across_segments_and_never_past_the_end() {
    let pool = pool(&eal(), "copyout");
    let bytes = pattern(40);
    let frame = split(pool, &bytes, &[10, 10, 25]);
    for offset in 0..=42 {
        for len in 0..=42 {
            let mut out = vec![0; len];
            let fits = offset + len <= 40;
            assert_eq!(frame.copy_out(offset, &mut out), fits, "{offset} + {len}");
            assert!(!fits || out == bytes[offset..offset + len]);
        }
    }
}

#[test]
fn append_grows_the_last_segment_only_as_far_as_it_has_room() {
    let pool = pool(&eal(), "append");
    let mut frame = split(pool, &pattern(30), &[10]);
    frame.append(5).expect("there is room").fill(0xa5);
    assert_eq!(octets(&frame), [pattern(30), vec![0xa5; 5]].concat());
    assert!(frame.append(usize::from(DATA_ROOM) - 24).is_none() && frame.len() == 35);
}

#[test]
fn a_burst_keeps_order_and_frees_what_is_left_in_it() {
    let pool = pool(&eal(), "burst");
    let mut burst = Burst::new();
    assert!(pool.alloc_bulk(&mut burst, BURST_MAX) && burst.room() == 0);
    assert!(!pool.alloc_bulk(&mut burst, 1), "the burst is full");
    assert_eq!(pool.in_use(), BURST_MAX);
    for (i, frame) in burst.iter_mut().enumerate() {
        frame.set_note(i as u64);
    }
    let extra = pool.alloc().expect("the pool is not empty");
    let extra = burst.push(extra).expect_err("the burst is full");
    assert_eq!(burst.pop().map(|frame| frame.note()), Some(63));
    assert_eq!(burst.swap_remove(0).map(|frame| frame.note()), Some(0));
    assert!(burst.swap_remove(62).is_none());
    burst.push(extra).expect("there is room again");
    assert_eq!((burst.len(), burst[0].note(), pool.in_use()), (63, 62, 63));
    let firsts: Vec<u64> = burst.drain().take(3).map(|frame| frame.note()).collect();
    assert_eq!((firsts, burst.len(), pool.in_use()), (vec![62, 1, 2], 0, 0));
    assert!(pool.alloc_bulk(&mut burst, 5));
    burst.clear();
    assert_eq!(pool.in_use(), 0);
    assert!(pool.alloc_bulk(&mut burst, 5));
    drop(burst);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn d67_an_exhausted_pool_gives_none_and_recovers() {
    let pool = pool(&eal(), "exhausted");
    let frames: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(
        (frames.len(), pool.in_use()),
        (POOL_COUNT as usize, POOL_COUNT as usize)
    );
    let mut burst = Burst::new();
    assert!(!pool.alloc_bulk(&mut burst, 1) && burst.is_empty());
    assert!(pool.alloc_from(&[0; 60]).is_none());
    drop(frames);
    assert_eq!(pool.in_use(), 0);
    assert!(pool.alloc().is_some());
}

#[test]
fn a_frame_too_long_for_the_rest_of_the_pool_loses_nothing() {
    let pool = pool(&eal(), "partial");
    let mut frames: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    frames.truncate(frames.len() - 2);
    assert!(pool.alloc_from(&[0; 3 * 2048]).is_none());
    assert_eq!(pool.in_use(), frames.len());
}

#[test]
fn pools_that_cannot_be_say_why() {
    let eal = eal();
    let config = MempoolConfig {
        name: "same",
        count: 15,
        data_room: 256,
        cache: 0,
        node: None,
    };
    Mempool::new(&eal, &config).expect("small");
    assert!(matches!(
        Mempool::new(&eal, &config),
        Err(MempoolError::Refused { .. })
    ));
    let big = MempoolConfig {
        name: "big",
        count: 10_000_000,
        ..config.clone()
    };
    let error = Mempool::new(&eal, &big).expect_err("gigabytes");
    assert!(matches!(error, MempoolError::Memory { .. }), "{error}");
    assert!(error.to_string().contains("vm.nr_hugepages"), "{error}");
    let room = MempoolConfig {
        name: "room",
        data_room: u16::MAX,
        ..config
    };
    assert!(matches!(
        Mempool::new(&eal, &room),
        Err(MempoolError::Refused { .. })
    ));
}

#[test]
fn frames_travel_between_registered_and_other_threads_and_all_come_back() {
    let pool = pool(&eal(), "threads");
    let (give, take) = std::sync::mpsc::sync_channel::<Mbuf>(64);
    let worker = spawn_pinned(0, "giver", move || {
        for note in 0..5000 {
            let mut frame = loop {
                match pool.alloc() {
                    Some(frame) => break frame,
                    None => std::thread::yield_now(),
                }
            };
            frame.set_note(note);
            give.send(frame).expect("the taker lives");
        }
    })
    .expect("CPU 0 exists");
    for (expected, frame) in take.iter().enumerate() {
        assert_eq!(frame.note(), expected as u64);
    }
    worker.join().expect("no panic");
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_worker_on_an_impossible_cpu_is_an_error_of_the_spawner() {
    let _eal = eal();
    let error = spawn_pinned(999, "nowhere", || ()).expect_err("no such CPU");
    assert!(
        error.to_string().contains("CPU 999 cannot be used"),
        "{error}"
    );
}
