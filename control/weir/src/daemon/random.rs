//! Secrets of this start, from the kernel.

use std::fs::File;
use std::io::Read as _;

use anyhow::Context as _;

/// `N` random octets (random(4)).
pub(crate) fn octets<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut octets = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut device| device.read_exact(&mut octets))
        .context("/dev/urandom")?;
    Ok(octets)
}

/// A random number.
pub(crate) fn word() -> anyhow::Result<u64> {
    Ok(u64::from_ne_bytes(octets()?))
}
