// MessagePack to values and back.

/** Arrays and maps nested deeper than this are refused. */
export const MAX_DEPTH: i32 = 128;

export const enum Kind {
  Nil,
  Bool,
  Int,
  /** An integer above i64.MAX_VALUE. */
  Uint,
  Float,
  String,
  Bytes,
  Array,
  Map,
}

const KINDS: string[] = ["nil", "a boolean", "an integer", "an integer above i64", "a number", "a string", "bytes", "an array", "a map"];

/** Any value. Look at its kind before you take it: `asString` of a number traps, and says why in the log. */
export class Value {
  private constructor(
    readonly kind: Kind,
    private readonly bits: u64 = 0,
    private readonly text: string | null = null,
    private readonly data: Uint8Array | null = null,
    private readonly items: Value[] | null = null,
    private readonly pairs: Map<string, Value> | null = null,
  ) {}

  static nil(): Value {
    return new Value(Kind.Nil);
  }

  static bool(value: bool): Value {
    return new Value(Kind.Bool, u64(value));
  }

  static int(value: i64): Value {
    return new Value(Kind.Int, value);
  }

  static uint(value: u64): Value {
    return new Value(value > u64(i64.MAX_VALUE) ? Kind.Uint : Kind.Int, value);
  }

  static float(value: f64): Value {
    return new Value(Kind.Float, reinterpret<u64>(value));
  }

  static string(value: string): Value {
    return new Value(Kind.String, 0, value);
  }

  static bytes(value: Uint8Array): Value {
    return new Value(Kind.Bytes, 0, null, value);
  }

  static array(items: Value[] = []): Value {
    return new Value(Kind.Array, 0, null, null, items);
  }

  static map(pairs: Map<string, Value> = new Map<string, Value>()): Value {
    return new Value(Kind.Map, 0, null, null, null, pairs);
  }

  private expect(kind: Kind): void {
    if (this.kind != kind) throw new Error("the value is " + KINDS[this.kind] + ", not " + KINDS[kind]);
  }

  get isNil(): bool {
    return this.kind == Kind.Nil;
  }

  get asBool(): bool {
    this.expect(Kind.Bool);
    return this.bits != 0;
  }

  get asInt(): i64 {
    this.expect(Kind.Int);
    return this.bits;
  }

  /** Of an integer that is not negative. */
  get asUint(): u64 {
    if (this.kind != Kind.Uint) this.expect(Kind.Int);
    return this.bits;
  }

  /** Of an integer as well; past 2**53 it is rounded. */
  get asFloat(): f64 {
    if (this.kind == Kind.Int) return <f64>(<i64>this.bits);
    if (this.kind == Kind.Uint) return <f64>this.bits;
    this.expect(Kind.Float);
    return reinterpret<f64>(this.bits);
  }

  get asString(): string {
    this.expect(Kind.String);
    return this.text!;
  }

  get asBytes(): Uint8Array {
    this.expect(Kind.Bytes);
    return this.data!;
  }

  get asArray(): Value[] {
    this.expect(Kind.Array);
    return this.items!;
  }

  /** Its keys are in the order in which they came. */
  get asMap(): Map<string, Value> {
    this.expect(Kind.Map);
    return this.pairs!;
  }

  /** The value of a key; null where it is not there, or this is no map. */
  get(key: string): Value | null {
    if (this.kind != Kind.Map || !this.pairs!.has(key)) return null;
    return this.pairs!.get(key);
  }

  /** The text of a key; null where it is not there, or is none. */
  getString(key: string): string | null {
    const value = this.get(key);
    return value !== null && value.kind == Kind.String ? value.text : null;
  }

  /** Sets a key of a map, and gives the map again. */
  set(key: string, value: Value): Value {
    this.asMap.set(key, value);
    return this;
  }

  /** Adds an item to an array, and gives the array again. */
  push(item: Value): Value {
    this.asArray.push(item);
    return this;
  }
}

const enum Form {
  Nil,
  Bool,
  Int,
  Float,
  Str,
  Bin,
  Array,
  Map,
  Ext,
}

/** Reads bytes in memory, one value after the other. */
export class Reader {
  private end: usize;

  // The head that was read last: what it is, bytes of content or how many items, and the bits of a number.
  private form: Form = Form.Nil;
  private size: usize = 0;
  private bits: u64 = 0;
  private negative: bool = false;

  constructor(private at: usize, length: usize) {
    this.end = at + length;
  }

