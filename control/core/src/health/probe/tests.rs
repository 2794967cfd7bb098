//! Probes against real sockets, some of them hostile.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::config::{BodyExpect, HeaderExpect, HttpProbe, Pattern, PhaseTimeouts};
use crate::health::board::CheckId;
use crate::testing::check;

pub(super) fn http() -> HttpProbe {
    HttpProbe {
        url: "/healthz".into(),
        host: None,
        tls: None,
        status: vec![(200, 299)],
        body: None,
        headers: Vec::new(),
    }
}

pub(super) fn checked_by(probe: Probe, timeout_ms: u64) -> HealthCheck {
    HealthCheck {
        probe,
        timeout: Duration::from_millis(timeout_ms),
        ..check()
    }
}

async fn by(way: Way, target: SocketAddr, check: HealthCheck) -> Outcome {
    let job = Job {
        id: CheckId::new(0),
        name: ("web".into(), "web1".into()),
        target,
        vip: None,
        check: Arc::new(check),
    };
    run(&job, &way).await
}

pub(super) async fn probe(target: SocketAddr, check: HealthCheck) -> Outcome {
    by(Way::Direct, target, check).await
}

fn found(outcome: &Outcome) -> (Finding, &str) {
    (outcome.finding, outcome.reason.as_str())
}

/// A server that reads one request and then writes `chunks`, pausing `gap` before each.
async fn server(
    chunks: Vec<Vec<u8>>,
    gap: Duration,
) -> (SocketAddr, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 1024];
        let len = stream.read(&mut request).await.unwrap_or(0);
        request.truncate(len);
        for chunk in chunks {
            tokio::time::sleep(gap).await;
            if stream.write_all(&chunk).await.is_err() {
                break; // The probe has had enough.
            }
        }
        request
    });
    (address, task)
}

async fn ask(answer: &[u8], probe: HttpProbe) -> Outcome {
    let (address, _) = server(vec![answer.to_vec()], Duration::ZERO).await;
    self::probe(address, checked_by(Probe::Http(probe), 2000)).await
}

#[tokio::test(flavor = "current_thread")]
async fn a_200_passes_and_the_request_is_plain_http() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
    let (address, task) = server(vec![answer], Duration::ZERO).await;
    let outcome = probe(address, checked_by(Probe::Http(http()), 2000)).await;
    assert_eq!(found(&outcome), (Finding::Pass, "status 200"));
    let request = String::from_utf8(task.await.unwrap()).unwrap();
    assert!(
        request.starts_with("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"),
        "{request}"
    );
    let Phases {
        connect,
        tls,
        send,
        first_byte,
    } = outcome.phases;
    assert!(connect.is_some() && send.is_some() && first_byte.is_some());
    assert_eq!(tls, None);
}

#[tokio::test(flavor = "current_thread")]
async fn other_answers_fail_with_a_reason() {
    let outcome = ask(b"HTTP/1.1 503 Busy\r\n\r\n", http()).await;
    let expected = "status 503, expected 200-299";
    assert_eq!(found(&outcome), (Finding::Fail, expected));
    let outcome = ask(b"SSH-2.0-OpenSSH_9.2\r\n", http()).await;
    assert!(outcome.reason.starts_with("answer is not HTTP"));
    let outcome = ask(b"HTTP/1.1 200", http()).await;
    assert_eq!(outcome.reason, "connection closed before the answer's end");
}

