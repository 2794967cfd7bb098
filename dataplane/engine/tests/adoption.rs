//! New tables are prepared for in steps, and frames come in between.

mod frames;

use std::sync::Arc;

use frames::Tcp;
use weir_engine::FlowCursor;
use weir_engine::tables::{Mode, Tables};
use weir_engine::testing::TestFrame;
use weir_engine::testing::world::{ServiceSpec, Spec, World};

/// Slots before those of the service that has clients: more than a step looks at.
const OTHERS: u8 = 200;

fn spec() -> Spec {
    let others: Vec<u8> = (0..OTHERS).collect();
    Spec::standard()
        .with(ServiceSpec::tcp("10.9.9.8", 80, Mode::Dr, &others))
        .with(ServiceSpec::tcp("10.9.9.9", 80, Mode::Dr, &[11]))
}

/// Tables in which the last server's slot has changed hands.
fn changed() -> Tables {
    let mut tables = spec().tables(2);
    let slot = usize::from(OTHERS);
    let server = tables.servers[slot].as_mut().expect("the last server");
    server.id.generation += 1;
    let id = server.id;
    let service = tables.services[1]
        .as_mut()
        .and_then(Arc::get_mut)
        .expect("not shared yet");
    service.walk[0].server = id;
    service.maglev_servers[0] = id;
    tables.seal();
    tables
}

#[test]
fn a_server_that_gets_a_flow_before_its_turn_has_come_is_counted_from_then_on() {
    let mut world = World::new(&spec());
    world.send(0, TestFrame::new(&Tcp::syn(frames::client(1)).frame()));
    world.tables = changed();
    world.engine.begin_adoption(&world.tables);
    world.send(0, TestFrame::new(&Tcp::syn(frames::client(2)).frame()));
    let mut steps = 1;
    while !world.engine.continue_adoption(&world.tables) {
        steps += 1;
    }
    assert!(steps > 3, "{steps} steps");
    let server = &world.counters().servers[usize::from(OTHERS)];
    assert_eq!((server.connections.value(), server.active.value()), (1, 1));
    let mut flows = 0;
    let mut count = |_| flows += 1;
    world
        .engine
        .flows(world.now, FlowCursor::default(), 100, &mut count);
    assert_eq!(flows, 2, "the other server's flow stays its own");
}

#[test]
fn counters_of_a_server_without_flows_begin_anew_when_its_turn_comes() {
    let mut world = World::new(&spec());
    world.send(0, TestFrame::new(&Tcp::syn(frames::client(1)).frame()));
    let connections = |world: &World| {
        let server = &world.counters().servers[usize::from(OTHERS)];
        server.connections.value()
    };
    assert_eq!(connections(&world), 1);
    world.tables = changed();
    world.engine.begin_adoption(&world.tables);
    assert_eq!(connections(&world), 1, "the first step has not been taken");
    while !world.engine.continue_adoption(&world.tables) {}
    assert_eq!(connections(&world), 0);
    assert!(
        world.engine.continue_adoption(&world.tables),
        "done once and for all"
    );
}

#[test]
fn a_service_that_gets_a_flow_before_its_turn_has_come_keeps_what_is_counted() {
    let mut world = World::new(&spec());
    world.send(0, TestFrame::new(&Tcp::syn(frames::client(1)).frame()));
    let mut tables = changed();
    let service = tables.services[1].as_mut().and_then(Arc::get_mut);
    service.expect("not shared yet").name = "another".into();
    world.tables = tables;
    world.engine.begin_adoption(&world.tables);
    for n in 2..4 {
        world.send(0, TestFrame::new(&Tcp::syn(frames::client(n)).frame()));
    }
    while !world.engine.continue_adoption(&world.tables) {}
    let service = &world.counters().services[1];
    let counted = (
        service.connections.value(),
        service.incoming.packets.value(),
    );
    assert_eq!(counted, (2, 2), "the service before had one of its own");
}

/// Tables of this generation in which the second service's slot is another one's.
fn renamed(generation: u64, name: &str) -> Tables {
    let mut tables = spec().tables(generation);
    let service = tables.services[1].as_mut().and_then(Arc::get_mut);
    service.expect("not shared yet").name = name.into();
    tables
}

fn foresee(world: &mut World, tables: &Tables) {
    for part in 0..tables.parts() {
        world.engine.foresee(tables, part);
    }
}

/// Begins a connection; how many the second service counts then.
fn syn(world: &mut World, n: u8) -> u64 {
    world.send(0, TestFrame::new(&Tcp::syn(frames::client(n)).frame()));
    world.counters().services[1].connections.value()
}

#[test]
fn what_was_foreseen_of_slots_that_keep_their_service_and_of_others_comes_true() {
    let mut world = World::new(&spec());
    assert_eq!(syn(&mut world, 1), 1);
    let same = spec().tables(2);
    foresee(&mut world, &same);
    world.tables = same;
    world.engine.begin_adoption(&world.tables);
    assert_eq!(syn(&mut world, 2), 2, "it is the same service");
    // Another one's tables are looked at while these are still being prepared for.
    let other = renamed(3, "other");
    foresee(&mut world, &other);
    assert_eq!(syn(&mut world, 3), 3);
    world.tables = other;
    world.engine.begin_adoption(&world.tables);
    assert_eq!(syn(&mut world, 4), 1, "another service counts from zero");
    while !world.engine.continue_adoption(&world.tables) {}
    assert_eq!(syn(&mut world, 5), 2);
}

#[test]
fn what_was_foreseen_is_forgotten_where_a_slot_changes_hands_first() {
    let mut world = World::new(&spec());
    assert_eq!(syn(&mut world, 1), 1);
    world.tables = renamed(2, "other");
    world.engine.begin_adoption(&world.tables);
    // The slot has still its first owner, who comes back by the tables after these.
    let third = spec().tables(3);
    foresee(&mut world, &third);
    assert_eq!(syn(&mut world, 2), 1, "the other one's");
    world.tables = third;
    world.engine.begin_adoption(&world.tables);
    assert_eq!(syn(&mut world, 3), 1, "and the first one's begin anew");
}
