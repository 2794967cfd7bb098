//! Opens DPDK: memory, pool, devices, queues. Everything here happens once, before the first frame.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use weir_control::config::{Config, CpuId, Device, Port as PortSetting};
use weir_control::ports::PortFact;
use weir_dpdk::{
    ChecksumOffload, Eal, EalConfig, Hugepages, Memory, Mempool, MempoolConfig, Port, PortConfig,
    PortStats, RssConfig, RssSide,
};
use weir_engine::id::DeviceId;
use weir_wire::addr::MacAddr;
use weir_worker::DeviceQueues;

/// Descriptors of a receive queue: 1,024 frames are 69 µs of 10 Gbit/s at 64 octets, more than a
/// worker's longest turn.
const DESCRIPTORS: u16 = 1024;
/// Frames that each worker keeps out of the shared pool.
const POOL_CACHE: u32 = 256;

/// One device with the DPDK ports behind it: several where a virtual device has one queue each.
#[derive(Debug)]
pub(crate) struct OpenDevice {
    /// As the configuration names it.
    pub(crate) device: String,
    pub(crate) ports: Vec<Port>,
    pub(crate) mac: MacAddr,
    /// What the device lacks, and what that costs.
    pub(crate) notes: Vec<String>,
}

impl OpenDevice {
    /// Takes frames to every MAC, if it does not yet: virtual ones are none of the device's (V55).
    pub(crate) fn take_all(&mut self) {
        for port in self.ports.iter_mut().filter(|port| !port.takes_all()) {
            port.take_all();
        }
    }

    /// Starts receiving, and gives the queues away.
    ///
    /// # Errors
    /// One line that names the device.
    pub(crate) fn start(&mut self) -> anyhow::Result<DeviceQueues> {
        let mut queues = DeviceQueues {
            rx: Vec::new(),
            tx: Vec::new(),
        };
        for port in &mut self.ports {
            let started = port.start()?;
            queues.rx.extend(started.rx);
            queues.tx.extend(started.tx);
        }
        Ok(queues)
    }

    /// Receive and transmit queues.
    pub(crate) fn queues(&self) -> (u64, u64) {
        let sum = |count: fn(&Port) -> u16| self.ports.iter().map(|p| u64::from(count(p))).sum();
        (
            sum(|port| port.report().rx_queues),
            sum(|port| port.report().tx_queues),
        )
    }

    /// Counters of all its DPDK ports together.
    pub(crate) fn stats(&self) -> PortStats {
        let mut sum = PortStats::default();
        for stats in self.ports.iter().map(Port::stats) {
            sum.rx_frames += stats.rx_frames;
            sum.tx_frames += stats.tx_frames;
            sum.rx_octets += stats.rx_octets;
            sum.tx_octets += stats.tx_octets;
            sum.rx_missed += stats.rx_missed;
            sum.rx_errors += stats.rx_errors;
            sum.tx_errors += stats.tx_errors;
            sum.rx_no_mbuf += stats.rx_no_mbuf;
        }
        sum
    }
}

/// Everything that was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) pool: Mempool,
    /// By [`DeviceId`].
    pub(crate) devices: Vec<OpenDevice>,
    /// By position of the port in the configuration.
    pub(crate) facts: Vec<PortFact>,
    /// The cost of what the machine lacks, for log and status.
    pub(crate) notes: Vec<String>,
}

/// The CPUs that this process may use.
pub(crate) fn cpus() -> Vec<CpuId> {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    ids.into_iter()
        .filter_map(|core| u16::try_from(core.id).ok().map(CpuId))
        .collect()
}

/// Refuses CPUs that do not exist before anything is opened.
pub(crate) fn check_cpus(config: &Config, workers: &[CpuId]) -> anyhow::Result<()> {
    let present = cpus();
    let listed: Vec<String> = present.iter().map(|cpu| cpu.0.to_string()).collect();
    let settings = workers.iter().map(|cpu| ("runtime.workers", cpu));
    for (key, cpu) in settings.chain([("runtime.control", &config.runtime.control)]) {
        if !present.contains(cpu) {
            bail!(
                "{key}: CPU {} does not exist; fix: use one of {}",
                cpu.0,
                listed.join(", ")
            );
        }
    }
    Ok(())
}

