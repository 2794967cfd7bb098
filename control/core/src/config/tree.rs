//! YAML 1.2 text into a tree in which every key and value knows its place.
//!
//! The only file that knows the YAML library. It judges form alone: syntax, duplicate keys, depth
//! and size. JSON is YAML. Anchors, aliases and merge keys (`<<`) work within a budget, tags and
//! further documents are refused, because nothing in the configuration needs them.

use std::collections::HashMap;

use serde_yaml::granit_parser::{Event, Parser, ScalarStyle, Span as ParserSpan, options};

use super::diagnostic::{Sink, quoted};

/// Nesting of a valid file is at most 8; hostile nesting must not recurse far.
const DEPTH_MAX: usize = 24;
/// Nodes of one file, each expansion of an alias counted in full. 1 MiB of `a: b` is 350 k nodes.
const NODES_MAX: usize = 500_000;

/// Where something stands in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    /// From 1; 0 for the whole file.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Characters on the first line.
    pub len: usize,
}

impl Span {
    fn of(span: &ParserSpan) -> Self {
        let (start, end) = (&span.start, &span.end);
        let len = if start.line() == end.line() {
            end.col().saturating_sub(start.col())
        } else {
            1
        };
        Self {
            line: start.line(),
            column: start.col() + 1,
            len,
        }
    }
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub span: Span,
    pub content: Content,
}

/// What a value is, before anything is known of what it should be.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Text; `plain` without quotes, so that it may be a number, a truth value or nothing.
    Scalar { text: String, plain: bool },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in written order, each key once.
    Map(Vec<Entry>),
}

/// One `key: value`.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Node,
}

impl Node {
    /// A plain scalar without a place: how a built-in default is read.
    pub(super) fn plain(text: &str) -> Self {
        let content = Content::Scalar {
            text: text.to_owned(),
            plain: true,
        };
        Self {
            span: Span::default(),
            content,
        }
    }

    /// Whether nothing was written, or `null` or `~`.
    pub(super) fn is_null(&self) -> bool {
        match &self.content {
            Content::Scalar { text, plain: true } => {
                matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            Content::Scalar { plain: false, .. } | Content::List(_) | Content::Map(_) => false,
        }
    }

    /// Levels of lists and mappings; 0 for a scalar.
    fn depth(&self) -> usize {
        match &self.content {
            Content::Scalar { .. } => 0,
            Content::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Content::Map(entries) => 1 + entries.iter().map(|e| e.value.depth()).max().unwrap_or(0),
        }
    }

    fn count(&self) -> usize {
        match &self.content {
            Content::Scalar { .. } => 1,
            Content::List(items) => 1 + items.iter().map(Self::count).sum::<usize>(),
            Content::Map(entries) => 1 + entries.iter().map(|e| 1 + e.value.count()).sum::<usize>(),
        }
    }
}

/// Reads `text` into a tree; `None` if it is not one well-formed document, which `sink` then knows.
pub(super) fn parse(text: &str, sink: &mut Sink<'_>) -> Option<Node> {
    let options = options! {
        emit_comments: false,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, span)) => builder.take(event, Span::of(&span), sink)?,
            Err(error) => {
                let at = error.marker();
                let span = Span {
                    line: at.line(),
                    column: at.col() + 1,
                    len: 1,
                };
                let message = format!("not valid YAML: {}", error.kind());
                sink.error(span, message).help(remedy(text, span));
                return None;
            }
        }
    }
    builder.root
}

/// Guesses from the line what is wrong with the YAML.
fn remedy(text: &str, span: Span) -> &'static str {
    let line = text.lines().nth(span.line.saturating_sub(1)).unwrap_or("");
    let before = text.lines().nth(span.line.saturating_sub(2)).unwrap_or("");
    let has = |c: char| line.contains(c) || before.contains(c);
    if line.trim_start_matches(' ').starts_with('\t') {
        "indent with spaces; YAML does not take tabs"
    } else if has('[') || has('{') || has(']') || has('}') {
        "check that brackets and braces are closed, with commas between items; an IPv6 address \
         or a text with `: `, `{` or `[` needs quotes"
    } else if has('"') || has('\'') {
        "check that every quote is closed"
    } else if line.matches(": ").count() > 1 || line.contains(": \"") {
        "write one `key: value` on a line, or put the text in quotes"
    } else {
        "check the indentation: the keys of one mapping start in the same column, with a space \
         after each `:` and each `-`"
    }
}