#[tokio::test(flavor = "current_thread")]
async fn a_body_must_hold_match_or_be_what_is_expected() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nall well rest";
    let expecting = |body| HttpProbe {
        body: Some(body),
        ..http()
    };
    let pattern = |text| BodyExpect::Matches(Pattern::new(text).unwrap());
    for (body, expected) in [
        (BodyExpect::Contains("well".into()), Ok(())),
        (BodyExpect::Contains("rest".into()), Err("no `rest`")),
        (pattern("^all w.ll$"), Ok(())),
        (pattern("^well"), Err("does not match `^well`")),
        (BodyExpect::Sha256([0; 32]), Err("SHA-256 is fb31b7f3")),
    ] {
        let outcome = ask(answer, expecting(body)).await;
        match expected {
            Ok(()) => assert_eq!(outcome.finding, Finding::Pass, "{outcome:?}"),
            Err(text) => assert!(outcome.reason.contains(text), "{outcome:?}"),
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_chunked_body_is_put_together() {
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        4\r\nall \r\n4\r\nwell\r\n0\r\n\r\n";
    let whole = HttpProbe {
        body: Some(BodyExpect::Matches(Pattern::new("^all well$").unwrap())),
        ..http()
    };
    let outcome = ask(answer, whole).await;
    assert_eq!(found(&outcome), (Finding::Pass, "status 200"));
}

#[tokio::test(flavor = "current_thread")]
async fn header_fields_are_found_whatever_their_case() {
    let answer = b"HTTP/1.1 200 OK\r\nX-Ready: yes, very\r\n\r\n";
    let expecting = |name: &str, value: Option<&str>| HttpProbe {
        headers: vec![HeaderExpect {
            name: name.into(),
            value: value.map(Into::into),
        }],
        ..http()
    };
    for (name, value, expected) in [
        ("x-ready", None, "status 200"),
        ("X-Ready", Some("yes"), "status 200"),
        ("X-Ready", Some("no"), "no `no` in header field X-Ready"),
        ("X-Other", None, "no header field X-Other"),
    ] {
        let outcome = ask(answer, expecting(name, value)).await;
        assert_eq!(outcome.reason, expected);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_closed_port_fails_at_once_and_no_route_is_our_own_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let outcome = probe(address, checked_by(Probe::Tcp, 2000)).await;
    assert_eq!(found(&outcome), (Finding::Fail, "refused while connecting"));
    let failure = failure(
        &io::Error::from(ErrorKind::NetworkUnreachable),
        "connecting",
    );
    assert!(matches!(failure, Failure::Local(_)));
}

#[tokio::test(flavor = "current_thread")]
async fn a_phase_has_its_own_limit() {
    let (address, _) = server(
        vec![b"HTTP/1.1 200 OK\r\n\r\n".to_vec()],
        Duration::from_secs(5),
    )
    .await;
    let check = HealthCheck {
        phase_timeouts: PhaseTimeouts {
            answer: Some(Duration::from_millis(100)),
            ..PhaseTimeouts::default()
        },
        ..checked_by(Probe::Http(http()), 3000)
    };
    let outcome = probe(address, check).await;
    let expected = "timed out after 100ms waiting for the answer";
    assert_eq!(found(&outcome), (Finding::Fail, expected));
}

#[tokio::test(flavor = "current_thread")]
async fn f14_a_ten_megabyte_header_is_cut_off() {
    let field = format!("X-Big: {}\r\n", "x".repeat(10_000)).into_bytes();
    let mut chunks = vec![b"HTTP/1.1 200 OK\r\n".to_vec()];
    chunks.extend(std::iter::repeat_n(field, 1000));
    let (address, _) = server(chunks, Duration::ZERO).await;
    let outcome = probe(address, checked_by(Probe::Http(http()), 5000)).await;
    let expected = "header longer than 16384 octets";
    assert_eq!(found(&outcome), (Finding::Fail, expected));
}

#[tokio::test(flavor = "current_thread")]
async fn f14_a_body_without_end_is_looked_at_as_far_as_64_kib() {
    let mut chunks = vec![b"HTTP/1.1 200 OK\r\n\r\n".to_vec()];
    chunks.extend(std::iter::repeat_n(vec![b'x'; 100_000], 100));
    let (address, _) = server(chunks, Duration::ZERO).await;
    let needle = HttpProbe {
        body: Some(BodyExpect::Contains("needle".into())),
        ..http()
    };
    let outcome = probe(address, checked_by(Probe::Http(needle), 5000)).await;
    let expected = "no `needle` in the answer";
    assert_eq!(found(&outcome), (Finding::Fail, expected));
}

#[tokio::test(flavor = "current_thread")]
async fn f14_one_octet_at_a_time_ends_with_the_time_out() {
    let chunks = b"HTTP/1.1 200 OK\r\n\r\n"
        .iter()
        .map(|octet| vec![*octet])
        .collect();
    let (address, _) = server(chunks, Duration::from_secs(1)).await;
    let outcome = probe(address, checked_by(Probe::Http(http()), 300)).await;
    let expected = "timed out after 300ms waiting for the answer";
    assert_eq!(found(&outcome), (Finding::Fail, expected));
    assert!(outcome.duration < Duration::from_secs(1), "{outcome:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_tcp_probe_passes_on_a_handshake_and_a_full_backlog_is_silence() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let outcome = probe(listener.local_addr().unwrap(), checked_by(Probe::Tcp, 2000)).await;
    assert_eq!(found(&outcome), (Finding::Pass, "connected"));
    // Nobody accepts, so the queue fills, and the next SYN is not answered.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let connecting = tokio::net::TcpStream::connect(address);
        waiting.push(tokio::time::timeout(Duration::from_millis(200), connecting).await);
    }
    let outcome = probe(address, checked_by(Probe::Tcp, 300)).await;
    let expected = "timed out after 300ms connecting";
    assert_eq!(found(&outcome), (Finding::Silent, expected));
}

#[tokio::test(flavor = "current_thread")]
async fn a_datagram_s_answer_is_judged_and_silence_passes_only_without_expectation() {
    let udp = |expect| Probe::Udp {
        send: b"ping".to_vec(),
        expect,
    };
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let outcome = probe(address, checked_by(udp(None), 100)).await;
    assert_eq!(found(&outcome), (Finding::Pass, "no port unreachable"));
    let pong = || Some(BodyExpect::Contains("pong".into()));
    let outcome = probe(address, checked_by(udp(pong()), 100)).await;
    assert_eq!(outcome.finding, Finding::Silent);
    let echo = tokio::spawn(async move {
        let mut buffer = [0; 64];
        loop {
            let (_, from) = server.recv_from(&mut buffer).await.unwrap();
            server.send_to(b"pong", from).await.unwrap();
        }
    });
    let outcome = probe(address, checked_by(udp(pong()), 2000)).await;
    assert_eq!(found(&outcome), (Finding::Pass, "answer of 4 octets"));
    echo.abort();
    let _ = echo.await;
    let outcome = probe(address, checked_by(udp(None), 2000)).await;
    assert_eq!(found(&outcome), (Finding::Fail, "port unreachable"));
}

#[tokio::test(flavor = "current_thread")]
async fn a_name_server_is_judged_by_its_response_code() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (len, from) = server.recv_from(&mut buffer).await.unwrap();
            let mut answer = buffer[..len].to_vec();
            answer[2] |= 0x80;
            // Somebody else's answer first.
            let mut other = answer.clone();
            other[0] ^= 1;
            server.send_to(&other, from).await.unwrap();
            answer[3] = 3; // NXDOMAIN
            server.send_to(&answer, from).await.unwrap();
        }
    });
    let dns = |rcodes: &[u8]| Probe::Dns {
        name: b"\x07example\x00".to_vec(),
        kind: 1,
        rcodes: rcodes.to_vec(),
    };
    let outcome = probe(address, checked_by(dns(&[0, 3]), 2000)).await;
    assert_eq!(found(&outcome), (Finding::Pass, "response code 3"));
    let outcome = probe(address, checked_by(dns(&[0]), 2000)).await;
    assert_eq!(found(&outcome), (Finding::Fail, "response code 3"));
}

