//! The daemon: opens DPDK, starts control, workers and management, and stops them in order.
//!
//! Order of start: what only one daemon may have → devices, configured but silent → the control
//! thread, which publishes the first tables → ports and workers → ready. Order of stop: control
//! (its TAPs go), then workers (they send what they have), then devices.

mod api;
mod arp;
mod claim;
mod date;
mod devices;
mod events;
mod families;
mod flows;
mod health;
mod inspect;
mod metrics;
mod nouns;
mod random;
mod rings;
mod serve;
mod shared;
mod snapshot;
mod status;
mod threads;
mod turns;
mod vrrp;
mod workers;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use weir_control::config::{self, Config, CpuId, Loaded};
use weir_control::driver::{LAST_GOOD, Setup, channel};
use weir_control::overlay::Overlay;
use weir_dpdk::Tsc;
use weir_engine::steering::Steering;

use crate::cli::Run;
use api::Api;
use claim::StateDir;
use inspect::Inspector;
use rings::Rings;
use serve::Listeners;
use shared::{Devices, Latest, Shared, WorkerFacts};
use threads::Threads;

/// Runs until SIGTERM. Errors are one line with the fix, exit code 1.
pub(crate) fn run(arguments: &Run, socket: Option<&Path>) -> ExitCode {
    init_log();
    match start(arguments, socket) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn init_log() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// What was claimed and read before DPDK starts, because it cannot be started twice.
struct Claimed {
    config: Config,
    path: PathBuf,
    cpus: Vec<CpuId>,
    socket: PathBuf,
    state: StateDir,
    overlay: Overlay,
}

fn start(arguments: &Run, socket: Option<&Path>) -> anyhow::Result<()> {
    let claimed = claim_all(arguments, socket)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the management thread")?;
    let listen = claimed.config.management.listen;
    let listeners = runtime.block_on(Listeners::bind(&claimed.socket, listen))?;
    let socket = claimed.socket.clone();
    let ended = forward(claimed, &runtime, listeners);
    // Gone already is as good.
    let _ = std::fs::remove_file(socket);
    ended
}

fn claim_all(arguments: &Run, socket: Option<&Path>) -> anyhow::Result<Claimed> {
    let (loaded, path) = load(arguments)?;
    for warning in &loaded.warnings {
        eprintln!("{warning}");
    }
    let config = loaded.config;
    let cpus = config.runtime.workers.resolve(&devices::cpus());
    devices::check_cpus(&config, &cpus)?;
    let socket: PathBuf = socket.unwrap_or(&config.management.socket).into();
    claim::claim_socket(&socket)?;
    let state = StateDir::claim(
        arguments
            .state
            .as_deref()
            .unwrap_or(&config.management.state),
    )?;
    let overlay = Overlay::load(&state.path)?;
    Ok(Claimed {
        config,
        path,
        cpus,
        socket,
        state,
        overlay,
    })
}

/// Reads the configuration; with `--last-good`, the last accepted one if it is refused.
fn load(arguments: &Run) -> anyhow::Result<(Loaded, PathBuf)> {
    let refused = match config::load(&arguments.config) {
        Ok(loaded) => return Ok((loaded, arguments.config.clone())),
        Err(refused) => refused,
    };
    let Some(directory) = &arguments.last_good else {
        anyhow::bail!("{refused}")
    };
    let last = directory.join(LAST_GOOD);
    let loaded = config::load(&last)
        .map_err(|also| anyhow::anyhow!("{refused}\nand the last accepted file:\n{also}"))?;
    eprintln!("{refused}");
    tracing::error!(
        "{} is REFUSED; forwarding by the last accepted file, {}",
        arguments.config.display(),
        last.display()
    );
    // A reload reads the operator's file again, once it is mended.
    Ok((loaded, arguments.config.clone()))
}

fn forward(
    claimed: Claimed,
    runtime: &tokio::runtime::Runtime,
    listeners: Listeners,
) -> anyhow::Result<()> {
    let Claimed {
        config,
        path,
        cpus,
        state,
        overlay,
        ..
    } = claimed;
    let key = random::octets()?;
    let opened = devices::open(&config, cpus.len(), &key)?;
    let clock = Tsc::calibrate();
    let mut notes = opened.notes;
    let engines = workers::prepare(&config, &cpus, &mut notes)?;
    for note in &notes {
        tracing::warn!("{note}");
    }
    let (inspector, questions) = Inspector::new();
    let facts = engines.iter().map(|worker| WorkerFacts {
        cpu: worker.cpu,
        stats: Arc::clone(&worker.stats),
    });
    let shared = Arc::new(Shared {
        clock,
        workers: facts.collect(),
        flows_per_worker: config.runtime.flows_per_worker.into(),
        pool: opened.pool,
        devices: Devices::new(opened.devices),
        notes,
        tables: Latest::new(Arc::default()),
        inspector,
    });
    let (links, ends) = cpus.iter().map(|_| weir_worker::control_link()).unzip();
    let rings = Rings::new(ends, Arc::clone(&shared), questions);
    let (control, commands, told) = channel();
    let events = Arc::new(events::Log::new(date::now()));
    drop(runtime.spawn(Arc::clone(&events).follow(told)));
    let setup = Setup {
        config: config.clone(),
        config_path: path,
        facts: opened.facts,
        steering: Steering::new(u16::try_from(cpus.len())?, key),
        state: Some(state.path.clone()),
        overlay,
        taps: true,
        seed: random::word()?,
    };
    let launch = workers::Launch {
        engines,
        links,
        config,
        shared: Arc::clone(&shared),
    };
    let threads = threads::start(setup, rings, commands, launch)?;
    let api = Api {
        shared,
        control,
        events,
    };
    manage(api, runtime, listeners, threads)
}

/// Serves until told to stop, then stops control, workers and devices in this order.
fn manage(
    api: Api,
    runtime: &tokio::runtime::Runtime,
    listeners: Listeners,
    threads: Threads,
) -> anyhow::Result<()> {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        dpdk = weir_dpdk::dpdk_version(),
        workers = api.shared.workers.len(),
        "forwarding"
    );
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let control = api.control.clone();
    let served = runtime.block_on(serve::serve(Arc::new(api), listeners, &threads));
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!("stopping");
    runtime.block_on(control.stop());
    threads.join()?;
    served
}
