//! What takes longer than a turn may: parsing, reconcile, files. Runs on a helper thread that
//! inherits the control CPU; one job at a time, so that each builds on the tables of the last.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::command::Reply;
use super::world::World;
use crate::config::{self, Config, FILE_LEN_MAX, Loaded};
use crate::overlay;

/// The last accepted file in the state directory.
pub const LAST_GOOD: &str = "last-good.yaml";

/// What a job came to.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) what: What,
    /// The new tables with the configuration and overlay they follow from, or why there are none.
    pub(super) outcome: Result<World, String>,
    /// What to tell the operator if it worked.
    pub(super) message: String,
    pub(super) reply: Option<oneshot::Sender<Reply>>,
}

/// What a job was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Health, routes or neighbours changed.
    Refresh,
    /// The operator changed servers at run time.
    Edit,
    /// Another configuration.
    Reload,
}

/// Starts a job on a helper thread, which leaves the CPU to the control thread's turns.
pub(super) fn start(job: impl FnOnce() -> Done + Send + 'static) -> JoinHandle<Done> {
    tokio::task::spawn_blocking(|| {
        be_nice();
        job()
    })
}

/// Frees things on a helper thread; at once where the caller has a clock of its own, and no
/// threads.
pub(super) fn free(things: impl Send + 'static) {
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    runtime.spawn_blocking(|| {
        be_nice();
        drop(things);
    });
}

/// A helper thread inherited the control thread's niceness; giving that up is always allowed.
fn be_nice() {
    let _ = rustix::process::setpriority_process(None, 0);
}

/// New tables for a changed world.
pub(super) fn refresh(world: World) -> Done {
    let outcome = world.reconcile();
    Done {
        what: What::Refresh,
        outcome,
        message: String::new(),
        reply: None,
    }
}

/// New tables for a changed overlay, which is kept in the state directory.
pub(super) fn edit(mut world: World, message: String, reply: oneshot::Sender<Reply>) -> Done {
    let stored = world
        .state
        .as_deref()
        .map_or(Ok(()), |state| world.overlay.store(state));
    let message = match stored {
        Ok(()) => message,
        // A full disk must not keep the operator from draining a server.
        Err(error) => format!("{message}; lost at restart: {error}"),
    };
    world.enlist();
    Done {
        what: What::Edit,
        outcome: world.reconcile(),
        message,
        reply: Some(reply),
    }
}

/// New tables for the file at `path`, unless anything speaks against it.
pub(super) fn reload(
    world: World,
    path: &Path,
    allow_shrink: bool,
    reply: oneshot::Sender<Reply>,
) -> Done {
    let state = world.state.clone();
    let read = read(path).and_then(|(loaded, bytes)| {
        let Loaded { config, warnings } = loaded;
        let accepted = accept(world, config, allow_shrink)?;
        Ok((accepted, warnings, bytes))
    });
    let (outcome, message) = match read {
        Err(error) => (Err(error), String::new()),
        Ok(((world, mut notes), warnings, bytes)) => {
            notes.extend(warnings.iter().map(ToString::to_string));
            if let Some(Err(error)) =
                state.map(|state| overlay::replace(&state.join(LAST_GOOD), &bytes))
            {
                notes.push(format!("not kept as last good file: {error}"));
            }
            let services = world.config.services.len();
            let servers: usize = world.config.services.iter().map(|s| s.servers.len()).sum();
            let head = format!("{}: {services} services, {servers} servers", path.display());
            notes.insert(0, head);
            (Ok(world), notes.join("\n"))
        }
    };
    Done {
        what: What::Reload,
        outcome,
        message,
        reply: Some(reply),
    }
}

/// Reads a file once, so that what is kept is what was judged.
fn read(path: &Path) -> Result<(Loaded, Vec<u8>), String> {
    let fits = |bytes: &Vec<u8>| bytes.len() <= FILE_LEN_MAX;
    let small = fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() <= FILE_LEN_MAX as u64);
    let bytes = small.then(|| fs::read(path).ok()).flatten().filter(fits);
    let Some(bytes) = bytes else {
        // The loader says best what is wrong.
        let loaded = config::load(path).map_err(|errors| errors.to_string())?;
        return Ok((loaded, Vec::new()));
    };
    let name = path.display().to_string();
    let loaded = config::parse_bytes(&name, &bytes).map_err(|errors| errors.to_string())?;
    Ok((loaded, bytes))
}

/// The world under another configuration, and what the operator should know of it.
pub(super) fn accept(
    mut world: World,
    mut config: Config,
    allow_shrink: bool,
) -> Result<(World, Vec<String>), String> {
    let restart = config::restart_needed(&world.config, &config);
    if !restart.is_empty() {
        return Err(format!("needs restart: {}", restart.join(", ")));
    }
    if let Some(refusal) = config::shrink(&world.config, &config).filter(|_| !allow_shrink) {
        return Err(refusal.to_string());
    }
    // Ports keep the numbers they started with, in whatever order the file lists them now.
    let number = |name: &str| world.config.ports.iter().position(|port| port.name == name);
    config.ports.sort_by_key(|port| number(&port.name));
    let mut overlay = (*world.overlay).clone();
    let dropped = overlay.prune(&config);
    let notes: Vec<String> = dropped
        .iter()
        .map(|name| format!("warning: runtime change of {name} dropped: it is not configured"))
        .collect();
    if !dropped.is_empty() {
        if let Some(Err(error)) = world.state.as_ref().map(|state| overlay.store(state)) {
            tracing::warn!(%error, "the overlay could not be kept");
        }
        world.overlay = Arc::new(overlay);
    }
    world.config = Arc::new(config);
    world.enlist();
    Ok((world.reconcile()?, notes))
}
