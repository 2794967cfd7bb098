//! The same with real TAPs and real sockets, in a network namespace.

use std::io;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::*;
use crate::taps::{self, Taps};
use crate::testing::{Namespace, facts};

/// How long the kernel may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A site with its TAPs, and a server behind it.
struct Lab {
    site: Site,
    taps: Taps,
}

impl Lab {
    async fn new() -> Self {
        let config = config();
        let taps = Taps::open(&config, &facts()).unwrap();
        let (connection, handle, _) = rtnetlink::new_connection().unwrap();
        tokio::spawn(connection);
        taps.configure(&handle, &config).await.unwrap();
        let site = site_of(&config);
        Self { site, taps }
    }

    /// A socket that does not block, bound as a path check's is.
    fn socket(&mut self, service: &str, kind: Type) -> Socket {
        let protocol = match kind {
            Type::STREAM => Protocol::TCP,
            _ => Protocol::UDP,
        };
        let path = self.site.open(service, "dr", protocol);
        let socket = Socket::new(Domain::for_address(path.source), kind, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let name = ["wan0", "lan0"][path.port.index()];
        socket.bind_device(Some(name.as_bytes())).unwrap();
        socket.bind(&SockAddr::from(path.source)).unwrap();
        let connected = socket.connect(&SockAddr::from(vip(service)));
        let under_way = |e: io::Error| e.raw_os_error() == Some(115 /* EINPROGRESS */);
        assert!(connected.is_ok() || connected.is_err_and(under_way));
        socket
    }

    /// Moves frames until `done`, between the TAPs and a server that answers by `serve`.
    async fn until(
        &mut self,
        mut done: impl FnMut() -> bool,
        serve: impl Fn(&[u8]) -> Option<Vec<u8>>,
    ) {
        let moved = async {
            while !done() {
                if !self.step(&serve) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        };
        tokio::time::timeout(PATIENCE, moved)
            .await
            .expect("the kernel has what it waits for");
    }

    /// Moves one frame of each TAP; `false` if there was none.
    fn step(&mut self, serve: &impl Fn(&[u8]) -> Option<Vec<u8>>) -> bool {
        let mut worked = false;
        let Edge {
            uplink,
            responder,
            paths,
        } = &mut self.site.edge;
        for port in [WAN, LAN] {
            let mut buffer = [0; 2048];
            let tap = self.taps.tap(port).unwrap();
            let Ok(len) = tap.recv(&mut buffer) else {
                continue;
            };
            worked = true;
            let out = match uplink.down(at(0), port, &buffer[..len], responder, paths) {
                Some(Down::Send(LAN, frame)) if frame[..6] == DR_MAC.0 => frame,
                Some(Down::Answer(frame)) => {
                    tap.send(&frame).unwrap();
                    continue;
                }
                Some(Down::Send(..)) | None => continue,
            };
            assert_intact(&out);
            let Some(answer) = serve(&out) else { continue };
            let class = (LAN, PuntClass::Dip);
            let mut actions = Vec::new();
            let up = uplink.up(at(0), class, &answer, responder, paths, &mut actions);
            let (tap, frame) = up.expect("an answer to a probe");
            self.taps.tap(tap).unwrap().send(&frame).unwrap();
        }
        worked
    }
}

/// No checksum was left for hardware that is not there.
fn assert_intact(frame: &[u8]) {
    let (src, dst, kind) = Frame::parse(frame).unwrap().ip().unwrap();
    let l4 = &frame[if src.is_ipv4() { 34 } else { 54 }..];
    assert!(
        pseudo(src, dst, kind.0, l4.len()).over(l4).is_valid(),
        "{frame:02x?}"
    );
}

/// SYN-ACK to a SYN, nothing to what follows.
fn accept(frame: &[u8]) -> Option<Vec<u8>> {
    let probe = path::probe(frame)?;
    let l4 = if probe.source.is_ipv4() { 34 } else { 54 };
    let flags = frame[l4 + 13];
    if flags & 0x3f != SYN {
        return None;
    }
    let mut answer = tcp(FROM_SERVER, probe.destination, probe.source, SYN_ACK);
    let number = u32::from_be_bytes(frame[l4 + 4..l4 + 8].try_into().unwrap());
    answer[l4 + 8..l4 + 12].copy_from_slice(&number.wrapping_add(1).to_be_bytes());
    answer[l4 + 16..l4 + 18].fill(0);
    let segment = &answer[l4..];
    let (from, to) = (probe.destination.ip(), probe.source.ip());
    let sum = pseudo(from, to, 6, segment.len()).over(segment).finish();
    answer[l4 + 16..l4 + 18].copy_from_slice(&sum.0);
    Some(answer)
}

fn in_namespace(name: &str, test: impl AsyncFnOnce(Lab) + Send) {
    let Some(namespace) = Namespace::new(name) else {
        return;
    };
    namespace.run_async(async || {
        // As distributions set it; the TAPs come later.
        for all in ["all", "default"] {
            taps::sysctl(&format!("ipv4/conf/{all}/rp_filter"), "1").unwrap();
        }
        taps::confine_reverse_path_filter().unwrap();
        test(Lab::new().await).await;
    });
}

#[test]
fn a_kernel_socket_connects_to_one_server_of_a_vip() {
    in_namespace("path-tcp", async |mut lab: Lab| {
        for service in ["web", "web6"] {
            let socket = lab.socket(service, Type::STREAM);
            lab.until(|| socket.peer_addr().is_ok(), accept).await;
            assert!(socket.take_error().unwrap().is_none());
            let peer = socket.peer_addr().unwrap().as_socket();
            assert_eq!(peer, Some(vip(service)));
        }
    });
}

#[test]
fn a_datagram_and_a_port_unreachable_come_back() {
    in_namespace("path-udp", async |mut lab: Lab| {
        for service in ["web", "web6"] {
            let socket = lab.socket(service, Type::DGRAM);
            socket.send(b"path?").unwrap();
            let answer = |frame: &[u8]| {
                let probe = path::probe(frame)?;
                Some(udp(FROM_SERVER, probe.destination, probe.source, b"here"))
            };
            let mut buffer = [0; 64];
            let mut received = || (&socket).recv_into(&mut buffer);
            lab.until(|| received() == Ok(4), answer).await;
            assert_eq!(&buffer[..4], b"here");

            socket.send(b"path?").unwrap();
            let refuse = |frame: &[u8]| {
                let probe = path::probe(frame)?;
                let (from, to) = (probe.destination.ip(), probe.source.ip());
                Some(unreachable(from, to, frame))
            };
            let mut received = || (&socket).recv_into(&mut buffer);
            let refused = Err(io::ErrorKind::ConnectionRefused);
            lab.until(|| received() == refused, refuse).await;
        }
    });
}

/// Receives into initialised memory.
trait RecvInto {
    fn recv_into(self, buffer: &mut [u8]) -> Result<usize, io::ErrorKind>;
}

impl RecvInto for &Socket {
    fn recv_into(mut self, buffer: &mut [u8]) -> Result<usize, io::ErrorKind> {
        io::Read::read(&mut self, buffer).map_err(|e| e.kind())
    }
}
