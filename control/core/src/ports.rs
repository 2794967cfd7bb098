//! What the binary found out about each configured port when it opened its device.

use weir_engine::id::DeviceId;
use weir_wire::addr::MacAddr;

/// Facts of one port, by position in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFact {
    /// The device that carries it.
    pub device: DeviceId,
    /// The MAC that it really has.
    pub mac: MacAddr,
    /// The MTU that it really has, in octets of IP.
    pub mtu: u16,
}