/// Turns the parser's events into nodes, without recursion.
#[derive(Default)]
struct Builder {
    open: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

/// A list or mapping whose end has not come yet.
struct Frame {
    span: Span,
    anchor: usize,
    body: Body,
}

enum Body {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        merged: Vec<Node>,
        key: Option<(String, Span)>,
    },
}

impl Builder {
    /// Takes one event; `None` ends the parse.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library's events are non-exhaustive"
    )]
    fn take(&mut self, event: Event<'_>, span: Span, sink: &mut Sink<'_>) -> Option<()> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                sink.error(span, "a second YAML document")
                    .help("keep one document, without `---`");
                None
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.is_some(), span, sink)?;
                let plain = style == ScalarStyle::Plain;
                let content = Content::Scalar {
                    text: text.into_owned(),
                    plain,
                };
                self.add(Node { span, content }, anchor, sink)
            }
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id).cloned() else {
                    sink.error(span, "this alias lies inside of what it stands for");
                    return None;
                };
                // Aliases of aliases would otherwise nest deeper than any written bracket.
                if self.open.len() + node.depth() > DEPTH_MAX {
                    sink.error(span, format!("nested deeper than {DEPTH_MAX} levels"));
                    return None;
                }
                self.nodes += node.count();
                self.add(node, 0, sink)
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(tag.is_some(), span, sink)?;
                self.begin(
                    Frame {
                        span,
                        anchor,
                        body: Body::List(Vec::new()),
                    },
                    sink,
                )
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(tag.is_some(), span, sink)?;
                let body = Body::Map {
                    entries: Vec::new(),
                    merged: Vec::new(),
                    key: None,
                };
                self.begin(Frame { span, anchor, body }, sink)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(sink),
            // Stream and document marks carry nothing, and the library may add kinds.
            _ => Some(()),
        }
    }

    fn begin(&mut self, frame: Frame, sink: &mut Sink<'_>) -> Option<()> {
        if self.open.len() == DEPTH_MAX {
            sink.error(frame.span, format!("nested deeper than {DEPTH_MAX} levels"));
            return None;
        }
        if let Some(Frame {
            body: Body::Map { key: None, .. },
            ..
        }) = self.open.last()
        {
            sink.error(frame.span, "a key must be a word, not a list or mapping");
            return None;
        }
        self.open.push(frame);
        Some(())
    }

    fn end(&mut self, sink: &mut Sink<'_>) -> Option<()> {
        let Frame { span, anchor, body } = self.open.pop()?;
        let content = match body {
            Body::List(items) => Content::List(items),
            Body::Map {
                entries, merged, ..
            } => Content::Map(merge(entries, merged, sink)?),
        };
        self.add(Node { span, content }, anchor, sink)
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node, anchor: usize, sink: &mut Sink<'_>) -> Option<()> {
        self.nodes += 1;
        if anchor != 0 {
            self.nodes += node.count();
            self.anchors.insert(anchor, node.clone());
        }
        if self.nodes > NODES_MAX {
            sink.error(
                node.span,
                format!("more than {NODES_MAX} values, aliases expanded"),
            )
            .help("write repeated parts out, or anchor smaller ones");
            return None;
        }
        let Some(frame) = self.open.last_mut() else {
            self.root = Some(node);
            return Some(());
        };
        match &mut frame.body {
            Body::List(items) => items.push(node),
            Body::Map {
                entries,
                merged,
                key,
            } => match key.take() {
                Some((name, _)) if name == "<<" => merged.push(node),
                Some((key, key_span)) => entries.push(Entry {
                    key,
                    key_span,
                    value: node,
                }),
                None => *key = Some(key_of(node, sink)?),
            },
        }
        Some(())
    }
}

fn refuse_tag(tagged: bool, span: Span, sink: &mut Sink<'_>) -> Option<()> {
    if tagged {
        sink.error(span, "YAML tags are not used here")
            .help("remove the word that begins with `!`");
        return None;
    }
    Some(())
}

fn key_of(node: Node, sink: &mut Sink<'_>) -> Option<(String, Span)> {
    match node.content {
        Content::Scalar { text, .. } => Some((text, node.span)),
        Content::List(_) | Content::Map(_) => {
            sink.error(node.span, "a key must be a word, not a list or mapping");
            None
        }
    }
}

