//! HTTP and HTTPS probes: one GET (RFC 9112), of whose answer a bounded part is read.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Attempt, Destination, Failure, answer};
use crate::config::{BodyExpect, HttpProbe};

/// Octets of an answer's header that are read at most (F14).
const HEADER_LEN_MAX: usize = 16 * 1024;
/// Header fields that an answer may have.
const HEADER_FIELDS_MAX: usize = 100;
/// Octets of a body that are looked at.
const BODY_LEN_MAX: usize = 64 * 1024;
/// Octets of a chunked body in all, chunk headers and extensions included.
const WIRE_LEN_MAX: usize = 4 * BODY_LEN_MAX;

/// Asks and judges the answer.
pub(super) async fn ask(
    attempt: &mut Attempt<'_>,
    to: &Destination<'_>,
    probe: &HttpProbe,
) -> Result<String, Failure> {
    let stream = attempt.connect(to).await?;
    match &probe.tls {
        None => exchange(attempt, stream, to, probe).await,
        Some(tls) => {
            let host = probe.host.as_deref();
            let stream = attempt.handshake(stream, to, tls, host).await?;
            exchange(attempt, stream, to, probe).await
        }
    }
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    attempt: &mut Attempt<'_>,
    mut stream: S,
    to: &Destination<'_>,
    probe: &HttpProbe,
) -> Result<String, Failure> {
    let host = probe.host.clone().unwrap_or_else(|| to.host());
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: weir-health\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n",
        probe.url
    );
    let write = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await // TLS keeps what it has not sent.
    };
    let ((), took) = attempt.phase("sending the request", None, write).await?;
    attempt.phases.send = Some(took);
    let mut octets = Vec::with_capacity(1024);
    let head = loop {
        if octets.len() >= HEADER_LEN_MAX {
            let text = format!("header longer than {HEADER_LEN_MAX} octets");
            return Err(Failure::Server(text));
        }
        if read(attempt, &mut stream, &mut octets, HEADER_LEN_MAX).await? == 0 {
            let text = "connection closed before the answer's end";
            return Err(Failure::Server(text.into()));
        }
        if let Some(head) = head(&octets, probe).map_err(Failure::Server)? {
            break head;
        }
    };
    octets.drain(..head.len);
    let passed = format!("status {}", head.status);
    let Some(expect) = &probe.body else {
        return Ok(passed);
    };
    let limit = if head.chunked {
        WIRE_LEN_MAX
    } else {
        BODY_LEN_MAX
    };
    let mut seen = 0;
    let mut ended = is_complete(&octets, &head, &mut seen);
    while !ended && octets.len() < limit {
        ended = read(attempt, &mut stream, &mut octets, limit).await? == 0
            || is_complete(&octets, &head, &mut seen);
    }
    let body = if head.chunked {
        dechunk(&octets).0
    } else {
        octets
    };
    if matches!(expect, BodyExpect::Sha256(_)) && (!ended || body.len() > BODY_LEN_MAX) {
        let text = format!("body longer than {BODY_LEN_MAX} octets: no SHA-256");
        return Err(Failure::Server(text));
    }
    let looked_at = head.body_len.unwrap_or(BODY_LEN_MAX).min(BODY_LEN_MAX);
    let looked_at = &body[..body.len().min(looked_at)];
    answer::body(looked_at, expect).map_err(Failure::Server)?;
    Ok(passed)
}

/// Reads on, up to `max` octets in all. Returns how many came; 0 is the end.
async fn read<S: AsyncRead + Unpin>(
    attempt: &mut Attempt<'_>,
    stream: &mut S,
    octets: &mut Vec<u8>,
    max: usize,
) -> Result<usize, Failure> {
    let mut bounded = stream.take(max.saturating_sub(octets.len()) as u64);
    let is_first = attempt.phases.first_byte.is_none();
    let limit = attempt.check.phase_timeouts.answer.filter(|_| is_first);
    let read = bounded.read_buf(octets);
    let (len, took) = attempt.phase("waiting for the answer", limit, read).await?;
    attempt.phases.first_byte.get_or_insert(took);
    Ok(len)
}

/// An answer's header that was as expected.
#[derive(Debug)]
struct Head {
    /// Octets, the empty line included.
    len: usize,
    status: u16,
    chunked: bool,
    body_len: Option<usize>,
}

