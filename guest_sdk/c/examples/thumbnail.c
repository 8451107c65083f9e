/* thumbnail: makes a picture smaller.
 *
 * Event: {"image": bytes, or base64 as a string, "width": 64, "format": "ppm" or "png"}. The image is a PPM (P6) or a PNG (every colour
 * type and depth, not interlaced); "format" is the one of the image if left out. Answer: {"width", "height", "format", "image"}.
 * The shape is kept, each new pixel is the exact average of the area it stands for, what is transparent lies on white, and a
 * picture that is narrow enough keeps its size.
 *
 * The entry thumbnail_raw takes the bytes of an image and gives those of a PNG 64 pixels wide; it traps where the other reports. */
#include "../wasmrun.h"

enum { MAX_SIDE = 16384, MAX_PIXELS = 1 << 24, MAX_WIDTH = 4096 };

/* A decoded picture; the rows are decoded to RGB one by one, when they are needed. */
typedef struct picture {
    uint32_t width, height;
    void (*read_row)(const struct picture *, uint32_t row, uint8_t *rgb);
    const uint8_t *pixels;
    size_t stride;
    uint32_t max_value;          /* PPM: the value that means full */
    uint8_t depth, colour;       /* PNG: bits of a sample, colour type */
    const uint8_t *palette;      /* PNG: RGB triples, 256 of them */
    const uint8_t *opacity;      /* PNG: one byte for each palette entry */
    bool has_clear;              /* PNG: the colour `clear` means transparent */
    uint16_t clear[3];
} picture;

static const char no_memory[] = "memory cannot grow"; /* compared by address */

static const char *check_size(uint64_t width, uint64_t height) {
    if (width == 0 || height == 0) return "the image has no pixels";
    if (width > MAX_SIDE || height > MAX_SIDE || width * height > MAX_PIXELS) return "the image has more pixels than are allowed";
    return NULL;
}

/* ---- PPM ---- */

