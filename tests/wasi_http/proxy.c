/* A component of wasi:http/proxy, by hand: what it does is its path's first letters. Built by conftest.py. */
#include <stdint.h>

typedef int32_t handle;
typedef uint8_t u8;
#define IMPORT(interface, function) __attribute__((import_module("wasi:" interface "@0.2.10"), import_name(function)))
#define TYPES(function) IMPORT("http/types", function)

TYPES("[constructor]fields") handle fields_new(void);
TYPES("[method]fields.append") void fields_append(handle, const char *, int, const char *, int, u8 *);
TYPES("[method]fields.entries") void fields_entries(handle, int *);
TYPES("[method]fields.clone") handle fields_clone(handle);
TYPES("[resource-drop]fields") void fields_drop(handle);
TYPES("[method]incoming-request.method") void request_method(handle, int *);
TYPES("[method]incoming-request.path-with-query") void request_target(handle, int *);
TYPES("[method]incoming-request.scheme") void request_scheme(handle, int *);
TYPES("[method]incoming-request.authority") void request_authority(handle, int *);
TYPES("[method]incoming-request.headers") handle request_headers(handle);
TYPES("[method]incoming-request.consume") void request_consume(handle, int *);
TYPES("[method]incoming-body.stream") void body_stream(handle, int *);
TYPES("[constructor]outgoing-response") handle response_new(handle);
TYPES("[method]outgoing-response.set-status-code") int response_status(handle, int);
TYPES("[method]outgoing-response.body") void response_body(handle, int *);
TYPES("[method]outgoing-body.write") void body_write(handle, int *);
TYPES("[static]outgoing-body.finish") void body_finish(handle, int, int, u8 *);
TYPES("[static]response-outparam.set") void set(handle, int, int, int, int64_t, int, int, int, int);
TYPES("[constructor]outgoing-request") handle outgoing_new(handle);
TYPES("[method]outgoing-request.set-authority") int outgoing_authority(handle, int, const char *, int);
TYPES("[method]outgoing-request.set-path-with-query") int outgoing_target(handle, int, const char *, int);
TYPES("[method]future-incoming-response.subscribe") handle future_subscribe(handle);
TYPES("[method]future-incoming-response.get") void future_get(handle, int64_t *);
TYPES("[method]incoming-response.status") int incoming_status(handle);
IMPORT("http/outgoing-handler", "handle") void outgoing_handle(handle, int, int, int64_t *);
IMPORT("io/streams", "[method]input-stream.blocking-read") void stream_read(handle, int64_t, int *);
IMPORT("io/streams", "[method]output-stream.blocking-write-and-flush") void stream_write(handle, const void *, int, u8 *);
IMPORT("io/streams", "[resource-drop]output-stream") void stream_drop(handle);
IMPORT("io/poll", "[method]pollable.block") void pollable_block(handle);
IMPORT("io/poll", "poll") void poll(const handle *, int, int *);
IMPORT("clocks/monotonic-clock", "now") int64_t now(void);
IMPORT("clocks/monotonic-clock", "subscribe-duration") handle after(int64_t);
IMPORT("cli/environment", "get-environment") void environment(int *);
IMPORT("cli/stdout", "get-stdout") handle get_stdout(void);
IMPORT("random/random", "get-random-bytes") void random_bytes(int64_t, int *);
IMPORT("sockets/instance-network", "instance-network") handle instance_network(void);

static u8 heap[8 << 20];
static uint32_t top;

void *memcpy(void *to, const void *from, unsigned long size) {
    for (unsigned long i = 0; i < size; i++) ((u8 *)to)[i] = ((const u8 *)from)[i];
    return to;
}

__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, int old_size, int align, int size) {
    (void)align;
    top = (top + 7) & ~7u;
    if (size < 0 || top + (uint32_t)size > sizeof heap) __builtin_trap();
    void *place = heap + top;
    top += (uint32_t)size;
    if (old) memcpy(place, old, old_size);
    return place;
}

static char text[4 << 20];
static int size;

static void say(const char *from, int length) {
    memcpy(text + size, from, length);
    size += length;
}
static void line(const char *word) {
    int length = 0;
    while (word[length]) length++;
    say(word, length);
    say(" ", 1);
}
static void number(int64_t value) {
    char digits[20];
    int at = 20;
    do digits[--at] = '0' + value % 10; while (value /= 10);
    say(digits + at, 20 - at);
    say(" ", 1);
}

static void answer(handle place, handle fields, int status, int finished) {
    int out[4];
    u8 done[64];
    handle response = response_new(fields);
    if (response_status(response, status)) line("bad-status");
    response_body(response, out);
    handle body = out[1];
    body_write(body, out);
    handle stream = out[1];
    set(place, 0, response, 0, 0, 0, 0, 0, 0);
    for (int at = 0; at < size; at += 65536) {
        int part = size - at < 65536 ? size - at : 65536;
        stream_write(stream, text + at, part, done);
    }
    stream_drop(stream);
    if (finished) body_finish(body, 0, 0, done);
}

static int try_append(handle fields, const char *name, const char *value) {
    u8 result[2];
    int length = 0, size = 0;
    while (name[length]) length++;
    while (value[size]) size++;
    fields_append(fields, name, length, value, size, result);
    return result[0] ? 1 + result[1] : 0;
}

