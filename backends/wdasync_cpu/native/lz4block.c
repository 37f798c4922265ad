/* Blocks of LZ4 as they are (LZ4 Block Format), without a frame. A block does not tell how long its content is, nor has it
 * a check value; so its sequences are walked first, which says how much room it takes, and what is wrong with it. */
#include "codec.h"

#include <stdlib.h>
#include <string.h>

enum { QUICK, THOROUGH, THOROUGH_FROM = 3 };

/* The library counts in int. */
enum { MOST_INPUT = 0x7e000000 };

/* What a block keeps at its end, so that decoders may copy more than they need at once. */
enum { LAST_LITERALS = 5, LAST_MATCH = 12 };

void forget_blocks(struct kit *kit)
{
    for (int i = QUICK; i <= THOROUGH; i++) {
        free(kit->lz4_states[i]);
        if (kit->lz4_streams[i])
            (i == QUICK ? lz4->stream_free : lz4->stream_free_hc)(kit->lz4_streams[i]);
        kit->lz4_states[i] = kit->lz4_streams[i] = NULL;
    }
}

/* ---- compressing ------------------------------------------------------------------------------------------------- */

static int by_state(struct kit *kit, const struct request *request, const uint8_t *in, int size, uint8_t *out, int room)
{
    int level = request->plan->level, which = level < THOROUGH_FROM ? QUICK : THOROUGH;
    void **state = &kit->lz4_states[which];
    if (!*state && !(*state = malloc((size_t)(which == QUICK ? lz4->state_size : lz4->state_size_hc)())))
        return -1;
    return which == QUICK ? lz4->compress_block(*state, in, out, size, room, 1)
                          : lz4->compress_block_hc(*state, in, out, size, room, level);
}

/* A dictionary works for 64 KiB, as far as a match reaches. */
static int by_stream(struct kit *kit, const struct request *request, const uint8_t *in, int size, uint8_t *out, int room)
{
    int level = request->plan->level, which = level < THOROUGH_FROM ? QUICK : THOROUGH;
    size_t known = request->dictionary.size < 1 << 16 ? request->dictionary.size : 1 << 16;
    const uint8_t *tail = request->dictionary.data + (request->dictionary.size - known);
    void *stream = kit->lz4_streams[which] = (which == QUICK ? lz4->stream_new : lz4->stream_new_hc)();
    int made = -1;
    if (stream && which == QUICK) {
        lz4->stream_load(stream, tail, (int)known);
        made = lz4->stream_compress(stream, in, out, size, room, 1);
    } else if (stream) {
        lz4->stream_level_hc(stream, level);
        lz4->stream_load_hc(stream, tail, (int)known);
        made = lz4->stream_compress_hc(stream, in, out, size, room);
    }
    if (stream)
        (which == QUICK ? lz4->stream_free : lz4->stream_free_hc)(stream);
    kit->lz4_streams[which] = NULL;
    return made;
}

void run_block_compress(struct kit *kit, struct request *request)
{
    struct sink sink;
    size_t size;
    const uint8_t *data = joined_input(kit, request, &size);
    if (!data) {
        fail_memory(request, size);
        return;
    }
    if (size > MOST_INPUT) {
        fail(request, STATUS_INVALID_ARGS, CAUSE_NONE, "a block has at most %d bytes of content, got %zu; take frames", MOST_INPUT, size);
        return;
    }
    if (!touch_input(request))
        return;
    size_t wanted = (size_t)lz4->block_bound((int)size);
    sink_begin(&sink, request, wanted, UINT64_MAX);
    if (!sink.fixed && sink.room < wanted) {
        fail_memory(request, wanted);
        return;
    }
    int room = sink.room < wanted ? (int)sink.room : (int)wanted;
    int made = (request->dictionary.data ? by_stream : by_state)(kit, request, data, (int)size, sink_at(&sink, 0), room);
    if (made < 0)
        fail_memory(request, 1 << 18);
    else if (!made)
        fail(request, STATUS_OUT_OF_SPACE_TERMINATED, CAUSE_NONE, "the output does not fit into %zu bytes", sink.room);
    sink.size = made > 0 ? (size_t)made : 0;
    request->consumed = size;
    sink_end(&sink, request);
}

/* ---- walking ----------------------------------------------------------------------------------------------------- */