/// Starts DPDK and opens every device of the configuration; nothing receives yet. `key` is the
/// secret by which flows are spread over workers, by the NIC where it can.
///
/// # Errors
/// One line that names the device or setting and the fix.
pub(crate) fn open(config: &Config, workers: usize, key: &[u8; 40]) -> anyhow::Result<Opened> {
    let runtime = &config.runtime;
    let mut notes = Vec::new();
    let mut eal = Eal::init(&EalConfig {
        file_prefix: format!("weir-{}", std::process::id()),
        control_cpu: usize::from(runtime.control.0),
        hugepages: hugepages(config),
        memory: Mempool::octets(runtime.mbufs, runtime.mbuf_data),
        pci: pci_addresses(config),
    })?;
    if let Memory::Ordinary { why } = eal.memory() {
        notes.push(format!(
            "packet memory in ordinary pages ({why}) → more TLB misses"
        ));
    }
    let pool = Mempool::new(
        &eal,
        &MempoolConfig {
            name: "weir",
            count: runtime.mbufs,
            data_room: runtime.mbuf_data,
            cache: POOL_CACHE,
            node: None,
        },
    )?;
    let mut opened = Opened {
        pool,
        devices: Vec::new(),
        facts: Vec::new(),
        notes,
    };
    let mut known: BTreeMap<String, DeviceId> = BTreeMap::new();
    for port in &config.ports {
        let name = port.device.to_string();
        let id = match known.get(&name) {
            Some(id) => *id,
            None => {
                let id = DeviceId(u16::try_from(opened.devices.len()).context("too many devices")?);
                let rss = RssConfig {
                    key: *key,
                    side: rss_side(config, port),
                };
                let mut port = port.clone();
                // Virtual MACs are none of the device's own (V55).
                port.promiscuous |= has_virtual_macs(config, &port);
                opened.open_device(&mut eal, &port, (workers, &rss))?;
                known.insert(name, id);
                id
            }
        };
        let device = &opened.devices[id.index()];
        let mac = port.mac.unwrap_or(device.mac);
        opened.facts.push(PortFact {
            device: id,
            mac,
            mtu: port.mtu,
        });
    }
    Ok(opened)
}

impl Opened {
    fn open_device(
        &mut self,
        eal: &mut Eal,
        setting: &PortSetting,
        (workers, rss): (usize, &RssConfig),
    ) -> anyhow::Result<()> {
        let key = || format!("port {}", setting.name);
        let wanted = setting.queues.map_or(workers, usize::from).max(1);
        let mut ports = Vec::new();
        let mut notes = Vec::new();
        let strings = attach_strings(&setting.device, wanted);
        let per_port = u16::try_from(if strings.len() > 1 { 1 } else { wanted })?;
        for device in &strings {
            let handle = eal.attach(device).with_context(key)?;
            let wanted = port_config(setting, per_port, rss);
            let port = Port::configure(handle, &wanted, self.pool).with_context(key)?;
            notes.extend(port.report().shortfalls.iter().map(ToString::to_string));
            ports.push(port);
        }
        let first = ports
            .first()
            .context("a device has at least one DPDK port")?;
        let mac = usable_mac(MacAddr(first.mac()), &setting.name);
        notes.dedup();
        self.notes
            .extend(notes.iter().map(|note| format!("{}: {note}", setting.name)));
        self.devices.push(OpenDevice {
            device: setting.device.to_string(),
            mac,
            ports,
            notes,
        });
        Ok(())
    }
}

/// The hugepage policy, in DPDK's type.
pub(crate) fn hugepages(config: &Config) -> Hugepages {
    match config.runtime.hugepages {
        weir_control::config::Hugepages::Auto => Hugepages::Auto,
        weir_control::config::Hugepages::Required => Hugepages::Required,
        weir_control::config::Hugepages::Off => Hugepages::Off,
    }
}

fn pci_addresses(config: &Config) -> Vec<String> {
    let pci = config.ports.iter().filter_map(|port| match &port.device {
        Device::Pci { .. } => Some(port.device.to_string()),
        Device::Virtual { .. } => None,
    });
    let mut list: Vec<String> = pci.collect();
    list.sort_unstable();
    list.dedup();
    list
}

