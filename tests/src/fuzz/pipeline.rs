//! The whole packet path of two workers on bursts of nearly right frames: every frame gets a
//! verdict, none is lost, what leaves is a right packet, and what stays is as it came.
//!
//! Tables reach the engine by shared reference and hold nothing that changes behind one, so that
//! they stay as they are needs no check here.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::time::Duration;

use weir_engine::id::{DeviceId, PortId, WorkerId};
use weir_engine::tables::Tables;
use weir_engine::testing::TestFrame;
use weir_engine::testing::world::World;
use weir_engine::verdict::Verdict;
use weir_engine::{BURST_MAX, Ingress};

use super::source::Source;
use super::{generate, network};
use crate::frames;

const WORKERS: u16 = 2;
/// Few, so that full tables are met.
const FLOWS: usize = 24;
/// Longer than any flow or fragment lives in these tables.
const FORGET_AFTER: Duration = Duration::from_secs(1200);
const STEPS_MAX: usize = 200;

thread_local! {
    /// Flow memory is never given back, so one pair of workers serves all inputs; each input finds
    /// them empty.
    /// Never dropped, lest a leak checker finds that memory at the thread's end.
    static WORKERS_OF_THREAD: RefCell<ManuallyDrop<Option<Director>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
}

/// Runs the bursts that `octets` describe.
///
/// # Panics
/// If a promise of the engine is broken.
pub fn pipeline(octets: &[u8]) {
    WORKERS_OF_THREAD.with_borrow_mut(|director| {
        // After a panic the state is not to be trusted: `take` leaves none behind.
        let mut ready = director.take().unwrap_or_else(Director::new);
        ready.play(octets);
        **director = Some(ready);
    });
}

/// Both workers and what waits between them.
struct Director {
    workers: Vec<World>,
    /// By worker: the tables of each variant, but for those in use.
    stock: Vec<Vec<Option<Tables>>>,
    /// The variant in use.
    variant: usize,
}

impl Director {
    fn new() -> Self {
        let spec = network::spec(WORKERS);
        let worker = |id| World::of_worker(&spec, FLOWS, WorkerId(id));
        let mut stock = Vec::new();
        let mut workers: Vec<World> = (0..WORKERS).map(worker).collect();
        for worker in &mut workers {
            let mut variants: Vec<_> = network::variants(&spec).into_iter().map(Some).collect();
            worker.tables = variants[0].take().expect("there is a first variant");
            stock.push(variants);
        }
        Self {
            workers,
            stock,
            variant: 0,
        }
    }

    fn play(&mut self, octets: &[u8]) {
        let mut source = Source::new(octets);
        let mut burst = [Vec::new(), Vec::new()];
        let mut steps = 0;
        while !source.is_empty() && steps < STEPS_MAX {
            steps += 1;
            match source.below(16) {
                0 => self.run_both(source.below(2), &mut burst),
                1 => {
                    let time = [1, 3, 61, 121, 901].map(Duration::from_secs)[source.below(5)];
                    self.workers.iter_mut().for_each(|worker| worker.pass(time));
                }
                2 => {
                    let variant = source.below(self.stock[0].len());
                    if self.variant < network::FIRST_FINAL {
                        self.publish(variant);
                    }
                }
                3 => {
                    let pool = if source.rarely(2) {
                        None
                    } else {
                        Some(source.below(4))
                    };
                    self.workers
                        .iter_mut()
                        .for_each(|worker| worker.io.pool = pool);
                }
                4 => {
                    let (device, frame) = generate::raw(&mut source);
                    burst[usize::from(device)].push(frame);
                }
                _ => {
                    let (device, frames) = generate::frames_of(&mut source);
                    burst[usize::from(device)].extend(frames);
                }
            }
            if burst.iter().any(|frames| frames.len() >= BURST_MAX) {
                self.run_both(steps % 2, &mut burst);
            }
        }
        self.run_both(0, &mut burst);
        self.forget();
    }

