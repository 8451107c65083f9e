//! vectors: the guest of the test vectors, see ../../vectors/README.md.

use std::fmt::Write;
use std::sync::atomic::{AtomicI64, Ordering};

use wasmrun::{handler, http, import, init, log, Context, Error, Level, Request, Value};

static STARTS: AtomicI64 = AtomicI64::new(0);

init!(|| {
    STARTS.fetch_add(1, Ordering::Relaxed);
    Ok(())
});

handler!(echo, |event: Value, _: &Context| Ok(event));

handler!(count_starts, |_: Value, _: &Context| Ok(STARTS.load(Ordering::Relaxed)));

handler!(show_event, |event: Value, _: &Context| {
    let mut out = String::new();
    show(&mut out, &event);
    Ok(out)
});

fn show(out: &mut String, value: &Value) {
    match value {
        Value::Nil => out.push_str("null"),
        Value::Bool(value) => write!(out, "{value}").unwrap(),
        Value::Int(value) => write!(out, "{value}").unwrap(),
        Value::Uint(value) => write!(out, "{value}").unwrap(),
        Value::Float(value) if value.is_nan() => out.push_str("nan"),
        Value::Float(value) => write!(out, "0x{:016x}", value.to_bits()).unwrap(),
        Value::Str(text) => quote(out, text),
        Value::Bytes(data) => {
            out.push_str("b\"");
            data.iter().for_each(|byte| write!(out, "{byte:02x}").unwrap());
            out.push('"');
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                show(out, item);
            }
            out.push(']');
        }
        Value::Map(items) => {
            out.push('{');
            for (at, (key, item)) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                quote(out, key);
                out.push(':');
                show(out, item);
            }
            out.push('}');
        }
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\0'..='\x1f' => write!(out, "\\u{:04x}", letter as u32).unwrap(),
            _ => out.push(letter),
        }
    }
    out.push('"');
}

handler!(show_context, |_: Value, context: &Context| {
    let context = context.clone();
    Ok(Value::map([
        ("request_id", Value::from(context.request_id)),
        ("function", context.function.into()),
        ("version", context.version.into()),
        ("deadline_ms", context.deadline_ms.into()),
        ("memory_limit_bytes", context.memory_limit_bytes.into()),
        ("fuel_limit", context.fuel_limit.into()),
        ("client_context", context.client_context.into()),
        ("tenant_id", context.tenant_id.into()),
        ("trace_id", context.trace_id.into()),
    ]))
});

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_string()
}

handler!(fail, |event: Value, _: &Context| -> Result<(), Error> {
    let stack = event.get("stack").and_then(Value::as_array).unwrap_or_default();
    Err(Error {
        kind: text(event.get("type")),
        message: text(event.get("message")),
        stack: stack.iter().map(|frame| text(Some(frame))).collect(),
    })
});

handler!(write_logs, |event: Value, _: &Context| {
    for line in event.as_array().unwrap_or_default() {
        let line = line.as_array().unwrap_or_default();
        let level = line.first().and_then(Value::as_u64).unwrap_or_default() as usize;
        log([Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error][level], &text(line.get(1)));
    }
    Ok(())
});

handler!(fetch, |event: Value, _: &Context| {
    let headers = event.get("headers").and_then(Value::as_map).unwrap_or_default();
    let response = http(Request {
        url: text(event.get("url")),
        method: text(event.get("method")),
        headers: headers.iter().map(|(name, value)| (name.clone(), text(Some(value)))).collect(),
        body: event.get("body").and_then(Value::as_bytes).map(<[u8]>::to_vec),
        timeout_ms: None,
    })?;
    Ok(Value::map([
        ("status", Value::from(u32::from(response.status))),
        ("headers", Value::map(response.headers)),
        ("body", response.body.into()),
    ]))
});

import!(vectors_ask, "vectors.ask");

handler!(ask, |event: Value, _: &Context| vectors_ask(&event));
