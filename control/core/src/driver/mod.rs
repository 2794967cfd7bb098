//! The control thread's event loop: feeds frames, timers and commands to the state machines and
//! carries out what they want. It has no opinions of its own.
//!
//! Workers make no syscalls, so nothing wakes this thread for a punted frame: it looks every
//! millisecond, and again at once while there is work. In each turn ARP and neighbour discovery
//! come first. What takes longer than a millisecond is a `job`.

mod change;
mod command;
mod events;
mod frames;
mod health;
mod job;
mod kernel;
mod status;
mod steps;
#[cfg(test)]
mod tests;
mod turns;
mod vrrp;
mod world;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use weir_engine::id::{PortId, ServerId};
use weir_engine::steering::Steering;
use weir_engine::tables::{Map, Tables};
use weir_engine::time::Time;
use weir_engine::verdict::PuntClass;

pub use command::{Commands, ControlHandle, Reply, channel};
pub use events::{Event, Events, Happening};
pub use job::LAST_GOOD;
pub use status::{Status, VipStatus};
pub use steps::Change;
pub use turns::{TURN_BUCKETS_US, TurnTimes, Turns};
pub use weir_engine::counters::Outcomes;

use crate::config::Config;
use crate::guard::GuardError;
use crate::health::runner::Runner;
use crate::mirror::Mirror;
use crate::overlay::Overlay;
use crate::paths::Paths;
use crate::ports::PortFact;
use crate::reconcile::ReconcileError;
use crate::responder::{Action, Responder};
use crate::script::Tracker;
use crate::suppression::Suppression;
use crate::taps::TapsError;
use crate::uplink::Uplink;
use crate::vrrp::Routers;
use command::Command;
use job::Done;
use kernel::Kernel;
use world::{Retired, World};

/// Of the control thread; everything that it starts goes back to 0.
const TURN_NICENESS: i32 = -15;
/// The pause between turns without work.
pub const TICK: Duration = Duration::from_millis(1);
/// Punted frames, and frames of TAPs, in one turn: some 100 µs of work each.
const FRAMES_PER_TURN: usize = 32;
/// How often the status is replaced when nothing happens, and how often it may be at most.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);
/// How often links are looked at: a VRRP instance must know of a dead one within 100 ms (D69).
const LINK_INTERVAL: Duration = Duration::from_millis(50);
/// How often health is summed up for the status, unless a verdict changed.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
/// Of so many servers in one turn: some 50 µs of work.
const REPORTED_PER_TURN: usize = 16;
/// Between two tables for changes of health, routes and neighbours: a burst makes one.
const REFRESH_INTERVAL: Duration = Duration::from_millis(10);
/// A neighbour is asked for by workers at most so often.
const RESOLVE_INTERVAL: Duration = Duration::from_millis(500);
/// Neighbours whose last question is remembered.
const RESOLVES_MAX: usize = 4096;
/// A conflict about one VIP is logged at most so often.
const CONFLICT_LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Longest frame that a TAP may give: MTU 65,535 and an Ethernet header.
const FRAME_LEN_MAX: usize = 65_549;

/// The data path as the control thread needs it; the binary puts DPDK and its rings behind it.
///
/// Frames are as on the wire, VLAN tag included. No call may block.
pub trait Dataplane {
    /// Gives the next punted frame to `take`, from each worker in turn. `false`: there was none.
    fn poll_punt(&mut self, take: &mut dyn FnMut(PortId, PuntClass, &[u8])) -> bool;
    /// Sends a frame out of a port; `false`: there was no room.
    fn inject(&mut self, port: PortId, frame: &[u8]) -> bool;
    /// Gives neighbours that workers wait for to `take`.
    fn poll_resolve(&mut self, take: &mut dyn FnMut(PortId, IpAddr));
    /// Hands new tables to every worker. The old ones are freed by the implementer, once no
    /// worker uses them.
    fn publish(&mut self, tables: Arc<Tables>);
    /// Whether the port's link is up, as the driver says; a netdev under the port knows better.
    fn link_is_up(&mut self, port: PortId) -> bool;
    /// The workers' clock, which leases are on.
    fn now(&mut self) -> Time;
    /// Whether a worker has taken no turn for longer than `limit`.
    fn is_stalled(&mut self, limit: Duration) -> bool;
    /// What became of the flows of a server in the tables: sums over all workers since the server
    /// got its slot. A slot that has just changed hands counts from zero, whatever tables a worker
    /// still goes by. Some 100 ns per worker.
    fn server_outcomes(&mut self, server: ServerId) -> Outcomes;
    /// Called at the end of every turn: the place for housekeeping.
    fn turn(&mut self) {}
}

