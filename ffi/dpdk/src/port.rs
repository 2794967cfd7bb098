//! A configured DPDK port: queues, addresses, offloads, counters.
//!
//! What a device cannot do is reported and worked around where that is possible; only what
//! leaves no usable port is an error.

use std::ffi::CStr;
use std::sync::Arc;

use dpdk_sys as sys;

use crate::device::{self, Device, PortHandle, interface};
use crate::mempool::Mempool;
use crate::plan::Plan;
use crate::queue::{RxQueue, TxQueue};
use crate::report::{PortConfig, PortReport, Shortfall};
use crate::stats::{self, Link, PortStats, Xstat};
use crate::{error_text, log};

/// Why a port cannot be used. Each is one line that names the device.
#[derive(Debug, thiserror::Error)]
#[error(
    "device {device:?}: {step} failed: {reason}{}{log}",
    if log.is_empty() { "" } else { ": " }
)]
pub struct PortError {
    /// The device string.
    pub device: String,
    /// What was tried.
    pub step: &'static str,
    /// DPDK's text for its error number.
    pub reason: String,
    /// What the driver logged, in one line.
    pub log: String,
}

/// The queues of a started port; each goes to the one worker that polls it.
#[derive(Debug)]
pub struct Queues {
    /// Receive queues, by index.
    pub rx: Vec<RxQueue>,
    /// Transmit queues, by index.
    pub tx: Vec<TxQueue>,
}

/// A configured port. It stops and closes when this value and all its queues are dropped.
#[derive(Debug)]
pub struct Port {
    device: Arc<Device>,
    driver: String,
    interface_index: Option<u32>,
    multi_segment: bool,
    promiscuous: bool,
    started: bool,
    report: PortReport,
}

impl Port {
    /// Configures a device with receive buffers from `pool`. It receives nothing yet.
    ///
    /// # Errors
    /// [`PortError`] if the driver refuses what no port can do without.
    pub fn configure(
        handle: PortHandle,
        config: &PortConfig,
        pool: Mempool,
    ) -> Result<Self, PortError> {
        let PortHandle(device) = handle;
        let (id, name) = (device.id, device.name.clone());
        log::take();
        let info = device::info(id).map_err(|e| port_error(&name, "reading its abilities", e))?;
        let driver = driver_name(&info);
        let multi_segment = sends_chains(&driver, &info);
        let mut plan = Plan::new(config, &info, pool.data_room());
        if !multi_segment {
            plan.report.shortfalls.push(Shortfall::MultiSegment);
        }

        let (rx_queues, tx_queues) = (plan.report.rx_queues, plan.report.tx_queues);
        // SAFETY: the port exists and is stopped; the configuration and the key it may point to
        // live until the call returns, and DPDK copies both.
        let result =
            unsafe { sys::rte_eth_dev_configure(id, rx_queues, tx_queues, &raw const plan.conf) };
        check(&name, "configuring", result)?;
        set_identity(id, config, &plan.conf, &mut plan.report.shortfalls);
        let report = &mut plan.report;
        let (rx_room, tx_room) = (
            &raw mut report.rx_descriptors,
            &raw mut report.tx_descriptors,
        );
        // SAFETY: the port exists; both numbers are ours to write.
        let result = unsafe { sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, rx_room, tx_room) };
        check(&name, "choosing descriptors", result)?;
        check_pool(&name, &driver, &plan.report, pool)?;
        set_up_queues(id, &name, &plan.report, pool)?;

