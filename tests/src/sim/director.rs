//! A director: the real control thread and the real engine of one worker, on clocks of its own.
//!
//! The worker takes a frame as soon as it comes. The control thread takes a turn a tick after the
//! last, when there is something to do, as its loop does. Either may stand still.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weir_control::config::Config;
use weir_control::driver::{self, Change, Control, ControlHandle, Dataplane, Outcomes, Setup};
use weir_control::overlay::Overlay;
use weir_control::ports::PortFact;
use weir_engine::counters::WorkerCounters;
use weir_engine::flow::HashKey;
use weir_engine::id::{DeviceId, PortId, ServerId, WorkerId};
use weir_engine::lease::LeaseId;
use weir_engine::steering::Steering;
use weir_engine::tables::Tables;
use weir_engine::testing::{TestFrame, TestIo};
use weir_engine::time::Time;
use weir_engine::verdict::{PuntClass, Verdict};
use weir_engine::{Engine, EngineConfig, EngineMemory, Ingress, Outcome};

use super::plan;
use super::wire::{self, Word};

/// Frames that wait for the control thread, and in a card whose worker stands still.
const RING_LEN: usize = 256;
/// Flows of each family; the clients of a run make fewer.
const FLOWS: usize = 64;
/// Links and workers are looked at every 50 ms, by turns that may be as late.
const NOTICED: Duration = Duration::from_millis(200);
/// A turn with work is followed by the next after so long.
const TURN: Duration = Duration::from_micros(30);

/// Who sent a frame of a director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    /// The control thread.
    Control,
    /// The engine, which forwarded it.
    Forwarded,
    /// The engine, by itself.
    Engine,
}

/// A frame that left a director, and which leases were held just then.
#[derive(Clone, Debug)]
pub(super) struct Spoken {
    pub(super) port: usize,
    pub(super) speaker: Speaker,
    pub(super) held: u64,
    pub(super) frame: Vec<u8>,
}

/// The data path: one worker's engine between two rings.
struct Plane {
    engine: Engine,
    tables: Arc<Tables>,
    io: TestIo,
    outcome: Outcome,
    punts: VecDeque<(PortId, PuntClass, Vec<u8>)>,
    sent: Vec<Spoken>,
    /// The workers' clock.
    now: Time,
    links: Vec<bool>,
    is_stalled: bool,
}

impl Plane {
    fn held(&self) -> u64 {
        let leases = &self.tables.leases;
        let is_held = |id: &u16| leases.is_held(LeaseId(*id), self.now);
        (0..64).filter(is_held).map(|id| 1 << id).sum()
    }

    fn receive(&mut self, port: usize, frame: &[u8]) {
        let mut frames = [TestFrame::new(frame)];
        let ingress = Ingress::Device(DeviceId(number(port)));
        let held = self.held();
        let Self {
            engine,
            tables,
            io,
            outcome,
            ..
        } = self;
        engine.run(io, tables, self.now, ingress, &mut frames, outcome);
        let [after] = frames;
        let mut leave = |port: PortId, speaker, frame: &TestFrame| {
            self.sent.push(Spoken {
                port: port.index(),
                speaker,
                held,
                frame: frame.bytes(),
            });
        };
        for (port, frame) in io.originated.drain(..) {
            leave(port, Speaker::Engine, &frame);
        }
        match self.outcome.verdicts()[0] {
            Verdict::Forward(port) => leave(port, Speaker::Forwarded, &after),
            Verdict::Punt(class) if self.punts.len() < RING_LEN => {
                let port = PortId(number(port));
                self.punts.push_back((port, class, after.bytes()));
            }
            Verdict::Punt(_) | Verdict::HandOver(_) | Verdict::Hold(_) | Verdict::Drop(_) => {}
        }
    }
}

/// The control thread's way to the data path.
#[derive(Clone)]
struct Shared(Rc<RefCell<Plane>>);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl Dataplane for Shared {
    fn poll_punt(&mut self, take: &mut dyn FnMut(PortId, PuntClass, &[u8])) -> bool {
        let Some((port, class, frame)) = self.0.borrow_mut().punts.pop_front() else {
            return false;
        };
        take(port, class, &frame);
        true
    }

