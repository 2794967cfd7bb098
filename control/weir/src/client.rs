//! The command line's side of the daemon's unix socket: one HTTP request, one JSON answer.

use std::path::Path;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::views::Refusal;

/// Longest answer taken: 100,000 flows are about 25 MB.
const ANSWER_LEN_MAX: usize = 64 << 20;

/// Why a request brought no answer to print.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// Exit code 3.
    #[error(
        "cannot reach the daemon at {socket}: {cause}\n  \
         fix: is `weir run` up? another place: --socket PATH or WEIR_SOCKET"
    )]
    Unreachable {
        socket: String,
        #[source]
        cause: std::io::Error,
    },
    /// Exit code 1: the daemon said no, and why.
    #[error("{0}")]
    Refused(String),
    /// Exit code 1: the connection broke, or the answer is not ours.
    #[error(transparent)]
    Broken(#[from] anyhow::Error),
}

/// Asks the daemon and returns the body of its answer.
///
/// # Errors
/// [`ClientError::Unreachable`] if nobody listens on the socket, [`ClientError::Refused`] with the
/// daemon's own words if it said no.
pub(crate) fn request(
    socket: &Path,
    method: Method,
    path: &str,
    body: String,
) -> Result<String, ClientError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?
        .block_on(exchange(socket, method, path, body))
}

async fn exchange(
    socket: &Path,
    method: Method,
    path: &str,
    body: String,
) -> Result<String, ClientError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|cause| ClientError::Unreachable {
            socket: socket.display().to_string(),
            cause,
        })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .context("the daemon does not speak HTTP")?;
    // Ends with the connection; an error shows in the request below.
    drop(tokio::spawn(connection));
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(hyper::header::HOST, "weir")
        .header(hyper::header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .context("not a request")?;
    let answer = sender
        .send_request(request)
        .await
        .context("the daemon closed the connection")?;
    let status = answer.status();
    let body = http_body_util::Limited::new(answer.into_body(), ANSWER_LEN_MAX)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?;
    let text = String::from_utf8(body.to_bytes().to_vec()).context("the answer is not text")?;
    if status.is_success() || status == StatusCode::SERVICE_UNAVAILABLE && text.contains("problems")
    {
        return Ok(text);
    }
    Err(ClientError::Refused(refusal(status, text)))
}

/// The daemon's own words, out of its problem document.
fn refusal(status: StatusCode, text: String) -> String {
    match serde_json::from_str::<Refusal>(&text) {
        Ok(refusal) => refusal.detail,
        Err(_) => format!("the daemon answered {status}: {text}"),
    }
}
