//! An engine in a small network, fed with bursts of its flows' frames.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::sync::Arc;

use weir_engine::counters::WorkerCounters;
use weir_engine::flow::HashKey;
use weir_engine::id::{DeviceId, WorkerId};
use weir_engine::io::Io as _;
use weir_engine::maglev::{ClusterKey, MaglevIdentity, MaglevServer, MaglevSize, MaglevTable};
use weir_engine::scheduler::SchedulerKind;
use weir_engine::tables::{Mode, Server, Tables};
use weir_engine::testing::fixed::{FixedFrame, FixedIo};
use weir_engine::testing::world::{ServerSpec, ServiceSpec, Spec};
use weir_engine::time::Time;
use weir_engine::verdict::Verdict;
use weir_engine::{Engine, EngineConfig, EngineMemory, Ingress, Outcome};
use weir_wire::addr::{MacAddr, Protocol};

use crate::{BURST, Rounds, VIP, VIP_PORT, VIP_V6};

/// Host number of the first server.
const FIRST_SERVER: u8 = 11;
/// The MAC that servers' frames are sent to: of port 1 of [`Spec::standard`].
const LAN_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];

/// Frames that come again and again, in bursts, by one device.
#[derive(Debug)]
pub struct Bursts {
    frames: Vec<Vec<u8>>,
    rounds: Rounds,
    buffers: Vec<FixedFrame>,
    device: DeviceId,
}

impl Bursts {
    /// Frames from clients.
    pub fn new(frames: Vec<Vec<u8>>) -> Self {
        Self::through(DeviceId(0), frames)
    }

    fn through(device: DeviceId, mut frames: Vec<Vec<u8>>) -> Self {
        // Whole bursts, so that each frame comes once per round.
        frames.truncate(frames.len() / BURST * BURST);
        let rounds = Rounds::new(frames.len());
        let buffers = (0..BURST).map(|_| FixedFrame::new(&[])).collect();
        Self {
            frames,
            rounds,
            buffers,
            device,
        }
    }

    /// Bursts until everything has come once.
    pub fn round_len(&self) -> usize {
        self.frames.len() / BURST
    }

    /// The next burst, written into the buffers of the last, as a receiving driver does.
    #[inline]
    pub fn receive(&mut self) -> &mut [FixedFrame] {
        let frames = &self.frames[self.rounds.advance()];
        for (buffer, frame) in self.buffers.iter_mut().zip(frames) {
            buffer.set(frame);
        }
        &mut self.buffers
    }

    /// What servers answer: the forwarded frames with their ends swapped, which leaves checksums
    /// right. `world` must forward by NAT.
    pub fn answers(&mut self, world: &mut World) -> Self {
        let mut answers = Vec::new();
        for _ in 0..self.round_len() {
            world.forward(self);
            answers.extend(
                self.buffers
                    .iter()
                    .map(|frame| answer(FixedIo::head(frame))),
            );
        }
        Self::through(DeviceId(1), answers)
    }
}

/// A server's answer to a frame that it was sent.
fn answer(frame: &[u8]) -> Vec<u8> {
    let mut answer = frame.to_vec();
    answer[..6].copy_from_slice(&LAN_MAC);
    answer[6..12].copy_from_slice(&frame[..6]);
    let (addresses, len) = if frame[12] == 0x08 { (26, 4) } else { (22, 16) };
    let ports = addresses + 2 * len;
    for (at, len) in [(addresses, len), (ports, 2)] {
        let (first, second) = answer[at..at + 2 * len].split_at_mut(len);
        first.swap_with_slice(second);
    }
    answer
}

/// What kind of service a [`World`] has.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// How its servers are reached.
    pub mode: Mode,
    /// Whether VIP and servers are of IPv6.
    pub v6: bool,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// How servers are chosen.
    pub scheduler: SchedulerKind,
    /// How many there are, 200 at most.
    pub servers: u8,
    /// How many workers share the clients; the world is the first's.
    pub workers: u16,
}

impl Site {
    /// A UDP service with eight servers under round robin.
    pub const fn new(mode: Mode) -> Self {
        Self {
            mode,
            v6: false,
            protocol: Protocol::UDP,
            scheduler: SchedulerKind::RoundRobin,
            servers: 8,
            workers: 1,
        }
    }

    /// The same with two workers.
    #[must_use]
    pub const fn shared(mut self) -> Self {
        self.workers = 2;
        self
    }

    /// The same over IPv6.
    #[must_use]
    pub const fn v6(mut self) -> Self {
        self.v6 = true;
        self
    }

    /// The same over TCP.
    #[must_use]
    pub const fn tcp(mut self) -> Self {
        self.protocol = Protocol::TCP;
        self
    }

    /// The same under another scheduler.
    #[must_use]
    pub const fn with(mut self, scheduler: SchedulerKind) -> Self {
        self.scheduler = scheduler;
        self
    }

    fn server(self, number: u8) -> IpAddr {
        let host = FIRST_SERVER + number;
        if self.v6 {
            Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, u16::from(host)).into()
        } else {
            Ipv4Addr::new(10, 1, 0, host).into()
        }
    }

    fn tables(self) -> Tables {
        let vip = if self.v6 {
            VIP_V6.to_string()
        } else {
            VIP.to_string()
        };
        let mut service = ServiceSpec::tcp(&vip, VIP_PORT.0, self.mode, &[]);
        service.protocol = self.protocol;
        service.scheduler = self.scheduler;
        let mut spec = Spec::standard();
        spec.workers = self.workers;
        for number in 0..self.servers {
            let address = self.server(number);
            service.servers.push(ServerSpec {
                address,
                port: None,
                weight: 1,
                mode: self.mode,
            });
            spec.neighbours
                .push((1, address, MacAddr([2, 0, 0, 0, 4, number])));
        }
        let mut tables = spec.with(service).tables(1);
        if self.scheduler == SchedulerKind::Maglev {
            use_full_maglev(&mut tables);
        }
        tables
    }
}

