//! hello: a string in, a map out.

use wasmrun::{fail, handler, log, Context, Error, Level, Value};

fn hello(event: Value, _context: &Context) -> Result<Value, Error> {
    let Some(name) = event.get("name").and_then(Value::as_str) else {
        return fail("InvalidEvent", "the event needs a string \"name\"");
    };
    log(Level::Info, "greeting somebody");
    Ok(Value::map([("hello", name)]))
}

handler!(wasmrun_handle, hello);