    /// What each device received goes to one worker or the other.
    fn run_both(&mut self, first: usize, burst: &mut [Vec<TestFrame>; 2]) {
        for (device, frames) in (0_u16..).zip(burst) {
            let worker = (first + usize::from(device)) % usize::from(WORKERS);
            let all = std::mem::take(frames);
            for frames in all.chunks(BURST_MAX) {
                self.run(
                    worker,
                    Ingress::Device(DeviceId(device)),
                    frames.to_vec(),
                    0,
                );
            }
        }
    }

    /// Runs a burst, judges what came of it, and carries over what another worker is to have.
    fn run(&mut self, at: usize, ingress: Ingress, mut frames: Vec<TestFrame>, hops: usize) {
        assert!(
            hops <= 2,
            "a fragment's owner and a flow's owner, and nobody after them"
        );
        let came: Vec<Vec<u8>> = frames.iter().map(TestFrame::bytes).collect();
        let worker = &mut self.workers[at];
        let verdicts = worker.burst(ingress, &mut frames);
        for (port, frame) in worker.io.originated.drain(..) {
            judge(&worker.tables, port, &frame);
        }
        let mut handed = Vec::new();
        let mut held = Vec::new();
        for ((frame, came), verdict) in frames.into_iter().zip(came).zip(verdicts) {
            match verdict {
                Verdict::Forward(port) => judge(&worker.tables, port, &frame),
                Verdict::Drop(_) => {}
                Verdict::Punt(_) => assert_eq!(frame.bytes(), came, "punted as it came"),
                Verdict::HandOver(to) => {
                    assert_ne!(usize::from(to.0), at, "nobody hands over to himself");
                    assert_eq!(frame.bytes(), came, "handed over as it came");
                    handed.push(frame);
                }
                Verdict::Hold(_) => {
                    assert_eq!(frame.bytes(), came, "held as it came");
                    held.push(frame);
                }
            }
        }
        if !handed.is_empty() {
            let other = (at + 1) % usize::from(WORKERS);
            self.run(other, Ingress::HandedIn, handed, hops + 1);
        }
        if !held.is_empty() && ingress != Ingress::Released {
            self.run(at, Ingress::Released, held, hops);
        }
    }

    /// Other tables for all workers.
    fn publish(&mut self, variant: usize) {
        for (worker, stock) in self.workers.iter_mut().zip(&mut self.stock) {
            let Some(new) = stock[variant].take() else {
                continue;
            };
            worker.engine.adopt(&new);
            let old = std::mem::replace(&mut worker.tables, new);
            stock[self.variant] = Some(old);
        }
        self.variant = variant;
    }

    /// Lets everything end, and looks whether anything stayed behind.
    fn forget(&mut self) {
        for worker in &mut self.workers {
            worker.io.pool = None;
            worker.pass(FORGET_AFTER);
            let counters = worker.counters();
            assert_eq!(counters.flows.value(), 0, "every flow ends");
            assert_eq!(counters.flows_half_open.value(), 0);
            for server in &counters.servers {
                let left = (server.active.value(), server.inactive.value());
                assert_eq!(left, (0, 0), "no server keeps connections that ended");
            }
            for (server, failed) in counters.servers.iter().zip(&counters.outcomes) {
                let failed = failed.unanswered.value() + failed.reset.value();
                assert!(failed <= server.connections.value(), "no flow fails twice");
            }
        }
        self.publish(0);
    }
}

/// What leaves by `port` is a frame that a router may send there.
fn judge(tables: &Tables, port: PortId, frame: &TestFrame) {
    let bytes = frame.bytes();
    let port = tables
        .port(port)
        .unwrap_or_else(|| panic!("no port {port:?}"));
    assert_eq!(bytes[6..12], port.mac.0, "from the port's own MAC");
    assert_eq!(bytes[0] & 1, 0, "to one station");
    let link_len = if port.vlan.is_some() { 18 } else { 14 };
    let packet = &bytes[link_len..];
    assert_eq!(frames::check_ip(packet), Ok(()), "{packet:02x?}");
    assert!(
        packet.len() <= port.mtu.into(),
        "{} octets are over the MTU",
        packet.len()
    );
}
