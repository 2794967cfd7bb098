//! Runtime changes on top of the file: drain, ready, maintenance, weight.
//!
//! Each is named, dated, kept over reload and restart, and dropped when its server is no longer
//! configured. The file itself is the operator's and never rewritten.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::config::{Config, Server, ServerState, Service, Weight};

/// Name of the overlay in the state directory.
const FILE: &str = "overlay.json";
/// Octets that an overlay file may have: 65,536 servers with long names fit.
const FILE_LEN_MAX: u64 = 32 << 20;
/// The format this release writes.
const VERSION: u32 = 1;

/// A server's state as the overlay spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// New flows and old ones.
    Ready,
    /// Old flows only.
    Drain,
    /// No flow at all, and no probe.
    Maintenance,
}

impl From<State> for ServerState {
    fn from(state: State) -> Self {
        match state {
            State::Ready => Self::Ready,
            State::Drain => Self::Drain,
            State::Maintenance => Self::Maintenance,
        }
    }
}

/// What was changed about one server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Instead of the file's `state`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Instead of the file's `weight`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Who asked for it.
    pub by: String,
    /// When, in seconds since 1970-01-01 UTC.
    pub at: u64,
}

/// One request to change a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Set the state.
    State(State),
    /// Set the weight.
    Weight(u16),
}

impl std::fmt::Display for Edit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::State(State::Ready) => f.write_str("ready"),
            Self::State(State::Drain) => f.write_str("draining"),
            Self::State(State::Maintenance) => f.write_str("in maintenance"),
            Self::Weight(weight) => write!(f, "weight {weight}"),
        }
    }
}

/// All runtime changes, by service and server name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    version: u32,
    changes: BTreeMap<String, BTreeMap<String, Change>>,
}

/// A change that names what is not configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// No such service.
    #[error("no service is named {0:?}")]
    Service(String),
    /// No such server in the service.
    #[error("service {service:?} has no server named {server:?}")]
    Server {
        /// The service, which exists.
        service: String,
        /// The server, which does not.
        server: String,
    },
}

impl Overlay {
    /// State and weight of `server` with the overlay applied.
    pub fn effective(&self, service: &Service, server: &Server) -> (ServerState, Weight) {
        let Some(change) = self.change(&service.name, &server.name) else {
            return (server.state, server.weight);
        };
        let state = change.state.map_or(server.state, ServerState::from);
        (state, change.weight.map_or(server.weight, Weight))
    }

    /// What was changed about one server.
    pub fn change(&self, service: &str, server: &str) -> Option<&Change> {
        self.changes.get(service)?.get(server)
    }

    /// All changes: service, server, change.
    pub fn changes(&self) -> impl Iterator<Item = (&str, &str, &Change)> {
        self.changes.iter().flat_map(|(service, servers)| {
            servers
                .iter()
                .map(move |(server, change)| (service.as_str(), server.as_str(), change))
        })
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Applies one edit, asked for by `by` at `at` seconds since 1970.
    ///
    /// # Errors
    /// [`EditError`] if `config` has no such service or server; nothing is changed then.
    pub fn edit(
        &mut self,
        config: &Config,
        (service, server): (&str, &str),
        edit: Edit,
        (by, at): (&str, u64),
    ) -> Result<(), EditError> {
        let found = config.services.iter().find(|s| s.name == service);
        let found = found.ok_or_else(|| EditError::Service(service.to_owned()))?;
        if !found.servers.iter().any(|s| s.name == server) {
            let (service, server) = (service.to_owned(), server.to_owned());
            return Err(EditError::Server { service, server });
        }
        let servers = self.changes.entry(service.to_owned()).or_default();
        let change = servers.entry(server.to_owned()).or_default();
        match edit {
            Edit::State(state) => change.state = Some(state),
            Edit::Weight(weight) => change.weight = Some(weight),
        }
        by.clone_into(&mut change.by);
        change.at = at;
        Ok(())
    }

    /// Drops changes to what `config` no longer has. Returns their names, `service/server`.
    pub fn prune(&mut self, config: &Config) -> Vec<String> {
        let mut dropped = Vec::new();
        self.changes.retain(|service, servers| {
            let found = config.services.iter().find(|s| s.name == *service);
            servers.retain(|server, _| {
                let known = found.is_some_and(|f| f.servers.iter().any(|s| s.name == *server));
                if !known {
                    dropped.push(format!("{service}/{server}"));
                }
                known
            });
            !servers.is_empty()
        });
        dropped
    }

    /// Drops every change. Returns how many there were.
    pub fn reset(&mut self) -> usize {
        let count = self.changes().count();
        self.changes.clear();
        count
    }

    /// Reads the overlay of a state directory; none is an empty one.
    ///
    /// # Errors
    /// [`StateError`] if there is one that cannot be read or understood.
    pub fn load(directory: &Path) -> Result<Self, StateError> {
        let path = directory.join(FILE);
        let failed = |source| StateError::Io {
            path: path.clone(),
            source,
        };
        let len = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
        };
        if len > FILE_LEN_MAX {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        let bytes = fs::read(&path).map_err(failed)?;
        let format = |reason: String| StateError::Format {
            path: path.clone(),
            reason,
        };
        let overlay: Self = serde_json::from_slice(&bytes).map_err(|e| format(e.to_string()))?;
        match overlay.version {
            VERSION => Ok(overlay),
            other => Err(format(format!(
                "version {other}, this release knows {VERSION}"
            ))),
        }
    }

    /// Writes the overlay to a state directory, whole or not at all.
    ///
    /// # Errors
    /// [`StateError::Io`] if the directory cannot be written; the old file stays.
    pub fn store(&self, directory: &Path) -> Result<(), StateError> {
        let current = Self {
            version: VERSION,
            ..self.clone()
        };
        let mut text = serde_json::to_vec_pretty(&current).unwrap_or_default();
        text.push(b'\n');
        replace(&directory.join(FILE), &text)
    }
}

/// Why a file of the state directory could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{}: {reason}; remove it to start without runtime changes", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Replaces the file at `path` by `bytes` so that readers and crashes see the old or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    use std::io::Write;
    let draft = path.with_extension("new");
    let write = || {
        let mut file = fs::File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        // The rename itself must survive a power cut too.
        path.parent()
            .map_or(Ok(()), |directory| fs::File::open(directory)?.sync_all())
    };
    write().map_err(|source| StateError::Io {
        path: path.to_owned(),
        source,
    })
}
