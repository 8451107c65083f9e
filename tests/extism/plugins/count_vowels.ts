// Built with Extism's AssemblyScript PDK; test_extism_plugins.py tells how.
import { Config, Host, LogLevel, Memory, Var } from "@extism/as-pdk";
import { error_set } from "@extism/as-pdk/lib/env";

function abort(message: string | null, fileName: string | null, line: u32, column: u32): void {
  unreachable();
}

export function count_vowels(): i32 {
  const text = Host.inputString();
  let vowels = Config.get("vowels");
  if (vowels === null) vowels = "aeiouAEIOU";
  let count = 0;
  for (let i = 0; i < text.length; i++) if (vowels.includes(text.charAt(i))) count++;
  let total = count;
  const before = Var.getString("total");
  if (before !== null) total += I32.parseInt(before);
  Var.set("total", Uint8Array.wrap(String.UTF8.encode(total.toString())));
  Host.log(LogLevel.Info, "counted");
  Host.outputString('{"count": ' + count.toString() + ', "total": ' + total.toString() + "}");
  return 0;
}

export function fail(): i32 {
  error_set(Memory.allocateString("cannot: " + Host.inputString()).offset);
  return 1;
}
