//! The board under a clock of its own.

use super::*;
use crate::config::{Brake, Config, Mode, Server, Service};
use crate::overlay::{Edit, Overlay, State as Wanted};
use crate::testing::{check, config_with, outcome, web};

fn config(servers: u8) -> Config {
    let mut service: Service = web(crate::config::Mode::Dr, servers);
    service.health = Some(Arc::new(check()));
    config_with(vec![service])
}

/// The same with more servers, `s000` and so on.
fn many(servers: usize) -> Config {
    let mut config = config(1);
    let server = config.services[0].servers[0].clone();
    let named = |i| Server {
        name: format!("s{i:03}"),
        ..server.clone()
    };
    config.services[0].servers = (0..servers).map(named).collect();
    config
}

/// The same with something else about the check.
fn checked_by(servers: u8, check: HealthCheck) -> Config {
    let mut config = config(servers);
    config.services[0].health = Some(Arc::new(check.clone()));
    config.health_checks = vec![Arc::new(check)];
    config
}

fn at(ms: u64) -> Time {
    Time::ZERO + Duration::from_millis(ms)
}

fn pass(pass: bool) -> Outcome {
    outcome(if pass { Finding::Pass } else { Finding::Fail })
}

/// Has a board take over a configuration, as a job and then turns do.
pub(crate) fn configure(board: &mut Board, now: Time, config: &Config, overlay: &Overlay) {
    let before = board.last.clone().unwrap_or_default();
    board.configure(now, &Roster::of(config, overlay, &before));
    while !board.pending.is_empty() {
        board.follow(now);
    }
}

fn board(config: &Config) -> Board {
    let mut board = Board::new(1);
    configure(&mut board, at(0), config, &Overlay::default());
    board
}

fn expire(board: &mut Board, now: Time) -> Vec<Job> {
    let mut jobs = Vec::new();
    board.expire(now, &mut jobs, &mut Vec::new());
    jobs
}

fn finish(board: &mut Board, now: Time, id: CheckId, outcome: Outcome) -> Vec<Change> {
    let mut changes = Vec::new();
    board.finish(now, id, outcome, &mut changes);
    changes
}

/// Runs everything that is due up to `until`, each probe finding what `find` says.
fn probe(board: &mut Board, until: Time, find: impl Fn(&Job) -> Finding) -> Vec<Change> {
    let mut changes = Vec::new();
    while let Some(now) = board.deadline().filter(|&due| due <= until) {
        let mut jobs = Vec::new();
        board.expire(now, &mut jobs, &mut changes);
        for job in jobs {
            board.finish(now, job.id, outcome(find(&job)), &mut changes);
        }
    }
    changes
}

/// The same; servers pass if `up` says so.
fn run(board: &mut Board, until: Time, up: impl Fn(&Job) -> bool) -> Vec<Change> {
    let find = |job: &Job| {
        if up(job) {
            Finding::Pass
        } else {
            Finding::Fail
        }
    };
    probe(board, until, find)
}

#[test]
fn new_servers_are_down_and_checked_at_once() {
    let mut board = board(&config(3));
    assert!(!board.verdicts().is_up("web", "web1"));
    let changes = run(&mut board, at(301), |_| true);
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
        let jobs = expire(&mut board, now);
        starts.push(now);
        // The answer takes a while; the next probe is counted from the last one's start.
        let later = now + Duration::from_millis(200);
        finish(&mut board, later, jobs[0].id, pass(true));
    }
    let gaps: Vec<_> = starts
        .windows(2)
        .map(|w| w[1].since(w[0]).as_millis())
        .collect();
    assert!(
        gaps.iter().all(|gap| (950..=1050).contains(gap)),
        "{gaps:?}"
    );
    assert!(
        gaps.iter().any(|gap| *gap < 990) && gaps.iter().any(|gap| *gap > 1010),
        "{gaps:?}"
    );
}

#[test]
fn an_unchanged_server_keeps_state_and_history_over_a_reload() {
    let mut config = config(2);
    let mut board = board(&config);
    run(&mut board, at(3_000), |_| true);
    let history = |board: &Board, server| {
        board
            .report_one(at(3_000), "web", server)
            .unwrap()
            .history
            .len()
    };
    let before = history(&board, "web1");
    assert!(before > 1);
    let faster = HealthCheck {
        interval: Duration::from_millis(500),
        ..check()
    };
    config.services[0].health = Some(Arc::new(faster));
    let moved: &mut Server = &mut config.services[0].servers[1];
    moved.address = "10.0.0.99".parse().unwrap();
    configure(&mut board, at(3_000), &config, &Overlay::default());
    assert!(board.verdicts().is_up("web", "web1"));
    assert_eq!(history(&board, "web1"), before);
    // Another target is another server, whatever its name.
    assert!(!board.verdicts().is_up("web", "web2"));
    assert_eq!(history(&board, "web2"), 0);
}

