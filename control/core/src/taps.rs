//! The kernel's end of the ports: one TAP each, with the port's MAC, DIPs and default routes.
//!
//! Everything ends with the TAPs, so nothing is left behind, not even by `kill -9`.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::address::AddressHeaderFlags;
use rtnetlink::{Handle, RouteMessageBuilder};
use weir_engine::id::PortId;
use weir_tap::{Tap, TapConfig, TapError};

use crate::config::{self, Config, Prefix};
use crate::mirror::model::Interfaces;
use crate::paths::PORT_FIRST;
use crate::ports::PortFact;

/// What a TAP is set to, below `/proc/sys/net`. `NAME` stands for the interface.
///
/// No reverse path filter: probes and VIPs take ways that it would call wrong. An address is
/// answered for only on its own port. Nothing is configured by router adverts: the file and the
/// operator's routing daemon decide. DIPs are usable while they are checked for duplicates.
const SYSCTLS: [(&str, &str); 9] = [
    ("ipv4/conf/NAME/rp_filter", "0"),
    ("ipv4/conf/NAME/arp_ignore", "1"),
    ("ipv4/conf/NAME/arp_announce", "2"),
    ("ipv4/conf/NAME/accept_redirects", "0"),
    ("ipv6/conf/NAME/disable_ipv6", "0"),
    ("ipv6/conf/NAME/accept_ra", "0"),
    ("ipv6/conf/NAME/autoconf", "0"),
    ("ipv6/conf/NAME/accept_redirects", "0"),
    ("ipv6/conf/NAME/optimistic_dad", "1"),
];

/// Why the TAPs are not there.
#[derive(Debug, thiserror::Error)]
pub enum TapsError {
    /// The TAP could not be made.
    #[error("ports: {0}")]
    Tap(#[from] TapError),
    /// A setting failed.
    #[error("port {port:?}: {step}: {reason}")]
    Setting {
        /// The port.
        port: String,
        /// What was tried.
        step: String,
        /// What the kernel said.
        reason: String,
    },
}

/// The TAPs of all ports, by [`PortId`].
#[derive(Debug)]
pub struct Taps {
    taps: Vec<Tap>,
    indexes: Vec<u32>,
}

impl Taps {
    /// Makes the TAPs, up, without carrier and without addresses.
    ///
    /// # Errors
    /// [`TapsError`] names the port and the remedy; TAPs made before it are gone again.
    pub fn open(config: &Config, facts: &[PortFact]) -> Result<Self, TapsError> {
        let mut taps = Vec::new();
        let mut indexes = Vec::new();
        for (port, fact) in config.ports.iter().zip(facts) {
            let failed = |step: &str, error: io::Error| setting(&port.name, step, &error);
            let name = port.name.clone();
            let tap = Tap::open(&TapConfig {
                name,
                mac: Some(fact.mac.0),
                mtu: fact.mtu,
            })?;
            for (path, value) in SYSCTLS {
                sysctl(&path.replace("NAME", &port.name), value)
                    .or_else(absent_family)
                    .map_err(|e| failed(path, e))?;
            }
            tap.set_up(true).map_err(|e| failed("setting it up", e))?;
            indexes.push(tap.ifindex().map_err(|e| failed("reading its index", e))?);
            taps.push(tap);
        }
        Ok(Self { taps, indexes })
    }

    /// Puts DIPs and default routes on the TAPs, which have carrier from now.
    ///
    /// # Errors
    /// [`TapsError::Setting`] for the first address or route that the kernel refuses.
    pub async fn configure(&self, handle: &Handle, config: &Config) -> Result<(), TapsError> {
        for (id, port) in (0..).map(PortId).zip(&config.ports) {
            let index = self.indexes[id.index()];
            self.set_carrier(id, true);
            for prefix in &port.addresses {
                add_address(handle, index, prefix)
                    .await
                    .map_err(|e| setting(&port.name, &format!("address {prefix}"), &e))?;
            }
            for gateway in &port.gateway {
                add_default_route(handle, index, *gateway)
                    .await
                    .map_err(|e| setting(&port.name, &format!("gateway {gateway}"), &e))?;
            }
        }
        Ok(())
    }

