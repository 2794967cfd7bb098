//! The configuration as the rest of Weir sees it: checked, resolved, every default filled in.
//!
//! Nothing here knows YAML. A value of these types satisfies every rule of docs/CONFIG.md, so a
//! consumer checks nothing again; `parse` in the parent module is the only maker.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use weir_wire::addr::{L4Port, MacAddr};

mod health;
mod vrrp;
pub use health::*;
pub use vrrp::*;

/// One accepted configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Ports in listed order; names are unique, and there is at least one.
    pub ports: Vec<Port>,
    /// Workers, memory and answers: fixed from start to stop.
    pub runtime: Runtime,
    /// VRRP instances in listed order; names are unique, and no VIP is in two.
    pub vrrp: Vec<VrrpInstance>,
    /// Health checks in listed order; names are unique.
    pub health_checks: Vec<Arc<HealthCheck>>,
    /// Services in listed order; names are unique, and no two claim the same VIP, protocol and
    /// port, except that a service for all ports takes what the others of its VIP leave.
    pub services: Vec<Service>,
    /// Socket, listener and state directory.
    pub management: Management,
}

/// A DPDK port and the kernel TAP that carries its name and addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name of the port and of its TAP, at most 15 characters.
    pub name: String,
    /// What DPDK opens.
    pub device: Device,
    /// DIPs, put on the TAP.
    pub addresses: Vec<Prefix>,
    /// Default routes: at most one for each family, on-link.
    pub gateway: Vec<IpAddr>,
    /// Largest IP packet in octets.
    pub mtu: u16,
    /// 802.1Q tag of this port's frames.
    pub vlan: Option<VlanId>,
    /// Queues to ask for; `None` is as many as there are workers, if the device has them.
    pub queues: Option<u16>,
    /// Whether the device takes frames for every MAC.
    pub promiscuous: bool,
    /// MAC to use instead of the device's own.
    pub mac: Option<MacAddr>,
    /// Static neighbours, which the kernel is not asked for.
    pub neighbours: Vec<Neighbour>,
}

impl Port {
    /// Whether `address` lies in a subnet of this port, so that it is reached without a router.
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|prefix| prefix.contains(address))
    }
}

/// A device in DPDK's words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// A PCI address, lower case with domain (`0000:03:00.0`), and DPDK's device arguments.
    Pci {
        /// Domain, bus, device and function.
        address: String,
        /// What followed the first comma, or empty.
        args: String,
    },
    /// A virtual device. Its name ends in digits that no other virtual device has.
    Virtual {
        /// `net_af_xdp0`
        name: String,
        /// What followed the first comma (`iface=eth1`), or empty.
        args: String,
    },
}

impl Device {
    /// The name DPDK knows the device by: the PCI address, or the driver with its number.
    pub fn name(&self) -> &str {
        match self {
            Self::Pci { address: name, .. } | Self::Virtual { name, .. } => name,
        }
    }

    /// The device's arguments (`iface=eth1,queue_count=2`), or empty.
    pub fn args(&self) -> &str {
        match self {
            Self::Pci { args, .. } | Self::Virtual { args, .. } => args,
        }
    }

    /// The value of one device argument: `eth1` for `iface`.
    pub fn arg(&self, key: &str) -> Option<&str> {
        self.args()
            .split(',')
            .find_map(|arg| arg.split_once('=').filter(|a| a.0 == key))
            .map(|arg| arg.1)
    }
}

/// As EAL's `--vdev` and `--allow` take it: `net_af_xdp0,iface=eth1`.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.args() {
            "" => f.write_str(self.name()),
            args => write!(f, "{},{args}", self.name()),
        }
    }
}

/// An address with the length of its network prefix, host bits kept: `192.0.2.2/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// The address itself.
    pub address: IpAddr,
    /// Leading bits that name the network: 0 to 32, or 0 to 128.
    pub len: u8,
}

