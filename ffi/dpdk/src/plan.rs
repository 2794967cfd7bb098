//! What to ask of a device: the configuration as far as its abilities go, and what is left over.
//!
//! Calls nothing on the device; `port.rs` does.

use dpdk_sys as sys;

use crate::report::{ChecksumOffload, PortConfig, PortReport, RssConfig, RssSide, Shortfall};

/// Octets that may surround the payload in a frame: Ethernet header, two VLAN tags, FCS.
const FRAME_OVERHEAD: u16 = 14 + 8 + 4;

/// What to ask of the device, and what not to.
pub(crate) struct Plan {
    pub(crate) conf: sys::rte_eth_conf,
    /// `conf` points into it.
    _key: Option<Vec<u8>>,
    pub(crate) report: PortReport,
}

impl Plan {
    pub(crate) fn new(config: &PortConfig, info: &sys::rte_eth_dev_info, data_room: u16) -> Self {
        let mut conf = sys::rte_eth_conf::default();
        let mut lacks = Vec::new();
        let rx_queues = config.rx_queues.min(info.max_rx_queues);
        let tx_queues = config.tx_queues.min(info.max_tx_queues);
        if rx_queues < config.rx_queues {
            lacks.push(Shortfall::RxQueues {
                asked: config.rx_queues,
                given: rx_queues,
            });
        }
        if tx_queues < config.tx_queues {
            lacks.push(Shortfall::TxQueues {
                asked: config.tx_queues,
                given: tx_queues,
            });
        }
        // A device that says nothing about its limits has 0 there.
        let mtu_max = if info.max_mtu == 0 {
            u16::MAX
        } else {
            info.max_mtu
        };
        let mtu = config.mtu.clamp(info.min_mtu.min(mtu_max), mtu_max);
        if mtu != config.mtu {
            lacks.push(Shortfall::Mtu {
                asked: config.mtu,
                given: mtu,
            });
        }
        conf.rxmode.mtu = u32::from(mtu);
        let checksums = sys::WEIR_RX_OFFLOAD_IPV4_CKSUM
            | sys::WEIR_RX_OFFLOAD_UDP_CKSUM
            | sys::WEIR_RX_OFFLOAD_TCP_CKSUM;
        if config.checksum == ChecksumOffload::Verify {
            conf.rxmode.offloads |= info.rx_offload_capa & checksums;
            if info.rx_offload_capa & checksums != checksums {
                lacks.push(Shortfall::Checksum);
            }
        }
        if u32::from(mtu) + u32::from(FRAME_OVERHEAD) > u32::from(data_room) {
            conf.rxmode.offloads |= info.rx_offload_capa & sys::WEIR_RX_OFFLOAD_SCATTER;
            if info.rx_offload_capa & sys::WEIR_RX_OFFLOAD_SCATTER == 0 {
                lacks.push(Shortfall::Scatter);
            }
        }
        conf.txmode.offloads |= info.tx_offload_capa & sys::WEIR_TX_OFFLOAD_MULTI_SEGS;
        let key = config
            .rss
            .as_ref()
            .filter(|_| config.rx_queues > 1)
            .and_then(|rss| plan_rss(rss, rx_queues, info, &mut conf, &mut lacks));
        let report = PortReport {
            rx_queues,
            tx_queues,
            rx_descriptors: config.rx_descriptors,
            tx_descriptors: config.tx_descriptors,
            shortfalls: lacks,
        };
        Self {
            conf,
            _key: key,
            report,
        }
    }
}

/// Asks for RSS as far as the device has it. Returns the key that `conf` points to.
fn plan_rss(
    rss: &RssConfig,
    rx_queues: u16,
    info: &sys::rte_eth_dev_info,
    conf: &mut sys::rte_eth_conf,
    lacks: &mut Vec<Shortfall>,
) -> Option<Vec<u8>> {
    let fields = sys::WEIR_RSS_IP | sys::WEIR_RSS_TCP | sys::WEIR_RSS_UDP;
    let fields = fields & info.flow_type_rss_offloads;
    if rx_queues < 2 || fields == 0 {
        lacks.push(Shortfall::Rss);
        return None;
    }
    let side = match rss.side {
        RssSide::Both => 0,
        RssSide::Source => sys::WEIR_RSS_L3_SRC_ONLY | sys::WEIR_RSS_L4_SRC_ONLY,
        RssSide::Destination => sys::WEIR_RSS_L3_DST_ONLY | sys::WEIR_RSS_L4_DST_ONLY,
    };
    let has_side = info.flow_type_rss_offloads & side == side;
    if !has_side {
        lacks.push(Shortfall::RssSide);
    }
    let len = if info.hash_key_size == 0 {
        40
    } else {
        usize::from(info.hash_key_size)
    };
    let mut key: Vec<u8> = rss.key.iter().copied().cycle().take(len).collect();
    let key_len = u8::try_from(len).unwrap_or(u8::MAX);
    let fields = if has_side { fields | side } else { fields };
    conf.rxmode.offloads |= info.rx_offload_capa & sys::WEIR_RX_OFFLOAD_RSS_HASH;
    // SAFETY: writes fields of `conf`; the key moves to the caller, its octets stay in place.
    unsafe { sys::weir_conf_rss(conf, key.as_mut_ptr(), key_len, fields) };
    Some(key)
}
