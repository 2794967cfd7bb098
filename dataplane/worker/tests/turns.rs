//! Two workers on real DPDK ports whose frames come back to them (`net_ring`), turn by turn on one
//! thread: hand-over, shared transmit queues, holding, punts, and the books after every step.
//!
//! Device 0 has the clients' port, device 1 the servers'. A frame that is sent to a device comes
//! in there again, so a frame injected at port 0 is forwarded once and then dropped at port 1,
//! where it is not for us.

use std::net::Ipv4Addr;
use std::sync::Arc;

use weir_dpdk::{
    Eal, EalConfig, Hugepages, Mempool, MempoolConfig, Port, PortConfig, PortHandle, Tsc,
};
use weir_engine::flow::HashKey;
use weir_engine::id::{PortId, WorkerId};
use weir_engine::police::{Policer, PuntLimits};
use weir_engine::tables::{Mode, Tables};
use weir_engine::testing::world::{ServiceSpec, Spec};
use weir_engine::verdict::{DropReason, PuntClass};
use weir_engine::{Engine, EngineConfig, EngineMemory};
use weir_wire::addr::Protocol;
use weir_wire::checksum;
use weir_worker::{
    Command, ControlEnd, DeviceQueues, Idle, Outgoing, Worker, WorkerConfig, WorkerStats, build,
    control_link,
};

/// More turns than any frame here needs to come to its end.
const TURNS: usize = 20;

struct Director {
    workers: Vec<Worker>,
    ends: Vec<ControlEnd>,
    stats: Vec<Arc<WorkerStats>>,
    pool: Mempool,
    idle_mbufs: usize,
    _ports: Vec<Port>,
}

fn spec() -> Spec {
    let mut service = ServiceSpec::tcp("10.9.9.9", 53, Mode::Dr, &[11, 12, 13, 14]);
    service.protocol = Protocol::UDP;
    Spec {
        workers: 2,
        ..Spec::standard().with(service)
    }
}

impl Director {
    fn start(spec: &Spec) -> Self {
        let mut eal = Eal::init(&EalConfig {
            file_prefix: format!("weir-turns-{}", std::process::id()),
            control_cpu: 0,
            hugepages: Hugepages::Off,
            memory: Mempool::octets(4095, 2048),
            pci: Vec::new(),
        })
        .expect("DPDK starts without hugepages");
        let config = MempoolConfig {
            name: "turns",
            count: 4095,
            data_room: 2048,
            cache: 0,
            node: None,
        };
        let pool = Mempool::new(&eal, &config).expect("a pool");
        let clock = Tsc::calibrate();
        let mut ports = Vec::new();
        let mut devices = Vec::new();
        for device in ["net_ring0", "net_ring1"] {
            let handle: PortHandle = eal.attach(device).expect("a ring device");
            let mut port = Port::configure(handle, &PortConfig::default(), pool).expect("a port");
            let queues = port.start().expect("it starts");
            devices.push(DeviceQueues {
                rx: queues.rx,
                tx: queues.tx,
            });
            ports.push(port);
        }
        let (links, ends): (Vec<_>, Vec<_>) = (0..2).map(|_| control_link()).unzip();
        let tables = Arc::new(spec.tables(1));
        let mut workers = Vec::new();
        let mut all_stats = Vec::new();
        for (id, parts) in (0..).map(WorkerId).zip(build(devices, links)) {
            let stats = Arc::new(WorkerStats::new());
            let engine_config = EngineConfig {
                worker: id,
                hash_key: HashKey::new([1, 2, 3, 4]),
                seed: 1,
            };
            let memory = EngineMemory::leak_heap(1024);
            let mut engine = Engine::new(engine_config, memory, Arc::clone(&stats.counters));
            engine.adopt(&tables);
            let config = WorkerConfig {
                id,
                engine,
                tables: Arc::clone(&tables),
                pool,
                clock,
                idle: Idle::Poll,
                policer: Policer::new(PuntLimits::default(), HashKey::new([1, 2, 3, 4])),
                stats: Arc::clone(&stats),
            };
            workers.push(Worker::new(config, parts));
            all_stats.push(stats);
        }
        let idle_mbufs = pool.in_use();
        Self {
            workers,
            ends,
            stats: all_stats,
            pool,
            idle_mbufs,
            _ports: ports,
        }
    }