  /** Whether what is left starts with an array of two values, and has nothing behind it. Moves to the first one. */
  enterPair(): bool {
    const start = this.at;
    if (!this.checked() || this.at != this.end) return false;
    this.at = start;
    return this.head() && this.form == Form.Array && this.size == 2;
  }

  private number(width: usize): bool {
    if (this.end - this.at < width) return false;
    let value: u64 = 0;
    for (let i: usize = 0; i < width; i++) value = (value << 8) | load<u8>(this.at + i);
    this.at += width;
    this.bits = value;
    return true;
  }

  /** The head of the next value. False when it, or the content that it announces, is not all there: an array of n items takes n bytes at least. */
  private head(): bool {
    if (this.at >= this.end) return false;
    const first: u32 = load<u8>(this.at++);
    this.size = 0;
    this.negative = false;
    if (first < 0x80 || first >= 0xe0) {
      this.form = Form.Int;
      this.bits = <u64>(<i64>(<i8>first));
      this.negative = first >= 0xe0;
    } else if (first < 0xa0) {
      this.form = first < 0x90 ? Form.Map : Form.Array;
      this.size = first & 0x0f;
    } else if (first < 0xc0) {
      this.form = Form.Str;
      this.size = first & 0x1f;
    } else if (first == 0xc0) {
      this.form = Form.Nil;
    } else if (first == 0xc1) {
      return false;
    } else if (first < 0xc4) {
      this.form = Form.Bool;
      this.bits = first & 1;
    } else if (first < 0xc7) {
      this.form = Form.Bin;
      if (!this.sized(1 << (first - 0xc4))) return false;
    } else if (first < 0xca) {
      this.form = Form.Ext;
      if (!this.sized(1 << (first - 0xc7))) return false;
    } else if (first < 0xcc) {
      this.form = Form.Float;
      if (!this.number(first == 0xca ? 4 : 8)) return false;
      if (first == 0xca) this.bits = reinterpret<u64>(<f64>reinterpret<f32>(<u32>this.bits));
    } else if (first < 0xd4) {
      this.form = Form.Int;
      const width = 1 << (first & 3);
      if (!this.number(width)) return false;
      if (first >= 0xd0) {
        const unused = 64 - 8 * width;
        const value = <i64>(this.bits << unused) >> unused;
        this.bits = value;
        this.negative = value < 0;
      }
    } else if (first < 0xd9) {
      this.form = Form.Ext;
      this.size = 1 << (first - 0xd4);
    } else if (first < 0xdc) {
      this.form = Form.Str;
      if (!this.sized(1 << (first - 0xd9))) return false;
    } else {
      this.form = first < 0xde ? Form.Array : Form.Map;
      if (!this.sized(2 << (first & 1))) return false;
    }
    if (this.form == Form.Ext) {
      if (this.at >= this.end) return false;
      this.at++;
    }
    const left = this.end - this.at;
    return this.size <= (this.form == Form.Map ? left / 2 : left);
  }

  private sized(width: usize): bool {
    if (!this.number(width)) return false;
    this.size = <usize>this.bits;
    return true;
  }

  /** Moves behind the next value, whatever it is. False when it is malformed, nests too deep or holds what no value is. It does not recurse. */
  private checked(): bool {
    const outer = new StaticArray<usize>(MAX_DEPTH); // how many items the arrays and maps around this one are still missing
    let items: usize = 1;
    let depth = 0;
    while (true) {
      while (items == 0) {
        if (depth == 0) return true;
        items = outer[--depth];
      }
      items--;
      if (!this.head() || this.form == Form.Ext) return false;
      if (this.form == Form.Str || this.form == Form.Bin) {
        this.at += this.size;
      } else if (this.form == Form.Array || this.form == Form.Map) {
        if (depth == MAX_DEPTH) return false;
        outer[depth++] = items;
        items = this.form == Form.Map ? this.size * 2 : this.size;
      }
    }
  }

  private content(): usize {
    const start = this.at;
    this.at += this.size;
    return start;
  }

