//! Mistakes in the operator's file: collected, sorted by place, shown with the line and a caret.
//!
//! Output is plain text in the form that editors and compilers share, `file:line:column: error:`.
//! What the file contains is shown escaped and clipped: a hostile line cannot move the cursor of
//! the terminal or fill it.

use std::fmt;

use super::tree::Span;

/// Mistakes shown of one file; the rest are counted.
pub const SHOWN_MAX: usize = 50;
/// Mistakes remembered while reading, before sorting; bounds memory on hostile files.
const KEPT_MAX: usize = 1000;
/// Characters of a source line shown around a caret: with the margin, two terminal lines.
const WINDOW_LEN: usize = 140;

/// Whether a finding refuses the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted.
    Warning,
}

/// One mistake with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it refuses the file.
    pub severity: Severity,
    /// The file's name as the caller gave it.
    pub file: String,
    /// Line, from 1; 0 if the mistake is about the whole file.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, on one line.
    pub message: String,
    /// Shown at the caret: what is allowed, or empty.
    pub label: String,
    /// How to mend it, or empty.
    pub help: String,
    excerpt: Excerpt,
}

/// The part of the source line that is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Excerpt {
    text: String,
    caret: usize,
    caret_len: usize,
}

/// `file:line:column: error: message`, the line, the caret, the help.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        if self.line == 0 {
            write!(f, "{}: {severity}: {}", self.file, self.message)?;
        } else {
            let (line, column) = (self.line, self.column);
            writeln!(
                f,
                "{}:{line}:{column}: {severity}: {}",
                self.file, self.message
            )?;
            writeln!(f, "{line:>5} | {}", self.excerpt.text)?;
            let space = " ".repeat(self.excerpt.caret);
            let caret = "^".repeat(self.excerpt.caret_len.max(1));
            write!(f, "      | {space}{caret}")?;
            if !self.label.is_empty() {
                write!(f, " {}", self.label)?;
            }
        }
        if !self.help.is_empty() {
            write!(f, "\n      = help: {}", self.help)?;
        }
        Ok(())
    }
}

/// Everything found in a refused file: errors and warnings, sorted by place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    /// The first [`SHOWN_MAX`] findings; at least one is an error.
    pub items: Vec<Diagnostic>,
    /// How many errors there are, shown or not.
    pub errors: usize,
    /// How many findings are not in `items`.
    pub hidden: usize,
}

impl Diagnostics {
    /// A single error about the file as a whole.
    pub(super) fn of_file(file: &str, message: String, help: &str) -> Self {
        let mut sink = Sink::new(file, "");
        sink.error(Span::default(), message).help(help);
        sink.into_diagnostics()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for item in &self.items {
            writeln!(f, "{item}")?;
        }
        if self.hidden > 0 {
            writeln!(f, "... and {} more", self.hidden)?;
        }
        let plural = if self.errors == 1 { "error" } else { "errors" };
        write!(f, "{} {plural}: nothing was applied", self.errors)
    }
}

impl std::error::Error for Diagnostics {}

/// What readers report into.
#[derive(Debug)]
pub(super) struct Sink<'a> {
    file: &'a str,
    text: &'a str,
    found: Vec<Found>,
    errors: usize,
    dropped: usize,
}

/// One finding before its line is cut out.
#[derive(Debug)]
pub(super) struct Found {
    severity: Severity,
    span: Span,
    message: String,
    label: String,
    help: String,
}

impl Found {
    /// Says at the caret what is allowed.
    pub(super) fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = label.into();
        self
    }

    /// Says how to mend it.
    pub(super) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = help.into();
        self
    }
}

impl<'a> Sink<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self {
            file,
            text,
            found: Vec::new(),
            errors: 0,
            dropped: 0,
        }
    }

    /// Reports what refuses the file.
    pub(super) fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Found {
        self.errors += 1;
        self.push(Severity::Error, span, message.into())
    }

    /// Reports what the operator should know.
    pub(super) fn warning(&mut self, span: Span, message: impl Into<String>) -> &mut Found {
        self.push(Severity::Warning, span, message.into())
    }

    fn push(&mut self, severity: Severity, span: Span, message: String) -> &mut Found {
        if self.found.len() == KEPT_MAX {
            // The last slot is overwritten: it is never shown, because SHOWN_MAX is smaller.
            self.found.pop();
            self.dropped += 1;
        }
        let found = Found {
            severity,
            span,
            message,
            label: String::new(),
            help: String::new(),
        };
        self.found.push(found);
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    /// How many errors there are so far.
    pub(super) fn errors(&self) -> usize {
        self.errors
    }

    /// Whether anything refuses the file so far.
    pub(super) fn is_refused(&self) -> bool {
        self.errors > 0
    }

    /// The findings of an accepted file.
    pub(super) fn into_warnings(self) -> Vec<Diagnostic> {
        self.into_diagnostics().items
    }

    /// Sorts by place, keeps the first [`SHOWN_MAX`], cuts their lines out.
    pub(super) fn into_diagnostics(mut self) -> Diagnostics {
        // Errors first where both exist: warnings must not push an error out of sight.
        if self.errors > 0 && self.found.len() > SHOWN_MAX {
            let before = self.found.len();
            self.found.retain(|found| found.severity == Severity::Error);
            self.dropped += before - self.found.len();
        }
        self.found
            .sort_by_key(|found| (found.span.line, found.span.column));
        let hidden = self.dropped + self.found.len().saturating_sub(SHOWN_MAX);
        self.found.truncate(SHOWN_MAX);
        let (file, text) = (self.file, self.text);
        let mut lines = Lines {
            rest: text.lines(),
            number: 0,
            line: "",
        };
        let items = self.found.into_iter().map(|found| {
            let line = lines.seek(found.span.line);
            finish(file, line, found)
        });
        Diagnostics {
            items: items.collect(),
            errors: self.errors,
            hidden,
        }
    }
}

