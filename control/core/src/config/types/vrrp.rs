//! VRRP instances of an accepted configuration.

use std::net::IpAddr;
use std::time::Duration;

use super::Prefix;

/// A VRRP instance (RFC 9568, RFC 3768).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VrrpInstance {
    /// Unique name.
    pub name: String,
    /// Name of the port it speaks on.
    pub port: String,
    /// Virtual router identifier (VRID), 1 to 255.
    pub id: u8,
    /// 2 or 3.
    pub version: u8,
    /// 1 to 254, or 255 for the owner of the addresses.
    pub priority: u8,
    /// Advertisement interval; whole seconds in version 2.
    pub interval: Duration,
    /// Whether a higher priority takes over from a living Active.
    pub preempt: bool,
    /// How long a preempting router waits first.
    pub preempt_delay: Duration,
    /// Whether the VIPs answer with the virtual MAC instead of the port's.
    pub virtual_mac: bool,
    /// VIPs in advertised order, one family, at least one; IPv6 begins with a link-local one.
    pub addresses: Vec<IpAddr>,
    /// VIPs that are answered for and not advertised, of the same family.
    pub extra_addresses: Vec<IpAddr>,
    /// The password of version 2, padded with zeros.
    pub auth: Option<[u8; 8]>,
    /// Other directors that are sent to instead of the group; empty is multicast.
    pub peers: Vec<IpAddr>,
    /// Instances of one group change role together.
    pub group: Option<String>,
    /// How adverts of version 3 over IPv4 are summed up.
    pub checksum: VrrpChecksum,
    /// What must be well.
    pub track: Vec<Track>,
    /// What is run on a change of role.
    pub notify: Notify,
}

impl VrrpInstance {
    /// All VIPs, advertised or not.
    pub fn vips(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.iter().chain(&self.extra_addresses).copied()
    }
}

/// Which checksum an advert of version 3 over IPv4 carries. Both are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VrrpChecksum {
    /// With the pseudo-header, as keepalived and FRR send it.
    Rfc5798,
    /// Over the message alone.
    Rfc9568,
}

/// Something that must be well for an instance to be Active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// What it is.
    pub what: Tracked,
    /// Below 0: added to the priority while it is not well; above 0: while it is. 0: the
    /// instance is in fault while it is not well.
    pub weight: i16,
}

/// What is tracked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracked {
    /// The link of a port.
    Port(String),
    /// The quorum of a service.
    Service(String),
    /// A route of the kernel's.
    Route(Prefix),
    /// The exit status of a program.
    Script {
        /// The program and its arguments.
        argv: Vec<String>,
        /// Between two runs.
        interval: Duration,
        /// A run that takes longer has failed.
        timeout: Duration,
        /// Successes in a row until it is well.
        rise: u16,
        /// Failures in a row until it is not.
        fall: u16,
    },
}

/// Programs, with their arguments, to run on a change of role; empty is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// It became Active.
    pub master: Vec<String>,
    /// It became Backup.
    pub backup: Vec<String>,
    /// It can be neither.
    pub fault: Vec<String>,
    /// A program that runs longer is ended.
    pub timeout: Duration,
}
