//! Tree to values by the key tables: types, bounds, unknown and missing keys, this release or not.
//!
//! A mistake is reported where it stands and decoding goes on, so that one run finds them all.
//! What spans several keys is judged by the readers in `read/`.

use super::diagnostic::{Sink, nearest, quoted};
use super::keys::{Choice, Key, Kind, Need, Section, When, Word};
use super::tables::SECTIONS;
use super::tree::{Content, Entry, Node, Span};
use super::units;
use super::value::{Fields, Given, Item, Value};

/// Where decoding stands, and into what it reports.
struct Decoder<'a, 'b> {
    sink: &'a mut Sink<'b>,
    /// Keys from the last list item down: `tunnel.type`.
    path: Vec<&'static str>,
    /// Inside of a key that this release lacks, whose parts are not judged one by one.
    later: bool,
}

/// Decodes a whole document.
pub(super) fn document(
    node: &Node,
    section: &'static Section,
    sink: &mut Sink<'_>,
) -> Option<Fields> {
    Decoder {
        sink,
        path: Vec::new(),
        later: false,
    }
    .section(node, section)
}

/// Decodes a default or sample that a table gives.
pub(super) fn constant(node: &Node, key: &'static Key, sink: &mut Sink<'_>) -> Option<Value> {
    let mut decoder = Decoder {
        sink,
        path: vec![key.name],
        later: true,
    };
    let value = decoder.value(node, &key.kind);
    if sink.is_refused() { None } else { value }
}

impl Decoder<'_, '_> {
    fn section(&mut self, node: &Node, section: &'static Section) -> Option<Fields> {
        let Content::Map(entries) = &node.content else {
            self.mismatch(node, &format!("a mapping ({})", section.noun))
                .label(format!("keys: {}", section.keys_now()));
            return None;
        };
        let mut fields = Fields {
            span: node.span,
            ..Fields::empty(section)
        };
        for entry in entries {
            match section.key(&entry.key) {
                Some(key) => fields.given.push(self.entry(entry, key)),
                None => fields.misspelt.extend(self.unknown_key(entry, section)),
            }
        }
        for key in section
            .keys
            .iter()
            .filter(|key| matches!(key.need, Need::Required))
        {
            if !fields.is_given(key.name) && !fields.is_misspelt(key.name) {
                let message = format!("{} needs `{}`", section.noun, key.name);
                self.sink
                    .error(node.span, message)
                    .help(format!("add `{}: {}`", key.name, key.example));
            }
        }
        Some(fields)
    }

    fn entry(&mut self, entry: &Entry, key: &'static Key) -> Given {
        self.path.push(key.name);
        let outer = self.later;
        self.later |= matches!(key.when, When::Later { .. });
        let value = self.value(&entry.value, &key.kind);
        self.later = outer;
        if !self.later {
            self.admit(entry, key, value.as_ref());
        }
        self.path.pop();
        let span = entry.value.span;
        let item = value.map(|value| Item { value, span });
        Given {
            key,
            key_span: entry.key_span,
            item,
        }
    }

    /// Judges the value of a key that this release lacks.
    fn admit(&mut self, entry: &Entry, key: &'static Key, value: Option<&Value>) {
        let When::Later { sample } = key.when else {
            return;
        };
        let is_default = match value {
            Some(Value::Opaque { empty }) => *empty,
            Some(value) => key.default_value().as_ref() == Some(value) || is_empty(value),
            None => return, // What is wrong in itself has been reported.
        };
        if is_default {
            return;
        }
        let name = self.path.join(".");
        if value == sample.and_then(|sample| key.read_constant(sample)).as_ref() {
            let message = format!("not in this release: {name}: ignored until then");
            self.sink.warning(entry.key_span, message);
            return;
        }
        let found = self
            .sink
            .error(entry.key_span, format!("not in this release: {name}"));
        match key.need {
            Need::Default(default) => found.label(format!("only `{default}` is accepted")),
            Need::Required | Need::Optional | Need::Derived(_) => found.label("leave it out"),
        };
    }

