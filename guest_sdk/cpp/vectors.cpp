/* The guest of the test vectors: ../vectors/README.md says what each entry does. */
#include "wasmrun.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <string>
#include <vector>

using wasmrun::context;
using wasmrun::kind;
using wasmrun::result;
using wasmrun::value;
using wasmrun::writer;

WASMRUN_HOST_FUNCTION(vectors_ask, "vectors.ask")

static int starts;

WASMRUN_INIT {
    starts++;
    return 0;
}

/* Any value, read as what it is and written anew. */
static void copy(const value &from, writer &to) {
    switch (from.kind()) {
    case kind::boolean: (void)to.write(from.as<bool>()); break;
    case kind::integer:
        if (auto integer = from.as<std::int64_t>()) (void)to.write(*integer);
        else (void)to.write(from.as<std::uint64_t>());
        break;
    case kind::floating: (void)to.write(from.as<double>()); break;
    case kind::string: (void)to.write(from.as<std::string_view>()); break;
    case kind::binary: (void)to.write(from.as<wasmrun::bytes>()); break;
    case kind::array:
        (void)to.array(from.size());
        for (const value &item : from.items()) copy(item, to);
        break;
    case kind::map:
        (void)to.map(from.size());
        for (const auto &[key, item] : from.pairs()) copy(key, to), copy(item, to);
        break;
    default: (void)to.write(nullptr);
    }
}

static result echo(value event, writer &answer) {
    copy(event, answer);
    return {};
}
WASMRUN_FUNCTION(echo, echo)

template <class T>
static void number(std::string &text, T value) {
    char digits[24];
    text.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

static void hex(std::string &text, std::uint64_t value, int width) {
    for (int i = width; i-- != 0;) text += "0123456789abcdef"[value >> (4 * i) & 15];
}

static void quoted(std::string &text, std::string_view from) {
    text += '"';
    for (unsigned char c : from) {
        if (c < 0x20) {
            text += "\\u";
            hex(text, c, 4);
        } else {
            if (c == '"' || c == '\\') text += '\\';
            text += static_cast<char>(c);
        }
    }
    text += '"';
}

static void show(std::string &text, const value &from) {
    const char *before = "";
    switch (from.kind()) {
    case kind::boolean: text += *from.as<bool>() ? "true" : "false"; break;
    case kind::integer:
        if (auto natural = from.as<std::uint64_t>()) number(text, *natural);
        else number(text, *from.as<std::int64_t>());
        break;
    case kind::floating: {
        double number = *from.as<double>();
        std::uint64_t bits;
        std::memcpy(&bits, &number, sizeof bits);
        text += std::isnan(number) ? "nan" : "0x";
        if (!std::isnan(number)) hex(text, bits, 16);
        break;
    }
    case kind::string: quoted(text, *from.as<std::string_view>()); break;
    case kind::binary: {
        auto data = *from.as<wasmrun::bytes>();
        text += "b\"";
        for (std::uint8_t byte : data) hex(text, byte, 2);
        text += '"';
        break;
    }
    case kind::array:
        text += '[';
        for (const value &item : from.items()) {
            text += std::exchange(before, ",");
            show(text, item);
        }
        text += ']';
        break;
    case kind::map:
        text += '{';
        for (const auto &[key, item] : from.pairs()) {
            text += std::exchange(before, ",");
            show(text, key);
            text += ':';
            show(text, item);
        }
        text += '}';
        break;
    default: text += "null";
    }
}

static result show_event(value event, writer &answer) {
    std::string text;
    show(text, event);
    return answer.write(text);
}
WASMRUN_FUNCTION(show_event, show_event)

static result show_context(value, const context &context, writer &answer) {
    return answer.map("request_id", context.request_id, "function", context.function, "version", context.version, "deadline_ms",
                      context.deadline_ms, "memory_limit_bytes", context.memory_limit_bytes, "fuel_limit", context.fuel_limit,
                      "client_context", context.client_context, "tenant_id", context.tenant_id, "trace_id", context.trace_id);
}
WASMRUN_FUNCTION(show_context, show_context)

static std::vector<std::string_view> frames;

static result fail(value event, writer &) {
    frames.clear();
    for (const value &frame : event.get("stack")->items()) frames.push_back(*frame.as<std::string_view>());
    return wasmrun::fail(*event.get<std::string_view>("type"), *event.get<std::string_view>("message"), frames);
}
WASMRUN_FUNCTION(fail, fail)

static result write_logs(value event, writer &) {
    for (const value &line : event.items()) {
        auto part = line.items().begin();
        auto level = static_cast<wasmrun::level>(*(*part).as<int>());
        wasmrun::log(level, *(*++part).as<std::string_view>());
    }
    return {};
}
WASMRUN_FUNCTION(write_logs, write_logs)

static result count_starts(value, writer &answer) { return answer.write(starts); }
WASMRUN_FUNCTION(count_starts, count_starts)

static result fetch(value event, writer &answer) {
    auto url = event.get<std::string_view>("url"), method = event.get<std::string_view>("method");
    if (!url || !method) return wasmrun::fail("InvalidEvent", "the event needs strings \"url\" and \"method\"");
    std::vector<wasmrun::header> headers;
    for (const auto &[name, item] : event.get("headers").value_or(value()).pairs())
        headers.push_back({name.as<std::string_view>().value_or(""), item.as<std::string_view>().value_or("")});
    auto response = wasmrun::http({.url = *url,
                                   .method = *method,
                                   .headers = headers,
                                   .body = event.get<wasmrun::bytes>("body").value_or(wasmrun::bytes())});
    if (!response) return wasmrun::fail(response.error());
    return answer.map("status", response->status, "headers", response->headers, "body", response->body);
}
WASMRUN_FUNCTION(fetch, fetch)

static result ask(value event, writer &answer) {
    auto reply = vectors_ask(event);
    if (!reply) return wasmrun::fail(reply.error());
    copy(*reply, answer);
    return {};
}
WASMRUN_FUNCTION(ask, ask)
