/* The first 16 KiB of the memory, which a host like wasmrun copies from one sandbox to the next instead of taking them away:
what is written there costs no page fault. So it is where everything is that each event writes to.

The stack, which grows down to here, ends above (stack.h). */

enum {
    LOW_BEGIN = 1024,
    LOW_OBJECTS = 9 * 1024, /* from where the struct ends to here, objects of the language itself, and names in contexts */
    LOW_OWN = 12 * 1024,    /* to here, small things of the function's modules */
    LOW_END = 16 * 1024,    /* to here, what events make */
    NEAR_LEVELS = 6,
    LARGEST_SMALL = 512,
    STEP = 8,
};

typedef struct Block {
    struct Block *next;
} Block;

/* What is being written: MessagePack, or text. */
typedef struct {
    uint8_t *data;
    uint32_t used, room;
} Writer;

/* An array or a map that is being read. */
typedef struct {
    JSValue object;
    uint32_t next, count;
    JSAtom key;
    bool is_map;
} Open;

/* An array or an object that is being written. */
typedef struct {
    JSValue object;
    JSPropertyEnum *names; /* of an object that has more than values; none otherwise */
    JSShape *shape;        /* of an object that is nothing but values under names */
    uint32_t next, count;
    uint32_t head, written; /* of an object: where its head is, and how many pairs there are so far */
} Begun;

typedef struct {
    /* heap.h */
    uint8_t *at, *end; /* what is left of the chunk */
    bool has_run_out;  /* since the event began */
    Block *freed[LARGEST_SMALL / STEP + 1];
    /* values.h */
    bool is_exact;
    uint32_t levels;
    Open opened[NEAR_LEVELS];
    Begun begun[NEAR_LEVELS];
    /* natives.h */
    Writer request; /* kept for the next one, as is `answer` */
    uint64_t random_state, origin_real_ns, origin_ns;
    /* engine.c: what an event has left until it is over */
    Writer answer;
    uint8_t *event_input;
    JSValue event_values[3];
    bool is_over;
} Low;

static Low *const low = (Low *)LOW_BEGIN;
