// Functions for wasmrun in AssemblyScript (native ABI, version 1; see ../abi.md).
//
//     import { Context, Value, fail, handler } from "./wasmrun";
//     export { wasmrun_alloc, wasmrun_free } from "./wasmrun";
//
//     export function wasmrun_handle(pointer: usize, length: usize): u64 {
//       return handler(pointer, length, (event: Value, context: Context) => event);
//     }
//
// A function `wasmrun_init(): void` that is exported runs once, before the first event.
//
// Compile with --runtime minimal: nothing is collected while an event is answered, and everything that it left when it is over. An event is over
// at the first of these, after the handler returned: wasmrun_free (the host has read the answer and will use the sandbox again), or the next
// wasmrun_alloc.

import { Kind, Reader, Value, Writer } from "./msgpack";

export { Kind, Value } from "./msgpack";

export class Context {
  requestId: string = "";
  function: string = "";
  version: string = "";
  /** Unix time. */
  deadlineMs: i64 = 0;
  memoryLimitBytes: u64 = 0;
  fuelLimit: u64 = 0;
  clientContext: Value | null = null;
  tenantId: string | null = null;
  traceId: string | null = null;
}

// ---- memory

let answered = false;

/** The first of the inputs and replies of this event: each has the address of the next 16 bytes before it. */
let given: usize = 0;

function endEvent(): void {
  answered = false;
  while (given != 0) {
    const next = load<usize>(given);
    heap.free(given);
    given = next;
  }
  __collect();
}

export function wasmrun_alloc(size: usize): usize {
  if (answered) endEvent();
  if (size > 0xffff0000) return 0;
  const place = heap.alloc(size + 16);
  store<usize>(place, given);
  given = place;
  return place + 16;
}

export function wasmrun_free(_pointer: usize, _length: usize): void {
  if (answered) endEvent();
}

// ---- entries

/** Of an error: what a handler reports, or what a host function answered. */
export class Report {
  constructor(readonly type: string, readonly message: string, readonly stack: string[] = []) {}
}

let reported: Report | null = null;

/** Makes the answer an error: `return fail("InvalidEvent", "the event needs …")`. */
export function fail(type: string, message: string, stack: string[] = []): Value {
  reported = new Report(type, message, stack);
  return Value.nil();
}

/** Reports what a host function, or an HTTP request, failed with. */
export function failWith(report: Report): Value {
  reported = report;
  return Value.nil();
}

const answer = new Writer();

function pack(pointer: usize, length: usize): u64 {
  return (<u64>pointer << 32) | length;
}

/** What an exported entry does: reads the event, and has `handle` answer it. */
export function handler(pointer: usize, length: usize, handle: (event: Value, context: Context) => Value): u64 {
  if (answered) endEvent();
  const reader = new Reader(pointer, length);
  reported = null;
  let value = Value.nil();
  if (reader.enterPair()) {
    const event = reader.read();
    const context = readContext(reader.read());
    if (context !== null) value = handle(event, context);
    else fail("InvalidInput", "the context has not all of its fields");
  } else {
    fail("InvalidInput", "the input is not MessagePack of [event, context], or is nested too deep");
  }
  answer.reset();
  answer.array(2);
  answer.write(Value.int(reported === null ? 0 : 1));
  if (reported === null) answer.write(value);
  else writeReport(reported!);
  answered = true;
  return pack(answer.start, answer.length);
}

function writeReport(report: Report): void {
  answer.map(3);
  answer.string("type");
  answer.string(report.type);
  answer.string("message");
  answer.string(report.message);
  answer.string("stack");
  answer.array(report.stack.length);
  for (let i = 0; i < report.stack.length; i++) answer.string(report.stack[i]);
}

function readContext(map: Value): Context | null {
  const context = new Context();
  const requestId = map.getString("request_id");
  const name = map.getString("function");
  const version = map.getString("version");
  const deadline = map.get("deadline_ms");
  const memoryLimit = map.get("memory_limit_bytes");
  const fuelLimit = map.get("fuel_limit");
  if (requestId === null || name === null || version === null) return null;
  if (deadline === null || memoryLimit === null || fuelLimit === null) return null;
  if (deadline.kind != Kind.Int || !isInteger(memoryLimit) || !isInteger(fuelLimit)) return null;
  context.requestId = requestId;
  context.function = name;
  context.version = version;
  context.deadlineMs = deadline.asInt;
  context.memoryLimitBytes = memoryLimit.asUint;
  context.fuelLimit = fuelLimit.asUint;
  context.clientContext = map.get("client_context");
  context.tenantId = map.getString("tenant_id");
  context.traceId = map.getString("trace_id");
  return context;
}

