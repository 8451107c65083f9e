//! Types of your own as events and answers, by serde.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::{self, Vec};
use core::fmt;

use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple, SerializeTupleStruct,
    SerializeTupleVariant,
};
use serde::{forward_to_deserialize_any, Deserialize, Deserializer, Serialize, Serializer};

use crate::value::{FromEvent, IntoAnswer, Value};
use crate::Error;

/// An event or an answer of a type that serde knows:
/// `fn total(Typed(order): Typed<Order>, _: &Context) -> Result<Typed<Total>, Error>`.
#[derive(Clone, Debug, PartialEq)]
pub struct Typed<T>(pub T);

impl<T: DeserializeOwned> FromEvent for Typed<T> {
    /// An event that is no `T` is reported as `InvalidEvent`, with the path to what is wrong.
    fn from_event(event: Value) -> Result<Typed<T>, Error> {
        read(event).map(Typed).map_err(|wrong| wrong.named("InvalidEvent"))
    }
}

impl<T: Serialize> IntoAnswer for Typed<T> {
    fn into_answer(self) -> Result<Value, Error> {
        to_value(&self.0)
    }
}

/// A value as a type that serde knows. What does not fit is an `InvalidValue`.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    read(value).map_err(|wrong| wrong.named("InvalidValue"))
}

/// What serde knows as a value. What no value can hold is an `InvalidValue`.
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, Error> {
    value.serialize(Maker).map_err(|wrong| wrong.named("InvalidValue"))
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, Wrong> {
    T::deserialize(Item(value))
}

/// What is wrong, and where.
#[derive(Debug)]
struct Wrong {
    path: String,
    message: String,
}

impl Wrong {
    fn named(self, kind: &str) -> Error {
        Error::new(kind, self.to_string())
    }

    fn under(mut self, key: &str) -> Wrong {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{key}{dot}{}", self.path);
        self
    }

    fn at(self, index: usize) -> Wrong {
        self.under(&format!("[{index}]"))
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.path.is_empty() { "" } else { ": " };
        write!(out, "{}{colon}{}", self.path, self.message)
    }
}

impl serde::de::StdError for Wrong {}

impl serde::de::Error for Wrong {
    fn custom<T: fmt::Display>(message: T) -> Wrong {
        Wrong { path: String::new(), message: message.to_string() }
    }
}

impl serde::ser::Error for Wrong {
    fn custom<T: fmt::Display>(message: T) -> Wrong {
        <Wrong as serde::de::Error>::custom(message)
    }
}

// Values read as types

struct Item(Value);

impl Item {
    fn unexpected(&self) -> Unexpected<'_> {
        match &self.0 {
            Value::Nil => Unexpected::Unit,
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::Int(value) => Unexpected::Signed(*value),
            Value::Uint(value) => Unexpected::Unsigned(*value),
            Value::Float(value) => Unexpected::Float(*value),
            Value::Str(value) => Unexpected::Str(value),
            Value::Bytes(value) => Unexpected::Bytes(value),
            Value::Array(_) => Unexpected::Seq,
            Value::Map(_) => Unexpected::Map,
        }
    }
}

/// All of an array, or none of it: what a type does not take is too much.
fn read_array<'de, V: Visitor<'de>>(items: Vec<Value>, visitor: V) -> Result<V::Value, Wrong> {
    let len = items.len();
    let mut items = Items(items.into_iter(), 0);
    let value = visitor.visit_seq(&mut items)?;
    if items.1 == len { Ok(value) } else { Err(Wrong::invalid_length(len, &format!("{} items", items.1).as_str())) }
}