#[test]
fn many_servers_are_taken_over_some_at_a_time_and_those_that_stay_lose_nothing() {
    let mut board = Board::new(1);
    let step = |board: &mut Board, now: Time, servers: usize| {
        let before = board.last.clone().unwrap_or_default();
        board.configure(
            now,
            &Roster::of(&many(servers), &Overlay::default(), &before),
        );
        board.by_name.len()
    };
    assert_eq!(step(&mut board, at(0), 200), 16);
    assert_eq!(
        board.deadline(),
        Some(Time::ZERO),
        "the rest is due at once"
    );
    // Another roster before all of the first is taken over, and one that changes nothing.
    assert_eq!(step(&mut board, at(1), 100), 32);
    assert_eq!(step(&mut board, at(1), 100), 32);
    for ms in 2..25 {
        expire(&mut board, at(ms));
    }
    assert_eq!(board.by_name.len(), 100);
    run(&mut board, at(4_000), |_| true);
    assert!(board.verdicts().is_up("web", "s099"));
    step(&mut board, at(4_000), 200);
    run(&mut board, at(4_000), |_| true);
    assert_eq!(board.by_name.len(), 200);
    assert!(board.verdicts().is_up("web", "s099"));
    assert!(!board.verdicts().is_up("web", "s100"));
}

#[test]
fn a_long_report_is_made_in_parts_and_is_in_order() {
    let mut board = board(&many(150));
    assert!(board.report(at(1), 64).is_none() && board.is_reporting());
    // Who comes or goes meanwhile is in it or not; it ends all the same.
    configure(&mut board, at(2), &many(140), &Overlay::default());
    assert!(board.report(at(2), 64).is_none());
    let report = board.report(at(3), 64).expect("140 servers in three parts");
    assert!(!board.is_reporting());
    assert!((140..150).contains(&report.len()), "{}", report.len());
    assert!(report.is_sorted_by_key(|health| health.server.clone()));
}

#[test]
fn results_of_removed_servers_are_forgotten() {
    let config2 = config(2);
    let mut board = board(&config2);
    let jobs = expire(&mut board, at(400));
    assert_eq!(jobs.len(), 2);
    configure(&mut board, at(400), &config(1), &Overlay::default());
    let changes: Vec<_> = jobs
        .iter()
        .flat_map(|job| finish(&mut board, at(401), job.id, pass(true)))
        .collect();
    assert_eq!(changes.len(), 1);
    assert_eq!(board.report(at(401), 9).map(|all| all.len()), Some(1));
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
    configure(&mut board, at(1), &config, &overlay);
    assert_eq!(board.deadline(), None);
}

#[test]
fn probes_in_flight_are_bounded() {
    let mut board = board(&many(PROBES_MAX + 10));
    let mut jobs = Vec::new();
    while board.deadline().is_some_and(|due| due <= at(2000)) {
        jobs.extend(expire(&mut board, at(2000)));
        assert!(jobs.len() <= PROBES_MAX);
    }
    assert_eq!((jobs.len(), board.deadline()), (PROBES_MAX, None));
    finish(&mut board, at(2000), jobs[0].id, pass(true));
    assert!(board.deadline().is_some());
}

#[test]
fn a_server_that_is_down_is_asked_at_its_own_interval() {
    let config = checked_by(
        1,
        HealthCheck {
            interval_down: Duration::from_secs(10),
            fall: 1,
            ..check()
        },
    );
    let mut board = board(&config);
    run(&mut board, at(5_000), |_| true);
    run(&mut board, at(6_100), |_| false);
    let next = board.deadline().expect("a probe is due");
    assert!(next > at(14_000), "{next:?}");
}

