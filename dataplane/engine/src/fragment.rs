//! Fragments: later ones carry no L4 ports and must go where their first fragment went.
//!
//! Nothing is reassembled. A fragment owner (see [`crate::steering`]) remembers the ports of first
//! fragments in a [`table`] and passes later ones on with them.

pub mod table;
