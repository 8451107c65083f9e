/* wasmrun.hpp: write functions for wasmrun in C++20, on top of ../c/wasmrun.h, whose first comment says who owns which memory.
 *
 *     #include "wasmrun.hpp"
 *
 *     static wasmrun::result hello(wasmrun::value event, wasmrun::writer &answer) {
 *         auto name = event.get<std::string_view>("name");
 *         if (!name) return wasmrun::fail("InvalidEvent", "the event needs a string \"name\"");
 *         return answer.map("hello", *name);
 *     }
 *     WASMRUN_FUNCTION(wasmrun_handle, hello)
 *
 * No exceptions, no RTTI. Values that are read are views: they point into the input, or into a reply, which live until the event ends. */
#ifndef WASMRUN_HPP
#define WASMRUN_HPP

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <optional>
#include <ranges>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

extern "C" {
#include "wasmrun.h"
}

namespace wasmrun {

using bytes = std::span<const std::uint8_t>;

enum class kind {
    nil = WASMRUN_NIL,
    boolean = WASMRUN_BOOL,
    integer = WASMRUN_INT,
    floating = WASMRUN_FLOAT,
    string = WASMRUN_STR,
    binary = WASMRUN_BIN,
    array = WASMRUN_ARRAY,
    map = WASMRUN_MAP,
    extension = WASMRUN_EXT,
};

namespace detail {

inline wasmrun_bytes raw(std::string_view text) { return {reinterpret_cast<const std::uint8_t *>(text.data()), text.size()}; }

inline std::string_view text(wasmrun_bytes raw) { return {reinterpret_cast<const char *>(raw.data), raw.length}; }

/* A copy that lives until the event ends; shorter than it should be where there is no memory for it. */
inline std::string_view kept(std::string_view text) {
    auto *copy = static_cast<char *>(wasmrun_new(text.size()));
    if (copy == nullptr) return {};
    if (!text.empty()) std::memcpy(copy, text.data(), text.size());
    return {copy, text.size()};
}

template <class T>
concept number = std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char>;

template <class T>
concept texty = std::convertible_to<T, std::string_view> && !std::same_as<T, std::nullptr_t>;

template <class T>
concept list = std::ranges::sized_range<T> && !texty<T> && !std::convertible_to<T, bytes>;

} // namespace detail

/* A view of one value. */
class value {
  public:
    value() = default;
    explicit value(wasmrun_reader reader) : reader_(reader) {}

    wasmrun::kind kind() const { return static_cast<wasmrun::kind>(wasmrun_peek(&reader_)); }

    bool is_nil() const { return kind() == wasmrun::kind::nil; }

    /* The value as a bool, an integer that holds it, a float (of an integer as well), std::string_view or bytes; nothing when it is another. */
    template <class T>
    std::optional<T> as() const {
        wasmrun_reader reader = reader_;
        if constexpr (std::same_as<T, bool>) {
            bool truth;
            if (wasmrun_read_bool(&reader, &truth)) return truth;
        } else if constexpr (std::same_as<T, std::string_view>) {
            wasmrun_bytes text;
            if (wasmrun_read_str(&reader, &text)) return detail::text(text);
        } else if constexpr (std::same_as<T, bytes>) {
            wasmrun_bytes data;
            if (wasmrun_read_bin(&reader, &data)) return bytes(data.data, data.length);
        } else if constexpr (std::floating_point<T>) {
            double number;
            if (wasmrun_read_double(&reader, &number)) return static_cast<T>(number);
        } else {
            static_assert(detail::number<T>, "not a type that can be read");
            std::int64_t integer;
            std::uint64_t natural;
            if (wasmrun_read_int(&reader, &integer)) {
                if (std::in_range<T>(integer)) return static_cast<T>(integer);
            } else if (wasmrun_read_uint(&reader, &natural)) {
                if (std::in_range<T>(natural)) return static_cast<T>(natural);
            }
        }
        return std::nullopt;
    }

    /* The value of a key, the first of equal ones; nothing when it is not there, or this is no map. */
    std::optional<value> get(std::string_view key) const {
        for (auto [name, item] : pairs())
            if (name.as<std::string_view>() == key) return item;
        return std::nullopt;
    }

