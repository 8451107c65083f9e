/* The guest of the test vectors: ../vectors/README.md says what each entry does. */
#include "wasmrun.h"

WASMRUN_IMPORT(vectors_ask, "vectors.ask");

static int64_t starts;

WASMRUN_INIT {
    starts++;
    return 0;
}

/* Reads the next value with the reader of its kind, and writes it anew. */
static void copy(wasmrun_reader *from, wasmrun_writer *to) {
    wasmrun_bytes bytes;
    int64_t integer;
    uint64_t natural;
    double number;
    bool truth;
    size_t count;
    if (wasmrun_read_nil(from)) {
        wasmrun_write_nil(to);
    } else if (wasmrun_read_bool(from, &truth)) {
        wasmrun_write_bool(to, truth);
    } else if (wasmrun_read_int(from, &integer)) {
        wasmrun_write_int(to, integer);
    } else if (wasmrun_read_uint(from, &natural)) {
        wasmrun_write_uint(to, natural);
    } else if (wasmrun_read_double(from, &number)) {
        wasmrun_write_double(to, number);
    } else if (wasmrun_read_str(from, &bytes)) {
        wasmrun_write_str(to, bytes.data, bytes.length);
    } else if (wasmrun_read_bin(from, &bytes)) {
        wasmrun_write_bin(to, bytes.data, bytes.length);
    } else if (wasmrun_read_array(from, &count)) {
        wasmrun_write_array(to, count);
        for (; count != 0; count--) copy(from, to);
    } else if (wasmrun_read_map(from, &count)) {
        wasmrun_write_map(to, count);
        for (count *= 2; count != 0; count--) copy(from, to);
    }
}

static void put_hex(wasmrun_writer *text, uint64_t value, unsigned digits) {
    uint8_t *at = wasmrun_put_reserve(text, digits);
    if (at == NULL) return;
    for (; digits != 0; value >>= 4) at[--digits] = (uint8_t)"0123456789abcdef"[value & 15];
}

static void put_natural(wasmrun_writer *text, uint64_t value) {
    if (value > 9) put_natural(text, value / 10);
    wasmrun_put(text, &"0123456789"[value % 10], 1);
}

static void put_quoted(wasmrun_writer *text, wasmrun_bytes bytes) {
    wasmrun_put_text(text, "\"");
    for (size_t i = 0; i < bytes.length; i++) {
        uint8_t byte = bytes.data[i];
        if (byte < 0x20) {
            wasmrun_put_text(text, "\\u");
            put_hex(text, byte, 4);
        } else {
            if (byte == '"' || byte == '\\') wasmrun_put_text(text, "\\");
            wasmrun_put(text, &byte, 1);
        }
    }
    wasmrun_put_text(text, "\"");
}

/* Says in text what the next value is. */
static void show(wasmrun_reader *from, wasmrun_writer *text) {
    wasmrun_bytes bytes;
    int64_t integer;
    uint64_t natural;
    double number;
    bool truth;
    size_t count;
    if (wasmrun_read_nil(from)) {
        wasmrun_put_text(text, "null");
    } else if (wasmrun_read_bool(from, &truth)) {
        wasmrun_put_text(text, truth ? "true" : "false");
    } else if (wasmrun_read_uint(from, &natural)) {
        put_natural(text, natural);
    } else if (wasmrun_read_int(from, &integer)) {
        wasmrun_put_int(text, integer);
    } else if (wasmrun_read_double(from, &number)) {
        __builtin_memcpy(&natural, &number, sizeof natural);
        wasmrun_put_text(text, number == number ? "0x" : "nan");
        if (number == number) put_hex(text, natural, 16);
    } else if (wasmrun_read_str(from, &bytes)) {
        put_quoted(text, bytes);
    } else if (wasmrun_read_bin(from, &bytes)) {
        wasmrun_put_text(text, "b\"");
        for (size_t i = 0; i < bytes.length; i++) put_hex(text, bytes.data[i], 2);
        wasmrun_put_text(text, "\"");
    } else if (wasmrun_read_array(from, &count)) {
        wasmrun_put_text(text, "[");
        for (size_t i = 0; i < count; i++) {
            if (i != 0) wasmrun_put_text(text, ",");
            show(from, text);
        }
        wasmrun_put_text(text, "]");
    } else if (wasmrun_read_map(from, &count)) {
        wasmrun_put_text(text, "{");
        for (size_t i = 0; i < count; i++) {
            if (i != 0) wasmrun_put_text(text, ",");
            show(from, text);
            wasmrun_put_text(text, ":");
            show(from, text);
        }
        wasmrun_put_text(text, "}");
    }
}

WASMRUN_HANDLER(echo) {
    copy(event, answer);
    return 0;
}