impl<'de> Deserializer<'de> for Item {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Nil => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Int(value) => visitor.visit_i64(value),
            Value::Uint(value) => visitor.visit_u64(value),
            Value::Float(value) => visitor.visit_f64(value),
            Value::Str(value) => visitor.visit_string(value),
            Value::Bytes(value) => visitor.visit_byte_buf(value),
            Value::Array(items) => read_array(items, visitor),
            Value::Map(items) => visitor.visit_map(Entries(items.into_iter(), None)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        if self.0 == Value::Nil { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    /// Bytes are read as a list of numbers, too: that is what a `Vec<u8>` is for serde.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Bytes(data) => read_array(data.into_iter().map(|byte| Value::Int(byte.into())).collect(), visitor),
            other => Item(other).deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.0 {
            Value::Str(name) => visitor.visit_enum(Variant(name, None)),
            Value::Map(mut items) if items.len() == 1 => {
                let (name, content) = items.remove(0);
                visitor.visit_enum(Variant(name, Some(content)))
            }
            other => Err(Wrong::invalid_type(Item(other).unexpected(), &"a string, or a map with one key")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple_struct map struct identifier
    }
}

/// What is left of an array, and how much of it was taken.
struct Items(vec::IntoIter<Value>, usize);

impl<'de> SeqAccess<'de> for Items {
    type Error = Wrong;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Wrong> {
        let Some(item) = self.0.next() else { return Ok(None) };
        self.1 += 1;
        seed.deserialize(Item(item)).map(Some).map_err(|wrong| wrong.at(self.1 - 1))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// What is left of a map, and the entry whose key was taken.
struct Entries(vec::IntoIter<(String, Value)>, Option<(String, Value)>);

impl<'de> MapAccess<'de> for Entries {
    type Error = Wrong;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Wrong> {
        let Some((key, item)) = self.0.next() else { return Ok(None) };
        self.1 = Some((key.clone(), item));
        seed.deserialize(Key(key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Wrong> {
        let Some((key, item)) = self.1.take() else { return Err(Wrong::custom("a value without a key")) };
        seed.deserialize(Item(item)).map_err(|wrong| wrong.under(&key))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// A key, which is text; a map of numbers has them written out.
struct Key(String);

macro_rules! parsed {
    ($($method:ident => $visit:ident;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            match self.0.parse() {
                Ok(value) => visitor.$visit(value),
                Err(_) => visitor.visit_string(self.0),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Key {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_string(self.0)
    }

    parsed! {
        deserialize_bool => visit_bool;
        deserialize_i8 => visit_i8; deserialize_i16 => visit_i16; deserialize_i32 => visit_i32;
        deserialize_i64 => visit_i64; deserialize_u8 => visit_u8; deserialize_u16 => visit_u16;
        deserialize_u32 => visit_u32; deserialize_u64 => visit_u64;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let key: StringDeserializer<Wrong> = self.0.into_deserializer();
        key.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}

/// One of an enum's variants: its name, and what it has.
struct Variant(String, Option<Value>);

impl<'de> EnumAccess<'de> for Variant {
    type Error = Wrong;
    type Variant = Content;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Content), Wrong> {
        let name: StringDeserializer<Wrong> = self.0.clone().into_deserializer();
        Ok((seed.deserialize(name)?, Content(self.0, self.1)))
    }
}

struct Content(String, Option<Value>);

impl Content {
    fn take(self, expected: &str) -> Result<(String, Item), Wrong> {
        let Some(value) = self.1 else { return Err(Wrong::invalid_type(Unexpected::UnitVariant, &expected)) };
        Ok((self.0, Item(value)))
    }
}

impl<'de> VariantAccess<'de> for Content {
    type Error = Wrong;

    fn unit_variant(self) -> Result<(), Wrong> {
        match self.1 {
            None | Some(Value::Nil) => Ok(()),
            Some(other) => Err(Wrong::invalid_type(Item(other).unexpected(), &"nothing").under(&self.0)),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Wrong> {
        let (name, item) = self.take("a value")?;
        seed.deserialize(item).map_err(|wrong| wrong.under(&name))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Wrong> {
        let (name, item) = self.take("an array")?;
        item.deserialize_seq(visitor).map_err(|wrong| wrong.under(&name))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Wrong> {
        let (name, item) = self.take("a map")?;
        item.deserialize_any(visitor).map_err(|wrong| wrong.under(&name))
    }
}

// Types written as values

#[derive(Clone, Copy)]
struct Maker;

fn within(variant: Option<&'static str>, content: Value) -> Value {
    match variant {
        Some(name) => Value::map([(name, content)]),
        None => content,
    }
}

macro_rules! made {
    ($($method:ident($kind:ty);)*) => {
        $(fn $method(self, value: $kind) -> Result<Value, Wrong> {
            Ok(Value::from(value))
        })*
    };
}

impl Serializer for Maker {
    type Ok = Value;
    type Error = Wrong;
    type SerializeSeq = Parts;
    type SerializeTuple = Parts;
    type SerializeTupleStruct = Parts;
    type SerializeTupleVariant = Parts;
    type SerializeMap = Fields;
    type SerializeStruct = Fields;
    type SerializeStructVariant = Fields;

    made! {
        serialize_bool(bool); serialize_i32(i32); serialize_i64(i64); serialize_u16(u16); serialize_u32(u32);
        serialize_u64(u64); serialize_f64(f64); serialize_str(&str); serialize_bytes(&[u8]);
    }

    fn serialize_i8(self, value: i8) -> Result<Value, Wrong> {
        Ok(Value::Int(value.into()))
    }

    fn serialize_i16(self, value: i16) -> Result<Value, Wrong> {
        Ok(Value::Int(value.into()))
    }

    fn serialize_u8(self, value: u8) -> Result<Value, Wrong> {
        Ok(Value::Int(value.into()))
    }

    fn serialize_i128(self, value: i128) -> Result<Value, Wrong> {
        match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => Ok(Value::Int(value)),
            (_, Ok(value)) => Ok(Value::Uint(value)),
            _ => Err(Wrong::custom(format_args!("{value} does not fit 64 bits"))),
        }
    }

    fn serialize_u128(self, value: u128) -> Result<Value, Wrong> {
        match u64::try_from(value) {
            Ok(value) => Ok(Value::from(value)),
            Err(_) => Err(Wrong::custom(format_args!("{value} does not fit 64 bits"))),
        }
    }

    fn serialize_f32(self, value: f32) -> Result<Value, Wrong> {
        Ok(Value::Float(value.into()))
    }

    fn serialize_char(self, value: char) -> Result<Value, Wrong> {
        Ok(Value::Str(value.into()))
    }

    fn serialize_none(self) -> Result<Value, Wrong> {
        Ok(Value::Nil)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, Wrong> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Value, Wrong> {
        Ok(Value::Nil)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, Wrong> {
        Ok(Value::Nil)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Value, Wrong> {
        Ok(Value::from(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Value, Wrong> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, Wrong> {
        let content = value.serialize(self).map_err(|wrong| wrong.under(variant))?;
        Ok(within(Some(variant), content))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts, Wrong> {
        Ok(Parts(None, Vec::new()))
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts, Wrong> {
        Ok(Parts(None, Vec::new()))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts, Wrong> {
        Ok(Parts(None, Vec::new()))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts, Wrong> {
        Ok(Parts(Some(variant), Vec::new()))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Fields, Wrong> {
        Ok(Fields(None, Vec::new(), String::new()))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields, Wrong> {
        self.serialize_map(None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Fields, Wrong> {
        Ok(Fields(Some(variant), Vec::new(), String::new()))
    }
}

/// An array that is being made, and the variant that it is the content of.
struct Parts(Option<&'static str>, Vec<Value>);

impl Parts {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Wrong> {
        self.1.push(value.serialize(Maker).map_err(|wrong| wrong.at(self.1.len()))?);
        Ok(())
    }

    fn finish(self) -> Result<Value, Wrong> {
        Ok(within(self.0, Value::Array(self.1)))
    }
}

macro_rules! parts {
    ($($kind:ident::$method:ident;)*) => {
        $(impl $kind for Parts {
            type Ok = Value;
            type Error = Wrong;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Wrong> {
                self.push(value)
            }

            fn end(self) -> Result<Value, Wrong> {
                self.finish()
            }
        })*
    };
}

parts! {
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
    SerializeTupleVariant::serialize_field;
}

/// A map that is being made, the variant that it is the content of, and the key that was given last.
struct Fields(Option<&'static str>, Vec<(String, Value)>, String);

impl Fields {
    fn push<T: Serialize + ?Sized>(&mut self, key: String, value: &T) -> Result<(), Wrong> {
        let item = value.serialize(Maker).map_err(|wrong| wrong.under(&key))?;
        self.1.push((key, item));
        Ok(())
    }

    fn finish(self) -> Result<Value, Wrong> {
        Ok(within(self.0, Value::Map(self.1)))
    }
}

impl SerializeMap for Fields {
    type Ok = Value;
    type Error = Wrong;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Wrong> {
        self.2 = match key.serialize(Maker)? {
            Value::Str(text) => text,
            Value::Int(number) => number.to_string(),
            Value::Uint(number) => number.to_string(),
            Value::Bool(value) => value.to_string(),
            other => {
                return Err(Wrong::invalid_type(Item(other).unexpected(), &"a key, which is text or a number"));
            }
        };
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Wrong> {
        let key = core::mem::take(&mut self.2);
        self.push(key, value)
    }

    fn end(self) -> Result<Value, Wrong> {
        self.finish()
    }
}

macro_rules! fields {
    ($($kind:ident;)*) => {
        $(impl $kind for Fields {
            type Ok = Value;
            type Error = Wrong;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Wrong> {
                self.push(key.to_string(), value)
            }

            fn end(self) -> Result<Value, Wrong> {
                self.finish()
            }
        })*
    };
}

fields! {
    SerializeStruct;
    SerializeStructVariant;
}

// Values as parts of types

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Nil => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::Uint(value) => serializer.serialize_u64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Str(value) => serializer.serialize_str(value),
            Value::Bytes(value) => serializer.serialize_bytes(value),
            Value::Array(items) => serializer.collect_seq(items),
            Value::Map(items) => serializer.collect_map(items.iter().map(|(key, item)| (key, item))),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(Anything)
    }
}

struct Anything;

macro_rules! visited {
    ($($method:ident($kind:ty);)*) => {
        $(fn $method<E>(self, value: $kind) -> Result<Value, E> {
            Ok(Value::from(value))
        })*
    };
}

impl<'de> Visitor<'de> for Anything {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    visited! {
        visit_bool(bool); visit_i64(i64); visit_u64(u64); visit_f64(f64); visit_str(&str); visit_string(String);
        visit_bytes(&[u8]); visit_byte_buf(Vec<u8>);
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_entry()? {
            items.push(item);
        }
        Ok(Value::Map(items))
    }
}
