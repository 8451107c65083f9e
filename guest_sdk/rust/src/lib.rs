//! Functions for wasmrun: a handler takes an event and its context, and answers a value or reports an error.
//!
//! ```ignore
//! fn greet(event: Value, _context: &Context) -> Result<Value, Error> { … }
//!
//! wasmrun::handler!(wasmrun_handle, greet);
//! ```
//!
//! It speaks the native ABI, version 1, and needs `alloc` and no more.
#![no_std]

extern crate alloc;

mod host;
mod memory;
mod msgpack;
#[cfg(feature = "standalone")]
mod standalone;
#[cfg(feature = "serde")]
mod typed;
mod value;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

pub use host::{http, log, Level, Request, Response};
#[cfg(feature = "serde")]
pub use typed::{from_value, to_value, Typed};
pub use value::{FromEvent, IntoAnswer, Value};

/// What the host tells about an event. What the caller did not set is None.
#[derive(Clone, Debug, Default)]
pub struct Context {
    pub request_id: String,
    pub function: String,
    pub version: String,
    /// Unix time.
    pub deadline_ms: i64,
    pub memory_limit_bytes: u64,
    /// 0: nothing is metered.
    pub fuel_limit: u64,
    pub client_context: Option<Value>,
    pub tenant_id: Option<String>,
    pub trace_id: Option<String>,
}

impl Context {
    fn read(map: &Value) -> Context {
        let text = |key| map.get(key).and_then(Value::as_str).map(ToString::to_string);
        Context {
            request_id: text("request_id").unwrap_or_default(),
            function: text("function").unwrap_or_default(),
            version: text("version").unwrap_or_default(),
            deadline_ms: map.get("deadline_ms").and_then(Value::as_i64).unwrap_or_default(),
            memory_limit_bytes: map.get("memory_limit_bytes").and_then(Value::as_u64).unwrap_or_default(),
            fuel_limit: map.get("fuel_limit").and_then(Value::as_u64).unwrap_or_default(),
            client_context: map.get("client_context").filter(|value| **value != Value::Nil).cloned(),
            tenant_id: text("tenant_id"),
            trace_id: text("trace_id"),
        }
    }
}

/// An error as a caller sees it. Handlers report one; host functions and HTTP requests give one.
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    pub kind: String,
    pub message: String,
    pub stack: Vec<String>,
}

impl Error {
    /// An error of a type, without a stack.
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Error {
        Error { kind: kind.into(), message: message.into(), stack: Vec::new() }
    }
}

/// An error of a type, for a handler to return.
pub fn fail<T>(kind: impl Into<String>, message: impl Into<String>) -> Result<T, Error> {
    Err(Error::new(kind, message))
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.kind, self.message)
    }
}

impl core::error::Error for Error {}

/// Makes a function an entry of the module: `handler!(wasmrun_handle, greet)`. It takes the event, as a [`Value`] or any
/// other [`FromEvent`], and the context.
#[macro_export]
macro_rules! handler {
    ($name:ident, $function:expr) => {
        const _: () = {
            #[unsafe(no_mangle)]
            extern "C" fn $name(ptr: usize, len: usize) -> u64 {
                $crate::__answer(ptr, len, $function)
            }
        };
    };
}

/// Makes a function an entry that takes and gives bytes; its name ends in `_raw`. An error is logged, and traps, because
/// bytes have no place for one.
#[macro_export]
macro_rules! raw_handler {
    ($name:ident, $function:expr) => {
        const _: () = {
            #[unsafe(no_mangle)]
            extern "C" fn $name(ptr: usize, len: usize) -> u64 {
                $crate::__answer_raw(ptr, len, $function)
            }
        };
    };
}

/// Has a function run once, while the sandbox is being prepared and before any event.
#[macro_export]
macro_rules! init {
    ($function:expr) => {
        const _: () = {
            #[unsafe(no_mangle)]
            extern "C" fn wasmrun_init() {
                $crate::__init($function)
            }
        };
    };
}

/// Declares a host function of the embedding program: `import!(db_get, "db.get");` is then called as
/// `db_get(&Value) -> Result<Value, Error>`.
#[macro_export]
macro_rules! import {
    ($function:ident, $name:literal) => {
        fn $function(request: &$crate::Value) -> Result<$crate::Value, $crate::Error> {
            #[link(wasm_import_module = "wasmrun")]
            extern "C" {
                #[link_name = $name]
                fn import(ptr: *const u8, len: usize) -> u64;
            }
            $crate::__call(|data| unsafe { import(data.as_ptr(), data.len()) }, request)
        }
    };
}

#[doc(hidden)]
pub fn __answer<E: FromEvent, A: IntoAnswer>(
    ptr: usize,
    len: usize,
    handle: impl FnOnce(E, &Context) -> Result<A, Error>,
) -> u64 {
    memory::event_starts();
    let answered = msgpack::read_pair(memory::taken(ptr, len))
        .ok_or_else(|| Error::new("InvalidInput", "the input is not MessagePack of [event, context], or is nested too deep"))
        .and_then(|(event, context)| handle(E::from_event(event)?, &Context::read(&context)))
        .and_then(IntoAnswer::into_answer);
    let mut out = Vec::new();
    match answered {
        Ok(value) => {
            out.extend_from_slice(&[0x92, 0]);
            msgpack::write(&mut out, &value);
        }
        Err(error) => {
            out.extend_from_slice(&[0x92, 1]);
            let stack = error.stack.into_iter().map(Value::Str).collect();
            let fields = [("type", Value::Str(error.kind)), ("message", Value::Str(error.message)), ("stack", Value::Array(stack))];
            msgpack::write(&mut out, &Value::map(fields));
        }
    }
    memory::give(out)
}

#[doc(hidden)]
pub fn __answer_raw(ptr: usize, len: usize, handle: impl FnOnce(&[u8]) -> Result<Vec<u8>, Error>) -> u64 {
    memory::event_starts();
    match handle(memory::taken(ptr, len)) {
        Ok(output) => memory::give(output),
        Err(error) => host::stop(&error.to_string()),
    }
}

#[doc(hidden)]
pub fn __init(start: impl FnOnce() -> Result<(), Error>) {
    if let Err(error) = start() {
        host::stop(&error.to_string());
    }
}

#[doc(hidden)]
pub fn __call(import: impl FnOnce(&[u8]) -> u64, request: &Value) -> Result<Value, Error> {
    host::call(import, request)
}