function isInteger(value: Value): bool {
  return value.kind == Kind.Int || value.kind == Kind.Uint;
}

let output: Uint8Array | null = null;

/** What an exported entry whose name ends in `_raw` does: bytes in, bytes out. An error that is thrown traps. */
export function rawHandler(pointer: usize, length: usize, handle: (input: Uint8Array) => Uint8Array): u64 {
  if (answered) endEvent();
  const input = new Uint8Array(<i32>length);
  memory.copy(input.dataStart, pointer, length);
  const bytes = handle(input);
  output = bytes;
  answered = true;
  return pack(bytes.dataStart, bytes.length);
}

// ---- what the host does

export const enum Level {
  Trace,
  Debug,
  Info,
  Warn,
  Error,
}

// @ts-ignore: decorator
@external("wasmrun", "log")
declare function hostLog(level: i32, pointer: usize, length: usize): void;

/** Writes a line to the log. */
export function log(level: Level, text: string): void {
  const bytes = String.UTF8.encode(text, false, String.UTF8.ErrorMode.REPLACE);
  hostLog(level, changetype<usize>(bytes), bytes.byteLength);
}

/** What `throw` does with --use abort=wasmrun/abort: the reason goes to the log, and the function traps. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  log(Level.Error, (message === null ? "aborted" : message) + " (" + (file === null ? "?" : file) + ":" + line.toString() + ":" + column.toString() + ")");
  unreachable();
}

/** The answer of a host function: a value, or an error. */
export class Reply {
  constructor(readonly value: Value, readonly error: Report | null) {}
}

const request = new Writer();

/** Calls a host function of the embedding program, which is declared like this:
 *
 *     @external("wasmrun", "db.get")
 *     declare function dbGet(pointer: usize, length: usize): u64;
 *
 *     const reply = call(dbGet, Value.string("user:1"));
 */
export function call(imported: (pointer: usize, length: usize) => u64, value: Value): Reply {
  request.reset();
  request.write(value);
  return readReply(imported(request.start, request.length));
}

function readReply(packed: u64): Reply {
  const reader = new Reader(<usize>(packed >> 32), <usize>(packed & 0xffffffff));
  if (packed == 0 || !reader.enterPair()) return new Reply(Value.nil(), new Report("NoReply", "the host gave no reply"));
  const status = reader.read();
  const value = reader.read();
  if (status.kind == Kind.Int && status.asInt == 0) return new Reply(value, null);
  const type = value.getString("type");
  const message = value.getString("message");
  return new Reply(value, new Report(type === null ? "HostFunctionError" : type, message === null ? "" : message));
}

// @ts-ignore: decorator
@external("wasmrun", "http_request")
declare function httpRequest(pointer: usize, length: usize): u64;

export class Request {
  headers: Map<string, string> = new Map<string, string>();
  body: Uint8Array = new Uint8Array(0);
  /** 0 for what is left of the event's time. */
  timeoutMs: u32 = 0;

  constructor(readonly url: string, readonly method: string = "GET") {}
}

export class Response {
  status: i32 = 0;
  /** Names are in lower case. */
  headers: Map<string, string> = new Map<string, string>();
  /** As the server sent it: nothing is unpacked. */
  body: Uint8Array = new Uint8Array(0);
  /** Of a request that was refused or failed; there is no response then. */
  error: Report | null = null;
}

/** Has the host do an HTTP request. */
export function http(request: Request): Response {
  const headers = Value.map();
  const names = request.headers.keys();
  for (let i = 0; i < names.length; i++) headers.set(names[i], Value.string(request.headers.get(names[i])));
  const sent = Value.map()
    .set("method", Value.string(request.method))
    .set("url", Value.string(request.url))
    .set("headers", headers)
    .set("body", Value.bytes(request.body));
  if (request.timeoutMs != 0) sent.set("timeout_ms", Value.int(request.timeoutMs));
  return readResponse(call(httpRequest, sent));
}

function readResponse(reply: Reply): Response {
  const response = new Response();
  const status = reply.value.get("status");
  const headers = reply.value.get("headers");
  const body = reply.value.get("body");
  response.error = reply.error;
  if (status === null || headers === null || body === null) return response;
  response.status = <i32>status.asInt;
  response.body = body.asBytes;
  const names = headers.asMap.keys();
  for (let i = 0; i < names.length; i++) response.headers.set(names[i], headers.get(names[i])!.asString);
  return response;
}