/// Walks the source once, because findings are sorted by line.
struct Lines<'a> {
    rest: std::str::Lines<'a>,
    number: usize,
    line: &'a str,
}

impl<'a> Lines<'a> {
    fn seek(&mut self, number: usize) -> &'a str {
        while self.number < number {
            self.line = self.rest.next().unwrap_or("");
            self.number += 1;
        }
        self.line
    }
}

fn finish(file: &str, line: &str, found: Found) -> Diagnostic {
    Diagnostic {
        severity: found.severity,
        file: file.to_owned(),
        line: found.span.line,
        column: found.span.column,
        message: found.message,
        label: found.label,
        help: found.help,
        excerpt: excerpt(line, found.span),
    }
}

/// Cuts a window around the caret out of a long line, and makes control characters visible.
fn excerpt(line: &str, span: Span) -> Excerpt {
    let caret = span.column.saturating_sub(1);
    let start = caret.saturating_sub(WINDOW_LEN / 2);
    let shown = |c: char| if c == '\t' { ' ' } else { visible(c) };
    let text: String = line
        .chars()
        .skip(start)
        .take(WINDOW_LEN)
        .map(shown)
        .collect();
    let room = text.chars().count().saturating_sub(caret - start);
    Excerpt {
        text,
        caret: caret - start,
        caret_len: span.len.min(room),
    }
}

/// The operator's own words inside a message: escaped, and clipped to a readable length.
pub(super) fn quoted(text: &str) -> String {
    const QUOTED_LEN: usize = 60;
    let mut shown: String = text.chars().take(QUOTED_LEN).map(visible).collect();
    if text.chars().nth(QUOTED_LEN).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Control characters, and those that reorder text, become U+FFFD.
fn visible(c: char) -> char {
    let reorders =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || reorders {
        char::REPLACEMENT_CHARACTER
    } else {
        c
    }
}

/// The candidate nearest to `word`, if it is near enough to be what was meant.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    const WORD_LEN_MAX: usize = 64;
    if word.len() > WORD_LEN_MAX {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    let meant = SYNONYMS
        .iter()
        .find(|(theirs, _)| *theirs == word)
        .map(|(_, ours)| *ours);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if meant == Some(candidate) {
            return Some(candidate);
        }
        // `addr` is an `address`, however far apart they are.
        let is_stem = word.len() > 2 && candidate.starts_with(&word);
        let apart = if is_stem {
            1
        } else {
            distance(&word, &candidate.replace('-', "_"))
        };
        let is_near = apart <= 1 + candidate.len() / 4;
        if is_near && best.is_none_or(|(least, _)| apart < least) {
            best = Some((apart, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// What users of ipvsadm, keepalived and HAProxy call our keys.
const SYNONYMS: &[(&str, &str)] = &[
    ("algorithm", "scheduler"),
    ("backend", "servers"),
    ("backends", "servers"),
    ("balance", "scheduler"),
    ("check", "health"),
    ("health_check", "health"),
    ("interface", "device"),
    ("ip", "address"),
    ("lb_algo", "scheduler"),
    ("lb_kind", "mode"),
    ("neighbors", "neighbours"),
    ("real_server", "servers"),
    ("real_servers", "servers"),
    ("rip", "address"),
    ("vip", "address"),
    ("virtual_router_id", "id"),
    ("virtual_server", "services"),
    ("virtual_servers", "services"),
];

/// Edit distance in which swapping two neighbours counts once (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        rows[i][0] = i;
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j - 1] + cost)
                .min(rows[i - 1][j] + 1)
                .min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_typos_and_refuses_strangers() {
        let keys = ["scheduler", "servers", "address", "port", "ports"];
        assert_eq!(nearest("shceduler", keys), Some("scheduler"));
        assert_eq!(nearest("adress", keys), Some("address"));
        assert_eq!(nearest("PORT", keys), Some("port"));
        assert_eq!(nearest("banana", keys), None);
        assert_eq!(nearest("addr", keys), Some("address"));
        assert_eq!(nearest("backends", keys), Some("servers"));
        assert_eq!(nearest(&"x".repeat(100_000), keys), None);
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let line = format!("{}X{}", "a".repeat(5000), "b".repeat(5000));
        let cut = excerpt(
            &line,
            Span {
                line: 1,
                column: 5001,
                len: 1,
            },
        );
        assert_eq!(cut.text.chars().nth(cut.caret), Some('X'));
        assert!(cut.text.len() <= WINDOW_LEN);
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        assert_eq!(quoted("a\u{1b}[2Jb"), "`a\u{fffd}[2Jb`");
        let cut = excerpt(
            "k: \u{1b}[31mred",
            Span {
                line: 1,
                column: 4,
                len: 3,
            },
        );
        assert!(!cut.text.contains('\u{1b}'));
    }

    #[test]
    fn findings_come_sorted_and_the_surplus_is_counted() {
        let mut sink = Sink::new("f.yaml", "a\nb\nc\n");
        for line in (1..=60).rev() {
            sink.error(
                Span {
                    line,
                    column: 1,
                    len: 1,
                },
                "wrong",
            );
        }
        let all = sink.into_diagnostics();
        assert_eq!(
            (all.items.len(), all.hidden, all.errors),
            (SHOWN_MAX, 10, 60)
        );
        assert!(all.items.windows(2).all(|w| w[0].line < w[1].line));
        assert!(all.to_string().contains("... and 10 more"));
    }
}
