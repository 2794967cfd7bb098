//! Replays what the fuzzers once found, and their seeds, so that neither needs a fuzzer to fail.
//!
//! `data/regress/TARGET-what-it-was.bin` is one input each; the table below says what it broke.

use std::fs;
use std::path::{Path, PathBuf};

use weir_tests::fuzz;

/// Each found input and the promise that it broke.
const FOUND: &[(&str, &str)] = &[
    (
        "pipeline-answer-to-a-group.bin",
        "a frame whose source MAC is a group's was answered to that group",
    ),
    (
        "vrrp-ip-version.bin",
        "an advert under an IPv4 EtherType whose packet says it is of another version was taken",
    ),
];

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 4] = [
    ("parse", fuzz::parse),
    ("pipeline", fuzz::pipeline),
    ("config", fuzz::config),
    ("vrrp", fuzz::vrrp),
];

fn files(directory: &str) -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let list = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut files: Vec<PathBuf> = list.map(|entry| entry.expect("listed").path()).collect();
    files.sort();
    files
}

fn replay(run: fn(&[u8]), path: &Path) {
    println!("{}", path.display()); // shown when it fails
    run(&fs::read(path).expect("a listed file"));
}

#[test]
fn f7_every_seed_keeps_the_promises() {
    for (target, run) in TARGETS {
        let seeds = files(&format!("fuzz/seeds/{target}"));
        assert!(!seeds.is_empty(), "{target} has seeds");
        seeds.iter().for_each(|path| replay(run, path));
    }
}

#[test]
fn what_fuzzing_found_stays_mended() {
    let name = |path: &PathBuf| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let is_input = |name: &String| {
        Path::new(name)
            .extension()
            .is_some_and(|kind| kind == "bin")
    };
    let stored = files("data/regress");
    let stored: Vec<String> = stored.iter().filter_map(name).filter(is_input).collect();
    let mut listed: Vec<&str> = FOUND.iter().map(|(file, _)| *file).collect();
    listed.sort_unstable();
    assert_eq!(
        stored, listed,
        "each stored input is described, and each described one stored"
    );
    for (file, broke) in FOUND {
        let target = TARGETS
            .iter()
            .find(|(target, _)| file.starts_with(&format!("{target}-")));
        let Some((_, run)) = target else {
            panic!("{file} ({broke}) names no target")
        };
        replay(
            *run,
            &Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("data/regress")
                .join(file),
        );
    }
}
