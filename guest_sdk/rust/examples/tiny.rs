//! tiny: hello without std; what the SDK brings is all there is.
#![no_std]

use wasmrun::{fail, handler, Context, Error, Value};

fn tiny(event: Value, _context: &Context) -> Result<Value, Error> {
    match event.get("name").and_then(Value::as_str) {
        Some(name) => Ok(Value::map([("hello", name)])),
        None => fail("InvalidEvent", "the event needs a string \"name\""),
    }
}

handler!(wasmrun_handle, tiny);
