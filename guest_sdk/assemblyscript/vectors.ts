// The guest of the test vectors: ../vectors/README.md says what each entry does.

import { Context, Kind, Level, Request, Value, call, fail, failWith, handler, http, log } from "./wasmrun";
export { wasmrun_alloc, wasmrun_free } from "./wasmrun";

let starts = 0;

export function wasmrun_init(): void {
  starts++;
}

export function echo(pointer: usize, length: usize): u64 {
  return handler(pointer, length, (event: Value, context: Context) => event);
}

export function show_event(pointer: usize, length: usize): u64 {
  return handler(pointer, length, (event: Value, context: Context) => {
    const parts: string[] = [];
    show(event, parts);
    return Value.string(parts.join(""));
  });
}

export function show_context(pointer: usize, length: usize): u64 {
  return handler(pointer, length, (event: Value, context: Context) =>
    Value.map()
      .set("request_id", Value.string(context.requestId))
      .set("function", Value.string(context.function))
      .set("version", Value.string(context.version))
      .set("deadline_ms", Value.int(context.deadlineMs))
      .set("memory_limit_bytes", Value.uint(context.memoryLimitBytes))
      .set("fuel_limit", Value.uint(context.fuelLimit))
      .set("client_context", context.clientContext === null ? Value.nil() : context.clientContext!)
      .set("tenant_id", optional(context.tenantId))
      .set("trace_id", optional(context.traceId)),
  );
}

function optional(text: string | null): Value {
  return text === null ? Value.nil() : Value.string(text);
}

function failing(event: Value, context: Context): Value {
  const stack: string[] = [];
  const frames = event.get("stack")!.asArray;
  for (let i = 0; i < frames.length; i++) stack.push(frames[i].asString);
  return fail(event.getString("type")!, event.getString("message")!, stack);
}

export { failing_entry as fail };
function failing_entry(pointer: usize, length: usize): u64 {
  return handler(pointer, length, failing);
}

export function write_logs(pointer: usize, length: usize): u64 {
  return handler(pointer, length, (event: Value, context: Context) => {
    const lines = event.asArray;
    for (let i = 0; i < lines.length; i++) log(<Level>lines[i].asArray[0].asInt, lines[i].asArray[1].asString);
    return Value.nil();
  });
}

export function count_starts(pointer: usize, length: usize): u64 {
  return handler(pointer, length, (event: Value, context: Context) => Value.int(starts));
}

function fetching(event: Value, context: Context): Value {
  const request = new Request(event.getString("url")!, event.getString("method")!);
  const given = event.get("headers")!.asMap;
  const names = given.keys();
  for (let i = 0; i < names.length; i++) request.headers.set(names[i], given.get(names[i]).asString);
  const body = event.get("body")!;
  if (!body.isNil) request.body = body.asBytes;
  const response = http(request);
  if (response.error !== null) return failWith(response.error!);
  const headers = Value.map();
  const found = response.headers.keys();
  for (let i = 0; i < found.length; i++) headers.set(found[i], Value.string(response.headers.get(found[i])));
  return Value.map().set("status", Value.int(response.status)).set("headers", headers).set("body", Value.bytes(response.body));
}

export function fetch(pointer: usize, length: usize): u64 {
  return handler(pointer, length, fetching);
}

// @ts-ignore: decorator
@external("wasmrun", "vectors.ask")
declare function vectorsAsk(pointer: usize, length: usize): u64;

export function ask(pointer: usize, length: usize): u64 {
  return handler(pointer, length, (event: Value, context: Context) => {
    const reply = call(vectorsAsk, event);
    return reply.error === null ? reply.value : failWith(reply.error!);
  });
}

function show(value: Value, parts: string[]): void {
  switch (value.kind) {
    case Kind.Nil:
      parts.push("null");
      break;
    case Kind.Bool:
      parts.push(value.asBool ? "true" : "false");
      break;
    case Kind.Int:
      parts.push(value.asInt.toString());
      break;
    case Kind.Uint:
      parts.push(value.asUint.toString());
      break;
    case Kind.Float:
      parts.push(isNaN(value.asFloat) ? "nan" : "0x" + hex(reinterpret<u64>(value.asFloat), 16));
      break;
    case Kind.String:
      parts.push(quoted(value.asString));
      break;
    case Kind.Bytes: {
      const bytes = value.asBytes;
      parts.push('b"');
      for (let i = 0; i < bytes.length; i++) parts.push(hex(bytes[i], 2));
      parts.push('"');
      break;
    }
    case Kind.Array: {
      const items = value.asArray;
      for (let i = 0; i < items.length; i++) {
        parts.push(i == 0 ? "[" : ",");
        show(items[i], parts);
      }
      parts.push(items.length == 0 ? "[]" : "]");
      break;
    }
    case Kind.Map: {
      const pairs = value.asMap;
      const keys = pairs.keys();
      for (let i = 0; i < keys.length; i++) {
        parts.push(i == 0 ? "{" : ",");
        parts.push(quoted(keys[i]));
        parts.push(":");
        show(pairs.get(keys[i]), parts);
      }
      parts.push(keys.length == 0 ? "{}" : "}");
      break;
    }
  }
}

function hex(value: u64, digits: i32): string {
  return value.toString(16).padStart(digits, "0");
}

function quoted(text: string): string {
  const parts: string[] = ['"'];
  let start = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit >= 0x20 && unit != 0x22 && unit != 0x5c) continue;
    parts.push(text.substring(start, i));
    parts.push(unit < 0x20 ? "\\u" + hex(unit, 4) : "\\" + text.charAt(i));
    start = i + 1;
  }
  parts.push(text.substring(start));
  parts.push('"');
  return parts.join("");
}
