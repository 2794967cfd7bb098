//! What only one daemon may have: the socket and the state directory. Both survive `kill -9`:
//! a stale socket is removed, a lock ends with its process.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The locked state directory. The lock ends when this is dropped, or with the process.
#[derive(Debug)]
pub(crate) struct StateDir {
    pub(crate) path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Creates the directory if need be, and locks it.
    ///
    /// # Errors
    /// One line with the fix: it cannot be written, or another daemon has it.
    pub(crate) fn claim(path: &Path) -> anyhow::Result<Self> {
        let fix = "fix: run as root, or choose another directory with --state or management.state";
        std::fs::create_dir_all(path)
            .with_context(|| format!("state directory {}: {fix}", path.display()))?;
        let file = path.join("lock");
        let lock = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&file)
            .with_context(|| format!("{}: {fix}", file.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(_) => bail!(
                "state directory {} belongs to another running weir; \
                 fix: stop that one, or give this one its own with --state or management.state",
                path.display()
            ),
        }
    }
}

/// Makes sure that no daemon listens on the socket, and that its directory exists.
///
/// # Errors
/// One line with the fix.
pub(crate) fn claim_socket(path: &Path) -> anyhow::Result<()> {
    if UnixStream::connect(path).is_ok() {
        bail!(
            "socket {}: another weir is running there; \
             fix: stop it, or give this one its own management.socket",
            path.display()
        );
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| {
            format!(
                "socket {}: fix: run as root, or choose another path",
                path.display()
            )
        })?;
    }
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("stale socket {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("weir-claim-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn a_state_directory_has_one_owner_at_a_time() {
        let dir = scratch("state");
        let first = StateDir::claim(&dir).expect("free");
        let refused = StateDir::claim(&dir).expect_err("taken").to_string();
        assert!(
            refused.contains("another running weir") && refused.contains("fix:"),
            "{refused}"
        );
        drop(first);
        StateDir::claim(&dir).expect("free again");
        std::fs::remove_dir_all(dir).expect("ours");
    }

    #[test]
    fn a_stale_socket_is_removed_and_a_live_one_is_not() {
        let dir = scratch("socket");
        let path = dir.join("weir.sock");
        claim_socket(&path).expect("makes the directory");
        let live = std::os::unix::net::UnixListener::bind(&path).expect("bind");
        let refused = claim_socket(&path).expect_err("live").to_string();
        assert!(refused.contains("another weir is running"), "{refused}");
        drop(live);
        claim_socket(&path).expect("stale");
        assert!(!path.exists());
        std::fs::remove_dir_all(dir).expect("ours");
    }
}
