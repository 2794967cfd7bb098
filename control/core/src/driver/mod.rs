//! The control thread's event loop: feeds frames, timers and commands to the state machines and
//! carries out what they want. It has no opinions of its own.
//!
//! Workers make no syscalls, so nothing wakes this thread for a punted frame: it looks every
//! millisecond, and again at once while there is work. In each turn ARP and neighbour discovery
//! come first. What takes longer than a millisecond is a [`job`].

mod command;
mod job;
mod status;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use weir_engine::id::PortId;
use weir_engine::steering::Steering;
use weir_engine::tables::{Map, Tables};
use weir_engine::time::Time;
use weir_engine::verdict::PuntClass;

pub use command::{Commands, ControlHandle, Reply, channel};
pub use job::LAST_GOOD;
pub use status::{Status, VipStatus};

use crate::config::Config;
use crate::frame;
use crate::health::board::Change;
use crate::health::runner::Runner;
use crate::mirror::Mirror;
use crate::mirror::netlink::{Netlink, View};
use crate::overlay::Overlay;
use crate::ports::PortFact;
use crate::reconcile::{Roles, Snapshot, reconcile};
use crate::responder::{Action, Responder};
use crate::taps::{Taps, TapsError};
use crate::uplink::Uplink;
use command::Command;
use job::{Done, What, World};

