//! Positive and negative examples of every word.

use super::*;

#[test]
fn durations_need_a_unit() {
    assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
    assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
    assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
    assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
    assert_eq!(duration("5"), Err("add a unit: `5s` or `5ms`".into()));
    for bad in ["", "s", "-1s", "1.5s", "5 s", "5d", "1m30s", "٣s"] {
        assert!(duration(bad).is_err(), "{bad}");
    }
    assert!(duration("99999999999999999999h").expect("saturates") > Duration::from_secs(1 << 40));
}

#[test]
fn durations_and_sizes_are_shown_as_they_are_written() {
    for text in ["0s", "50ms", "2s", "5m", "1h", "1500ms", "90s"] {
        assert_eq!(show_duration(duration(text).expect("valid")), text);
    }
    for text in ["256B", "2KiB", "10KiB", "1MiB", "1025B"] {
        assert_eq!(show_size(size(text).expect("valid")), text);
    }
}

#[test]
fn sizes_need_a_binary_unit() {
    assert_eq!(size("64KiB"), Ok(65536));
    assert_eq!(size("2048"), Err("add a unit: `2048B` or `2048KiB`".into()));
    assert!(size("64KB").is_err() && size("KiB").is_err() && size("1.5KiB").is_err());
}

#[test]
fn numbers_are_plain_decimal() {
    assert_eq!(int("0"), Ok(0));
    assert_eq!(int("65535"), Ok(65535));
    assert_eq!(int("99999999999999999999999"), Ok(u64::MAX));
    for bad in ["", "-1", "+1", "1.0", "0x10", "1_000", "080", "1e3"] {
        assert!(int(bad).is_err(), "{bad}");
    }
}

#[test]
fn ranges_run_upwards() {
    assert_eq!(range("80"), Ok((80, 80)));
    assert_eq!(range("8000-8100"), Ok((8000, 8100)));
    assert_eq!(range("9-8"), Err("turn it round: `8-9`".into()));
    assert!(range("-80").is_err() && range("80-").is_err() && range("1-2-3").is_err());
}

#[test]
fn addresses_name_one_host() {
    assert!(address("192.0.2.1").is_ok() && address("2001:db8::1").is_ok());
    for bad in [
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "127.0.0.1",
        "::1",
        "255.255.255.255",
    ] {
        assert!(
            address(bad).is_err_and(|remedy| !remedy.is_empty()),
            "{bad}"
        );
    }
    assert_eq!(
        address("::ffff:192.0.2.1"),
        Err("write the IPv4 address itself: `192.0.2.1`".into())
    );
    assert_eq!(
        address("192.0.2.1/24"),
        Err("leave the prefix length out: `192.0.2.1`".into())
    );
    assert!(address("web1.example").is_err_and(|r| r.contains("host names")));
    assert!(address("192.0.2.1:80").is_err_and(|r| r.contains("port")));
    assert!(address("192.0.2.256").is_err() && address("1.2.3").is_err());
}

#[test]
fn prefixes_have_a_length_and_name_a_host() {
    let prefix_of = |text| prefix(text).expect("valid").to_string();
    assert_eq!(prefix_of("192.0.2.2/24"), "192.0.2.2/24");
    assert_eq!(prefix_of("2001:db8::2/64"), "2001:db8::2/64");
    assert_eq!(prefix_of("192.0.2.0/31"), "192.0.2.0/31");
    assert_eq!(prefix_of("192.0.2.7/32"), "192.0.2.7/32");
    assert!(prefix("192.0.2.2").is_err_and(|r| r.contains("192.0.2.2/24")));
    assert!(prefix("192.0.2.0/24").is_err_and(|r| r.contains("network's address")));
    assert!(prefix("192.0.2.255/24").is_err_and(|r| r.contains("broadcast")));
    assert!(prefix("192.0.2.2/33").is_err() && prefix("192.0.2.2/0").is_err());
    assert!(prefix("2001:db8::2/129").is_err() && prefix("192.0.2.2/").is_err());
}

#[test]
fn macs_name_one_station() {
    assert!(mac("02:00:00:00:00:21").is_ok());
    assert!(mac("00:00:00:00:00:00").is_err_and(|r| r.contains("zero")));
    assert!(mac("01:00:5e:00:00:01").is_err_and(|r| r.contains("group")));
    assert!(mac("02-00-00-00-00-21").is_err_and(|r| r.contains("colons")));
    assert!(mac("02:00:00:00:00").is_err());
}

#[test]
fn devices_are_pci_addresses_or_virtual() {
    let pci = device("03:00.A").expect("valid");
    assert_eq!((pci.name.as_str(), pci.pci), ("0000:03:00.a", true));
    let vdev = device("net_af_xdp,iface=eth1,start_queue=0").expect("valid");
    assert_eq!(
        (vdev.name.as_str(), vdev.args.as_str()),
        ("net_af_xdp", "iface=eth1,start_queue=0")
    );
    assert!(device("net_pcap0,rx_pcap=/tmp/in.pcap,tx_pcap=/tmp/out.pcap").is_ok());
    assert!(device("net_null0").is_ok() && device("net_ring").is_ok());
    assert!(device("eth1").is_err_and(|r| r.contains("net_af_xdp,iface=eth1")));
    assert!(device("net_af_packet").is_err_and(|r| r.contains("iface=")));
    assert!(device("0000:3:0.0").is_err_and(|r| r.contains("PCI")));
    assert!(device("net_null, copy=1").is_err() && device("net_null,").is_err());
}

#[test]
fn names_fit_the_kernel_and_the_command_line() {
    assert!(name("web-1.example_x").is_ok() && name("2001:db8::1").is_ok());
    for bad in ["", "a/b", "a b", "-a", "é", &"x".repeat(64)] {
        assert!(name(bad).is_err(), "{bad}");
    }
    assert!(port_name("wan0").is_ok() && port_name("abcdefghijklmno").is_ok());
    for bad in ["abcdefghijklmnop", "lo", "all", "a:b", "a/b", "."] {
        assert!(port_name(bad).is_err(), "{bad}");
    }
}

#[test]
fn urls_hosts_and_paths_cannot_smuggle() {
    assert!(url("/healthz?x=1").is_ok() && host("www.example:8080").is_ok());
    assert!(url("/a b").is_err() && url("/a\r\nX: y").is_err() && url("http://a/").is_err());
    assert!(url("health").is_err_and(|r| r.contains("/health")));
    assert!(host("a\r\nb").is_err() && host("").is_err());
    assert!(path("/run/weir").is_ok() && path("run/weir").is_err() && path("/a/../b").is_err());
    assert!(socket_path(&format!("/{}", "x".repeat(107))).is_err());
}

#[test]
fn primes_and_their_neighbours() {
    assert!(is_prime(65537) && is_prime(2) && !is_prime(65536) && !is_prime(1) && !is_prime(0));
    assert_eq!(primes_around(65536), (65521, 65537));
    assert_eq!(primes_around(65537), (65537, 65537));
}

#[test]
fn sockets_have_address_and_port() {
    assert!(socket("127.0.0.1:9090").is_ok() && socket("[::1]:9090").is_ok());
    assert_eq!(
        socket(":9090"),
        Err("name the address: `127.0.0.1:9090`".into())
    );
    assert_eq!(
        socket("127.0.0.1"),
        Err("add a port: `127.0.0.1:9090`".into())
    );
    assert!(socket("localhost:9090").is_err());
}
