//! Probes against real sockets, some of them hostile.

use tokio::net::TcpListener;

use super::*;

fn http(timeout_ms: u64) -> HealthCheck {
    HealthCheck {
        name: "web".into(),
        probe: Probe::Http {
            url: "/healthz".into(),
            host: None,
            status: vec![(200, 299)],
        },
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(timeout_ms),
        rise: 2,
        fall: 3,
        port: None,
    }
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

async fn ask(answer: &[u8]) -> Outcome {
    let (address, _) = server(vec![answer.to_vec()], Duration::ZERO).await;
    run(address, &http(2000)).await
}

#[tokio::test(flavor = "current_thread")]
async fn a_200_passes_and_the_request_is_plain_http() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
    let (address, task) = server(vec![answer], Duration::ZERO).await;
    let outcome = run(address, &http(2000)).await;
    assert_eq!(
        (outcome.finding, outcome.reason.as_str()),
        (Finding::Pass, "status 200")
    );
    let request = String::from_utf8(task.await.unwrap()).unwrap();
    assert!(
        request.starts_with("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"),
        "{request}"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn other_answers_fail_with_a_reason() {
    let outcome = ask(b"HTTP/1.1 503 Busy\r\n\r\n").await;
    assert_eq!(outcome.finding, Finding::Fail);
    assert_eq!(outcome.reason, "status 503, expected 200-299");
    let outcome = ask(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    assert!(
        outcome.reason.starts_with("answer is not HTTP"),
        "{}",
        outcome.reason
    );
    let outcome = ask(b"HTTP/1.1 200").await;
    assert_eq!(outcome.reason, "connection closed before the answer's end");
}

#[tokio::test(flavor = "current_thread")]
async fn a_closed_port_fails_at_once_and_no_route_is_our_own_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let check = HealthCheck {
        probe: Probe::Tcp,
        ..http(2000)
    };
    let outcome = run(address, &check).await;
    assert_eq!(outcome.finding, Finding::Fail);
    assert!(outcome.reason.contains("refused"), "{}", outcome.reason);
    // IPv6 documentation prefix as a v4-mapped address of class E: never routed.
    let failure = failure(
        &io::Error::from(ErrorKind::NetworkUnreachable),
        "connecting",
    );
    assert!(matches!(failure, Failure::Local(_)));
}

#[tokio::test(flavor = "current_thread")]
async fn f14_a_ten_megabyte_header_is_cut_off() {
    let field = format!("X-Big: {}\r\n", "x".repeat(10_000)).into_bytes();
    let mut chunks = vec![b"HTTP/1.1 200 OK\r\n".to_vec()];
    chunks.extend(std::iter::repeat_n(field, 1000));
    let (address, _) = server(chunks, Duration::ZERO).await;
    let outcome = run(address, &http(5000)).await;
    assert_eq!(outcome.finding, Finding::Fail);
    assert_eq!(outcome.reason, "header longer than 16384 octets");
}

#[tokio::test(flavor = "current_thread")]
async fn f14_one_octet_at_a_time_ends_with_the_time_out() {
    let chunks = b"HTTP/1.1 200 OK\r\n\r\n"
        .iter()
        .map(|octet| vec![*octet])
        .collect();
    let (address, _) = server(chunks, Duration::from_secs(1)).await;
    let outcome = run(address, &http(300)).await;
    assert_eq!(outcome.finding, Finding::Fail);
    assert_eq!(
        outcome.reason,
        "timed out after 300ms waiting for the answer"
    );
    assert!(
        outcome.duration < Duration::from_secs(1),
        "{:?}",
        outcome.duration
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_tcp_probe_passes_on_a_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let check = HealthCheck {
        probe: Probe::Tcp,
        ..http(2000)
    };
    let outcome = run(listener.local_addr().unwrap(), &check).await;
    assert_eq!(
        (outcome.finding, outcome.reason.as_str()),
        (Finding::Pass, "connected")
    );
}
