//! The real `weir run` between two capture files, in a network namespace of its own.
//!
//! Each port is a `net_pcap` device: what is in the one file arrives, what leaves is in the other.
//! The namespace holds nothing but Weir's TAPs and goes away with the process. Weir receives as
//! soon as it forwards, and a replay ends when it has counted every frame, so that nothing here
//! waits for a time to pass.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

use serde_json::{Value, json};
use weir_tests::pcap;

/// `weir status` and `weir show` are asked so often at most; each call takes milliseconds.
const ASKED_MAX: usize = 20_000;

/// Brings the namespace up and becomes Weir: same process, so that its number stays.
const START: &str = "ip link set lo up && \
    sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.router_solicitations=0 && \
    exec \"$0\" \"$@\"";

static REPLAYS: AtomicU32 = AtomicU32::new(0);

/// What is replayed.
#[derive(Debug)]
pub(crate) struct Replay {
    /// `ports`, but for `device`.
    pub(crate) ports: Vec<Value>,
    /// `services`.
    pub(crate) services: Value,
    /// `runtime.flows_per_worker`.
    pub(crate) flows: u32,
    /// What arrives, by device.
    pub(crate) frames: Vec<Vec<Vec<u8>>>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What left by each device, without what Weir and its kernel say by themselves (ARP, neighbour
    /// discovery, MLD).
    pub(crate) out: Vec<Vec<Vec<u8>>>,
    /// `weir_drops_total` by reason, those above zero.
    pub(crate) drops: BTreeMap<String, u64>,
    /// `weir show flows --json`.
    pub(crate) flows: Vec<Value>,
    /// The problems of `weir status --json`.
    pub(crate) problems: Vec<Value>,
    /// `/metrics`.
    pub(crate) metrics: String,
}

/// The program under test, or `None` where this test cannot run, which is said.
pub(crate) fn binary() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = env::var_os("WEIR_BIN").map_or_else(|| root.join("target/lab/weir"), PathBuf::from);
    let is_root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|out| out.stdout == b"0\n");
    let why = if !path.is_file() {
        format!(
            "{}: not there; cargo build --profile lab -p weir, or set WEIR_BIN",
            path.display()
        )
    } else if !is_root {
        "root is needed for a network namespace".to_owned()
    } else {
        return Some(path);
    };
    assert!(
        env::var("CI").as_deref() != Ok("true"),
        "in CI nothing is skipped: {why}"
    );
    // Not by a macro: what those print is shown of failed tests only.
    let said = std::io::stderr().write_all(format!("SKIP: replay: {why}\n").as_bytes());
    said.expect("standard error is open");
    None
}

/// A directory that goes away with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let number = REPLAYS.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("weir-replay-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("the temporary directory is writable");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind in the temporary directory hurts nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running director. Dropped, it is killed; [`Director::stop`] ends it in order.
struct Director {
    program: PathBuf,
    process: Child,
    scratch: Scratch,
    devices: usize,
}

impl Drop for Director {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Replay {
    /// Runs it to its end. `None`: skipped, aloud.
    ///
    /// # Panics
    /// If Weir does not start, take every frame, account for each, and stop.
    pub(crate) fn run(&self) -> Option<Outcome> {
        let mut director = Director::start(binary()?, self);
        let expected = self.frames.iter().map(Vec::len).sum::<usize>();
        director.wait("forwarding", |director| director.weir(&["status"]).is_ok());
        director.wait("every frame counted", |director| {
            let worker = director.worker();
            let count = |value: &Value| value.as_u64().expect("a counter");
            count(&worker["packets"]["rx"]) >= expected as u64 && count(&worker["held"]) == 0
        });
        let worker = director.worker();
        conserved(&worker);
        let metrics = director.metrics();
        let flows = director.json(&["show", "flows", "--limit", "10000"]);
        let flows = flows["flows"].as_array().expect("flows").clone();
        let status = director.json(&["status"]);
        let problems = status["problems"].as_array().expect("problems").clone();
        let out = director.stop();
        Some(Outcome {
            out,
            drops: drops(&metrics),
            flows,
            problems,
            metrics,
        })
    }

