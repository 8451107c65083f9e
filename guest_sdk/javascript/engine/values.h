/* MessagePack to JavaScript's values and back, without recursion: whatever an event holds, the stack does not grow. */

enum { MOST_LEVELS = 256 };

static const double SAFE = 9007199254740991.0; /* 2**53 - 1: up to here, a number is one integer and no other */

/* Of the class Float, which whole floats are made into where `is_exact` says so: see exact() in wasmrun.d.ts. */
static JSValue float_prototype;

static bool is_float_object(JSValueConst value) {
    return JS_GetClassID(value) == JS_CLASS_NUMBER
        && JS_VALUE_GET_OBJ(value)->shape->proto == JS_VALUE_GET_OBJ(float_prototype);
}

/* ---- reading */

typedef struct {
    const uint8_t *at, *end;
    const char *problem; /* what is wrong with the input; nothing while it is well-formed */
} Reader;

static JSValue damaged(Reader *from, const char *problem) {
    if (!from->problem) from->problem = problem;
    return JS_EXCEPTION;
}

static const char CUT_OFF[] = "the input ends where more was to come";
static const char TOO_DEEP[] = "the input is nested too deep";
static const char NOT_VALUES[] = "the input is not well-formed MessagePack";

static bool has(Reader *from, uint32_t bytes) {
    if ((size_t)(from->end - from->at) >= bytes) return true;
    damaged(from, CUT_OFF);
    return false;
}

/* The next number, which has 1, 2, 4 or 8 bytes; 0 where they are not there. */
static uint64_t read_number(Reader *from, uint32_t bytes) {
    uint64_t number = 0;
    if (!has(from, bytes)) return 0;
    while (bytes--) number = number << 8 | *from->at++;
    return number;
}

enum { NIL, BOOLEAN, UNSIGNED, SIGNED, FLOAT, TEXT, BYTES, ARRAY, MAP, DAMAGED };

typedef struct {
    uint8_t kind;
    uint64_t bits; /* the number; else how many bytes, items or pairs */
} Head;

/* What comes next, and what its head says; text and bytes are all there. */
static Head read_head(Reader *from) {
    Head head = {DAMAGED, 0};
    double number;
    float small;
    uint32_t bits;
    uint8_t byte;
    if (!has(from, 1)) return head;
    byte = *from->at++;
    if (byte < 0x80 || byte >= 0xe0) {
        head = (Head){byte < 0x80 ? UNSIGNED : SIGNED, (uint64_t)(int64_t)(int8_t)byte};
    } else if (byte < 0xc0) {
        head = byte < 0x90 ? (Head){MAP, byte & 15} : byte < 0xa0 ? (Head){ARRAY, byte & 15} : (Head){TEXT, byte & 31};
    } else switch (byte) {
    case 0xc0: head.kind = NIL; break;
    case 0xc2: case 0xc3: head = (Head){BOOLEAN, byte & 1}; break;
    case 0xc4: case 0xc5: case 0xc6: head = (Head){BYTES, read_number(from, 1u << (byte - 0xc4))}; break;
    case 0xca:
        bits = (uint32_t)read_number(from, 4);
        memcpy(&small, &bits, 4);
        number = small;
        head.kind = FLOAT;
        memcpy(&head.bits, &number, 8);
        break;
    case 0xcb: head = (Head){FLOAT, read_number(from, 8)}; break;
    case 0xcc: case 0xcd: case 0xce: case 0xcf: head = (Head){UNSIGNED, read_number(from, 1u << (byte - 0xcc))}; break;
    case 0xd0: head = (Head){SIGNED, (uint64_t)(int64_t)(int8_t)read_number(from, 1)}; break;
    case 0xd1: head = (Head){SIGNED, (uint64_t)(int64_t)(int16_t)read_number(from, 2)}; break;
    case 0xd2: head = (Head){SIGNED, (uint64_t)(int64_t)(int32_t)read_number(from, 4)}; break;
    case 0xd3: head = (Head){SIGNED, read_number(from, 8)}; break;
    case 0xd9: case 0xda: case 0xdb: head = (Head){TEXT, read_number(from, 1u << (byte - 0xd9))}; break;
    case 0xdc: case 0xdd: head = (Head){ARRAY, read_number(from, 2u << (byte - 0xdc))}; break;
    case 0xde: case 0xdf: head = (Head){MAP, read_number(from, 2u << (byte - 0xde))}; break;
    default: damaged(from, NOT_VALUES);
    }
    /* Each item takes a byte, so that no count promises more than there is. */
    if (head.kind >= TEXT && head.kind <= MAP) has(from, head.kind == MAP ? (uint32_t)head.bits * 2 : (uint32_t)head.bits);
    if (head.kind == MAP && head.bits > UINT32_MAX / 2) damaged(from, CUT_OFF);
    if (from->problem) head.kind = DAMAGED;
    return head;
}

