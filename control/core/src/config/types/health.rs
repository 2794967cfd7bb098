//! Health checks of an accepted configuration.

use std::path::PathBuf;
use std::time::Duration;

use regex::bytes::Regex;

use super::L4Port;

/// A named health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Unique name.
    pub name: String,
    /// How a server is asked.
    pub probe: Probe,
    /// From one probe's start to the next; a probe that takes longer delays the next.
    pub interval: Duration,
    /// The same while the server is down.
    pub interval_down: Duration,
    /// Percent of the interval by which each is varied, either way; at most 50.
    pub jitter: u8,
    /// A probe without its answer by then has failed.
    pub timeout: Duration,
    /// Tighter limits of single phases.
    pub phase_timeouts: PhaseTimeouts,
    /// Passes in a row that bring a server up.
    pub rise: u16,
    /// Failures in a row that take a server down.
    pub fall: u16,
    /// What a server is before its first result.
    pub initial: Initial,
    /// What is done about a server that falls again and again.
    pub dampening: Option<Dampening>,
    /// What is done when most servers of the check fall silent at once.
    pub brake: Option<Brake>,
    /// Port to ask instead of the server's own.
    pub port: Option<L4Port>,
    /// Whether the probe goes the way of clients' packets; `None`: it does in modes dr and tunnel.
    pub path: Option<bool>,
}

/// Limits of single phases; each is the whole time-out where it is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseTimeouts {
    /// The TCP handshake.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From the request to the first octet of the answer.
    pub answer: Option<Duration>,
}

/// What a server is before its first result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Initial {
    /// Down until the first pass.
    Down,
    /// Up until `fall` failures in a row.
    Up,
}

/// A server that fell `falls` times `within` stays down for `hold` after the last fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dampening {
    /// Falls that are one too many; at least 2.
    pub falls: u16,
    /// Over so long.
    pub within: Duration,
    /// How long the server is kept down.
    pub hold: Duration,
}

/// When `share` of a check's good servers, and at least `servers` of them, fall silent at once,
/// the fault is looked for on our side: they stay up for `hold`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brake {
    /// Percent, 1 to 100.
    pub share: u8,
    /// At least so many.
    pub servers: u16,
    /// At longest.
    pub hold: Duration,
}

/// How a server is asked whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A TCP handshake.
    Tcp,
    /// An HTTP/1.1 GET.
    Http(HttpProbe),
    /// A datagram: an answer passes, port unreachable fails.
    Udp {
        /// What is sent; may be empty.
        send: Vec<u8>,
        /// What the answer must hold; without it silence passes too.
        expect: Option<BodyExpect>,
    },
    /// A DNS question over UDP.
    Dns {
        /// The name that is asked for, in wire format (RFC 1035 §3.1).
        name: Vec<u8>,
        /// QTYPE.
        kind: u16,
        /// The response codes that pass; never empty.
        rcodes: Vec<u8>,
    },
    /// An ICMP or ICMPv6 echo request.
    Icmp,
    /// A mail server's greeting (RFC 5321 §4.2): 220.
    Smtp,
    /// A program: exit status 0 passes. Its first word is an absolute path.
    Script(Vec<String>),
    /// No probe: how clients' flows fare.
    Passive(Passive),
}

impl Probe {
    /// Whether it asks a port. Only such a probe can take the clients' way: it has a source port to
    /// be known by.
    pub fn asks_port(&self) -> bool {
        match self {
            Self::Tcp | Self::Http(_) | Self::Udp { .. } | Self::Dns { .. } | Self::Smtp => true,
            Self::Icmp | Self::Script(_) | Self::Passive(_) => false,
        }
    }

    /// Whether the probe is carried by UDP rather than TCP.
    pub fn is_udp(&self) -> bool {
        matches!(self, Self::Udp { .. } | Self::Dns { .. })
    }

    /// Whether servers are asked at all.
    pub fn asks(&self) -> bool {
        !matches!(self, Self::Passive(_))
    }
}

/// What an HTTP probe asks and expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// Request target, starting with `/`.
    pub url: String,
    /// `Host` header; `None` is the server's address.
    pub host: Option<String>,
    /// HTTPS.
    pub tls: Option<TlsProbe>,
    /// Inclusive ranges of status codes that pass; never empty.
    pub status: Vec<(u16, u16)>,
    /// What the body must be.
    pub body: Option<BodyExpect>,
    /// Fields that the answer must have.
    pub headers: Vec<HeaderExpect>,
}

/// What of TLS matters to a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsProbe {
    /// Server name to send (SNI) and, with `verify`, to find in the certificate; `None` is the
    /// host, or the address.
    pub name: Option<String>,
    /// Whether the certificate must be valid.
    pub verify: bool,
    /// Whom to trust, PEM; `None` is the system's list.
    pub ca: Option<PathBuf>,
}

/// What an answer's body must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyExpect {
    /// It contains this text.
    Contains(String),
    /// It matches this expression.
    Matches(Pattern),
    /// Its SHA-256 is this.
    Sha256([u8; 32]),
}

/// A field that an answer must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderExpect {
    /// Field name; case does not matter.
    pub name: String,
    /// A part of its value; `None`: any.
    pub value: Option<String>,
}

/// A compiled regular expression.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

/// Octets that a compiled expression may take.
const PATTERN_LEN_MAX: usize = 256 * 1024;

impl Pattern {
    /// Compiles `text`.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn new(text: &str) -> Result<Self, String> {
        let built = regex::bytes::RegexBuilder::new(text)
            .size_limit(PATTERN_LEN_MAX)
            .dfa_size_limit(PATTERN_LEN_MAX)
            .build();
        built.map(Self).map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.trim_start_matches("error: ").to_owned()
        })
    }

    /// Whether it matches anywhere in `octets`. Takes time linear in their number.
    pub fn is_match(&self, octets: &[u8]) -> bool {
        self.0.is_match(octets)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

/// When clients' flows speak against a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passive {
    /// Percent of its new flows that came to nothing, 1 to 100.
    pub share: u8,
    /// Of at least so many in one interval.
    pub flows: u32,
    /// How long it gets no new flow before it is tried again.
    pub hold: Duration,
}
