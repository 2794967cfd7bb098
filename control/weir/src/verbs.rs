//! What each verb does, on the client's side: ask, print, and choose the exit code.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hyper::Method;
use serde::de::DeserializeOwned;

use crate::cli::{Apply, Cli, Explain, FlowFilter, Noun, SOCKET, ServerPath, Show, Verb, VrrpVerb};
use crate::client::{ClientError, request};
use crate::{generate, show, views};

/// The daemon is unreachable.
const UNREACHABLE: u8 = 3;
/// Between two looks at a draining server.
const DRAIN_LOOK: std::time::Duration = std::time::Duration::from_millis(500);

/// Runs one verb.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let socket = cli.socket.clone().unwrap_or_else(|| PathBuf::from(SOCKET));
    let done = match cli.verb {
        Verb::Run(run) => return crate::daemon::run(&run, cli.socket.as_deref()),
        Verb::Check { files } => return check(&files),
        Verb::Apply(arguments) => apply(&socket, &arguments),
        Verb::Show(arguments) => show_noun(&socket, &arguments),
        Verb::Status(arguments) => return status(&socket, arguments.json),
        Verb::Explain(arguments) => explain(&socket, &arguments),
        Verb::Drain { server, wait } => drain(&socket, &server, wait),
        Verb::Ready { server } => patch(&socket, &server, r#"{"state":"ready"}"#),
        Verb::Maintenance { server } => patch(&socket, &server, r#"{"state":"maintenance"}"#),
        Verb::Weight { server, weight } => {
            patch(&socket, &server, &format!(r#"{{"weight":{weight}}}"#))
        }
        Verb::Vrrp {
            what: VrrpVerb::Resign { instance },
        } => resign(&socket, instance.as_deref()),
        Verb::Schema => generate::schema(),
        Verb::Completions { shell } => generate::completions(shell),
        Verb::Man { dir } => generate::man(dir.as_deref()),
    };
    finish(done)
}

fn finish(done: Result<(), ClientError>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir: {error:#}");
            match error {
                ClientError::Unreachable { .. } => ExitCode::from(UNREACHABLE),
                ClientError::Refused(_) | ClientError::Broken(_) => ExitCode::FAILURE,
            }
        }
    }
}

/// Prints without panicking when the reader (`head`) has gone.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn check(files: &[PathBuf]) -> ExitCode {
    let mut refused = false;
    for file in files {
        match weir_control::config::load(file) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    eprintln!("{warning}");
                }
                print(&format!("{}: ok\n", file.display()));
            }
            Err(diagnostics) => {
                eprintln!("{diagnostics}");
                refused = true;
            }
        }
    }
    if refused {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn apply(socket: &Path, arguments: &Apply) -> Result<(), ClientError> {
    let file = arguments
        .file
        .as_deref()
        .map(std::path::absolute)
        .transpose();
    let file = file.map_err(|error| ClientError::Broken(error.into()))?;
    let body = serde_json::json!({ "file": file, "allow_shrink": arguments.allow_shrink });
    let answer = request(socket, Method::POST, "/v1/config", body.to_string())?;
    print(&said(&answer));
    Ok(())
}

fn resign(socket: &Path, instance: Option<&str>) -> Result<(), ClientError> {
    let body = serde_json::json!({ "instance": instance });
    let answer = request(socket, Method::POST, "/v1/vrrp/resign", body.to_string())?;
    print(&said(&answer));
    Ok(())
}

/// The daemon's one-line answer to a write.
fn said(answer: &str) -> String {
    let value: Result<serde_json::Value, _> = serde_json::from_str(answer);
    let text = value
        .ok()
        .and_then(|value| value["detail"].as_str().map(str::to_owned));
    format!("{}\n", text.unwrap_or_else(|| answer.to_owned()))
}

/// Gets a view; prints it as JSON, or as text.
fn view<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    json: bool,
    text: impl Fn(&T) -> String,
) -> Result<(), ClientError> {
    let answer = request(socket, Method::GET, path, String::new())?;
    if json {
        print(&format!("{}\n", answer.trim_end()));
    } else {
        print(&text(&parse(&answer)?));
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(answer: &str) -> Result<T, ClientError> {
    serde_json::from_str(answer).map_err(|error| {
        ClientError::Broken(anyhow::anyhow!(
            "the daemon's answer does not fit this version of weir: {error}"
        ))
    })
}

fn show_noun(socket: &Path, arguments: &Show) -> Result<(), ClientError> {
    let json = arguments.json;
    match &arguments.noun {
        Noun::Services => view(socket, "/v1/services", json, show::services),
        Noun::Servers => view(socket, "/v1/servers", json, show::servers),
        Noun::Flows(filter) => view(socket, &flows_path(filter), json, show::flows),
        Noun::Ports => view(socket, "/v1/ports", json, show::ports),
        Noun::Workers => view(socket, "/v1/workers", json, show::workers),
        Noun::Neighbours => view(socket, "/v1/neighbours", json, show::neighbours),
        Noun::Routes => view(socket, "/v1/routes", json, show::routes),
        Noun::Vrrp => view(socket, "/v1/vrrp", json, show::vrrp),
        Noun::Arp => view(socket, "/v1/arp", json, show::arp),
        Noun::Drops => view(socket, "/v1/drops", json, show::drops),
        Noun::Health { server: None } => view(socket, "/v1/health", json, show::health),
        Noun::Health {
            server: Some(server),
        } => {
            let path = format!(
                "/v1/health?service={}&server={}",
                escape(&server.service),
                escape(&server.server)
            );
            view(socket, &path, json, |v: &views::HealthList| {
                v.health.iter().map(show::one_health).collect()
            })
        }
    }
}

fn flows_path(filter: &FlowFilter) -> String {
    let mut path = format!("/v1/flows?limit={}", filter.limit);
    let pairs = [
        ("service", &filter.service),
        ("server", &filter.server),
        ("client", &filter.client),
    ];
    for (key, value) in pairs {
        if let Some(value) = value {
            path.push_str(&format!("&{key}={}", escape(value)));
        }
    }
    path
}

/// Percent-encodes what may not stand in a path segment or query (RFC 3986 §2.3).
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for octet in text.bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(octet));
            }
            _ => escaped.push_str(&format!("%{octet:02X}")),
        }
    }
    escaped
}