static JSValue new_float(JSContext *ctx, double number) {
    if (low->is_exact && number == trunc(number) && fabs(number) <= SAFE && !(number == 0 && signbit(number))) {
        JSValue value = JS_NewObjectProtoClass(ctx, float_prototype, JS_CLASS_NUMBER);
        if (!JS_IsException(value)) JS_VALUE_GET_OBJ(value)->u.object_data = JS_NewFloat64(ctx, number);
        return value;
    }
    return js_number(number);
}

/* A value that holds no others. */
static JSValue read_leaf(JSContext *ctx, Reader *from, Head head) {
    JSValue value = JS_UNDEFINED;
    double number;
    int64_t integer = (int64_t)head.bits;
    switch (head.kind) {
    case NIL: value = JS_NULL; break;
    case BOOLEAN: value = JS_NewBool(ctx, head.bits != 0); break;
    case UNSIGNED: value = head.bits <= (uint64_t)SAFE ? JS_NewInt64(ctx, integer) : JS_NewBigUint64(ctx, head.bits); break;
    case SIGNED:
        value = integer >= -(int64_t)SAFE && integer <= (int64_t)SAFE ? JS_NewInt64(ctx, integer) : JS_NewBigInt64(ctx, integer);
        break;
    case FLOAT:
        memcpy(&number, &head.bits, 8);
        value = new_float(ctx, number);
        break;
    case TEXT:
        value = JS_NewStringLen(ctx, (const char *)from->at, (size_t)head.bits);
        from->at += head.bits;
        break;
    case BYTES:
        value = JS_NewUint8ArrayCopy(ctx, from->at, (size_t)head.bits);
        from->at += head.bits;
        break;
    }
    return value;
}

static Open opened_far[MOST_LEVELS - NEAR_LEVELS];

static Open *opened(uint32_t level) { return level < NEAR_LEVELS ? &low->opened[level] : &opened_far[level - NEAR_LEVELS]; }

/* The next value; an exception where the input is damaged, which `problem` says then, or memory ran out. */
static JSValue read_value(JSContext *ctx, Reader *from) {
    uint32_t depth = 0;
    JSValue value;
    for (;;) {
        Head head = read_head(from);
        if (head.kind == DAMAGED) goto fail;
        if (head.kind == ARRAY || head.kind == MAP) {
            value = head.kind == MAP ? JS_NewObject(ctx) : JS_NewArray(ctx);
            if (JS_IsException(value)) goto fail;
            if (head.bits) {
                if (depth == MOST_LEVELS) {
                    JS_FreeValue(ctx, value);
                    damaged(from, TOO_DEEP);
                    goto fail;
                }
                *opened(depth++) = (Open){value, 0, (uint32_t)head.bits, JS_ATOM_NULL, head.kind == MAP};
                goto next;
            }
        } else {
            value = read_leaf(ctx, from, head);
            if (JS_IsException(value)) goto fail;
        }
        /* A value is complete, and with it perhaps those around it. */
        while (depth) {
            Open *open = opened(depth - 1);
            int done;
            if (open->is_map) {
                done = JS_DefinePropertyValue(ctx, open->object, open->key, value, JS_PROP_C_W_E);
                JS_FreeAtom(ctx, open->key);
                open->key = JS_ATOM_NULL;
            } else {
                done = JS_DefinePropertyValueUint32(ctx, open->object, open->next, value, JS_PROP_C_W_E);
            }
            if (done < 0) goto fail;
            if (++open->next < open->count) break;
            value = open->object;
            depth--;
        }
        if (!depth) return value;
    next:
        if (opened(depth - 1)->is_map) {
            Head key = read_head(from);
            if (key.kind == DAMAGED) goto fail;
            if (key.kind != TEXT) {
                damaged(from, "a key in the input is no text");
                goto fail;
            }
            opened(depth - 1)->key = JS_NewAtomLen(ctx, (const char *)from->at, (size_t)key.bits);
            if (opened(depth - 1)->key == JS_ATOM_NULL) goto fail;
            from->at += key.bits;
        }
    }
fail:
    while (depth) {
        depth--;
        JS_FreeAtom(ctx, opened(depth)->key);
        JS_FreeValue(ctx, opened(depth)->object);
    }
    return JS_EXCEPTION;
}

