// hello: a string in, a map out; the function of the README.

import { Context, Level, Value, fail, handler, log } from "../wasmrun";
export { wasmrun_alloc, wasmrun_free } from "../wasmrun";

function hello(event: Value, context: Context): Value {
  const name = event.getString("name");
  if (name === null) return fail("InvalidEvent", 'the event needs a string "name"');
  log(Level.Info, "greeting somebody");
  return Value.map().set("hello", Value.string(name));
}

export function wasmrun_handle(pointer: usize, length: usize): u64 {
  return handler(pointer, length, hello);
}
