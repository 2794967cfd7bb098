//! What a seed plays with: directors and their configurations, and who else is on the wire.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use weir_control::config::{self, Config};
use weir_wire::addr::MacAddr;

use super::random::Random;
use super::wire::PORT;

/// The virtual router's identifier on every port.
pub(super) const ID: u8 = 51;
/// Of the owner of the addresses, which no file names.
const PRIORITY_OWNER: u8 = 255;
/// In version 2, where one is asked for.
pub(super) const PASSWORD: &str = "11112222";
/// Servers of the service.
pub(super) const SERVERS: u8 = 2;

/// Which instances a director has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One of IPv4.
    V4,
    /// One of IPv6.
    V6,
    /// One of each, on the same port, which know nothing of each other.
    Both,
    /// Two of IPv4 in a sync group: clients before the one port, servers behind the other.
    Group,
}

/// What all directors of a run agree on.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) shape: Shape,
    pub(super) version: u8,
    pub(super) virtual_mac: bool,
    pub(super) unicast: bool,
    /// Version 2 with a password.
    pub(super) auth: bool,
    /// Version 3 over IPv4 with RFC 9568's checksum.
    pub(super) plain_sum: bool,
    /// Switches of each segment.
    pub(super) switches: Vec<usize>,
    pub(super) directors: Vec<Wish>,
    pub(super) clients: u8,
    /// A server answers ARP for the VIP.
    pub(super) leak: bool,
}

/// What the operator of one director wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) priority: u8,
    pub(super) interval: Duration,
    pub(super) preempt: bool,
    pub(super) preempt_delay: Duration,
    /// Services besides the one that clients use.
    pub(super) extra: u8,
}

impl Wish {
    /// Whether it takes over from a living Active of lower priority.
    pub(super) fn preempts(&self) -> bool {
        self.preempt || self.priority == PRIORITY_OWNER
    }
}

/// One virtual router, as all directors have it.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    /// Its place in the tables of every director.
    pub(super) name: &'static str,
    pub(super) segment: usize,
    pub(super) vips: Vec<IpAddr>,
}

impl Instance {
    pub(super) fn is_v4(&self) -> bool {
        self.vips.iter().all(IpAddr::is_ipv4)
    }

    /// The MAC of its VIPs on a director.
    pub(super) fn mac(&self, plan: &Plan, director: usize) -> MacAddr {
        let family = if self.is_v4() { 1 } else { 2 };
        match plan.virtual_mac {
            true => MacAddr([0, 0, 0x5e, 0, family, ID]),
            false => director_mac(director, self.segment),
        }
    }
}

/// How a priority is said in a file.
fn rank(priority: u8) -> String {
    match priority {
        PRIORITY_OWNER => "owner: true".to_owned(),
        priority => format!("priority: {priority}"),
    }
}

fn octet(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// The MAC of a director's port.
pub(super) fn director_mac(director: usize, segment: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, octet(segment), octet(director) + 1])
}

/// The MAC of a server or client, by its last octet.
pub(super) fn host_mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 9, last])
}

/// An address on a segment.
pub(super) fn v4(segment: usize, last: u8) -> IpAddr {
    Ipv4Addr::new(10, octet(segment), 0, last).into()
}

/// An IPv6 address on a segment.
pub(super) fn v6(segment: usize, last: u8) -> IpAddr {
    let segment = u16::try_from(segment).unwrap_or(u16::MAX);
    Ipv6Addr::new(0xfd00, segment, 0, 0, 0, 0, 0, last.into()).into()
}

/// Last octet of the VIP, of the first server, and of the first client.
pub(super) const VIP: u8 = 100;
pub(super) const SERVER: u8 = 20;
pub(super) const CLIENT: u8 = 50;

impl Plan {
    /// What this seed plays with.
    pub(super) fn new(random: &mut Random) -> Self {
        let ms = Duration::from_millis;
        let shapes = [Shape::V4, Shape::V4, Shape::V6, Shape::Both, Shape::Group];
        let mut shape = random.pick(&shapes);
        let version = if random.chance(150) { 2 } else { 3 };
        let interval = match version {
            2 => ms(1000),
            _ => random.pick(&[ms(10), ms(20), ms(50), ms(100), ms(100), ms(250), ms(1000)]),
        };
        if version == 2 && shape != Shape::Group {
            shape = Shape::V4;
        }
        let segments = if shape == Shape::Group { 2 } else { 1 };
        let count = random.pick(&[2, 2, 2, 3]);
        let priorities = random.pick(&[
            [150, 100, 50],
            [100, 100, 100],
            [200, 100, 100],
            [PRIORITY_OWNER, 100, 50],
        ]);
        let directors = (0..count).map(|n| Wish {
            priority: priorities[n],
            interval,
            preempt: random.chance(750),
            preempt_delay: if random.chance(200) {
                interval * 4
            } else {
                Duration::ZERO
            },
            extra: 0,
        });
        Self {
            directors: directors.collect(),
            shape,
            version,
            virtual_mac: random.chance(700),
            unicast: random.chance(150) && matches!(shape, Shape::V4 | Shape::Group),
            switches: (0..segments).map(|_| 1 + random.below(2)).collect(),
            auth: version == 2 && random.chance(500),
            plain_sum: version == 3 && random.chance(200),
            clients: 2,
            leak: random.chance(100),
        }
    }

