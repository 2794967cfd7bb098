//! Keeps the tree as `docs/ARCHITECTURE.md` and the style say: sizes, crate arrows, documented
//! drop reasons, module docs. Each rule names the place that breaks it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, process};

use weir_engine::verdict::{DropReason, PuntClass};

/// Lines of a file that a person still holds in the head.
const FILE_LINES_MAX: usize = 600;
/// Lines of a function that fit on a screen.
const FUNCTION_LINES_MAX: usize = 70;
/// Characters of a line.
const LINE_CHARS_MAX: usize = 100;

/// Which workspace crates a crate may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("dpdk-sys", &[]),
    ("weir-dpdk", &["dpdk-sys"]),
    ("weir-prefetch", &[]),
    ("weir-tap", &[]),
    ("weir-wire", &[]),
    ("weir-engine", &["weir-wire", "weir-prefetch"]),
    ("weir-worker", &["weir-dpdk", "weir-engine", "weir-wire"]),
    ("weir-control", &["weir-engine", "weir-wire", "weir-tap"]),
    (
        "weir",
        &[
            "weir-control",
            "weir-worker",
            "weir-dpdk",
            "weir-engine",
            "weir-wire",
            "weir-tap",
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the root")
        .to_owned()
}

/// Files that git tracks or would track.
fn files(suffix: &str) -> Vec<PathBuf> {
    let list = process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git is installed");
    assert!(list.status.success(), "the tests run in a git checkout");
    let names = String::from_utf8(list.stdout).expect("file names are UTF-8");
    let paths = names
        .lines()
        .filter(|name| name.ends_with(suffix))
        .map(|name| root().join(name));
    paths.filter(|path| path.is_file()).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn short(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

fn report(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn files_functions_and_lines_stay_small() {
    let mut found = Vec::new();
    for path in files(".rs") {
        let text = read(&path);
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > FILE_LINES_MAX {
            found.push(format!("{}: {} lines", short(&path), lines.len()));
        }
        for (index, line) in lines.iter().enumerate() {
            if line.chars().count() > LINE_CHARS_MAX {
                found.push(format!(
                    "{}:{}: longer than a line",
                    short(&path),
                    index + 1
                ));
            }
        }
        for (line, len) in long_functions(&lines) {
            found.push(format!(
                "{}:{line}: a function of {len} lines",
                short(&path)
            ));
        }
    }
    report("too long", &found);
}

/// First line and length of each function over the limit. Relies on rustfmt: a function that
/// begins at an indentation ends with the next `}` at the same one.
fn long_functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let mut long = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let is_function = [
            "fn ",
            "pub fn ",
            "pub(crate) fn ",
            "async fn ",
            "pub(super) fn ",
        ]
        .iter()
        .chain(
            [
                "const fn ",
                "pub const fn ",
                "pub async fn ",
                "pub(crate) async fn ",
            ]
            .iter(),
        )
        .any(|head| code.starts_with(head));
        if !is_function || code.ends_with([';', '}']) {
            continue;
        }
        let close = format!("{}}}", " ".repeat(indent));
        let rest = &lines[start..];
        let Some(len) = rest.iter().position(|line| *line == close) else {
            continue;
        };
        if len + 1 > FUNCTION_LINES_MAX {
            long.push((start + 1, len + 1));
        }
    }
    long
}

#[test]
fn every_file_says_what_it_is_for_and_nothing_is_left_unfinished() {
    let mut found = Vec::new();
    let marks = [
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
        concat!("X", "XX"),
        "todo!(",
        "unimplemented!(",
    ];
    for path in files(".rs") {
        let text = read(&path);
        if !text.starts_with("//!") && !text.starts_with("#!") {
            found.push(format!("{}: no module doc", short(&path)));
        }
        for mark in marks {
            if text.contains(mark) && !path.ends_with("tidy.rs") {
                found.push(format!("{}: {mark}", short(&path)));
            }
        }
    }
    report("unfinished", &found);
}

#[test]
fn unsafe_stays_in_ffi() {
    let mut found = Vec::new();
    for path in files("src/lib.rs").into_iter().chain(files("src/main.rs")) {
        let name = short(&path);
        let outside = !name.starts_with("ffi/") && !name.starts_with("tests/fuzz/");
        if outside && !read(&path).contains("#![forbid(unsafe_code)]") {
            found.push(format!("{name}: does not forbid unsafe code"));
        }
    }
    report("unsafe", &found);
}

#[test]
fn crates_depend_on_each_other_only_along_the_arrows() {
    let mut found = Vec::new();
    let mut seen = BTreeMap::new();
    for path in files("Cargo.toml") {
        let text = read(&path);
        let Some(name) = text.lines().find_map(|line| line.strip_prefix("name = ")) else {
            continue;
        };
        let name = name.trim_matches('"').to_owned();
        let Some((_, allowed)) = ARROWS.iter().find(|(crate_name, _)| *crate_name == name) else {
            continue;
        };
        for dependency in runtime_dependencies(&text) {
            let ours = ARROWS
                .iter()
                .any(|(crate_name, _)| *crate_name == dependency);
            if ours && !allowed.contains(&dependency.as_str()) {
                found.push(format!("{name} → {dependency}"));
            }
        }
        seen.insert(name, path);
    }
    assert_eq!(
        seen.len(),
        ARROWS.len(),
        "every crate of the architecture exists: {seen:?}"
    );
    report("arrows that ARCHITECTURE does not have", &found);
}

/// Names under `[dependencies]` (not dev- or build-dependencies).
fn runtime_dependencies(toml: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in toml.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            if !name.is_empty() && !name.starts_with('#') {
                names.push(name.to_owned());
            }
        }
    }
    names
}

