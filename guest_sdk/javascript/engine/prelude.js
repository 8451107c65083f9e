// The module "wasmrun", and the globals that QuickJS itself does not have. Runs once, before the function's own modules.

import * as native from "wasmrun:native";

// ---- the module

export class Float extends Number {
  toJSON() {
    return this.valueOf();
  }
}
Object.freeze(Float);
Object.freeze(Float.prototype);

function failure(type, message, above) {
  const error = new Error(message);
  Object.defineProperty(error, "name", { value: String(type), configurable: true, writable: true });
  Error.captureStackTrace(error, above);
  return error;
}

export function fail(type, message = "", stack = undefined) {
  const error = failure(type, message, fail);
  if (stack !== undefined) Object.defineProperty(error, "stack", { value: stack.map(String), configurable: true, writable: true });
  throw error;
}

export function http(request) {
  if (typeof request === "string") request = { url: request };
  const { timeoutMs, ...rest } = request;
  return native.call("http_request", timeoutMs === undefined ? rest : { ...rest, timeout_ms: timeoutMs });
}

export const exact = native.exact;

// What C calls by name.
native.setHooks(
  Float.prototype,
  (collection) => (collection instanceof Set ? [...collection] : Object.fromEntries(entries(collection))),
  (type, message) => failure(type, message, undefined),
  inspect,
);

function* entries(map) {
  for (const [key, value] of map) {
    if (typeof key !== "string") throw new TypeError(`a Map with keys that are no strings cannot be sent: ${inspect(key)}`);
    yield [key, value];
  }
}

// ---- globals

const MOST_DEEP = 6;
const MOST_ITEMS = 100;

function inspect(value, seen = []) {
  switch (typeof value) {
    case "string":
      return seen.length ? JSON.stringify(value) : value;
    case "bigint":
      return `${value}n`;
    case "symbol":
      return String(value);
    case "function":
      return `[function ${value.name || "(anonymous)"}]`;
    case "object":
      break;
    default:
      return Object.is(value, -0) ? "-0" : String(value);
  }
  if (value === null) return "null";
  if (value instanceof Error) {
    const stack = Array.isArray(value.stack) ? value.stack.join("\n") : String(value.stack ?? "");
    const text = `${value.name}: ${value.message}${stack && `\n${stack.trimEnd()}`}`;
    return value.cause === undefined ? text : `${text}\ncaused by ${inspect(value.cause, [...seen, value])}`;
  }
  if (seen.includes(value)) return "[circular]";
  if (seen.length === MOST_DEEP) return Array.isArray(value) ? "[…]" : "{…}";
  seen = [...seen, value];
  if (value instanceof Date) return isNaN(value) ? "Invalid Date" : value.toISOString();
  if (value instanceof RegExp || value instanceof Number || value instanceof Boolean) return String(value);
  if (value instanceof Promise) return "[promise]";
  if (value instanceof ArrayBuffer) return `ArrayBuffer(${value.byteLength})`;
  if (Array.isArray(value)) return `[${listed(value, (item) => inspect(item, seen))}]`;
  if (ArrayBuffer.isView(value)) {
    const name = value[Symbol.toStringTag] ?? "DataView";
    return value instanceof DataView ? `${name}(${value.byteLength})` : `${name}(${value.length}) [${listed(value, String)}]`;
  }
  if (value instanceof Set) return `Set(${value.size}) {${listed(value, (item) => inspect(item, seen))}}`;
  const pair = ([key, item]) => `${typeof key === "string" ? key : inspect(key, seen)}: ${inspect(item, seen)}`;
  if (value instanceof Map) return `Map(${value.size}) {${listed(value, pair)}}`;
  const name = Object.getPrototypeOf(value)?.constructor?.name ?? "";
  const list = listed(Object.entries(value), pair);
  return `${name && name !== "Object" ? `${name} ` : ""}{${list}}`;
}

function listed(items, each) {
  const shown = [];
  for (const item of items) {
    if (shown.length === MOST_ITEMS) {
      shown.push("…");
      break;
    }
    shown.push(each(item));
  }
  return shown.join(", ");
}

const logs = (level) => (...values) => native.log(level, values.map((value) => inspect(value)).join(" "));

const define = (name, value) =>
  Object.defineProperty(globalThis, name, { value, configurable: true, enumerable: false, writable: true });

define("console", { trace: logs(0), debug: logs(1), log: logs(2), info: logs(2), warn: logs(3), error: logs(4) });

define(
  "TextEncoder",
  class TextEncoder {
    get encoding() {
      return "utf-8";
    }
    encode(text = "") {
      return native.encode(String(text));
    }
  },
);

define(
  "TextDecoder",
  class TextDecoder {
    #isFatal;
    #keepsMark;
    constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
      if (!/^\s*(unicode-1-1-)?utf-?8\s*$/i.test(label)) throw new RangeError(`there is no decoder for ${label}, only for utf-8`);
      this.#isFatal = Boolean(fatal);
      this.#keepsMark = Boolean(ignoreBOM);
    }
    get encoding() {
      return "utf-8";
    }
    get fatal() {
      return this.#isFatal;
    }
    get ignoreBOM() {
      return this.#keepsMark;
    }
    decode(bytes = new Uint8Array(), { stream = false } = {}) {
      if (stream) throw new TypeError("a TextDecoder takes all of the bytes at once here");
      const view = ArrayBuffer.isView(bytes)
        ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
        : new Uint8Array(bytes);
      const text = native.decode(view, this.#isFatal);
      return !this.#keepsMark && text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
    }
  },
);

const MOST_RANDOM_BYTES = 65536;

define("crypto", {
  getRandomValues(view) {
    if (!ArrayBuffer.isView(view) || view instanceof DataView || /^(Big)?.*Float/.test(view[Symbol.toStringTag])) {
      throw new TypeError("getRandomValues takes a typed array of integers");
    }
    if (view.byteLength > MOST_RANDOM_BYTES) throw new RangeError(`getRandomValues gives at most ${MOST_RANDOM_BYTES} bytes at once`);
    new Uint8Array(view.buffer, view.byteOffset, view.byteLength).set(native.random(view.byteLength));
    return view;
  },
  randomUUID() {
    const bytes = native.random(16);
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  },
});

define("performance", {
  now: () => native.clocks()[0],
  get timeOrigin() {
    return native.clocks()[1];
  },
});