/// What the control thread starts with.
#[derive(Debug)]
pub struct Setup {
    /// The accepted configuration.
    pub config: Config,
    /// Where it came from, and is read from again.
    pub config_path: PathBuf,
    /// What the ports are really like.
    pub facts: Vec<PortFact>,
    /// Which worker owns which client.
    pub steering: Steering,
    /// Where overlay and last accepted file are kept, if anywhere.
    pub state: Option<PathBuf>,
    /// Runtime changes from before the restart.
    pub overlay: Overlay,
    /// Whether ports have TAPs; replays and benches go without.
    pub taps: bool,
    /// Varies the timing of health probes.
    pub seed: u64,
}

/// Why the control thread could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A TAP could not be made or set up.
    #[error(transparent)]
    Taps(#[from] TapsError),
    /// The kernel could not be kept off a device.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The kernel would not tell its routes.
    #[error("netlink: {0}")]
    Netlink(#[from] std::io::Error),
    /// The configuration does not fit.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
}

/// Everything the loop owns.
///
/// [`run`] drives it by the machine's clock. A caller with a clock of its own makes one with
/// [`Control::without_kernel`] and drives it by its steps.
#[derive(Debug)]
pub struct Control<D> {
    dataplane: D,
    commands: Commands,
    kernel: Option<Kernel>,
    world: World,
    path: PathBuf,
    responder: Responder,
    uplink: Uplink,
    paths: Paths,
    routers: Routers,
    scripts: Tracker,
    suppression: Suppression,
    health: Runner,
    job: Option<JoinHandle<Done>>,
    /// Something that tables follow from changed since tables were last made anew for it.
    dirty: bool,
    /// The verdicts that tables were last made anew for.
    judged: u64,
    clock: Instant,
    published_at: Time,
    links: Map<PortId, bool>,
    resolves: Map<(PortId, IpAddr), Time>,
    conflicts_logged: Map<IpAddr, Time>,
    status: Status,
    status_at: Time,
    /// Something of note changed since the status was shown.
    stale: bool,
    /// When links are looked at again; at once at start.
    links_at: Time,
    /// When health is summed up again at the latest; at once at start.
    report_at: Time,
    /// The verdicts that the last report began with.
    reported: u64,
    /// The responder's VIPs that the status shows.
    vips_shown: u64,
    /// What was replaced and somebody still has.
    retired: Retired,
    /// Scratch space, kept to avoid allocation.
    actions: Vec<Action>,
    vrrp_actions: Vec<crate::vrrp::Action>,
    /// When the last turn began.
    turned_at: Time,
    buffer: Vec<u8>,
    /// Whose TAP is read first in the next turn.
    first: usize,
}

/// Runs the control thread until it is told to stop. Calls `ready` when the first tables are
/// published, so that ports may start receiving.
///
/// Must run on a current-thread tokio runtime with time and I/O, on the control CPU.
///
/// # Errors
/// [`StartError`] if it cannot start; nothing was published then.
pub async fn run<D: Dataplane>(
    setup: Setup,
    dataplane: D,
    commands: Commands,
    ready: impl FnOnce(),
) -> Result<(), StartError> {
    let mut control = Control::start(setup, dataplane, commands).await?;
    // VRRP's turns come before other work of this CPU, jobs of this process included. Without the
    // right to it, a busy machine may delay adverts; nothing else depends on it.
    let _ = rustix::process::setpriority_process(None, TURN_NICENESS);
    ready();
    control.serve().await;
    Ok(())
}

impl<D: Dataplane> Control<D> {
    async fn start(setup: Setup, dataplane: D, commands: Commands) -> Result<Self, StartError> {
        let kernel = match setup.taps {
            true => {
                let state = setup.state.as_deref();
                Some(Kernel::open(&setup.config, &setup.facts, state).await?)
            }
            false => None,
        };
        Ok(Self::begin(
            Time::ZERO,
            setup,
            kernel,
            (dataplane, commands),
        )?)
    }

    /// Publishes the first tables at `now`.
    fn begin(
        now: Time,
        setup: Setup,
        kernel: Option<Kernel>,
        (dataplane, commands): (D, Commands),
    ) -> Result<Self, ReconcileError> {
        let Setup {
            config,
            config_path: path,
            facts,
            steering,
            state,
            mut overlay,
            ..
        } = setup;
        for name in overlay.prune(&config) {
            tracing::warn!("runtime change of {name} dropped: it is not configured");
        }
        let mirror = kernel.as_ref().map(|kernel| kernel.mirror());
        let world = World {
            mirror: mirror.unwrap_or_else(|| Mirror::from_config(&config)),
            ..World::new(config, overlay, facts, (steering, state))
        };
        let mut control = Self {
            dataplane,
            commands,
            kernel,
            path,
            responder: Responder::default(),
            uplink: Uplink::default(),
            paths: Paths::default(),
            routers: Routers::default(),
            scripts: Tracker::default(),
            suppression: Suppression::default(),
            health: Runner::new(setup.seed),
            job: None,
            dirty: false,
            judged: 0,
            clock: Instant::now(),
            published_at: now,
            links: Map::default(),
            resolves: Map::default(),
            conflicts_logged: Map::default(),
            status: Status::default(),
            status_at: now,
            stale: false,
            links_at: now,
            report_at: now,
            reported: 0,
            vips_shown: 0,
            retired: Retired::default(),
            actions: Vec::new(),
            vrrp_actions: Vec::new(),
            turned_at: now,
            buffer: vec![0; FRAME_LEN_MAX],
            first: 0,
            world,
        };
        control.world.enlist();
        control.world.update()?;
        control.status.config_file = control.path.display().to_string();
        control.status.revision = 1;
        control.status.last_change = (now, "started".into());
        control.publish(now);
        control.show(now);
        Ok(control)
    }

    async fn serve(&mut self) {
        loop {
            let (now, cpu) = (self.now(), turns::cpu_time());
            let mut worked = self.turn(now);
            // Jobs build on each other's tables, so commands wait for the one that runs.
            if self.job.is_none() {
                match self.commands.commands.try_recv() {
                    Ok(Command::Stop) => {
                        self.stop(self.now());
                        return;
                    }
                    Ok(command) => {
                        self.command(now, command);
                        worked = true;
                    }
                    Err(_) => {}
                }
            }
            if self.job.as_ref().is_some_and(JoinHandle::is_finished) {
                self.finish_job().await;
            }
            self.dataplane.turn();
            self.status.turns.record(self.now().since(now), cpu);
            if worked {
                // Probes and netlink are tasks on this thread too.
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(TICK).await;
            }
        }
    }

    fn now(&self) -> Time {
        Time::ZERO + self.clock.elapsed()
    }

    /// One turn: frames first, then timers, then what follows from both. Returns whether there
    /// was work; if so the next turn is due at once, else at [`Self::deadline`] or when a frame
    /// came, but no sooner than a [`TICK`] later.
    ///
    /// # Panics
    /// Outside a tokio runtime, if the configuration has scripts.
    pub fn turn(&mut self, now: Time) -> bool {
        self.vrrp_advertise(now);
        let punted = self.punts(now);
        self.vrrp_expire(now);
        if self.responder.deadline().is_some_and(|at| at <= now) {
            self.responder.expire(now, &mut self.actions);
        }
        self.perform(now);
        self.suppress(now);
        let sent = self.kernel_frames(now);
        self.resolve(now);
        self.follow_kernel(now);
        self.scripts.turn(now);
        self.probe(now);
        self.report_health(now);
        // Weights of slow starts are verdicts too.
        let revision = self.health.board().revision();
        self.dirty |= revision != self.judged;
        if self.dirty && self.job.is_none() && now.since(self.published_at) >= REFRESH_INTERVAL {
            (self.dirty, self.judged) = (false, revision);
            self.start_job(job::refresh);
        }
        if self.stale || now.since(self.status_at) >= STATUS_INTERVAL {
            self.show(now);
        }
        self.retired.free();
        self.turned_at = now;
        punted + sent > 0
    }

    fn port_name(&self, port: PortId) -> &str {
        self.world
            .config
            .ports
            .get(port.index())
            .map_or("?", |port| port.name.as_str())
    }
}