    fn inject(&mut self, port: PortId, frame: &[u8]) -> bool {
        let mut plane = self.0.borrow_mut();
        let held = plane.held();
        plane.sent.push(Spoken {
            port: port.index(),
            speaker: Speaker::Control,
            held,
            frame: frame.to_vec(),
        });
        true
    }

    fn poll_resolve(&mut self, _: &mut dyn FnMut(PortId, IpAddr)) {}

    fn publish(&mut self, tables: Arc<Tables>) {
        let plane = &mut *self.0.borrow_mut();
        plane.engine.adopt(&tables);
        plane.tables = tables;
    }

    fn link_is_up(&mut self, port: PortId) -> bool {
        self.0.borrow().links[port.index()]
    }

    fn now(&mut self) -> Time {
        self.0.borrow().now
    }

    fn is_stalled(&mut self, _: Duration) -> bool {
        self.0.borrow().is_stalled
    }

    fn server_outcomes(&mut self, _: ServerId) -> Outcomes {
        Outcomes::default()
    }
}

fn number(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// A running process.
struct Process {
    control: Control<Shared>,
    plane: Rc<RefCell<Plane>>,
    /// How to see the control thread's status.
    handle: ControlHandle,
    /// Reloads whose tables are built, to be run by at the next turn.
    changes: VecDeque<Change>,
}

/// What stands still in a director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// The machine, and its clock with it.
    MachineAndClock,
    /// The machine; its clock has gone on when it wakes.
    Machine,
    /// The control thread.
    Control,
    /// The worker, which the control thread notices.
    Worker,
}

/// A director, running or not.
pub(super) struct Director {
    pub(super) number: usize,
    process: Option<Process>,
    pub(super) halted: Option<Halt>,
    halted_at: Time,
    /// Since when links are down, by port.
    down: Vec<Option<Time>>,
    /// When it was last woken or started, and until when it may only listen because of that.
    woken_at: Time,
    listens_until: Time,
    /// When another's resignation last came.
    resigned_at: Time,
    /// How far its clocks are behind the world's, and the workers' clock ahead of the other.
    lag: Duration,
    worker_ahead: Duration,
    /// Frames that came while the worker stood still.
    ring: VecDeque<(usize, Rc<[u8]>)>,
    last_turn: Time,
    /// When the next turn is, if one is planned.
    pub(super) turn_at: Option<Time>,
    /// Which life it is in; a restart begins the next.
    pub(super) life: u32,
}

/// The world's clock begins here, so that a director's may be behind it.
pub(super) const BEGIN: Duration = Duration::from_secs(1000);

impl Director {
    pub(super) fn new(number: usize, lag: Duration, worker_ahead: Duration) -> Self {
        Self {
            number,
            process: None,
            halted: None,
            halted_at: Time::ZERO,
            down: Vec::new(),
            woken_at: Time::ZERO,
            listens_until: Time::ZERO,
            resigned_at: Time::ZERO,
            lag,
            worker_ahead,
            ring: VecDeque::new(),
            last_turn: Time::ZERO,
            turn_at: None,
            life: 0,
        }
    }

    /// The director's clock, which never goes back.
    pub(super) fn clock(&self, now: Time) -> Time {
        let seen = match self.halted {
            Some(Halt::MachineAndClock) => self.halted_at,
            Some(Halt::Machine | Halt::Control | Halt::Worker) | None => now,
        };
        Time::ZERO + seen.since(Time::ZERO + self.lag)
    }

    pub(super) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    fn worker_runs(&self) -> bool {
        self.is_running() && matches!(self.halted, None | Some(Halt::Control))
    }

    pub(super) fn control_runs(&self) -> bool {
        self.is_running() && matches!(self.halted, None | Some(Halt::Worker))
    }