static bool is_space(uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

/* A number of the header, after white space and comments. Numbers past a million are all the same here: too large. */
static bool ppm_number(wasmrun_bytes data, size_t *at, uint32_t *number) {
    while (*at < data.length && (is_space(data.data[*at]) || data.data[*at] == '#')) {
        if (data.data[*at] == '#')
            while (*at < data.length && data.data[*at] != '\n') (*at)++;
        else
            (*at)++;
    }
    size_t start = *at;
    *number = 0;
    for (; *at < data.length && data.data[*at] >= '0' && data.data[*at] <= '9'; (*at)++)
        if (*number < 1000000) *number = *number * 10 + (data.data[*at] - '0');
    return *at != start;
}

static void ppm_row(const picture *image, uint32_t row, uint8_t *rgb) {
    const uint8_t *data = image->pixels + row * image->stride;
    size_t samples = (size_t)image->width * 3;
    uint32_t max = image->max_value;
    for (size_t i = 0; i < samples; i++) {
        uint32_t value = max < 256 ? data[i] : (uint32_t)data[i * 2] << 8 | data[i * 2 + 1];
        rgb[i] = value >= max ? 255 : (uint8_t)((value * 255 + max / 2) / max);
    }
}

static const char *open_ppm(wasmrun_bytes data, picture *image) {
    size_t at = 2;
    if (!ppm_number(data, &at, &image->width) || !ppm_number(data, &at, &image->height) || !ppm_number(data, &at, &image->max_value) ||
        at == data.length || !is_space(data.data[at++]))
        return "the PPM header is malformed";
    if (image->max_value == 0 || image->max_value > 65535) return "the PPM's maximal value is not between 1 and 65535";
    const char *problem = check_size(image->width, image->height);
    if (problem != NULL) return problem;
    image->stride = (size_t)image->width * 3 * (image->max_value < 256 ? 1 : 2);
    if ((data.length - at) / image->stride < image->height) return "the PPM has fewer pixels than its header says";
    image->pixels = data.data + at;
    image->read_row = ppm_row;
    return NULL;
}

/* ---- checksums ---- */

/* CRC-32 four bits at a time: the table is 64 bytes, so that it does not make the module larger than the algorithm. */
static uint32_t crc32(uint32_t crc, const uint8_t *data, size_t length) {
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                       0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    crc = ~crc;
    for (size_t i = 0; i < length; i++) {
        crc = table[(crc ^ data[i]) & 15] ^ crc >> 4;
        crc = table[(crc ^ data[i] >> 4) & 15] ^ crc >> 4;
    }
    return ~crc;
}

static uint32_t adler32(const uint8_t *data, size_t length) {
    uint32_t low = 1, high = 0;
    while (length != 0) {
        size_t part = length < 5552 ? length : 5552; /* as many as cannot overflow 32 bits */
        length -= part;
        for (; part != 0; part--) {
            low += *data++;
            high += low;
        }
        low %= 65521;
        high %= 65521;
    }
    return high << 16 | low;
}

static uint32_t big_endian(const uint8_t *data) {
    return (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
}

/* ---- inflate: RFC 1951 into a buffer of the length that is known from the header ---- */

typedef struct {
    const uint8_t *at, *end;
    uint32_t bits;
    unsigned held; /* how many of them */
    bool ran_out;
    uint8_t *out;
    size_t written, size;
} inflater;

static uint32_t take_bits(inflater *stream, unsigned count) {
    while (stream->held < count) {
        uint32_t byte = 0;
        if (stream->at == stream->end)
            stream->ran_out = true;
        else
            byte = *stream->at++;
        stream->bits |= byte << stream->held;
        stream->held += 8;
    }
    uint32_t value = stream->bits & ((1u << count) - 1);
    stream->bits >>= count;
    stream->held -= count;
    return value;
}

/* A canonical Huffman code: how many codes each length has, and the symbols in code order. */
typedef struct {
    uint16_t counts[16];
    uint16_t symbols[288];
} huffman;

/* False when the lengths promise more codes than there are. */
static bool build(huffman *code, const uint8_t *lengths, unsigned symbols) {
    uint16_t starts[16];
    int32_t left = 1;
    for (unsigned i = 0; i < 16; i++) code->counts[i] = 0;
    for (unsigned i = 0; i < symbols; i++) code->counts[lengths[i]]++;
    starts[1] = 0;
    for (unsigned i = 1; i < 16; i++) {
        left = left * 2 - code->counts[i];
        if (left < 0) return false;
        if (i < 15) starts[i + 1] = starts[i] + code->counts[i];
    }
    for (unsigned i = 0; i < symbols; i++)
        if (lengths[i] != 0) code->symbols[starts[lengths[i]]++] = (uint16_t)i;
    return true;
}

/* -1 for a code that does not exist. */
static int32_t take_symbol(inflater *stream, const huffman *code) {
    int32_t value = 0, first = 0, index = 0;
    for (unsigned length = 1; length < 16; length++) {
        value |= (int32_t)take_bits(stream, 1);
        int32_t count = code->counts[length];
        if (value - first < count) return code->symbols[index + value - first];
        index += count;
        first = (first + count) << 1;
        value <<= 1;
    }
    return -1;
}

static bool inflate_stored(inflater *stream) {
    stream->bits = stream->held = 0; /* fewer than 8 are held here: the rest of this byte */
    if (stream->end - stream->at < 4) return false;
    size_t length = stream->at[0] | (size_t)stream->at[1] << 8;
    if ((stream->at[2] | (size_t)stream->at[3] << 8) != (length ^ 0xffff)) return false;
    stream->at += 4;
    if ((size_t)(stream->end - stream->at) < length || stream->size - stream->written < length) return false;
    if (length != 0) __builtin_memcpy(stream->out + stream->written, stream->at, length);
    stream->at += length;
    stream->written += length;
    return true;
}

static bool inflate_codes(inflater *stream, const huffman *literals, const huffman *distances) {
    static const uint16_t length_base[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                             31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    static const uint8_t length_more[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    static const uint16_t distance_base[30] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
                                               193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    while (!stream->ran_out) {
        int32_t symbol = take_symbol(stream, literals);
        if (symbol == 256) return !stream->ran_out;
        if (symbol < 0 || symbol > 285) return false;
        if (symbol < 256) {
            if (stream->written == stream->size) return false;
            stream->out[stream->written++] = (uint8_t)symbol;
            continue;
        }
        size_t length = length_base[symbol - 257] + take_bits(stream, length_more[symbol - 257]);
        symbol = take_symbol(stream, distances);
        if (symbol < 0 || symbol > 29) return false;
        size_t distance = distance_base[symbol] + take_bits(stream, symbol < 2 ? 0 : (unsigned)symbol / 2 - 1);
        if (distance > stream->written || length > stream->size - stream->written) return false;
        for (; length != 0; length--, stream->written++) stream->out[stream->written] = stream->out[stream->written - distance];
    }
    return false;
}

static huffman literals, distances; /* 1.2 KiB: not for a small stack */

static bool inflate_fixed(inflater *stream) {
    uint8_t lengths[288];
    for (unsigned i = 0; i < 288; i++) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
    build(&literals, lengths, 288);
    for (unsigned i = 0; i < 30; i++) lengths[i] = 5;
    build(&distances, lengths, 30);
    return inflate_codes(stream, &literals, &distances);
}

static bool inflate_dynamic(inflater *stream) {
    static const uint8_t order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    uint8_t lengths[320] = {0};
    unsigned literal_count = take_bits(stream, 5) + 257, distance_count = take_bits(stream, 5) + 1;
    unsigned order_count = take_bits(stream, 4) + 4, done = 0;
    if (literal_count > 286 || distance_count > 30) return false;
    for (unsigned i = 0; i < order_count; i++) lengths[order[i]] = (uint8_t)take_bits(stream, 3);
    if (!build(&literals, lengths, 19)) return false;
    while (done < literal_count + distance_count) {
        int32_t symbol = take_symbol(stream, &literals);
        unsigned repeat = 1;
        uint8_t length = 0;
        if (symbol < 0 || stream->ran_out) return false;
        if (symbol < 16) {
            length = (uint8_t)symbol;
        } else if (symbol == 16) {
            if (done == 0) return false;
            length = lengths[done - 1];
            repeat = 3 + take_bits(stream, 2);
        } else {
            repeat = symbol == 17 ? 3 + take_bits(stream, 3) : 11 + take_bits(stream, 7);
        }
        if (repeat > literal_count + distance_count - done) return false;
        for (; repeat != 0; repeat--) lengths[done++] = length;
    }
    return build(&literals, lengths, literal_count) && build(&distances, lengths + literal_count, distance_count) &&
           inflate_codes(stream, &literals, &distances);
}

/* A zlib stream (RFC 1950) that has to fill `out` exactly. */
static bool inflate_zlib(const uint8_t *data, size_t length, uint8_t *out, size_t size) {
    if (length < 6 || (data[0] & 15) != 8 || (data[0] << 8 | data[1]) % 31 != 0 || (data[1] & 0x20) != 0) return false;
    inflater stream = {.at = data + 2, .end = data + length, .out = out, .size = size};
    bool last = false;
    while (!last) {
        last = take_bits(&stream, 1);
        uint32_t kind = take_bits(&stream, 2);
        bool good = kind == 0 ? inflate_stored(&stream) : kind == 1 ? inflate_fixed(&stream) : kind == 2 && inflate_dynamic(&stream);
        if (!good || stream.ran_out) return false;
    }
    return stream.written == size && stream.end - stream.at >= 4 && big_endian(stream.at) == adler32(out, size);
}

/* ---- PNG in ---- */

static unsigned samples_of(uint8_t colour) { return colour == 2 ? 3 : colour == 4 ? 2 : colour == 6 ? 4 : 1; }

static uint16_t png_sample(const picture *image, const uint8_t *row, size_t index) {
    if (image->depth == 8) return row[index];
    if (image->depth == 16) return (uint16_t)(row[index * 2] << 8 | row[index * 2 + 1]);
    size_t bit = index * image->depth;
    return row[bit / 8] >> (8 - image->depth - bit % 8) & ((1u << image->depth) - 1);
}

static uint8_t on_white(uint32_t value, uint32_t opacity) { return (uint8_t)((value * opacity + 255 * (255 - opacity) + 127) / 255); }

static void png_row(const picture *image, uint32_t row, uint8_t *rgb) {
    const uint8_t *data = image->pixels + row * image->stride + 1; /* after the filter's number */
    unsigned samples = samples_of(image->colour);
    uint32_t full = (1u << image->depth) - 1;
    for (uint32_t x = 0; x < image->width; x++, rgb += 3) {
        uint32_t opacity = 255;
        if (image->colour == 3) {
            uint16_t index = png_sample(image, data, x);
            opacity = image->opacity[index];
            for (unsigned i = 0; i < 3; i++) rgb[i] = on_white(image->palette[index * 3u + i], opacity);
            continue;
        }
        bool clear = image->has_clear;
        for (unsigned i = 0; i < 3; i++) {
            uint16_t value = png_sample(image, data, (size_t)x * samples + (samples > 2 ? i : 0));
            clear = clear && value == image->clear[i];
            rgb[i] = (uint8_t)((value * 255u + full / 2) / full);
        }
        if (samples % 2 == 0) opacity = (png_sample(image, data, (size_t)x * samples + samples - 1) * 255u + full / 2) / full;
        if (clear) opacity = 0;
        for (unsigned i = 0; i < 3; i++) rgb[i] = on_white(rgb[i], opacity);
    }
}

static uint8_t paeth(int left, int up, int corner) {
    int to_left = up - corner, to_up = left - corner, to_corner = left + up - 2 * corner;
    if (to_left < 0) to_left = -to_left;
    if (to_up < 0) to_up = -to_up;
    if (to_corner < 0) to_corner = -to_corner;
    return (uint8_t)(to_left <= to_up && to_left <= to_corner ? left : to_up <= to_corner ? up : corner);
}

/* Undoes the filters of all rows in place. False for a filter that does not exist. */
static bool unfilter(uint8_t *data, size_t stride, uint32_t height, size_t step) {
    for (uint32_t y = 0; y < height; y++) {
        uint8_t *row = data + y * stride + 1, filter = row[-1];
        const uint8_t *above = y == 0 ? NULL : row - stride;
        if (filter > 4) return false;
        for (size_t i = 0; i < stride - 1 && filter != 0; i++) {
            int left = i < step ? 0 : row[i - step], up = above == NULL ? 0 : above[i];
            int corner = i < step || above == NULL ? 0 : above[i - step];
            row[i] += (uint8_t)(filter == 1 ? left : filter == 2 ? up : filter == 3 ? (left + up) / 2 : paeth(left, up, corner));
        }
    }
    return true;
}

static bool depth_fits(uint8_t depth, uint8_t colour) {
    if (colour == 0) return depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16;
    if (colour == 3) return depth == 1 || depth == 2 || depth == 4 || depth == 8;
    return (colour == 2 || colour == 4 || colour == 6) && (depth == 8 || depth == 16);
}

typedef struct {
    const uint8_t *data;
    uint32_t length;
    uint32_t name;
} chunk;

/* The chunk at *at, its checksum checked; moves behind it. */
static bool next_chunk(wasmrun_bytes file, size_t *at, chunk *found) {
    if (file.length - *at < 12) return false;
    const uint8_t *start = file.data + *at;
    found->length = big_endian(start);
    if (found->length > file.length - *at - 12) return false;
    found->name = big_endian(start + 4);
    found->data = start + 8;
    *at += found->length + 12;
    return big_endian(found->data + found->length) == crc32(0, start + 4, found->length + 4);
}

#define NAME(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))

static const char *open_png(wasmrun_bytes file, picture *image) {
    static uint8_t palette[768], opacity[256];
    static const char broken[] = "the PNG is truncated or damaged";
    wasmrun_writer packed; /* the image data, which may come in many chunks */
    bool has_palette = false;
    size_t at = 8;
    chunk part;

    if (!next_chunk(file, &at, &part) || part.name != NAME('I', 'H', 'D', 'R') || part.length != 13) return broken;
    image->width = big_endian(part.data);
    image->height = big_endian(part.data + 4);
    image->depth = part.data[8];
    image->colour = part.data[9];
    if (!depth_fits(image->depth, image->colour) || part.data[10] != 0 || part.data[11] != 0) return "the PNG header is malformed";
    if (part.data[12] != 0) return "the PNG is interlaced, which is not supported";
    const char *problem = check_size(image->width, image->height);
    if (problem != NULL) return problem;

    __builtin_memset(palette, 0, sizeof palette);
    __builtin_memset(opacity, 255, sizeof opacity);
    wasmrun_writer_grow(&packed);
    do {
        if (!next_chunk(file, &at, &part)) return broken;
        if (part.name == NAME('I', 'D', 'A', 'T')) {
            wasmrun_put(&packed, part.data, part.length);
        } else if (part.name == NAME('P', 'L', 'T', 'E')) {
            if (part.length > sizeof palette || part.length % 3 != 0 || part.length == 0) return broken;
            __builtin_memcpy(palette, part.data, part.length);
            has_palette = true;
        } else if (part.name == NAME('t', 'R', 'N', 'S') && image->colour == 3) {
            if (part.length > sizeof opacity) return broken;
            if (part.length != 0) __builtin_memcpy(opacity, part.data, part.length);
        } else if (part.name == NAME('t', 'R', 'N', 'S') && (image->colour == 0 || image->colour == 2)) {
            unsigned samples = samples_of(image->colour);
            if (part.length != samples * 2) return broken;
            image->has_clear = true;
            for (unsigned i = 0; i < 3; i++) {
                const uint8_t *sample = part.data + (samples == 3 ? i * 2 : 0);
                image->clear[i] = (uint16_t)(sample[0] << 8 | sample[1]);
            }
        } else if (part.name != NAME('I', 'E', 'N', 'D') && (part.name >> 24 & 0x20) == 0) {
            return "the PNG has a part that is unknown and not optional";
        }
    } while (part.name != NAME('I', 'E', 'N', 'D'));
    if (packed.faults != 0) return no_memory;
    if (image->colour == 3 && !has_palette) return "the PNG has no palette";

    unsigned pixel_bits = samples_of(image->colour) * image->depth;
    image->stride = 1 + ((size_t)image->width * pixel_bits + 7) / 8;
    size_t size = image->stride * image->height;
    if (size / 1032 > packed.length) return broken; /* deflate never packs tighter: refuse before the memory is taken */
    uint8_t *pixels = wasmrun_new(size);
    if (pixels == NULL) return no_memory;
    if (!inflate_zlib(packed.data, packed.length, pixels, size)) return broken;
    if (!unfilter(pixels, image->stride, image->height, pixel_bits < 8 ? 1 : pixel_bits / 8)) return broken;
    image->pixels = pixels;
    image->palette = palette;
    image->opacity = opacity;
    image->read_row = png_row;
    return NULL;
}

/* ---- scaling ---- */

/* Adds one row, each source pixel weighed by how much of an output pixel it covers. Lengths are counted in units of which a source
 * pixel has `to` and an output pixel has `from`, so that every border is a whole number and nothing is rounded. */
static void shrink_row(const uint8_t *rgb, uint32_t from, uint32_t to, uint32_t *sums) {
    uint32_t x = 0, left_in_source = to;
    for (uint32_t out = 0; out < to; out++, sums += 3) {
        uint32_t wanted = from;
        sums[0] = sums[1] = sums[2] = 0;
        while (wanted != 0) {
            uint32_t part = wanted < left_in_source ? wanted : left_in_source;
            for (unsigned i = 0; i < 3; i++) sums[i] += part * rgb[x * 3 + i];
            wanted -= part;
            left_in_source -= part;
            if (left_in_source == 0) {
                x++;
                left_in_source = to;
            }
        }
    }
}

/* The picture at width x height, as RGB. The sums stay below 16384 * 16384 * 255, far from 64 bits. */
static bool shrink(const picture *image, uint32_t width, uint32_t height, uint8_t *rgb) {
    size_t samples = (size_t)width * 3;
    uint8_t *source = wasmrun_new((size_t)image->width * 3);
    uint32_t *across = wasmrun_new(samples * sizeof *across);
    uint64_t *total = wasmrun_new(samples * sizeof *total);
    uint64_t area = (uint64_t)image->width * image->height;
    uint32_t y = 0, left_in_source = 0;
    if (source == NULL || across == NULL || total == NULL) return false;
    for (uint32_t out = 0; out < height; out++, rgb += samples) {
        uint32_t wanted = image->height;
        __builtin_memset(total, 0, samples * sizeof *total);
        while (wanted != 0) {
            if (left_in_source == 0) {
                image->read_row(image, y++, source);
                shrink_row(source, image->width, width, across);
                left_in_source = height;
            }
            uint32_t part = wanted < left_in_source ? wanted : left_in_source;
            for (size_t i = 0; i < samples; i++) total[i] += (uint64_t)part * across[i];
            wanted -= part;
            left_in_source -= part;
        }
        for (size_t i = 0; i < samples; i++) rgb[i] = (uint8_t)((total[i] + area / 2) / area);
    }
    return true;
}

/* ---- files out ---- */

static uint8_t *put_big_endian(uint8_t *at, uint32_t number) {
    for (unsigned i = 0; i < 4; i++) at[i] = (uint8_t)(number >> (24 - 8 * i));
    return at + 4;
}

static uint8_t *put_bytes(uint8_t *at, const void *data, size_t length) {
    __builtin_memcpy(at, data, length);
    return at + length;
}

/* Closes the chunk whose length field is at `start`: the length, and the checksum at `end`. */
static uint8_t *close_chunk(uint8_t *start, uint8_t *end) {
    put_big_endian(start, (uint32_t)(end - start - 8));
    return put_big_endian(end, crc32(0, start + 4, (size_t)(end - start - 4)));
}

static size_t png_size(uint32_t width, uint32_t height) {
    size_t raw = ((size_t)width * 3 + 1) * height;
    return 8 + 25 + 12 + 2 + (raw + 65534) / 65535 * 5 + raw + 4 + 12;
}

/* A valid PNG in its simplest form: no filter, and blocks that are stored, not packed. */
static void put_png(uint8_t *at, const uint8_t *rgb, uint8_t *rows, uint32_t width, uint32_t height) {
    size_t stride = (size_t)width * 3, raw = (stride + 1) * height;
    for (uint32_t y = 0; y < height; y++) {
        rows[y * (stride + 1)] = 0;
        __builtin_memcpy(rows + y * (stride + 1) + 1, rgb + y * stride, stride);
    }
    at = put_bytes(at, "\x89PNG\r\n\x1a\n", 8);
    uint8_t *start = at;
    at = put_bytes(at + 4, "IHDR", 4);
    at = put_big_endian(at, width);
    at = put_big_endian(at, height);
    at = put_bytes(at, "\x08\x02\0\0\0", 5); /* 8 bits, RGB */
    at = close_chunk(start, at);
    start = at;
    at = put_bytes(at + 4, "IDAT\x78\x01", 6);
    for (size_t done = 0; done < raw;) {
        size_t part = raw - done < 65535 ? raw - done : 65535;
        uint8_t head[5] = {done + part == raw, (uint8_t)part, (uint8_t)(part >> 8), (uint8_t)~part, (uint8_t)(~part >> 8)};
        at = put_bytes(at, head, 5);
        at = put_bytes(at, rows + done, part);
        done += part;
    }
    at = put_big_endian(at, adler32(rows, raw));
    at = close_chunk(start, at);
    close_chunk(at, put_bytes(at + 4, "IEND", 4));
}

static size_t ppm_header(char *into, uint32_t width, uint32_t height) {
    wasmrun_writer header;
    wasmrun_writer_fixed(&header, into, 32);
    wasmrun_put_text(&header, "P6\n");
    wasmrun_put_int(&header, width);
    wasmrun_put_text(&header, " ");
    wasmrun_put_int(&header, height);
    wasmrun_put_text(&header, "\n255\n");
    return header.length;
}

/* ---- entries ---- */

typedef struct {
    uint32_t width, height;
    bool png;
    uint8_t *rgb;
} thumbnail;

static const char *open_image(wasmrun_bytes file, picture *image, bool *png) {
    static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    wasmrun_bytes start = {file.data, 8}, wanted = {signature, 8};
    *png = file.length >= 8 && wasmrun_equal(start, wanted);
    if (*png) return open_png(file, image);
    if (file.length >= 2 && file.data[0] == 'P' && file.data[1] == '6') return open_ppm(file, image);
    return "the image is neither a PPM (P6) nor a PNG";
}

/* NULL, or what is wrong. */
static const char *make_thumbnail(wasmrun_bytes file, uint32_t width, thumbnail *made) {
    picture image = {0};
    const char *problem = open_image(file, &image, &made->png);
    if (problem != NULL) return problem;
    if (width > image.width) width = image.width;
    uint32_t height = (image.height * width + image.width / 2) / image.width; /* below 2^27 by the limits above */
    made->width = width;
    made->height = height == 0 ? 1 : height;
    made->rgb = wasmrun_new((size_t)made->width * made->height * 3);
    if (made->rgb == NULL || !shrink(&image, made->width, made->height, made->rgb)) return no_memory;
    return NULL;
}

static bool put_thumbnail_png(uint8_t *at, const thumbnail *made) {
    uint8_t *rows = wasmrun_new(((size_t)made->width * 3 + 1) * made->height);
    if (rows != NULL) put_png(at, made->rgb, rows, made->width, made->height);
    return rows != NULL;
}

static int refuse(wasmrun_writer *answer, const char *message) { return wasmrun_fail(answer, "InvalidEvent", message); }

/* The image as it came, or decoded from base64. False after the event was answered with an error. */
static bool read_image(const wasmrun_reader *event, wasmrun_writer *answer, wasmrun_bytes *file) {
    wasmrun_reader value;
    wasmrun_bytes text;
    if (!wasmrun_get(event, "image", &value)) {
        refuse(answer, "the event has no \"image\"");
        return false;
    }
    if (wasmrun_read_bin(&value, file)) return true;
    if (!wasmrun_read_str(&value, &text)) {
        refuse(answer, "the image has to be bytes, or a string of base64");
        return false;
    }
    uint8_t *decoded = wasmrun_new(text.length / 4 * 3);
    if (decoded == NULL) {
        wasmrun_out_of_memory(answer);
        return false;
    }
    file->data = decoded;
    file->length = wasmrun_base64_decode(text, decoded);
    if (file->length == WASMRUN_NOT_BASE64) refuse(answer, "the image is a string, and not base64");
    return file->length != WASMRUN_NOT_BASE64;
}

WASMRUN_HANDLER(wasmrun_handle) {
    wasmrun_reader value;
    wasmrun_bytes file, format;
    int64_t width = 64;
    thumbnail made;

    if (wasmrun_get(event, "width", &value) && (!wasmrun_read_int(&value, &width) || width < 1 || width > MAX_WIDTH))
        return refuse(answer, "\"width\" has to be an integer from 1 to 4096");
    bool has_format = wasmrun_get(event, "format", &value);
    if (has_format && (!wasmrun_read_str(&value, &format) || (!wasmrun_is(format, "ppm") && !wasmrun_is(format, "png"))))
        return refuse(answer, "\"format\" has to be \"ppm\" or \"png\"");
    if (!read_image(event, answer, &file)) return 1;

    const char *problem = make_thumbnail(file, (uint32_t)width, &made);
    if (problem == no_memory) return wasmrun_out_of_memory(answer);
    if (problem != NULL) return wasmrun_fail(answer, "InvalidImage", problem);
    bool png = has_format ? wasmrun_is(format, "png") : made.png;

    wasmrun_write_map(answer, 4);
    wasmrun_write_text(answer, "width");
    wasmrun_write_uint(answer, made.width);
    wasmrun_write_text(answer, "height");
    wasmrun_write_uint(answer, made.height);
    wasmrun_write_text(answer, "format");
    wasmrun_write_text(answer, png ? "png" : "ppm");
    wasmrun_write_text(answer, "image");
    if (png) {
        uint8_t *at = wasmrun_write_bin_reserve(answer, png_size(made.width, made.height));
        if (at == NULL || !put_thumbnail_png(at, &made)) return wasmrun_out_of_memory(answer);
    } else {
        char header[32];
        size_t length = ppm_header(header, made.width, made.height), pixels = (size_t)made.width * made.height * 3;
        uint8_t *at = wasmrun_write_bin_reserve(answer, length + pixels);
        if (at == NULL) return wasmrun_out_of_memory(answer);
        put_bytes(put_bytes(at, header, length), made.rgb, pixels);
    }
    return 0;
}

WASMRUN_RAW_HANDLER(thumbnail_raw) {
    thumbnail made;
    if (make_thumbnail(input, 64, &made) != NULL) return 1;
    output->length = png_size(made.width, made.height);
    uint8_t *file = wasmrun_new(output->length);
    output->data = file;
    return file != NULL && put_thumbnail_png(file, &made) ? 0 : 1;
}