        Ok(Self {
            device: Arc::new(device),
            driver,
            interface_index: (info.if_index != 0).then_some(info.if_index),
            multi_segment,
            promiscuous: config.promiscuous,
            started: false,
            report: plan.report,
        })
    }

    /// Starts the port and hands out its queues. It cannot be started twice.
    ///
    /// # Errors
    /// [`PortError`] with the driver's reason.
    pub fn start(&mut self) -> Result<Queues, PortError> {
        /// EALREADY. Starting again would hand each queue to a second owner.
        const ALREADY: i32 = 114;
        let id = self.device.id;
        check(
            &self.device.name,
            "starting",
            if self.started { -ALREADY } else { 0 },
        )?;
        // SAFETY: the port is configured and its queues are set up.
        check(&self.device.name, "starting", unsafe {
            sys::rte_eth_dev_start(id)
        })?;
        self.started = true;
        self.open_filters();
        let rx = (0..self.report.rx_queues).map(|index| {
            // SAFETY: the port is started, the queue set up, and named here only.
            unsafe { RxQueue::new(Arc::clone(&self.device), index) }
        });
        let tx = (0..self.report.tx_queues).map(|index| {
            // SAFETY: as above.
            unsafe { TxQueue::new(Arc::clone(&self.device), index, self.multi_segment) }
        });
        Ok(Queues {
            rx: rx.collect(),
            tx: tx.collect(),
        })
    }

    /// Takes what the device would keep back: everything, or all multicast, without which neither
    /// neighbour discovery nor VRRP works. Kernel-backed drivers cannot tell the two apart.
    fn open_filters(&mut self) {
        if self.promiscuous {
            return self.take_all();
        }
        // SAFETY: the port is started; a refusal is an error number.
        let refused = unsafe { sys::rte_eth_allmulticast_enable(self.device.id) } != 0;
        if refused {
            self.take_all();
        }
    }

    /// Takes frames to every MAC from now on; a device that refuses says so in the report. For a
    /// running port too, when it gets its first virtual MAC.
    pub fn take_all(&mut self) {
        self.promiscuous = true;
        // SAFETY: any port number is allowed; a refusal is an error number.
        let result = unsafe { sys::rte_eth_promiscuous_enable(self.device.id) };
        let known = self.report.shortfalls.contains(&Shortfall::Promiscuous);
        if result != 0 && !known {
            self.report.shortfalls.push(Shortfall::Promiscuous);
        }
    }

    /// Whether it takes frames to every MAC, as far as the device lets it.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.promiscuous
    }

    /// The DPDK port number, which frames carry.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.device.id
    }

    /// The device string.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device.name
    }

    /// What the port is, and what was asked for in vain.
    #[must_use]
    pub const fn report(&self) -> &PortReport {
        &self.report
    }

    /// DPDK's name of the driver, such as `net_af_xdp`.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// The netdev behind a kernel-backed virtual device, by name.
    #[must_use]
    pub fn interface(&self) -> Option<&str> {
        interface(&self.device.name)
    }

    /// The netdev behind the port, by index, where the driver knows one.
    #[must_use]
    pub const fn interface_index(&self) -> Option<u32> {
        self.interface_index
    }

    /// The port's MAC address. All zeros on devices that have none.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        let mut mac = sys::rte_ether_addr::default();
        // SAFETY: DPDK checks the port's number and writes one address.
        unsafe { sys::rte_eth_macaddr_get(self.device.id, &raw mut mac) };
        mac.addr_bytes
    }

    /// The link as the driver sees it.
    #[must_use]
    pub fn link(&self) -> Link {
        stats::link(self.device.id)
    }

    /// The port's counters.
    #[must_use]
    pub fn stats(&self) -> PortStats {
        stats::port_stats(self.device.id)
    }

    /// The driver's extended counters. Allocates; for people, not for loops.
    #[must_use]
    pub fn xstats(&self) -> Vec<Xstat> {
        stats::xstats(self.device.id)
    }
}

/// Whether the driver sends frames of several segments: those that say so, and virtual devices
/// that walk the chain without saying so.
fn sends_chains(driver: &str, info: &sys::rte_eth_dev_info) -> bool {
    const SILENT: [&str; 5] = [
        "net_null",
        "net_pcap",
        "net_ring",
        "net_af_packet",
        "net_memif",
    ];
    info.tx_offload_capa & sys::WEIR_TX_OFFLOAD_MULTI_SEGS != 0 || SILENT.contains(&driver)
}

