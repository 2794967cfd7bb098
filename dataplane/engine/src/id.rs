//! The engine's indices as types, so that no two of them can be swapped.
//!
//! All are dense and start at 0: they index the slices of [`crate::tables::Tables`].

macro_rules! index {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub $int);

        impl $name {
            /// As a slice index.
            #[inline]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

index! {
    /// A DPDK device.
    DeviceId(u16)
}
index! {
    /// A configured port: a device, or one VLAN of it.
    PortId(u16)
}
index! {
    /// A pinned poll-mode core.
    WorkerId(u16)
}
index! {
    /// A service's slot.
    ServiceId(u32)
}

/// A server's slot, and how often the slot was given to another server.
///
/// A flow keeps both. If the slot's generation has moved on, the flow's server is gone and the flow
/// must not be sent to the slot's new owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct ServerId {
    /// The slot.
    pub index: u32,
    /// Counts up each time that the slot changes hands.
    pub generation: u32,
}
