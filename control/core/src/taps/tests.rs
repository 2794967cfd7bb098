//! What is set beside the TAPs, in a network namespace.

use super::*;
use crate::testing::Namespace;

fn read(path: &str) -> String {
    let text = fs::read_to_string(format!("/proc/sys/net/{path}")).unwrap();
    text.trim().to_owned()
}

#[test]
fn the_ports_of_path_checks_join_those_that_others_reserved() {
    for (before, after) in [
        ("", Some("49152-65535")),
        ("8080", Some("8080,49152-65535")),
        ("8080,50000-50010", Some("8080,50000-50010,49152-65535")),
        ("49153-65535", Some("49153-65535,49152-65535")),
        ("49152-65535", None),
        ("22,40000-65535", None),
    ] {
        assert_eq!(with_path_ports(before).as_deref(), after, "{before}");
    }
    let Some(namespace) = Namespace::new("reserved") else {
        return;
    };
    namespace.run(|| {
        sysctl("ipv4/ip_local_reserved_ports", "8080,50000-50010").unwrap();
        for _ in 0..2 {
            assert_eq!(reserve_path_ports(), Ok(()));
            assert_eq!(read("ipv4/ip_local_reserved_ports"), "8080,49152-65535");
        }
    });
}

#[test]
fn no_port_is_reserved_where_others_would_be_left_without() {
    let Some(namespace) = Namespace::new("portrange") else {
        return;
    };
    namespace.run(|| {
        sysctl("ipv4/ip_local_port_range", "49152 65535").unwrap();
        let refused = reserve_path_ports().unwrap_err();
        assert!(
            refused.contains("fix: let it begin below 49152"),
            "{refused}"
        );
        assert_eq!(read("ipv4/ip_local_reserved_ports"), "");
        sysctl("ipv4/ip_local_port_range", "49000 65535").unwrap();
        assert_eq!(reserve_path_ports(), Ok(()));
    });
}

#[test]
fn the_reverse_path_filter_stays_where_it_applied() {
    let Some(namespace) = Namespace::new("rpfilter") else {
        return;
    };
    namespace.ip("link add loose type veth peer name strict");
    namespace.run(|| {
        let filter = |name: &str| format!("ipv4/conf/{name}/rp_filter");
        let set = |name, value| sysctl(&filter(name), value).unwrap();
        for (name, value) in [
            ("all", "1"),
            ("default", "0"),
            ("loose", "2"),
            ("strict", "0"),
        ] {
            set(name, value);
        }
        for _ in 0..2 {
            assert_eq!(confine_reverse_path_filter(), Ok(()));
            let now = ["all", "default", "loose", "strict"].map(|name| read(&filter(name)));
            assert_eq!(now, ["0", "1", "2", "1"]);
        }
    });
}
