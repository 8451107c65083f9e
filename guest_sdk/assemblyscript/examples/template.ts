// Fills in a template: {"template": "Dear {{name}},{{#items}} {{count}} × {{title}}{{/items}}", "data": {"name": …, "items": […]}} gives the text.
//
// {{name}} is a value with &, <, > and " escaped for HTML, {{{name}}} or {{&name}} as it is; a.b looks into maps, and . is the item itself.
// {{#name}} … {{/name}} comes once for each item of an array, or once for another value; not for nil, false, 0, "" and what is missing.
// {{^name}} … {{/name}} comes where that does not. {{! comments }} leave nothing.

import { Context, Kind, Value, fail, handler } from "../wasmrun";
export { wasmrun_alloc, wasmrun_free } from "../wasmrun";

const DEEPEST = 64;

class Tag {
  constructor(readonly kind: string, readonly name: string) {}
}

class Rendering {
  private at: i32 = 0;
  private depth: i32 = 0;
  private skipping: i32 = 0;
  private output: string[] = [];
  private scopes: Value[];
  problem: string | null = null;

  constructor(private readonly template: string, data: Value) {
    this.scopes = [data];
  }

  get text(): string {
    return this.output.join("");
  }

  /** Renders until the end of a section, or of the template if it is "". False after a problem. */
  render(section: string): bool {
    while (true) {
      const start = this.template.indexOf("{{", this.at);
      this.put(this.template.substring(this.at, start < 0 ? this.template.length : start));
      if (start < 0) return section == "" || this.fail("{{#" + section + "}} is not closed");
      const tag = this.tagAt(start);
      if (tag === null) return false;
      if (tag.kind == "/") return tag.name == section || this.fail("{{/" + tag.name + "}} closes nothing");
      if (tag.kind == "#" || tag.kind == "^") {
        if (!this.renderSection(tag)) return false;
      } else if (tag.kind != "!" && this.skipping == 0) {
        if (!this.putValue(tag)) return false;
      }
    }
  }

  private tagAt(start: i32): Tag | null {
    const isTriple = this.template.startsWith("{{{", start);
    const end = this.template.indexOf(isTriple ? "}}}" : "}}", start);
    if (end < 0) {
      this.at = start;
      this.fail("a tag is not closed");
      return null;
    }
    this.at = end + (isTriple ? 3 : 2);
    const inside = this.template.substring(start + (isTriple ? 3 : 2), end).trim();
    if (isTriple) return new Tag("&", inside);
    const kind = inside.charAt(0);
    return kind != "" && "#^/!&".includes(kind) ? new Tag(kind, inside.substring(1).trim()) : new Tag("", inside);
  }

  private renderSection(tag: Tag): bool {
    if (++this.depth > DEEPEST) return this.fail("sections nest too deep");
    const value = this.lookUp(tag.name);
    const isShown = value !== null && isTruthy(value);
    let good = true;
    if (this.skipping != 0 || isShown != (tag.kind == "#")) {
      this.skipping++;
      good = this.render(tag.name);
      this.skipping--;
    } else if (value !== null && value.kind == Kind.Array && isShown) {
      const start = this.at;
      const items = value.asArray;
      for (let i = 0; i < items.length && good; i++) {
        this.at = start;
        good = this.renderWithin(tag.name, items[i]);
      }
    } else {
      good = value !== null ? this.renderWithin(tag.name, value) : this.render(tag.name);
    }
    this.depth--;
    return good;
  }

  private renderWithin(section: string, scope: Value): bool {
    this.scopes.push(scope);
    const good = this.render(section);
    this.scopes.pop();
    return good;
  }

  /** What a name means here: in the innermost scope that has it. */
  private lookUp(name: string): Value | null {
    if (name == ".") return this.scopes[this.scopes.length - 1];
    const names = name.split(".");
    for (let i = this.scopes.length - 1; i >= 0; i--) {
      let value = this.scopes[i].get(names[0]);
      if (value === null) continue;
      for (let k = 1; k < names.length && value !== null; k++) value = value.get(names[k]);
      return value;
    }
    return null;
  }

  private putValue(tag: Tag): bool {
    const value = this.lookUp(tag.name);
    if (value === null || value.isNil) return true;
    switch (value.kind) {
      case Kind.Bool:
        this.put(value.asBool ? "true" : "false");
        return true;
      case Kind.Int:
        this.put(value.asInt.toString());
        return true;
      case Kind.Uint:
        this.put(value.asUint.toString());
        return true;
      case Kind.Float:
        this.put(value.asFloat.toString());
        return true;
      case Kind.String:
        this.put(tag.kind == "&" ? value.asString : escaped(value.asString));
        return true;
      default:
        return this.fail("{{" + tag.name + "}} is no text and no number");
    }
  }

  private put(text: string): void {
    if (this.skipping == 0) this.output.push(text);
  }

  private fail(problem: string): bool {
    let line = 1;
    for (let i = this.template.indexOf("\n"); i >= 0 && i < this.at; i = this.template.indexOf("\n", i + 1)) line++;
    if (this.problem === null) this.problem = "line " + line.toString() + ": " + problem;
    return false;
  }
}

function isTruthy(value: Value): bool {
  switch (value.kind) {
    case Kind.Nil:
      return false;
    case Kind.Bool:
      return value.asBool;
    case Kind.Int:
      return value.asInt != 0;
    case Kind.Float:
      return value.asFloat != 0;
    case Kind.String:
      return value.asString.length != 0;
    case Kind.Array:
      return value.asArray.length != 0;
    default:
      return true;
  }
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

function fillIn(event: Value, context: Context): Value {
  const template = event.getString("template");
  if (template === null) return fail("InvalidEvent", 'the event needs a string "template"');
  const data = event.get("data");
  const rendering = new Rendering(template, data === null ? Value.map() : data);
  if (!rendering.render("")) return fail("InvalidTemplate", rendering.problem!);
  return Value.string(rendering.text);
}

export function wasmrun_handle(pointer: usize, length: usize): u64 {
  return handler(pointer, length, fillIn);
}
