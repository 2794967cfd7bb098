//! Frames for tests: recorded ones, and builders for what nobody records.

use crate::checksum;

/// Octets from hexadecimal digits.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).expect("samples are hexadecimal");
    let octet = |pair: &[u8]| u8::try_from(digit(pair[0]) * 16 + digit(pair[1])).unwrap();
    text.as_bytes().chunks(2).map(octet).collect()
}

/// Recorded from Linux IPVS: 172.16.0.5:40001 > 10.9.9.9:80 SYN, MSS 1460 and other options.
pub(crate) const TCP_V4_SYN: &str = "\
    0200000001000200000002fe08004500003c0000400040067b95ac1000050a0909099c410050000003e80000\
    0000a002faf0ed6d0000020405b40402080a000000010000000001030307";
/// Recorded from Linux IPVS: 172.16.0.5:40001 > 10.9.9.9:80 ACK.
pub(crate) const TCP_V4_ACK: &str = "\
    0200000001000200000002fe0800450000280000400040067ba9ac1000050a0909099c4100500000004d0000\
    00635010faf0587b0000";
/// Recorded from Linux IPVS: 172.16.0.5:40001 > 10.9.9.9:9999 SYN without options.
pub(crate) const TCP_V4_UNSERVED: &str = "\
    0200000001000200000002fe0800450000280000400040067ba9ac1000050a0909099c41270f000003e80000\
    00005002faf02e920000";
/// Recorded from Linux IPVS: 172.16.0.5:40001 > 10.9.9.9:53 "q1".
pub(crate) const UDP_V4: &str = "\
    0200000001000200000002fe08004500001e0000400040117ba8ac1000050a0909099c410035000a330b7131";
/// Recorded from Linux IPVS: 172.16.0.5:40001 > 10.9.9.9:5353 "q2", no UDP checksum.
pub(crate) const UDP_V4_NO_SUM: &str = "\
    0200000001000200000002fe08004500001e0000400040117ba8ac1000050a0909099c4114e9000a00007132";
/// Recorded from Linux IPVS: frag needed, MTU 1400, from 172.16.99.1 about 10.9.9.9:80 >
/// 172.16.0.5:40001; the quote holds 8 octets of TCP.
pub(crate) const FRAG_NEEDED_V4: &str = "\
    0200000001000200000002fe08004500003800004000400118a2ac1063010a0909090304570a000005784500\
    0028000040003c067fa90a090909ac10000500509c41000003e8";
/// Recorded from Linux IPVS: what NAT made of [`FRAG_NEEDED_V4`] for the server 10.1.0.12:8080.
pub(crate) const FRAG_NEEDED_V4_NATTED: &str = "\
    02000000030c020000000101080045000038000040003f0122a7ac1063010a01000c030437ca000005784500\
    0028000040003c0688ae0a01000cac1000051f909c41000003e8";
/// Recorded from Linux IPVS: echo request from 172.16.0.5 to 10.9.9.9.
pub(crate) const ECHO_V4: &str = "\
    0200000001000200000002fe0800450000540000400040017b82ac1000050a0909090800c891000100017069\
    6e6770696e6770696e6770696e6770696e6770696e6770696e6770696e6770696e6770696e6770696e677069\
    6e6770696e6770696e67";
/// Recorded from Linux IPVS: [2001:db8::5]:40001 > [fd00:9::9]:80 SYN with options.
pub(crate) const TCP_V6_SYN: &str = "\
    0200000001000200000002fe86dd600000000028064020010db8000000000000000000000005fd0000090000\
    000000000000000000099c410050000003e800000000a002faf081c40000020405b40402080a000000010000\
    000001030307";
/// Recorded from Linux IPVS: [2001:db8::5]:40001 > [fd00:9::9]:80 ACK.
pub(crate) const TCP_V6_ACK: &str = "\
    0200000001000200000002fe86dd600000000014064020010db8000000000000000000000005fd0000090000\
    000000000000000000099c410050000003e9000013895010faf0d60f0000";
/// Recorded from Linux IPVS: an IPIP packet to 10.1.0.12 that carries 172.16.0.5:40001 >
/// 10.9.9.9:80 ACK.
pub(crate) const IPIP: &str = "\
    02000000030c02000000010108004500003c000040003f0427b00a0100010a01000c45000028000040003f06\
    7ca9ac1000050a0909099c410050000003e9000013895010faf041b90000";

/// All recorded frames.
pub(crate) fn recorded() -> Vec<Vec<u8>> {
    [
        TCP_V4_SYN,
        TCP_V4_ACK,
        TCP_V4_UNSERVED,
        UDP_V4,
        UDP_V4_NO_SUM,
        FRAG_NEEDED_V4,
        FRAG_NEEDED_V4_NATTED,
        ECHO_V4,
        TCP_V6_SYN,
        TCP_V6_ACK,
        IPIP,
    ]
    .map(hex)
    .into()
}

/// MACs of the built frames.
const MACS: [u8; 12] = [2, 0, 0, 0, 1, 0, 2, 0, 0, 0, 2, 0xfe];

/// An Ethernet frame with `tags` (TPID and TCI) before the EtherType.
pub(crate) fn ethernet(tags: &[[u16; 2]], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = MACS.to_vec();
    for word in tags.iter().flatten() {
        frame.extend(word.to_be_bytes());
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 packet 172.16.0.5 > 10.9.9.9; `options` must be a multiple of 4 octets.
pub(crate) fn ipv4(options: &[u8], fragment: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let total_len = u16::try_from(header_len + payload.len()).unwrap();
    let mut packet = vec![0x40 | u8::try_from(header_len / 4).unwrap(), 0];
    packet.extend(total_len.to_be_bytes());
    packet.extend([0x12, 0x34]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 172, 16, 0, 5, 10, 9, 9, 9]);
    packet.extend(options);
    let sum = checksum::of(&packet);
    packet[10..12].copy_from_slice(&sum.0);
    packet.extend(payload);
    packet
}

/// An IPv6 packet 2001:db8::5 > fd00:9::9 whose payload starts with extension headers, if any.
pub(crate) fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = hex("6000000000000040");
    packet[4..6].copy_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet[6] = next_header;
    packet.extend(hex(
        "20010db8000000000000000000000005fd000009000000000000000000000009",
    ));
    packet.extend(payload);
    packet
}

/// An extension header of `len` octets (a multiple of 8): options that are all padding.
pub(crate) fn extension(next_header: u8, len: usize) -> Vec<u8> {
    let mut header = vec![next_header, u8::try_from(len / 8 - 1).unwrap()];
    header.extend([1, u8::try_from(len - 4).unwrap_or(u8::MAX)]); // PadN; nobody reads it
    header.resize(len, 0);
    header
}

/// An IPv6 Fragment header.
pub(crate) fn fragment_header(next_header: u8, offset: u16, more: bool, id: u32) -> Vec<u8> {
    let mut header = vec![next_header, 0];
    header.extend((offset | u16::from(more)).to_be_bytes());
    header.extend(id.to_be_bytes());
    header
}

/// A TCP header 40001 > 80 of `words` words with these flags.
pub(crate) fn tcp(words: u8, flags: u8) -> Vec<u8> {
    let mut header = hex("9c410050000003e8000000000000faf000000000");
    header[12] = words << 4;
    header[13] = flags;
    header.resize(20.max(usize::from(words) * 4), 1); // No-operations
    header
}

/// A UDP header 40001 > 53 that declares `len`.
pub(crate) fn udp(len: u16) -> Vec<u8> {
    let mut header = hex("9c410035");
    header.extend(len.to_be_bytes());
    header.extend([0x33, 0x0b]);
    header
}
