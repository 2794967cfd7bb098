//! The board under a clock of its own.

use super::*;
use crate::config::{Probe, Server, Service};
use crate::health::machine::Finding;
use crate::overlay::{Edit, State as Wanted};
use crate::testing::{config_with, web};

fn check(interval_ms: u64) -> Arc<HealthCheck> {
    Arc::new(HealthCheck {
        name: "tcp".into(),
        probe: Probe::Tcp,
        interval: Duration::from_millis(interval_ms),
        timeout: Duration::from_millis(500),
        rise: 2,
        fall: 3,
        port: None,
    })
}

fn config(servers: u8) -> Config {
    let mut service: Service = web(crate::config::Mode::Dr, servers);
    service.health = Some(check(1000));
    config_with(vec![service])
}

fn at(ms: u64) -> Time {
    Time::ZERO + Duration::from_millis(ms)
}

fn pass(pass: bool) -> Outcome {
    let finding = if pass { Finding::Pass } else { Finding::Fail };
    Outcome {
        finding,
        duration: Duration::from_millis(1),
        reason: "test".into(),
    }
}

fn board(config: &Config) -> Board {
    let mut board = Board::new(1);
    board.configure(at(0), config, &Overlay::default());
    board
}

/// Runs everything that is due up to `until`; servers pass if `up` says so.
fn run(board: &mut Board, until: Time, up: impl Fn(&Job) -> bool) -> Vec<Change> {
    let mut changes = Vec::new();
    while let Some(now) = board.deadline().filter(|&due| due <= until) {
        let mut jobs = Vec::new();
        board.expire(now, &mut jobs);
        for job in jobs {
            let outcome = pass(up(&job));
            changes.extend(board.finish(now, job.id, outcome));
        }
    }
    changes
}

#[test]
fn new_servers_are_down_and_checked_at_once() {
    let mut board = board(&config(3));
    assert!(!board.verdicts().is_up("web", "web1"));
    let changes = run(&mut board, at(300), |_| true);
    assert_eq!(changes.len(), 3);
    assert!(board.verdicts().is_up("web", "web3"));
}

#[test]
fn a_server_that_stops_answering_goes_down_after_fall_intervals_and_comes_back_after_rise() {
    let mut board = board(&config(2));
    run(&mut board, at(5_000), |_| true);
    let one = |job: &Job| job.target.ip().to_string() != "10.0.0.21";
    let down = run(&mut board, at(8_600), one);
    assert_eq!(down.len(), 1);
    assert_eq!((&*down[0].server, down[0].up), ("web1", false));
    let up = run(&mut board, at(11_000), |_| true);
    assert_eq!((up.len(), up[0].up), (1, true));
}

#[test]
fn probes_keep_their_interval_within_the_jitter() {
    let mut board = board(&config(1));
    let mut starts = Vec::new();
    while let Some(now) = board.deadline().filter(|&due| due <= at(60_000)) {
        let mut jobs = Vec::new();
        board.expire(now, &mut jobs);
        starts.push(now);
        // The answer takes a while; the next probe is counted from the last one's start.
        board.finish(now + Duration::from_millis(200), jobs[0].id, pass(true));
    }
    let gaps: Vec<_> = starts
        .windows(2)
        .map(|w| w[1].since(w[0]).as_millis())
        .collect();
    assert!(
        gaps.iter().all(|gap| (900..=1100).contains(gap)),
        "{gaps:?}"
    );
    assert!(
        gaps.iter().any(|gap| *gap < 980) && gaps.iter().any(|gap| *gap > 1020),
        "{gaps:?}"
    );
}

#[test]
fn an_unchanged_server_keeps_state_and_history_over_a_reload() {
    let mut config = config(2);
    let mut board = board(&config);
    run(&mut board, at(3_000), |_| true);
    let history = |board: &Board, server| board.report_one("web", server).unwrap().history.len();
    let before = history(&board, "web1");
    assert!(before > 1);
    config.services[0].health = Some(check(500));
    let moved: &mut Server = &mut config.services[0].servers[1];
    moved.address = "10.0.0.99".parse().unwrap();
    board.configure(at(3_000), &config, &Overlay::default());
    assert!(board.verdicts().is_up("web", "web1"));
    assert_eq!(history(&board, "web1"), before);
    // Another target is another server, whatever its name.
    assert!(!board.verdicts().is_up("web", "web2"));
    assert_eq!(history(&board, "web2"), 0);
}

#[test]
fn results_of_removed_servers_are_forgotten() {
    let config2 = config(2);
    let mut board = board(&config2);
    let mut jobs = Vec::new();
    board.expire(at(300), &mut jobs);
    assert_eq!(jobs.len(), 2);
    board.configure(at(300), &config(1), &Overlay::default());
    let changes: Vec<_> = jobs
        .iter()
        .filter_map(|job| board.finish(at(301), job.id, pass(true)))
        .collect();
    assert_eq!(changes.len(), 1);
    assert_eq!(board.report().len(), 1);
    assert!(!board.verdicts().is_up("web", "web2"));
}

#[test]
fn a_server_in_maintenance_is_not_probed() {
    let config = config(1);
    let mut board = board(&config);
    let mut overlay = Overlay::default();
    let edit = Edit::State(Wanted::Maintenance);
    overlay
        .edit(&config, ("web", "web1"), edit, ("test", 0))
        .unwrap();
    board.configure(at(1), &config, &overlay);
    assert_eq!(board.deadline(), None);
}

#[test]
fn probes_in_flight_are_bounded() {
    let mut config = config(1);
    let server = config.services[0].servers[0].clone();
    config.services[0].servers = (0..PROBES_MAX + 10)
        .map(|i| Server {
            name: format!("s{i}"),
            ..server.clone()
        })
        .collect();
    let mut board = board(&config);
    let mut jobs = Vec::new();
    board.expire(at(1000), &mut jobs);
    assert_eq!((jobs.len(), board.deadline()), (PROBES_MAX, None));
    board.finish(at(1000), jobs[0].id, pass(true));
    assert!(board.deadline().is_some());
}