    fn configuration(&self, directory: &Path) -> Value {
        let port = |(number, port): (usize, &Value)| {
            let mut port = port.clone();
            let at = port["on"]
                .take()
                .as_u64()
                .map_or(number, |on| usize::try_from(on).expect("few"));
            let file = |way: &str| {
                directory
                    .join(format!("{way}{at}.pcap"))
                    .display()
                    .to_string()
            };
            let (rx, tx) = (file("in"), file("out"));
            port["device"] = format!("net_pcap{at},rx_pcap={rx},tx_pcap={tx}").into();
            port.as_object_mut().expect("a mapping").remove("on");
            port
        };
        json!({
            "ports": self.ports.iter().enumerate().map(port).collect::<Vec<_>>(),
            "runtime": {
                "workers": [0], "control": 0, "idle": "adaptive", "hugepages": "off",
                "flows_per_worker": self.flows, "mbufs": 4096,
                "answers_per_second": 0, "answers_per_client": 0,
            },
            "services": self.services,
            "management": {"socket": directory.join("socket")},
        })
    }
}

impl Director {
    fn start(program: PathBuf, replay: &Replay) -> Self {
        let scratch = Scratch::new();
        let at = |name: &str| scratch.0.join(name);
        for (device, frames) in replay.frames.iter().enumerate() {
            pcap::write(&at(&format!("in{device}.pcap")), frames).expect("written");
        }
        let config = replay.configuration(&scratch.0).to_string();
        fs::write(at("weir.yaml"), config).expect("written");
        let log = fs::File::create(at("log")).expect("created");
        let process = Command::new("unshare")
            .args(["--net", "sh", "-c", START])
            .arg(&program)
            .args(["run", "-c"])
            .arg(at("weir.yaml"))
            .arg("--state")
            .arg(at("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("unshare (util-linux) is installed");
        Self {
            program,
            process,
            devices: replay.frames.len(),
            scratch,
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.scratch.0.join("log")).unwrap_or_default()
    }

    /// Asks until `is_so`; each question is a process of its own, so this is no busy loop.
    fn wait(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..ASKED_MAX {
            let ended = self.process.try_wait().expect("it is our child");
            assert!(
                ended.is_none(),
                "weir ended before {what}: {ended:?}\n{}",
                self.log()
            );
            if is_so(self) {
                return;
            }
        }
        let worker = self.weir(&["show", "workers", "--json"]);
        panic!(
            "{what}: not within {ASKED_MAX} questions\n{worker:?}\n{}",
            self.log()
        );
    }

    fn weir(&self, words: &[&str]) -> Result<String, String> {
        let socket = self.scratch.0.join("socket");
        let mut command = Command::new(&self.program);
        let done = command
            .arg("--socket")
            .arg(socket)
            .args(words)
            .output()
            .expect("it ran before");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        if done.status.success() {
            Ok(text(&done.stdout))
        } else {
            Err(text(&done.stderr))
        }
    }

    fn json(&self, words: &[&str]) -> Value {
        let words = [words, &["--json"]].concat();
        let said = self
            .weir(&words)
            .unwrap_or_else(|error| panic!("weir {words:?}: {error}"));
        serde_json::from_str(&said).expect("JSON")
    }

    /// The only worker.
    fn worker(&self) -> Value {
        self.json(&["show", "workers"])["workers"][0].clone()
    }

    fn metrics(&self) -> String {
        let mut stream = UnixStream::connect(self.scratch.0.join("socket")).expect("a socket");
        stream
            .write_all(b"GET /metrics HTTP/1.0\r\nHost: weir\r\n\r\n")
            .expect("it listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("HTTP");
        assert!(
            head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"),
            "{head}"
        );
        body.to_owned()
    }

    /// SIGTERM, and what left until then.
    fn stop(mut self) -> Vec<Vec<Vec<u8>>> {
        let number = self.process.id().to_string();
        let sent = Command::new("kill")
            .arg(number)
            .status()
            .expect("kill is installed");
        assert!(sent.success());
        let ended = self.process.wait().expect("it is our child");
        assert!(
            ended.success(),
            "weir stops with status 0, not {ended}\n{}",
            self.log()
        );
        let read = |device: usize| {
            let path = self.scratch.0.join(format!("out{device}.pcap"));
            let mut frames = pcap::read(&path).expect("a capture");
            frames.retain(|frame| !is_chatter(frame));
            frames
        };
        (0..self.devices).map(read).collect()
    }
}

/// Invariant 1 of docs/ARCHITECTURE.md.
fn conserved(worker: &Value) {
    let count = |name: &str| {
        worker[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name}: {worker}"))
    };
    let packets = |way: &str| worker["packets"][way].as_u64().expect("a counter");
    let came = packets("rx") + count("handed_in") + count("originated");
    let left = packets("tx") + count("handed_out");
    let stayed = count("punted") + count("dropped") + count("held");
    assert_eq!(came, left + stayed, "frames are conserved: {worker}");
}

fn drops(metrics: &str) -> BTreeMap<String, u64> {
    let lines = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("weir_drops_total{reason=\""));
    let counts = lines.map(|line| {
        let (reason, count) = line.split_once("\"} ").expect("a sample");
        (reason.to_owned(), count.parse().expect("a number"))
    });
    counts.filter(|(_, count)| *count > 0).collect()
}

/// What Weir and the kernel behind it say unasked: ARP, neighbour discovery, MLD.
fn is_chatter(frame: &[u8]) -> bool {
    let at = if frame.get(12..14) == Some(&[0x81, 0]) {
        18
    } else {
        14
    };
    let ether_type = frame.get(at - 2..at);
    if ether_type == Some(&[0x08, 0x06]) {
        return true;
    }
    // MLD comes behind a hop-by-hop header.
    let next = frame.get(at + 6).copied();
    let kind = frame.get(at + 40).copied().unwrap_or_default();
    let is_nd = next == Some(58) && matches!(kind, 130..=137 | 143);
    ether_type == Some(&[0x86, 0xdd]) && (is_nd || next == Some(0))
}