/* ---- writing */

/* Room for as many bytes; nothing where memory ran out, and an exception is thrown. */
static uint8_t *reserve(JSContext *ctx, Writer *to, uint32_t bytes) {
    if (!to->data || to->room - to->used < bytes) {
        uint64_t wanted = (uint64_t)to->room * 2;
        uint8_t *data;
        if (wanted < (uint64_t)to->used + bytes) wanted = (uint64_t)to->used + bytes;
        if (wanted < 256) wanted = 256;
        data = wanted > INT32_MAX ? NULL : heap_realloc(NULL, to->data, (size_t)wanted);
        if (!data) {
            JS_ThrowOutOfMemory(ctx);
            return NULL;
        }
        to->data = data;
        to->room = (uint32_t)wanted;
    }
    return to->data + to->used;
}

static void put_bits(uint8_t *to, uint64_t bits, uint32_t bytes) {
    while (bytes--) {
        to[bytes] = (uint8_t)bits;
        bits >>= 8;
    }
}

/* A first byte, and a number of as many bytes behind it. */
static int write_head(JSContext *ctx, Writer *to, uint8_t first, uint64_t bits, uint32_t bytes) {
    uint8_t *at = reserve(ctx, to, 9);
    if (!at) return -1;
    *at = first;
    put_bits(at + 1, bits, bytes);
    to->used += 1 + bytes;
    return 0;
}

/* The head of what has a length: *small* is the first byte of a short one, *sized* that of one with a number. */
static int write_length(JSContext *ctx, Writer *to, uint64_t length, uint8_t small, uint32_t most_small, const uint8_t sized[3]) {
    if (small && length <= most_small) return write_head(ctx, to, (uint8_t)(small | length), 0, 0);
    if (length <= 0xff && sized[0]) return write_head(ctx, to, sized[0], length, 1);
    if (length <= 0xffff) return write_head(ctx, to, sized[1], length, 2);
    return write_head(ctx, to, sized[2], length, 4);
}

static const uint8_t OF_TEXT[] = {0xd9, 0xda, 0xdb}, OF_BYTES[] = {0xc4, 0xc5, 0xc6}, OF_ARRAY[] = {0, 0xdc, 0xdd};

static int write_integer(JSContext *ctx, Writer *to, int64_t number) {
    if (number >= 0) {
        if (number < 0x80) return write_head(ctx, to, (uint8_t)number, 0, 0);
        if (number <= 0xff) return write_head(ctx, to, 0xcc, (uint64_t)number, 1);
        if (number <= 0xffff) return write_head(ctx, to, 0xcd, (uint64_t)number, 2);
        if (number <= 0xffffffff) return write_head(ctx, to, 0xce, (uint64_t)number, 4);
        return write_head(ctx, to, 0xcf, (uint64_t)number, 8);
    }
    if (number >= -32) return write_head(ctx, to, (uint8_t)number, 0, 0);
    if (number >= INT32_MIN) return write_head(ctx, to, 0xd2, (uint64_t)number, 4);
    return write_head(ctx, to, 0xd3, (uint64_t)number, 8);
}

static int write_float(JSContext *ctx, Writer *to, double number) {
    uint64_t bits;
    memcpy(&bits, &number, 8);
    return write_head(ctx, to, 0xcb, bits, 8);
}