/// Whether VRRP instances answer on this port by MACs that the device must be told to take.
fn has_virtual_macs(config: &Config, port: &PortSetting) -> bool {
    let here = |device: &str| {
        let other = config.ports.iter().find(|p| p.name == device);
        other.is_some_and(|other| other.device == port.device)
    };
    config.vrrp.iter().any(|v| v.virtual_mac && here(&v.port))
}

fn port_config(setting: &PortSetting, queues: u16, rss: &RssConfig) -> PortConfig {
    PortConfig {
        rx_queues: queues,
        tx_queues: queues,
        rx_descriptors: DESCRIPTORS,
        tx_descriptors: DESCRIPTORS,
        mtu: setting.mtu,
        promiscuous: setting.promiscuous,
        mac: setting.mac.map(|mac| mac.0),
        rss: (queues > 1).then(|| rss.clone()),
        checksum: ChecksumOffload::Off,
    }
}

/// Which end of a flow is the client's in most frames that a port receives: the destination where
/// NAT servers are on-link and no VIP is, else the source. Wrong only costs hand-overs.
fn rss_side(config: &Config, port: &PortSetting) -> RssSide {
    let has_vip = config
        .services
        .iter()
        .any(|service| port.is_on_link(service.address));
    let mut servers = config.services.iter().flat_map(|service| &service.servers);
    let has_nat = servers.any(|server| {
        server.mode == weir_control::config::Mode::Nat && port.is_on_link(server.address)
    });
    if has_nat && !has_vip {
        RssSide::Destination
    } else {
        RssSide::Source
    }
}

/// What to attach for one device.
///
/// A veth has no combined channels, so a `net_af_xdp` device takes one queue; several queues
/// become as many single-queue devices (`start_queue`), as far as the netdev has them.
fn attach_strings(device: &Device, wanted: usize) -> Vec<String> {
    let plain = vec![device.to_string()];
    let explicit = ["start_queue", "queue_count"]
        .iter()
        .any(|key| device.arg(key).is_some());
    if !device.name().starts_with("net_af_xdp") || explicit || wanted < 2 {
        return plain;
    }
    let queues = device.arg("iface").map_or(1, netdev_queues).min(wanted);
    if queues < 2 {
        return plain;
    }
    let part = |queue| match queue {
        0 => format!("{device},start_queue=0,queue_count=1"),
        // `net_af_xdp0` becomes `net_af_xdp0900q1`-like names in DPDK's form: digits at the end.
        _ => {
            let name = device.name();
            format!(
                "{name}0{queue},{},start_queue={queue},queue_count=1",
                device.args()
            )
        }
    };
    (0..queues).map(part).collect()
}

/// Receive queues of a kernel netdev.
fn netdev_queues(interface: &str) -> usize {
    let path = format!("/sys/class/net/{interface}/queues");
    let Ok(entries) = std::fs::read_dir(path) else {
        return 1;
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .filter(|name| name.to_string_lossy().starts_with("rx-"))
        .count()
        .max(1)
}

/// Devices without a MAC (`net_pcap`, `net_null`) get a locally administered one, the same at
/// each start, so that neighbours' caches stay right.
fn usable_mac(mac: MacAddr, port: &str) -> MacAddr {
    if mac != MacAddr::ZERO {
        return mac;
    }
    // FNV-1a: short, stable between builds, and nothing depends on its quality.
    let hash = port.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    });
    let [_, _, _, a, b, c, d, e] = hash.to_be_bytes();
    MacAddr([0x02, a, b, c, d, e])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_a_mac_gets_a_local_unicast_one_that_stays() {
        let mac = usable_mac(MacAddr::ZERO, "wan0");
        assert_eq!(mac.0[0], 0x02);
        assert_eq!(mac, usable_mac(MacAddr::ZERO, "wan0"));
        assert_ne!(mac, usable_mac(MacAddr::ZERO, "lan0"));
    }

    #[test]
    fn one_queue_is_one_device() {
        let device = Device::Virtual {
            name: "net_af_xdp0".into(),
            args: "iface=none".into(),
        };
        assert_eq!(attach_strings(&device, 1), ["net_af_xdp0,iface=none"]);
        assert_eq!(attach_strings(&device, 4), ["net_af_xdp0,iface=none"]);
    }
}
