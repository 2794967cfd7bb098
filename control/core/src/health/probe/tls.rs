//! The TLS of HTTPS probes: rustls with ring.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Attempt, Destination, Failure};
use crate::config::TlsProbe;

/// Where Debian keeps the issuers that it trusts.
const SYSTEM_ISSUERS: &str = "/etc/ssl/certs/ca-certificates.crt";

impl Attempt<'_> {
    /// Agrees on keys with the server, and notes how long that took and when its certificate
    /// expires.
    pub(super) async fn handshake(
        &mut self,
        stream: TcpStream,
        to: &Destination<'_>,
        tls: &TlsProbe,
        host: Option<&str>,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let config = config(tls).map_err(Failure::Local)?;
        let host = host.map(without_port);
        let name = match tls.name.as_deref().or(host) {
            Some(name) => ServerName::try_from(name.to_owned())
                .map_err(|_| Failure::Local(format!("`{name}` is no server name")))?,
            None => ServerName::from(to.address.ip()),
        };
        let connecting = TlsConnector::from(config).connect(name, stream);
        let limit = self.check.phase_timeouts.tls;
        let done = self.phase("agreeing on TLS", limit, connecting).await;
        let (stream, took) = done?;
        self.phases.tls = Some(took);
        let certificates = stream.get_ref().1.peer_certificates();
        self.certificate_expiry = certificates.and_then(|all| expiry(all.first()?));
        Ok(stream)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => {
            name.trim_start_matches('[').trim_end_matches(']')
        }
        _ => host,
    }
}

/// When a certificate expires, in seconds since 1970.
fn expiry(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

/// By issuers' file (`None`: nothing is verified) and when that was written.
type Key = (Option<PathBuf>, Option<SystemTime>);

/// The settings for a probe, made once for each set of issuers.
///
/// # Errors
/// Why the issuers cannot be read.
fn config(tls: &TlsProbe) -> Result<Arc<ClientConfig>, String> {
    static KNOWN: OnceLock<Mutex<HashMap<Key, Arc<ClientConfig>>>> = OnceLock::new();
    let issuers = tls
        .verify
        .then(|| tls.ca.clone().unwrap_or_else(|| SYSTEM_ISSUERS.into()));
    let written = issuers
        .as_ref()
        .and_then(|path| std::fs::metadata(path).ok()?.modified().ok());
    let key = (issuers, written);
    let known = KNOWN.get_or_init(Mutex::default);
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(config) = known.get(&key) {
        return Ok(config.clone());
    }
    let config = Arc::new(build(key.0.as_deref())?);
    // An older reading of the same file is of no use any more.
    known.retain(|(path, _), _| *path != key.0);
    known.insert(key, config.clone());
    Ok(config)
}

fn build(issuers: Option<&Path>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = match issuers {
        Some(path) => builder
            .with_root_certificates(roots(path)?)
            .with_no_client_auth(),
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
            .with_no_client_auth(),
    };
    // A resumed session would hide a handshake that fails for new clients.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let at = |error: &dyn std::fmt::Display| format!("tls.ca {}: {error}", path.display());
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| at(&error))?;
    let all: Vec<_> = certificates.flatten().collect();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(all);
    if added == 0 {
        return Err(at(&io::Error::other("there is no certificate in it")));
    }
    Ok(roots)
}

/// Takes any certificate; the server must still have its key. For checks without `verify`, which
/// ask whether the server works, not who it is.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
