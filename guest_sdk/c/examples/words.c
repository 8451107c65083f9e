/* words: statistics of a text.
 *
 * Event: {"text": "…", "top": 5} or just "…". Answer: {"words", "unique", "characters", "lines", "longest", "top": [{"word", "count"}, …]}.
 *
 * A word is a run of letters, digits and multi-byte characters other than spaces and punctuation, with apostrophes inside it.
 * ASCII letters count as their lower-case selves; characters are Unicode code points. */
#include "../wasmrun.h"

/* One distinct word, as it stands where the text has it first. */
typedef struct {
    wasmrun_bytes word;
    uint32_t hash;
    uint32_t count; /* 0: a free slot */
} entry;

typedef struct {
    entry *slots;
    size_t size; /* a power of two */
    size_t used;
} table;

static uint8_t folded(uint8_t byte) { return byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte; }

static uint32_t hash_of(wasmrun_bytes word) {
    uint32_t hash = 2166136261u; /* FNV-1a. Whoever floods it with collisions spends their own fuel. */
    for (size_t i = 0; i < word.length; i++) hash = (hash ^ folded(word.data[i])) * 16777619u;
    return hash;
}

static bool same_word(wasmrun_bytes a, wasmrun_bytes b) {
    if (a.length != b.length) return false;
    for (size_t i = 0; i < a.length; i++)
        if (folded(a.data[i]) != folded(b.data[i])) return false;
    return true;
}

static entry *slot_for(const table *words, wasmrun_bytes word, uint32_t hash) {
    size_t at = hash & (words->size - 1);
    while (words->slots[at].count != 0 && (words->slots[at].hash != hash || !same_word(words->slots[at].word, word)))
        at = (at + 1) & (words->size - 1);
    return &words->slots[at];
}

/* Doubles the table; the old slots stay behind in the arena, all generations together less than the last one. */
static bool grow(table *words) {
    table larger = {wasmrun_new_zeroed(words->size * 2, sizeof(entry)), words->size * 2, words->used};
    if (larger.slots == NULL) return false;
    for (size_t i = 0; i < words->size; i++)
        if (words->slots[i].count != 0) *slot_for(&larger, words->slots[i].word, words->slots[i].hash) = words->slots[i];
    *words = larger;
    return true;
}

static bool count_word(table *words, wasmrun_bytes word) {
    if (words->used * 4 >= words->size * 3 && !grow(words)) return false;
    uint32_t hash = hash_of(word);
    entry *slot = slot_for(words, word, hash);
    if (slot->count == 0) {
        slot->word = word;
        slot->hash = hash;
        words->used++;
    }
    slot->count++;
    return true;
}

/* The length of the character at data[at]. Malformed UTF-8 counts as characters of one byte. */
static size_t character_length(wasmrun_bytes text, size_t at) {
    uint8_t first = text.data[at];
    size_t length = first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf8 ? 4 : 1;
    if (length > text.length - at) return 1;
    for (size_t i = 1; i < length; i++)
        if ((text.data[at + i] & 0xc0) != 0x80) return 1;
    return length;
}

static bool belongs_to_word(const uint8_t *character, size_t length) {
    uint8_t first = character[0];
    if (length == 1) {
        uint8_t letter = folded(first);
        return (letter >= 'a' && letter <= 'z') || (first >= '0' && first <= '9') || first >= 0x80;
    }
    if (length == 2) /* no-break space and the guillemets */
        return !(first == 0xc2 && (character[1] == 0xa0 || character[1] == 0xab || character[1] == 0xbb));
    if (length == 3) /* U+2000 to U+206F, spaces, dashes and quotes, and the ideographic space and stops */
        return !(first == 0xe2 && (character[1] == 0x80 || (character[1] == 0x81 && character[2] < 0xb0))) &&
               !(first == 0xe3 && character[1] == 0x80 && character[2] < 0x83);
    return true;
}

/* ' or U+2019 with a word on both sides, as in "don't". */
static size_t apostrophe_length(wasmrun_bytes text, size_t at) {
    const uint8_t *data = text.data + at;
    size_t left = text.length - at;
    size_t length = data[0] == '\'' ? 1 : left > 3 && data[0] == 0xe2 && data[1] == 0x80 && data[2] == 0x99 ? 3 : 0;
    if (length == 0 || length >= left) return 0;
    return belongs_to_word(data + length, character_length(text, at + length)) ? length : 0;
}

