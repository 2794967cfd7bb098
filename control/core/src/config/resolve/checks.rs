//! Health checks.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::diagnostic::Sink;
use super::super::tables::{BRAKE, DAMPENING, EXPECT, PASSIVE, PHASES, TLS};
use super::super::types::{
    BodyExpect, Brake, Dampening, HeaderExpect, HealthCheck, HttpProbe, Initial, Passive, Pattern,
    PhaseTimeouts, Probe, TlsProbe,
};
use super::super::units::sha256;
use super::super::value::{Fields, Value};
use super::command;

/// The checks of a file, and the names of those that are wrong, so that uses of them do not dangle.
pub(super) struct Checks {
    right: Vec<Arc<HealthCheck>>,
    names: Vec<String>,
}

impl Checks {
    pub(super) fn find(&self, name: &str) -> Option<Arc<HealthCheck>> {
        self.right.iter().find(|check| check.name == name).cloned()
    }

    /// Every name that the file declares.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.names.iter().map(String::as_str)
    }

    pub(super) fn into_checks(self) -> Vec<Arc<HealthCheck>> {
        self.right
    }
}

pub(super) fn read(root: &Fields, sink: &mut Sink<'_>) -> Checks {
    let mut checks = Checks {
        right: Vec::new(),
        names: Vec::new(),
    };
    if let Some(Value::Named(all)) = root.value("health_checks") {
        for (name, _, fields) in all {
            checks
                .right
                .extend(check(&name, &fields, sink).map(Arc::new));
            checks.names.push(name);
        }
    }
    checks
}

/// The keys that only some types of check use.
const USES: [(&str, &[&str]); 9] = [
    ("tcp", &["phase_timeouts", "path", "initial"]),
    (
        "http",
        &["url", "host", "expect", "phase_timeouts", "path", "initial"],
    ),
    (
        "https",
        &[
            "url",
            "host",
            "tls",
            "expect",
            "phase_timeouts",
            "path",
            "initial",
        ],
    ),
    ("udp", &["send", "expect", "path", "initial"]),
    ("dns", &["query", "query_type", "expect", "path", "initial"]),
    ("icmp", &["initial"]),
    ("smtp", &["phase_timeouts", "path", "initial"]),
    ("script", &["command", "initial"]),
    ("passive", &["passive"]),
];

/// The keys of `expect` that only some types use.
const EXPECTS: [(&str, &[&str]); 4] = [
    (
        "http",
        &["status", "contains", "matches", "sha256", "headers"],
    ),
    (
        "https",
        &["status", "contains", "matches", "sha256", "headers"],
    ),
    ("udp", &["contains", "matches", "sha256"]),
    ("dns", &["rcodes"]),
];

fn check(name: &str, fields: &Fields, sink: &mut Sink<'_>) -> Option<HealthCheck> {
    let kind: &'static str = fields.read("type")?;
    let expect = fields.section("expect", &EXPECT);
    unused(fields, kind, &USES, sink);
    if USES
        .iter()
        .any(|(k, keys)| *k == kind && keys.contains(&"expect"))
    {
        unused(&expect, kind, &EXPECTS, sink);
    }
    let body = body(&expect, sink);
    let probe = match kind {
        "http" | "https" => Probe::Http(HttpProbe {
            url: fields.get("url"),
            host: fields.read("host"),
            tls: (kind == "https").then(|| tls(fields, sink)),
            status: statuses(&expect),
            body,
            headers: headers(&expect),
        }),
        "udp" => Probe::Udp {
            send: fields.read::<String>("send").unwrap_or_default().into(),
            expect: body,
        },
        "dns" => dns(fields, &expect, sink)?,
        "icmp" => Probe::Icmp,
        "smtp" => Probe::Smtp,
        "script" => Probe::Script(script(fields, sink)?),
        "passive" => Probe::Passive(passive(&fields.section("passive", &PASSIVE))),
        _ => Probe::Tcp,
    };
    let timeouts = fields.section("phase_timeouts", &PHASES);
    let interval = fields.get("interval");
    Some(HealthCheck {
        name: name.to_owned(),
        probe,
        interval,
        interval_down: fields.read("interval_down").unwrap_or(interval),
        jitter: fields.get("jitter"),
        timeout: fields.get("timeout"),
        phase_timeouts: PhaseTimeouts {
            connect: timeouts.read("connect"),
            tls: timeouts.read("tls"),
            answer: timeouts.read("answer"),
        },
        rise: fields.get("rise"),
        fall: fields.get("fall"),
        // Clients' flows say nothing about a server that gets none.
        initial: match fields.get("initial") {
            "down" if kind != "passive" => Initial::Down,
            _ => Initial::Up,
        },
        dampening: dampening(&fields.section("dampening", &DAMPENING), sink),
        brake: brake(&fields.section("brake", &BRAKE)),
        port: fields.read("port"),
        path: fields.read("path"),
    })
}

