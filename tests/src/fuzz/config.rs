//! Configuration files: any octets give a configuration or a bounded list of mistakes (F7, F20).

use weir_control::config::{self, SHOWN_MAX};

/// Octets of what is shown for one mistake, generously: two lines, a caret, a hint.
const SHOWN_LEN_MAX: usize = 4096;

/// Judges `octets` as a configuration file.
///
/// # Panics
/// If the verdict is not bounded, or not the same the second time.
pub fn config(octets: &[u8]) {
    let verdict = config::parse_bytes("fuzz.yaml", octets);
    match &verdict {
        Ok(loaded) => {
            assert!(config::restart_needed(&loaded.config, &loaded.config).is_empty());
            assert!(config::shrink(&loaded.config, &loaded.config).is_none());
            assert!(
                loaded.config.services.len() <= 8192,
                "as docs/LIMITS.md says"
            );
            assert!(loaded.warnings.len() <= SHOWN_MAX, "warnings are bounded");
        }
        Err(mistakes) => {
            assert!(mistakes.errors > 0, "a file is refused for a reason");
            assert!((1..=SHOWN_MAX).contains(&mistakes.items.len()));
            let shown = mistakes.to_string();
            assert!(
                shown.len() <= mistakes.items.len() * SHOWN_LEN_MAX + 1024,
                "{}",
                shown.len()
            );
        }
    }
    let again = config::parse_bytes("fuzz.yaml", octets);
    assert_eq!(
        verdict.is_ok(),
        again.is_ok(),
        "a verdict does not depend on chance"
    );
}
