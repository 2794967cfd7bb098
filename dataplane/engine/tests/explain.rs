//! `explain` runs the packet path's own decisions, so what it says is what happens.

mod frames;

use frames::{Tcp, client};
use weir_engine::explain::Query;
use weir_engine::tables::Mode;
use weir_engine::testing::TestFrame;
use weir_engine::testing::world::{ServiceSpec, Spec, World, ip};
use weir_engine::verdict::Verdict;
use weir_wire::addr::{L4Port, Protocol};

const VIP: &str = "10.9.9.9";

#[test]
fn explain_says_what_the_packet_path_then_does() {
    let mut world =
        World::new(&Spec::standard().with(ServiceSpec::tcp(VIP, 80, Mode::Nat, &[11, 12])));
    let query = |port: u16| Query {
        protocol: Protocol::TCP,
        source: (ip("172.16.0.1"), L4Port(40001)),
        destination: (ip(VIP), L4Port(port)),
        port: None,
    };
    let walk = world.engine.explain(&world.tables, world.now, &query(80));
    assert_eq!(
        (walk.verdict, walk.server.as_deref()),
        ("forward", Some("10.1.0.12"))
    );
    let step = |stage: &str| walk.steps.iter().find(|step| step.stage == stage).unwrap();
    assert_eq!(step("flow").result, "miss");
    assert_eq!(
        step("header").result,
        "172.16.0.1 port 40001 > 10.1.0.12 port 80"
    );
    let again = world.engine.explain(&world.tables, world.now, &query(80));
    assert_eq!(walk, again, "asking changes nothing");
    let sent = world.send(0, TestFrame::new(&Tcp::syn(client(1)).frame()));
    assert!(matches!(sent.verdict, Verdict::Forward(_)) && sent.out[0].1[5] == 12);
    let walk = world.engine.explain(&world.tables, world.now, &query(80));
    assert!(
        walk.steps
            .iter()
            .any(|step| step.stage == "flow" && step.result == "hit")
    );
    let walk = world.engine.explain(&world.tables, world.now, &query(81));
    assert_eq!((walk.verdict, walk.reason), ("drop", Some("unserved")));
    assert_eq!(world.counters().flows.value(), 1);
}