/* A number as JavaScript has it: a whole one is an integer. */
static int write_number(JSContext *ctx, Writer *to, double number) {
    if (fabs(number) <= SAFE && number == trunc(number) && !(number == 0 && signbit(number))) {
        return write_integer(ctx, to, (int64_t)number);
    }
    return write_float(ctx, to, number);
}

static int write_bigint(JSContext *ctx, Writer *to, JSValueConst value) {
    int64_t number;
    JSValue same;
    bool is_it;
    if (JS_ToBigInt64(ctx, &number, value) < 0) return -1;
    same = JS_NewBigInt64(ctx, number);
    if (JS_IsException(same)) return -1;
    is_it = JS_IsStrictEqual(ctx, same, value);
    JS_FreeValue(ctx, same);
    if (is_it) return write_integer(ctx, to, number);
    same = JS_NewBigUint64(ctx, (uint64_t)number);
    if (JS_IsException(same)) return -1;
    is_it = JS_IsStrictEqual(ctx, same, value);
    JS_FreeValue(ctx, same);
    if (is_it) return write_head(ctx, to, 0xcf, (uint64_t)number, 8);
    JS_ThrowRangeError(ctx, "a BigInt of more than 64 bits cannot be sent");
    return -1;
}

/* UTF-16 as UTF-8, with U+FFFD for halves of characters; where `to` is null, only its length. */
static size_t put_wide(uint8_t *to, const uint16_t *units, uint32_t count) {
    size_t length = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t c = units[i];
        if (c >= 0xd800 && c < 0xe000) {
            if (c < 0xdc00 && i + 1 < count && units[i + 1] >= 0xdc00 && units[i + 1] < 0xe000) {
                c = 0x10000 + ((c - 0xd800) << 10) + (units[++i] - 0xdc00);
            } else {
                c = 0xfffd;
            }
        }
        if (to) {
            if (c < 0x80) {
                to[length] = (uint8_t)c;
            } else if (c < 0x800) {
                to[length] = (uint8_t)(0xc0 | c >> 6);
                to[length + 1] = (uint8_t)(0x80 | (c & 63));
            } else if (c < 0x10000) {
                to[length] = (uint8_t)(0xe0 | c >> 12);
                to[length + 1] = (uint8_t)(0x80 | (c >> 6 & 63));
                to[length + 2] = (uint8_t)(0x80 | (c & 63));
            } else {
                to[length] = (uint8_t)(0xf0 | c >> 18);
                to[length + 1] = (uint8_t)(0x80 | (c >> 12 & 63));
                to[length + 2] = (uint8_t)(0x80 | (c >> 6 & 63));
                to[length + 3] = (uint8_t)(0x80 | (c & 63));
            }
        }
        length += c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    }
    return length;
}

/* The bytes of a string, at the end of what was written; with a head where it is a value. */
static int write_utf8(JSContext *ctx, Writer *to, JSString *string, bool has_head) {
    uint32_t count = string->len;
    size_t length;
    uint8_t *at;
    if (string->is_wide_char) {
        length = put_wide(NULL, str16(string), count);
    } else {
        length = count;
        for (uint32_t i = 0; i < count; i++) length += str8(string)[i] >> 7;
    }
    if (has_head && write_length(ctx, to, length, 0xa0, 31, OF_TEXT) < 0) return -1;
    at = reserve(ctx, to, (uint32_t)length);
    if (!at) return -1;
    if (string->is_wide_char) {
        put_wide(at, str16(string), count);
    } else if (length == count) {
        memcpy(at, str8(string), length);
    } else {
        for (uint32_t i = 0; i < count; i++) {
            uint8_t c = str8(string)[i];
            if (c < 0x80) {
                *at++ = c;
            } else {
                *at++ = (uint8_t)(0xc0 | c >> 6);
                *at++ = (uint8_t)(0x80 | (c & 63));
            }
        }
    }
    to->used += (uint32_t)length;
    return 0;
}

