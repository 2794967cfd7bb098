//! The operator's file: strict YAML in, [`Config`] or every mistake at once out.
//!
//! [`parse`] is pure: text in, typed and resolved values out, nothing else touched. It works in
//! three steps, each of which reports what it finds and goes on: form (`tree`), keys and values by
//! tables (`decode`), and what spans several keys (`resolve`). The tables also make the JSON
//! Schema ([`schema`]) and docs/CONFIG.md ([`reference()`]). What a reload may not do is in
//! [`restart_needed`] and [`shrink`]. Nothing here opens a device or looks at the machine.

mod decode;
mod diagnostic;
mod keys;
mod reload;
mod resolve;
mod schema;
mod tables;
mod tree;
mod types;
mod units;
mod value;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

pub use diagnostic::{Diagnostic, Diagnostics, SHOWN_MAX, Severity};
pub use reload::{ShrinkRefusal, restart_needed, shrink};
pub use schema::{reference, schema};
pub use types::*;

/// Octets of a configuration file, inclusive. 1 MiB is about ten thousand servers.
pub const FILE_LEN_MAX: usize = 1 << 20;

/// An accepted file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What the operator should know all the same, sorted by place.
    pub warnings: Vec<Diagnostic>,
}

/// Reads and judges the file at `path`.
///
/// # Errors
/// Every mistake in it, or why it cannot be read.
pub fn load(path: &Path) -> Result<Loaded, Diagnostics> {
    let name = path.display().to_string();
    let refuse = |error: std::io::Error| {
        let help = if error.kind() == ErrorKind::NotFound {
            "give the right path with `-c FILE`"
        } else if error.kind() == ErrorKind::PermissionDenied {
            "let the daemon's user read it"
        } else {
            ""
        };
        Diagnostics::of_file(&name, format!("cannot be read: {error}"), help)
    };
    let file = File::open(path).map_err(refuse)?;
    let mut bytes = Vec::new();
    // One octet more than allowed tells a file that is too long from one that just fits.
    let limit = u64::try_from(FILE_LEN_MAX)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(refuse)?;
    parse_bytes(&name, &bytes)
}

/// Judges the octets of a file; `name` is what messages call it. The fuzz target.
///
/// # Errors
/// Every mistake, or the place of the first octet that is no UTF-8.
pub fn parse_bytes(name: &str, bytes: &[u8]) -> Result<Loaded, Diagnostics> {
    if bytes.len() > FILE_LEN_MAX {
        return Err(too_long(name));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(name, text),
        Err(error) => {
            let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let valid = String::from_utf8_lossy(valid);
            let mut sink = diagnostic::Sink::new(name, &valid);
            sink.error(place_after(&valid), "this is no UTF-8 text")
                .help("save the file as UTF-8");
            Err(sink.into_diagnostics())
        }
    }
}

/// Judges a configuration in YAML (or JSON); `name` is what messages call it.
///
/// # Errors
/// Every mistake, sorted by place.
pub fn parse(name: &str, text: &str) -> Result<Loaded, Diagnostics> {
    if text.len() > FILE_LEN_MAX {
        return Err(too_long(name));
    }
    let mut sink = diagnostic::Sink::new(name, text);
    if let Some((before, _)) = text.split_once('\0') {
        sink.error(place_after(before), "a NUL character")
            .help("is this a text file?");
        return Err(sink.into_diagnostics());
    }
    let node = tree::parse(text, &mut sink);
    if !sink.is_refused() && node.as_ref().is_none_or(tree::Node::is_null) {
        let help = "`ports` at least is needed; see docs/CONFIG.md";
        return Err(Diagnostics::of_file(name, "the file is empty".into(), help));
    }
    let root = node.and_then(|node| decode::document(&node, &tables::ROOT, &mut sink));
    let config = root.map(|root| resolve::config(&root, &mut sink));
    match config {
        Some(config) if !sink.is_refused() => Ok(Loaded {
            config,
            warnings: sink.into_warnings(),
        }),
        _ => Err(sink.into_diagnostics()),
    }
}

fn too_long(name: &str) -> Diagnostics {
    let message = format!("longer than {FILE_LEN_MAX} octets (1 MiB)");
    Diagnostics::of_file(name, message, "is this the right file?")
}

/// The place of the character that would follow `text`.
fn place_after(text: &str) -> tree::Span {
    let line_start = text.rfind('\n').map_or(0, |at| at + 1);
    let column = text.get(line_start..).unwrap_or_default().chars().count() + 1;
    tree::Span {
        line: text.matches('\n').count() + 1,
        column,
        len: 1,
    }
}