/// Drivers fill their receive rings at once, and say little about a pool that is too small.
fn check_pool(
    device: &str,
    driver: &str,
    report: &PortReport,
    pool: Mempool,
) -> Result<(), PortError> {
    /// Frames that af_xdp keeps in each queue's fill ring, whatever the descriptors.
    const XDP_FILL: u16 = 2048;
    let per_queue = match driver {
        "net_af_xdp" => report.rx_descriptors.max(XDP_FILL),
        // These take a frame from the pool when one arrives.
        "net_null" | "net_pcap" | "net_ring" | "net_af_packet" | "net_memif" => 0,
        _ => report.rx_descriptors,
    };
    let needed = usize::from(per_queue) * usize::from(report.rx_queues);
    let free = pool.available();
    if free >= needed {
        return Ok(());
    }
    let step = "filling the receive queues";
    let reason =
        format!("{free} mbufs are free, {needed} are needed; fix: raise `mbufs` in `runtime`");
    Err(PortError {
        device: device.to_owned(),
        step,
        reason,
        log: String::new(),
    })
}

fn set_up_queues(id: u16, name: &str, report: &PortReport, pool: Mempool) -> Result<(), PortError> {
    // SAFETY: DPDK checks the port's number. -1 means any node, as a u32 all ones.
    let node = unsafe { sys::rte_eth_dev_socket_id(id) }.cast_unsigned();
    for queue in 0..report.rx_queues {
        let (count, pool) = (report.rx_descriptors, pool.as_ptr());
        // SAFETY: the port is configured with this queue, null means the driver's defaults, and
        // the pool lives forever.
        let result =
            unsafe { sys::rte_eth_rx_queue_setup(id, queue, count, node, std::ptr::null(), pool) };
        check(name, "setting up a receive queue", result)?;
    }
    for queue in 0..report.tx_queues {
        let count = report.tx_descriptors;
        // SAFETY: as above.
        let result =
            unsafe { sys::rte_eth_tx_queue_setup(id, queue, count, node, std::ptr::null()) };
        check(name, "setting up a transmit queue", result)?;
    }
    Ok(())
}

/// Sets MAC address and MTU, also of the netdev behind a kernel-backed port; refusals are
/// reported. Before the queues, because af_xdp attaches its program there, and some netdevs
/// refuse another MTU while one is attached.
fn set_identity(
    id: u16,
    config: &PortConfig,
    conf: &sys::rte_eth_conf,
    lacks: &mut Vec<Shortfall>,
) {
    /// The device has nothing to set; `rte_eth_dev_configure` has noted the MTU.
    const ENOTSUP: i32 = 95;
    let mtu = u16::try_from(conf.rxmode.mtu).unwrap_or(u16::MAX);
    // SAFETY: DPDK checks the port's number and the MTU.
    let result = unsafe { sys::rte_eth_dev_set_mtu(id, mtu) };
    if result != 0 && result != -ENOTSUP {
        let mut given = 0;
        // SAFETY: DPDK checks the port's number; `given` is ours to write.
        unsafe { sys::rte_eth_dev_get_mtu(id, &raw mut given) };
        lacks.push(Shortfall::Mtu {
            asked: config.mtu,
            given,
        });
    }
    if let Some(addr_bytes) = config.mac {
        let mut mac = sys::rte_ether_addr { addr_bytes };
        // SAFETY: DPDK checks the port's number and copies the address.
        if unsafe { sys::rte_eth_dev_default_mac_addr_set(id, &raw mut mac) } != 0 {
            lacks.push(Shortfall::Mac);
        }
    }
}

fn driver_name(info: &sys::rte_eth_dev_info) -> String {
    if info.driver_name.is_null() {
        return String::new();
    }
    // SAFETY: not null, and drivers' names are static, NUL-terminated strings.
    unsafe { CStr::from_ptr(info.driver_name) }
        .to_string_lossy()
        .into_owned()
}

fn check(device: &str, step: &'static str, result: i32) -> Result<(), PortError> {
    if result < 0 {
        Err(port_error(device, step, result))
    } else {
        Ok(())
    }
}

fn port_error(device: &str, step: &'static str, errno: i32) -> PortError {
    let (reason, log) = (error_text(errno), log::one_line(&log::take()));
    PortError {
        device: device.to_owned(),
        step,
        reason,
        log,
    }
}