WASMRUN_HANDLER(show_event) {
    wasmrun_writer text;
    wasmrun_writer_grow(&text);
    show(event, &text);
    if (text.faults != 0) return wasmrun_out_of_memory(answer);
    wasmrun_write_str(answer, text.data, text.length);
    return 0;
}

WASMRUN_HANDLER(show_context) {
    static const char *const texts[] = {"request_id", "function", "version"};
    static const char *const numbers[] = {"deadline_ms", "memory_limit_bytes", "fuel_limit"};
    static const char *const optional[] = {"client_context", "tenant_id", "trace_id"};
    wasmrun_reader value;
    wasmrun_bytes bytes;
    uint64_t number;
    wasmrun_write_map(answer, 9);
    for (size_t i = 0; i < 3; i++) {
        if (!wasmrun_get_str(context, texts[i], &bytes)) return wasmrun_fail(answer, "Missing", texts[i]);
        wasmrun_write_text(answer, texts[i]);
        wasmrun_write_str(answer, bytes.data, bytes.length);
    }
    for (size_t i = 0; i < 3; i++) {
        if (!wasmrun_get(context, numbers[i], &value) || !wasmrun_read_uint(&value, &number))
            return wasmrun_fail(answer, "Missing", numbers[i]);
        wasmrun_write_text(answer, numbers[i]);
        wasmrun_write_uint(answer, number);
    }
    for (size_t i = 0; i < 3; i++) {
        wasmrun_write_text(answer, optional[i]);
        if (wasmrun_get(context, optional[i], &value))
            copy(&value, answer);
        else
            wasmrun_write_nil(answer);
    }
    return 0;
}

WASMRUN_HANDLER(fail) {
    wasmrun_bytes type, message, frames[32];
    wasmrun_reader stack;
    size_t count;
    if (!wasmrun_get_str(event, "type", &type) || !wasmrun_get_str(event, "message", &message)) return 1;
    if (!wasmrun_get(event, "stack", &stack) || !wasmrun_read_array(&stack, &count) || count > 32) return 1;
    for (size_t i = 0; i < count; i++)
        if (!wasmrun_read_str(&stack, &frames[i])) return 1;
    return wasmrun_fail_stack(answer, type, message, frames, count);
}

WASMRUN_HANDLER(write_logs) {
    wasmrun_bytes text;
    int64_t level;
    size_t lines, pair;
    if (!wasmrun_read_array(event, &lines)) return 1;
    for (; lines != 0; lines--) {
        if (!wasmrun_read_array(event, &pair) || !wasmrun_read_int(event, &level) || !wasmrun_read_str(event, &text)) return 1;
        wasmrun_log_bytes((int)level, text);
    }
    return 0;
}

WASMRUN_HANDLER(count_starts) {
    wasmrun_write_int(answer, starts);
    return 0;
}

/* At most 15 headers, each of less than 100 bytes, which is all that the vectors have. */
WASMRUN_HANDLER(fetch) {
    wasmrun_bytes method, url, body = {NULL, 0}, part;
    wasmrun_reader headers;
    wasmrun_http_response response;
    const char *names[31];
    size_t count, at = 0;
    if (!wasmrun_get_str(event, "method", &method) || !wasmrun_get_str(event, "url", &url)) return 1;
    if (!wasmrun_get(event, "headers", &headers) || !wasmrun_read_map(&headers, &count) || count > 15) return 1;
    for (; at < count * 2; at++) {
        char *copied = wasmrun_new(100);
        if (copied == NULL || !wasmrun_read_str(&headers, &part) || part.length > 99) return 1;
        __builtin_memcpy(copied, part.data, part.length);
        copied[part.length] = 0;
        names[at] = copied;
    }
    names[at] = NULL;
    wasmrun_get_bin(event, "body", &body);
    char verb[16] = {0};
    if (method.length > 15) return 1;
    __builtin_memcpy(verb, method.data, method.length);
    switch (wasmrun_http(verb, url, names, body, &response)) {
    case WASMRUN_REFUSED: return wasmrun_fail_with(answer, &response.error);
    case WASMRUN_FAILED: return wasmrun_fail(answer, "NoReply", "");
    }
    wasmrun_write_map(answer, 3);
    wasmrun_write_text(answer, "status");
    wasmrun_write_int(answer, response.status);
    wasmrun_write_text(answer, "headers");
    copy(&response.headers, answer);
    wasmrun_write_text(answer, "body");
    wasmrun_write_bin(answer, response.body.data, response.body.length);
    return 0;
}

WASMRUN_HANDLER(ask) {
    wasmrun_writer request;
    wasmrun_reader reply;
    wasmrun_writer_grow(&request);
    copy(event, &request);
    switch (vectors_ask(&request, &reply)) {
    case WASMRUN_REFUSED: return wasmrun_fail_with(answer, &reply);
    case WASMRUN_FAILED: return wasmrun_fail(answer, "NoReply", "");
    }
    copy(&reply, answer);
    return 0;
}
