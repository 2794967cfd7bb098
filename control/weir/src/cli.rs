//! The command line: every verb, its arguments and its help. No behaviour.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where the daemon listens unless told otherwise.
pub(crate) const SOCKET: &str = "/run/weir/weir.sock";
/// The configuration that is run unless told otherwise.
pub(crate) const CONFIG: &str = "/etc/weir/weir.yaml";

const LONG_ABOUT: &str = "\
Weir is a layer-4 load balancer on DPDK: direct routing, NAT and tunnel, IPv4 and IPv6, configured
in YAML.

Exit codes: 0 done, 1 refused or failed, 2 usage, 3 daemon unreachable.";

const AFTER_HELP: &str = "\
Start with:
  weir check weir.yaml       is the file good? never touches devices
  weir run -c weir.yaml      the daemon, in the foreground
  weir status                is it forwarding? worst first
  weir explain tcp 198.51.100.7:40000 192.0.2.10:80
                             why does this packet go where it goes?";

/// Weir, a layer-4 load balancer on DPDK.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    about = "Weir, a layer-4 load balancer on DPDK",
    long_about = LONG_ABOUT,
    after_help = AFTER_HELP
)]
pub(crate) struct Cli {
    /// Unix socket of the daemon
    ///
    /// Default: /run/weir/weir.sock; `run` takes `management.socket`.
    #[arg(long, global = true, env = "WEIR_SOCKET", value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the daemon in the foreground (SIGHUP reloads, SIGTERM stops)
    Run(Run),
    /// Validate files: all errors at once; never needs the devices
    Check {
        /// YAML files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Make the daemon run FILE until the next reload or start; without FILE: re-read its own
    Apply(Apply),
    /// Show state
    Show(Show),
    /// One screen: what is wrong, worst first, and what changed last
    Status(Json),
    /// Walk the live tables for one packet: why it goes where it goes, or why it is dropped
    Explain(Explain),
    /// Give a server no new flows; the flows it has go on
    Drain {
        /// SERVICE/SERVER
        #[arg(value_name = "SERVICE/SERVER", value_parser = server_path)]
        server: ServerPath,
        /// Wait until its flows have ended, at most this long (10m, 90s)
        #[arg(long, value_name = "TIME", value_parser = duration)]
        wait: Option<std::time::Duration>,
    },
    /// Put a drained or maintained server back to work
    Ready {
        /// SERVICE/SERVER
        #[arg(value_name = "SERVICE/SERVER", value_parser = server_path)]
        server: ServerPath,
    },
    /// Take a server out: no new flows, no health checks
    Maintenance {
        /// SERVICE/SERVER
        #[arg(value_name = "SERVICE/SERVER", value_parser = server_path)]
        server: ServerPath,
    },
    /// Change a server's share at run time
    Weight {
        /// SERVICE/SERVER
        #[arg(value_name = "SERVICE/SERVER", value_parser = server_path)]
        server: ServerPath,
        /// 0 to 65535; 0 gives it no new flows
        weight: u16,
    },
    /// Operate VRRP
    Vrrp {
        #[command(subcommand)]
        what: VrrpVerb,
    },
    /// Print the JSON Schema of the configuration
    Schema,
    /// Print shell completions
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man {
        /// Write one page per verb into this directory instead
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum VrrpVerb {
    /// Step down: let another director be Active, for as long as one is heard
    Resign {
        /// Only this instance and its group
        instance: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub(crate) config: PathBuf,
    /// State directory (overlay, last accepted file); default: `management.state`
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Start from the last accepted file in DIR when the configuration is refused
    #[arg(long, value_name = "DIR")]
    pub(crate) last_good: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// YAML file
    pub(crate) file: Option<PathBuf>,
    /// Allow removing more than half of the services or servers
    #[arg(long)]
    pub(crate) allow_shrink: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Json {
    /// Print JSON
    #[arg(short, long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(subcommand)]
    pub(crate) noun: Noun,
    /// Print JSON
    #[arg(short, long, global = true)]
    pub(crate) json: bool,
    /// Numeric output (the default; accepted for the habit)
    #[arg(short, long, global = true)]
    pub(crate) numeric: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Services and their servers
    Services,
    /// Servers of all services
    Servers,
    /// Flows, filtered on the daemon's side
    Flows(FlowFilter),
    /// Ports: link, traffic, errors
    Ports,
    /// Workers: load, flows, conservation of frames
    Workers,
    /// Neighbours (ARP/ND) that forwarding uses
    Neighbours,
    /// Routes that forwarding uses
    Routes,
    /// VRRP: who is Active, since when, why, and what the peer advertises
    Vrrp,
    /// Who answers ARP and ND for the VIPs, and who does without right
    Arp,
    /// Why frames were dropped
    Drops,
    /// Health checks; with SERVICE/SERVER: the last results
    Health {
        /// SERVICE/SERVER
        #[arg(value_name = "SERVICE/SERVER", value_parser = server_path)]
        server: Option<ServerPath>,
    },
}

#[derive(Debug, Default, Args)]
pub(crate) struct FlowFilter {
    /// Only flows of this service
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// Only flows of this server (name or address)
    #[arg(long, value_name = "NAME")]
    pub(crate) server: Option<String>,
    /// Only flows of this client (address, or address:port)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) client: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Protocol
    pub(crate) protocol: ExplainProtocol,
    /// Client: an address and a port, IPv6 in brackets
    #[arg(value_name = "SRC:SPORT")]
    pub(crate) source: std::net::SocketAddr,
    /// VIP: an address and a port, IPv6 in brackets
    #[arg(value_name = "VIP:PORT")]
    pub(crate) vip: std::net::SocketAddr,
    /// Print JSON
    #[arg(short, long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ExplainProtocol {
    Tcp,
    Udp,
}

/// A server, named by its service and its own name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerPath {
    pub(crate) service: String,
    pub(crate) server: String,
}

fn server_path(text: &str) -> Result<ServerPath, String> {
    match text.split_once('/') {
        Some((service, server)) if !service.is_empty() && !server.is_empty() => Ok(ServerPath {
            service: service.into(),
            server: server.into(),
        }),
        _ => Err("expected SERVICE/SERVER, such as web/web1 (see `weir show servers`)".into()),
    }
}

/// `90s`, `10m`, `2h`, `500ms`.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number
        .parse()
        .map_err(|_| "expected a time such as 90s or 10m")?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("expected a unit: ms, s, m or h".into()),
    };
    Ok(std::time::Duration::from_millis(
        number.saturating_mul(millis),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("90s"), Ok(std::time::Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(std::time::Duration::from_secs(600)));
        assert!(duration("10").is_err());
        assert!(duration("m").is_err());
    }

    #[test]
    fn a_server_is_named_with_its_service() {
        assert!(server_path("web").is_err());
        assert!(server_path("/a").is_err());
        assert_eq!(
            server_path("web/[2001:db8::1]").expect("ok").server,
            "[2001:db8::1]"
        );
    }
}