/// Judges the header once the whole of it is there.
fn head(octets: &[u8], probe: &HttpProbe) -> Result<Option<Head>, String> {
    let mut fields = [httparse::EMPTY_HEADER; HEADER_FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let len = match response.parse(octets) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("answer is not HTTP: {error}")),
    };
    let status = response.code.unwrap_or(0);
    answer::status(status, &probe.status)?;
    answer::headers(response.headers, &probe.headers)?;
    let field = |name: &str| {
        let mut fields = response.headers.iter();
        let field = fields.find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(field.value).ok().map(str::trim)
    };
    let coding = field("Transfer-Encoding").unwrap_or_default();
    let chunked = coding.to_ascii_lowercase().ends_with("chunked");
    let body_len = field("Content-Length").and_then(|len| len.parse().ok());
    Ok(Some(Head {
        len,
        status,
        chunked,
        body_len: body_len.filter(|_| !chunked),
    }))
}

/// Whether the whole body is there; a body without a length ends with its connection. `seen` is
/// how far whole chunks have been looked at, so that octet by octet they are looked at once.
fn is_complete(octets: &[u8], head: &Head, seen: &mut usize) -> bool {
    if !head.chunked {
        return head.body_len.is_some_and(|len| octets.len() >= len);
    }
    loop {
        match chunk(&octets[*seen..]) {
            Chunk::Whole(_, len) => *seen += len,
            Chunk::Partial(_) => return false,
            Chunk::End => return true,
        }
    }
}

/// What a chunked body goes on with (RFC 9112 §7.1).
enum Chunk<'a> {
    /// A chunk's data, and how long it is with its size and line end.
    Whole(&'a [u8], usize),
    /// What is there of one that has not arrived whole.
    Partial(&'a [u8]),
    /// The last chunk, or what is none.
    End,
}

fn chunk(octets: &[u8]) -> Chunk<'_> {
    let (begin, len) = match httparse::parse_chunk_size(octets) {
        Ok(httparse::Status::Complete((_, 0))) | Err(_) => return Chunk::End,
        Ok(httparse::Status::Complete(found)) => found,
        Ok(httparse::Status::Partial) => return Chunk::Partial(&[]),
    };
    let rest = &octets[begin..];
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let Some((data, after)) = rest.split_at_checked(len) else {
        return Chunk::Partial(rest);
    };
    match after {
        [b'\r', b'\n', ..] => Chunk::Whole(data, begin + len + 2),
        // Its line end may be under way.
        [] | [b'\r'] => Chunk::Partial(data),
        _ => Chunk::Whole(data, begin + len),
    }
}

/// A chunked body's octets as far as they are there, and whether that is all.
fn dechunk(mut octets: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        match chunk(octets) {
            Chunk::Whole(data, len) => {
                body.extend_from_slice(data);
                octets = &octets[len..];
            }
            Chunk::Partial(data) => {
                body.extend_from_slice(data);
                return (body, false);
            }
            Chunk::End => return (body, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_and_what_is_none_ends_the_body() {
        let whole = b"4\r\nWiki\r\n6;ext=1\r\npedia \r\n0\r\n\r\n";
        assert_eq!(dechunk(whole), (b"Wikipedia ".to_vec(), true));
        assert_eq!(dechunk(&whole[..12]), (b"Wiki".to_vec(), false));
        assert_eq!(dechunk(b"4\r\nWi"), (b"Wi".to_vec(), false));
        assert_eq!(dechunk(b"zz\r\n"), (Vec::new(), true));
        let huge = b"ffffffffffffffff\r\nx";
        assert_eq!(dechunk(huge), (b"x".to_vec(), false));
    }

    #[test]
    fn a_body_that_comes_octet_by_octet_ends_with_its_last_chunk_and_not_before() {
        let whole = b"4\r\nWiki\r\n6;ext=1\r\npedia \r\n0\r\n\r\n";
        let head = Head {
            len: 0,
            status: 200,
            chunked: true,
            body_len: None,
        };
        let mut seen = 0;
        let first = (0..=whole.len()).find(|len| is_complete(&whole[..*len], &head, &mut seen));
        // With the size of the last chunk, line end included.
        assert_eq!(first, Some(whole.len() - 2));
    }
}