static int write_string(JSContext *ctx, Writer *to, JSValueConst value, bool has_head) {
    JSValue string = JS_ToString(ctx, value);
    int done;
    if (JS_IsException(string)) return -1;
    if (JS_VALUE_GET_TAG(string) == JS_TAG_STRING_ROPE) {
        JSValue flat = js_linearize_string_rope(ctx, string);
        JS_FreeValue(ctx, string);
        if (JS_IsException(flat)) return -1;
        string = flat;
    }
    done = write_utf8(ctx, to, JS_VALUE_GET_STRING(string), has_head);
    JS_FreeValue(ctx, string);
    return done;
}

static int write_text(JSContext *ctx, Writer *to, const char *text) {
    size_t length = strlen(text);
    uint8_t *at;
    if (write_length(ctx, to, length, 0xa0, 31, OF_TEXT) < 0 || !(at = reserve(ctx, to, (uint32_t)length))) return -1;
    memcpy(at, text, length);
    to->used += (uint32_t)length;
    return 0;
}

static int write_bytes(JSContext *ctx, Writer *to, JSValueConst view) {
    size_t length = 0, offset = 0, size = 0;
    JSValue buffer = JS_UNDEFINED;
    uint8_t *data, *at;
    if (JS_GetClassID(view) == JS_CLASS_ARRAY_BUFFER || JS_GetClassID(view) == JS_CLASS_SHARED_ARRAY_BUFFER) {
        data = JS_GetArrayBuffer(ctx, &length, view);
    } else {
        buffer = JS_GetTypedArrayBuffer(ctx, view, &offset, &length, &size);
        if (JS_IsException(buffer)) return -1;
        data = JS_GetArrayBuffer(ctx, &size, buffer);
        JS_FreeValue(ctx, buffer); /* the view has it as well */
        if (data) data += offset;
    }
    if (!data && length) return -1;
    if (write_length(ctx, to, length, 0, 0, OF_BYTES) < 0 || !(at = reserve(ctx, to, (uint32_t)length))) return -1;
    if (length) memcpy(at, data, length);
    to->used += (uint32_t)length;
    return 0;
}

static Begun begun_far[MOST_LEVELS - NEAR_LEVELS];

static Begun *begun(uint32_t level) { return level < NEAR_LEVELS ? &low->begun[level] : &begun_far[level - NEAR_LEVELS]; }

static JSValue unfold; /* of the prelude: a Map or a Set as an object or an array */

static bool is_left_out(JSContext *ctx, JSValueConst value) {
    return JS_IsUndefined(value) || JS_IsSymbol(value) || JS_IsFunction(ctx, value);
}

static int begin_array(JSContext *ctx, Writer *to, JSValue array) {
    int64_t count;
    if (JS_GetLength(ctx, array, &count) < 0) return -1;
    if (count > UINT32_MAX) {
        JS_ThrowRangeError(ctx, "an array is too long to be sent");
        return -1;
    }
    if (write_length(ctx, to, (uint64_t)count, 0x90, 15, OF_ARRAY) < 0) return -1;
    *begun(low->levels++) = (Begun){array, NULL, NULL, 0, (uint32_t)count, 0, 0};
    return 0;
}

/* Whether an object is nothing but values under names, so that its shape tells all about it. */
static bool is_plain(JSValueConst object) {
    JSObject *p = JS_VALUE_GET_OBJ(object);
    if (p->class_id != JS_CLASS_OBJECT || p->is_exotic) return false;
    for (int i = 0; i < p->shape->prop_count; i++) {
        if (p->shape->prop[i].flags & JS_PROP_TMASK) return false;
    }
    return true;
}

static int begin_object(JSContext *ctx, Writer *to, JSValue object) {
    JSPropertyEnum *names = NULL;
    JSShape *shape = NULL;
    uint32_t count, head = to->used;
    if (is_plain(object)) {
        shape = JS_VALUE_GET_OBJ(object)->shape;
        count = (uint32_t)shape->prop_count;
    } else if (JS_GetOwnPropertyNames(ctx, &names, &count, object, JS_GPN_STRING_MASK | JS_GPN_ENUM_ONLY) < 0) {
        return -1;
    }
    /* Its length is known when the values are: some are left out. */
    if (write_head(ctx, to, 0, 0, count < 16 ? 0 : count <= 0xffff ? 2 : 4) < 0) {
        if (names) JS_FreePropertyEnum(ctx, names, count);
        return -1;
    }
    *begun(low->levels++) = (Begun){object, names, shape, 0, count, head, 0};
    return 0;
}

