//! Against recorded IPVS, and through changes of the list of servers.

use core::net::Ipv4Addr;
use std::collections::HashMap;

use weir_wire::addr::{L4Port, Protocol};

use super::*;
use crate::flow::tcp::{Seen, TcpEvent, TcpState};
use crate::maglev::{MaglevIdentity, MaglevServer, MaglevSize};

const CLUSTER: ClusterKey = ClusterKey([0; 16]);

fn id(index: u32) -> ServerId {
    ServerId {
        index,
        generation: 0,
    }
}

fn candidate(index: u32, weight: u32) -> Candidate {
    Candidate {
        server: id(index),
        weight,
        usable: true,
    }
}

/// Servers 11.. with these weights, added in this order.
fn added(weights: &str) -> Vec<Candidate> {
    let servers = (11..).zip(weights.split(','));
    let mut list: Vec<_> = servers
        .map(|(index, weight)| candidate(index, weight.parse().unwrap()))
        .collect();
    list.reverse();
    list
}

fn key(client_port: u16) -> FlowKey<Ipv4Addr> {
    FlowKey {
        client: Ipv4Addr::new(172, 16, 0, 1),
        remote: Ipv4Addr::new(10, 9, 9, 9),
        client_port: L4Port(client_port),
        remote_port: L4Port(80),
        protocol: Protocol::TCP,
    }
}

/// One worker's view of one service.
struct Service {
    kind: SchedulerKind,
    state: SchedulerState,
    list: Vec<Candidate>,
    generation: u64,
    loads: HashMap<u32, Load>,
}

impl Service {
    fn new(kind: SchedulerKind, list: Vec<Candidate>) -> Self {
        let state = SchedulerState::default();
        Self {
            kind,
            state,
            list,
            generation: 1,
            loads: HashMap::new(),
        }
    }

    fn peek(&self) -> Option<Choice> {
        let pool = Pool {
            candidates: &self.list,
            maglev: &MaglevTable::default(),
            maglev_servers: &[],
            generation: self.generation,
        };
        let loads = |server: ServerId| self.loads.get(&server.index).copied().unwrap_or_default();
        let request = Request {
            key: &key(1),
            cluster: &CLUSTER,
        };
        self.kind.choose(&self.state, &pool, &request, &loads)
    }

    fn next(&mut self) -> u32 {
        let choice = self.peek().expect("a server is usable");
        assert_eq!(self.peek(), Some(choice), "choosing changes nothing");
        self.state.commit(&choice);
        choice.server.index
    }

    fn take(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.next()).collect()
    }

    fn reload(&mut self, list: Vec<Candidate>) {
        self.list = list;
        self.generation += 1;
    }

    fn load(&mut self, server: u32) -> &mut Load {
        self.loads.entry(server).or_default()
    }
}

fn recorded(text: &str) -> impl Iterator<Item = (SchedulerKind, &str, Vec<&str>)> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let columns: Vec<_> = line.split(' ').collect();
            (
                columns[0].parse().unwrap(),
                columns[1],
                columns[2].split(',').collect(),
            )
        })
}

#[test]
fn d65_rr_wrr_lc_wlc_choose_what_ipvs_chose() {
    let mut choices = 0;
    for (kind, weights, expected) in recorded(include_str!("../../tests/data/ipvs_schedulers.txt"))
    {
        let mut service = Service::new(kind, added(weights));
        for (number, expected) in expected.into_iter().enumerate() {
            let server = service.next();
            assert_eq!(
                server.to_string(),
                expected,
                "{kind} {weights}: connection {number}"
            );
            service.load(server).active += 1; // SYN_RECV counts as active
            choices += 1;
        }
    }
    assert_eq!(choices, 12 * 60);
}

#[test]
fn d65_lc_and_wlc_count_closing_connections_as_ipvs_does() {
    let mut choices = 0;
    for (kind, weights, expected) in recorded(include_str!("../../tests/data/ipvs_active.txt")) {
        let mut service = Service::new(kind, added(weights));
        for (number, expected) in expected.into_iter().enumerate() {
            let server = service.next();
            let (sent, expected) = expected.split_at(1);
            assert_eq!(server.to_string(), expected, "{kind}: connection {number}");
            let events: &[TcpEvent] = match sent {
                "s" => &[TcpEvent::Syn],
                "e" => &[TcpEvent::Syn, TcpEvent::Ack],
                "f" => &[TcpEvent::Syn, TcpEvent::Ack, TcpEvent::Fin],
                _ => &[TcpEvent::Syn, TcpEvent::Fin],
            };
            let state = events.iter().fold(TcpState::None, |state, &event| {
                state.next(Seen::InputOnly, event)
            });
            match state.is_active() {
                true => service.load(server).active += 1,
                false => service.load(server).inactive += 1,
            }
            choices += 1;
        }
        let mut counts = |server| (service.load(server).active, service.load(server).inactive);
        let table = [counts(11), counts(12), counts(13)];
        // As `ipvsadm -L` showed them.
        if kind == SchedulerKind::LeastConnection {
            assert_eq!(table, [(6, 2), (6, 2), (6, 2)]);
        } else {
            assert_eq!(table, [(8, 4), (5, 1), (5, 1)]);
        }
    }
    assert_eq!(choices, 48);
}