    /// Starts the process.
    pub(super) fn start(&mut self, now: Time, config: Config, seed: u64) {
        self.life += 1;
        self.ring.clear();
        self.down = vec![None; config.ports.len()];
        (self.woken_at, self.listens_until) = (now, now);
        let mac = |port: usize| plan::director_mac(self.number, port);
        let facts = (0..config.ports.len()).map(|port| PortFact {
            device: DeviceId(number(port)),
            mac: mac(port),
            mtu: 1500,
        });
        let counters = Arc::new(WorkerCounters::with_slots(64, 256));
        let worker = EngineConfig {
            worker: WorkerId(0),
            hash_key: HashKey::new([1, 2, 3, 4]),
            seed,
        };
        let plane = Rc::new(RefCell::new(Plane {
            engine: Engine::new(worker, EngineMemory::leak_heap(FLOWS), counters),
            tables: Arc::default(),
            io: TestIo::default(),
            outcome: Outcome::new(),
            punts: VecDeque::new(),
            sent: Vec::new(),
            now: self.clock(now) + self.worker_ahead,
            links: vec![true; config.ports.len()],
            is_stalled: false,
        }));
        let setup = Setup {
            facts: facts.collect(),
            config,
            config_path: PathBuf::new(),
            steering: Steering::default(),
            state: None,
            overlay: Overlay::default(),
            taps: false,
            seed,
        };
        let (handle, commands, _) = driver::channel();
        let shared = Shared(plane.clone());
        let control = Control::without_kernel(self.clock(now), setup, shared, commands);
        self.process = Some(Process {
            control: control.expect("few instances, services and servers"),
            plane,
            handle,
            changes: VecDeque::new(),
        });
        self.last_turn = now;
    }

    /// Ends it without a word.
    pub(super) fn kill(&mut self) {
        self.process = None;
        self.turn_at = None;
    }

    /// Ends it in order.
    pub(super) fn stop(&mut self, now: Time) {
        let clock = self.tell_time(now);
        if let Some(process) = &mut self.process {
            process.control.stop(clock);
        }
    }

    /// Lets a part stand still.
    pub(super) fn halt(&mut self, now: Time, halt: Halt) {
        if self.is_running() && self.halted.is_none() {
            (self.halted, self.halted_at) = (Some(halt), now);
            if let Some(process) = &self.process {
                process.plane.borrow_mut().is_stalled = halt == Halt::Worker;
            }
        }
    }

    /// Lets it go on; what has come in the meantime is taken now. `interval` is the longest
    /// between adverts.
    pub(super) fn wake(&mut self, now: Time, interval: Duration) {
        let slept = now.since(self.halted_at);
        match self.halted.take() {
            Some(Halt::MachineAndClock) => self.lag += slept,
            // Late for its own advert by three intervals and more, or for the wait of a Backup,
            // at most four, by more than one.
            Some(Halt::Machine | Halt::Control)
                if slept > interval * 5 && self.resigned_at < self.halted_at =>
            {
                self.listens_until = now + interval;
            }
            Some(Halt::Machine | Halt::Control | Halt::Worker) => {}
            None => return,
        }
        self.woken_at = now;
        if let Some(process) = &self.process {
            process.plane.borrow_mut().is_stalled = false;
        }
        for (port, frame) in std::mem::take(&mut self.ring) {
            self.receive(now, port, &frame);
        }
    }

    fn tell_time(&mut self, now: Time) -> Time {
        let clock = self.clock(now);
        if let Some(process) = &self.process {
            process.plane.borrow_mut().now = clock + self.worker_ahead;
        }
        clock
    }

    /// A frame from a port.
    pub(super) fn receive(&mut self, now: Time, port: usize, frame: &Rc<[u8]>) {
        if !self.worker_runs() {
            if self.is_running() && self.ring.len() < RING_LEN {
                self.ring.push_back((port, frame.clone()));
            }
            return;
        }
        if matches!(wire::read(frame), Word::Advert { priority: 0, .. }) {
            // Who hears a resignation may take over after its skew.
            (self.resigned_at, self.listens_until) = (now, now);
        }
        self.tell_time(now);
        if let Some(process) = &self.process {
            process.plane.borrow_mut().receive(port, frame);
        }
    }

