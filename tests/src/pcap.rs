//! Capture files in the classic pcap format, which DPDK's `net_pcap`, tcpdump and Wireshark share.
//!
//! Reads both byte orders and both resolutions, writes little endian microseconds. Time stamps are
//! not kept: replays compare what left and in which order.

use std::path::Path;
use std::{fs, io};

/// Link type 1: Ethernet.
const LINKTYPE_ETHERNET: u32 = 1;
/// Octets of a frame that are captured at most.
const SNAP_LEN: u32 = 65_535;
const FILE_HEADER_LEN: usize = 24;
const RECORD_HEADER_LEN: usize = 16;
const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;

/// Writes `frames` to `path`, a microsecond apart.
///
/// # Errors
/// Whatever the file system says, and `InvalidInput` for a frame over 65,535 octets.
pub fn write(path: &Path, frames: &[Vec<u8>]) -> io::Result<()> {
    let mut out = Vec::new();
    let (zone, accuracy) = (0_u32, 0_u32);
    out.extend(MAGIC_MICROS.to_le_bytes());
    out.extend([2, 0, 4, 0]); // version 2.4
    for word in [zone, accuracy, SNAP_LEN, LINKTYPE_ETHERNET] {
        out.extend(word.to_le_bytes());
    }
    for (micros, frame) in (0_u32..).zip(frames) {
        let len = u16::try_from(frame.len()).map_err(io::Error::other)?;
        for word in [0, micros, len.into(), len.into()] {
            out.extend(word.to_le_bytes());
        }
        out.extend(frame);
    }
    fs::write(path, out)
}

/// The frames in the file at `path`.
///
/// # Errors
/// Whatever the file system says, and `InvalidData` if this is no capture of Ethernet, or one that
/// was cut off.
pub fn read(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    frames(&fs::read(path)?).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: no pcap", path.display()),
        )
    })
}

/// The frames in the octets of a file; `None` if they are no whole capture of Ethernet.
pub fn frames(file: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (header, mut rest) = file.split_at_checked(FILE_HEADER_LEN)?;
    let magic: [u8; 4] = *header.first_chunk()?;
    let is = |number: [u8; 4]| magic == number;
    let little = is(MAGIC_MICROS.to_le_bytes()) || is(MAGIC_NANOS.to_le_bytes());
    if !little && !is(MAGIC_MICROS.to_be_bytes()) && !is(MAGIC_NANOS.to_be_bytes()) {
        return None;
    }
    let word = |bytes: &[u8], at: usize| -> Option<u32> {
        let word = *bytes.get(at..)?.first_chunk()?;
        Some(if little {
            u32::from_le_bytes(word)
        } else {
            u32::from_be_bytes(word)
        })
    };
    if word(header, 20)? != LINKTYPE_ETHERNET {
        return None;
    }
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (record, after) = rest.split_at_checked(RECORD_HEADER_LEN)?;
        let len = usize::try_from(word(record, 8)?).ok()?;
        let (frame, after) = after.split_at_checked(len)?;
        frames.push(frame.to_vec());
        rest = after;
    }
    Some(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let path = std::env::temp_dir().join(format!("weir-pcap-{}.pcap", std::process::id()));
        let sent = vec![vec![1; 60], vec![], vec![7; 1514]];
        write(&path, &sent).expect("the temporary directory is writable");
        let got = read(&path);
        fs::remove_file(&path).expect("it was just written");
        assert_eq!(got.expect("a capture"), sent);
    }

    #[test]
    fn a_capture_that_was_cut_off_or_is_something_else_is_refused() {
        let mut file = MAGIC_MICROS.to_be_bytes().to_vec();
        file.extend([
            0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 1,
        ]);
        assert_eq!(frames(&file), Some(vec![]), "big endian, empty");
        file.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2, 9, 9]);
        assert_eq!(frames(&file), Some(vec![vec![9, 9]]));
        let whole = file.len();
        assert!(
            (0..whole)
                .filter(|len| frames(&file[..*len]).is_some())
                .eq([24])
        );
        file[23] = 101; // raw IP
        assert_eq!(frames(&file), None);
    }
}