/* The next value of an object, and its name; a name of none where there is nothing to be written. */
static int next_of_object(JSContext *ctx, Begun *at, JSAtom *name, JSValue *item) {
    uint32_t index = at->next++;
    *name = JS_ATOM_NULL;
    if (at->shape) {
        JSObject *p = JS_VALUE_GET_OBJ(at->object);
        JSShapeProperty *property = &p->shape->prop[index];
        if (p->shape != at->shape || (uint32_t)p->shape->prop_count != at->count || property->flags & JS_PROP_TMASK) {
            JS_ThrowTypeError(ctx, "an object changed while it was being sent");
            return -1;
        }
        if (property->atom == JS_ATOM_NULL || !(property->flags & JS_PROP_ENUMERABLE)) return 0;
        if (!__JS_AtomIsTaggedInt(property->atom) && JS_AtomGetKind(ctx, property->atom) != JS_ATOM_KIND_STRING) return 0;
        *item = js_dup(p->prop[index].u.value);
        *name = property->atom;
    } else {
        *item = JS_GetProperty(ctx, at->object, at->names[index].atom);
        if (JS_IsException(*item)) return -1;
        *name = at->names[index].atom;
    }
    if (is_left_out(ctx, *item)) {
        JS_FreeValue(ctx, *item);
        *name = JS_ATOM_NULL;
    }
    return 0;
}

/* A name, without a reference of its own: that would be written down where the name is. */
static int write_name(JSContext *ctx, Writer *to, JSAtom name) {
    char digits[11];
    if (!__JS_AtomIsTaggedInt(name)) return write_utf8(ctx, to, ctx->rt->atom_array[name], true);
    snprintf(digits, sizeof digits, "%u", (unsigned)__JS_AtomToUInt32(name));
    return write_text(ctx, to, digits);
}

static void end_level(JSContext *ctx, Writer *to, bool is_whole) {
    Begun *ended = begun(--low->levels);
    if (ended->names) JS_FreePropertyEnum(ctx, ended->names, ended->count);
    if ((ended->names || ended->shape) && is_whole) {
        uint8_t *at = to->data + ended->head;
        if (ended->count < 16) {
            *at = (uint8_t)(0x80 | ended->written);
        } else {
            *at = ended->count <= 0xffff ? 0xde : 0xdf;
            put_bits(at + 1, ended->written, ended->count <= 0xffff ? 2 : 4);
        }
    }
    JS_FreeValue(ctx, ended->object);
}