impl Prefix {
    /// Whether `other` is of the same family and in the same network.
    pub fn contains(&self, other: IpAddr) -> bool {
        let len = u32::from(self.len);
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (a.to_bits() ^ b.to_bits())
                    .checked_shr(32 - len.min(32))
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (a.to_bits() ^ b.to_bits())
                    .checked_shr(128 - len.min(128))
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl Prefix {
    /// The network's own address: host bits zero.
    pub fn network(&self) -> IpAddr {
        let host_bits = |width: u32| width.saturating_sub(u32::from(self.len));
        match self.address {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(host_bits(32)).unwrap_or(0);
                Ipv4Addr::from_bits(a.to_bits() & mask).into()
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX.checked_shl(host_bits(128)).unwrap_or(0);
                Ipv6Addr::from_bits(a.to_bits() & mask).into()
            }
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

/// An 802.1Q VLAN identifier, 1 to 4094.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VlanId(pub u16);

/// A CPU by the kernel's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(pub u16);

/// A static neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The neighbour's address, on-link.
    pub address: IpAddr,
    /// Its unicast MAC.
    pub mac: MacAddr,
}

/// What is fixed from start to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// CPUs of the workers.
    pub workers: Workers,
    /// CPU of the control thread.
    pub control: CpuId,
    /// Usable flows of one worker.
    pub flows_per_worker: u32,
    /// Packet buffers of the whole process.
    pub mbufs: u32,
    /// Data room of one buffer in octets, headroom not counted.
    pub mbuf_data: u16,
    /// Echo replies, RSTs and ICMP errors per second and worker; `None` is unlimited.
    pub answers_per_second: Option<NonZeroU32>,
    /// The same, for each client; `None` is unlimited.
    pub answers_per_client: Option<NonZeroU32>,
    /// Where packet memory comes from.
    pub hugepages: Hugepages,
    /// What a worker without work does.
    pub idle: Idle,
    /// A worker silent for longer is stalled.
    pub heartbeat: Duration,
}

/// Which CPUs run workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Workers {
    /// Every CPU but the first, one worker each; the only one where there is only one.
    AllButFirst,
    /// These CPUs in this order, each once; worker 0 is the first.
    Cpus(Vec<CpuId>),
}

impl Workers {
    /// The workers' CPUs on a machine that has `cpus`, in ascending order.
    pub fn resolve(&self, cpus: &[CpuId]) -> Vec<CpuId> {
        match (self, cpus) {
            (Self::Cpus(listed), _) => listed.clone(),
            (Self::AllButFirst, [only]) => vec![*only],
            (Self::AllButFirst, cpus) => cpus.iter().skip(1).copied().collect(),
        }
    }
}

/// Where packet memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hugepages {
    /// Hugepages if there are any, else ordinary pages, said at start.
    Auto,
    /// Hugepages, or no start.
    Required,
    /// Ordinary pages.
    Off,
}

/// What a worker without work does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Polls on: the CPU is busy, the delay is least.
    Poll,
    /// Naps, longer the longer nothing comes.
    Adaptive,
}

/// A service: a VIP with L4 ports and a protocol, and the servers behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Unique name.
    pub name: String,
    /// The VIP.
    pub address: IpAddr,
    /// The L4 ports that clients use.
    pub ports: PortSpec,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// How its servers are reached, unless one says otherwise.
    pub mode: Mode,
    /// How a server is chosen.
    pub scheduler: Scheduler,
    /// Slots of the table of scheduler maglev, a prime. The others fall back to a smaller one
    /// when the flow table is full.
    pub maglev_size: u32,
    /// Idle times after which a flow is forgotten.
    pub timeouts: Timeouts,
    /// The check that decides whether a server is up; `None` counts all as up.
    pub health: Option<Arc<HealthCheck>>,
    /// What a port of the VIP without a service gets (read from the VIP's first service).
    pub unserved: Unserved,
    /// Whether a TCP segment other than SYN may start a flow.
    pub sloppy: bool,
    /// What happens to the flows of a server that is no longer listed.
    pub on_server_gone: OnServerGone,
    /// Servers in listed order; addresses with ports are unique, and so are names.
    pub servers: Vec<Server>,
    /// Sum of the weights of usable servers below which the service has lost its quorum.
    pub quorum: u32,
    /// How far the sum must pass the quorum, either way, for it to be lost or found again.
    pub hysteresis: u32,
    /// Takes the new flows while the quorum is missed; never checked.
    pub sorry_server: Option<Server>,
    /// Whether a server that failed its checks shows weight 0.
    pub inhibit_on_failure: bool,
    /// How long the weight of a recovered server takes to grow to its full size.
    pub slow_start: Duration,
}

