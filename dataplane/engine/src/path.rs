//! Path checks: probes of one server that go the way clients' packets go, from a DIP to a VIP.
//!
//! Their source ports are reserved, so that answers to them are told from everything else that a
//! server may send from a VIP.

/// First of the source ports that path checks use (to 65,535): IANA's dynamic range (RFC 6335
/// section 6).
pub const PORT_FIRST: u16 = 49_152;