/// The pause between turns without work.
const TICK: Duration = Duration::from_millis(1);
/// Punted frames, and frames of each TAP, in one turn: some 100 µs of work.
const FRAMES_PER_TURN: usize = 64;
/// How often the status is replaced when nothing happens, and how often it may be at most.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);
/// How often health is summed up for the status: 10,000 servers cost some milliseconds.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
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
    /// Gives up to `max` punted frames to `take`. Returns how many.
    fn poll_punts(
        &mut self,
        max: usize,
        take: &mut dyn FnMut(PortId, PuntClass, &[u8]),
    ) -> usize;
    /// Sends a frame out of a port; `false`: there was no room.
    fn inject(&mut self, port: PortId, frame: &[u8]) -> bool;
    /// Gives neighbours that workers wait for to `take`.
    fn poll_resolve(&mut self, take: &mut dyn FnMut(PortId, IpAddr));
    /// Hands new tables to every worker. The old ones are freed by the implementer, once no
    /// worker uses them.
    fn publish(&mut self, tables: Arc<Tables>);
    /// Whether the port's link is up, as the driver says; a netdev under the port knows better.
    fn link_is_up(&mut self, port: PortId) -> bool;
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
    /// The kernel would not tell its routes.
    #[error("netlink: {0}")]
    Netlink(#[from] std::io::Error),
    /// The configuration does not fit.
    #[error(transparent)]
    Reconcile(#[from] crate::reconcile::ReconcileError),
}

/// The kernel's side, if there is one.
#[derive(Debug)]
struct Kernel {
    taps: Taps,
    netlink: Netlink,
    view: watch::Receiver<View>,
}

/// Everything the loop owns.
#[derive(Debug)]
struct Control<D> {
    dataplane: D,
    commands: Commands,
    kernel: Option<Kernel>,
    world: World,
    path: PathBuf,
    responder: Responder,
    uplink: Uplink,
    health: Runner,
    job: Option<JoinHandle<Done>>,
    dirty: bool,
    clock: Instant,
    links: Map<PortId, bool>,
    resolves: Map<(PortId, IpAddr), Time>,
    conflicts_logged: Map<IpAddr, Time>,
    status: Status,
    status_at: Time,
    health_at: Time,
    /// Scratch space, kept to avoid allocation.
    actions: Vec<Action>,
    buffer: Vec<u8>,
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
    ready();
    control.serve().await;
    Ok(())
}

impl<D: Dataplane> Control<D> {
    async fn start(setup: Setup, dataplane: D, commands: Commands) -> Result<Self, StartError> {
        let Setup { config, config_path: path, facts, steering, state, mut overlay, .. } = setup;
        for name in overlay.prune(&config) {
            tracing::warn!("runtime change of {name} dropped: it is not configured");
        }
        let kernel = match setup.taps {
            true => Some(Kernel::open(&config, &facts).await?),
            false => None,
        };
        let world = World {
            snapshot: Snapshot::default(),
            mirror: kernel.as_ref().map_or_else(
                || Mirror::from_config(&config),
                |kernel| kernel.view.borrow().mirror.clone(),
            ),
            config: Arc::new(config),
            overlay,
            verdicts: crate::health::Verdicts::default(),
            roles: Roles::default(),
            facts: facts.into(),
            steering,
            state,
        };
        #[expect(clippy::disallowed_methods, reason = "the driver's clock starts here")]
        let clock = Instant::now();
        let mut control = Self {
            dataplane,
            commands,
            kernel,
            path,
            responder: Responder::default(),
            uplink: Uplink::default(),
            health: Runner::new(setup.seed),
            job: None,
            dirty: false,
            clock,
            links: Map::default(),
            resolves: Map::default(),
            conflicts_logged: Map::default(),
            status: Status::default(),
            status_at: Time::ZERO,
            health_at: Time::ZERO,
            actions: Vec::new(),
            buffer: vec![0; FRAME_LEN_MAX],
            world,
        };
        let snapshot = reconcile(&Snapshot::default(), &control.world.inputs())?;
        control.world.snapshot = snapshot;
        control.health.configure(Time::ZERO, &control.world.config, &control.world.overlay);
        control.status.revision = 1;
        control.status.last_change = (Time::ZERO, "started".into());
        control.publish(Time::ZERO);
        Ok(control)
    }

    async fn serve(&mut self) {
        loop {
            let now = self.now();
            let mut worked = self.turn(now);
            // Jobs build on each other's tables, so commands wait for the one that runs.
            if self.job.is_none() {
                match self.commands.commands.try_recv() {
                    Ok(Command::Stop) => return,
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

    /// One turn: frames first, then timers, then what follows from both.
    fn turn(&mut self, now: Time) -> bool {
        let punted = self.punts(now);
        if self.responder.deadline().is_some_and(|at| at <= now) {
            self.responder.expire(now, &mut self.actions);
        }
        self.perform(now);
        let sent = self.kernel_frames(now);
        self.resolve(now);
        self.follow_kernel(now);
        let mut changes = Vec::new();
        self.health.turn(now, &mut changes);
        self.health_changed(now, &changes);
        if self.dirty && self.job.is_none() {
            self.dirty = false;
            self.world.verdicts = self.health.board().verdicts().clone();
            let world = self.world.clone();
            self.job = Some(tokio::task::spawn_blocking(|| job::refresh(world)));
        }
        if now.since(self.status_at) >= STATUS_INTERVAL {
            self.show(now);
        }
        punted + sent > 0
    }

    /// Frames from the workers: to the responder and the kernel.
    fn punts(&mut self, now: Time) -> usize {
        let Self { dataplane, uplink, responder, actions, kernel, .. } = self;
        dataplane.poll_punts(FRAMES_PER_TURN, &mut |port, class, bytes| {
            let frame = uplink.up(now, (port, class), bytes, responder, actions);
            let tap = kernel.as_ref().and_then(|kernel| kernel.taps.tap(port));
            if let (Some(frame), Some(tap)) = (frame, tap)
                && let Err(error) = tap.send(&frame)
            {
                tracing::debug!(port = port.0, %error, "the kernel did not take a frame");
            }
        })
    }

    /// Carries out what the responder wants.
    fn perform(&mut self, now: Time) {
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Send(port, frame) => {
                    self.send(port, &frame);
                }
                Action::Conflict(conflict) => {
                    let last = self.conflicts_logged.get(&conflict.vip);
                    if last.is_none_or(|at| now.since(*at) >= CONFLICT_LOG_INTERVAL) {
                        self.conflicts_logged.insert(conflict.vip, now);
                        let port = self.port_name(conflict.port);
                        tracing::warn!(
                            vip = %conflict.vip, mac = %conflict.mac, port,
                            "another host claims a VIP; a real server needs arp_ignore=1 and \
                             arp_announce=2"
                        );
                    }
                }
            }
        }
        self.actions = actions;
    }

    fn send(&mut self, port: PortId, frame: &[u8]) -> bool {
        let vlan = self.world.config.ports.get(port.index()).and_then(|p| p.vlan);
        self.dataplane.inject(port, &frame::tag(frame, vlan.map(|vlan| vlan.0)))
    }

    /// Frames from the kernel, out of their ports.
    fn kernel_frames(&mut self, now: Time) -> usize {
        let mut count = 0;
        let mut buffer = std::mem::take(&mut self.buffer);
        for port in (0..).map(PortId).take(self.world.config.ports.len()) {
            for _ in 0..FRAMES_PER_TURN {
                let tap = self.kernel.as_ref().and_then(|kernel| kernel.taps.tap(port));
                let Some(Ok(len)) = tap.map(|tap| tap.recv(&mut buffer)) else { break };
                count += 1;
                if self.uplink.down(now, port, &buffer[..len], &self.responder) {
                    self.send(port, &buffer[..len]);
                }
            }
        }
        self.buffer = buffer;
        count
    }

    /// Neighbours that workers wait for.
    fn resolve(&mut self, now: Time) {
        let Self { dataplane, kernel, resolves, .. } = self;
        dataplane.poll_resolve(&mut |port, address| {
            if resolves.len() >= RESOLVES_MAX {
                resolves.clear();
            }
            let last = resolves.get(&(port, address));
            if last.is_some_and(|at| now.since(*at) < RESOLVE_INTERVAL) {
                return;
            }
            resolves.insert((port, address), now);
            if let Some(kernel) = kernel
                && let Some(interface) = kernel.taps.interface(port)
            {
                kernel.netlink.resolve(interface, address);
            }
        });
    }

    /// Takes over what the kernel says of routes, neighbours and links.
    fn follow_kernel(&mut self, now: Time) {
        let Some(kernel) = &mut self.kernel else { return };
        if kernel.view.has_changed().unwrap_or(false) {
            self.world.mirror = kernel.view.borrow_and_update().mirror.clone();
            self.dirty = true;
        }
        if now.since(self.status_at) < STATUS_INTERVAL {
            return; // Links are looked at as often as the status changes.
        }
        for port in (0..).map(PortId).take(self.world.config.ports.len()) {
            let netdev = kernel.view.borrow().carriers.get(&port).copied();
            let up = netdev.unwrap_or_else(|| self.dataplane.link_is_up(port));
            if self.links.insert(port, up) != Some(up) {
                kernel.taps.set_carrier(port, up);
                let name = self.world.config.ports.get(port.index()).map(|p| p.name.as_str());
                tracing::info!(port = name, up, "link");
            }
        }
    }

    fn health_changed(&mut self, now: Time, changes: &[Change]) {
        for change in changes {
            let Change { service, server, up, reason } = change;
            let word = if *up { "up" } else { "down" };
            tracing::info!(%service, %server, reason, "server {word}");
            self.status.last_change = (now, format!("{service}/{server} {word}: {reason}"));
            self.dirty = true;
        }
    }

    fn command(&mut self, now: Time, command: Command) {
        match command {
            Command::Health { service, server, reply } => {
                let _ = reply.send(self.health.board().report_one(&service, &server));
            }
            Command::Stop => {}
            Command::Apply { file, allow_shrink, reply } => {
                let path = file.unwrap_or_else(|| self.path.clone());
                self.start_job(move |world| job::reload(world, &path, allow_shrink, reply));
            }
            Command::Edit { service, server, edit, by, reply } => {
                let mut overlay = self.world.overlay.clone();
                let names = (service.as_str(), server.as_str());
                match overlay.edit(&self.world.config, names, edit, (&by, seconds_since_1970())) {
                    Err(error) => drop(reply.send(Err(error.to_string()))),
                    Ok(()) => {
                        let message = format!("{service}/{server}: {edit}");
                        self.start_edit(now, overlay, message, reply);
                    }
                }
            }
            Command::Reset { reply } => {
                let mut overlay = self.world.overlay.clone();
                let count = overlay.reset();
                self.start_edit(now, overlay, format!("{count} runtime changes dropped"), reply);
            }
        }
    }

    fn start_edit(
        &mut self,
        now: Time,
        overlay: Overlay,
        message: String,
        reply: tokio::sync::oneshot::Sender<Reply>,
    ) {
        // Probes stop and start at once; tables follow with the job.
        self.world.overlay = overlay;
        self.health.configure(now, &self.world.config, &self.world.overlay);
        self.start_job(move |world| job::edit(world, message, reply));
    }

    /// Starts a job on the present world; none runs.
    fn start_job(&mut self, job: impl FnOnce(World) -> Done + Send + 'static) {
        self.world.verdicts = self.health.board().verdicts().clone();
        let world = self.world.clone();
        self.job = Some(tokio::task::spawn_blocking(move || job(world)));
    }

    /// Takes over what the finished job came to.
    async fn finish_job(&mut self) {
        let Some(job) = self.job.take() else { return };
        let now = self.now();
        let done = match job.await {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "a job of the control thread failed: tables stay");
                return;
            }
        };
        let result = match done.outcome {
            Ok(world) => {
                self.adopt(now, done.what, world).await;
                Ok(done.message)
            }
            Err(error) => {
                if done.what == What::Reload {
                    self.status.reload_failures += 1;
                }
                tracing::error!("refused: {error}");
                Err(error)
            }
        };
        if done.what != What::Refresh {
            if let Ok(message) = &result {
                tracing::info!("{message}");
                self.status.last_change = (now, message.clone());
            }
            self.show(now);
        }
        if let Some(reply) = done.reply {
            let _ = reply.send(result); // Whoever asked may have gone.
        }
    }

    async fn adopt(&mut self, now: Time, what: What, world: World) {
        self.world.snapshot = world.snapshot;
        if what == What::Reload {
            if let Some(kernel) = &self.kernel {
                let handle = kernel.netlink.handle();
                let changed = kernel.taps.change(handle, &self.world.config, &world.config);
                if let Err(error) = changed.await {
                    tracing::error!("{error}");
                }
            }
            self.world.config = world.config;
            self.world.overlay = world.overlay;
            self.health.configure(now, &self.world.config, &self.world.overlay);
            self.status.revision += 1;
        }
        self.publish(now);
    }

    /// Hands the present tables to the workers and to everything here that follows them.
    fn publish(&mut self, now: Time) {
        let tables = self.world.snapshot.tables.clone();
        self.responder.configure(now, &tables);
        self.uplink.configure(&tables);
        if let Some(kernel) = &self.kernel {
            let wanted = wanted_neighbours(&tables, &self.world.config, &kernel.taps);
            kernel.netlink.keep(wanted);
        }
        self.dataplane.publish(tables);
        self.show(now);
    }

    /// Replaces the status that others see.
    fn show(&mut self, now: Time) {
        self.status_at = now;
        if now.since(self.health_at) >= HEALTH_INTERVAL || self.status.health.is_empty() {
            self.health_at = now;
            self.status.health = Arc::new(self.health.board().report());
        }
        let vip = |(vip, role, ports, conflicts): (_, _, &[PortId], _)| {
            VipStatus { vip, role, ports: ports.to_vec(), conflicts }
        };
        let status = Status {
            config: Some(self.world.config.clone()),
            config_file: self.path.display().to_string(),
            overlay: self.world.overlay.clone(),
            verdicts: self.health.board().verdicts().clone(),
            tables: self.world.snapshot.tables.clone(),
            mirror: self.world.mirror.clone(),
            links: self.links.clone(),
            vips: self.responder.vips().map(vip).collect(),
            arp_replies: self.responder.replies(),
            uplink: self.uplink.counters().clone(),
            now,
            ..self.status.clone()
        };
        self.commands.status.send_replace(Arc::new(status.clone()));
        self.status = status;
    }

    fn port_name(&self, port: PortId) -> &str {
        self.world.config.ports.get(port.index()).map_or("?", |port| port.name.as_str())
    }
}

impl Kernel {
    async fn open(config: &Config, facts: &[PortFact]) -> Result<Self, StartError> {
        let taps = Taps::open(config, facts)?;
        let servers: usize = config.services.iter().map(|s| s.servers.len()).sum();
        if let Err(reason) = crate::taps::raise_neighbour_limits(servers) {
            tracing::warn!("the kernel's neighbour limits stay as they are: {reason}");
        }
        let netlink = Netlink::start(taps.interfaces(config)).await?;
        taps.configure(netlink.handle(), config).await?;
        let view = netlink.view();
        Ok(Self { taps, netlink, view })
    }
}

/// The neighbours that every server's frames need: servers and gateways, by interface.
fn wanted_neighbours(tables: &Tables, config: &Config, taps: &Taps) -> Vec<(u32, IpAddr)> {
    let fixed = |port: PortId, address| {
        let port = config.ports.get(port.index());
        port.is_some_and(|port| port.neighbours.iter().any(|n| n.address == address))
    };
    let neighbour = |address: IpAddr| match address {
        IpAddr::V4(a) => tables.v4.routes.lookup(a).map(|route| {
            (route.port, route.gateway.unwrap_or(a).into())
        }),
        IpAddr::V6(a) => tables.v6.routes.lookup(a).map(|route| {
            (route.port, route.gateway.unwrap_or(a).into())
        }),
    };
    let servers = tables.servers.iter().flatten().filter_map(|s| neighbour(s.address));
    let gateways = config.ports.iter().flat_map(|p| &p.gateway).filter_map(|g| neighbour(*g));
    let mut all: Vec<(u32, IpAddr)> = servers
        .chain(gateways)
        .filter(|(port, address)| !fixed(*port, *address))
        .filter_map(|(port, address)| Some((taps.interface(port)?, address)))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The date of a runtime change.
fn seconds_since_1970() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a date for people, no timing depends on it")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
