/* One entry for each promise of the SDK that the examples don't show. */
#include "../../guest_sdk/c/wasmrun.h"

WASMRUN_IMPORT(db_get, "db.get");

static uint8_t *kept; /* taken in WASMRUN_INIT */

WASMRUN_INIT {
    kept = wasmrun_new(1000);
    if (kept == NULL) return 1;
    for (size_t i = 0; i < 1000; i++) kept[i] = (uint8_t)(i * 7);
    return 0;
}

WASMRUN_HANDLER(wasmrun_handle) {
    wasmrun_write_value(answer, event);
    return 0;
}

/* Echoes, and checks what start-up left. */
WASMRUN_HANDLER(keeps) {
    for (size_t i = 0; i < 1000; i++)
        if (kept[i] != (uint8_t)(i * 7)) return wasmrun_fail(answer, "Overwritten", "what start-up kept was overwritten");
    wasmrun_write_value(answer, event);
    return 0;
}

/* Every value through the typed readers and writers. False for what only wasmrun_reader_open should have let through. */
static bool copy(wasmrun_reader *from, wasmrun_writer *to) {
    wasmrun_bytes bytes;
    int64_t integer;
    uint64_t natural;
    double number;
    bool truth;
    int8_t type;
    size_t count;
    switch (wasmrun_peek(from)) {
    case WASMRUN_NIL:
        wasmrun_write_nil(to);
        return wasmrun_read_nil(from);
    case WASMRUN_BOOL:
        if (!wasmrun_read_bool(from, &truth)) return false;
        wasmrun_write_bool(to, truth);
        return true;
    case WASMRUN_INT:
        if (wasmrun_read_int(from, &integer)) {
            wasmrun_write_int(to, integer);
            return true;
        }
        if (!wasmrun_read_uint(from, &natural)) return false;
        wasmrun_write_uint(to, natural);
        return true;
    case WASMRUN_FLOAT:
        if (!wasmrun_read_double(from, &number)) return false;
        wasmrun_write_double(to, number);
        return true;
    case WASMRUN_STR:
        if (!wasmrun_read_str(from, &bytes)) return false;
        wasmrun_write_str(to, bytes.data, bytes.length);
        return true;
    case WASMRUN_BIN:
        if (!wasmrun_read_bin(from, &bytes)) return false;
        wasmrun_write_bin(to, bytes.data, bytes.length);
        return true;
    case WASMRUN_EXT: /* the SDK writes none: shown as [type, bytes] */
        if (!wasmrun_read_ext(from, &type, &bytes)) return false;
        wasmrun_write_array(to, 2);
        wasmrun_write_int(to, type);
        wasmrun_write_bin(to, bytes.data, bytes.length);
        return true;
    case WASMRUN_ARRAY:
        if (!wasmrun_read_array(from, &count)) return false;
        wasmrun_write_array(to, count);
        for (; count != 0; count--)
            if (!copy(from, to)) return false;
        return true;
    case WASMRUN_MAP:
        if (!wasmrun_read_map(from, &count)) return false;
        wasmrun_write_map(to, count);
        for (; count != 0; count--)
            if (!copy(from, to) || !copy(from, to)) return false;
        return true;
    case WASMRUN_END: break;
    }
    return false;
}

WASMRUN_HANDLER(copied) { return copy(event, answer) ? 0 : wasmrun_fail(answer, "Unreadable", "a checked value could not be read"); }

/* One byte, then what it says: 0 and the value written anew, or 1 for bytes that are not one value. */
WASMRUN_RAW_HANDLER(parse_raw) {
    wasmrun_reader reader;
    wasmrun_writer writer;
    uint8_t *status = wasmrun_new(1);
    if (status == NULL) return 1;
    output->data = status;
    output->length = 1;
    *status = 1;
    if (!wasmrun_reader_open(&reader, input.data, input.length)) return 0;
    wasmrun_writer_grow(&writer);
    wasmrun_put(&writer, "\0", 1);
    if (!copy(&reader, &writer) || wasmrun_peek(&reader) != WASMRUN_END || !wasmrun_writer_done(&writer)) return 1;
    output->data = writer.data;
    output->length = writer.length;
    return 0;
}