/* Writes a value that holds no others, or begins one that does. It is the callee's, whatever happens. */
static int begin_value(JSContext *ctx, Writer *to, JSValue value) {
    int done = -1;
    int tag = JS_VALUE_GET_NORM_TAG(value);
    bool was_asked = false;
again:
    switch (tag) {
    case JS_TAG_INT: return write_integer(ctx, to, JS_VALUE_GET_INT(value));
    case JS_TAG_FLOAT64: return write_number(ctx, to, JS_VALUE_GET_FLOAT64(value));
    case JS_TAG_BOOL: return write_head(ctx, to, JS_VALUE_GET_BOOL(value) ? 0xc3 : 0xc2, 0, 0);
    case JS_TAG_STRING:
    case JS_TAG_STRING_ROPE: done = write_string(ctx, to, value, true); break;
    case JS_TAG_BIG_INT:
    case JS_TAG_SHORT_BIG_INT: done = write_bigint(ctx, to, value); break;
    case JS_TAG_OBJECT: {
        JSValue method;
        switch (JS_GetClassID(value)) {
        case JS_CLASS_ARRAY_BUFFER:
        case JS_CLASS_SHARED_ARRAY_BUFFER:
        case JS_CLASS_UINT8_ARRAY:
        case JS_CLASS_UINT8C_ARRAY: done = write_bytes(ctx, to, value); goto end;
        case JS_CLASS_PROMISE: JS_ThrowTypeError(ctx, "a Promise cannot be sent; was an await left out?"); goto end;
        case JS_CLASS_NUMBER:
            if (is_float_object(value)) {
                JSValueConst inner = JS_VALUE_GET_OBJ(value)->u.object_data;
                bool is_int = JS_VALUE_GET_TAG(inner) == JS_TAG_INT;
                done = write_float(ctx, to, is_int ? JS_VALUE_GET_INT(inner) : JS_VALUE_GET_FLOAT64(inner));
                goto end;
            }
            /* fall through */
        case JS_CLASS_STRING:
        case JS_CLASS_BOOLEAN:
        case JS_CLASS_BIG_INT: {
            JSValue inner = js_dup(JS_VALUE_GET_OBJ(value)->u.object_data);
            JS_FreeValue(ctx, value);
            value = inner;
            tag = JS_VALUE_GET_NORM_TAG(value);
            goto again;
        }
        case JS_CLASS_MAP:
        case JS_CLASS_SET: {
            JSValue plain = JS_Call(ctx, unfold, JS_UNDEFINED, 1, (JSValueConst *)&value);
            JS_FreeValue(ctx, value);
            value = plain;
            if (JS_IsException(value)) return -1;
        }
        }
        if (is_typed_array(JS_GetClassID(value)) || JS_GetClassID(value) == JS_CLASS_DATAVIEW) {
            JS_ThrowTypeError(ctx, "of typed arrays, only a Uint8Array can be sent");
            goto end;
        }
        if (!was_asked) {
            method = JS_GetProperty(ctx, value, JS_ATOM_toJSON);
            if (JS_IsException(method)) goto end;
            if (JS_IsFunction(ctx, method)) {
                JSValue given = JS_Call(ctx, method, value, 0, NULL);
                JS_FreeValue(ctx, method);
                JS_FreeValue(ctx, value);
                value = given;
                if (JS_IsException(value)) return -1;
                was_asked = true;
                tag = JS_VALUE_GET_NORM_TAG(value);
                goto again;
            }
            JS_FreeValue(ctx, method);
        }
        if (JS_IsFunction(ctx, value)) {
            done = write_head(ctx, to, 0xc0, 0, 0);
            goto end;
        }
        if (low->levels == MOST_LEVELS) {
            JS_ThrowRangeError(ctx, "the value is nested too deep to be sent, or holds itself");
            goto end;
        }
        done = js_is_array(ctx, value); /* or a proxy of one */
        if (done >= 0) done = done ? begin_array(ctx, to, value) : begin_object(ctx, to, value);
        if (done == 0) return 0; /* until it ends */
        goto end;
    }
    default: done = write_head(ctx, to, 0xc0, 0, 0); /* null; in an array, what is left out of objects */
    }
end:
    JS_FreeValue(ctx, value);
    return done;
}

/* Writes a value. Where it cannot be sent, -1, and an exception is thrown. */
static int write_value(JSContext *ctx, Writer *to, JSValueConst value) {
    uint32_t base = low->levels; /* a getter or a toJSON may call the host, which writes a value of its own */
    if (begin_value(ctx, to, js_dup(value)) < 0) goto fail;
    while (low->levels > base) {
        Begun *at = begun(low->levels - 1);
        JSValue item;
        if (at->next == at->count) {
            end_level(ctx, to, true);
        } else if (at->names || at->shape) {
            JSAtom name;
            if (next_of_object(ctx, at, &name, &item) < 0) goto fail;
            if (name == JS_ATOM_NULL) continue;
            if (write_name(ctx, to, name) < 0) {
                JS_FreeValue(ctx, item);
                goto fail;
            }
            at->written++;
            if (begin_value(ctx, to, item) < 0) goto fail;
        } else {
            item = JS_GetPropertyInt64(ctx, at->object, at->next++);
            if (JS_IsException(item) || begin_value(ctx, to, item) < 0) goto fail;
        }
    }
    return 0;
fail:
    while (low->levels > base) end_level(ctx, to, false);
    return -1;
}
