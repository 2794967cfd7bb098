//! Words to values: durations, sizes, numbers, addresses, devices.
//!
//! Every function is pure and total. An error is a remedy for the operator, in a few words; the
//! caller says what was expected and where.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::types::{L4Port, MacAddr, Prefix};

/// Why a word is not a value: a remedy, or empty if what is allowed says enough.
pub(super) type Remedy = String;

/// A decimal number of at most 64 bits.
pub(super) fn int(text: &str) -> Result<u64, Remedy> {
    if text.len() > 1 && text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("write it without leading zeros".into());
    }
    if text.contains('_') || text.starts_with("0x") || text.starts_with("0o") {
        return Err("write it in plain decimal digits".into());
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Remedy::new());
    }
    // Only overflow is left; every bound is far below, so the largest value says the same.
    Ok(text.parse().unwrap_or(u64::MAX))
}

/// A whole number that may begin with a sign.
pub(super) fn signed(text: &str) -> Result<i64, Remedy> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    Ok(sign * i64::try_from(int(digits)?).unwrap_or(i64::MAX))
}

/// A number with its unit: `("500", "ms")`.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((int(number).ok()?, unit))
}

/// `500ms`, `2s`, `5m`, `1h`.
pub(super) fn duration(text: &str) -> Result<Duration, Remedy> {
    let (number, unit) = split_unit(text).ok_or_else(Remedy::new)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => return Err(format!("add a unit: `{number}s` or `{number}ms`")),
        _ => return Err("units are ms, s, m and h".into()),
    };
    Ok(Duration::from_millis(number.saturating_mul(millis)))
}

/// As the operator would write it, in the largest unit that fits.
pub(super) fn show_duration(value: Duration) -> String {
    let millis = value.as_millis();
    match millis {
        0 => "0s".into(),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    }
}

/// `256B`, `64KiB`, `2MiB`, in octets.
pub(super) fn size(text: &str) -> Result<u64, Remedy> {
    let (number, unit) = split_unit(text).ok_or_else(Remedy::new)?;
    let octets = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "" => return Err(format!("add a unit: `{number}B` or `{number}KiB`")),
        _ => return Err("units are B, KiB, MiB and GiB".into()),
    };
    Ok(number.saturating_mul(octets))
}

/// As the operator would write it, in the largest unit that fits.
pub(super) fn show_size(octets: u64) -> String {
    match octets {
        _ if octets > 0 && octets.is_multiple_of(1 << 20) => format!("{}MiB", octets >> 20),
        _ if octets > 0 && octets.is_multiple_of(1 << 10) => format!("{}KiB", octets >> 10),
        _ => format!("{octets}B"),
    }
}

/// One number, or two with a `-` between: `8000-8100`. First ≤ last.
pub(super) fn range(text: &str) -> Result<(u64, u64), Remedy> {
    let Some((first, last)) = text.split_once('-') else {
        return int(text).map(|one| (one, one));
    };
    let (first, last) = (int(first.trim())?, int(last.trim())?);
    if first > last {
        return Err(format!("turn it round: `{last}-{first}`"));
    }
    Ok((first, last))
}

/// The address of one host: IPv4 or IPv6, unicast, not loopback.
pub(super) fn address(text: &str) -> Result<IpAddr, Remedy> {
    let parsed: IpAddr = text.parse().map_err(|_| match text.split_once('/') {
        Some((host, _)) => format!("leave the prefix length out: `{host}`"),
        None if text.starts_with('[') => "leave the brackets out".into(),
        None if text.contains('%') => "leave the zone out; the port is known".into(),
        None if text.parse::<SocketAddr>().is_ok() => {
            "leave the port out; `port` is its key".into()
        }
        None if text.contains(|c: char| c.is_ascii_alphabetic() && !c.is_ascii_hexdigit()) => {
            "host names are not resolved; write the address".into()
        }
        None => Remedy::new(),
    })?;
    unicast(parsed)?;
    Ok(parsed)
}

fn unicast(address: IpAddr) -> Result<(), Remedy> {
    if address.is_unspecified() {
        return Err("the unspecified address names no host".into());
    }
    if address.is_multicast() {
        return Err("a multicast address names no single host".into());
    }
    if address.is_loopback() {
        return Err("a loopback address never leaves this machine".into());
    }
    match address {
        IpAddr::V4(v4) if v4.is_broadcast() => Err("a broadcast address names no host".into()),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(Ok(()), |v4| {
            Err(format!("write the IPv4 address itself: `{v4}`"))
        }),
        IpAddr::V4(_) => Ok(()),
    }
}

