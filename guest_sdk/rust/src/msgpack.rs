//! MessagePack, as the ABI has it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::value::Value;

/// How deep arrays and maps of an event may nest.
const DEEPEST: usize = 128;

struct Reader<'a>(&'a [u8]);

/// The two values of `[first, second]`, which `data` is.
pub fn read_pair(data: &[u8]) -> Option<(Value, Value)> {
    let mut reader = Reader(data);
    let head = reader.number(1)?;
    let items = match head {
        0x92 => 2,
        0xdc => reader.number(2)?,
        0xdd => reader.number(4)?,
        _ => 0,
    };
    if items != 2 {
        return None;
    }
    let pair = (reader.value(DEEPEST)?, reader.value(DEEPEST)?);
    reader.0.is_empty().then_some(pair)
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let len = usize::try_from(len).ok().filter(|len| *len <= self.0.len())?;
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(taken)
    }

    /// An unsigned number of so many bytes.
    fn number(&mut self, width: u64) -> Option<u64> {
        Some(self.take(width)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn value(&mut self, left: usize) -> Option<Value> {
        let head = self.number(1)?;
        Some(match head {
            0x00..=0x7f => Value::Int(head as i64),
            0x80..=0x8f => self.map(head & 15, left)?,
            0x90..=0x9f => self.array(head & 15, left)?,
            0xa0..=0xbf => Value::Str(self.text(head & 31)?),
            0xc0 => Value::Nil,
            0xc2 | 0xc3 => Value::Bool(head == 0xc3),
            0xc4..=0xc6 => {
                let len = self.number(1 << (head - 0xc4))?;
                Value::Bytes(self.take(len)?.to_vec())
            }
            0xca => Value::Float(f64::from(f32::from_bits(self.number(4)? as u32))),
            0xcb => Value::Float(f64::from_bits(self.number(8)?)),
            0xcc..=0xcf => Value::from(self.number(1 << (head - 0xcc))?),
            0xd0..=0xd3 => {
                let width = 1 << (head - 0xd0);
                let unused = 64 - 8 * width;
                Value::Int((self.number(width)? << unused) as i64 >> unused)
            }
            0xd9..=0xdb => {
                let len = self.number(1 << (head - 0xd9))?;
                Value::Str(self.text(len)?)
            }
            0xdc | 0xdd => {
                let len = self.number(2 << (head - 0xdc))?;
                self.array(len, left)?
            }
            0xde | 0xdf => {
                let len = self.number(2 << (head - 0xde))?;
                self.map(len, left)?
            }
            0xe0..=0xff => Value::Int(i64::from(head as u8 as i8)),
            _ => return None,
        })
    }

    fn text(&mut self, len: u64) -> Option<String> {
        Some(core::str::from_utf8(self.take(len)?).ok()?.to_string())
    }

    fn array(&mut self, len: u64, left: usize) -> Option<Value> {
        // Each item takes a byte at least, so what a length promises bounds what is taken for it.
        if left == 0 || len > self.0.len() as u64 {
            return None;
        }
        let mut items = Vec::with_capacity(len as usize);
        for _ in 0..len {
            items.push(self.value(left - 1)?);
        }
        Some(Value::Array(items))
    }

    fn map(&mut self, len: u64, left: usize) -> Option<Value> {
        if left == 0 || len > self.0.len() as u64 / 2 {
            return None;
        }
        let mut items = Vec::with_capacity(len as usize);
        for _ in 0..len {
            let Value::Str(key) = self.value(0)? else { return None };
            items.push((key, self.value(left - 1)?));
        }
        Some(Value::Map(items))
    }
}

pub fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Nil => out.push(0xc0),
        Value::Bool(value) => out.push(0xc2 + u8::from(*value)),
        Value::Int(value) => write_int(out, *value),
        Value::Uint(value) => write_uint(out, *value),
        Value::Float(value) => {
            out.push(0xcb);
            out.extend_from_slice(&value.to_bits().to_be_bytes());
        }
        Value::Str(text) => write_text(out, text),
        Value::Bytes(data) => {
            write_head(out, data.len(), None, Some(0xc4), 0xc5);
            out.extend_from_slice(data);
        }
        Value::Array(items) => {
            write_head(out, items.len(), Some((0x90, 15)), None, 0xdc);
            items.iter().for_each(|item| write(out, item));
        }
        Value::Map(items) => {
            write_head(out, items.len(), Some((0x80, 15)), None, 0xde);
            for (key, item) in items {
                write_text(out, key);
                write(out, item);
            }
        }
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    write_head(out, text.len(), Some((0xa0, 31)), Some(0xd9), 0xda);
    out.extend_from_slice(text.as_bytes());
}

fn write_head(out: &mut Vec<u8>, len: usize, fixed: Option<(u8, usize)>, one: Option<u8>, two: u8) {
    match (fixed, one) {
        (Some((head, most)), _) if len <= most => out.push(head | len as u8),
        (_, Some(head)) if len < 1 << 8 => out.extend_from_slice(&[head, len as u8]),
        _ if len < 1 << 16 => {
            out.push(two);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(two + 1);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}

fn write_uint(out: &mut Vec<u8>, number: u64) {
    let bytes = number.to_be_bytes();
    let (head, width): (u8, usize) = match number {
        0..=0x7f => return out.push(number as u8),
        0x80..=0xff => (0xcc, 1),
        0x100..=0xffff => (0xcd, 2),
        0x1_0000..=0xffff_ffff => (0xce, 4),
        _ => (0xcf, 8),
    };
    out.push(head);
    out.extend_from_slice(&bytes[8 - width..]);
}

fn write_int(out: &mut Vec<u8>, number: i64) {
    let bytes = number.to_be_bytes();
    let (head, width): (u8, usize) = match number {
        0.. => return write_uint(out, number as u64),
        -32..=-1 => return out.push(number as u8),
        -0x80..=-33 => (0xd0, 1),
        -0x8000..=-0x81 => (0xd1, 2),
        -0x8000_0000..=-0x8001 => (0xd2, 4),
        _ => (0xd3, 8),
    };
    out.push(head);
    out.extend_from_slice(&bytes[8 - width..]);
}