static void echo(handle request, handle fields) {
    int out[6];
    request_method(request, out);
    number((u8)out[0]);
    if ((u8)out[0] == 9) say((char *)out[1], out[2]);
    request_scheme(request, out);
    number(*((u8 *)out + 4));
    request_authority(request, out);
    say((char *)out[1], out[2]);
    handle headers = request_headers(request);
    number(try_append(headers, "a", "b"));
    fields_entries(headers, out);
    int *entry = (int *)out[0];
    for (int i = 0; i < out[1]; i++, entry += 4) {
        say("\n", 1);
        say((char *)entry[0], entry[1]);
        say("=", 1);
        say((char *)entry[2], entry[3]);
    }
    request_consume(request, out);
    body_stream(out[1], out);
    handle stream = out[1];
    say("\n", 1);
    for (;;) {
        top = 0;
        stream_read(stream, 1 << 30, out);
        if ((u8)out[0]) break;
        say((char *)out[1], out[2]);
    }
    request_consume(request, out);
    number((u8)out[0]);
    try_append(fields, "X-Twice", "1");
    try_append(fields, "x-twice", "2");
    try_append(fields, "set-cookie", "a=1");
    try_append(fields, "set-cookie", "b=2");
}

static void fetch(handle fields) {
    int64_t out[8];
    handle request = outgoing_new(fields);
    outgoing_authority(request, 1, "api.example.com", 15);
    outgoing_target(request, 1, "/users", 6);
    outgoing_handle(request, 0, 0, out);
    handle future = ((int *)out)[2];
    pollable_block(future_subscribe(future));
    future_get(future, out);
    u8 *bytes = (u8 *)out;
    if (!bytes[0] || bytes[8]) line("none");
    else if (bytes[16]) { line("refused"); number(bytes[24]); }
    else number(incoming_status(*(int *)(bytes + 24)));
    future_get(future, out);
    number(bytes[0]);
    number(bytes[8]);
}

__attribute__((export_name("wasi:http/incoming-handler@0.2.10#handle"))) void handle_request(handle request, handle place) {
    int out[8];
    u8 done[64];
    top = size = 0;
    request_target(request, out);
    const char *path = (char *)out[1];
    handle fields = fields_new();
    int status = 200, finished = 1;
    switch (path[1]) {
    case 'e': echo(request, fields); status = 201; break;
    case 'n': return;                                              /* no response */
    case 'u': finished = 0; break;                                 /* unfinished */
    case 'w': set(place, 1, 38, 1, (int64_t)(intptr_t)"own words", 9, 0, 0, 0); return; /* wrong: internal-error */
    case 'c': set(place, 1, 6, 0, 0, 0, 0, 0, 0); return;          /* connection-refused */
    case 's': status = 99; break;                                  /* status */
    case 'h':                                                      /* headers */
        number(try_append(fields, "a b", "x"));
        number(try_append(fields, "a", "x\ny"));
        number(try_append(fields, "Connection", "close"));
        number(try_append(fields, "ok", ""));
        break;
    case 'm': for (;;) fields_new();                               /* many */
    case 'l': for (;;) try_append(fields, "a", "b");               /* long */
    case 'd':                                                      /* dropped: 3 MiB, of which nothing is kept */
        for (int i = 0; i < 60000; i++) text[i] = 'x';
        for (int i = 0; i < 50; i++) {
            handle one = fields_new();
            fields_append(one, "a", 1, text, 60000, done);
            if (done[0]) __builtin_trap();
            fields_drop(one);
        }
        break;
    case 'b': size = 3 << 20; answer(place, fields, 200, 1); return; /* big */
    case 'z': stream_write(get_stdout(), text, 4 << 20, done); break; /* more than is permitted */
    case 't': pollable_block(after(3600ll * 1000000000)); break;   /* time */
    case 'p': {                                                    /* poll */
        int64_t begun = now();
        handle both[2] = {after(3600ll * 1000000000), after(20 * 1000000)};
        poll(both, 2, out);
        number(out[1]);
        number(*(int *)out[0]);
        number(now() - begun >= 20 * 1000000);
        number(now() % 1000000);
        break;
    }
    case 'v':                                                      /* variables, and what is printed */
        environment(out);
        for (int i = 0; i < out[1]; i++) {
            int *pair = (int *)out[0] + 4 * i;
            say((char *)pair[0], pair[1]);
            say("=", 1);
            say((char *)pair[2], pair[3]);
        }
        stream_write(get_stdout(), "printed\nrest", 12, done);
        break;
    case 'r':                                                      /* random */
        random_bytes(16, out);
        for (int i = 0; i < 16; i++) number(((u8 *)out[0])[i]);
        break;
    case 'a': random_bytes(1ll << 40, out); break;                 /* all the random bytes */
    case 'k': instance_network(); break;                           /* network */
    case 'o': fetch(fields); fields = fields_new(); break;         /* outbound */
    case 'x': __builtin_trap();
    case 'y': for (volatile int i = 0;; i++) {}
    }
    answer(place, fields, status, finished);
}