#[test]
fn every_drop_reason_and_punt_class_is_documented_and_used() {
    let counters = read(&root().join("docs/COUNTERS.md"));
    let sources: Vec<String> = files(".rs")
        .iter()
        .filter(|path| short(path).starts_with("dataplane/") && !path.ends_with("verdict.rs"))
        .map(|path| read(path))
        .collect();
    let mut found = Vec::new();
    let drops = DropReason::ALL
        .iter()
        .map(|r| (r.label(), format!("DropReason::{r:?}"), r.text()));
    let punts = PuntClass::ALL
        .iter()
        .map(|c| (c.label(), format!("PuntClass::{c:?}"), c.text()));
    for (label, variant, text) in drops.chain(punts) {
        if !counters.contains(&format!("| `{label}` | {text} |")) {
            found.push(format!(
                "`{label}` has no row `| `{label}` | {text} | …` in docs/COUNTERS.md"
            ));
        }
        if !sources.iter().any(|source| source.contains(&variant)) {
            found.push(format!("{variant} is never used"));
        }
    }
    report("reasons", &found);
}

#[test]
fn every_metric_of_the_code_is_documented() {
    let counters = read(&root().join("docs/COUNTERS.md"));
    let mut found = Vec::new();
    for path in files(".rs")
        .iter()
        .filter(|path| short(path).starts_with("control/weir/src/"))
    {
        for word in read(path)
            .split('"')
            .filter(|word| word.starts_with("weir_"))
        {
            let name = word.strip_suffix("_a_total").map_or(word, |_| "");
            let is_metric = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            let test_only = name == "weir_empty" || name == "weir_h" || name.is_empty();
            if is_metric && !test_only && !counters.contains(&format!("`{name}`")) {
                found.push(format!(
                    "{}: {name} is not in docs/COUNTERS.md",
                    short(path)
                ));
            }
        }
    }
    report("metrics", &found);
}

/// Highest number of each list of items in docs/COMPLIANCE.md.
const ITEMS: [(char, u32); 4] = [('D', 74), ('V', 60), ('A', 18), ('F', 26)];

/// Names of functions in Rust sources, and what macros make tests of: `name = "file",`.
fn functions() -> Vec<String> {
    let mut names = Vec::new();
    for path in files(".rs") {
        for line in read(&path).lines() {
            let line = line.trim_start();
            let name = match line.split_once("fn ") {
                Some((_, rest)) => rest.split(['(', '<']).next(),
                None => line
                    .ends_with("\",")
                    .then(|| line.split(" = ").next())
                    .flatten(),
            };
            names.extend(name.map(str::to_owned));
        }
    }
    names
}

#[test]
fn every_checklist_item_has_a_row_and_its_tests_exist() {
    let compliance = read(&root().join("docs/COMPLIANCE.md"));
    let functions = functions();
    let mut found = Vec::new();
    for (letter, count) in ITEMS {
        for item in (1..=count).map(|number| format!("{letter}{number}")) {
            let rows = compliance
                .lines()
                .filter(|line| line.starts_with(&format!("| {item} |")));
            let rows: Vec<Vec<&str>> = rows
                .map(|row| row.split('|').map(str::trim).collect())
                .collect();
            let [row] = &rows[..] else {
                found.push(format!("{item} has {} rows", rows.len()));
                continue;
            };
            let (status, tests) = (row[3], row[4].split('`').skip(1).step_by(2));
            if tests.clone().next().is_none() && status == "met" {
                found.push(format!("{item} is met, and no test says so"));
            }
            for test in tests {
                let exists = match test.strip_suffix('*') {
                    Some(head) => functions.iter().any(|name| name.starts_with(head)),
                    None if test.contains('/') => root().join(test).exists(),
                    None => functions.iter().any(|name| name == test),
                };
                if !exists {
                    found.push(format!("{item}: there is no test {test}"));
                }
            }
        }
    }
    report("docs/COMPLIANCE.md", &found);
}

#[test]
fn every_difference_from_ipvs_is_documented_and_every_documented_one_is_tested() {
    let compliance = read(&root().join("docs/COMPLIANCE.md"));
    let differences = read(&root().join("tests/oracle/differences.py"));
    let declared: Vec<&str> = differences
        .split("Difference(")
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
        .collect();
    assert!(!declared.is_empty(), "differences.py declares differences");
    let (_, section) = compliance
        .split_once("## Differences")
        .expect("the section");
    let rows: Vec<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let missing = declared.iter().filter(|name| !rows.contains(name));
    let stale = rows.iter().filter(|name| !declared.contains(name));
    let found: Vec<String> = missing
        .map(|name| format!("`{name}` is not in docs/COMPLIANCE.md"))
        .chain(stale.map(|name| format!("`{name}` is not in tests/oracle/differences.py")))
        .collect();
    report("differences", &found);
}