    /// Sends a frame out of a port in control's name: the ring brings it back as received.
    fn inject(&mut self, port: u16, frame: &[u8]) {
        let frame = self.pool.alloc_from(frame).expect("the pool is not empty");
        let worker = usize::from(port);
        let sent = self.ends[worker].outgoing.push(Outgoing {
            port: PortId(port),
            frame,
        });
        sent.expect("the ring has room");
    }

    fn turns(&mut self) {
        for _ in 0..TURNS {
            for worker in &mut self.workers {
                worker.turn();
            }
        }
        for (index, stats) in self.stats.iter().enumerate() {
            assert_eq!(stats.counters.imbalance(), 0, "the books of worker {index}");
        }
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        let of = |stats: &Arc<WorkerStats>| stats.counters.dropped[reason.index()].value();
        self.stats.iter().map(of).sum()
    }

    fn mbufs_held(&self) -> usize {
        self.pool.in_use() - self.idle_mbufs
    }
}

/// A UDP datagram of client number `client` to the VIP.
fn datagram(client: u16) -> [u8; 60] {
    let mut frame = [0; 60];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 1, 0, 2, 0, 0, 0, 2, 0xfe, 8, 0]);
    frame[14..26].copy_from_slice(&[0x45, 0, 0, 46, 0, 1, 0x40, 0, 64, 17, 0, 0]);
    frame[26..30].copy_from_slice(&Ipv4Addr::new(172, 16, 0, 7).octets());
    frame[30..34].copy_from_slice(&[10, 9, 9, 9]);
    let sum = checksum::of(&frame[14..34]).0;
    frame[24..26].copy_from_slice(&sum);
    let [high, low] = (10_000 + client).to_be_bytes();
    frame[34..40].copy_from_slice(&[high, low, 0, 53, 0, 26]);
    frame
}

/// One test, because DPDK starts once per process.
#[test]
fn two_workers_share_the_work_and_lose_no_frame() {
    let mut world = spec();
    let mut director = Director::start(&world);
    every_flow_reaches_its_owner_and_leaves(&mut director);
    punts_reach_control(&mut director);
    a_frame_waits_for_its_neighbour(&mut director, &mut world);
    a_full_punt_ring_drops_and_counts(&mut director);
    large_tables_are_fetched_before_they_are_adopted(&mut director, &world);
    assert_eq!(director.mbufs_held(), 0, "every mbuf is back in the pool");
}

fn every_flow_reaches_its_owner_and_leaves(director: &mut Director) {
    for client in 0..200 {
        director.inject(0, &datagram(client));
        director.turns();
    }
    assert_eq!(
        director.dropped(DropReason::NotOurMac),
        200,
        "each was forwarded to port 1 once"
    );
    let [first, second] = [0, 1].map(|worker: usize| &director.stats[worker].counters);
    assert_eq!(first.handed_out.value(), second.handed_in.value());
    assert!(
        first.handed_out.value() > 40,
        "worker 1 owns a share of the clients"
    );
    assert!(first.flows.value() > 40 && second.flows.value() > 40);
    assert_eq!(first.flows.value() + second.flows.value(), 200);
    // Control's 200 frames and what each worker forwarded, the one through the other's queue.
    let sent = first.sent.packets.value() + second.sent.packets.value();
    assert_eq!(sent, 400);
    assert_eq!(director.mbufs_held(), 0);
}

fn punts_reach_control(director: &mut Director) {
    let mut arp = [0; 60];
    arp[..6].fill(0xff);
    arp[6..14].copy_from_slice(&[2, 0, 0, 0, 2, 0xfe, 8, 6]);
    director.inject(0, &arp);
    director.turns();
    let punt = director.ends[0].punts.pop().expect("worker 0 polls port 0");
    assert_eq!((punt.port, punt.class), (PortId(0), PuntClass::Arp));
    assert_eq!(punt.frame.data(), arp);
}

