//! Keeps the kernel off a netdev that carries a port (net_af_packet, net_af_xdp).
//!
//! Such a device gives the kernel every frame too, and its stack would answer and forward them a
//! second time. A netfilter chain at the device's ingress drops them, after packet sockets and
//! XDP have had theirs; `arp_ignore=8` and `disable_ipv6=1` silence the stack's own words. The
//! chain's table is *owned*: it ends with our socket, so even `kill -9` leaves none behind. The
//! sysctls' former values are kept in the state directory until they are back.
//!
//! Spoken directly to nf_tables over netlink (linux/netfilter/nf_tables.h), because the `nft`
//! program may be missing and cannot own a table for us.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use crate::overlay;
use crate::taps::sysctl;

/// Settings that silence a netdev's own stack, below `/proc/sys/net`.
const SETTINGS: [(&str, &str); 2] = [
    ("ipv4/conf/NAME/arp_ignore", "8"),
    ("ipv6/conf/NAME/disable_ipv6", "1"),
];

/// nf_tables' numbers.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const FAMILY_NETDEV: u8 = 5;
const TABLE_OWNED: u32 = 2;
const NESTED: u16 = 0x8000;
/// NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE.
const REQUEST: u16 = 0x001;
const ACK: u16 = 0x004;
const CREATE: u16 = 0x400;
/// NLMSG_ERROR; with error 0 it is the acknowledgement.
const ANSWER: u16 = 2;

/// Why the kernel could not be kept off a device.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// There is no such netdev.
    #[error("device {netdev:?}: no such network interface here; fix: `iface=` of the port")]
    Missing {
        /// The netdev.
        netdev: String,
    },
    /// The ingress drop could not be installed.
    #[error(
        "device {netdev:?}: no ingress drop, so the kernel would answer too: {source}; fix: a \
         kernel with nf_tables and NETFILTER_INGRESS (modprobe nf_tables), and CAP_NET_ADMIN"
    )]
    Netfilter {
        /// The netdev.
        netdev: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A sysctl could not be set.
    #[error("device {netdev:?}: {setting}: {source}")]
    Setting {
        /// The netdev.
        netdev: String,
        /// The setting, below `/proc/sys/net`.
        setting: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The kernel is off a netdev for as long as this lives.
pub struct Guard {
    netdev: String,
    /// Owner of the nf_tables table.
    _socket: Socket,
    /// What the settings were before.
    former: BTreeMap<String, String>,
    record: Option<PathBuf>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("netdev", &self.netdev)
            .finish_non_exhaustive()
    }
}

impl Guard {
    /// Silences the stack above `netdev` and drops what comes in there. What a killed process
    /// left is taken over: `state` says what the settings were before it.
    ///
    /// # Errors
    /// [`GuardError`] names device and remedy; what was done until then is undone.
    pub fn open(netdev: &str, state: Option<&Path>) -> Result<Self, GuardError> {
        if !Path::new(&format!("/proc/sys/net/ipv4/conf/{netdev}")).exists() {
            return Err(GuardError::Missing {
                netdev: netdev.into(),
            });
        }
        let netfilter = |source| GuardError::Netfilter {
            netdev: netdev.into(),
            source,
        };
        let mut guard = Self {
            netdev: netdev.into(),
            _socket: drop_ingress(netdev).map_err(netfilter)?,
            former: BTreeMap::new(),
            record: state.map(|state| state.join(format!("netdev-{netdev}.json"))),
        };
        guard.former = guard.remember();
        for (setting, value) in SETTINGS {
            let setting = setting.replace("NAME", netdev);
            if let Err(source) = sysctl(&setting, value)
                && source.kind() != io::ErrorKind::NotFound
            {
                return Err(GuardError::Setting {
                    netdev: netdev.into(),
                    setting,
                    source,
                });
            }
        }
        Ok(guard)
    }

    /// The netdev.
    pub fn netdev(&self) -> &str {
        &self.netdev
    }

    /// The settings as they were before Weir, from a killed process's record if there is one.
    fn remember(&self) -> BTreeMap<String, String> {
        let recorded = self.record.as_ref().and_then(|path| fs::read(path).ok());
        if let Some(Ok(former)) = recorded.map(|bytes| serde_json::from_slice(&bytes)) {
            return former;
        }
        let former = SETTINGS.iter().filter_map(|(setting, _)| {
            let setting = setting.replace("NAME", &self.netdev);
            let value = fs::read_to_string(format!("/proc/sys/net/{setting}")).ok()?;
            Some((setting, value.trim().to_owned()))
        });
        let former: BTreeMap<String, String> = former.collect();
        if let Some(path) = &self.record
            && let Ok(bytes) = serde_json::to_vec(&former)
            && let Err(error) = overlay::replace(path, &bytes)
        {
            tracing::warn!(%error, "settings of {} are not recorded", self.netdev);
        }
        former
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        for (setting, value) in &self.former {
            // Only these settings are ours, whatever a record claims; the netdev may be gone.
            if SETTINGS
                .iter()
                .any(|(ours, _)| ours.replace("NAME", &self.netdev) == *setting)
            {
                let _ = sysctl(setting, value);
            }
        }
        if let Some(path) = &self.record {
            let _ = fs::remove_file(path);
        }
    }
}

/// Makes an owned table with one chain, whose policy drops all that `netdev` receives. The table
/// lives as long as the socket.
fn drop_ingress(netdev: &str) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let table = format!("weir-{netdev}");
    let mut batch = Vec::new();
    message(&mut batch, (BATCH_BEGIN, REQUEST), (0, SUBSYSTEM), &[]);
    let attributes = [
        attribute(1, &text(&table)),
        attribute(2, &TABLE_OWNED.to_be_bytes()),
    ]
    .concat();
    message(
        &mut batch,
        (NEW_TABLE, REQUEST | CREATE | ACK),
        (FAMILY_NETDEV, 0),
        &attributes,
    );
    let hook = [
        attribute(1, &0u32.to_be_bytes()), // NF_NETDEV_INGRESS
        attribute(2, &(-500i32).to_be_bytes()),
        attribute(3, &text(netdev)),
    ];
    let attributes = [
        attribute(1, &text(&table)),
        attribute(3, &text("ingress")),
        attribute(4 | NESTED, &hook.concat()),
        attribute(5, &0u32.to_be_bytes()), // NF_DROP
        attribute(7, &text("filter")),
    ];
    let kind = (NEW_CHAIN, REQUEST | CREATE | ACK);
    message(&mut batch, kind, (FAMILY_NETDEV, 0), &attributes.concat());
    message(&mut batch, (BATCH_END, REQUEST), (0, SUBSYSTEM), &[]);
    socket.send(&batch, 0)?;
    // Both answers may share a datagram; the first error is the reason.
    let mut answers = 0;
    while answers < 2 {
        let (bytes, _) = socket.recv_from_full()?;
        answers += acknowledgements(&bytes)?;
    }
    Ok(socket)
}