/// An address with its prefix length: `192.0.2.2/24`.
pub(super) fn prefix(text: &str) -> Result<Prefix, Remedy> {
    let Some((host, len)) = text.split_once('/') else {
        let len = if text.contains(':') { 64 } else { 24 };
        return match address(text) {
            Ok(host) => Err(format!("add the prefix length, such as `{host}/{len}`")),
            Err(remedy) => Err(remedy),
        };
    };
    let address = address(host)?;
    let len_max = if address.is_ipv4() { 32 } else { 128 };
    let len = int(len).ok().filter(|len| (1..=len_max).contains(len));
    let len = len.and_then(|len| u8::try_from(len).ok());
    let len = len.ok_or_else(|| format!("the prefix length is 1 to {len_max}"))?;
    if let IpAddr::V4(v4) = address {
        let host_bits = u32::MAX.checked_shr(u32::from(len)).unwrap_or(0);
        // RFC 3021: in a /31 both addresses are hosts.
        if len < 31 && v4.to_bits() & host_bits == 0 {
            return Err("this is the network's address; give the host's own".into());
        }
        if len < 31 && v4.to_bits() & host_bits == host_bits {
            return Err("this is the network's broadcast address; give the host's own".into());
        }
    }
    Ok(Prefix { address, len })
}

/// A network with its prefix length, host bits zero: `0.0.0.0/0`.
pub(super) fn network(text: &str) -> Result<Prefix, Remedy> {
    let (host, len) = text
        .split_once('/')
        .ok_or_else(|| "add the prefix length, such as `/24`".to_owned())?;
    let address: IpAddr = host.parse().map_err(|_| "this is no address".to_owned())?;
    let len_max = if address.is_ipv4() { 32 } else { 128 };
    let len = int(len).ok().filter(|len| *len <= len_max);
    let len = len.and_then(|len| u8::try_from(len).ok());
    let len = len.ok_or_else(|| format!("the prefix length is 0 to {len_max}"))?;
    let network = Prefix { address, len }.network();
    if network != address {
        return Err(format!("the network is {network}/{len}"));
    }
    Ok(Prefix { address, len })
}

/// A listening address: `127.0.0.1:9090`, `[::1]:9090`.
pub(super) fn socket(text: &str) -> Result<SocketAddr, Remedy> {
    text.parse().map_err(|_| match text {
        _ if text.starts_with(':') => format!("name the address: `127.0.0.1{text}`"),
        _ if int(text).is_ok() => format!("name the address: `127.0.0.1:{text}`"),
        _ if text.parse::<IpAddr>().is_ok_and(|a| a.is_ipv4()) => {
            format!("add a port: `{text}:9090`")
        }
        _ if text.parse::<Ipv6Addr>().is_ok() => format!("add a port: `[{text}]:9090`"),
        _ if text.starts_with("localhost") => "write 127.0.0.1 or [::1] for localhost".into(),
        _ => Remedy::new(),
    })
}

/// The MAC address of one station: not zero, not a group.
pub(super) fn mac(text: &str) -> Result<MacAddr, Remedy> {
    let mac: MacAddr = text.parse().map_err(|_| match text {
        _ if text.contains(['-', '.']) => "separate the octets by colons".to_owned(),
        _ => Remedy::new(),
    })?;
    match mac {
        MacAddr::ZERO => Err("the zero address names no station".into()),
        _ if mac.is_multicast() => {
            Err("this is a group address; the first octet must be even".into())
        }
        _ => Ok(mac),
    }
}

/// A device's base name and arguments, before virtual devices are numbered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeviceText {
    /// A PCI address, or a driver with or without its number.
    pub name: String,
    /// What followed the first comma.
    pub args: String,
    /// Whether `name` is a PCI address.
    pub pci: bool,
}

/// `0000:03:00.0`, `net_af_xdp,iface=eth1`.
pub(super) fn device(text: &str) -> Result<DeviceText, Remedy> {
    let (name, args) = text.split_once(',').unwrap_or((text, ""));
    let name_ok = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'.'));
    if !name_ok || !args.bytes().all(|b| b.is_ascii_graphic()) || text.ends_with(',') {
        return Err("no spaces; arguments follow a comma: `net_af_xdp,iface=eth1`".into());
    }
    if let Some(address) = pci(name) {
        return Ok(DeviceText {
            name: address,
            args: args.to_owned(),
            pci: true,
        });
    }
    if !name.starts_with("net_") && !name.starts_with("virtio_user") {
        return Err(match name {
            _ if name.contains(':') => "a PCI address is `0000:03:00.0`: hexadecimal digits".into(),
            _ => format!("for a kernel interface write `net_af_xdp,iface={name}`"),
        });
    }
    let driver = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let needs_iface = matches!(driver, "net_af_xdp" | "net_af_packet");
    if needs_iface
        && !args
            .split(',')
            .any(|a| a.len() > 6 && a.starts_with("iface="))
    {
        return Err(format!("say which interface: `{name},iface=eth1`"));
    }
    Ok(DeviceText {
        name: name.to_owned(),
        args: args.to_owned(),
        pci: false,
    })
}