fn a_frame_waits_for_its_neighbour(director: &mut Director, world: &mut Spec) {
    let known = core::mem::take(&mut world.neighbours);
    director.adopt(world, 2);
    let before = director.dropped(DropReason::NotOurMac);
    director.inject(0, &datagram(0));
    director.turns();
    let held: u64 = director
        .stats
        .iter()
        .map(|stats| stats.counters.held.value())
        .sum();
    assert_eq!(held, 1, "the server's MAC is not known");
    let asked = director
        .ends
        .iter_mut()
        .find_map(|end| end.resolve.pop().ok());
    assert_eq!(asked.expect("control is asked").port, PortId(1));
    world.neighbours = known;
    director.adopt(world, 3);
    director.turns();
    assert_eq!(
        director.dropped(DropReason::NotOurMac),
        before + 1,
        "it went on its way"
    );
    assert_eq!(director.mbufs_held(), 0);
}

fn a_full_punt_ring_drops_and_counts(director: &mut Director) {
    let mut arp = [0; 60];
    arp[..6].fill(0xff);
    arp[12..14].copy_from_slice(&[8, 6]);
    let punted = director.stats[0].counters.punted[PuntClass::Arp.index()].value();
    for _ in 0..1100 {
        director.inject(0, &arp);
        director.turns();
    }
    let taken = director.stats[0].counters.punted[PuntClass::Arp.index()].value() - punted;
    let lost = director.dropped(DropReason::PuntFull) + director.dropped(DropReason::PuntLimited);
    assert_eq!(taken + lost, 1100);
    assert!(lost > 0, "the ring has room for 1024");
    while director.ends[0].punts.pop().is_ok() {}
}

fn large_tables_are_fetched_before_they_are_adopted(director: &mut Director, world: &Spec) {
    let mut many = world.clone();
    for n in 0..800 {
        let vip = format!("10.10.{}.{}", n / 200, n % 200 + 1);
        many = many.with(ServiceSpec::tcp(&vip, 80, Mode::Dr, &[11, 12]));
    }
    let (stats, before) = (Arc::clone(&director.stats[0]), 3);
    assert_eq!(stats.generation.value(), before);
    let hand = |director: &mut Director, generation| {
        let tables = Arc::new(many.tables(generation));
        let given = director.ends[0].commands.push(Command::Adopt(tables));
        given.expect("room for a command");
    };
    // A part in each turn, and 8 services in a part; nobody waits for an answer.
    hand(director, 4);
    let mut taken = 0;
    while stats.generation.value() == before {
        director.workers[0].turn();
        taken += 1;
    }
    assert_eq!(taken, 101);
    assert!(director.ends[0].old_tables.pop().is_ok());
    // Who asks is answered by the newest; tables that come meanwhile do not wait for others.
    hand(director, 5);
    hand(director, 6);
    director.workers[0].turn();
    assert_eq!(stats.generation.value(), 5);
    let (tell, told) = std::sync::mpsc::channel();
    let question = Box::new(move |_: &Engine, tables: &Tables, _| {
        let _ = tell.send(tables.generation);
    });
    let asked = director.ends[0].commands.push(Command::Inspect(question));
    assert!(asked.is_ok());
    director.workers[0].turn();
    assert_eq!((told.try_recv(), stats.generation.value()), (Ok(6), 6));
}

impl Director {
    fn adopt(&mut self, spec: &Spec, generation: u64) {
        let tables = Arc::new(spec.tables(generation));
        for end in &mut self.ends {
            end.commands
                .push(Command::Adopt(Arc::clone(&tables)))
                .expect("room for a command");
        }
        self.turns();
        for end in &mut self.ends {
            let old = end.old_tables.pop().expect("the old tables come back");
            assert_eq!(old.generation, generation - 1);
        }
        for stats in &self.stats {
            assert_eq!(stats.generation.value(), generation);
        }
    }
}