  /** The next value, of what `enterPair` has checked; a nil in the place of one that is not. */
  read(): Value {
    if (!this.head()) return Value.nil();
    const size = this.size;
    switch (this.form) {
      case Form.Bool:
        return Value.bool(this.bits != 0);
      case Form.Int:
        return this.negative ? Value.int(this.bits) : Value.uint(this.bits);
      case Form.Float:
        return Value.float(reinterpret<f64>(this.bits));
      case Form.Str:
        return Value.string(String.UTF8.decodeUnsafe(this.content(), size));
      case Form.Bin: {
        const data = new Uint8Array(<i32>size);
        memory.copy(data.dataStart, this.content(), size);
        return Value.bytes(data);
      }
      case Form.Array: {
        const items = new Array<Value>();
        for (let i: usize = 0; i < size; i++) items.push(this.read());
        return Value.array(items);
      }
      case Form.Map: {
        const pairs = new Map<string, Value>();
        for (let i: usize = 0; i < size; i++) {
          const key = this.read();
          const value = this.read();
          if (key.kind == Kind.String && !pairs.has(key.asString)) pairs.set(key.asString, value);
        }
        return Value.map(pairs);
      }
      default:
        return Value.nil();
    }
  }
}

/** Writes values one after the other into memory of its own, which it keeps. */
export class Writer {
  start: usize = 0;
  length: usize = 0;
  private capacity: usize = 0;

  reset(): void {
    this.length = 0;
  }

  private claim(size: usize): usize {
    const at = this.length;
    const end = at + size;
    if (end > this.capacity) {
      const capacity = max<usize>(end, max<usize>(this.capacity * 2, 128));
      this.start = this.start == 0 ? heap.alloc(capacity) : heap.realloc(this.start, capacity);
      this.capacity = capacity;
    }
    this.length = end;
    return this.start + at;
  }

  private head(first: u32, number: u64 = 0, width: i32 = 0): void {
    const at = this.claim(1 + width);
    store<u8>(at, <u8>first);
    for (let i = width; i > 0; i--) {
      store<u8>(at + i, <u8>number);
      number >>= 8;
    }
  }

  private sized(size: u32, short: u32, shortest: u32, first8: u32, first16: u32): void {
    if (size < shortest) this.head(short | size);
    else if (first8 != 0 && size <= 0xff) this.head(first8, size, 1);
    else if (size <= 0xffff) this.head(first16, size, 2);
    else this.head(first16 + 1, size, 4);
  }

  /** Then `count` values. */
  array(count: u32): void {
    this.sized(count, 0x90, 16, 0, 0xdc);
  }

  /** Then `count` pairs: a key, its value, a key, … */
  map(count: u32): void {
    this.sized(count, 0x80, 16, 0, 0xde);
  }

  string(value: string): void {
    const size = <u32>String.UTF8.byteLength(value);
    this.sized(size, 0xa0, 32, 0xd9, 0xda);
    const at = this.claim(size);
    String.UTF8.encodeUnsafe(changetype<usize>(value), value.length, at, false, String.UTF8.ErrorMode.REPLACE);
  }

  bytes(value: Uint8Array): void {
    this.sized(value.length, 0, 0, 0xc4, 0xc5);
    memory.copy(this.claim(value.length), value.dataStart, value.length);
  }

  private int(value: i64): void {
    if (value >= 0) this.uint(value);
    else if (value >= -32) this.head(<u32>value & 0xff);
    else if (value >= i8.MIN_VALUE) this.head(0xd0, value, 1);
    else if (value >= i16.MIN_VALUE) this.head(0xd1, value, 2);
    else if (value >= i32.MIN_VALUE) this.head(0xd2, value, 4);
    else this.head(0xd3, value, 8);
  }

  private uint(value: u64): void {
    if (value <= 0x7f) this.head(<u32>value);
    else if (value <= 0xff) this.head(0xcc, value, 1);
    else if (value <= 0xffff) this.head(0xcd, value, 2);
    else if (value <= 0xffffffff) this.head(0xce, value, 4);
    else this.head(0xcf, value, 8);
  }

  write(value: Value): void {
    switch (value.kind) {
      case Kind.Nil:
        return this.head(0xc0);
      case Kind.Bool:
        return this.head(value.asBool ? 0xc3 : 0xc2);
      case Kind.Int:
        return this.int(value.asInt);
      case Kind.Uint:
        return this.uint(value.asUint);
      case Kind.Float:
        return this.head(0xcb, reinterpret<u64>(value.asFloat), 8);
      case Kind.String:
        return this.string(value.asString);
      case Kind.Bytes:
        return this.bytes(value.asBytes);
      case Kind.Array: {
        const items = value.asArray;
        this.array(items.length);
        for (let i = 0; i < items.length; i++) this.write(items[i]);
        return;
      }
      case Kind.Map: {
        const pairs = value.asMap;
        const keys = pairs.keys();
        this.map(keys.length);
        for (let i = 0; i < keys.length; i++) {
          this.string(keys[i]);
          this.write(pairs.get(keys[i]));
        }
        return;
      }
    }
  }
}