static int64_t wrong(struct request *request, enum cause cause, const char *what, size_t at)
{
    fail(request, STATUS_DATA_ERROR, cause, cause == CAUSE_TRUNCATED ? "the input ends inside %s, at byte %zu" : "%s, at byte %zu", what, at);
    return -1;
}

/* A length of 15 or more goes on with bytes that are added, up to one below 255. False: the input ends there. */
static bool read_length(const uint8_t *data, size_t size, size_t *at, uint64_t *length)
{
    uint8_t more = 255;
    if (*length < 15)
        return true;
    while (more == 255) {
        if (*at == size)
            return false;
        more = data[(*at)++];
        *length += more;
    }
    return true;
}

int64_t measure_block(struct request *request, const uint8_t *data, size_t size)
{
    uint64_t made = 0, last_match = 0, known = request->dictionary.size;
    bool matched = false;
    size_t at = 0;
    for (;;) {
        if (at == size)
            return wrong(request, CAUSE_TRUNCATED, size ? "a sequence" : "the block: it is empty", at);
        size_t begin = at;
        uint8_t token = data[at++];
        uint64_t literals = token >> 4, match = token & 15;
        if (!read_length(data, size, &at, &literals) || literals > size - at)
            return wrong(request, CAUSE_TRUNCATED, "literals", size);
        at += literals;
        made += literals;
        if (at == size) {
            if (matched && (literals < LAST_LITERALS || made - last_match < LAST_MATCH))
                return wrong(request, CAUSE_CORRUPT, "the block ends too soon after its last match", begin);
            return (int64_t)made;
        }
        if (size - at < 2)
            return wrong(request, CAUSE_TRUNCATED, "an offset", size);
        unsigned offset = data[at] | data[at + 1] << 8;
        if (!offset || offset > made + known)
            return wrong(request, CAUSE_CORRUPT, offset ? "an offset that goes back before the beginning of the output" : "an offset of 0", at);
        at += 2;
        if (!read_length(data, size, &at, &match))
            return wrong(request, CAUSE_TRUNCATED, "the length of a match", size);
        last_match = made;
        matched = true;
        made += match + 4;
    }
}

/* ---- decompressing ----------------------------------------------------------------------------------------------- */

static void unpack_block(struct request *request, const uint8_t *data, size_t size, struct sink *sink, int length)
{
    const struct dictionary *dictionary = &request->dictionary;
    uint8_t nothing;
    uint8_t *out = length ? sink->data : &nothing;
    int made = dictionary->data ? lz4->decompress_block_with(data, out, (int)size, length, dictionary->data,
                                                            (int)dictionary->size)
                                : lz4->decompress_block(data, out, (int)size, length);
    if (made != length)
        fail(request, STATUS_DATA_ERROR, CAUSE_CORRUPT, "the LZ4 block is not valid");
    sink->size = (size_t)length;
    request->consumed = size;
}

/* Whether there may be so much content; else the request has failed. The caller's bounds come first: they say what to do. */
static bool block_fits(struct request *request, size_t size, uint64_t length)
{
    if (request->into && request->room <= request->max_length && request->room < length)
        fail(request, STATUS_OUT_OF_SPACE_TERMINATED, CAUSE_NONE, "the output of %llu bytes does not fit into %zu bytes",
             (unsigned long long)length, request->room);
    else if (length > request->max_length)
        fail(request, STATUS_OUT_OF_SPACE_TERMINATED, CAUSE_NONE, "the output of %llu bytes passes max_length of %llu bytes",
             (unsigned long long)length, (unsigned long long)request->max_length);
    else if (length > MOST_INPUT || size > MOST_INPUT || request->dictionary.size > MOST_INPUT)
        fail(request, STATUS_INVALID_ARGS, CAUSE_NONE, "a block has at most %d bytes, this one %zu and its content %llu",
             MOST_INPUT, size, (unsigned long long)length);
    return request->status == STATUS_SUCCESS;
}

void run_block_decompress(struct kit *kit, struct request *request)
{
    struct sink sink;
    size_t size;
    const uint8_t *data = joined_input(kit, request, &size);
    if (!data) {
        fail_memory(request, size);
        return;
    }
    int64_t length = measure_block(request, data, size);
    if (length < 0)
        return;
    if (!block_fits(request, size, (uint64_t)length))
        return;
    sink_begin(&sink, request, (size_t)length, request->max_length);
    if (sink.room < (size_t)length)
        fail_memory(request, (size_t)length);
    else
        unpack_block(request, data, size, &sink, (int)length);
    sink_end(&sink, request);
}
