//! Flows: which connection was given to which server, and what state it is in.
//!
//! [`FlowTable`] has a fixed capacity and is owned by one worker. It never grows, rehashes, locks
//! or allocates. [`tcp`] holds IPVS's TCP states and time-outs. What a flow's packets are turned
//! into is not decided here.

mod bucket;
mod entry;
mod key;
mod table;
pub mod tcp;
mod translation;

pub use bucket::Bucket;
pub use entry::{FlowEntry, FlowState, ReturnPath};
pub use key::{FlowHash, FlowKey, HashKey};
pub use table::batch::{Hint, Moment};
pub use table::insert::InsertError;
pub use table::{
    Change, Direction, Ended, ExpireStep, FlowIndex, FlowMemory, FlowTable, Found, NewFlow,
    Observed,
};
pub(crate) use translation::Translation;
