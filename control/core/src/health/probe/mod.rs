//! One probe of one server, bounded in time and octets.
//!
//! A direct probe asks the server's own address; the source address is the routing's choice, so it
//! leaves by the TAP of the port that leads to the server. A probe on the clients' way asks the
//! VIP, from a source that says which server is meant (see [`Way`]).

mod answer;
mod datagram;
mod http;
mod icmp;
mod stream;
mod tls;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::board::Job;
use super::machine::{Finding, Outcome, Phases};
use crate::config::{HealthCheck, Probe};

/// How a probe gets to its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the server's own address.
    Direct,
    /// The same, where the VIP was wanted, for this reason.
    Instead(String),
    /// To the VIP, from this address and port, which the frames on their way are known by, and by
    /// this TAP.
    Path {
        /// A DIP and a reserved port.
        source: SocketAddr,
        /// Name of the TAP.
        device: String,
    },
    /// Not at all, for a reason of our own.
    None(String),
}

/// Why a probe did not pass.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Failure {
    /// The server was reached and is not well.
    #[error("{0}")]
    Server(String),
    /// Nothing comes from there, as the kernel says.
    #[error("{0}")]
    Silent(String),
    /// The time was up.
    #[error("{text}")]
    Timeout {
        /// During what.
        text: String,
        /// Whether the server had shown a sign of life.
        reached: bool,
    },
    /// Ours.
    #[error("not probed: {0}")]
    Local(String),
}

impl Failure {
    fn finding(&self) -> Finding {
        match self {
            Self::Server(_) | Self::Timeout { reached: true, .. } => Finding::Fail,
            Self::Silent(_) | Self::Timeout { reached: false, .. } => Finding::Silent,
            Self::Local(_) => Finding::Local,
        }
    }
}

/// Asks a server as the job says. Always ends within the check's time-out, or within twice that
/// where the clients' way has failed and the server's own address is asked to compare.
///
/// Must run on a tokio runtime with time and I/O.
pub async fn run(job: &Job, way: &Way) -> Outcome {
    let mut attempt = Attempt::new(&job.check);
    let mut result = ask(job, way, &mut attempt).await;
    let duration = attempt.begin.elapsed();
    if let (Err(failure), Way::Path { .. }) = (&result, way)
        && failure.finding() == Finding::Silent
        && !job.check.probe.is_udp()
    {
        let hint = compare(job).await;
        result = Err(Failure::Silent(format!("{failure}; {hint}")));
    }
    let (finding, reason) = match result {
        Ok(reason) => (Finding::Pass, reason),
        Err(failure) => (failure.finding(), failure.to_string()),
    };
    Outcome {
        finding,
        duration,
        phases: attempt.phases,
        reason,
        certificate_expiry: attempt.certificate_expiry,
        waited: Duration::ZERO,
    }
}

async fn ask(job: &Job, way: &Way, attempt: &mut Attempt<'_>) -> Result<String, Failure> {
    let to = Destination::of(job, way)?;
    match &job.check.probe {
        Probe::Tcp => {
            attempt.connect(&to).await?;
            Ok("connected".into())
        }
        Probe::Http(probe) => http::ask(attempt, &to, probe).await,
        Probe::Udp { send, expect } => datagram::udp(attempt, &to, send, expect.as_ref()).await,
        Probe::Dns { name, kind, rcodes } => {
            datagram::dns(attempt, &to, (name, *kind), rcodes).await
        }
        Probe::Icmp => icmp::ask(attempt, to.address.ip()).await,
        Probe::Smtp => stream::smtp(attempt, &to).await,
        Probe::Script(argv) => script(job, argv).await,
        Probe::Passive(_) => Err(Failure::Local("a passive check asks nobody".into())),
    }
}

/// What the server's own address says when the VIP behind it is silent.
async fn compare(job: &Job) -> String {
    let to = Destination {
        address: job.target,
        source: None,
    };
    let vip = job.vip.map_or(job.target, |vip| vip).ip();
    match Attempt::new(&job.check).connect(&to).await {
        Ok(_) => format!(
            "its own address answers: {vip} is missing on its lo, its tunnel is not set up, or \
             rp_filter drops there"
        ),
        Err(Failure::Server(text)) => format!("its own address answers: {text}"),
        Err(Failure::Silent(_) | Failure::Timeout { .. } | Failure::Local(_)) => {
            "its own address is silent too".into()
        }
    }
}

