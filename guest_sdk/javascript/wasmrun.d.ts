// What JavaScript functions find in wasmrun, for editors and for tsc.

declare module "wasmrun" {
  /** What handlers may answer, and host functions may be given. Objects with toJSON are sent as that says. */
  export type Value =
    | null
    | undefined
    | boolean
    | number
    | bigint
    | string
    | Uint8Array
    | ArrayBuffer
    | Float
    | Date
    | Value[]
    | Set<Value>
    | Map<string, Value>
    | { [key: string]: Value };

  /** The second argument of a handler. */
  export interface Context {
    requestId: string;
    function: string;
    version: string;
    /** When the event's time is over, in milliseconds as of Date.now(). */
    deadlineMs: number;
    memoryLimitBytes: number;
    /** 0 where fuel is not metered. */
    fuelLimit: number | bigint;
    clientContext?: any;
    tenantId?: string;
    traceId?: string;
  }

  export type Handler = (event: any, context: Context) => Value | Promise<Value>;

  /** Reports an error: throws one of this name, with this message, and with these lines as its stack where they are given. */
  export function fail(type: string, message?: string, stack?: string[]): never;

  export interface Request {
    url: string;
    method?: string;
    headers?: Record<string, string>;
    body?: string | Uint8Array | null;
    timeoutMs?: number;
  }

  export interface Response {
    status: number;
    /** Names are in lower case. */
    headers: Record<string, string>;
    body: Uint8Array;
  }

  /** Has the host do a request. What was not done is thrown, as an error of the name that the host gives it. */
  export function http(request: string | Request): Response;

  /** A number that is sent as a float even where it is whole: new Float(2) is 2.0 elsewhere, and 2 is an integer. */
  export class Float extends Number {}

  /** A handler that gets whole floats as Float, so that 2.0 in its event, and in what the host answers it, is not 2. */
  export function exact<T extends (...args: any[]) => any>(handler: T): T;
}

/** A host function of the embedding program: import find from "host:db.find". What it raises is thrown. */
declare module "host:*" {
  const call: (value?: import("wasmrun").Value) => any;
  export default call;
}

declare var console: Record<"trace" | "debug" | "log" | "info" | "warn" | "error", (...values: unknown[]) => void>;

declare class TextEncoder {
  readonly encoding: "utf-8";
  encode(text?: string): Uint8Array;
}

declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  readonly encoding: "utf-8";
  decode(bytes?: ArrayBuffer | ArrayBufferView): string;
}

declare var crypto: {
  getRandomValues<T extends ArrayBufferView>(view: T): T;
  randomUUID(): string;
};

declare var performance: { now(): number; readonly timeOrigin: number };

declare function queueMicrotask(callback: () => void): void;