    template <class T>
    std::optional<T> get(std::string_view key) const {
        auto found = get(key);
        return found ? found->template as<T>() : std::nullopt;
    }

    /* Of an array or a map, how many items or pairs; else 0. */
    std::size_t size() const {
        wasmrun_reader reader = reader_;
        std::size_t count;
        return wasmrun_read_array(&reader, &count) || wasmrun_read_map(&reader, &count) ? count : 0;
    }

    template <class Item>
    class range {
      public:
        class iterator {
          public:
            using difference_type = std::ptrdiff_t;
            using value_type = Item;
            iterator() = default;
            iterator(wasmrun_reader reader, std::size_t left) : reader_(reader), left_(left) { step(); }
            const Item &operator*() const { return item_; }
            iterator &operator++() {
                left_--;
                step();
                return *this;
            }
            iterator operator++(int) {
                iterator before = *this;
                ++*this;
                return before;
            }
            bool operator==(const iterator &other) const { return left_ == other.left_; }

          private:
            static value next(wasmrun_reader &reader) {
                wasmrun_reader one;
                return wasmrun_next(&reader, &one) ? value(one) : value();
            }
            void step() {
                if (left_ == 0) return;
                if constexpr (std::same_as<Item, value>) {
                    item_ = next(reader_);
                } else {
                    item_.first = next(reader_);
                    item_.second = next(reader_);
                }
            }
            wasmrun_reader reader_{};
            std::size_t left_ = 0;
            Item item_{};
        };

        range(wasmrun_reader reader, std::size_t count) : reader_(reader), count_(count) {}
        iterator begin() const { return {reader_, count_}; }
        iterator end() const { return {}; }
        std::size_t size() const { return count_; }

      private:
        wasmrun_reader reader_;
        std::size_t count_;
    };

    /* The items of an array; none of another value. */
    range<value> items() const {
        wasmrun_reader reader = reader_;
        std::size_t count;
        if (!wasmrun_read_array(&reader, &count)) count = 0;
        return {reader, count};
    }

    /* The keys and values of a map, in the order in which they came; none of another value. */
    range<std::pair<value, value>> pairs() const {
        wasmrun_reader reader = reader_;
        std::size_t count;
        if (!wasmrun_read_map(&reader, &count)) count = 0;
        return {reader, count};
    }

    const wasmrun_reader &reader() const { return reader_; }

  private:
    wasmrun_reader reader_{};
};

struct context {
    std::string_view request_id, function, version;
    std::int64_t deadline_ms = 0; /* Unix time */
    std::uint64_t memory_limit_bytes = 0, fuel_limit = 0;
    std::optional<value> client_context;
    std::optional<std::string_view> tenant_id, trace_id;

    explicit context(value map) {
        for (auto [key, item] : map.pairs()) {
            auto name = key.as<std::string_view>().value_or("");
            if (name == "request_id") request_id = item.as<std::string_view>().value_or("");
            else if (name == "function") function = item.as<std::string_view>().value_or("");
            else if (name == "version") version = item.as<std::string_view>().value_or("");
            else if (name == "deadline_ms") deadline_ms = item.as<std::int64_t>().value_or(0);
            else if (name == "memory_limit_bytes") memory_limit_bytes = item.as<std::uint64_t>().value_or(0);
            else if (name == "fuel_limit") fuel_limit = item.as<std::uint64_t>().value_or(0);
            else if (name == "client_context") client_context = item;
            else if (name == "tenant_id") tenant_id = item.as<std::string_view>();
            else if (name == "trace_id") trace_id = item.as<std::string_view>();
        }
    }
};

/* What a host function, or an HTTP request, failed with; or what a function reports. */
struct error {
    std::string_view type, message;
    std::span<const std::string_view> stack = {};
};

/* What a handler returns: nothing went wrong, or an error. */
class [[nodiscard]] result {
  public:
    result() = default;
    result(const wasmrun::error &error) : error_(error) {}
    const std::optional<wasmrun::error> &error() const { return error_; }