/* More often first, then by the folded bytes. */
static bool comes_before(const entry *a, const entry *b) {
    if (a->count != b->count) return a->count > b->count;
    size_t shorter = a->word.length < b->word.length ? a->word.length : b->word.length;
    for (size_t i = 0; i < shorter; i++) {
        uint8_t left = folded(a->word.data[i]), right = folded(b->word.data[i]);
        if (left != right) return left < right;
    }
    return a->word.length < b->word.length;
}

static void sift_down(entry *heap, size_t root, size_t size) {
    for (size_t child; (child = root * 2 + 1) < size; root = child) {
        if (child + 1 < size && comes_before(&heap[child], &heap[child + 1])) child++;
        if (!comes_before(&heap[root], &heap[child])) return;
        entry moved = heap[root];
        heap[root] = heap[child];
        heap[child] = moved;
    }
}

/* Heap sort: n log n whatever the text, and no memory. */
static void sort(entry *entries, size_t size) {
    for (size_t root = size / 2; root-- != 0;) sift_down(entries, root, size);
    for (size_t last = size; last-- > 1;) {
        entry moved = entries[0];
        entries[0] = entries[last];
        entries[last] = moved;
        sift_down(entries, 0, last);
    }
}

static void write_word(wasmrun_writer *answer, wasmrun_bytes word) {
    wasmrun_write_str(answer, word.data, word.length);
    if (answer->faults != 0) return;
    uint8_t *written = answer->data + answer->length - word.length;
    for (size_t i = 0; i < word.length; i++) written[i] = folded(written[i]);
}

typedef struct {
    uint64_t words, characters, lines;
    wasmrun_bytes longest;
    size_t longest_characters;
} statistics;

static bool measure(wasmrun_bytes text, statistics *found, table *words) {
    size_t at = 0;
    bool line_is_open = false;
    while (at < text.length) {
        wasmrun_bytes word = {text.data + at, 0};
        size_t characters = 0, length;
        while (at < text.length) {
            length = character_length(text, at);
            if (!belongs_to_word(text.data + at, length) && (word.length == 0 || (length = apostrophe_length(text, at)) == 0)) break;
            at += length;
            word.length += length;
            characters++;
        }
        if (word.length != 0) {
            found->words++;
            found->characters += characters;
            line_is_open = true;
            if (!count_word(words, word)) return false;
            if (characters > found->longest_characters) {
                found->longest = word;
                found->longest_characters = characters;
            }
        } else {
            line_is_open = text.data[at] != '\n';
            found->lines += !line_is_open;
            found->characters++;
            at += character_length(text, at);
        }
    }
    found->lines += line_is_open;
    return true;
}

static int refuse(wasmrun_writer *answer, const char *message) { return wasmrun_fail(answer, "InvalidEvent", message); }

WASMRUN_HANDLER(wasmrun_handle) {
    wasmrun_reader text_value = *event, top_value;
    wasmrun_bytes text;
    uint64_t top = 5;

    if (wasmrun_peek(event) == WASMRUN_MAP) {
        if (!wasmrun_get(event, "text", &text_value)) return refuse(answer, "the event has no \"text\"");
        if (wasmrun_get(event, "top", &top_value) && !wasmrun_read_uint(&top_value, &top))
            return refuse(answer, "\"top\" has to be an integer of 0 or more");
    }
    if (!wasmrun_read_str(&text_value, &text)) return refuse(answer, "the text has to be a string");

    statistics found = {0, 0, 0, {NULL, 0}, 0};
    table words = {wasmrun_new_zeroed(256, sizeof(entry)), 256, 0};
    if (words.slots == NULL || !measure(text, &found, &words)) return wasmrun_out_of_memory(answer);

    size_t unique = 0;
    for (size_t i = 0; i < words.size; i++)
        if (words.slots[i].count != 0) words.slots[unique++] = words.slots[i];
    sort(words.slots, unique);
    if (top > unique) top = unique;

    wasmrun_write_map(answer, 6);
    wasmrun_write_text(answer, "words");
    wasmrun_write_uint(answer, found.words);
    wasmrun_write_text(answer, "unique");
    wasmrun_write_uint(answer, unique);
    wasmrun_write_text(answer, "characters");
    wasmrun_write_uint(answer, found.characters);
    wasmrun_write_text(answer, "lines");
    wasmrun_write_uint(answer, found.lines);
    wasmrun_write_text(answer, "longest");
    write_word(answer, found.longest);
    wasmrun_write_text(answer, "top");
    wasmrun_write_array(answer, (size_t)top);
    for (size_t i = 0; i < top; i++) {
        wasmrun_write_map(answer, 2);
        wasmrun_write_text(answer, "word");
        write_word(answer, words.slots[i].word);
        wasmrun_write_text(answer, "count");
        wasmrun_write_uint(answer, words.slots[i].count);
    }
    return 0;
}
