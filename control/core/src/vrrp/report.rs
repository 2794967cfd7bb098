//! What people see of an instance.

use std::net::IpAddr;
use std::time::Duration;

use weir_engine::id::PortId;
use weir_engine::time::Time;

use super::Router;
use super::machine::{State, Why};
use super::packet::Reject;
use crate::config::VrrpChecksum;

/// One instance, for people and metrics.
#[derive(Clone, Debug)]
pub struct InstanceStatus {
    /// Its name.
    pub name: String,
    /// Where it speaks.
    pub port: PortId,
    /// Virtual router identifier.
    pub id: u8,
    /// 2 or 3.
    pub version: u8,
    /// Where it stands.
    pub state: State,
    /// Since when.
    pub since: Time,
    /// Why.
    pub why: String,
    /// The priority that it advertises; tracking changes it.
    pub priority: u8,
    /// The configured one.
    pub priority_configured: u8,
    /// Between own adverts.
    pub interval: Duration,
    /// Its VIPs, the unadvertised ones last.
    pub addresses: Vec<IpAddr>,
    /// Who was heard last.
    pub peer: Option<PeerStatus>,
    /// Adverts sent.
    pub sent: u64,
    /// Adverts accepted.
    pub received: u64,
    /// Of these, over IPv4 in version 3, by [`VrrpChecksum`].
    pub checksums: [u64; 2],
    /// Changes of state.
    pub transitions: u64,
}

/// The last accepted advert of an instance.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Who sent it.
    pub address: IpAddr,
    /// When.
    pub at: Time,
    /// Its priority.
    pub priority: u8,
    /// Its interval.
    pub interval: Duration,
    /// Addresses that it advertises and we do not.
    pub unknown: Vec<IpAddr>,
    /// Addresses that we advertise and it does not.
    pub missing: Vec<IpAddr>,
    /// How it sums up (version 3 over IPv4).
    pub checksum: Option<VrrpChecksum>,
}

/// An advert that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reject,
    /// When.
    pub at: Time,
    /// Where it came in.
    pub port: PortId,
    /// Who sent it, as far as that could be read.
    pub source: Option<IpAddr>,
}

impl Router {
    pub(super) fn report(&self) -> InstanceStatus {
        let (state, since, why) = self.machine.state();
        let ours = &self.config.addresses;
        let peer = self.heard.as_ref().map(|(at, accepted)| {
            let theirs = &accepted.addresses;
            let beyond = |a: &[IpAddr], b: &[IpAddr]| {
                a.iter().filter(|ip| !b.contains(ip)).copied().collect()
            };
            PeerStatus {
                address: accepted.heard.source,
                at: *at,
                priority: accepted.heard.priority,
                interval: accepted.heard.interval,
                unknown: beyond(theirs, ours),
                missing: beyond(ours, theirs),
                checksum: accepted.checksum,
            }
        });
        InstanceStatus {
            name: self.config.name.clone(),
            port: self.port,
            id: self.config.id,
            version: self.config.version,
            state,
            since,
            why: words(why),
            priority: self.machine.priority(),
            priority_configured: self.config.priority,
            interval: self.config.interval,
            addresses: self.config.vips().collect(),
            peer,
            sent: self.sent,
            received: self.received,
            checksums: self.checksums,
            transitions: self.transitions,
        }
    }
}

/// A reason as an operator reads it.
pub(crate) fn words(why: Why) -> String {
    match why {
        Why::Started => "started".into(),
        Why::Silence => "no Active was heard in time".into(),
        Why::Superior(heard) => {
            format!("{} advertises priority {}", heard.source, heard.priority)
        }
        Why::Fault => "something it needs is not well: link, address, worker or a track".into(),
        Why::Stopped => "stopped".into(),
        Why::Resigned => "the operator asked it to resign".into(),
        Why::Late => "woken too late to be sure of its role: it listens first".into(),
        Why::Group => "its group moved".into(),
    }
}
