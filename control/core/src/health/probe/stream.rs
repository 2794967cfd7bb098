//! Probes over TCP: the connection, and a mail server's greeting.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{Attempt, Destination, Failure, failure};

/// Octets of a greeting that are read at most (RFC 5321 §4.5.3.1.5).
const GREETING_LEN_MAX: usize = 512;

impl Attempt<'_> {
    /// Opens a connection, and notes how long that took.
    pub(super) async fn connect(&mut self, to: &Destination<'_>) -> Result<TcpStream, Failure> {
        let what = "connecting";
        let socket = socket(to).map_err(|error| failure(&error, what))?;
        let limit = self.check.phase_timeouts.connect;
        let connecting = socket.connect(to.address);
        let (stream, took) = self.phase(what, limit, connecting).await?;
        self.phases.connect = Some(took);
        self.reached = true;
        // Closed by RST: thousands of probes a second must not fill the ports with TIME_WAIT. A
        // failure only costs a port for a minute.
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

fn socket(to: &Destination<'_>) -> std::io::Result<TcpSocket> {
    let socket = match to.address.is_ipv4() {
        true => TcpSocket::new_v4()?,
        false => TcpSocket::new_v6()?,
    };
    if let Some((source, device)) = to.source {
        socket.set_reuseaddr(true)?;
        socket.bind_device(Some(device.as_bytes()))?;
        socket.bind(source)?;
    }
    Ok(socket)
}

/// Waits for a mail server's greeting and takes leave.
pub(super) async fn smtp(
    attempt: &mut Attempt<'_>,
    to: &Destination<'_>,
) -> Result<String, Failure> {
    let mut stream = attempt.connect(to).await?;
    let mut greeting = Vec::with_capacity(GREETING_LEN_MAX);
    let what = "waiting for the greeting";
    while !greeting.contains(&b'\n') {
        let room = GREETING_LEN_MAX - greeting.len();
        if room == 0 {
            let text = format!("greeting longer than {GREETING_LEN_MAX} octets");
            return Err(Failure::Server(text));
        }
        let mut bounded = (&mut stream).take(room as u64);
        let limit = attempt.check.phase_timeouts.answer;
        let read = bounded.read_buf(&mut greeting);
        let (len, took) = attempt.phase(what, limit, read).await?;
        attempt.phases.first_byte.get_or_insert(took);
        if len == 0 {
            return Err(Failure::Server("closed before the greeting's end".into()));
        }
    }
    let line = greeting.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line.trim_ascii_end());
    let line: String = line.chars().filter(|c| !c.is_control()).take(80).collect();
    if !(line.starts_with("220 ") || line.starts_with("220-") || line == "220") {
        return Err(Failure::Server(format!("greeting `{line}`, expected 220")));
    }
    // It would log a lost connection otherwise; how it takes the farewell says nothing.
    let _ = attempt
        .phase("taking leave", None, stream.write_all(b"QUIT\r\n"))
        .await;
    Ok(format!("greeting `{line}`"))
}
