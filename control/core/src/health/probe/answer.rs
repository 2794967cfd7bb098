//! What an answer must be.

use ring::digest::{SHA256, digest};

use crate::config::{BodyExpect, HeaderExpect};

/// Judges a body, or the part of it that was read.
pub(super) fn body(octets: &[u8], expect: &BodyExpect) -> Result<(), String> {
    match expect {
        BodyExpect::Contains(text) => {
            let found = contains(octets, text.as_bytes());
            found
                .then_some(())
                .ok_or_else(|| format!("no `{text}` in the answer"))
        }
        BodyExpect::Matches(pattern) => {
            let text = || format!("the answer does not match `{}`", pattern.as_str());
            pattern.is_match(octets).then_some(()).ok_or_else(text)
        }
        BodyExpect::Sha256(wanted) => {
            let found = digest(&SHA256, octets);
            if found.as_ref() == wanted {
                return Ok(());
            }
            let hex: String = found.as_ref().iter().map(|b| format!("{b:02x}")).collect();
            Err(format!("the answer's SHA-256 is {hex}"))
        }
    }
}

fn contains(octets: &[u8], text: &[u8]) -> bool {
    text.is_empty() || octets.windows(text.len()).any(|window| window == text)
}

/// Judges the header's fields.
pub(super) fn headers(
    fields: &[httparse::Header<'_>],
    expected: &[HeaderExpect],
) -> Result<(), String> {
    for HeaderExpect { name, value } in expected {
        let mut named = fields
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .peekable();
        if named.peek().is_none() {
            return Err(format!("no header field {name}"));
        }
        if let Some(value) = value
            && !named.any(|field| contains(field.value, value.as_bytes()))
        {
            return Err(format!("no `{value}` in header field {name}"));
        }
    }
    Ok(())
}

/// Judges a status code.
pub(super) fn status(status: u16, expected: &[(u16, u16)]) -> Result<(), String> {
    let fits = |(first, last): &(u16, u16)| (*first..=*last).contains(&status);
    if expected.iter().any(fits) {
        return Ok(());
    }
    let range = |&(first, last): &(u16, u16)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    let expected: Vec<String> = expected.iter().map(range).collect();
    Err(format!("status {status}, expected {}", expected.join(", ")))
}
