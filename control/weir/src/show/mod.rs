//! Views as text: what `weir show`, `weir status` and `weir explain` print.

mod health;
mod machine;
mod services;
mod status;
mod traffic;
mod vips;

pub(crate) use health::{list as health, one as one_health};
pub(crate) use machine::{neighbours, ports, routes, workers};
pub(crate) use services::{servers, services};
pub(crate) use status::status;
pub(crate) use traffic::{drops, explanation, flows};
pub(crate) use vips::{arp, vrrp};

use crate::views::InOut;

/// `3.2M`: three digits that matter, for people. `--json` has them all.
pub(crate) fn short(count: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1_000_000_000_000, "T"),
        (1_000_000_000, "G"),
        (1_000_000, "M"),
        (100_000, "k"),
    ];
    for (size, unit) in UNITS {
        if count >= size {
            let size = if unit == "k" { 1_000 } else { size };
            let tenths = count / (size / 10);
            return if tenths >= 1_000 {
                format!("{}{unit}", tenths / 10)
            } else {
                format!("{}.{}{unit}", tenths / 10, tenths % 10)
            };
        }
    }
    count.to_string()
}

/// `4m12s`, `3d4h`: the two largest units.
pub(crate) fn span(seconds: f64) -> String {
    let s = std::time::Duration::try_from_secs_f64(seconds)
        .unwrap_or_default()
        .as_secs();
    match s {
        0..60 if seconds < 10.0 => format!("{seconds:.1}s"),
        0..60 => format!("{s}s"),
        60..3_600 => format!("{}m{}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h{}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d{}h", s / 86_400, s % 86_400 / 3_600),
    }
}

fn both(count: InOut) -> String {
    format!("{}/{}", short(count.incoming), short(count.outgoing))
}

fn endpoint(address: &str, port: &str) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_keep_three_digits_that_matter() {
        assert_eq!(short(99_999), "99999");
        assert_eq!(short(123_456), "123k");
        assert_eq!(short(1_234_567), "1.2M");
        assert_eq!(short(12_345_678_901), "12.3G");
    }

    #[test]
    fn spans_show_the_two_largest_units() {
        assert_eq!(span(0.25), "0.2s");
        assert_eq!(span(252.0), "4m12s");
        assert_eq!(span(90_000.0), "1d1h");
    }
}