/// Counts acknowledgements.
fn acknowledgements(mut bytes: &[u8]) -> io::Result<usize> {
    let mut count = 0;
    while let Some((&[a, b, c, d, e, f, ..], rest)) = bytes.split_first_chunk::<16>() {
        let len = u32::from_ne_bytes([a, b, c, d]) as usize;
        if u16::from_ne_bytes([e, f]) == ANSWER {
            let code = rest
                .first_chunk()
                .map_or(0, |code| i32::from_ne_bytes(*code));
            if code != 0 {
                return Err(io::Error::from_raw_os_error(-code));
            }
            count += 1;
        }
        bytes = bytes
            .get(len.next_multiple_of(4).max(16)..)
            .unwrap_or_default();
    }
    Ok(count)
}

/// Appends a netlink message: header, nfgenmsg, attributes.
fn message(out: &mut Vec<u8>, (kind, flags): (u16, u16), to: (u8, u16), attributes: &[u8]) {
    let (family, resource) = to;
    let len = u32::try_from(20 + attributes.len()).unwrap_or(u32::MAX);
    let sequence = u32::try_from(out.len()).unwrap_or(0);
    out.extend(len.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend([0; 4]); // from us
    out.extend([family, 0]);
    out.extend(resource.to_be_bytes());
    out.extend(attributes);
}

/// One attribute, padded to four octets.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A string as nf_tables wants it.
fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::testing::Namespace;

    fn answers_ping(namespace: &Namespace) -> bool {
        let all = [
            "netns",
            "exec",
            namespace.name(),
            "ping",
            "-c1",
            "-W1",
            "192.0.2.1",
        ];
        let output = Command::new("ip").args(all).output().unwrap();
        output.status.success()
    }

    fn setting(path: &str) -> String {
        fs::read_to_string(format!("/proc/sys/net/{path}"))
            .unwrap()
            .trim()
            .to_owned()
    }

    #[test]
    fn a_guarded_netdev_is_silent_and_as_before_afterwards() {
        let Some(here) = Namespace::new("guard") else {
            return;
        };
        let Some(peer) = Namespace::new("guard-peer") else {
            return;
        };
        here.ip(&format!(
            "link add name veth0 type veth peer name veth0 netns {}",
            peer.name()
        ));
        here.ip("addr add 192.0.2.1/24 dev veth0");
        here.ip("link set veth0 up");
        peer.ip("addr add 192.0.2.2/24 dev veth0");
        peer.ip("link set veth0 up");
        let state = std::env::temp_dir().join(format!("weir-guard-{}", std::process::id()));
        fs::create_dir_all(&state).unwrap();
        here.run(|| {
            assert!(answers_ping(&peer), "the link works");
            let guard = Guard::open("veth0", Some(&state)).unwrap();
            assert!(!answers_ping(&peer), "the kernel is off the device");
            assert_eq!(setting("ipv4/conf/veth0/arp_ignore"), "8");
            assert!(state.join("netdev-veth0.json").exists());
            drop(guard);
            assert!(answers_ping(&peer), "the drop ended with the guard");
            assert_eq!(setting("ipv4/conf/veth0/arp_ignore"), "0");
            assert_eq!(setting("ipv6/conf/veth0/disable_ipv6"), "0");
            assert!(!state.join("netdev-veth0.json").exists());
        });
        fs::remove_dir_all(&state).unwrap();
    }

    #[test]
    fn settings_left_by_a_killed_process_are_restored_by_the_next() {
        let Some(here) = Namespace::new("guard-kill") else {
            return;
        };
        here.ip("link add name veth0 type veth peer name veth1");
        let state = std::env::temp_dir().join(format!("weir-kill-{}", std::process::id()));
        fs::create_dir_all(&state).unwrap();
        here.run(|| {
            let record = br#"{"ipv4/conf/veth0/arp_ignore":"2","ipv4/conf/veth0/rp_filter":"7"}"#;
            fs::write(state.join("netdev-veth0.json"), record).unwrap();
            sysctl("ipv4/conf/veth0/arp_ignore", "8").unwrap();
            drop(Guard::open("veth0", Some(&state)).unwrap());
            assert_eq!(setting("ipv4/conf/veth0/arp_ignore"), "2");
        });
        fs::remove_dir_all(&state).unwrap();
    }

    #[test]
    fn a_missing_netdev_is_named() {
        let error = Guard::open("weirnone0", None).unwrap_err().to_string();
        assert!(error.contains("weirnone0"), "{error}");
    }
}