    /// The virtual routers, in the order in which every director configures them.
    pub(super) fn instances(&self) -> Vec<Instance> {
        let of_v4 = |name, segment| Instance {
            name,
            segment,
            vips: vec![v4(segment, VIP)],
        };
        let of_v6 = Instance {
            name: "edge6",
            segment: 0,
            vips: vec![link_local(), v6(0, VIP)],
        };
        match self.shape {
            Shape::V4 => vec![of_v4("edge", 0)],
            Shape::V6 => vec![of_v6],
            Shape::Both => vec![of_v4("edge", 0), of_v6],
            Shape::Group => vec![of_v4("edge", 0), of_v4("inside", 1)],
        }
    }

    /// What clients knock at.
    pub(super) fn services(&self) -> Vec<IpAddr> {
        match self.shape {
            Shape::V4 | Shape::Group => vec![v4(0, VIP)],
            Shape::V6 => vec![v6(0, VIP)],
            Shape::Both => vec![v4(0, VIP), v6(0, VIP)],
        }
    }

    /// Where the servers are.
    pub(super) fn server_segment(&self) -> usize {
        self.switches.len() - 1
    }

    /// The configuration of a director.
    ///
    /// # Panics
    /// If Weir refuses it: a mistake of this module.
    pub(super) fn config(&self, director: usize, wish: &Wish) -> Config {
        let text = self.yaml(director, wish);
        match config::parse("sim.yaml", &text) {
            Ok(loaded) => loaded.config,
            Err(errors) => panic!("{errors}\n{text}"),
        }
    }

    fn yaml(&self, director: usize, wish: &Wish) -> String {
        let mut text =
            "runtime: {workers: [0], answers_per_second: 0, heartbeat: 150ms}\nports:\n".to_owned();
        for segment in 0..self.switches.len() {
            let last = octet(director) + 1;
            let (dip4, dip6) = (v4(segment, last), v6(segment, last));
            let _ = writeln!(
                text,
                "  - name: p{segment}\n    device: net_null{segment}\n    \
                 addresses: [{dip4}/24, \"{dip6}/64\"]\n    neighbours:"
            );
            self.neighbours(director, segment, &mut text);
        }
        text.push_str("vrrp:\n");
        for instance in self.instances() {
            self.instance(director, wish, &instance, &mut text);
        }
        text.push_str("services:\n");
        for (number, vip) in self.services().into_iter().enumerate() {
            self.service(&format!("s{number}"), vip, PORT, &mut text);
        }
        for number in 0..wish.extra {
            let (vip, port) = (self.services()[0], 8000 + u16::from(number));
            self.service(&format!("extra{number}"), vip, port, &mut text);
        }
        text
    }

    fn neighbours(&self, director: usize, segment: usize, text: &mut String) {
        let mut add = |address: IpAddr, mac: MacAddr| {
            let _ = writeln!(text, "      - {{address: \"{address}\", mac: \"{mac}\"}}");
        };
        if segment == self.server_segment() {
            for last in SERVER..SERVER + SERVERS {
                add(v4(segment, last), host_mac(last));
                add(v6(segment, last), host_mac(last));
            }
        }
        for peer in (0..self.directors.len()).filter(|peer| *peer != director) {
            let mac = director_mac(peer, segment);
            add(v4(segment, octet(peer) + 1), mac);
            add(link_local_of(mac), mac);
        }
    }

    fn instance(&self, director: usize, wish: &Wish, instance: &Instance, text: &mut String) {
        let vips: Vec<String> = instance
            .vips
            .iter()
            .map(|vip| format!("\"{vip}\""))
            .collect();
        let Instance { name, segment, .. } = instance;
        let _ = writeln!(
            text,
            "  - name: {name}\n    port: p{segment}\n    id: {ID}\n    version: {}\n    \
             {}\n    interval: {}ms\n    preempt: {}\n    preempt_delay: {}ms\n    \
             virtual_mac: {}\n    addresses: [{}]",
            self.version,
            rank(wish.priority),
            wish.interval.as_millis(),
            wish.preempt,
            wish.preempt_delay.as_millis(),
            self.virtual_mac,
            vips.join(", "),
        );
        if self.shape == Shape::Group {
            text.push_str("    group: pair\n");
        }
        if self.auth {
            let _ = writeln!(text, "    auth: {{type: pass, password: \"{PASSWORD}\"}}");
        }
        if self.plain_sum && instance.is_v4() {
            text.push_str("    checksum: rfc9568\n");
        }
        if self.unicast {
            let peers = (0..self.directors.len()).filter(|peer| *peer != director);
            let address = |peer: usize| match instance.is_v4() {
                true => v4(*segment, octet(peer) + 1),
                false => link_local_of(director_mac(peer, *segment)),
            };
            let peers: Vec<String> = peers.map(|p| format!("\"{}\"", address(p))).collect();
            let _ = writeln!(text, "    unicast: {{peers: [{}]}}", peers.join(", "));
        }
    }

    fn service(&self, name: &str, vip: IpAddr, port: u16, text: &mut String) {
        let _ = writeln!(
            text,
            "  - name: {name}\n    address: \"{vip}\"\n    port: {port}\n    protocol: udp\n    \
             scheduler: rr\n    servers:"
        );
        for last in SERVER..SERVER + SERVERS {
            let address = match vip {
                IpAddr::V4(_) => v4(self.server_segment(), last),
                IpAddr::V6(_) => v6(self.server_segment(), last),
            };
            let _ = writeln!(text, "      - {{address: \"{address}\"}}");
        }
    }
}

fn link_local() -> IpAddr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, VIP.into()).into()
}

/// RFC 4291, Appendix A.
fn link_local_of(mac: MacAddr) -> IpAddr {
    let [a, b, c, d, e, f] = mac.octets();
    let octets = [
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        a ^ 2,
        b,
        c,
        0xff,
        0xfe,
        d,
        e,
        f,
    ];
    Ipv6Addr::from(octets).into()
}
