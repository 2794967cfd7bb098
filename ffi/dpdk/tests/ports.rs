//! Ports on DPDK's virtual devices that need no kernel device.

mod common;

use std::fs;
use std::path::PathBuf;

use common::{eal, pool};
use weir_dpdk::{
    AttachError, Burst, Mempool, Port, PortConfig, Queues, RssConfig, RssSide, Shortfall,
};

/// A pcap file of this test run; removed when it goes out of scope.
struct Capture(PathBuf);

impl Capture {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("weir-{}-{name}.pcap", std::process::id())))
    }

    /// Writes frames in the classic format, microseconds, Ethernet.
    fn write(&self, frames: &[Vec<u8>]) {
        let mut file: Vec<u8> = Vec::new();
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
            file.extend(word.to_ne_bytes());
        }
        for frame in frames {
            let len = u32::try_from(frame.len()).expect("short");
            for word in [0, 0, len, len] {
                file.extend(word.to_ne_bytes());
            }
            file.extend(frame);
        }
        fs::write(&self.0, file).expect("the temporary directory is writable");
    }

    fn read(&self) -> Vec<Vec<u8>> {
        let file = fs::read(&self.0).expect("the driver wrote it");
        let (mut frames, mut at) = (Vec::new(), 24);
        while at + 16 <= file.len() {
            let len = u32::from_ne_bytes(file[at + 8..at + 12].try_into().expect("four octets"));
            frames.push(file[at + 16..at + 16 + len as usize].to_vec());
            at += 16 + len as usize;
        }
        frames
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn open(device: &str, config: &PortConfig, pool: Mempool) -> (Port, Queues) {
    let handle = eal()
        .attach(device)
        .unwrap_or_else(|error| panic!("{error}"));
    let mut port = Port::configure(handle, config, pool).unwrap_or_else(|error| panic!("{error}"));
    let queues = port.start().unwrap_or_else(|error| panic!("{error}"));
    (port, queues)
}

#[test]
fn null_receives_and_sends_and_its_counters_say_so() {
    let pool = pool(&eal(), "null");
    let (port, mut queues) = open("net_null", &PortConfig::default(), pool);
    assert_eq!(port.driver(), "net_null");
    let mut burst = Burst::new();
    assert_eq!(queues.rx[0].receive(&mut burst), 64);
    assert!(
        burst
            .iter()
            .all(|frame| frame.len() == 64 && frame.port() == port.id())
    );
    assert_eq!(queues.tx[0].send(&mut burst), 64);
    assert!(burst.is_empty());
    assert_eq!(queues.rx[0].receive_up_to(&mut burst, 32), 32);
    let stats = port.stats();
    assert_eq!((stats.rx_frames, stats.tx_frames), (96, 64));
    let xstats = port.xstats();
    let good = xstats.iter().find(|xstat| xstat.name == "rx_good_packets");
    assert_eq!(good.map(|xstat| xstat.value), Some(96));
    drop((port, queues, burst));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_missing_number_is_filled_in_and_a_taken_one_is_refused() {
    let mut eal = eal();
    let first = eal.attach("net_null").expect("null needs nothing");
    let second = eal.attach("net_null").expect("null needs nothing");
    assert_ne!(first.device(), second.device());
    let name = second.device().to_owned();
    drop(second);
    eal.attach(&name).expect("a dropped device frees its name");
    let error = eal.attach(first.device()).expect_err("the name is taken");
    assert!(matches!(error, AttachError::InUse { .. }), "{error}");
}

#[test]
fn every_failure_names_its_device() {
    let mut eal = eal();
    for (device, part) in [
        ("net_nul0", "no DPDK driver \"net_nul\""),
        (
            "net_pcap7,rx_pcap=/nonexistent/file.pcap",
            "No such file or directory",
        ),
        ("net_null7,bogus=1", "check its arguments"),
        ("net_af_packet0,iface=nope0", "no interface \"nope0\""),
        ("net_af_xdp0,iface=nope0", "no interface \"nope0\""),
        ("ffff:ff:1f.7", "no such PCI device"),
        ("", "neither a PCI address nor"),
    ] {
        let error = eal.attach(device).expect_err(device).to_string();
        assert!(
            error.contains(&format!("{device:?}")) && error.contains(part),
            "{error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn pcap_files_pass_through_unchanged_in_order() {
    let pool = pool(&eal(), "pcap");
    let (input, output) = (Capture::new("in"), Capture::new("out"));
    let frames: Vec<Vec<u8>> = (0..150_u8).map(|i| vec![i; 60 + usize::from(i)]).collect();
    input.write(&frames);
    let device = format!(
        "net_pcap0,rx_pcap={},tx_pcap={}",
        input.path(),
        output.path()
    );
    let (port, mut queues) = open(&device, &PortConfig::default(), pool);
    let mut burst = Burst::new();
    while queues.rx[0].receive(&mut burst) > 0 {
        while !burst.is_empty() {
            assert!(queues.tx[0].send(&mut burst) > 0, "pcap takes everything");
        }
    }
    drop((port, queues));
    assert_eq!(output.read(), frames);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn pcap_sends_frames_of_several_segments_whole() {
    let pool = pool(&eal(), "pcapsegs");
    let (input, output) = (Capture::new("segin"), Capture::new("segout"));
    input.write(&[]);
    let device = format!(
        "net_pcap1,rx_pcap={},tx_pcap={}",
        input.path(),
        output.path()
    );
    let (port, mut queues) = open(&device, &PortConfig::default(), pool);
    let bytes: Vec<u8> = (0..5000_u32).map(|i| i.to_le_bytes()[0]).collect();
    let mut burst = Burst::new();
    burst
        .push(pool.alloc_from(&bytes).expect("three segments"))
        .expect("empty burst");
    assert_eq!(queues.tx[0].send(&mut burst), 1);
    drop((port, queues));
    assert_eq!(output.read(), [bytes]);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn what_the_device_lacks_is_reported_and_the_port_works_without() {
    let pool = pool(&eal(), "lacks");
    let capture = Capture::new("lacks");
    capture.write(&[vec![9; 60]]);
    let config = PortConfig {
        rx_queues: 4,
        tx_queues: 4,
        mac: Some([2, 0, 0, 0, 0, 7]),
        rss: Some(RssConfig {
            key: [0x6d; 40],
            side: RssSide::Source,
        }),
        ..PortConfig::default()
    };
    let device = format!("net_pcap2,rx_pcap={}", capture.path());
    let (port, mut queues) = open(&device, &config, pool);
    let report = port.report();
    for lack in [
        Shortfall::RxQueues { asked: 4, given: 1 },
        Shortfall::TxQueues { asked: 4, given: 1 },
        Shortfall::Rss,
        Shortfall::Checksum,
        Shortfall::Mac,
    ] {
        assert!(
            report.shortfalls.contains(&lack),
            "{lack} is missing: {report:?}"
        );
        assert!(lack.to_string().contains(" → "));
    }
    assert_eq!((queues.rx.len(), queues.tx.len()), (1, 1));
    let received = queues.rx[0].receive(&mut Burst::new());
    assert_eq!(received, 1);
}

#[test]
fn rss_is_set_up_where_the_device_has_it() {
    let pool = pool(&eal(), "rss");
    let config = PortConfig {
        rx_queues: 2,
        tx_queues: 2,
        rss: Some(RssConfig {
            key: [0x6d; 40],
            side: RssSide::Destination,
        }),
        ..PortConfig::default()
    };
    // net_null has RSS over addresses and ports, but not over one side.
    let (port, queues) = open("net_null", &config, pool);
    assert!(
        !port.report().shortfalls.contains(&Shortfall::Rss),
        "{:?}",
        port.report()
    );
    assert!(port.report().shortfalls.contains(&Shortfall::RssSide));
    assert_eq!((queues.rx.len(), queues.tx.len()), (2, 2));
}

#[test]
fn a_port_starts_once_and_a_queue_outlives_its_port() {
    let pool = pool(&eal(), "once");
    let (mut port, mut queues) = open("net_null", &PortConfig::default(), pool);
    let error = port.start().expect_err("its queues have owners");
    assert!(error.to_string().contains("starting failed"), "{error}");
    drop(port);
    let mut burst = Burst::new();
    assert_eq!(
        queues.rx[0].receive(&mut burst),
        64,
        "the device runs until the last queue goes"
    );
}

#[test]
fn a_ring_gives_back_what_is_sent_into_it() {
    let pool = pool(&eal(), "ring");
    let (port, mut queues) = open("net_ring", &PortConfig::default(), pool);
    let mut burst = Burst::new();
    for i in 0..40 {
        burst
            .push(pool.alloc_from(&[i; 64]).expect("the pool is not empty"))
            .expect("room");
    }
    assert_eq!(queues.tx[0].send(&mut burst), 40);
    assert_eq!(queues.rx[0].receive(&mut burst), 40);
    assert!(
        burst
            .iter()
            .zip(0_u8..)
            .all(|(frame, i)| frame.data() == [i; 64])
    );
    assert_eq!(port.interface(), None);
}