/* Calls the enveloped entry with bytes that no host would send. */
WASMRUN_RAW_HANDLER(envelope_raw) {
    uint64_t packed = wasmrun_handle(input.data, input.length);
    output->data = (const uint8_t *)(uintptr_t)(packed >> 32);
    output->length = (size_t)(uint32_t)packed;
    return 0;
}

/* Every reader against every kind: which of them take the value, by name, and whether the others left it alone. */
WASMRUN_HANDLER(readers) {
    wasmrun_reader at = *event;
    wasmrun_bytes bytes;
    int64_t integer;
    uint64_t natural;
    double number;
    bool truth;
    int8_t type;
    size_t count, taken = 0;
    const char *names[10];
#define TRY(name, call)                                             \
    if (call) {                                                     \
        names[taken++] = name;                                      \
        at = *event;                                                \
    } else if (at.position != event->position) {                    \
        return wasmrun_fail(answer, "Moved", name);                 \
    }
    TRY("nil", wasmrun_read_nil(&at))
    TRY("bool", wasmrun_read_bool(&at, &truth))
    TRY("int", wasmrun_read_int(&at, &integer))
    TRY("uint", wasmrun_read_uint(&at, &natural))
    TRY("double", wasmrun_read_double(&at, &number))
    TRY("str", wasmrun_read_str(&at, &bytes))
    TRY("bin", wasmrun_read_bin(&at, &bytes))
    TRY("array", wasmrun_read_array(&at, &count))
    TRY("map", wasmrun_read_map(&at, &count))
    TRY("ext", wasmrun_read_ext(&at, &type, &bytes))
    wasmrun_write_array(answer, taken);
    for (size_t i = 0; i < taken; i++) wasmrun_write_text(answer, names[i]);
    return 0;
}

/* [map, key] -> the value, or "absent". */
WASMRUN_HANDLER(get) {
    wasmrun_reader map, found;
    wasmrun_bytes key;
    size_t items;
    char name[32];
    if (!wasmrun_read_array(event, &items) || items != 2 || !wasmrun_next(event, &map) || !wasmrun_read_str(event, &key) || key.length > 31)
        return wasmrun_fail(answer, "InvalidEvent", "not [map, key]");
    for (size_t i = 0; i < key.length; i++) name[i] = (char)key.data[i];
    name[key.length] = 0;
    if (wasmrun_get(&map, name, &found))
        wasmrun_write_value(answer, &found);
    else
        wasmrun_write_text(answer, "absent");
    return 0;
}

WASMRUN_HANDLER(context_seen) {
    wasmrun_write_value(answer, context);
    return 0;
}

/* ---- answers ---- */

WASMRUN_HANDLER(writes_nothing) { return 0; }

WASMRUN_HANDLER(writes_too_little) {
    wasmrun_write_array(answer, 3);
    wasmrun_write_int(answer, 1);
    return 0;
}

WASMRUN_HANDLER(writes_too_much) {
    wasmrun_write_int(answer, 1);
    wasmrun_write_int(answer, 2);
    return 0;
}

WASMRUN_HANDLER(fails_without_a_word) { return 7; }

WASMRUN_HANDLER(fails_twice) {
    char type[] = "First", message[] = "on the stack – and copied";
    wasmrun_write_array(answer, 5);
    wasmrun_fail(answer, type, message);
    type[0] = message[0] = '?';
    wasmrun_write_int(answer, 1);
    return wasmrun_fail(answer, "Second", "too late");
}

WASMRUN_RAW_HANDLER(fails_raw) { return 1; }

/* [capacity, value] -> [fits, length]: the value copied into a fixed buffer. */
WASMRUN_HANDLER(fixed) {
    static uint8_t buffer[64];
    wasmrun_writer writer;
    size_t items;
    uint64_t capacity;
    if (!wasmrun_read_array(event, &items) || items != 2 || !wasmrun_read_uint(event, &capacity) || capacity > 64)
        return wasmrun_fail(answer, "InvalidEvent", "not [capacity, value]");
    for (size_t i = 0; i < 64; i++) buffer[i] = 0xee;
    wasmrun_writer_fixed(&writer, buffer, (size_t)capacity);
    if (!copy(event, &writer)) return 1;
    for (size_t i = (size_t)capacity; i < 64; i++)
        if (buffer[i] != 0xee) return wasmrun_fail(answer, "Overrun", "the writer wrote behind its buffer");
    wasmrun_write_array(answer, 2);
    wasmrun_write_bool(answer, wasmrun_writer_done(&writer));
    wasmrun_write_uint(answer, writer.length);
    return 0;
}