#[test]
fn f13_when_all_fall_silent_at_once_the_last_state_is_kept_for_a_while() {
    let config = checked_by(
        6,
        HealthCheck {
            brake: Some(Brake {
                share: 100,
                servers: 4,
                hold: Duration::from_secs(30),
            }),
            ..check()
        },
    );
    let mut board = board(&config);
    probe(&mut board, at(5_000), |_| Finding::Pass);
    let all_up = |board: &Board| (1..=6).all(|n| board.verdicts().is_up("web", &format!("web{n}")));
    assert!(all_up(&board));
    probe(&mut board, at(12_000), |_| Finding::Silent);
    assert!(all_up(&board));
    let brakes = board.brakes();
    assert_eq!((brakes.len(), brakes[0].1), (1, 6));
    // One of them refuses: it was reached.
    let one = |job: &Job| match &*job.name.1 {
        "web1" => Finding::Fail,
        _ => Finding::Silent,
    };
    probe(&mut board, at(15_000), one);
    assert!(!board.verdicts().is_up("web", "web1") && board.verdicts().is_up("web", "web2"));
    // The others' time is over in the end.
    let changes = probe(&mut board, at(45_000), one);
    assert_eq!(changes.iter().filter(|change| !change.up).count(), 5);
    assert_eq!(board.brakes(), []);
}

#[test]
fn a_recovered_server_s_weight_grows_in_steps_and_a_new_one_s_does_not() {
    let mut config = config(1);
    config.services[0].slow_start = Duration::from_secs(10);
    let mut board = board(&config);
    let share = |board: &Board| board.verdicts().of("web", "web1").share;
    run(&mut board, at(2_000), |_| true);
    assert_eq!(share(&board), 100);
    run(&mut board, at(8_000), |_| false);
    assert!(!board.verdicts().is_up("web", "web1"));
    let mut seen = Vec::new();
    for second in 8..30 {
        run(&mut board, at(second * 1000), |_| true);
        let verdict = board.verdicts().of("web", "web1");
        if verdict.up && seen.last() != Some(&verdict.share) {
            seen.push(verdict.share);
        }
    }
    assert_eq!(seen, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
}

#[test]
fn probes_take_the_clients_way_in_modes_dr_and_tunnel_unless_told_otherwise() {
    use crate::config::{Encapsulation, Probe};
    let job = |mode, path, probe| {
        let mut config = checked_by(
            1,
            HealthCheck {
                path,
                probe,
                ..check()
            },
        );
        config.services[0].servers[0].mode = mode;
        let mut board = board(&config);
        expire(&mut board, at(1000))[0].vip
    };
    let vip = Some("192.0.2.10:80".parse().unwrap());
    assert_eq!(job(Mode::Dr, None, Probe::Tcp), vip);
    assert_eq!(
        job(Mode::Tunnel(Encapsulation::Ipip), None, Probe::Tcp),
        vip
    );
    assert_eq!(job(Mode::Dr, Some(false), Probe::Tcp), None);
    assert_eq!(job(Mode::Nat, Some(true), Probe::Tcp), None);
    assert_eq!(job(Mode::Dr, None, Probe::Icmp), None);
}

#[test]
fn lateness_is_counted_from_when_a_probe_was_due() {
    let mut board = board(&config(1));
    let due = board.deadline().expect("a first probe");
    let jobs = expire(&mut board, due + Duration::from_millis(30));
    let late = Outcome {
        waited: Duration::from_millis(15),
        ..pass(true)
    };
    finish(
        &mut board,
        due + Duration::from_millis(50),
        jobs[0].id,
        late,
    );
    assert_eq!(board.lateness().sum(), Duration::from_millis(45));
}

#[test]
fn a_check_that_becomes_passive_asks_nobody_any_more_and_back() {
    use crate::config::{Passive, Probe};
    let passive = checked_by(
        1,
        HealthCheck {
            probe: Probe::Passive(Passive {
                share: 50,
                flows: 20,
                hold: Duration::from_secs(30),
            }),
            ..check()
        },
    );
    let asking = config(1);
    let mut board = board(&asking);
    run(&mut board, at(2_000), |_| true);
    let due = board.deadline().expect("a probe is due");
    let in_flight = expire(&mut board, due);
    configure(&mut board, due, &passive, &Overlay::default());
    finish(&mut board, due, in_flight[0].id, pass(true));
    assert!(expire(&mut board, at(20_000)).is_empty());
    assert!(board.verdicts().is_up("web", "web1"));
    configure(&mut board, at(20_000), &asking, &Overlay::default());
    assert_eq!(expire(&mut board, at(21_000)).len(), 1);
}
