//! Files that nobody means well with: no panic, bounded time, a clear word.

use std::io::Write;

use proptest::prelude::*;

use super::*;

const SAMPLE: &str = include_str!("../../../../../deploy/examples/weir.yaml");

#[track_caller]
fn one_line(bytes: &[u8], expected: &str) {
    let shown = parse_bytes("t.yaml", bytes)
        .expect_err("accepted")
        .to_string();
    assert!(shown.contains(expected), "{expected:?} is not in:\n{shown}");
}

#[test]
fn nul_non_utf8_and_long_files_are_named() {
    one_line(b"ports:\n  - a\0b\n", "t.yaml:2:6: error: a NUL character");
    one_line(
        b"ports:\n - \xff\n",
        "t.yaml:2:4: error: this is no UTF-8 text",
    );
    one_line(&vec![b'#'; FILE_LEN_MAX + 1], "longer than 1048576 octets");
    let mut exact = BASE.as_bytes().to_vec();
    exact.resize(FILE_LEN_MAX, b'\n');
    parse_bytes("t.yaml", &exact).expect("exactly as long as allowed");
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let missing = load(Path::new("/nonexistent/weir.yaml"))
        .expect_err("missing")
        .to_string();
    assert!(
        missing.contains("/nonexistent/weir.yaml: error: cannot be read"),
        "{missing}"
    );
    let directory = load(Path::new("/")).expect_err("a directory").to_string();
    assert!(directory.contains("cannot be read"), "{directory}");
    let endless = load(Path::new("/dev/zero"))
        .expect_err("endless")
        .to_string();
    assert!(endless.contains("longer than"), "{endless}");
}

#[test]
fn a_file_is_loaded_from_disk() {
    let path = std::env::temp_dir().join(format!("weir-config-{}.yaml", std::process::id()));
    let mut file = File::create(&path).expect("a temporary file");
    file.write_all(BASE.as_bytes()).expect("written");
    let loaded = load(&path);
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(loaded.expect("accepted").config, accept(BASE));
}

#[test]
fn syntax_errors_have_a_place_and_a_hint() {
    one_line(b"ports:\n\t- name: a\n", "spaces");
    one_line(b"ports: [{name: a\n", "brackets");
    one_line(b"ports: \"abc\n", "quote");
    one_line(b"ports: a: b\n", "t.yaml:1:");
    one_line(b"ports: *nothing\n", "t.yaml:1:8");
}

#[test]
fn many_mistakes_are_capped_and_counted() {
    let mut text = String::from(BASE);
    for i in 0..5000 {
        text.push_str(&format!("unknown{i}: 1\n"));
    }
    let errors = parse("t.yaml", &text).expect_err("5000 mistakes");
    assert_eq!(
        (errors.items.len(), errors.errors, errors.hidden),
        (SHOWN_MAX, 5000, 4950)
    );
    assert!(errors.to_string().contains("... and 4950 more"));
}

#[test]
fn large_hostile_files_take_bounded_time() {
    let fill = |part: &str| part.repeat(FILE_LEN_MAX / part.len());
    let list = |part: &str| format!("ports: [{}]\n", part.repeat(900_000 / part.len()));
    let lines = |part: &str| {
        (0..60_000)
            .map(|i| format!("k{i}{part}\n"))
            .collect::<String>()
    };
    let hostile = [
        fill("a"),
        fill("- "),
        fill("["),
        fill("{"),
        fill("\"\\u0041"),
        fill("? "),
        fill(": "),
        fill("&a "),
        fill("*a "),
        fill("\n"),
        fill("#\n"),
        fill("'"),
        fill("%YAML\n"),
        list("{},"),
        list("x,"),
        list("[],"),
        lines(": 1"),
        lines(": [1, 2]"),
        format!("ports: {}\n", "a".repeat(1_000_000)),
        format!("{}: 1\n", "a".repeat(1_000_000)),
        format!(
            "a: &a x\nb: [{}]\n",
            fill("*a,").get(..900_000).expect("ascii")
        ),
    ];
    for text in hostile {
        let text = text.get(..FILE_LEN_MAX).unwrap_or(&text);
        #[expect(clippy::disallowed_methods, reason = "this test is about time")]
        let start = std::time::Instant::now();
        let refused = parse("t.yaml", text).expect_err("hostile");
        let took = start.elapsed();
        let shown: String = text.chars().take(20).collect();
        assert!(took < Duration::from_secs(10), "{took:?} for {shown:?}");
        assert!(
            refused.to_string().len() < 64 << 10,
            "a flood of text for {shown:?}"
        );
    }
}

/// A mutation: what happens, where (scaled to the text), with what.
fn mutations() -> impl Strategy<Value = Vec<(u8, usize, usize, String)>> {
    let piece = prop_oneof![
        Just("\n".to_owned()),
        Just("  ".to_owned()),
        Just("- ".to_owned()),
        Just(": ".to_owned()),
        Just("{".to_owned()),
        Just("]".to_owned()),
        Just("\"".to_owned()),
        Just("&a ".to_owned()),
        Just("*a".to_owned()),
        Just("<<: ".to_owned()),
        Just("0".to_owned()),
        Just("\t".to_owned()),
        Just("99999999999999999999".to_owned()),
        Just("::".to_owned()),
        Just("null".to_owned()),
        ".{0,6}",
    ];
    prop::collection::vec((0..4u8, any::<usize>(), 0..40usize, piece), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn mutated_samples_never_panic_and_every_place_is_in_the_file(mutations in mutations()) {
        let mut chars: Vec<char> = SAMPLE.chars().collect();
        for (what, at, len, piece) in mutations {
            let at = at % (chars.len() + 1);
            let end = (at + len).min(chars.len());
            match what {
                0 => { chars.splice(at..at, piece.chars()); }
                1 => { chars.drain(at..end); }
                2 => { chars.splice(at..end, piece.chars()); }
                _ => { let part = chars[at..end].to_vec(); chars.splice(at..at, part); }
            }
        }
        let text: String = chars.into_iter().collect();
        if let Err(errors) = parse("t.yaml", &text) {
            prop_assert!(errors.errors > 0);
            for item in &errors.items {
                prop_assert!(item.line <= text.lines().count() + 1, "{}", item);
                prop_assert!(!item.message.is_empty());
            }
        }
    }

    #[test]
    fn any_octets_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(parse_bytes("t.yaml", &bytes));
    }
}
