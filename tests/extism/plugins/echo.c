// A plug-in in C, with what the PDK's header declares: a WASI reactor of which Extism runs _initialize.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define HOST(name) __attribute__((import_module("extism:host/env"), import_name(#name))) extern
HOST(input_length) uint64_t input_length(void);
HOST(input_load_u8) uint8_t input_load_u8(uint64_t);
HOST(input_load_u64) uint64_t input_load_u64(uint64_t);
HOST(alloc) uint64_t host_alloc(uint64_t);
HOST(length) uint64_t host_length(uint64_t);
HOST(load_u8) uint8_t load_u8(uint64_t);
HOST(store_u8) void store_u8(uint64_t, uint8_t);
HOST(store_u64) void store_u64(uint64_t, uint64_t);
HOST(output_set) void output_set(uint64_t, uint64_t);
HOST(error_set) void error_set(uint64_t);
HOST(log_warn) void log_warn(uint64_t);
HOST(var_get) uint64_t var_get(uint64_t);
HOST(var_set) void var_set(uint64_t, uint64_t);
HOST(config_get) uint64_t config_get(uint64_t);
#define EXPORT(name) __attribute__((export_name(name)))

static int started;

__attribute__((constructor)) static void start(void) { started = 1; }

static uint64_t block(const char *data, uint64_t size) {
    uint64_t at = host_alloc(size), i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, data + i, 8);
        store_u64(at + i, word);
    }
    for (; i < size; i++) store_u8(at + i, (uint8_t)data[i]);
    return at;
}

static void output(const char *data, uint64_t size) { output_set(block(data, size), size); }

static char *input(uint64_t *size) {
    uint64_t n = *size = input_length(), i = 0;
    char *data = malloc(n + 1);
    for (; i + 8 <= n; i += 8) {
        uint64_t word = input_load_u64(i);
        memcpy(data + i, &word, 8);
    }
    for (; i < n; i++) data[i] = (char)input_load_u8(i);
    data[n] = 0;
    return data;
}

EXPORT("reverse") int32_t reverse(void) {
    uint64_t size;
    char *data = input(&size);
    for (uint64_t i = 0; i < size / 2; i++) {
        char other = data[size - 1 - i];
        data[size - 1 - i] = data[i];
        data[i] = other;
    }
    output(data, size);
    free(data);
    return started ? 0 : 9;
}

// The event names a variable; its value is one letter longer after each call.
EXPORT("grow_var") int32_t grow_var(void) {
    uint64_t size, value_size;
    char *name = input(&size), *value;
    uint64_t found = var_get(block(name, size));
    value_size = host_length(found);
    value = malloc(value_size + 1);
    for (uint64_t i = 0; i < value_size; i++) value[i] = (char)load_u8(found + i);
    value[value_size] = 'x';
    var_set(block(name, size), block(value, value_size + 1));
    output(value, value_size + 1);
    return 0;
}

EXPORT("configured") int32_t configured(void) {
    uint64_t size;
    char *name = input(&size);
    uint64_t found = config_get(block(name, size));
    if (!found) {
        error_set(block("not configured", 14));
        return 1;
    }
    output_set(found, host_length(found));
    return 0;
}

EXPORT("warn") int32_t warn(void) {
    uint64_t size;
    char *text = input(&size);
    log_warn(block(text, size));
    return 0;
}

EXPORT("leave") int32_t leave(void) {
    uint64_t size;
    char *text = input(&size);
    output(text, size);
    exit(atoi(text));
}
