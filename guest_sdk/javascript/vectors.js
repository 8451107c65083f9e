// The guest of the test vectors: ../vectors/README.md says what each entry does.

import { Float, exact, fail as failWith, http } from "wasmrun";
import callVectors from "host:vectors.ask";

let starts = 0;

export function init() {
  starts++;
}

export const echo = exact((event) => event);

export const show_event = exact(show);

export function show_context(_event, context) {
  return {
    request_id: context.requestId,
    function: context.function,
    version: context.version,
    deadline_ms: context.deadlineMs,
    memory_limit_bytes: context.memoryLimitBytes,
    fuel_limit: context.fuelLimit,
    client_context: context.clientContext ?? null,
    tenant_id: context.tenantId ?? null,
    trace_id: context.traceId ?? null,
  };
}

export function fail({ type, message, stack }) {
  failWith(type, message, stack);
}

const LEVELS = ["trace", "debug", "info", "warn", "error"];

export function write_logs(lines) {
  for (const [level, text] of lines ?? []) console[LEVELS[level]](text);
  return null;
}

export function count_starts() {
  return starts;
}

export function fetch(event) {
  return http(event);
}

export const ask = exact((event) => callVectors(event));

function show(value) {
  if (value === null || typeof value === "boolean" || typeof value === "bigint") return String(value);
  if (typeof value === "string") return quoted(value);
  if (value instanceof Float) return bits(value);
  if (typeof value === "number") return Number.isSafeInteger(value) && !Object.is(value, -0) ? String(value) : bits(value);
  if (value instanceof Uint8Array) return `b"${[...value].map((byte) => hex(byte, 2)).join("")}"`;
  if (Array.isArray(value)) return `[${value.map(show).join(",")}]`;
  const keys = Object.keys(value).sort(byBytes);
  return `{${keys.map((key) => `${quoted(key)}:${show(value[key])}`).join(",")}}`;
}

function bits(number) {
  if (Number.isNaN(Number(number))) return "nan";
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, number);
  return `0x${hex(view.getBigUint64(0), 16)}`;
}

function hex(number, digits) {
  return number.toString(16).padStart(digits, "0");
}

function quoted(text) {
  return `"${text.replace(/["\\\0-\x1f]/g, (found) => (found < " " ? `\\u${hex(found.charCodeAt(0), 4)}` : `\\${found}`))}"`;
}

// As UTF-8 would sort, which differs from UTF-16 where characters have two halves.
function byBytes(one, other) {
  const [left, right] = [[...one], [...other]];
  for (let i = 0; i < left.length && i < right.length; i++) {
    if (left[i] !== right[i]) return left[i].codePointAt(0) - right[i].codePointAt(0);
  }
  return left.length - right.length;
}