fn status(socket: &Path, json: bool) -> ExitCode {
    let answer = match request(socket, Method::GET, "/v1/status", String::new()) {
        Ok(answer) => answer,
        Err(error) => return finish(Err(error)),
    };
    let status: views::Status = match parse(&answer) {
        Ok(status) => status,
        Err(error) => return finish(Err(error)),
    };
    print(&if json {
        format!("{}\n", answer.trim_end())
    } else {
        show::status(&status)
    });
    if status.ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn explain(socket: &Path, arguments: &Explain) -> Result<(), ClientError> {
    let protocol = match arguments.protocol {
        crate::cli::ExplainProtocol::Tcp => "tcp",
        crate::cli::ExplainProtocol::Udp => "udp",
    };
    let path = format!(
        "/v1/explain?protocol={protocol}&source={}&vip={}",
        escape(&arguments.source.to_string()),
        escape(&arguments.vip.to_string())
    );
    view(socket, &path, arguments.json, show::explanation)
}

fn server_url(server: &ServerPath) -> String {
    format!(
        "/v1/services/{}/servers/{}",
        escape(&server.service),
        escape(&server.server)
    )
}

fn patch(socket: &Path, server: &ServerPath, body: &str) -> Result<(), ClientError> {
    let answer = request(socket, Method::PATCH, &server_url(server), body.to_owned())?;
    print(&said(&answer));
    Ok(())
}

fn drain(
    socket: &Path,
    server: &ServerPath,
    wait: Option<std::time::Duration>,
) -> Result<(), ClientError> {
    patch(socket, server, r#"{"state":"drain"}"#)?;
    let Some(wait) = wait else { return Ok(()) };
    let mut waited = std::time::Duration::ZERO;
    loop {
        let answer = request(socket, Method::GET, &server_url(server), String::new())?;
        let now: views::Server = parse(&answer)?;
        let flows = now.active_connections + now.inactive_connections;
        if flows == 0 {
            print(&format!(
                "{}/{}: no flows left\n",
                server.service, server.server
            ));
            return Ok(());
        }
        if waited >= wait {
            let name = format!("{}/{}", server.service, server.server);
            return Err(ClientError::Refused(format!(
                "{name} still has {flows} flows after {}s; it stays in drain",
                wait.as_secs()
            )));
        }
        let look = DRAIN_LOOK.min(wait - waited);
        #[expect(
            clippy::disallowed_methods,
            reason = "a person waits at the prompt: polling is it"
        )]
        std::thread::sleep(look);
        waited += look;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_into_a_url_is_escaped() {
        assert_eq!(escape("web 1/é"), "web%201%2F%C3%A9");
        assert_eq!(escape("[2001:db8::1]:80"), "%5B2001%3Adb8%3A%3A1%5D%3A80");
    }
}