#[test]
fn d61_servers_of_weight_0_and_unusable_ones_get_nothing() {
    for kind in SchedulerKind::ALL {
        let mut list = added("5,0,5,5");
        list[0].usable = false;
        let mut service = Service::new(kind, list.clone());
        if kind != SchedulerKind::Maglev {
            let chosen = service.take(20);
            assert!(
                chosen.iter().all(|server| [11, 13].contains(server)),
                "{kind}: {chosen:?}"
            );
        }
        list.iter_mut()
            .for_each(|candidate| candidate.usable = false);
        service.reload(list);
        assert_eq!(service.peek(), None, "{kind}");
        service.reload(Vec::new());
        assert_eq!(service.peek(), None, "{kind}");
    }
}

#[test]
fn rr_goes_on_in_its_place_through_reloads() {
    let mut service = Service::new(SchedulerKind::RoundRobin, added("1,1,1,1"));
    assert_eq!(service.take(2), [14, 13]);
    // Unchanged.
    service.reload(added("1,1,1,1"));
    assert_eq!(service.take(1), [12]);
    // One was added, at the head.
    service.reload(added("1,1,1,1,1"));
    assert_eq!(service.take(3), [11, 15, 14]);
    // The one whose turn was last is gone.
    service.reload(
        added("1,1,1,1,1")
            .into_iter()
            .filter(|c| c.server != id(14))
            .collect(),
    );
    assert_eq!(service.take(4), [13, 12, 11, 15]);
    // The last place is gone.
    service.reload(vec![candidate(15, 1)]);
    assert_eq!(service.take(2), [15, 15]);
}

#[test]
fn wrr_begins_anew_only_when_the_list_has_changed() {
    let mut service = Service::new(SchedulerKind::WeightedRoundRobin, added("1,2,3"));
    assert_eq!(service.take(3), [13, 12, 11]);
    service.reload(added("1,2,3"));
    assert_eq!(service.take(3), [13, 13, 12]);
    // A level above all weights, or out of step with them, is brought back.
    assert_eq!(service.take(1), [13]);
    service.reload(added("2,4,2"));
    assert_eq!(service.take(8), [13, 12, 11, 12, 13, 12, 11, 12]);
    service.reload(added("1,1,1"));
    assert_eq!(service.take(3), [13, 12, 11]);
}

#[test]
fn wrr_gives_each_its_weight_whatever_the_weights_are() {
    for weights in ["7,3,1", "10,20,30", "65535,1", "4,4,6,9", "1", "100,1,100"] {
        let list = added(weights);
        let step = list.iter().map(|c| c.weight).reduce(|a, b| {
            let (mut a, mut b) = (a, b);
            while b != 0 {
                (a, b) = (b, a % b);
            }
            a
        });
        let round: u32 = list.iter().map(|c| c.weight).sum::<u32>() / step.unwrap();
        let mut service = Service::new(SchedulerKind::WeightedRoundRobin, list.clone());
        let mut counts: HashMap<u32, u32> = HashMap::new();
        for server in service.take(round as usize) {
            *counts.entry(server).or_default() += 1;
        }
        for candidate in &list {
            let expected = candidate.weight / step.unwrap();
            assert_eq!(
                counts.get(&candidate.server.index),
                Some(&expected),
                "{weights}"
            );
        }
    }
}

#[test]
fn wlc_compares_the_largest_numbers_without_wrapping() {
    let mut service = Service::new(
        SchedulerKind::WeightedLeastConnection,
        vec![candidate(1, u32::MAX), candidate(2, u32::MAX - 1)],
    );
    *service.load(1) = Load {
        active: u32::MAX,
        inactive: u32::MAX,
    };
    *service.load(2) = Load {
        active: u32::MAX,
        inactive: u32::MAX,
    };
    assert_eq!(service.next(), 1);
}

#[test]
fn maglev_chooses_by_the_client_and_keeps_no_state() {
    let identity = |n| MaglevIdentity::new(Ipv4Addr::new(10, 1, 0, n).into(), L4Port(80));
    let servers = [11, 12, 13].map(|n| MaglevServer {
        identity: identity(n),
        weight: 1,
    });
    let table = MaglevTable::build(MaglevSize::DEFAULT, &servers, &CLUSTER);
    let pool = Pool {
        candidates: &[],
        maglev: &table,
        maglev_servers: &[id(11), id(12), id(13)],
        generation: 1,
    };
    let mut state = SchedulerState::default();
    let mut seen = HashMap::new();
    for port in 0..3000 {
        let (key, idle) = (key(port), |_: ServerId| Load::default());
        let request = Request {
            key: &key,
            cluster: &CLUSTER,
        };
        let choice = SchedulerKind::Maglev
            .choose(&state, &pool, &request, &idle)
            .unwrap();
        let position = table.pick(ClientHash::of(&key, &CLUSTER)).unwrap();
        assert_eq!(choice.server, pool.maglev_servers[position]);
        state.commit(&choice);
        *seen.entry(choice.server).or_insert(0) += 1;
    }
    assert_eq!(state, SchedulerState::default());
    assert!(
        seen.len() == 3 && seen.values().all(|n| (850..1150).contains(n)),
        "{seen:?}"
    );
}

#[test]
fn names_are_those_of_ipvsadm_and_parse_back() {
    for kind in SchedulerKind::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
    }
    assert_eq!("least".parse::<SchedulerKind>(), Err(UnknownScheduler));
}