  private:
    std::optional<wasmrun::error> error_;
};

/* Makes the answer an error: return wasmrun::fail("InvalidEvent", "the event needs …"); the texts are copied. */
inline result fail(std::string_view type, std::string_view message, std::span<const std::string_view> stack = {}) {
    return error{detail::kept(type), detail::kept(message), stack};
}

/* Reports what a host function failed with. */
inline result fail(const error &error) { return error; }

/* Writes values. Faults stick and are reported when the handler is done, so nothing here has to be checked. */
class writer {
  public:
    writer() : raw_(&own_) { wasmrun_writer_grow(&own_); }
    explicit writer(wasmrun_writer *raw) : raw_(raw) {}
    writer(const writer &) = delete;
    writer &operator=(const writer &) = delete;

    result write(std::nullptr_t) { return wasmrun_write_nil(raw_), result(); }
    result write(std::same_as<bool> auto truth) { return wasmrun_write_bool(raw_, truth), result(); }
    result write(std::floating_point auto number) { return wasmrun_write_double(raw_, number), result(); }
    result write(bytes data) { return wasmrun_write_bin(raw_, data.data(), data.size()), result(); }
    result write(const detail::texty auto &text) {
        std::string_view view = text;
        return wasmrun_write_str(raw_, view.data(), view.size()), result();
    }
    result write(detail::number auto number) {
        if constexpr (std::is_signed_v<decltype(number)>) wasmrun_write_int(raw_, number);
        else wasmrun_write_uint(raw_, number);
        return {};
    }
    /* As it is encoded. */
    result write(const value &one) {
        wasmrun_reader reader = one.reader();
        if (!wasmrun_write_value(raw_, &reader)) wasmrun_write_nil(raw_);
        return {};
    }
    template <class T>
    result write(const std::optional<T> &maybe) {
        return maybe ? write(*maybe) : write(nullptr);
    }
    result write(const detail::list auto &list) {
        wasmrun_write_array(raw_, std::ranges::size(list));
        for (const auto &item : list) (void)write(item);
        return {};
    }

    /* Then `count` values. */
    result array(std::size_t count) { return wasmrun_write_array(raw_, count), result(); }

    /* Then `count` pairs: a key, its value, a key, … */
    result map(std::size_t count) { return wasmrun_write_map(raw_, count), result(); }

    /* A whole map: a key, its value, a key, … */
    template <detail::texty Key, class Value, class... More>
    result map(const Key &key, const Value &first, const More &...more) {
        static_assert(sizeof...(More) % 2 == 0, "each key has a value");
        wasmrun_write_map(raw_, 1 + sizeof...(More) / 2);
        (void)write(key), (void)write(first);
        ((void)write(more), ...);
        return {};
    }

    wasmrun_writer *raw() { return raw_; }

  private:
    wasmrun_writer own_{};
    wasmrun_writer *raw_;
};

enum class level { trace = WASMRUN_TRACE, debug = WASMRUN_DEBUG, info = WASMRUN_INFO, warn = WASMRUN_WARN, error = WASMRUN_ERROR };

inline void log(level level, std::string_view text) { wasmrun_log_bytes(static_cast<int>(level), detail::raw(text)); }

/* The reply of a host function, or an error: `if (!reply) return wasmrun::fail(reply.error());` */
template <class T>
class [[nodiscard]] reply {
  public:
    reply(const T &good) : good_(good) {}
    reply(const wasmrun::error &error) : error_(error) {}
    explicit operator bool() const { return good_.has_value(); }
    const T &operator*() const { return *good_; }
    const T *operator->() const { return &*good_; }
    const wasmrun::error &error() const { return error_; }

