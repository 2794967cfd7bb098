//! Probes over UDP: a datagram of the operator's, and a DNS question.

use std::io;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::{Attempt, Destination, Failure, answer, failure};
use crate::config::BodyExpect;

/// Octets of an answer that are looked at.
const ANSWER_LEN_MAX: usize = 4096;
/// A DNS message's header (RFC 1035 §4.1.1).
const DNS_HEADER_LEN: usize = 12;
/// QR: this is an answer. RD: ask on behalf of us.
const DNS_ANSWER: u8 = 0x80;
const DNS_RECURSE: u8 = 0x01;
/// QCLASS IN.
const DNS_INTERNET: u16 = 1;

/// A datagram: port unreachable fails, the right answer passes, and without an expectation so does
/// silence.
pub(super) async fn udp(
    attempt: &mut Attempt<'_>,
    to: &Destination<'_>,
    send: &[u8],
    expect: Option<&BodyExpect>,
) -> Result<String, Failure> {
    let socket = socket(to).await?;
    send_to(attempt, &socket, send).await?;
    match receive(attempt, &socket).await {
        Ok(octets) => {
            if let Some(expect) = expect {
                answer::body(&octets, expect).map_err(Failure::Server)?;
            }
            Ok(format!("answer of {} octets", octets.len()))
        }
        Err(Failure::Timeout { .. }) if expect.is_none() => Ok("no port unreachable".into()),
        Err(failure) => Err(failure),
    }
}

/// A DNS question for `(name, type)`: an answer with one of `rcodes` passes.
pub(super) async fn dns(
    attempt: &mut Attempt<'_>,
    to: &Destination<'_>,
    (name, kind): (&[u8], u16),
    rcodes: &[u8],
) -> Result<String, Failure> {
    let socket = socket(to).await?;
    // Only who sees the question can answer with its identifier and from a connected address.
    let id = u16::try_from(attempt.begin.elapsed().as_nanos() & 0xffff).unwrap_or(0);
    let id = id.wrapping_add(to.source.map_or(0, |(source, _)| source.port()));
    send_to(attempt, &socket, &question(id, name, kind)).await?;
    loop {
        let octets = receive(attempt, &socket).await?;
        let Some(rcode) = rcode(id, &octets) else {
            continue; // A late answer to another question, or no answer at all.
        };
        let text = format!("response code {rcode}");
        if rcodes.contains(&rcode) {
            return Ok(text);
        }
        return Err(Failure::Server(text));
    }
}

/// A query with one question and recursion desired.
fn question(id: u16, name: &[u8], kind: u16) -> Vec<u8> {
    let mut octets = Vec::with_capacity(DNS_HEADER_LEN + name.len() + 4);
    octets.extend(id.to_be_bytes());
    octets.extend([DNS_RECURSE, 0]);
    for count in [1u16, 0, 0, 0] {
        octets.extend(count.to_be_bytes());
    }
    octets.extend(name);
    octets.extend(kind.to_be_bytes());
    octets.extend(DNS_INTERNET.to_be_bytes());
    octets
}

/// The response code of an answer to question `id`.
fn rcode(id: u16, octets: &[u8]) -> Option<u8> {
    let header = octets.get(..DNS_HEADER_LEN)?;
    let ours = header[..2] == id.to_be_bytes() && header[2] & DNS_ANSWER != 0;
    ours.then_some(header[3] & 0x0f)
}

async fn socket(to: &Destination<'_>) -> Result<UdpSocket, Failure> {
    let open = || {
        let domain = Domain::for_address(to.address);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if let Some((source, device)) = to.source {
            socket.bind_device(Some(device.as_bytes()))?;
            socket.bind(&source.into())?;
        }
        // Connected: only the server's answers and ICMP errors about it come in.
        socket.connect(&to.address.into())?;
        UdpSocket::from_std(socket.into())
    };
    open().map_err(|error| failure(&error, "opening a socket"))
}

async fn send_to(
    attempt: &mut Attempt<'_>,
    socket: &UdpSocket,
    octets: &[u8],
) -> Result<(), Failure> {
    let sending = socket.send(octets);
    let (_, took) = attempt.phase("sending", None, sending).await?;
    attempt.phases.send = Some(took);
    Ok(())
}

async fn receive(attempt: &mut Attempt<'_>, socket: &UdpSocket) -> Result<Vec<u8>, Failure> {
    let mut octets = vec![0; ANSWER_LEN_MAX];
    let what = "waiting for an answer";
    let receiving = async {
        let received = socket.recv(&mut octets).await;
        // A connected socket learns of ICMP port unreachable like this.
        let refused = |e: &io::Error| e.kind() == io::ErrorKind::ConnectionRefused;
        if received.as_ref().is_err_and(refused) {
            return Ok(None);
        }
        received.map(Some)
    };
    let (len, took) = attempt.phase(what, None, receiving).await?;
    let Some(len) = len else {
        return Err(Failure::Server("port unreachable".into()));
    };
    attempt.phases.first_byte.get_or_insert(took);
    octets.truncate(len);
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_a_dns_message_and_only_its_own_answer_counts() {
        let octets = question(0x1234, b"\x03www\x07example\x00", 28);
        let expected = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\
                         \x03www\x07example\x00\x00\x1c\x00\x01";
        assert_eq!(octets, expected);
        let mut answer = octets;
        assert_eq!(rcode(0x1234, &answer), None);
        (answer[2], answer[3]) = (0x81, 0x83);
        assert_eq!(rcode(0x1234, &answer), Some(3));
        assert_eq!(rcode(0x1235, &answer), None);
        assert_eq!(rcode(0x1234, &answer[..11]), None);
    }
}