/* ---- memory ---- */

/* How many bytes of zeros to answer. */
WASMRUN_HANDLER(answers_zeros) {
    uint64_t length;
    if (!wasmrun_read_uint(event, &length)) return wasmrun_fail(answer, "InvalidEvent", "not a length");
    uint8_t *at = wasmrun_write_bin_reserve(answer, (size_t)length);
    for (size_t i = 0; at != NULL && i < length; i++) at[i] = 0;
    return 0; /* no check: that memory ran out is the SDK's to say */
}

/* Grows an answer by small pieces, with allocations in between, so that it moves. */
WASMRUN_HANDLER(grows) {
    uint64_t items;
    if (!wasmrun_read_uint(event, &items)) return wasmrun_fail(answer, "InvalidEvent", "not a count");
    wasmrun_write_array(answer, (size_t)items);
    for (uint64_t i = 0; i < items; i++) {
        wasmrun_write_uint(answer, i);
        if (i % 100 == 0 && wasmrun_new(10) == NULL) return wasmrun_out_of_memory(answer);
    }
    return 0;
}

/* wasmrun_new at its edges, as text for the ones that are wrong. */
WASMRUN_HANDLER(allocator) {
    uint8_t *empty = wasmrun_new(0), *next = wasmrun_new(1);
    if (empty == NULL || next == NULL || empty == next) return wasmrun_fail(answer, "Empty", "an empty allocation is not its own");
    if (((uintptr_t)empty | (uintptr_t)next) % 16 != 0) return wasmrun_fail(answer, "Alignment", "not 16");
    if (wasmrun_new(SIZE_MAX) != NULL || wasmrun_new(SIZE_MAX - 15) != NULL || wasmrun_new(0xfffe0000u) != NULL)
        return wasmrun_fail(answer, "Huge", "more than there can be");
    if (wasmrun_new_zeroed(65536, 65537) != NULL) return wasmrun_fail(answer, "Product", "a size that overflows");
    uint8_t *grown = wasmrun_new(100);
    grown[99] = 42;
    if (wasmrun_resize(grown, 100, 200000) != grown || grown[99] != 42) return wasmrun_fail(answer, "Last", "the last one moved");
    wasmrun_new(1);
    uint8_t *moved = wasmrun_resize(grown, 200000, 200001);
    if (moved == NULL || moved == grown || moved[99] != 42) return wasmrun_fail(answer, "Middle", "it was not copied");
    uint8_t *zeroed = wasmrun_new_zeroed(1000, 3);
    for (size_t i = 0; i < 3000; i++)
        if (zeroed[i] != 0) return wasmrun_fail(answer, "Zeroed", "it is not");
    return 0;
}

/* ---- hosts other than ours: each plays the part of one, and answers "good" ---- */

static const uint8_t null_event[] = {0x92, 0xc0, 0x80}; /* [null, {}] */

static bool answer_one(void) {
    uint8_t *input = wasmrun_alloc(sizeof null_event);
    if (input == NULL) return false;
    for (size_t i = 0; i < sizeof null_event; i++) input[i] = null_event[i];
    return wasmrun_handle(input, sizeof null_event) >> 32 != 0;
}

WASMRUN_RAW_HANDLER(host_without_free_raw) {
    if (!answer_one()) return 1;
    void *first = wasmrun_alloc(10);
    if (wasmrun_alloc(10) == first || !answer_one()) return 1;
    if (wasmrun_alloc(10) == first) *output = wasmrun_text("good");
    return 0;
}

WASMRUN_RAW_HANDLER(host_with_free_raw) {
    if (!answer_one()) return 1;
    uintptr_t behind_answer = (uintptr_t)wasmrun_new(10);
    wasmrun_free(NULL, 0);
    uintptr_t emptied = (uintptr_t)wasmrun_new(10); /* not wasmrun_alloc, which would do what is to be shown here */
    if (emptied < behind_answer) *output = wasmrun_text("good");
    return 0;
}

