//! The management thread: HTTP on the unix socket, and on TCP where configured; signals.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};

use super::api::{self, Api};
use super::threads::Threads;

/// Owner and group may read and write; who may do what is decided by that (F19).
const SOCKET_MODE: u32 = 0o660;

/// How often the other threads are looked after.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Listeners that are bound, so that a refused one is known before anything forwards.
#[derive(Debug)]
pub(crate) struct Listeners {
    unix: UnixListener,
    tcp: Option<TcpListener>,
}

impl Listeners {
    /// Binds.
    ///
    /// # Errors
    /// One line with the address and the fix.
    pub(crate) async fn bind(socket: &Path, listen: Option<SocketAddr>) -> anyhow::Result<Self> {
        let unix = UnixListener::bind(socket).with_context(|| {
            format!(
                "socket {}: fix: run as root, or choose another path",
                socket.display()
            )
        })?;
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(SOCKET_MODE))
            .with_context(|| format!("socket {}", socket.display()))?;
        let tcp = match listen {
            Some(address) => Some(TcpListener::bind(address).await.with_context(|| {
                format!("management.listen {address}: fix: choose a free address and port")
            })?),
            None => None,
        };
        Ok(Self { unix, tcp })
    }
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// If the control thread ends by itself: then nobody answers ARP or checks health any more.
pub(crate) async fn serve(
    api: Arc<Api>,
    listeners: Listeners,
    threads: &Threads,
) -> anyhow::Result<()> {
    let writer = api::writer(Arc::clone(&api));
    drop(tokio::spawn(
        axum::serve(listeners.unix, writer).into_future(),
    ));
    if let Some(tcp) = listeners.tcp {
        let reader = api::reader(Arc::clone(&api));
        drop(tokio::spawn(axum::serve(tcp, reader).into_future()));
    }
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    loop {
        tokio::select! {
            _ = look.tick() => anyhow::ensure!(threads.are_alive(), "the control thread ended"),
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => match api.control.apply(None, false).await {
                Ok(said) => tracing::info!("SIGHUP: {said}"),
                Err(refusal) => tracing::error!("SIGHUP: nothing changed: {refusal}"),
            },
        }
    }
}
