import { fail } from "wasmrun";

export function handle(event, context) {
  if (typeof event?.name !== "string") fail("InvalidEvent", 'the event needs a string "name"');
  console.info("greeting somebody");
  return { hello: event.name };
}