WASMRUN_RAW_HANDLER(host_that_frees_late_raw) {
    if (!answer_one()) return 1;
    void *next_input = wasmrun_alloc(10);
    wasmrun_free(NULL, 0);
    if (wasmrun_alloc(10) != next_input) *output = wasmrun_text("good");
    return 0;
}

WASMRUN_RAW_HANDLER(host_without_alloc_raw) {
    wasmrun_handle(null_event, sizeof null_event);
    uint64_t second = wasmrun_handle(null_event, sizeof null_event), third = wasmrun_handle(null_event, sizeof null_event);
    if (second == third) *output = wasmrun_text("good");
    return 0;
}

/* ---- host functions ---- */

WASMRUN_HANDLER(logs) {
    wasmrun_log(WASMRUN_TRACE, "finest");
    wasmrun_log(WASMRUN_INFO, "grüße");
    wasmrun_log(WASMRUN_ERROR, "");
    return 0;
}

/* Asks the host for the event, and answers what it said; or passes its error on. */
WASMRUN_HANDLER(asks) {
    wasmrun_writer request;
    wasmrun_reader reply;
    wasmrun_writer_grow(&request);
    wasmrun_write_value(&request, event);
    switch (db_get(&request, &reply)) {
    case WASMRUN_REPLIED: wasmrun_write_value(answer, &reply); return 0;
    case WASMRUN_REFUSED: return wasmrun_fail_with(answer, &reply);
    default: return wasmrun_fail(answer, "NoReply", "the host gave none");
    }
}

/* The same, with an error as a value. */
WASMRUN_HANDLER(asks_calmly) {
    wasmrun_writer request;
    wasmrun_reader reply;
    wasmrun_writer_grow(&request);
    wasmrun_write_value(&request, event);
    if (db_get(&request, &reply) == WASMRUN_FAILED) return wasmrun_fail(answer, "NoReply", "the host gave none");
    wasmrun_write_value(answer, &reply);
    return 0;
}

/* Half an answer, then many questions: the replies must not disturb what is written, nor one another. */
WASMRUN_HANDLER(asks_often) {
    wasmrun_reader first, reply;
    uint64_t times;
    if (!wasmrun_read_uint(event, &times) || times == 0) return wasmrun_fail(answer, "InvalidEvent", "not a count");
    wasmrun_write_array(answer, (size_t)times + 1);
    for (uint64_t i = 0; i < times; i++) {
        wasmrun_writer request;
        wasmrun_writer_grow(&request);
        wasmrun_write_uint(&request, i);
        if (db_get(&request, &reply) != WASMRUN_REPLIED) return wasmrun_fail(answer, "NoReply", "the host gave none");
        if (i == 0) first = reply;
        wasmrun_write_value(answer, &reply);
    }
    wasmrun_write_value(answer, &first);
    return 0;
}

WASMRUN_HANDLER(asks_half) {
    wasmrun_writer request;
    wasmrun_reader reply;
    wasmrun_writer_grow(&request);
    wasmrun_write_array(&request, 2);
    wasmrun_write_int(&request, 1);
    wasmrun_write_bool(answer, db_get(&request, &reply) == WASMRUN_FAILED && wasmrun_peek(&reply) == WASMRUN_END);
    return 0;
}

/* ---- base64 ---- */

WASMRUN_HANDLER(base64) {
    wasmrun_bytes text;
    if (!wasmrun_read_str(event, &text)) return wasmrun_fail(answer, "InvalidEvent", "not a string");
    uint8_t *bytes = wasmrun_new(text.length / 4 * 3);
    if (bytes == NULL) return wasmrun_out_of_memory(answer);
    size_t length = wasmrun_base64_decode(text, bytes);
    if (length == WASMRUN_NOT_BASE64) return wasmrun_fail(answer, "NotBase64", "it is not");
    wasmrun_write_bin(answer, bytes, length);
    return 0;
}

WASMRUN_HANDLER(decimal) {
    int64_t number;
    wasmrun_writer text;
    if (!wasmrun_read_int(event, &number)) return wasmrun_fail(answer, "InvalidEvent", "not an int64");
    wasmrun_writer_grow(&text);
    wasmrun_put_int(&text, number);
    wasmrun_write_str(answer, text.data, text.length);
    return 0;
}
