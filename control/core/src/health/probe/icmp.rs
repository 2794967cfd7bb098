//! Echo probes (RFC 792, RFC 4443 §4) on a raw socket, connected so that the kernel sorts out
//! other hosts' messages.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, Ipv4Packet};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::{Attempt, Failure, failure};

/// What an echo carries.
const DATA: &[u8] = b"weir health";
const PACKET_LEN_MAX: usize = 2048;

/// Sends an echo request and waits for its reply.
pub(super) async fn ask(attempt: &mut Attempt<'_>, target: IpAddr) -> Result<String, Failure> {
    let open = || {
        let (domain, protocol) = match target {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.set_nonblocking(true)?;
        socket.connect(&SocketAddr::new(target, 0).into())?;
        // Tokio has no raw socket; sending and receiving are the same system calls on both.
        UdpSocket::from_std(socket.into())
    };
    let socket = open().map_err(|error| failure(&error, "opening a socket"))?;
    // Probes of one target must not take each other's replies.
    let ident = fresh_ident();
    let request = request(target, ident);
    let sending = socket.send(&request);
    let (_, took) = attempt.phase("sending", None, sending).await?;
    attempt.phases.send = Some(took);
    let what = "waiting for a reply";
    let ((), took) = attempt
        .phase(what, None, reply(&socket, target, ident))
        .await?;
    attempt.phases.first_byte = Some(took);
    Ok("echo reply".into())
}

/// A number that no other probe of late has; it begins elsewhere in every process.
fn fresh_ident() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let process = u16::try_from(std::process::id() & 0xffff).unwrap_or(0);
    NEXT.fetch_add(1, Ordering::Relaxed) ^ process.reverse_bits()
}

fn request(target: IpAddr, ident: u16) -> Vec<u8> {
    let checksums = ChecksumCapabilities::default();
    match target {
        IpAddr::V4(_) => {
            let repr = Icmpv4Repr::EchoRequest {
                ident,
                seq_no: 1,
                data: DATA,
            };
            let mut octets = vec![0; repr.buffer_len()];
            let mut packet = Icmpv4Packet::new_unchecked(&mut octets);
            repr.emit(&mut packet, &checksums);
            octets
        }
        IpAddr::V6(target) => {
            let repr = Icmpv6Repr::EchoRequest {
                ident,
                seq_no: 1,
                data: DATA,
            };
            let mut octets = vec![0; repr.buffer_len()];
            let mut packet = Icmpv6Packet::new_unchecked(&mut octets);
            // The kernel sums it up, with the source that it chooses (RFC 3542 §3.1).
            repr.emit(
                &target,
                &target,
                &mut packet,
                &ChecksumCapabilities::ignored(),
            );
            octets
        }
    }
}

async fn reply(socket: &UdpSocket, target: IpAddr, ident: u16) -> io::Result<()> {
    let mut buffer = [0; PACKET_LEN_MAX];
    loop {
        let len = socket.recv(&mut buffer).await?;
        if is_reply(&buffer[..len], target, ident) {
            return Ok(());
        }
    }
}

fn is_reply(octets: &[u8], target: IpAddr, ident: u16) -> bool {
    match target {
        IpAddr::V4(_) => {
            // A raw IPv4 socket gives the IP header too.
            let Ok(ip) = Ipv4Packet::new_checked(octets) else {
                return false;
            };
            let Ok(packet) = Icmpv4Packet::new_checked(ip.payload()) else {
                return false;
            };
            let parsed = Icmpv4Repr::parse(&packet, &ChecksumCapabilities::default());
            matches!(parsed, Ok(Icmpv4Repr::EchoReply { ident: found, .. }) if found == ident)
        }
        IpAddr::V6(target) => {
            let Ok(packet) = Icmpv6Packet::new_checked(octets) else {
                return false;
            };
            let ignored = ChecksumCapabilities::ignored();
            let parsed = Icmpv6Repr::parse(&target, &target, &packet, &ignored);
            matches!(parsed, Ok(Icmpv6Repr::EchoReply { ident: found, .. }) if found == ident)
        }
    }
}