    fn value(&mut self, node: &Node, kind: &'static Kind) -> Option<Value> {
        if node.is_null() && !matches!(kind, Kind::Opaque) {
            self.bad(node.span, "has no value")
                .label(format!("allowed: {}", kind.allowed()));
            return None;
        }
        match kind {
            Kind::Section(section) => self.section(node, section).map(Value::Fields),
            Kind::Named { of, max } => self.named(node, of, *max),
            Kind::List { of, min, max } => self.list(node, kind, of, *min..=*max),
            Kind::OneOrList { of, max } => match node.content {
                Content::List(_) => self.list(node, kind, of, 1..=*max),
                Content::Scalar { .. } | Content::Map(_) => {
                    let item = Item {
                        value: self.value(node, of)?,
                        span: node.span,
                    };
                    Some(Value::List(vec![item]))
                }
            },
            Kind::Opaque => Some(Value::Opaque {
                empty: is_blank(node),
            }),
            Kind::Bool
            | Kind::Int { .. }
            | Kind::Signed { .. }
            | Kind::Span { .. }
            | Kind::Word(_)
            | Kind::Choice(_)
            | Kind::Duration { .. }
            | Kind::Size { .. } => self.scalar(node, kind),
        }
    }

    fn list(
        &mut self,
        node: &Node,
        kind: &Kind,
        of: &'static Kind,
        len: std::ops::RangeInclusive<usize>,
    ) -> Option<Value> {
        let Content::List(items) = &node.content else {
            let found = self.mismatch(node, "a list");
            found.label(format!("allowed: {}", kind.allowed()));
            if let Content::Scalar { text, .. } = &node.content {
                found.help(format!("write {} in brackets: [ ]", quoted(text)));
            }
            return None;
        };
        if !len.contains(&items.len()) {
            let message = format!("has {} items", items.len());
            self.bad(node.span, &message).label(format!(
                "allowed: {} to {}",
                len.start(),
                len.end()
            ));
            return None;
        }
        // A list item is a place of its own: messages name its keys from here.
        let is_place = matches!(of, Kind::Section(_));
        let outer = is_place.then(|| std::mem::take(&mut self.path));
        let errors = self.sink.errors();
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            if let Some(value) = self.value(item, of) {
                values.push(Item {
                    value,
                    span: item.span,
                });
            }
        }
        if let Some(outer) = outer {
            self.path = outer;
        } else if self.sink.errors() > errors {
            return None; // Half a list of addresses would mislead the checks that follow.
        }
        Some(Value::List(values))
    }

    fn named(&mut self, node: &Node, of: &'static Section, max: usize) -> Option<Value> {
        let Content::Map(entries) = &node.content else {
            self.mismatch(node, &format!("a mapping from names to {}s", of.noun))
                .help("write `NAME: {…}` for each");
            return None;
        };
        if entries.len() > max {
            self.bad(node.span, &format!("has {} entries", entries.len()))
                .label(format!("allowed: at most {max}"));
            return None;
        }
        let outer = std::mem::take(&mut self.path);
        let mut all = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Err(remedy) = units::name(&entry.key) {
                let message = format!("{} is not a name", quoted(&entry.key));
                self.sink
                    .error(entry.key_span, message)
                    .label(NAME_ALLOWED)
                    .help(remedy);
            }
            // A body that is wrong still declares the name, so that uses of it do not dangle.
            let body = self.section(&entry.value, of).unwrap_or_else(|| Fields {
                span: Span::default(),
                ..Fields::empty(of)
            });
            all.push((entry.key.clone(), entry.key_span, body));
        }
        self.path = outer;
        Some(Value::Named(all))
    }

    fn scalar(&mut self, node: &Node, kind: &'static Kind) -> Option<Value> {
        let Content::Scalar { text, plain } = &node.content else {
            self.mismatch(node, &kind.allowed());
            return None;
        };
        let typed = if *plain { plain_type(text) } else { "text" };
        if let Kind::Word(word) = kind {
            return self.word(node, text, typed, word);
        }
        if let Kind::Choice(choices) = kind {
            return self.choice(node, text, choices);
        }
        if let Kind::Bool = kind {
            return self.bool(node, text, *plain);
        }
        if !*plain && units::int(text).is_ok() {
            self.mismatch(node, &kind.allowed())
                .help("remove the quotes");
            return None;
        }
        self.bounded(node, text, kind, number(text, kind))
    }

    fn bool(&mut self, node: &Node, text: &str, plain: bool) -> Option<Value> {
        match (text, plain) {
            ("true" | "True" | "TRUE", true) => Some(Value::Bool(true)),
            ("false" | "False" | "FALSE", true) => Some(Value::Bool(false)),
            _ => {
                let found = self.mismatch(node, "true or false");
                match text.to_lowercase().as_str() {
                    "yes" | "on" | "y" | "1" => found.help("write `true`"),
                    "no" | "off" | "n" | "0" => found.help("write `false`"),
                    _ => found,
                };
                None
            }
        }
    }

    fn bounded(
        &mut self,
        node: &Node,
        text: &str,
        kind: &Kind,
        read: Result<(Value, bool), String>,
    ) -> Option<Value> {
        let allowed = format!("allowed: {}", kind.allowed());
        match read {
            Ok((value, true)) => Some(value),
            Ok((_, false)) => {
                self.bad(node.span, &format!("{} is out of range", quoted(text)))
                    .label(allowed);
                None
            }
            Err(remedy) => {
                self.mismatch(node, short(kind)).label(allowed).help(remedy);
                None
            }
        }
    }

    fn word(&mut self, node: &Node, text: &str, typed: &str, word: &'static Word) -> Option<Value> {
        if word.later.contains(&text) {
            if !self.later {
                let message = format!("not in this release: {}: {text}", self.path.join("."));
                self.sink
                    .error(node.span, message)
                    .label(format!("allowed: {}", word.allowed));
            }
            return None;
        }
        let read = (word.read)(text);
        if typed != "text" {
            let found = self.mismatch(node, word.what);
            found.label(format!("allowed: {}", word.allowed));
            match read {
                Ok(_) => found.help(format!("put it in quotes: \"{text}\"")),
                Err(remedy) => found.help(remedy),
            };
            return None;
        }
        read.map_err(|remedy| {
            self.bad(node.span, &format!("{} is not {}", quoted(text), word.what))
                .label(format!("allowed: {}", word.allowed))
                .help(remedy);
        })
        .ok()
    }

    fn choice(&mut self, node: &Node, text: &str, choices: &'static [Choice]) -> Option<Value> {
        let allowed = format!("allowed: {}", Kind::Choice(choices).allowed());
        match choices.iter().find(|choice| choice.name == text) {
            Some(choice) if choice.now || self.later => Some(Value::Choice(choice.name)),
            Some(choice) => {
                let name = self.path.join(".");
                let message = format!("not in this release: {name}: {}", choice.name);
                self.sink.error(node.span, message).label(allowed);
                None
            }
            None => {
                let near = nearest(text, choices.iter().map(|choice| choice.name));
                let found = self.bad(node.span, &format!("{} is not a choice", quoted(text)));
                found.label(allowed);
                if let Some(near) = near {
                    found.help(format!("did you mean `{near}`?"));
                }
                None
            }
        }
    }

    /// Reports an unknown key; returns the key that was probably meant.
    fn unknown_key(&mut self, entry: &Entry, section: &'static Section) -> Option<&'static str> {
        let near = nearest(&entry.key, section.keys.iter().map(|key| key.name));
        let elsewhere = SECTIONS
            .iter()
            .find(|other| other.key(&entry.key).is_some());
        let message = format!("unknown key {} in {}", quoted(&entry.key), section.noun);
        let found = self.sink.error(entry.key_span, message);
        match (near, elsewhere) {
            (Some(near), _) => {
                found.label(format!("did you mean `{near}`?"));
            }
            (None, Some(other)) => {
                found.label(format!("`{}` is a key of {}", entry.key, other.noun));
            }
            (None, None) => {}
        }
        found.help(format!("keys of {}: {}", section.noun, section.keys_now()));
        near
    }

    /// Reports what is wrong with the value of the key at hand.
    fn bad(&mut self, span: Span, what: &str) -> &mut super::diagnostic::Found {
        let message = format!("{}: {what}", self.path.join("."));
        self.sink.error(span, message)
    }

    /// Reports a value of the wrong type.
    fn mismatch(&mut self, node: &Node, expected: &str) -> &mut super::diagnostic::Found {
        let found = match &node.content {
            Content::Scalar { text, plain: false } => format!("the text {}", quoted(text)),
            Content::Scalar { text, plain: true } => match plain_type(text) {
                "null" => "nothing".into(),
                typed => format!("the {typed} {}", quoted(text)),
            },
            Content::List(_) => "a list".into(),
            Content::Map(_) => "a mapping".into(),
        };
        let message = format!("expected {expected}, found {found}");
        if self.path.is_empty() {
            self.sink.error(node.span, message)
        } else {
            self.bad(node.span, &message)
        }
    }
}

