//! DPDK's hash table behind its safe wrapper, on a real EAL.

use crate::common::eal;
use weir_dpdk::hash::{Hash, LOOKUP_MAX};

fn key(number: u32) -> [u8; 16] {
    let mut key = [0xa5; 16];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key
}

#[test]
fn keys_are_found_with_their_values_and_others_are_not() {
    let mut table = Hash::<16>::new(&eal(), "found", 4096).expect("there is memory");
    for number in 0..3000 {
        table
            .insert(&key(number), number + 7)
            .expect("there is room");
    }
    for first in (0..6000).step_by(LOOKUP_MAX) {
        let numbers = first..first + u32::try_from(LOOKUP_MAX).expect("64");
        let keys: Vec<_> = numbers.clone().map(key).collect();
        let mut values = [0; LOOKUP_MAX];
        let hits = table.lookup(&keys, &mut values);
        for (place, number) in numbers.enumerate() {
            assert_eq!(hits >> place & 1 == 1, number < 3000, "key {number}");
            assert!(number >= 3000 || values[place] == number + 7);
        }
    }
}

#[test]
fn a_key_is_given_another_value_and_few_keys_are_looked_up_too() {
    let mut table = Hash::<16>::new(&eal(), "few", 64).expect("there is memory");
    table.insert(&key(1), 1).expect("there is room");
    table
        .insert(&key(1), u32::MAX)
        .expect("it is there already");
    let mut values = [0; 2];
    assert_eq!(table.lookup(&[key(2), key(1)], &mut values), 0b10);
    assert_eq!(values[1], u32::MAX);
    assert_eq!(table.lookup(&[], &mut values), 0);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let mut table = Hash::<16>::new(&eal(), "full", 16).expect("there is memory");
    let refused = (0..1000).find_map(|number| table.insert(&key(number), 0).err());
    let error = refused
        .expect("a table of 16 does not take 1000")
        .to_string();
    assert!(error.starts_with("rte_hash full: "), "{error}");
    assert!(Hash::<16>::new(&eal(), "huge", u32::MAX).is_err());
    assert!(Hash::<16>::new(&eal(), "a\0b", 16).is_err());
}
