//! Token buckets under virtual time.

use core::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn at_ms(ms: u64) -> Time {
    Time::ZERO + Duration::from_millis(ms)
}

#[test]
fn a_full_bucket_gives_its_burst_and_then_its_rate() {
    let mut bucket = TokenBucket::new(100, 5);
    let burst = (0..50).filter(|_| bucket.take(at_ms(1000))).count();
    assert_eq!(burst, 5);
    assert!(!bucket.take(at_ms(1009)));
    assert!(bucket.take(at_ms(1010)));
    assert!(!bucket.take(at_ms(1010)));
    // Idle time fills it up to the burst and no further.
    let burst = (0..50).filter(|_| bucket.take(at_ms(60_000))).count();
    assert_eq!(burst, 5);
}

#[test]
fn rate_zero_is_unlimited() {
    let mut bucket = TokenBucket::new(0, 0);
    assert!((0..10_000).all(|_| bucket.take(Time::ZERO)));
    let mut clients = ClientBuckets::new(16, 0, 0, HashKey::new([1, 2, 3, 4]));
    assert!((0..10_000).all(|_| clients.take(Ipv4Addr::LOCALHOST, Time::ZERO)));
}

#[test]
fn a_burst_of_zero_counts_as_one_so_that_a_rate_is_never_void() {
    let mut bucket = TokenBucket::new(1, 0);
    assert!(bucket.take(at_ms(0)));
    assert!(!bucket.take(at_ms(999)));
    assert!(bucket.take(at_ms(1000)));
}

#[test]
fn a_new_rate_keeps_what_was_taken() {
    let mut bucket = TokenBucket::new(10, 10);
    assert!((0..10).all(|_| bucket.take(at_ms(0))));
    bucket.set(1000, 1);
    assert!(
        !bucket.take(at_ms(500)),
        "the debt of ten at 10/s lasts a second"
    );
    assert!(bucket.take(at_ms(1000)));
}

proptest! {
    #[test]
    fn no_window_ever_holds_more_than_burst_and_rate(
        rate in 1..5000_u32,
        burst in 1..100_u32,
        steps in proptest::collection::vec(0..20_000_000_u64, 1..500),
    ) {
        let (mut bucket, mut now, mut taken) = (TokenBucket::new(rate, burst), 0, 0_u64);
        for step in steps {
            now += step;
            taken += u64::from(bucket.take(Time::from_nanos(now)));
            let allowed = u64::from(burst) + now * u64::from(rate) / 1_000_000_000;
            prop_assert!(taken <= allowed, "{taken} of {allowed} after {now} ns");
        }
    }
}

#[test]
fn d39_one_client_s_answers_do_not_use_up_another_s() {
    let mut clients = ClientBuckets::new(ANSWER_CLIENTS, 100, 10, HashKey::new([1, 2, 3, 4]));
    let greedy = Ipv4Addr::new(192, 0, 2, 1);
    assert_eq!(
        (0..1000).filter(|_| clients.take(greedy, at_ms(1))).count(),
        10
    );
    for n in 0..100 {
        assert!(
            clients.take(Ipv4Addr::from_bits(0xc633_6400 + n), at_ms(1)),
            "client {n}"
        );
        assert!(clients.take(
            Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(n)),
            at_ms(1)
        ));
    }
    assert_eq!(
        (0..1000).filter(|_| clients.take(greedy, at_ms(2))).count(),
        0
    );
    assert_eq!(
        (0..1000)
            .filter(|_| clients.take(greedy, at_ms(11)))
            .count(),
        1
    );
}

#[test]
fn d39_more_clients_than_slots_share_and_never_exceed_their_rate_together() {
    let mut clients = ClientBuckets::new(16, 1, 1, HashKey::new([1, 2, 3, 4]));
    let flood = |n: u32| Ipv4Addr::from_bits(0x0a00_0000 + n);
    let answered = (0..10_000)
        .filter(|&n| clients.take(flood(n), at_ms(1)))
        .count();
    assert_eq!(answered, 16);
}