const NAME_ALLOWED: &str = "allowed: letters, digits and `_ . : -`, at most 63";

/// Reads a number, duration or size; the flag says whether it is within bounds.
fn number(text: &str, kind: &Kind) -> Result<(Value, bool), String> {
    match kind {
        Kind::Int { min, max } => {
            let n = units::int(text)?;
            Ok((Value::Int(n), (*min..=*max).contains(&n)))
        }
        Kind::Signed { min, max } => {
            let n = units::signed(text)?;
            Ok((Value::Signed(n), (*min..=*max).contains(&n)))
        }
        Kind::Span { min, max } => {
            let (first, last) = units::range(text)?;
            Ok((Value::Span(first, last), *min <= first && last <= *max))
        }
        Kind::Duration { min, max } => {
            let value = units::duration(text)?;
            let in_bounds = (u128::from(*min)..=u128::from(*max)).contains(&value.as_millis());
            Ok((Value::Duration(value), in_bounds))
        }
        Kind::Size { min, max } => {
            let octets = units::size(text)?;
            Ok((Value::Int(octets), (*min..=*max).contains(&octets)))
        }
        Kind::Bool
        | Kind::Word(_)
        | Kind::Choice(_)
        | Kind::List { .. }
        | Kind::OneOrList { .. }
        | Kind::Section(_)
        | Kind::Named { .. }
        | Kind::Opaque => Err(String::new()),
    }
}

