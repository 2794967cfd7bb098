//! What people and machines may ask of the control thread, and how they are answered.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::events::{Events, Teller};
use super::status::Status;
use crate::health::board::ServerHealth;
use crate::overlay::Edit;

/// Commands that may wait; a caller beyond that waits itself.
const COMMANDS_MAX: usize = 32;

/// One line for the operator: what was done, or why not.
pub type Reply = Result<String, String>;

/// A request to the control thread.
#[derive(Debug)]
pub(super) enum Command {
    /// Run a file: the daemon's own if `None`.
    Apply {
        file: Option<PathBuf>,
        allow_shrink: bool,
        reply: oneshot::Sender<Reply>,
    },
    /// Change a server at run time.
    Edit {
        service: String,
        server: String,
        edit: Edit,
        by: String,
        reply: oneshot::Sender<Reply>,
    },
    /// Drop all runtime changes.
    Reset { reply: oneshot::Sender<Reply> },
    /// One server's health with its history.
    Health {
        service: String,
        server: String,
        reply: oneshot::Sender<Option<ServerHealth>>,
    },
    /// Let another director be Active: for one instance and its group, or for all.
    Resign {
        instance: Option<String>,
        reply: oneshot::Sender<Reply>,
    },
    /// End the control thread.
    Stop,
}

/// The way to the control thread; cheap to clone, usable from any thread and runtime.
#[derive(Clone, Debug)]
pub struct ControlHandle {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<Arc<Status>>,
}

/// The control thread's end of a [`ControlHandle`].
#[derive(Debug)]
pub struct Commands {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) status: watch::Sender<Arc<Status>>,
    pub(super) events: Teller,
}

/// A handle, the end to give to [`super::run`], and what that will tell of.
pub fn channel() -> (ControlHandle, Commands, Events) {
    let (sender, receiver) = mpsc::channel(COMMANDS_MAX);
    let (status_sender, status) = watch::channel(Arc::default());
    let (teller, events) = Teller::new();
    let handle = ControlHandle {
        commands: sender,
        status,
    };
    let commands = Commands {
        commands: receiver,
        status: status_sender,
        events: teller,
    };
    (handle, commands, events)
}

const STOPPED: &str = "the control thread has ended";

impl ControlHandle {
    /// What the control thread last said of itself. Never waits for it.
    pub fn status(&self) -> Arc<Status> {
        self.status.borrow().clone()
    }

    /// Has a file run, or the daemon's own read again, as a whole or not at all.
    ///
    /// # Errors
    /// Every mistake in the file, or why it may not be run; nothing has changed then.
    pub async fn apply(&self, file: Option<PathBuf>, allow_shrink: bool) -> Reply {
        self.ask(|reply| Command::Apply {
            file,
            allow_shrink,
            reply,
        })
        .await
    }

    /// Changes state or weight of a server at run time, in the name of `by`.
    ///
    /// # Errors
    /// If there is no such server.
    pub async fn edit(&self, service: &str, server: &str, edit: Edit, by: &str) -> Reply {
        let (service, server, by) = (service.to_owned(), server.to_owned(), by.to_owned());
        self.ask(|reply| Command::Edit {
            service,
            server,
            edit,
            by,
            reply,
        })
        .await
    }

    /// Drops all runtime changes.
    ///
    /// # Errors
    /// If the control thread has ended.
    pub async fn reset(&self) -> Reply {
        self.ask(|reply| Command::Reset { reply }).await
    }

    /// One server's health with its last results; `None` if it is not checked.
    pub async fn health(&self, service: &str, server: &str) -> Option<ServerHealth> {
        let (reply, answer) = oneshot::channel();
        let (service, server) = (service.to_owned(), server.to_owned());
        self.commands
            .send(Command::Health {
                service,
                server,
                reply,
            })
            .await
            .ok()?;
        answer.await.ok()?
    }

    /// Makes a VRRP instance and its group, or all, step down in favour of another director.
    ///
    /// # Errors
    /// If there is no such instance.
    pub async fn resign(&self, instance: Option<String>) -> Reply {
        self.ask(|reply| Command::Resign { instance, reply }).await
    }

    /// Ends the control thread after its present turn.
    pub async fn stop(&self) {
        // Ended already is as good.
        let _ = self.commands.send(Command::Stop).await;
    }

    async fn ask(&self, command: impl FnOnce(oneshot::Sender<Reply>) -> Command) -> Reply {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(command(reply)).await;
        sent.map_err(|_| STOPPED.to_owned())?;
        answer.await.unwrap_or_else(|_| Err(STOPPED.to_owned()))
    }
}
