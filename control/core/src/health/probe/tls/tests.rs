//! HTTPS probes against a real TLS server.

use std::net::SocketAddr;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::{HeaderExpect, HttpProbe, Probe};
use crate::health::machine::{Finding, Outcome};
use crate::health::probe::tests::{checked_by, http, probe};

/// An issuer in a file of its own, removed at the end.
struct Issuer {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Issuer {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = std::env::temp_dir().join(format!("weir-{name}-{}.pem", std::process::id()));
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file }
    }

    /// A server for `host` whose certificate expires in 2031 or did in 2021; it echoes the name
    /// that it was asked for in a header field.
    async fn serve(&self, host: &str, is_expired: bool) -> SocketAddr {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let year = if is_expired { 2021 } else { 2031 };
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let name = stream
                    .get_ref()
                    .1
                    .server_name()
                    .unwrap_or("none")
                    .to_owned();
                let _ = stream.read(&mut [0; 1024]).await;
                let answer = format!("HTTP/1.1 200 OK\r\nX-Name: {name}\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        address
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

async fn ask(target: SocketAddr, tls: TlsProbe) -> Outcome {
    let asked = HttpProbe {
        host: Some("www.example.net:8443".into()),
        tls: Some(tls),
        headers: vec![HeaderExpect {
            name: "X-Name".into(),
            value: Some("www.example.net".into()),
        }],
        ..http()
    };
    probe(target, checked_by(Probe::Http(asked), 5000)).await
}

fn unverified() -> TlsProbe {
    TlsProbe {
        name: None,
        verify: false,
        ca: None,
    }
}

#[tokio::test(flavor = "current_thread")]
async fn https_passes_with_the_host_as_server_name_and_the_expiry_is_known() {
    let issuer = Issuer::new("expiry");
    let outcome = ask(issuer.serve("other.example", false).await, unverified()).await;
    assert_eq!(
        (outcome.finding, outcome.reason.as_str()),
        (Finding::Pass, "status 200")
    );
    assert!(outcome.phases.tls.is_some());
    assert_eq!(outcome.certificate_expiry, Some(1_924_992_000)); // 2031-01-01
}

#[tokio::test(flavor = "current_thread")]
async fn a_verified_certificate_is_in_time_for_the_name_and_from_a_trusted_issuer() {
    let (ours, theirs) = (Issuer::new("ours"), Issuer::new("theirs"));
    let by = |issuer: &Issuer| TlsProbe {
        verify: true,
        ca: Some(issuer.file.clone()),
        ..unverified()
    };
    let good = ours.serve("www.example.net", false).await;
    assert_eq!(ask(good, by(&ours)).await.finding, Finding::Pass);
    for (server, issuer, text) in [
        (good, &theirs, "UnknownIssuer"),
        (
            ours.serve("other.example", false).await,
            &ours,
            "not valid for name",
        ),
        (ours.serve("www.example.net", true).await, &ours, "expired"),
    ] {
        let outcome = ask(server, by(issuer)).await;
        assert_eq!(outcome.finding, Finding::Fail);
        assert!(outcome.reason.contains(text), "{}", outcome.reason);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn issuers_that_cannot_be_read_are_our_own_fault() {
    let issuer = Issuer::new("missing");
    let address = issuer.serve("www.example.net", false).await;
    let missing = TlsProbe {
        verify: true,
        ca: Some("/nowhere/ca.pem".into()),
        ..unverified()
    };
    let outcome = ask(address, missing).await;
    assert_eq!(outcome.finding, Finding::Local);
    assert!(
        outcome.reason.contains("/nowhere/ca.pem"),
        "{}",
        outcome.reason
    );
}

#[tokio::test(flavor = "current_thread")]
async fn a_server_without_tls_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let outcome = ask(address, unverified()).await;
    assert_eq!(outcome.finding, Finding::Fail);
    assert!(outcome.reason.contains("TLS"), "{}", outcome.reason);
}
