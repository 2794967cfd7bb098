//! Bytes to meaning and back: header views, checksums, one-pass parse.
#![forbid(unsafe_code)]