/// The kind in two words, for "expected …, found …".
fn short(kind: &Kind) -> &'static str {
    match kind {
        Kind::Int { .. } | Kind::Signed { .. } => "a whole number",
        Kind::Span { .. } => "a whole number or range",
        Kind::Duration { .. } => "a duration",
        Kind::Size { .. } => "a size",
        Kind::Bool
        | Kind::Word(_)
        | Kind::Choice(_)
        | Kind::List { .. }
        | Kind::OneOrList { .. }
        | Kind::Section(_)
        | Kind::Named { .. }
        | Kind::Opaque => "another value",
    }
}

/// How YAML 1.2's core schema reads a plain scalar.
fn plain_type(text: &str) -> &'static str {
    let unsigned = text.trim_start_matches(['-', '+']);
    let number_start = unsigned.starts_with(|c: char| c.is_ascii_digit());
    match text {
        "" | "~" | "null" | "Null" | "NULL" => "null",
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => "truth value",
        _ if number_start && unsigned.bytes().all(|b| b.is_ascii_digit()) => "number",
        _ if number_start && text.parse::<f64>().is_ok() => "number",
        _ => "text",
    }
}

/// Whether a node of unknown shape says nothing.
fn is_blank(node: &Node) -> bool {
    match &node.content {
        Content::Scalar { .. } => node.is_null(),
        Content::List(items) => items.is_empty(),
        Content::Map(entries) => entries.is_empty(),
    }
}

/// Whether a decoded value is an empty list, the default of every list without another.
fn is_empty(value: &Value) -> bool {
    matches!(value, Value::List(items) if items.is_empty())
}
