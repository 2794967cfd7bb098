//! The operator's file: strict YAML in, [`Config`] or every mistake at once out.

mod types;

pub use types::*;