  private:
    std::optional<T> good_;
    wasmrun::error error_;
};

namespace detail {

inline reply<value> reply_of(int status, const wasmrun_reader &reader) {
    value got(reader);
    if (status == WASMRUN_REPLIED) return got;
    if (status == WASMRUN_FAILED) return error{"NoReply", "the host gave no reply"};
    return error{got.get<std::string_view>("type").value_or("HostFunctionError"), got.get<std::string_view>("message").value_or("")};
}

} // namespace detail

/* A host function of the embedding program: WASMRUN_HOST_FUNCTION(db_get, "db.get") and then auto user = db_get("user:1"); */
#define WASMRUN_HOST_FUNCTION(function, name)                                                  \
    extern "C" {                                                                               \
    WASMRUN_IMPORT(function##__exchange, name);                                                \
    }                                                                                          \
    template <class T>                                                                         \
    inline wasmrun::reply<wasmrun::value> function(const T &request) {                         \
        wasmrun::writer writer;                                                                \
        wasmrun_reader reader;                                                                 \
        (void)writer.write(request);                                                           \
        int status = function##__exchange(writer.raw(), &reader);                              \
        return wasmrun::detail::reply_of(status, reader);                                      \
    }

struct header {
    std::string_view name, value;
};

struct request {
    std::string_view url;
    std::string_view method = "GET";
    std::span<const header> headers = {};
    bytes body = {};
    std::uint32_t timeout_ms = 0; /* 0 for what is left of the event's time */
};

struct response {
    int status;
    value headers; /* names are in lower case: response->headers.get<std::string_view>("content-type") */
    bytes body;    /* as the server sent it: nothing is unpacked */
};

/* Has the host do an HTTP request. A response of any status is one. */
inline reply<response> http(const request &request) {
    writer sent;
    wasmrun_reader reader;
    (void)sent.map(request.timeout_ms == 0 ? 4 : 5);
    (void)sent.write("method"), (void)sent.write(request.method);
    (void)sent.write("url"), (void)sent.write(request.url);
    (void)sent.write("headers"), (void)sent.map(request.headers.size());
    for (const header &one : request.headers) (void)sent.write(one.name), (void)sent.write(one.value);
    (void)sent.write("body"), (void)sent.write(request.body);
    if (request.timeout_ms != 0) (void)sent.write("timeout_ms"), (void)sent.write(request.timeout_ms);
    int status = wasmrun_http_request(sent.raw(), &reader);
    auto got = detail::reply_of(status, reader);
    if (!got) return got.error();
    return response{got->get<int>("status").value_or(0), got->get("headers").value_or(value()), got->get<bytes>("body").value_or(bytes())};
}

namespace detail {

template <auto handle>
int run(wasmrun_reader *event, wasmrun_reader *context, wasmrun_writer *answer) {
    writer out(answer);
    result done;
    if constexpr (std::is_invocable_v<decltype(handle), value, writer &>) done = handle(value(*event), out);
    else done = handle(value(*event), wasmrun::context(value(*context)), out);
    if (!done.error()) return 0;
    const error &error = *done.error();
    auto *frames = static_cast<wasmrun_bytes *>(wasmrun_new(error.stack.size() * sizeof(wasmrun_bytes)));
    if (frames == nullptr) return wasmrun_out_of_memory(answer);
    for (std::size_t i = 0; i < error.stack.size(); i++) frames[i] = raw(error.stack[i]);
    return wasmrun_fail_stack(answer, raw(error.type), raw(error.message), frames, error.stack.size());
}

} // namespace detail

/* Exports `handle` as the entry `name`; the default one is wasmrun_handle. It is a function of (value, writer &), or of
 * (value, const context &, writer &), that returns a result. Writing nothing is an answer of nil. */
#define WASMRUN_FUNCTION(name, handle)                                                                                        \
    static_assert(!std::string_view(#name).ends_with("_raw"), "an entry named ..._raw takes bytes: use WASMRUN_RAW_HANDLER"); \
    extern "C" WASMRUN__EXPORT(#name) std::uint64_t wasmrun__entry_##name(const std::uint8_t *input, std::size_t length) {    \
        wasmrun__call call;                                                                                                   \
        int status = 0;                                                                                                       \
        if (wasmrun__open_call(&call, input, length))                                                                         \
            status = wasmrun::detail::run<handle>(&call.event, &call.context, &call.answer);                                  \
        return wasmrun__close_call(&call, status);                                                                            \
    }

} // namespace wasmrun

#endif
