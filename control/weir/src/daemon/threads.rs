//! The control thread and the workers: started so that nobody receives before there are tables,
//! joined so that nobody sends into a closed device.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use weir_control::driver::{Commands, Setup, StartError};
use weir_dpdk::PinnedThread;

use super::rings::Rings;
use super::workers::Launch;

/// Everything that runs besides the management thread.
#[derive(Debug)]
pub(crate) struct Threads {
    control: JoinHandle<Result<(), StartError>>,
    workers: Vec<PinnedThread<()>>,
}

/// Starts the control thread, and when it has published the first tables, ports and workers.
///
/// # Errors
/// The first thing that fails, in one line; what was started is stopped again.
pub(crate) fn start(
    setup: Setup,
    rings: Rings,
    commands: Commands,
    launch: Launch,
) -> anyhow::Result<Threads> {
    let (tables_ready, tables) = channel();
    let (go, forwarding) = channel();
    // The control thread inherits this thread's CPU, which DPDK's start pinned.
    let control = std::thread::Builder::new()
        .name("weir-control".into())
        .spawn(move || control_thread(setup, rings, commands, (tables_ready, forwarding)))
        .context("cannot start the control thread")?;
    if tables.recv().is_err() {
        let ended = control
            .join()
            .map_err(|_| anyhow!("the control thread panicked"))?;
        ended?;
        bail!("the control thread ended before its first tables");
    }
    let workers = launch.start()?;
    // Probes begin now: their first packets find the ports open.
    let _ = go.send(());
    Ok(Threads { control, workers })
}

fn control_thread(
    setup: Setup,
    rings: Rings,
    commands: Commands,
    (tables_ready, forwarding): (Sender<()>, Receiver<()>),
) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // 50 µs late is no matter for a thread that looks every millisecond, but VRRP will care.
    let _ = weir_dpdk::set_timer_slack(Duration::from_micros(10));
    let ready = move || {
        let _ = tables_ready.send(());
        // Ends too if the workers could not start.
        let _ = forwarding.recv();
    };
    runtime.block_on(weir_control::driver::run(setup, rings, commands, ready))
}

impl Threads {
    /// Whether all threads that should run still do.
    pub(crate) fn are_alive(&self) -> bool {
        !self.control.is_finished()
    }

    /// Waits for all threads to end: control first, whose end stops the workers.
    ///
    /// # Errors
    /// If one panicked.
    pub(crate) fn join(self) -> anyhow::Result<()> {
        let control = self
            .control
            .join()
            .map_err(|_| anyhow!("the control thread panicked"));
        for (index, worker) in self.workers.into_iter().enumerate() {
            worker
                .join()
                .map_err(|_| anyhow!("worker {index} panicked"))?;
        }
        Ok(control??)
    }
}
