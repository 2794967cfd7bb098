//! How a key is described: its type, bounds, default, meaning, and whether this release has it.
//!
//! The tables made of these types (`tables.rs`, `tables_services.rs`) are the one source of the
//! decoder, the JSON Schema and docs/CONFIG.md, so that the three cannot disagree.

use super::tree::{self, Node};
use super::units::Remedy;
use super::value::Value;
use super::{decode, diagnostic::Sink};

/// The keys of one mapping.
#[derive(Debug)]
pub(super) struct Section {
    /// What one such mapping is called in a message: `service`.
    pub noun: &'static str,
    /// Its keys in the order of the documentation.
    pub keys: &'static [Key],
}

impl Section {
    pub(super) fn key(&'static self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The keys that this release has, for messages.
    pub(super) fn keys_now(&self) -> String {
        let now = self.keys.iter().filter(|key| matches!(key.when, When::Now));
        now.map(|key| key.name).collect::<Vec<_>>().join(", ")
    }
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub need: Need,
    pub when: When,
    /// The meaning, in sentences for the operator.
    pub help: &'static str,
    /// A value, as it is written.
    pub example: &'static str,
}

impl Key {
    /// An optional key of this release without a default.
    pub(super) const fn new(
        name: &'static str,
        kind: Kind,
        example: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            need: Need::Optional,
            when: When::Now,
            help,
            example,
        }
    }

    /// The value where the file says nothing.
    pub(super) const fn default(mut self, text: &'static str) -> Self {
        self.need = Need::Default(text);
        self
    }

    /// Says in words what an absent key means where that is no constant.
    pub(super) const fn derived(mut self, words: &'static str) -> Self {
        self.need = Need::Derived(words);
        self
    }

    /// The mapping is worthless without the key.
    pub(super) const fn required(mut self) -> Self {
        self.need = Need::Required;
        self
    }

    /// This release knows the key and does nothing with it: only the default is accepted.
    pub(super) const fn later(mut self) -> Self {
        self.when = When::Later { sample: None };
        self
    }

    /// As [`Self::later`], but the documented sample's own value is a warning, not an error.
    pub(super) const fn later_sample(mut self, sample: &'static str) -> Self {
        self.when = When::Later {
            sample: Some(sample),
        };
        self
    }

    /// The default as a value, if it is a constant.
    pub(super) fn default_value(&'static self) -> Option<Value> {
        match self.need {
            Need::Default(text) => self.read_constant(text),
            Need::Required | Need::Optional | Need::Derived(_) => None,
        }
    }

    /// Reads a text of the tables themselves. `None` is a bug in a table; a test reads them all.
    pub(super) fn read_constant(&'static self, text: &str) -> Option<Value> {
        let mut sink = Sink::new("", text);
        let node = match self.kind {
            // What begins with a bracket is YAML; everything else is one word.
            Kind::List { .. } | Kind::OneOrList { .. } | Kind::Section(_) | Kind::Named { .. } => {
                tree::parse(text, &mut sink)?
            }
            Kind::Bool
            | Kind::Int { .. }
            | Kind::Signed { .. }
            | Kind::Span { .. }
            | Kind::Word(_)
            | Kind::Choice(_)
            | Kind::Duration { .. }
            | Kind::Size { .. }
            | Kind::Opaque => Node::plain(text),
        };
        decode::constant(&node, self, &mut sink)
    }
}

/// Whether a key must be given, and what stands in for it.
#[derive(Debug)]
pub(super) enum Need {
    Required,
    Optional,
    /// A constant, as it is written.
    Default(&'static str),
    /// Depends on the rest of the file or on the machine; in words.
    Derived(&'static str),
}

/// Whether this release has the function behind a key or a choice.
#[derive(Debug)]
pub(super) enum When {
    Now,
    Later { sample: Option<&'static str> },
}

/// What values a key takes.
#[derive(Debug)]
pub(super) enum Kind {
    Bool,
    Int {
        min: u64,
        max: u64,
    },
    /// A number that may be below zero.
    Signed {
        min: i64,
        max: i64,
    },
    /// A number, or two with a `-` between.
    Span {
        min: u64,
        max: u64,
    },
    /// One scalar with a form of its own.
    Word(&'static Word),
    /// One of a fixed set of words.
    Choice(&'static [Choice]),
    /// Bounds in milliseconds.
    Duration {
        min: u64,
        max: u64,
    },
    /// Bounds in octets.
    Size {
        min: u64,
        max: u64,
    },
    List {
        of: &'static Kind,
        min: usize,
        max: usize,
    },
    /// A list, or a single item without brackets.
    OneOrList {
        of: &'static Kind,
        max: usize,
    },
    Section(&'static Section),
    /// A mapping from names to sections.
    Named {
        of: &'static Section,
        max: usize,
    },
    /// A shape that only a later release defines; empty is its default.
    Opaque,
}

/// A scalar with a form of its own.
#[derive(Debug)]
pub(super) struct Word {
    /// With its article: `an address`.
    pub what: &'static str,
    /// What is allowed, for the operator.
    pub allowed: &'static str,
    /// The same, roughly, as a regular expression for editors; empty is any text.
    pub pattern: &'static str,
    pub read: fn(&str) -> Result<Value, Remedy>,
    /// Words that a later release takes.
    pub later: &'static [&'static str],
}

/// One word of a fixed set.
#[derive(Debug)]
pub(super) struct Choice {
    pub name: &'static str,
    pub now: bool,
}

/// A choice that this release has.
pub(super) const fn now(name: &'static str) -> Choice {
    Choice { name, now: true }
}

/// A choice that a later release has.
pub(super) const fn later(name: &'static str) -> Choice {
    Choice { name, now: false }
}

impl Kind {
    /// What a value of this kind looks like, for messages and documentation.
    pub(super) fn allowed(&self) -> String {
        use super::units::{show_duration, show_size};
        let ms = |v: u64| show_duration(std::time::Duration::from_millis(v));
        match self {
            Self::Bool => "true or false".into(),
            Self::Int { min, max } => format!("a whole number from {min} to {max}"),
            Self::Signed { min, max } => format!("a whole number from {min} to {max}"),
            Self::Span { min, max } => {
                format!(
                    "a whole number from {min} to {max}, or a range such as {}",
                    sample_span(*max)
                )
            }
            Self::Word(word) => word.allowed.into(),
            Self::Choice(choices) => {
                let names: Vec<_> = choices.iter().filter(|c| c.now).map(|c| c.name).collect();
                match names[..] {
                    [only] => format!("only {only}"),
                    _ => format!("one of {}", names.join(", ")),
                }
            }
            Self::Duration { min, max } => {
                format!(
                    "a duration from {} to {} with unit: 500ms, 2s, 5m",
                    ms(*min),
                    ms(*max)
                )
            }
            Self::Size { min, max } => {
                format!(
                    "a size from {} to {} with unit: 2KiB",
                    show_size(*min),
                    show_size(*max)
                )
            }
            Self::List { of, max, .. } => format!("a list of at most {max}, each {}", of.allowed()),
            Self::OneOrList { of, max } => {
                format!("{}; or a list of at most {max} of them", of.allowed())
            }
            Self::Section(section) => format!("a mapping: the keys of {}", section.noun),
            Self::Named { of, max } => {
                format!("a mapping from at most {max} names, each to {}", of.noun)
            }
            Self::Opaque => "nothing yet".into(),
        }
    }
}

fn sample_span(max: u64) -> &'static str {
    if max > 999 { "8000-8100" } else { "200-299" }
}