/// Refuses duplicate keys, then adds what `<<` brings and the mapping does not say itself.
fn merge(written: Vec<Entry>, merged: Vec<Node>, sink: &mut Sink<'_>) -> Option<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::with_capacity(written.len());
    let mut seen: HashMap<String, usize> = HashMap::with_capacity(written.len());
    for entry in written {
        if let Some(line) = seen.get(&entry.key) {
            sink.error(
                entry.key_span,
                format!("duplicate key {}", quoted(&entry.key)),
            )
            .label(format!("first given in line {line}"))
            .help("keep one of them; entries of the same kind belong in one list");
            continue;
        }
        seen.insert(entry.key.clone(), entry.key_span.line);
        entries.push(entry);
    }
    for node in merged {
        let sources = match node.content {
            Content::List(items) => items,
            Content::Scalar { .. } | Content::Map(_) => vec![node],
        };
        for source in sources {
            let Content::Map(more) = source.content else {
                sink.error(source.span, "`<<` merges mappings")
                    .help("write `<<: *anchor`");
                return None;
            };
            for entry in more {
                if !seen.contains_key(&entry.key) {
                    seen.insert(entry.key.clone(), entry.key_span.line);
                    entries.push(entry);
                }
            }
        }
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Node, String> {
        let mut sink = Sink::new("t.yaml", text);
        match parse(text, &mut sink) {
            Some(node) if !sink.is_refused() => Ok(node),
            _ => Err(sink.into_diagnostics().to_string()),
        }
    }

    fn keys(node: &Node) -> Vec<&str> {
        let Content::Map(entries) = &node.content else {
            panic!("not a mapping")
        };
        entries.iter().map(|e| e.key.as_str()).collect()
    }

    #[test]
    fn places_are_one_based_and_count_characters() {
        let node = read("é: {b: xyz}\n").expect("valid");
        let Content::Map(entries) = &node.content else {
            panic!("not a mapping")
        };
        assert_eq!(
            entries[0].key_span,
            Span {
                line: 1,
                column: 1,
                len: 1
            }
        );
        let Content::Map(inner) = &entries[0].value.content else {
            panic!("not a mapping")
        };
        assert_eq!(
            inner[0].value.span,
            Span {
                line: 1,
                column: 8,
                len: 3
            }
        );
    }

    #[test]
    fn anchors_aliases_and_merge_keys_work() {
        let node = read("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}\nc: *x\n").expect("valid");
        let Content::Map(entries) = &node.content else {
            panic!("not a mapping")
        };
        assert_eq!(keys(&entries[1].value), ["q", "p"]);
        assert_eq!(keys(&entries[2].value), ["p", "q"]);
    }

    #[test]
    fn duplicate_keys_are_refused_and_name_the_first() {
        let error = read("a: 1\nb: 2\na: 3\n").expect_err("duplicate");
        assert!(
            error.contains("t.yaml:3:1: error: duplicate key `a`"),
            "{error}"
        );
        assert!(error.contains("first given in line 1"), "{error}");
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for i in 1..30 {
            let refs = vec![format!("*a{}", i - 1); 9].join(",");
            text.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        assert!(read(&text).expect_err("bomb").contains("aliases expanded"));
    }

    #[test]
    fn deep_nesting_is_refused_without_recursion() {
        for deep in [
            "[".repeat(100_000),
            "- ".repeat(100_000),
            "{a: ".repeat(100_000),
        ] {
            read(&deep).expect_err("too deep");
        }
    }

    #[test]
    fn a_self_referring_alias_a_tag_and_a_second_document_are_refused() {
        assert!(
            read("a: &a [*a]\n")
                .expect_err("loop")
                .contains("inside of what it stands for")
        );
        assert!(
            read("a: !!str x\n")
                .expect_err("tag")
                .contains("tags are not used")
        );
        assert!(
            read("a: 1\n---\nb: 2\n")
                .expect_err("two")
                .contains("second YAML document")
        );
        assert!(
            read("? [a]\n: b\n")
                .expect_err("key")
                .contains("a key must be a word")
        );
    }

    #[test]
    fn a_syntax_error_has_a_place_and_a_remedy() {
        let error = read("a:\n\tb: 1\n").expect_err("tab");
        assert!(error.contains("t.yaml:2:"), "{error}");
        assert!(error.contains("spaces"), "{error}");
        let error = read("a: [1, 2\nb: 3\n").expect_err("bracket");
        assert!(error.contains("brackets"), "{error}");
    }
}
