//! What the kernel knows of Weir's ports: addresses, routes, neighbours and links of the TAPs.
//!
//! The kernel is the authority, so that `ip route`, FRR and BIRD work as on any Linux host; this
//! is its copy for reconcile. Plain data here; [`model`] applies what [`netlink`] hears.

pub mod model;
pub mod netlink;

use std::net::IpAddr;
use std::sync::Arc;

use weir_engine::id::PortId;
use weir_engine::tables::Map;
use weir_wire::addr::MacAddr;

use crate::config::{Config, Prefix};

/// A snapshot of the kernel's view; cheap to clone, and equal parts are shared.
#[derive(Clone, Debug, Default)]
pub struct Mirror {
    /// Addresses of the TAPs.
    pub addresses: Arc<[(PortId, Prefix)]>,
    /// Routes that leave by a TAP; of several to one prefix only the best.
    pub routes: Arc<[KernelRoute]>,
    /// Neighbours with a usable MAC.
    pub neighbours: Arc<Map<(PortId, IpAddr), MacAddr>>,
}

/// One route out of the kernel's main tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelRoute {
    /// Where it leads; host bits are zero.
    pub destination: Prefix,
    /// The port that leads there.
    pub port: PortId,
    /// The next router; `None`: on-link.
    pub gateway: Option<IpAddr>,
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// Lower is better.
    pub metric: u32,
}

impl Mirror {
    /// What the kernel would say if it had just been given `config` and nobody had changed it:
    /// for runs without TAPs, and until the first dump has come in.
    pub fn from_config(config: &Config) -> Self {
        let mut mirror = (Vec::new(), Vec::new());
        for (index, port) in (0..).zip(&config.ports) {
            let (addresses, routes) = (&mut mirror.0, &mut mirror.1);
            let id = PortId(index);
            for prefix in &port.addresses {
                addresses.push((id, *prefix));
                routes.push(KernelRoute {
                    destination: network(*prefix),
                    port: id,
                    gateway: None,
                    source: Some(prefix.address),
                    metric: 0,
                });
            }
            for gateway in &port.gateway {
                routes.push(KernelRoute {
                    destination: Prefix {
                        address: unspecified(*gateway),
                        len: 0,
                    },
                    port: id,
                    gateway: Some(*gateway),
                    source: None,
                    metric: 0,
                });
            }
        }
        Self {
            addresses: mirror.0.into(),
            routes: mirror.1.into(),
            neighbours: Arc::default(),
        }
    }
}

/// `prefix` with its host bits cleared.
pub(crate) fn network(prefix: Prefix) -> Prefix {
    let len = u32::from(prefix.len);
    let address = match prefix.address {
        IpAddr::V4(a) => {
            let mask = u32::MAX.checked_shl(32 - len.min(32)).unwrap_or(0);
            IpAddr::V4((a.to_bits() & mask).into())
        }
        IpAddr::V6(a) => {
            let mask = u128::MAX.checked_shl(128 - len.min(128)).unwrap_or(0);
            IpAddr::V6((a.to_bits() & mask).into())
        }
    };
    Prefix {
        address,
        len: prefix.len,
    }
}

/// `0.0.0.0` or `::`, of the family of `like`.
pub(crate) fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}
