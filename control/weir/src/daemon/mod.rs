//! The daemon: opens DPDK, starts workers, control and management, and stops them in order.

mod api;
mod claim;
mod devices;
mod families;

mod inspect;
mod metrics;
mod nouns;
mod rings;
mod serve;
mod shared;
mod snapshot;
mod status;
mod workers;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use weir_control::config::{self, Config, CpuId};
use weir_control::mirror::Mirror;
use weir_control::reconcile::{Inputs, Roles, Snapshot, reconcile};
use weir_dpdk::Tsc;
use weir_engine::steering::Steering;
use weir_worker::MeshSpec;

use crate::cli::Run;
use inspect::Inspector;
use shared::{Latest, Shared, WorkerFacts};

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

fn start(arguments: &Run, socket: Option<&Path>) -> anyhow::Result<()> {
    let loaded = config::load(&arguments.config).map_err(|error| anyhow::anyhow!("{error}"))?;
    for warning in &loaded.warnings {
        eprintln!("{warning}");
    }
    let config = Arc::new(loaded.config);
    let cpus = config.runtime.workers.resolve(&devices::cpus());
    devices::check_cpus(&config, &cpus)?;
    let socket: PathBuf = socket.unwrap_or(&config.management.socket).into();
    claim::claim_socket(&socket)?;
    let state = arguments
        .state
        .as_deref()
        .unwrap_or(&config.management.state);
    let _state = claim::StateDir::claim(state)?;
    let opened = devices::open(&config, cpus.len())?;
    forward(&config, &cpus, opened, &socket)
}

fn forward(
    config: &Arc<Config>,
    cpus: &[CpuId],
    opened: devices::Opened,
    socket: &Path,
) -> anyhow::Result<()> {
    let mut notes = opened.notes;
    let clock = Tsc::calibrate();
    let (parts, ends) = weir_worker::build(MeshSpec {
        devices: opened.queues,
        workers: cpus.len(),
    });
    let mut ready = Vec::new();
    for ((index, cpu), parts) in cpus.iter().enumerate().zip(parts) {
        ready.push(workers::prepare(config, index, *cpu, parts, &mut notes)?);
    }
    for note in &notes {
        tracing::warn!("{note}");
    }
    let (inspector, questions) = Inspector::new();
    let steering = Steering::new(u16::try_from(cpus.len())?, [7; 40]);
    let overlay = weir_control::overlay::Overlay::default();
    let verdicts = weir_control::health::Verdicts::default();
    let snapshot = reconcile(
        &Snapshot::default(),
        &Inputs {
            config,
            overlay: &overlay,
            health: &verdicts,
            roles: &Roles::default(),
            mirror: &Mirror::from_config(config),
            ports: &opened.facts,
            steering: &steering,
        },
    )?;
    let shared = Arc::new(Shared {
        clock,
        workers: ready
            .iter()
            .map(|worker| WorkerFacts {
                cpu: worker.cpu,
                stats: Arc::clone(&worker.stats),
            })
            .collect(),
        flows_per_worker: config.runtime.flows_per_worker.into(),
        pool: opened.pool,
        devices: opened.devices,
        notes,
        tables: Latest::new(Arc::clone(&snapshot.tables)),
        inspector,
    });
    let mut rings = rings::Rings::new(ends, Arc::clone(&shared), questions);
    let mut threads = Vec::new();
    for (index, worker) in ready.into_iter().enumerate() {
        worker.stats.generation.set(snapshot.tables.generation);
        let tables = Arc::clone(&snapshot.tables);
        threads.push(worker.start(index, config, tables, opened.pool, clock)?);
    }
    let view = snapshot::ControlView {
        hide_servers: snapshot::detail(config),
        config: Arc::clone(config),
        overlay,
        verdicts,
        health: Vec::new(),
        revision: 1,
        reload_failures: 0,
        config_file: String::new(),
        last_change: String::new(),
    };
    let control = snapshot::ControlHandle(Arc::new(Latest::new(Arc::new(view))));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stop2 = Arc::clone(&stop);
    let ticker = std::thread::spawn(move || {
        while !stop2.load(std::sync::atomic::Ordering::Relaxed) {
            rings.tend();
            rings.poll_punts(&mut |_, _, _| {});
            #[allow(clippy::disallowed_methods)]
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        rings.stop();
    });
    let api = Arc::new(api::Api { shared, control });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the management thread")?;
    runtime.block_on(async {
        let listeners = serve::Listeners::bind(socket, config.management.listen).await?;
        serve::serve(api, listeners).await
    })?;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let _ = ticker.join();
    for thread in threads {
        let _ = thread.join();
    }
    let _ = std::fs::remove_file(socket);
    Ok(())
}
