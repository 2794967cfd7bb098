//! How many hugepages the machine has free, and what the operator wants done about it.

use std::fs;
use std::path::Path;

/// What to do about hugepages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hugepages {
    /// Use them if enough are free, else ordinary pages.
    #[default]
    Auto,
    /// Use them or fail.
    Required,
    /// Do not use them.
    Off,
}

/// Octets in free hugepages of all sizes.
#[must_use]
pub fn free_octets() -> usize {
    free_octets_in(Path::new("/sys/kernel/mm/hugepages"))
}

/// As [`free_octets`], below the given directory. What cannot be read counts as none.
fn free_octets_in(root: &Path) -> usize {
    let Ok(sizes) = fs::read_dir(root) else {
        return 0;
    };
    sizes
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let kib: usize = name
                .to_str()?
                .strip_prefix("hugepages-")?
                .strip_suffix("kB")?
                .parse()
                .ok()?;
            let count = |file| -> Option<usize> {
                fs::read_to_string(entry.path().join(file))
                    .ok()?
                    .trim()
                    .parse()
                    .ok()
            };
            // Reserved pages are counted as free until somebody touches them.
            let free = count("free_hugepages")?.saturating_sub(count("resv_hugepages")?);
            free.checked_mul(kib)?.checked_mul(1024)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_pages_of_all_sizes_are_added_and_reserved_ones_are_not_free() {
        let root = std::env::temp_dir().join(format!("weir-hugepages-{}", std::process::id()));
        for (size, free, reserved) in [("2048", "5\n", "2\n"), ("1048576", "1\n", "0\n")] {
            let dir = root.join(format!("hugepages-{size}kB"));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("free_hugepages"), free).unwrap();
            fs::write(dir.join("resv_hugepages"), reserved).unwrap();
        }
        assert_eq!(free_octets_in(&root), 3 * (2 << 20) + (1 << 30));
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(free_octets_in(&root), 0);
    }
}
