//! What tests share: configurations built without a file, and network namespaces.

use std::fs::File;
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use weir_engine::id::DeviceId;
use weir_wire::addr::MacAddr;

use crate::config::{
    Config, CpuId, Device, HealthCheck, Hugepages, Idle, Initial, L4Port, Management,
    MetricsDetail, Mode, Notify, OnServerGone, PhaseTimeouts, Port, PortSpec, Prefix, Probe,
    Protocol, Runtime, Scheduler, Server, ServerState, Service, Timeouts, Unserved, VrrpChecksum,
    VrrpInstance, Weight, Workers,
};
use crate::health::machine::{Finding, Outcome, Phases};
use crate::ports::PortFact;

fn prefix(address: &str, len: u8) -> Prefix {
    Prefix {
        address: address.parse().unwrap(),
        len,
    }
}

fn port(name: &str, addresses: Vec<Prefix>, gateway: Option<&str>) -> Port {
    Port {
        name: name.into(),
        device: Device::Virtual {
            name: format!("net_null_{name}"),
            args: String::new(),
        },
        addresses,
        gateway: gateway.map(|g| g.parse().unwrap()).into_iter().collect(),
        mtu: 1500,
        vlan: None,
        queues: None,
        promiscuous: false,
        mac: None,
        neighbours: Vec::new(),
    }
}

/// `wan0` 192.0.2.2/24 with a gateway and `lan0` 10.0.0.1/16, both also IPv6, and `services`.
pub(crate) fn config_with(services: Vec<Service>) -> Config {
    let wan = vec![prefix("192.0.2.2", 24), prefix("2001:db8::2", 64)];
    let lan = vec![prefix("10.0.0.1", 16), prefix("fd00::1", 64)];
    Config {
        ports: vec![
            port("wan0", wan, Some("192.0.2.1")),
            port("lan0", lan, None),
        ],
        runtime: Runtime {
            workers: Workers::Cpus(vec![CpuId(1)]),
            control: CpuId(0),
            flows_per_worker: 1 << 16,
            mbufs: 1 << 14,
            mbuf_data: 2048,
            answers_per_second: NonZeroU32::new(1000),
            answers_per_client: None,
            hugepages: Hugepages::Off,
            idle: Idle::Adaptive,
            heartbeat: Duration::from_millis(50),
        },
        vrrp: Vec::new(),
        health_checks: Vec::new(),
        services,
        management: Management {
            socket: "weir.sock".into(),
            listen: None,
            state: "state".into(),
            metrics_detail: MetricsDetail::Server,
        },
    }
}

/// Facts for [`config_with`]: a device for each port, MACs 02:…:00 and 02:…:01.
pub(crate) fn facts() -> Vec<PortFact> {
    (0..2u8)
        .map(|i| PortFact {
            device: DeviceId(u16::from(i)),
            mac: MacAddr([2, 0, 0, 0, 0, i]),
            mtu: 1500,
        })
        .collect()
}

/// A direct TCP check: every second, half a second of time, rise 2, fall 3.
pub(crate) fn check() -> HealthCheck {
    HealthCheck {
        name: "tcp".into(),
        probe: Probe::Tcp,
        interval: Duration::from_secs(1),
        interval_down: Duration::from_secs(1),
        jitter: 5,
        timeout: Duration::from_millis(500),
        phase_timeouts: PhaseTimeouts::default(),
        rise: 2,
        fall: 3,
        initial: Initial::Down,
        dampening: None,
        brake: None,
        port: None,
        path: Some(false),
    }
}

/// A probe's result after 3 ms.
pub(crate) fn outcome(finding: Finding) -> Outcome {
    Outcome {
        finding,
        duration: Duration::from_millis(3),
        phases: Phases::default(),
        reason: "test".into(),
        certificate_expiry: None,
        waited: Duration::ZERO,
    }
}

/// A service without servers or check.
pub(crate) fn service(name: &str, vip: &str, ports: PortSpec, mode: Mode) -> Service {
    Service {
        name: name.into(),
        address: vip.parse().unwrap(),
        ports,
        protocol: Protocol::Tcp,
        mode,
        scheduler: Scheduler::Wlc,
        maglev_size: 65537,
        timeouts: Timeouts {
            established: Duration::from_secs(900),
            fin: Duration::from_secs(120),
            udp: Duration::from_secs(300),
        },
        health: None,
        unserved: Unserved::Answer,
        sloppy: false,
        on_server_gone: OnServerGone::Drop,
        servers: Vec::new(),
        quorum: 1,
        hysteresis: 0,
        sorry_server: None,
        inhibit_on_failure: false,
        slow_start: Duration::ZERO,
    }
}

/// A VRRP instance of version 3 with priority 100 and an interval of a second.
pub(crate) fn vrrp(name: &str, port: &str, id: u8, vips: &[&str]) -> VrrpInstance {
    VrrpInstance {
        name: name.into(),
        port: port.into(),
        id,
        version: 3,
        priority: 100,
        interval: Duration::from_secs(1),
        preempt: true,
        preempt_delay: Duration::ZERO,
        virtual_mac: true,
        addresses: vips.iter().map(|vip| vip.parse().unwrap()).collect(),
        extra_addresses: Vec::new(),
        auth: None,
        peers: Vec::new(),
        group: None,
        checksum: VrrpChecksum::Rfc5798,
        track: Vec::new(),
        notify: Notify::default(),
    }
}

/// A ready server of weight 1.
pub(crate) fn server(name: &str, address: &str, mode: Mode) -> Server {
    Server {
        name: name.into(),
        address: address.parse().unwrap(),
        port: None,
        weight: Weight(1),
        state: ServerState::Ready,
        mode,
    }
}

/// A single L4 port.
pub(crate) fn one(port: u16) -> PortSpec {
    PortSpec::One(L4Port(port))
}

/// `web` 192.0.2.10:80 in `mode` with servers 10.0.0.21 … of that mode.
pub(crate) fn web(mode: Mode, servers: u8) -> Service {
    let mut web = service("web", "192.0.2.10", one(80), mode);
    web.servers = (1..=servers)
        .map(|i| server(&format!("web{i}"), &format!("10.0.0.2{i}"), mode))
        .collect();
    web
}

/// A namespace that vanishes with this.
#[derive(Debug)]
pub(crate) struct Namespace(String);

impl Namespace {
    /// A new one; `None`, said aloud, where that is not possible.
    pub(crate) fn new(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let name = format!("weirctl-{}-{name}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).status();
        if !made.is_ok_and(|status| status.success()) {
            println!("skipped: `ip netns add` does not work here");
            return None;
        }
        Some(Self(name))
    }

    /// Runs `ip` in it.
    pub(crate) fn ip(&self, arguments: &str) {
        let all = ["-n", &self.0]
            .into_iter()
            .chain(arguments.split_whitespace());
        let status = Command::new("ip").args(all).status().unwrap();
        assert!(status.success(), "ip {arguments}");
    }

    /// Runs `test` on a thread inside the namespace.
    pub(crate) fn run(&self, test: impl FnOnce() + Send) {
        let path = format!("/run/netns/{}", self.0);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let file = File::open(path).unwrap();
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(file.as_fd(), kind).unwrap();
                test();
            });
            thread.join().unwrap();
        });
    }

    /// Runs an asynchronous `test` likewise.
    pub(crate) fn run_async<F: Future<Output = ()>>(&self, test: impl FnOnce() -> F + Send) {
        self.run(|| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(test());
        });
    }

    /// Its name, for `ip netns exec`.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}