/// Gives the service a table of the size that control makes for `scheduler: maglev`; tests have a
/// smaller one.
fn use_full_maglev(tables: &mut Tables) {
    let servers: Vec<MaglevServer> = tables.servers.iter().flatten().map(known).collect();
    let service = tables.services.iter_mut().flatten().next();
    let service = Arc::get_mut(service.expect("there is one service")).expect("just made");
    let table = MaglevTable::build(MaglevSize::DEFAULT, &servers, &ClusterKey::default());
    service.maglev = Arc::new(table);
}

fn known(server: &Server) -> MaglevServer {
    MaglevServer {
        identity: MaglevIdentity::new(server.address, server.port.unwrap_or_default()),
        weight: u32::from(server.weight),
    }
}

/// An engine with one service.
#[derive(Debug)]
pub struct World {
    engine: Engine,
    tables: Tables,
    io: FixedIo,
    outcome: Outcome,
    now: Time,
}

impl World {
    /// An engine with room for `flows` flows.
    pub fn new(site: Site, flows: usize) -> Self {
        let tables = site.tables();
        let config = EngineConfig {
            worker: WorkerId(0),
            hash_key: HashKey::new([1, 2, 3, 4]),
            seed: 7,
        };
        let counters = Arc::new(WorkerCounters::with_slots(64, 256));
        let mut engine = Engine::new(config, EngineMemory::leak_heap(flows), counters);
        engine.adopt(&tables);
        Self {
            engine,
            tables,
            io: FixedIo::new(BURST),
            outcome: Outcome::new(),
            now: Time::ZERO + Duration::from_secs(1),
        }
    }

    /// Lets every frame come once, and checks that each got a flow of its own.
    ///
    /// # Panics
    /// If one did not.
    pub fn establish(&mut self, bursts: &mut Bursts) {
        for _ in 0..bursts.round_len() {
            self.forward(bursts);
        }
        assert_eq!(
            self.flows(),
            bursts.frames.len(),
            "every frame is of a flow of its own"
        );
    }

    /// Runs the next burst; all of it must be forwarded.
    ///
    /// # Panics
    /// If a frame is not forwarded.
    #[inline]
    pub fn forward(&mut self, bursts: &mut Bursts) {
        self.run(bursts, |verdict| matches!(verdict, Verdict::Forward(_)));
    }

    /// Runs the next burst, of another worker's flows.
    ///
    /// # Panics
    /// If a frame is not handed over.
    #[inline]
    pub fn hand_over(&mut self, bursts: &mut Bursts) {
        self.run(bursts, |verdict| matches!(verdict, Verdict::HandOver(_)));
    }

    #[inline]
    fn run(&mut self, bursts: &mut Bursts, expected: impl Fn(&Verdict) -> bool) {
        let Self {
            engine,
            tables,
            io,
            outcome,
            now,
        } = self;
        let ingress = Ingress::Device(bursts.device);
        engine.run(io, tables, *now, ingress, bursts.receive(), outcome);
        assert!(
            outcome.verdicts().iter().all(expected),
            "{:?}",
            outcome.verdicts()
        );
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Looks at `budget` entries for flows that have ended, as a worker's turn does.
    #[inline]
    pub fn expire(&mut self, budget: usize) {
        self.engine.expire(self.now, budget);
    }

    /// Flows in the table.
    pub fn flows(&self) -> usize {
        usize::try_from(self.engine.counters().flows.value()).unwrap_or(usize::MAX)
    }

    /// Connections that each server was given.
    pub fn connections(&self) -> Vec<u64> {
        let servers = self.engine.counters().servers.iter();
        let given = servers.map(|server| server.connections.value());
        given.take(self.tables.servers.len()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{datagram, keys, keys_v6, segment};
    use weir_wire::tcp::TcpFlags;

    #[test]
    fn every_mode_and_family_forwards_and_nat_takes_answers() {
        for mode in [Mode::Dr, Mode::Nat, Mode::Tunnel] {
            let mut v4 = Bursts::new(keys(128).iter().map(datagram).collect());
            let mut world = World::new(Site::new(mode), 128);
            world.establish(&mut v4);
            let mut v6 = Bursts::new(keys_v6(128).iter().map(datagram).collect());
            let mut world6 = World::new(Site::new(mode).v6(), 128);
            world6.establish(&mut v6);
            if mode == Mode::Nat {
                for (world, bursts) in [(&mut world, &mut v4), (&mut world6, &mut v6)] {
                    let mut answers = bursts.answers(world);
                    world.forward(&mut answers);
                    assert_eq!(world.flows(), 128, "no answer starts a flow");
                }
            }
        }
    }

    #[test]
    fn flows_are_shared_out_and_end_when_idle() {
        let syn = |key: &_| segment(key, TcpFlags::SYN);
        let mut bursts = Bursts::new(keys(128).iter().map(syn).collect());
        let mut world = World::new(Site::new(Mode::Dr).tcp(), 128);
        world.establish(&mut bursts);
        assert_eq!(world.connections(), [16; 8]);
        world.pass(Duration::from_secs(3600));
        world.expire(128);
        assert_eq!(world.flows(), 0);
    }
}
