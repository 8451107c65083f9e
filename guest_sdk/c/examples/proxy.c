/* proxy: a small web application behind Lambda's HTTP events (payload format 2.0).
 *
 *   GET  /           a page that greets {?name=} and shows the path, everything escaped
 *   GET  /api/echo   the request as JSON: method, path, queryStringParameters, headers (how many)
 *   POST /api/sum    {"numbers": [1, 2.5]} -> {"sum": 3.5}; decimal, so 0.1 + 0.2 is 0.3
 *
 * Another path is a 404, another method a 405 with Allow, a body that is not what it should be a 400. */
#include "../wasmrun.h"

typedef struct {
    wasmrun_bytes method, path, body;
    wasmrun_reader query, headers; /* at their end where the request has none */
    const wasmrun_reader *event;
} request;

typedef struct {
    int status;
    const char *content_type;
    const char *allow;  /* NULL: no such header */
    const char *cookie; /* NULL: none */
    wasmrun_writer body;
} response;

/* ---- JSON ---- */

static void put_json_string(wasmrun_writer *out, wasmrun_bytes text) {
    static const char hex[] = "0123456789abcdef";
    wasmrun_put_text(out, "\"");
    for (size_t i = 0; i < text.length; i++) {
        uint8_t byte = text.data[i];
        if (byte == '"' || byte == '\\') {
            char escaped[2] = {'\\', (char)byte};
            wasmrun_put(out, escaped, 2);
        } else if (byte < 0x20 || byte == 0x7f) {
            char escaped[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
            wasmrun_put(out, escaped, 6);
        } else {
            wasmrun_put(out, &byte, 1);
        }
    }
    wasmrun_put_text(out, "\"");
}

/* A decimal number as two integers, so that sums are exact: 9 digits behind the point, about 18 before it. */
#define BILLION 1000000000
typedef struct {
    int64_t whole, billionths; /* of one sign while parsing; billionths may exceed one while summing */
} decimal;

#define JSON_DEPTH 64 /* skip_value has a bit for each */

typedef struct {
    const uint8_t *at, *end;
} json;

static void skip_space(json *text) {
    while (text->at != text->end && (*text->at == ' ' || *text->at == '\t' || *text->at == '\n' || *text->at == '\r')) text->at++;
}

static bool take(json *text, char wanted) {
    skip_space(text);
    if (text->at == text->end || *text->at != (uint8_t)wanted) return false;
    text->at++;
    return true;
}

static bool at_digit(const json *text) { return text->at != text->end && *text->at >= '0' && *text->at <= '9'; }

/* What is between the quotes, escapes as they stand. */
static bool take_string(json *text, wasmrun_bytes *content) {
    if (!take(text, '"')) return false;
    content->data = text->at;
    while (text->at != text->end && *text->at != '"') {
        if (*text->at < 0x20) return false;
        if (*text->at == '\\') {
            text->at++;
            if (text->at == text->end) return false;
            if (*text->at == 'u') {
                for (int i = 0; i < 4; i++) {
                    text->at++;
                    if (text->at == text->end) return false;
                    uint8_t digit = *text->at | 0x20;
                    if (!at_digit(text) && (digit < 'a' || digit > 'f')) return false;
                }
            } else {
                static const char escapes[] = "\"\\/bfnrt";
                size_t i = 0;
                while (escapes[i] != 0 && (uint8_t)escapes[i] != *text->at) i++;
                if (escapes[i] == 0) return false;
            }
        }
        text->at++;
    }
    if (text->at == text->end) return false;
    content->length = (size_t)(text->at - content->data);
    text->at++;
    return true;
}

/* False for what is not a JSON number. `fits` tells whether it is one that a decimal holds exactly. */
static bool take_number(json *text, decimal *value, bool *fits) {
    value->whole = value->billionths = 0;
    *fits = true;
    skip_space(text);
    bool negative = text->at != text->end && *text->at == '-';
    text->at += negative;
    if (!at_digit(text)) return false;
    if (*text->at == '0') {
        text->at++;
        if (at_digit(text)) return false; /* JSON has no leading zeros */
    }
    for (; at_digit(text); text->at++) {
        if (value->whole >= INT64_MAX / 10) *fits = false;
        if (*fits) value->whole = value->whole * 10 + (*text->at - '0');
    }
    if (text->at != text->end && *text->at == '.') {
        text->at++;
        if (!at_digit(text)) return false;
        for (int64_t unit = BILLION / 10; at_digit(text); text->at++, unit /= 10) {
            if (unit == 0 && *text->at != '0') *fits = false;
            value->billionths += unit * (*text->at - '0');
        }
    }
    if (text->at != text->end && (*text->at | 0x20) == 'e') {
        *fits = false; /* a number, but of a size that nobody writes in a request by hand */
        text->at++;
        if (text->at != text->end && (*text->at == '+' || *text->at == '-')) text->at++;
        if (!at_digit(text)) return false;
        while (at_digit(text)) text->at++;
    }
    if (negative) {
        value->whole = -value->whole;
        value->billionths = -value->billionths;
    }
    return true;
}

static bool take_word(json *text, const char *word) {
    for (; *word != 0; word++, text->at++)
        if (text->at == text->end || *text->at != (uint8_t)*word) return false;
    return true;
}

static bool skip_scalar(json *text) {
    wasmrun_bytes string;
    decimal number;
    bool fits;
    skip_space(text);
    if (text->at == text->end) return false;
    switch (*text->at) {
    case '"': return take_string(text, &string);
    case 't': return take_word(text, "true");
    case 'f': return take_word(text, "false");
    case 'n': return take_word(text, "null");
    default: return take_number(text, &number, &fits);
    }
}

static bool take_key(json *text) {
    wasmrun_bytes key;
    return take_string(text, &key) && take(text, ':');
}

/* Without recursion: of the arrays and objects that are open, all there is to know is which of the two each is. */
static bool skip_value(json *text) {
    uint64_t objects = 0; /* one bit a level, the innermost lowest */
    unsigned depth = 0;
    for (;;) {
        bool object = take(text, '{');
        if (object || take(text, '[')) {
            if (depth == JSON_DEPTH) return false;
            depth++;
            objects = objects << 1 | object;
            if (!take(text, object ? '}' : ']')) {
                if (object && !take_key(text)) return false;
                continue; /* with the first item */
            }
            depth--;
            objects >>= 1;
        } else if (!skip_scalar(text)) {
            return false;
        }
        /* A value is complete, and with it what ends here. */
        for (; depth != 0 && !take(text, ','); depth--, objects >>= 1)
            if (!take(text, (objects & 1) != 0 ? '}' : ']')) return false;
        if (depth == 0) return true;
        if ((objects & 1) != 0 && !take_key(text)) return false;
    }
}

/* NULL, or what is wrong. */
static const char *sum_of_array(json *text, decimal *sum) {
    static const char wrong[] = "numbers has to be an array of numbers";
    decimal number;
    bool fits;
    sum->whole = sum->billionths = 0;
    if (!take(text, '[')) return wrong;
    if (take(text, ']')) return NULL;
    do {
        if (!take_number(text, &number, &fits)) return wrong;
        if (!fits || __builtin_add_overflow(sum->whole, number.whole, &sum->whole))
            return "the numbers have to fit in 18 digits, 9 more behind the point, and no exponent";
        sum->billionths += number.billionths; /* of 6 MiB of numbers: far from 63 bits */
    } while (take(text, ','));
    return take(text, ']') ? NULL : wrong;
}

static const char *sum_of_body(wasmrun_bytes body, decimal *sum) {
    static const char malformed[] = "the body has to be a JSON object like {\"numbers\": [1, 2, 3]}";
    json text = {body.data, body.data + body.length};
    const char *problem = malformed;
    wasmrun_bytes key;
    if (!take(&text, '{') || take(&text, '}')) return malformed;
    do {
        if (!take_string(&text, &key) || !take(&text, ':')) return malformed;
        if (wasmrun_is(key, "numbers")) {
            problem = sum_of_array(&text, sum);
            if (problem != NULL) return problem;
        } else if (!skip_value(&text)) {
            return malformed;
        }
    } while (take(&text, ','));
    if (!take(&text, '}')) return malformed;
    skip_space(&text);
    return text.at == text.end ? problem : malformed;
}

static bool normalise(decimal *number) {
    if (__builtin_add_overflow(number->whole, number->billionths / BILLION, &number->whole)) return false;
    number->billionths %= BILLION;
    if (number->whole > 0 && number->billionths < 0) {
        number->whole--;
        number->billionths += BILLION;
    } else if (number->whole < 0 && number->billionths > 0) {
        number->whole++;
        number->billionths -= BILLION;
    }
    return true;
}

static void put_decimal(wasmrun_writer *out, decimal number) {
    if (number.whole == 0 && number.billionths < 0) wasmrun_put_text(out, "-");
    wasmrun_put_int(out, number.whole);
    if (number.billionths == 0) return;
    char digits[10];
    size_t length = sizeof digits;
    digits[0] = '.';
    uint64_t rest = (uint64_t)(number.billionths < 0 ? -number.billionths : number.billionths);
    for (size_t i = 9; i != 0; i--, rest /= 10) digits[i] = (char)('0' + rest % 10);
    while (digits[length - 1] == '0') length--;
    wasmrun_put(out, digits, length);
}

/* ---- the pages ---- */

static void put_html(wasmrun_writer *out, wasmrun_bytes text) {
    for (size_t i = 0; i < text.length; i++) {
        switch (text.data[i]) {
        case '&': wasmrun_put_text(out, "&amp;"); break;
        case '<': wasmrun_put_text(out, "&lt;"); break;
        case '>': wasmrun_put_text(out, "&gt;"); break;
        case '"': wasmrun_put_text(out, "&quot;"); break;
        case '\'': wasmrun_put_text(out, "&#39;"); break;
        default: wasmrun_put(out, text.data + i, 1);
        }
    }
}

static bool has_cookie(const request *asked, const char *wanted) {
    wasmrun_reader cookies;
    wasmrun_bytes cookie;
    size_t count;
    if (!wasmrun_get(asked->event, "cookies", &cookies) || !wasmrun_read_array(&cookies, &count)) return false;
    for (; count != 0; count--) {
        if (!wasmrun_read_str(&cookies, &cookie))
            wasmrun_skip(&cookies);
        else if (wasmrun_is(cookie, wanted))
            return true;
    }
    return false;
}

static void hello(const request *asked, response *page) {
    wasmrun_bytes name;
    if (!wasmrun_get_str(&asked->query, "name", &name) || name.length == 0) name = wasmrun_text("world");
    page->content_type = "text/html; charset=utf-8";
    page->cookie = "seen=1; Path=/; HttpOnly; Secure; SameSite=Lax";
    wasmrun_put_text(&page->body, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>hello</title></head>\n<body><h1>Hello");
    if (has_cookie(asked, "seen=1")) wasmrun_put_text(&page->body, " again");
    wasmrun_put_text(&page->body, ", ");
    put_html(&page->body, name);
    wasmrun_put_text(&page->body, "!</h1><p>You asked for <code>");
    put_html(&page->body, asked->path);
    wasmrun_put_text(&page->body, "</code>.</p></body></html>\n");
}

static void put_query(wasmrun_writer *out, wasmrun_reader query) {
    wasmrun_bytes key, value;
    size_t pairs;
    bool first = true;
    wasmrun_put_text(out, "{");
    if (!wasmrun_read_map(&query, &pairs)) pairs = 0;
    for (; pairs != 0; pairs--) {
        bool named = wasmrun_read_str(&query, &key);
        if (!named) wasmrun_skip(&query);
        if (!wasmrun_read_str(&query, &value)) {
            wasmrun_skip(&query);
        } else if (named) {
            if (!first) wasmrun_put_text(out, ", ");
            first = false;
            put_json_string(out, key);
            wasmrun_put_text(out, ": ");
            put_json_string(out, value);
        }
    }
    wasmrun_put_text(out, "}");
}

static void echo(const request *asked, response *page) {
    wasmrun_reader headers = asked->headers;
    size_t count;
    if (!wasmrun_read_map(&headers, &count)) count = 0;
    wasmrun_put_text(&page->body, "{\"method\": ");
    put_json_string(&page->body, asked->method);
    wasmrun_put_text(&page->body, ", \"path\": ");
    put_json_string(&page->body, asked->path);
    wasmrun_put_text(&page->body, ", \"queryStringParameters\": ");
    put_query(&page->body, asked->query);
    wasmrun_put_text(&page->body, ", \"headers\": ");
    wasmrun_put_int(&page->body, (int64_t)count);
    wasmrun_put_text(&page->body, "}");
}

static void put_error(response *page, int status, const char *message) {
    page->status = status;
    wasmrun_put_text(&page->body, "{\"error\": ");
    put_json_string(&page->body, wasmrun_text(message));
    wasmrun_put_text(&page->body, "}");
}

static void sum(const request *asked, response *page) {
    decimal total;
    const char *problem = sum_of_body(asked->body, &total);
    if (problem == NULL && !normalise(&total)) problem = "the sum does not fit in 18 digits";
    if (problem != NULL) {
        put_error(page, 400, problem);
        return;
    }
    wasmrun_put_text(&page->body, "{\"sum\": ");
    put_decimal(&page->body, total);
    wasmrun_put_text(&page->body, "}");
}

static void answer_request(const request *asked, response *page) {
    static const char *const paths[] = {"/", "/api/echo", "/api/sum"};
    static const char *const methods[] = {"GET", "GET", "POST"};
    for (int route = 0; route < 3; route++) {
        if (!wasmrun_is(asked->path, paths[route])) continue;
        if (!wasmrun_is(asked->method, methods[route])) {
            page->allow = methods[route];
            put_error(page, 405, "this path takes another method");
        } else if (route == 0) {
            hello(asked, page);
        } else if (route == 1) {
            echo(asked, page);
        } else {
            sum(asked, page);
        }
        return;
    }
    put_error(page, 404, "there is nothing at this path");
}

/* ---- the event ---- */

static const char bad_body[] = "the event's \"body\" is marked as base64 and is not";

/* NULL, or what is wrong with the event. A body that memory is missing for sets *no_memory. */
static const char *read_request(const wasmrun_reader *event, request *asked, bool *no_memory) {
    wasmrun_reader context, http;
    bool encoded = false;
    asked->event = event;
    if (!wasmrun_get(event, "requestContext", &context) || !wasmrun_get(&context, "http", &http) ||
        !wasmrun_get_str(&http, "method", &asked->method) || !wasmrun_get_str(event, "rawPath", &asked->path))
        return "the event is not an HTTP request of payload format 2.0";
    wasmrun_reader nothing = {NULL, 0, 0};
    if (!wasmrun_get(event, "queryStringParameters", &asked->query)) asked->query = nothing;
    if (!wasmrun_get(event, "headers", &asked->headers)) asked->headers = nothing;
    if (!wasmrun_get_str(event, "body", &asked->body)) asked->body = wasmrun_text("");
    if (wasmrun_get_bool(event, "isBase64Encoded", &encoded) && encoded) {
        uint8_t *decoded = wasmrun_new(asked->body.length / 4 * 3);
        *no_memory = decoded == NULL;
        if (*no_memory) return NULL;
        size_t length = wasmrun_base64_decode(asked->body, decoded);
        if (length == WASMRUN_NOT_BASE64) return bad_body;
        asked->body.data = decoded;
        asked->body.length = length;
    }
    return NULL;
}

WASMRUN_HANDLER(wasmrun_handle) {
    request asked;
    response page = {.status = 200, .content_type = "application/json"};
    wasmrun_writer_grow(&page.body);
    bool no_memory = false;
    const char *problem = read_request(event, &asked, &no_memory);
    if (no_memory) return wasmrun_out_of_memory(answer);
    if (problem != NULL) return wasmrun_fail(answer, "InvalidEvent", problem);

    answer_request(&asked, &page);
    if (page.body.faults != 0) return wasmrun_out_of_memory(answer);

    wasmrun_write_map(answer, 4 + (page.cookie != NULL));
    wasmrun_write_text(answer, "statusCode");
    wasmrun_write_int(answer, page.status);
    wasmrun_write_text(answer, "headers");
    wasmrun_write_map(answer, 1 + (page.allow != NULL));
    wasmrun_write_text(answer, "content-type");
    wasmrun_write_text(answer, page.content_type);
    if (page.allow != NULL) {
        wasmrun_write_text(answer, "allow");
        wasmrun_write_text(answer, page.allow);
    }
    wasmrun_write_text(answer, "body");
    wasmrun_write_str(answer, page.body.data, page.body.length);
    wasmrun_write_text(answer, "isBase64Encoded");
    wasmrun_write_bool(answer, false);
    if (page.cookie != NULL) {
        wasmrun_write_text(answer, "cookies");
        wasmrun_write_array(answer, 1);
        wasmrun_write_text(answer, page.cookie);
    }
    return 0;
}