/// A PCI address in full and lower case; the domain may be left out.
fn pci(text: &str) -> Option<String> {
    let hex = |s: &str, len: usize| s.len() == len && s.bytes().all(|b| b.is_ascii_hexdigit());
    let (head, function) = text.split_once('.')?;
    let parts: Vec<&str> = head.split(':').collect();
    let (domain, bus, device) = match parts[..] {
        [bus, device] => ("0000", bus, device),
        [domain, bus, device] => (domain, bus, device),
        _ => return None,
    };
    let ok = hex(domain, 4) && hex(bus, 2) && hex(device, 2) && hex(function, 1);
    ok.then(|| format!("{domain}:{bus}:{device}.{function}").to_lowercase())
}

/// A name of ours: letters, digits and `_ . : -`, so that metrics and the command line take it.
pub(super) fn name(text: &str) -> Result<(), Remedy> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-');
    if text.is_empty() || text.len() > NAME_LEN_MAX || !text.bytes().all(inner) {
        return Err(Remedy::new());
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err("begin with a letter or digit".into());
    }
    Ok(())
}

/// Longest name of a service, server, check or instance, in octets.
pub(super) const NAME_LEN_MAX: usize = 63;
/// Longest name of a port: `IFNAMSIZ` less its terminator.
pub(super) const PORT_NAME_LEN_MAX: usize = 15;

/// A name that the kernel takes for an interface.
pub(super) fn port_name(text: &str) -> Result<(), Remedy> {
    if text.len() > PORT_NAME_LEN_MAX {
        return Err(format!("{} characters are too many", text.chars().count()));
    }
    // The kernel refuses `:`, and keeps `all` and `default` for its own settings.
    if text.contains(':') {
        return Err(Remedy::new());
    }
    if matches!(text, "lo" | "all" | "default") {
        return Err("the kernel keeps this name for itself".into());
    }
    name(text)
}

/// The target of an HTTP request: `/healthz?full=1`.
pub(super) fn url(text: &str) -> Result<(), Remedy> {
    if text.contains("://") {
        return Err("give the path alone; the server's address is known".into());
    }
    if !text.starts_with('/') {
        return Err(format!("begin with `/`: `/{text}`"));
    }
    // Spaces and controls would end the request line (RFC 9112 §3).
    if text.contains('#') || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("percent-encode spaces and other characters, and leave `#` out".into());
    }
    Ok(())
}

/// A `Host` header: a name or an address, with or without a port.
pub(super) fn host(text: &str) -> Result<(), Remedy> {
    let ok =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':' | b'[' | b']');
    if text.is_empty() || !text.bytes().all(ok) {
        Err(Remedy::new())
    } else {
        Ok(())
    }
}

/// 64 hexadecimal digits.
pub(super) fn sha256(text: &str) -> Result<[u8; 32], Remedy> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Remedy::new());
    }
    let mut octets = [0; 32];
    for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| Remedy::new())?;
        *octet = u8::from_str_radix(pair, 16).map_err(|_| Remedy::new())?;
    }
    Ok(octets)
}

/// A domain name, with or without the final dot (RFC 1035 §2.3.4).
pub(super) fn domain(text: &str) -> Result<(), Remedy> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(letter);
    if name.len() <= 253 && name.split('.').all(label) {
        Ok(())
    } else {
        Err(Remedy::new())
    }
}

/// A header field's name (a token of RFC 9110 §5.6.2), and after a colon a part of its value.
pub(super) fn header(text: &str) -> Result<(), Remedy> {
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let name = name.trim_end();
    if name.is_empty() || !name.bytes().all(token) || value.chars().any(char::is_control) {
        Err(Remedy::new())
    } else {
        Ok(())
    }
}

/// An absolute path without `..`.
pub(super) fn path(text: &str) -> Result<(), Remedy> {
    if !text.starts_with('/') {
        return Err("begin with `/`: the daemon has no directory of its own".into());
    }
    if text.chars().any(char::is_control) || text.split('/').any(|part| part == "..") {
        return Err("write the path without `..` and control characters".into());
    }
    Ok(())
}

/// The path of a unix socket: also short enough for `sun_path`, 107 octets and a terminator.
pub(super) fn socket_path(text: &str) -> Result<(), Remedy> {
    if text.len() > 107 {
        return Err("the kernel takes at most 107 octets".into());
    }
    path(text)
}

/// Whether `n` is a prime; by trial division, at most 4096 steps for the sizes allowed.
pub(super) fn is_prime(n: u32) -> bool {
    n >= 2
        && (2..)
            .take_while(|d| d * d <= n)
            .all(|d| !n.is_multiple_of(d))
}

/// The primes next to `n` on both sides.
pub(super) fn primes_around(n: u32) -> (u32, u32) {
    let below = (2..=n).rev().find(|&p| is_prime(p)).unwrap_or(2);
    let above = (n.max(2)..).find(|&p| is_prime(p)).unwrap_or(2);
    (below, above)
}

/// An address with a port, as everywhere in Weir: `192.0.2.1:80`, `[2001:db8::1]:80`.
pub(super) fn endpoint(address: IpAddr, port: L4Port) -> String {
    SocketAddr::new(address, port.0).to_string()
}

#[cfg(test)]
mod tests;
