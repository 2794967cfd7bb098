//! One probe of one server: a TCP handshake or an HTTP GET, bounded in time and octets.
//!
//! The source address is the routing's choice, so a probe leaves by the TAP of the port that
//! leads to the server.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::machine::{Finding, Outcome};
use crate::config::{HealthCheck, Probe};

/// Octets of an answer's header that are read at most (F14).
const HEADER_LEN_MAX: usize = 16 * 1024;
/// Header fields that an answer may have.
const HEADER_FIELDS_MAX: usize = 100;

/// Why a probe did not pass.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Failure {
    #[error("timed out after {0:?} {1}")]
    Timeout(Duration, &'static str),
    #[error("{0}")]
    Server(String),
    #[error("not probed: {0}")]
    Local(String),
}

/// Asks `target` as `check` says. Always ends within the check's time-out.
pub async fn run(target: SocketAddr, check: &HealthCheck) -> Outcome {
    let start = Instant::now();
    let limit = Limit {
        at: start + check.timeout,
        timeout: check.timeout,
    };
    let result = match &check.probe {
        Probe::Tcp => connect(target, &limit)
            .await
            .map(|_| "connected".to_owned()),
        Probe::Http { url, host, status } => {
            let host = host.clone().unwrap_or_else(|| match target {
                SocketAddr::V4(target) => target.ip().to_string(),
                SocketAddr::V6(target) => format!("[{}]", target.ip()),
            });
            get(target, &limit, (url, &host), status).await
        }
    };
    let duration = start.elapsed();
    match result {
        Ok(reason) => Outcome {
            finding: Finding::Pass,
            duration,
            reason,
        },
        Err(failure) => {
            let finding = match failure {
                Failure::Timeout(..) | Failure::Server(_) => Finding::Fail,
                Failure::Local(_) => Finding::Local,
            };
            Outcome {
                finding,
                duration,
                reason: failure.to_string(),
            }
        }
    }
}

/// The end of a probe's time.
#[derive(Clone, Copy, Debug)]
struct Limit {
    at: Instant,
    timeout: Duration,
}

impl Limit {
    /// Awaits `step` until the time is up.
    async fn of<T>(
        &self,
        what: &'static str,
        step: impl Future<Output = io::Result<T>>,
    ) -> Result<T, Failure> {
        match timeout_at(self.at, step).await {
            Err(_) => Err(Failure::Timeout(self.timeout, what)),
            Ok(Err(error)) => Err(failure(&error, what)),
            Ok(Ok(value)) => Ok(value),
        }
    }
}

async fn connect(target: SocketAddr, limit: &Limit) -> Result<TcpStream, Failure> {
    let stream = limit.of("connecting", TcpStream::connect(target)).await?;
    // Closed by RST: thousands of probes a second must not fill the ports with TIME_WAIT. A
    // failure only costs a port for a minute.
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    Ok(stream)
}

async fn get(
    target: SocketAddr,
    limit: &Limit,
    (url, host): (&str, &str),
    expected: &[(u16, u16)],
) -> Result<String, Failure> {
    let mut stream = connect(target, limit).await?;
    let request = format!(
        "GET {url} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: weir-health\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    limit
        .of("sending the request", stream.write_all(request.as_bytes()))
        .await?;
    let mut header = Vec::with_capacity(1024);
    loop {
        let room = HEADER_LEN_MAX - header.len();
        if room == 0 {
            let reason = format!("header longer than {HEADER_LEN_MAX} octets");
            return Err(Failure::Server(reason));
        }
        let mut bounded = (&mut stream).take(room as u64);
        let read = bounded.read_buf(&mut header);
        if limit.of("waiting for the answer", read).await? == 0 {
            return Err(Failure::Server(
                "connection closed before the answer's end".into(),
            ));
        }
        if let Some(status) = parse(&header)? {
            return judge(status, expected);
        }
    }
}

/// The status, once the whole header is there.
fn parse(header: &[u8]) -> Result<Option<u16>, Failure> {
    let mut fields = [httparse::EMPTY_HEADER; HEADER_FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(header) {
        Ok(httparse::Status::Complete(_)) => Ok(response.code),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(error) => Err(Failure::Server(format!("answer is not HTTP: {error}"))),
    }
}

fn judge(status: u16, expected: &[(u16, u16)]) -> Result<String, Failure> {
    if expected
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&status))
    {
        return Ok(format!("status {status}"));
    }
    let range = |&(first, last): &(u16, u16)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    let expected: Vec<String> = expected.iter().map(range).collect();
    Err(Failure::Server(format!(
        "status {status}, expected {}",
        expected.join(", ")
    )))
}

/// Sorts an error: the server's, or ours.
fn failure(error: &io::Error, what: &str) -> Failure {
    let ours = matches!(
        error.kind(),
        ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable
            | ErrorKind::AddrInUse
            | ErrorKind::PermissionDenied
            | ErrorKind::OutOfMemory
    ) || matches!(
        error.raw_os_error(),
        Some(23 | 24 | 105) // ENFILE, EMFILE, ENOBUFS have no kind
    );
    let text = format!("{error} while {what}");
    if ours {
        Failure::Local(text)
    } else {
        Failure::Server(text)
    }
}

#[cfg(test)]
mod tests;