/// Refuses keys that mean nothing for a type of check.
fn unused(fields: &Fields, kind: &str, uses: &[(&str, &[&str])], sink: &mut Sink<'_>) {
    for given in &fields.given {
        let key = given.key.name;
        let users = uses.iter().filter(|(_, keys)| keys.contains(&key));
        let users: Vec<&str> = users.map(|(kind, _)| *kind).collect();
        if !users.is_empty() && !users.contains(&kind) {
            let message = format!("{key}: a check of type {kind} does not use it");
            sink.error(fields.span_of(key), message)
                .help(format!("types that do: {}", users.join(", ")));
        }
    }
}

fn statuses(expect: &Fields) -> Vec<(u16, u16)> {
    let narrow = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
    let mut ranges = Vec::new();
    for item in expect.items("status") {
        if let Value::Span(first, last) = item.value {
            ranges.push((narrow(first), narrow(last)));
        }
    }
    ranges
}

fn headers(expect: &Fields) -> Vec<HeaderExpect> {
    let fields: Vec<String> = expect.read("headers").unwrap_or_default();
    let split = |text: &String| match text.split_once(':') {
        Some((name, value)) => HeaderExpect {
            name: name.trim().to_owned(),
            value: Some(value.trim().to_owned()),
        },
        None => HeaderExpect {
            name: text.trim().to_owned(),
            value: None,
        },
    };
    fields.iter().map(split).collect()
}

/// What the body must be: at most one of three.
fn body(expect: &Fields, sink: &mut Sink<'_>) -> Option<BodyExpect> {
    let given: Vec<&str> = ["contains", "matches", "sha256"]
        .into_iter()
        .filter(|key| expect.is_given(key))
        .collect();
    if let [first, second, ..] = given[..] {
        let message = format!("{second}: given besides `{first}`");
        sink.error(expect.span_of(second), message)
            .label("keep one of them")
            .help("`matches` can say both");
    }
    let text: String = expect.read(given.first()?)?;
    match given.first() {
        Some(&"contains") => Some(BodyExpect::Contains(text)),
        Some(&"matches") => Pattern::new(&text).ok().map(BodyExpect::Matches),
        _ => sha256(&text).ok().map(BodyExpect::Sha256),
    }
}

fn tls(fields: &Fields, sink: &mut Sink<'_>) -> TlsProbe {
    let fields = fields.section("tls", &TLS);
    let verify: bool = fields.get("verify");
    if fields.is_given("ca") && !verify {
        sink.error(fields.span_of("ca"), "ca: nothing is verified")
            .help("add `verify: true`");
    }
    TlsProbe {
        name: fields.read("name"),
        verify,
        ca: fields.read::<String>("ca").map(PathBuf::from),
    }
}

fn dns(fields: &Fields, expect: &Fields, sink: &mut Sink<'_>) -> Option<Probe> {
    let Some(query) = fields.read::<String>("query") else {
        if !fields.is_bad("query") && !fields.is_misspelt("query") {
            sink.error(fields.span, "a dns check without `query`")
                .help("add the name to ask for: `query: www.example.net`");
        }
        return None;
    };
    let mut name = Vec::new();
    for label in query.split('.').filter(|label| !label.is_empty()) {
        name.push(u8::try_from(label.len()).unwrap_or(0)); // At most 63, as the word says.
        name.extend_from_slice(label.as_bytes());
    }
    name.push(0);
    Some(Probe::Dns {
        name,
        kind: match fields.get("query_type") {
            "ns" => 2,
            "soa" => 6,
            "mx" => 15,
            "txt" => 16,
            "aaaa" => 28,
            _ => 1,
        },
        rcodes: expect.read("rcodes").unwrap_or_default(),
    })
}

fn script(fields: &Fields, sink: &mut Sink<'_>) -> Option<Vec<String>> {
    let argv = command(fields, "command", sink);
    if argv.is_empty() && !fields.is_bad("command") && !fields.is_misspelt("command") {
        sink.error(fields.span, "a script check without `command`")
            .help("add the program: `command: [/etc/weir/check-db]`");
    }
    (!argv.is_empty()).then_some(argv)
}

fn passive(fields: &Fields) -> Passive {
    Passive {
        share: fields.get("share"),
        flows: fields.get("flows"),
        hold: fields.get("hold"),
    }
}

fn dampening(fields: &Fields, sink: &mut Sink<'_>) -> Option<Dampening> {
    let falls: u16 = fields.get("falls");
    if falls == 1 {
        let message = "falls: 1 would keep every server down that goes down once";
        sink.error(fields.span_of("falls"), message)
            .label("0 (off) or at least 2");
    }
    (falls > 0).then(|| Dampening {
        falls,
        within: fields.get("within"),
        hold: fields.get("hold"),
    })
}

fn brake(fields: &Fields) -> Option<Brake> {
    let servers: u16 = fields.get("servers");
    (servers > 0).then(|| Brake {
        share: fields.get("share"),
        servers,
        hold: fields.get("hold"),
    })
}