    /// Follows a reload: addresses and gateways of `old` that `new` lacks go, new ones come.
    ///
    /// # Errors
    /// As [`Self::configure`].
    pub async fn change(
        &self,
        handle: &Handle,
        old: &Config,
        new: &Config,
    ) -> Result<(), TapsError> {
        for ((index, old), new) in self.indexes.iter().zip(&old.ports).zip(&new.ports) {
            let failed = |step: String| {
                let name = new.name.clone();
                move |e: rtnetlink::Error| setting(&name, &step, &e)
            };
            for prefix in new.addresses.iter().filter(|p| !old.addresses.contains(p)) {
                let step = failed(format!("address {prefix}"));
                add_address(handle, *index, prefix).await.map_err(step)?;
            }
            for prefix in old.addresses.iter().filter(|p| !new.addresses.contains(p)) {
                let mut request = handle.address().add(*index, prefix.address, prefix.len);
                let message = request.message_mut().clone();
                // Gone already is as good.
                let _ = handle.address().del(message).execute().await;
            }
            for gateway in old.gateway.iter().filter(|g| !new.gateway.contains(g)) {
                let route = default_route(*index, *gateway);
                let _ = handle.route().del(route).execute().await;
            }
            for gateway in new.gateway.iter().filter(|g| !old.gateway.contains(g)) {
                let step = failed(format!("gateway {gateway}"));
                add_default_route(handle, *index, *gateway)
                    .await
                    .map_err(step)?;
            }
        }
        Ok(())
    }

    /// The TAP of a port.
    pub fn tap(&self, port: PortId) -> Option<&Tap> {
        self.taps.get(port.index())
    }

    /// The interface index of a port's TAP.
    pub fn interface(&self, port: PortId) -> Option<u32> {
        self.indexes.get(port.index()).copied()
    }

    /// The carrier follows the port's link.
    pub fn set_carrier(&self, port: PortId, carrier: bool) {
        if let Some(Err(error)) = self.tap(port).map(|tap| tap.set_carrier(carrier)) {
            tracing::error!(port = port.0, %error, "the TAP's carrier cannot be set");
        }
    }

    /// For the mirror: which interface is which port's.
    pub fn interfaces(&self, config: &Config) -> Interfaces {
        let taps = self
            .indexes
            .iter()
            .copied()
            .zip((0..).map(PortId))
            .collect();
        let mut netdevs: Vec<(String, PortId)> = Vec::new();
        for (id, port) in (0..).map(PortId).zip(&config.ports) {
            netdevs.extend(backing_netdev(&port.device).map(|name| (name.to_owned(), id)));
        }
        Interfaces { taps, netdevs }
    }
}

async fn add_address(handle: &Handle, index: u32, prefix: &Prefix) -> Result<(), rtnetlink::Error> {
    let mut request = handle.address().add(index, prefix.address, prefix.len);
    if prefix.address.is_ipv6() {
        // The sysctl is for addresses that come by router adverts only.
        request.message_mut().header.flags |= AddressHeaderFlags::Optimistic;
    }
    request.replace().execute().await
}

async fn add_default_route(
    handle: &Handle,
    index: u32,
    gateway: IpAddr,
) -> Result<(), rtnetlink::Error> {
    handle
        .route()
        .add(default_route(index, gateway))
        .replace()
        .execute()
        .await
}

fn default_route(index: u32, gateway: IpAddr) -> netlink_packet_route::route::RouteMessage {
    match gateway {
        IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new()
            .output_interface(index)
            .gateway(gateway)
            .build(),
        IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new()
            .output_interface(index)
            .gateway(gateway)
            .build(),
    }
}

fn setting(port: &str, step: &str, reason: &dyn std::fmt::Display) -> TapsError {
    TapsError::Setting {
        port: port.into(),
        step: step.into(),
        reason: reason.to_string(),
    }
}

/// Writes one sysctl of the present network namespace; `path` is below `/proc/sys/net`.
pub(crate) fn sysctl(path: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/net/{path}"), value)
}

/// A kernel without IPv6, or without one of the settings, needs no setting.
fn absent_family(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

/// Raises the kernel's neighbour table limits to hold `neighbours` entries and as many again.
///
/// # Errors
/// The reason in words, if this is not the initial network namespace (the only one that has these
/// settings) or they cannot be written: the operator should know the limit that stays.
pub fn raise_neighbour_limits(neighbours: usize) -> Result<(), String> {
    for family in ["ipv4", "ipv6"] {
        for (name, wanted) in [
            ("gc_thresh3", neighbours * 2 + 1024),
            ("gc_thresh2", neighbours * 2 + 512),
            ("gc_thresh1", neighbours + 128),
        ] {
            let path = format!("/proc/sys/net/{family}/neigh/default/{name}");
            let now = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
            if now.trim().parse::<usize>().is_ok_and(|now| now < wanted) {
                fs::write(&path, wanted.to_string()).map_err(|e| format!("{path}: {e}"))?;
            }
        }
    }
    Ok(())
}

/// Keeps other sockets of this network namespace off the source ports of path checks.
///
/// # Errors
/// The reason in words. Path checks work without it, until another socket has taken their port.
pub fn reserve_path_ports() -> Result<(), String> {
    let read = |name: &str| {
        let path = format!("/proc/sys/net/ipv4/{name}");
        fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))
    };
    let range = read("ip_local_port_range")?;
    let first = range.split_whitespace().next().unwrap_or_default();
    if first.parse().is_ok_and(|first: u16| first >= PORT_FIRST) {
        return Err(format!(
            "ip_local_port_range begins at {first}: no port would be left for other sockets; \
             fix: let it begin below {PORT_FIRST}"
        ));
    }
    let name = "ip_local_reserved_ports";
    let reserved = read(name)?;
    match with_path_ports(reserved.trim()) {
        Some(all) => sysctl(&format!("ipv4/{name}"), &all).map_err(|e| format!("{name}: {e}")),
        None => Ok(()),
    }
}

