//! The operator's programs: VRRP's notify hooks and tracked scripts.
//!
//! They run as nobody and so without capabilities, in a process group of their own, without a
//! shell, for a bounded time; their output goes nowhere. A program that outlives its time is killed
//! with all that it started.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::mpsc;
use weir_engine::tables::Map;
use weir_engine::time::Time;

use crate::config::{Config, Tracked};

/// The user and group `nobody` and `nogroup` of Debian.
const NOBODY: u32 = 65_534;
/// Results that may wait to be taken in.
const RESULTS_MAX: usize = 1024;

/// Runs a program to its end, or its time's. `Ok`: its exit status was 0.
///
/// # Errors
/// Why it does not count as a success, in words.
pub async fn run(
    argv: &[String],
    environment: &[(String, String)],
    timeout: Duration,
) -> Result<(), String> {
    let [program, arguments @ ..] = argv else {
        return Err("no program is given".into());
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .envs(environment.iter().map(|(key, value)| (key, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    let group = group.and_then(rustix::process::Pid::from_raw);
    // It inherited the control thread's niceness; gone already is as good.
    let _ = group.map(|group| rustix::process::setpriority_process(Some(group), 0));
    match tokio::time::timeout(timeout, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("{program}: {status}")),
        Ok(Err(error)) => Err(format!("{program}: {error}")),
        Err(_) => {
            if let Some(group) = group {
                // What it started ends with it; gone already is as good.
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            Err(format!("{program}: ended after {timeout:?}"))
        }
    }
}

/// Runs a program and logs it if it fails; nobody waits for it.
pub fn spawn(argv: Vec<String>, environment: Vec<(String, String)>, timeout: Duration) {
    tokio::spawn(async move {
        if let Err(error) = run(&argv, &environment, timeout).await {
            tracing::warn!(%error, "notify");
        }
    });
}

/// Names one tracked script: its instance and its words.
type Key = (String, Vec<String>);

/// One tracked script.
#[derive(Debug)]
struct Script {
    interval: Duration,
    timeout: Duration,
    rise: u16,
    fall: u16,
    /// Well until shown otherwise would hide a broken script, so it is not until it ran.
    is_well: bool,
    /// Results in a row that contradict that.
    streak: u16,
    has_run: bool,
    /// When it runs next; `None` while it runs.
    due: Option<Time>,
}

/// All tracked scripts of a configuration: runs them and knows how they are.
#[derive(Debug)]
pub struct Tracker {
    scripts: Map<Key, Script>,
    sender: mpsc::Sender<(Key, bool)>,
    results: mpsc::Receiver<(Key, bool)>,
}

impl Default for Tracker {
    fn default() -> Self {
        let (sender, results) = mpsc::channel(RESULTS_MAX);
        Self {
            scripts: Map::default(),
            sender,
            results,
        }
    }
}

impl Tracker {
    /// Takes over a configuration; scripts that stay keep what is known of them.
    pub fn configure(&mut self, now: Time, config: &Config) {
        let mut old = std::mem::take(&mut self.scripts);
        for instance in &config.vrrp {
            for track in &instance.track {
                let Tracked::Script {
                    argv,
                    interval,
                    timeout,
                    rise,
                    fall,
                } = &track.what
                else {
                    continue;
                };
                let key = (instance.name.clone(), argv.clone());
                let known = old.remove(&key);
                let script = Script {
                    interval: *interval,
                    timeout: *timeout,
                    rise: *rise,
                    fall: *fall,
                    is_well: known.as_ref().is_some_and(|known| known.is_well),
                    streak: known.as_ref().map_or(0, |known| known.streak),
                    has_run: known.as_ref().is_some_and(|known| known.has_run),
                    due: known.map_or(Some(now), |known| known.due),
                };
                self.scripts.insert(key, script);
            }
        }
    }

    /// Takes in what has ended and starts what is due; never waits. On a tokio runtime.
    pub fn turn(&mut self, now: Time) {
        while let Ok((key, passed)) = self.results.try_recv() {
            if let Some(script) = self.scripts.get_mut(&key) {
                script.take(now, passed);
            }
        }
        for (key, script) in &mut self.scripts {
            if script.due.is_none_or(|due| now < due) {
                continue;
            }
            script.due = None;
            let (key, timeout, sender) = (key.clone(), script.timeout, self.sender.clone());
            tokio::spawn(async move {
                let environment = [("WEIR_INSTANCE".to_owned(), key.0.clone())];
                let passed = run(&key.1, &environment, timeout).await.is_ok();
                // The receiver only goes away with the whole control thread.
                let _ = sender.send((key, passed)).await;
            });
        }
    }

    /// Whether an instance's script succeeds.
    pub fn is_well(&self, instance: &str, argv: &[String]) -> bool {
        let key = (instance.to_owned(), argv.to_vec());
        self.scripts.get(&key).is_some_and(|script| script.is_well)
    }
}

impl Script {
    fn take(&mut self, now: Time, passed: bool) {
        self.due = Some(now + self.interval);
        let first = !std::mem::replace(&mut self.has_run, true);
        if passed == self.is_well {
            self.streak = 0;
            return;
        }
        self.streak += 1;
        let wanted = if passed { self.rise } else { self.fall };
        if first || self.streak >= wanted {
            (self.is_well, self.streak) = (passed, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn a_program_s_exit_status_counts_and_its_time_is_bounded() {
        let limit = Duration::from_millis(300);
        block_on(async {
            assert_eq!(run(&words("/usr/bin/true"), &[], limit).await, Ok(()));
            assert!(run(&words("/usr/bin/false"), &[], limit).await.is_err());
            let error = run(&words("/nowhere/check"), &[], limit).await.unwrap_err();
            assert!(error.contains("/nowhere/check"), "{error}");
            let error = run(&words("/usr/bin/sleep 60"), &[], limit)
                .await
                .unwrap_err();
            assert!(error.contains("ended after"), "{error}");
        });
    }

    #[test]
    fn a_program_has_no_capabilities_and_only_the_environment_that_it_is_given() {
        let script = r#"test "$WEIR_STATE" = active -a "$(id -u)" != 0 -a -z "$CARGO_HOME" && \
            grep -q 'CapEff:.*0000000000000000' /proc/self/status"#;
        let argv = ["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()];
        let environment = [("WEIR_STATE".to_owned(), "active".to_owned())];
        if rustix::process::geteuid().is_root() {
            let ended = block_on(run(&argv, &environment, Duration::from_secs(5)));
            assert_eq!(ended, Ok(()));
        } else {
            println!("skipped: needs root to give it up");
        }
    }

    #[test]
    fn rise_and_fall_count_and_the_first_result_decides() {
        let mut script = Script {
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise: 2,
            fall: 3,
            is_well: false,
            streak: 0,
            has_run: false,
            due: None,
        };
        let mut seen = Vec::new();
        for passed in [true, false, false, true, false, false, false, true, true] {
            script.take(Time::ZERO, passed);
            seen.push(script.is_well);
        }
        let expected = [true, true, true, true, true, true, false, false, true];
        assert_eq!(seen, expected);
    }
}