    pub(super) fn set_link(&mut self, now: Time, port: usize, up: bool) {
        if let Some(down) = self.down.get_mut(port) {
            *down = (!up).then(|| down.unwrap_or(now));
        }
        if let Some(process) = &self.process {
            process.plane.borrow_mut().links[port] = up;
        }
    }

    /// Builds tables for a changed configuration, to be run by at a later turn.
    pub(super) fn reload(&mut self, config: Config) {
        if let Some(process) = &mut self.process {
            let change = process.control.prepare(config);
            // One that waits is built on tables that are gone by then: the loop has no two jobs.
            process.changes.clear();
            process.changes.push_back(change.expect("it may be run"));
        }
    }

    /// Runs by the reload that waits.
    pub(super) fn adopt(&mut self, now: Time) {
        let clock = self.tell_time(now);
        if let Some(process) = &mut self.process
            && let Some(change) = process.changes.pop_front()
        {
            process.control.adopt_change(clock, change);
        }
    }

    pub(super) fn resign(&mut self, now: Time) {
        let clock = self.tell_time(now);
        if let Some(process) = &mut self.process {
            process.control.resign(clock, None);
        }
    }

    /// One turn of the control thread. Returns whether there was work.
    pub(super) fn turn(&mut self, now: Time) -> bool {
        let clock = self.tell_time(now);
        self.last_turn = now;
        self.process
            .as_mut()
            .is_some_and(|process| process.control.turn(clock))
    }

    /// When the next turn is: at once after work, else by ticks after the last.
    pub(super) fn next_turn(&self, now: Time, worked: bool) -> Option<Time> {
        let process = self.process.as_ref()?;
        if worked {
            return Some(now + TURN);
        }
        let due = if process.plane.borrow().punts.is_empty() {
            process.control.deadline() + self.lag
        } else {
            now
        };
        let ticks = due
            .since(self.last_turn)
            .as_nanos()
            .div_ceil(driver::TICK.as_nanos());
        let ticks = u32::try_from(ticks.max(1)).unwrap_or(u32::MAX);
        Some((self.last_turn + driver::TICK * ticks).max(now))
    }

    /// Why it must not call itself Active, if anything speaks against that.
    pub(super) fn unfit(&self, now: Time) -> Option<&'static str> {
        let stalled = (self.halted == Some(Halt::Worker)).then_some(self.halted_at);
        let down = self.down.iter().flatten().min().copied();
        let long = |since: Time| now.since(since.max(self.woken_at)) > NOTICED;
        if now < self.listens_until {
            Some("though it slept and must listen")
        } else if stalled.is_some_and(long) {
            Some("though its worker stands still")
        } else if down.is_some_and(long) {
            Some("though a port has no link")
        } else {
            None
        }
    }

    /// What has left since the last call, in order.
    pub(super) fn spoken(&mut self) -> Vec<Spoken> {
        let process = self.process.as_ref();
        process.map_or_else(Vec::new, |p| std::mem::take(&mut p.plane.borrow_mut().sent))
    }

    /// Whether the worker serves for an instance now.
    pub(super) fn is_active(&self, now: Time, instance: usize) -> bool {
        let clock = self.clock(now) + self.worker_ahead;
        self.process.as_ref().is_some_and(|process| {
            let leases = &process.plane.borrow().tables.leases;
            leases.is_held(LeaseId(number(instance)), clock)
        })
    }

    /// Frames that wait in the director.
    pub(super) fn waiting(&self) -> usize {
        let process = self.process.as_ref();
        self.ring.len() + process.map_or(0, |p| p.plane.borrow().punts.len())
    }

    /// What the control thread says of itself.
    pub(super) fn status(&self) -> Option<Arc<driver::Status>> {
        self.process.as_ref().map(|process| process.handle.status())
    }
}
