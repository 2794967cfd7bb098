//! What a port counts, and its link state.

use std::ffi::CStr;

use dpdk_sys as sys;

/// A port's counters since it started. Frames include what other threads sent meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames received.
    pub rx_frames: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Octets received.
    pub rx_octets: u64,
    /// Octets sent.
    pub tx_octets: u64,
    /// Frames that the device dropped because the receive queues were full.
    pub rx_missed: u64,
    /// Frames received in error.
    pub rx_errors: u64,
    /// Frames that could not be sent.
    pub tx_errors: u64,
    /// Times that no mbuf was free for a frame.
    pub rx_no_mbuf: u64,
}

/// One of a driver's extended counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xstat {
    /// The driver's name for it.
    pub name: String,
    /// Its value.
    pub value: u64,
}

/// A port's link, as the driver sees it. Kernel-backed devices always say up: where a netdev is
/// behind the port, ask the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Carrier is there.
    pub up: bool,
    /// Mbit/s, where the driver knows it.
    pub speed_mbps: Option<u32>,
}

pub(crate) fn port_stats(port: u16) -> PortStats {
    let mut raw = sys::rte_eth_stats::default();
    // SAFETY: DPDK checks the port's number and writes one struct.
    if unsafe { sys::rte_eth_stats_get(port, &raw mut raw) } != 0 {
        return PortStats::default();
    }
    PortStats {
        rx_frames: raw.ipackets,
        tx_frames: raw.opackets,
        rx_octets: raw.ibytes,
        tx_octets: raw.obytes,
        rx_missed: raw.imissed,
        rx_errors: raw.ierrors,
        tx_errors: raw.oerrors,
        rx_no_mbuf: raw.rx_nombuf,
    }
}

pub(crate) fn xstats(port: u16) -> Vec<Xstat> {
    // SAFETY: without room DPDK only says how many there are.
    let count = unsafe { sys::rte_eth_xstats_get(port, std::ptr::null_mut(), 0) };
    let Ok(room) = u32::try_from(count) else {
        return Vec::new();
    };
    let mut values = vec![sys::rte_eth_xstat::default(); room as usize];
    let mut names = vec![sys::rte_eth_xstat_name::default(); room as usize];
    // SAFETY: `values` has the room that is passed.
    let got = unsafe { sys::rte_eth_xstats_get(port, values.as_mut_ptr(), room) };
    // SAFETY: `names` has the room that is passed.
    let named = unsafe { sys::rte_eth_xstats_get_names(port, names.as_mut_ptr(), room) };
    if got != count || named != count {
        return Vec::new();
    }
    values
        .iter()
        .filter_map(|xstat| {
            let name = &names.get(usize::try_from(xstat.id).ok()?)?.name;
            // SAFETY: DPDK ends each name with a NUL within the array.
            let name = unsafe { CStr::from_ptr(name.as_ptr()) };
            Some(Xstat {
                name: name.to_string_lossy().into_owned(),
                value: xstat.value,
            })
        })
        .collect()
}

pub(crate) fn link(port: u16) -> Link {
    let (mut speed, mut up) = (0_u32, 0_i32);
    // SAFETY: DPDK checks the port's number; both places are ours.
    let result = unsafe { sys::weir_link(port, &raw mut speed, &raw mut up) };
    Link {
        up: result == 0 && up != 0,
        speed_mbps: (speed != 0).then_some(speed),
    }
}