async fn script(job: &Job, argv: &[String]) -> Result<String, Failure> {
    let (service, server) = &job.name;
    let environment = [
        ("WEIR_SERVICE".to_owned(), service.to_string()),
        ("WEIR_SERVER".to_owned(), server.to_string()),
        ("WEIR_ADDRESS".to_owned(), job.target.ip().to_string()),
        ("WEIR_PORT".to_owned(), job.target.port().to_string()),
    ];
    let ended = crate::script::run(argv, &environment, job.check.timeout).await;
    ended
        .map(|()| "exit status 0".into())
        .map_err(Failure::Server)
}

/// Whom a probe's packets are addressed to, and from where.
#[derive(Clone, Debug)]
struct Destination<'a> {
    address: SocketAddr,
    source: Option<(SocketAddr, &'a str)>,
}

impl<'a> Destination<'a> {
    fn of(job: &Job, way: &'a Way) -> Result<Self, Failure> {
        match way {
            Way::Direct | Way::Instead(_) => Ok(Self {
                address: job.target,
                source: None,
            }),
            Way::Path { source, device } => Ok(Self {
                address: job.vip.unwrap_or(job.target),
                source: Some((*source, device)),
            }),
            Way::None(reason) => Err(Failure::Local(reason.clone())),
        }
    }

    /// A `Host` header for the address.
    fn host(&self) -> String {
        match self.address {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        }
    }
}

/// A probe under way: its time, and what it has seen.
#[derive(Debug)]
struct Attempt<'a> {
    check: &'a HealthCheck,
    begin: Instant,
    /// The end of its time.
    at: Instant,
    phases: Phases,
    /// Whether the server has shown a sign of life.
    reached: bool,
    certificate_expiry: Option<i64>,
}

impl<'a> Attempt<'a> {
    fn new(check: &'a HealthCheck) -> Self {
        let begin = Instant::now();
        Self {
            check,
            begin,
            at: begin + check.timeout,
            phases: Phases::default(),
            reached: false,
            certificate_expiry: None,
        }
    }

    /// Awaits `step` until the probe's time is up, or the phase's own `limit`. Returns its result
    /// and how long it took.
    async fn phase<T>(
        &self,
        what: &str,
        limit: Option<Duration>,
        step: impl Future<Output = io::Result<T>>,
    ) -> Result<(T, Duration), Failure> {
        let begin = Instant::now();
        let tighter = limit.map(|limit| begin + limit).filter(|at| *at < self.at);
        match timeout_at(tighter.unwrap_or(self.at), step).await {
            Err(_) => {
                let limit = match tighter {
                    Some(_) => limit.unwrap_or_default(),
                    None => self.check.timeout,
                };
                Err(Failure::Timeout {
                    text: format!("timed out after {limit:?} {what}"),
                    reached: self.reached,
                })
            }
            Ok(Err(error)) => Err(failure(&error, what)),
            Ok(Ok(value)) => Ok((value, begin.elapsed())),
        }
    }
}

/// Sorts an error: the server's, silence, or ours.
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
        Some(19 | 23 | 24 | 105) // ENODEV, ENFILE, EMFILE, ENOBUFS have no kind
    );
    let text = if error.kind() == ErrorKind::HostUnreachable {
        // The kernel's word when nobody answers its ARP or ND question, and a router's.
        "host unreachable: no ARP or ND answer".to_owned()
    } else if error.kind() == ErrorKind::ConnectionRefused {
        "refused".to_owned()
    } else {
        error.to_string()
    };
    let text = format!("{text} while {what}");
    let silent = matches!(
        error.kind(),
        ErrorKind::HostUnreachable | ErrorKind::TimedOut
    );
    if ours {
        Failure::Local(text)
    } else if silent {
        Failure::Silent(text)
    } else {
        Failure::Server(text)
    }
}

#[cfg(test)]
mod tests;
