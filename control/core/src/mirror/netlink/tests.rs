//! The mirror against a real kernel.
