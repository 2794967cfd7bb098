//! Decoded values with their places, between the tree and the typed configuration.
//!
//! A [`Fields`] knows which keys were given, which of them were wrong (and reported), and the
//! default of every other, so that typed readers and cross-checks stay short.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::keys::{Key, Section};
use super::tree::Span;
use super::types::{CpuId, L4Port, MacAddr, Prefix, VlanId, Weight};
use super::units::DeviceText;

/// A value of the right type within its bounds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    /// Also sizes, in octets.
    Int(u64),
    Signed(i64),
    /// First and last, equal for a single number.
    Span(u64, u64),
    Text(String),
    Choice(&'static str),
    Duration(Duration),
    Address(IpAddr),
    Prefix(Prefix),
    Mac(MacAddr),
    Socket(SocketAddr),
    Device(DeviceText),
    List(Vec<Item>),
    Fields(Fields),
    Named(Vec<(String, Span, Fields)>),
    /// A shape that only a later release defines.
    Opaque {
        empty: bool,
    },
}

/// A value and its place. Equality is that of the value.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub value: Value,
    pub span: Span,
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// A decoded mapping.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    pub section: &'static Section,
    pub span: Span,
    pub given: Vec<Given>,
    /// Keys that unknown ones are taken for: their absence has been explained.
    pub misspelt: Vec<&'static str>,
}

/// A key that the file gives.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub key: &'static Key,
    pub key_span: Span,
    /// `None` if the value was wrong, which has been reported.
    pub item: Option<Item>,
}

/// Equal where every key means the same, given or by default.
impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.section
            .keys
            .iter()
            .all(|key| self.value(key.name) == other.value(key.name))
    }
}

impl Fields {
    /// A mapping in which nothing is given.
    pub(super) fn empty(section: &'static Section) -> Self {
        Self {
            section,
            span: Span::default(),
            given: Vec::new(),
            misspelt: Vec::new(),
        }
    }

    fn find(&self, name: &str) -> Option<&Given> {
        debug_assert!(self.section.key(name).is_some(), "{name} is no key");
        self.given.iter().find(|given| given.key.name == name)
    }

    /// Whether the file gives the key, rightly or wrongly.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Whether an unknown key was taken for this one.
    pub(super) fn is_misspelt(&self, name: &str) -> bool {
        self.misspelt.contains(&name)
    }

    /// Whether the key's value was wrong, so that nothing should be concluded from it.
    pub(super) fn is_bad(&self, name: &str) -> bool {
        self.find(name).is_some_and(|given| given.item.is_none())
    }

    /// Where the value stands, or else the key, or else the mapping.
    pub(super) fn span_of(&self, name: &str) -> Span {
        match self.find(name) {
            Some(Given {
                item: Some(item), ..
            }) => item.span,
            Some(Given {
                key_span,
                item: None,
                ..
            }) => *key_span,
            None => self.span,
        }
    }

    /// The value, given or by default.
    pub(super) fn value(&self, name: &str) -> Option<Value> {
        match self.find(name) {
            Some(Given {
                item: Some(item), ..
            }) => Some(item.value.clone()),
            Some(Given {
                key, item: None, ..
            }) => key.default_value(),
            None => self.section.key(name)?.default_value(),
        }
    }

    /// The value as `T`, given or by default.
    pub(super) fn read<T: FromValue>(&self, name: &str) -> Option<T> {
        T::from_value(self.value(name)?)
    }

    /// The value as `T` of a key that has a default.
    ///
    /// # Panics
    /// If the table's default or bounds do not fit `T`: a bug, which the test that reads every
    /// table at its defaults, least and greatest values would show.
    pub(super) fn get<T: FromValue>(&self, name: &str) -> T {
        let value = self.value(name).and_then(T::from_value);
        value.expect("the key's table gives a default of this type")
    }

    /// Items of a list key; none if it is absent or wrong.
    pub(super) fn items(&self, name: &str) -> Vec<Item> {
        match self.value(name) {
            Some(Value::List(items)) => items,
            _ => Vec::new(),
        }
    }

    /// Mappings of a list key, borrowed; none if it is absent or wrong.
    pub(super) fn sections(&self, name: &str) -> impl Iterator<Item = &Self> {
        let items = match self.find(name) {
            Some(Given {
                item:
                    Some(Item {
                        value: Value::List(items),
                        ..
                    }),
                ..
            }) => &items[..],
            _ => &[],
        };
        items.iter().filter_map(|item| {
            let Value::Fields(fields) = &item.value else {
                return None;
            };
            Some(fields)
        })
    }

    /// A nested mapping; an empty one of `section` if it is absent or wrong.
    pub(super) fn section(&self, name: &str, section: &'static Section) -> Self {
        match self.value(name) {
            Some(Value::Fields(fields)) => fields,
            _ => Self::empty(section),
        }
    }
}

/// Types that a value turns into.
pub(super) trait FromValue: Sized {
    /// `None` if the value is of another kind.
    fn from_value(value: Value) -> Option<Self>;
}

macro_rules! from_value {
    ($($type:ty: $pattern:pat => $value:expr;)*) => {$(
        impl FromValue for $type {
            fn from_value(value: Value) -> Option<Self> {
                match value { $pattern => $value, _ => None }
            }
        }
    )*};
}

from_value! {
    bool: Value::Bool(b) => Some(b);
    u8: Value::Int(n) => n.try_into().ok();
    u16: Value::Int(n) => n.try_into().ok();
    u32: Value::Int(n) => n.try_into().ok();
    CpuId: Value::Int(n) => n.try_into().ok().map(CpuId);
    i16: Value::Signed(n) => n.try_into().ok();
    L4Port: Value::Int(n) => n.try_into().ok().map(L4Port);
    VlanId: Value::Int(n) => n.try_into().ok().map(VlanId);
    Weight: Value::Int(n) => n.try_into().ok().map(Weight);
    String: Value::Text(text) => Some(text);
    Duration: Value::Duration(duration) => Some(duration);
    IpAddr: Value::Address(address) => Some(address);
    Prefix: Value::Prefix(prefix) => Some(prefix);
    MacAddr: Value::Mac(mac) => Some(mac);
    SocketAddr: Value::Socket(socket) => Some(socket);
    DeviceText: Value::Device(device) => Some(device);
    &'static str: Value::Choice(choice) => Some(choice);
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: Value) -> Option<Self> {
        let Value::List(items) = value else {
            return None;
        };
        items
            .into_iter()
            .map(|item| T::from_value(item.value))
            .collect()
    }
}
