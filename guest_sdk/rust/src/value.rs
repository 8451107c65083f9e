//! Values, as events and answers have them.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::Error;

/// What an event is, or a part of it. Maps keep their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    #[default]
    Nil,
    Bool(bool),
    Int(i64),
    /// Above the range of an `i64`.
    Uint(u64),
    Float(f64),
    Str(String),
    Bytes(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(String, Value)>),
}

impl Value {
    /// A map with these keys.
    pub fn map<K: Into<String>, V: Into<Value>>(items: impl IntoIterator<Item = (K, V)>) -> Value {
        Value::Map(items.into_iter().map(|(key, item)| (key.into(), item.into())).collect())
    }

    /// What a map has under a key; the last one where it is there twice.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_map()?.iter().rev().find(|(name, _)| name == key).map(|(_, item)| item)
    }

    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(value) = self { Some(*value) } else { None }
    }

    pub fn as_i64(&self) -> Option<i64> {
        if let Value::Int(value) = self { Some(*value) } else { None }
    }

    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Value::Int(value) => u64::try_from(*value).ok(),
            Value::Uint(value) => Some(*value),
            _ => None,
        }
    }

    /// Any number.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(value) => Some(*value as f64),
            Value::Uint(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        if let Value::Str(value) = self { Some(value) } else { None }
    }

    pub fn as_bytes(&self) -> Option<&[u8]> {
        if let Value::Bytes(value) = self { Some(value) } else { None }
    }

    pub fn as_array(&self) -> Option<&[Value]> {
        if let Value::Array(value) = self { Some(value) } else { None }
    }

    pub fn as_map(&self) -> Option<&[(String, Value)]> {
        if let Value::Map(value) = self { Some(value) } else { None }
    }
}

impl From<()> for Value {
    fn from(_: ()) -> Value {
        Value::Nil
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        i64::try_from(value).map_or(Value::Uint(value), Value::Int)
    }
}

macro_rules! from {
    ($($kind:ty => |$value:ident| $made:expr;)*) => {
        $(impl From<$kind> for Value {
            fn from($value: $kind) -> Value {
                $made
            }
        })*
    };
}

from! {
    bool => |value| Value::Bool(value);
    i64 => |value| Value::Int(value);
    i32 => |value| Value::Int(value.into());
    u32 => |value| Value::Int(value.into());
    u16 => |value| Value::Int(value.into());
    f64 => |value| Value::Float(value);
    String => |value| Value::Str(value);
    &str => |value| Value::Str(value.to_string());
    Vec<u8> => |value| Value::Bytes(value);
    &[u8] => |value| Value::Bytes(value.to_vec());
    Vec<Value> => |value| Value::Array(value);
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Nil, Into::into)
    }
}

/// What a handler can take as its event.
pub trait FromEvent: Sized {
    fn from_event(event: Value) -> Result<Self, Error>;
}

/// What a handler can answer.
pub trait IntoAnswer {
    fn into_answer(self) -> Result<Value, Error>;
}

impl FromEvent for Value {
    fn from_event(event: Value) -> Result<Value, Error> {
        Ok(event)
    }
}

impl<T: Into<Value>> IntoAnswer for T {
    fn into_answer(self) -> Result<Value, Error> {
        Ok(self.into())
    }
}
