//! Kernel TAP devices behind a safe API.