#[tokio::test(flavor = "current_thread")]
async fn a_mail_server_greets_with_220() {
    async fn greeted(greeting: &[u8]) -> Outcome {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let greeting = greeting.to_vec();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(&greeting).await;
            let _ = stream.read(&mut [0; 16]).await;
        });
        probe(address, checked_by(Probe::Smtp, 2000)).await
    }
    let outcome = greeted(b"220 mx.example.net ESMTP\x1b[2J\r\n").await;
    let expected = "greeting `220 mx.example.net ESMTP[2J`";
    assert_eq!(found(&outcome), (Finding::Pass, expected));
    let outcome = greeted(b"554 no service\r\n").await;
    let expected = "greeting `554 no service`, expected 220";
    assert_eq!(found(&outcome), (Finding::Fail, expected));
    let outcome = greeted(&[b'2'; 10_000]).await;
    let expected = "greeting longer than 512 octets";
    assert_eq!(found(&outcome), (Finding::Fail, expected));
}

#[tokio::test(flavor = "current_thread")]
async fn an_echo_comes_back_from_both_families() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: raw sockets need root");
        return;
    }
    for target in ["127.0.0.1:0", "[::1]:0"] {
        let target: SocketAddr = target.parse().unwrap();
        let outcome = probe(target, checked_by(Probe::Icmp, 2000)).await;
        assert_eq!(found(&outcome), (Finding::Pass, "echo reply"), "{target}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_script_knows_whom_it_checks() {
    let script = |text: &str| Probe::Script(["/bin/sh", "-c", text].map(Into::into).to_vec());
    let target = "192.0.2.21:80".parse().unwrap();
    let knows = "test $WEIR_SERVICE/$WEIR_SERVER/$WEIR_ADDRESS/$WEIR_PORT = \
                 web/web1/192.0.2.21/80";
    let outcome = probe(target, checked_by(script(knows), 5000)).await;
    assert_eq!(found(&outcome), (Finding::Pass, "exit status 0"));
    let outcome = probe(target, checked_by(script("exit 3"), 5000)).await;
    let expected = "/bin/sh: exit status: 3";
    assert_eq!(found(&outcome), (Finding::Fail, expected));
}

#[tokio::test(flavor = "current_thread")]
async fn a_way_that_does_not_exist_is_our_own_fault() {
    let way = Way::None("all ports are in use".into());
    let outcome = by(way, "127.0.0.1:1".parse().unwrap(), check()).await;
    let expected = "not probed: all ports are in use";
    assert_eq!(found(&outcome), (Finding::Local, expected));
}
