//! What a guest may ask of the host.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::value::Value;
use crate::{memory, msgpack, Error};

/// Levels of the log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

#[link(wasm_import_module = "wasmrun")]
extern "C" {
    #[link_name = "log"]
    fn import_log(level: i32, ptr: *const u8, len: usize);
    #[link_name = "http_request"]
    fn import_http(ptr: *const u8, len: usize) -> u64;
}

/// Writes a line to the function's log.
pub fn log(level: Level, text: &str) {
    unsafe { import_log(level as i32, text.as_ptr(), text.len()) }
}

/// Logs why, and traps.
pub fn stop(why: &str) -> ! {
    log(Level::Error, why);
    core::arch::wasm32::unreachable()
}

pub fn call(import: impl FnOnce(&[u8]) -> u64, request: &Value) -> Result<Value, Error> {
    let mut data = Vec::new();
    msgpack::write(&mut data, request);
    let packed = import(&data);
    let reply = memory::taken((packed >> 32) as usize, packed as u32 as usize);
    match msgpack::read_pair(reply) {
        Some((Value::Int(0), value)) => Ok(value),
        Some((Value::Int(1), error)) => {
            let text = |key| error.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
            Err(Error::new(text("type"), text("message")))
        }
        _ => Err(Error::new("HostFunctionError", "the host function gave no reply")),
    }
}

/// An HTTP request for the host to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    pub url: String,
    /// GET, where it is empty.
    pub method: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
    /// What the event has left, where it is None.
    pub timeout_ms: Option<u32>,
}

/// What came back, whatever its status. Names of headers are in lower case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// Has the host do a request, to the hosts that the function was granted. What was not done is an error of a kind such as
/// `HttpNotGranted`.
pub fn http(request: Request) -> Result<Response, Error> {
    let mut fields = Vec::from([("url", Value::Str(request.url))]);
    if !request.method.is_empty() {
        fields.push(("method", Value::Str(request.method)));
    }
    if !request.headers.is_empty() {
        fields.push(("headers", Value::map(request.headers)));
    }
    if let Some(body) = request.body {
        fields.push(("body", Value::Bytes(body)));
    }
    if let Some(timeout) = request.timeout_ms {
        fields.push(("timeout_ms", Value::from(timeout)));
    }
    let reply = call(|data| unsafe { import_http(data.as_ptr(), data.len()) }, &Value::map(fields))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let headers = reply.get("headers").and_then(Value::as_map).unwrap_or_default();
    Ok(Response {
        status: reply.get("status").and_then(Value::as_u64).unwrap_or_default() as u16,
        headers: headers.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        body: reply.get("body").and_then(Value::as_bytes).unwrap_or_default().to_vec(),
    })
}