/// The list of reserved ports with those of path checks; `None` if they are in it.
fn with_path_ports(reserved: &str) -> Option<String> {
    let holds = |range: &str| {
        let (first, last) = range.split_once('-')?;
        Some(first.parse::<u16>().ok()? <= PORT_FIRST && last.parse::<u16>().ok()? == u16::MAX)
    };
    if reserved.split(',').any(|range| holds(range) == Some(true)) {
        return None;
    }
    let ours = format!("{PORT_FIRST}-{}", u16::MAX);
    Some(match reserved {
        "" => ours,
        others => format!("{others},{ours}"),
    })
}

/// Takes the reverse path filter off `all`, because the kernel applies the larger one of that and
/// the interface's own: servers answer path checks from VIPs, by any port. Interfaces that are
/// there keep what applied to them, and so do those to come; the TAPs are opened afterwards.
///
/// # Errors
/// The reason in words; the filter on `all` stays then.
pub fn confine_reverse_path_filter() -> Result<(), String> {
    const CONF: &str = "/proc/sys/net/ipv4/conf";
    let path = |name: &str| format!("{CONF}/{name}/rp_filter");
    let read = |name: &str| {
        let text = fs::read_to_string(path(name)).map_err(|e| format!("{}: {e}", path(name)))?;
        text.trim()
            .parse::<u8>()
            .map_err(|e| format!("{}: {e}", path(name)))
    };
    let write = |name: &str, value: u8| {
        fs::write(path(name), value.to_string()).map_err(|e| format!("{}: {e}", path(name)))
    };
    let all = read("all")?;
    if all == 0 {
        return Ok(());
    }
    for entry in fs::read_dir(CONF).map_err(|e| format!("{CONF}: {e}"))? {
        let name = entry.map_err(|e| format!("{CONF}: {e}"))?.file_name();
        let Some(name) = name.to_str().filter(|name| *name != "all") else {
            continue;
        };
        if read(name)? < all {
            write(name, all)?;
        }
    }
    write("all", 0)
}

/// The netdev under a kernel-backed device (`iface=` of net_af_packet, net_af_xdp), if any.
pub fn backing_netdev(device: &config::Device) -> Option<&str> {
    let kernel = ["net_af_packet", "net_af_xdp"]
        .iter()
        .any(|d| device.name().starts_with(d));
    device.arg("iface").filter(|_| kernel)
}

#[cfg(test)]
mod tests;
