//! Health checks.

use std::sync::Arc;

use super::super::diagnostic::Sink;
use super::super::tables::EXPECT;
use super::super::types::{HealthCheck, Probe};
use super::super::value::{Fields, Value};

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

fn check(name: &str, fields: &Fields, sink: &mut Sink<'_>) -> Option<HealthCheck> {
    let probe = match fields.read("type")? {
        "http" => Probe::Http {
            url: fields.get("url"),
            host: fields.read("host"),
            status: statuses(&fields.section("expect", &EXPECT)),
        },
        _ => {
            for key in ["url", "host", "expect"] {
                if fields.is_given(key) {
                    let message = format!("{key}: a tcp check does not use it");
                    sink.error(fields.span_of(key), message)
                        .help("write `type: http`");
                }
            }
            Probe::Tcp
        }
    };
    Some(HealthCheck {
        name: name.to_owned(),
        probe,
        interval: fields.get("interval"),
        timeout: fields.get("timeout"),
        rise: fields.get("rise"),
        fall: fields.get("fall"),
        port: fields.read("port"),
    })
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