impl Service {
    /// All servers, the sorry server last.
    pub fn all_servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().chain(&self.sorry_server)
    }

    /// Whether health has a say about the server of that name: the sorry server is never checked.
    pub fn is_checked(&self, server: &str) -> bool {
        self.health.is_some() && server != SORRY_SERVER_NAME
    }

    /// The port that a health check of `server` asks; `None` if a service for all ports has a
    /// check without `port`, which validation refuses.
    pub fn probe_port(&self, server: &Server) -> Option<L4Port> {
        let check = self.health.as_ref().and_then(|check| check.port);
        check.or(server.port).or_else(|| self.ports.first())
    }
}

/// The L4 ports of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PortSpec {
    /// Every port that no other service of the VIP and protocol claims.
    All,
    /// One port.
    One(L4Port),
    /// Two or more ports, ascending, each once.
    Many(Vec<L4Port>),
    /// First and last port, both included; first < last.
    Range(L4Port, L4Port),
}

impl PortSpec {
    /// The lowest port, or `None` for all ports.
    pub fn first(&self) -> Option<L4Port> {
        match self {
            Self::All => None,
            Self::One(port) | Self::Range(port, _) => Some(*port),
            Self::Many(ports) => ports.first().copied(),
        }
    }

    /// Whether a client's destination port `port` belongs to the service.
    pub fn contains(&self, port: L4Port) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => *one == port,
            Self::Many(ports) => ports.contains(&port),
            Self::Range(first, last) => (*first..=*last).contains(&port),
        }
    }
}

/// As the YAML says it: `80`, `80,443`, `8000-8100`, `0`.
impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("0"),
            Self::One(port) => port.fmt(f),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            Self::Many(ports) => {
                for (index, port) in ports.iter().enumerate() {
                    write!(f, "{}{port}", if index == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

/// The L4 protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP (RFC 9293).
    Tcp,
    /// UDP (RFC 768).
    Udp,
}

/// How frames reach a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Direct routing: only the MACs change.
    Dr,
    /// Destination address and port are rewritten, and back in the answers.
    Nat,
    /// The packet travels inside another.
    Tunnel(Encapsulation),
}

/// What a tunnel's outer packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encapsulation {
    /// IP in IP (RFC 2003, RFC 2473).
    Ipip,
}

/// How a server is chosen for a new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheduler {
    /// Round robin.
    Rr,
    /// Weighted round robin.
    Wrr,
    /// Least connections.
    Lc,
    /// Weighted least connections.
    Wlc,
    /// Maglev's consistent hashing.
    Maglev,
}

/// Idle times after which a flow is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// TCP, established.
    pub established: Duration,
    /// TCP, after a FIN.
    pub fin: Duration,
    /// UDP.
    pub udp: Duration,
}

/// What a port of a VIP without a service gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unserved {
    /// RST or port unreachable, rate-limited.
    Answer,
    /// Nothing.
    Drop,
}

/// What happens to the flows of a server that is no longer listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnServerGone {
    /// Their packets are dropped until the flow expires.
    Drop,
    /// They are reset.
    Reset,
    /// They start anew with another server.
    Reschedule,
}

/// The name of every service's sorry server.
pub const SORRY_SERVER_NAME: &str = "sorry_server";

/// A server of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name, unique in the service; the address unless given.
    pub name: String,
    /// The RIP.
    pub address: IpAddr,
    /// Another L4 port than the one the client used (NAT only); `None` keeps the client's.
    pub port: Option<L4Port>,
    /// Share of new flows.
    pub weight: Weight,
    /// What the operator wants of it.
    pub state: ServerState,
    /// How frames reach it.
    pub mode: Mode,
}

/// A server's weight, 0 to 65535; 0 takes no new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(pub u16);

/// What the operator wants of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerState {
    /// New flows and old ones.
    Ready,
    /// Old flows only.
    Drain,
    /// No flow at all, no probe either.
    Maintenance,
}

/// How people and machines reach the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Management {
    /// Path of the unix socket.
    pub socket: PathBuf,
    /// Where metrics and dashboard are served over TCP, if at all.
    pub listen: Option<SocketAddr>,
    /// Directory of the overlay and the last accepted file.
    pub state: PathBuf,
    /// How fine the metrics are.
    pub metrics_detail: MetricsDetail,
}

/// How fine the metrics are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsDetail {
    /// One series for each service.
    Service,
    /// One series for each server too.
    Server,
}
