//! The kernel's side of the ports: guards, TAPs and the mirror, opened together.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use weir_engine::id::PortId;

use super::StartError;
use super::world::Neighbours;
use crate::config::Config;
use crate::guard::Guard;
use crate::mirror::Mirror;
use crate::mirror::netlink::{Netlink, View};
use crate::ports::PortFact;
use crate::taps::{Taps, backing_netdev};

/// The kernel's side, if there is one.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) taps: Taps,
    pub(super) netlink: Netlink,
    pub(super) view: watch::Receiver<View>,
    /// The neighbours that the kernel was last told to keep.
    kept: Arc<Neighbours>,
    /// Held so that the kernel stays off the devices.
    _guards: Vec<Guard>,
}

impl Kernel {
    /// Guards the netdevs, makes the TAPs, and reads what the kernel knows.
    pub(super) async fn open(
        config: &Config,
        facts: &[PortFact],
        state: Option<&Path>,
    ) -> Result<Self, StartError> {
        let mut guards: Vec<Guard> = Vec::new();
        for netdev in config
            .ports
            .iter()
            .filter_map(|port| backing_netdev(&port.device))
        {
            if guards.iter().all(|guard| guard.netdev() != netdev) {
                guards.push(Guard::open(netdev, state)?);
            }
        }
        if let Err(reason) = crate::taps::confine_reverse_path_filter() {
            tracing::warn!("the reverse path filter may drop answers to path checks: {reason}");
        }
        if let Err(reason) = crate::taps::reserve_path_ports() {
            tracing::warn!("source ports of path checks may be taken by others: {reason}");
        }
        let taps = Taps::open(config, facts)?;
        let servers: usize = config.services.iter().map(|s| s.servers.len()).sum();
        if let Err(reason) = crate::taps::raise_neighbour_limits(servers) {
            tracing::warn!("the kernel's neighbour limits stay as they are: {reason}");
        }
        // A connection of its own, so that the mirror's first dump shows all that was set here.
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let configured = taps.configure(&handle, config).await;
        connection.abort();
        configured?;
        let netlink = Netlink::start(taps.interfaces(config)).await?;
        let view = netlink.view();
        Ok(Self {
            taps,
            netlink,
            view,
            kept: Arc::default(),
            _guards: guards,
        })
    }
}

impl Kernel {
    /// Gives the kernel a frame, by the TAP of `port`.
    pub(super) fn give(&self, port: PortId, frame: &[u8]) {
        if let Some(Err(error)) = self.taps.tap(port).map(|tap| tap.send(frame)) {
            tracing::debug!(port = port.0, %error, "the kernel did not take a frame");
        }
    }

    /// What the kernel knows now.
    pub(super) fn mirror(&self) -> Mirror {
        self.view.borrow().mirror.clone()
    }

    /// Has the kernel keep these neighbours resolved.
    pub(super) fn keep(&mut self, neighbours: &Arc<Neighbours>) {
        let told = Arc::ptr_eq(neighbours, &self.kept);
        // An order that finds no room comes again with the next tables.
        if !told && self.netlink.keep(Arc::clone(neighbours)) {
            self.kept = Arc::clone(neighbours);
        }
    }

    /// Has the kernel ask for a neighbour, unless it knows it.
    pub(super) fn resolve(&self, port: PortId, neighbour: IpAddr) {
        if let Some(interface) = self.taps.interface(port) {
            self.netlink.resolve(interface, neighbour);
        }
    }
}
