/* Decompression of whole units. Wrappers (RFC 1950, RFC 1952) are read here, so that every engine gives the same
 * answers; the engines see raw deflate (RFC 1951) only. */
#include "codec.h"

#include <stdlib.h>
#include <string.h>

/* A deflate symbol of two bits makes at most 258 bytes: no input of n bytes makes more than this. */
enum { MOST_EXPANSION = 1032 };

enum { USUAL_EXPANSION = 4, GROWTH = 4, SMALL_OUTPUT = 1024, ZLIB_ROOM = 1 << 20 };

enum raw_result { RAW_GOOD, RAW_BAD, RAW_FULL, RAW_MEMORY, RAW_STOPPED };

/* ---- raw deflate --------------------------------------------------------------------------------------------- */

static size_t most_output(size_t size)
{
    return size < SIZE_MAX / 2 / MOST_EXPANSION ? size * MOST_EXPANSION + 1024 : SIZE_MAX / 2;
}

static enum raw_result raw_by_libdeflate(struct kit *kit, const struct request *request, const uint8_t *data,
                                         size_t size, struct sink *sink, size_t *used)
{
    size_t bound = sink->size + most_output(size);
    if (!kit->decompressor && !(kit->decompressor = libdeflate->alloc_decompressor()))
        return RAW_MEMORY;
    for (;;) {
        size_t made;
        uint8_t *out = sink_at(sink, sink->size);
        int result = libdeflate->decompress(kit->decompressor, data, size, out, sink->room - sink->size, used, &made);
        if (result == DEFLATE_SUCCESS_) {
            sink->size += made;
            return RAW_GOOD;
        }
        if (result != DEFLATE_INSUFFICIENT_SPACE_ || sink->room >= bound)
            return RAW_BAD;
        if (must_stop(request))
            return RAW_STOPPED;
        size_t wanted = sink->room < bound / GROWTH ? sink->room * GROWTH : bound;
        if (!sink_grow(sink, wanted))
            return sink->room >= sink->limit ? RAW_FULL : RAW_MEMORY;
    }
}

/* Raw deflate begins with the dictionary; in zlib's wrapper a flag says so. */
static bool has_dictionary(const struct request *request, const uint8_t *unit)
{
    enum format format = request->plan->format;
    return request->dictionary.data && (format == FORMAT_DEFLATE || (format == FORMAT_ZLIB && unit[1] & 0x20));
}

static enum raw_result raw_by_zlib(struct kit *kit, const struct request *request, const uint8_t *data, size_t size,
                                   struct sink *sink, size_t *used)
{
    struct z_state *z = &kit->inflate;
    const uint8_t *end = data + size;
    if (kit->inflate_ready)
        zlib->inflate_reset(z);
    else if (zlib->inflate_init(z, -15, "1", sizeof *z) != Z_OK_)
        return RAW_MEMORY;
    kit->inflate_ready = true;
    if (kit->dictionary && zlib->inflate_dictionary(z, kit->dictionary->data, (unsigned)kit->dictionary->size) != Z_OK_)
        return RAW_MEMORY;
    z->next_in = data;
    for (;;) {
        uint8_t beyond;
        if (must_stop(request))
            return RAW_STOPPED;
        if (sink->room == sink->size && sink->room < sink->limit && !sink_grow(sink, 0))
            return RAW_MEMORY;
        size_t room = sink->room - sink->size;
        bool full = !room;
        room = full ? 1 : room < ZLIB_ROOM ? room : ZLIB_ROOM;
        z->avail_in = end - z->next_in < 1 << 30 ? (unsigned)(end - z->next_in) : 1 << 30;
        z->next_out = full ? &beyond : sink_at(sink, sink->size);
        z->avail_out = (unsigned)room;
        int result = zlib->inflate(z, Z_NO_FLUSH_);
        size_t made = room - z->avail_out;
        if (full && made)
            return RAW_FULL;
        sink->size += made;
        *used = (size_t)(z->next_in - data);
        if (result == Z_STREAM_END_)
            return RAW_GOOD;
        if (result == Z_MEM_ERROR_)
            return RAW_MEMORY;
        if ((result != Z_OK_ && result != Z_BUF_ERROR_) || (z->next_in == end && z->avail_out))
            return RAW_BAD;
    }
}

/* ---- trailers ------------------------------------------------------------------------------------------------ */

static uint32_t big_endian(const uint8_t *data)
{
    return (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
}

/* Compares the check values of a unit with its output. The trailer's length, or -1: the request has failed. */
static int read_trailer(struct request *request, const uint8_t *data, size_t left, size_t base, const uint8_t *out,
                        size_t made)
{
    enum format format = request->plan->format;
    size_t length = format == FORMAT_GZIP ? 8 : format == FORMAT_ZLIB ? 4 : 0;
    if (left < length) {
        fail(request, STATUS_DATA_ERROR, CAUSE_TRUNCATED, "the input ends inside the check value, at byte %zu",
             base + left);
        return -1;
    }
    uint32_t stored = !length ? 0 : format == FORMAT_GZIP ? little_endian(data) : big_endian(data);
    uint32_t real = !length ? 0 : format == FORMAT_GZIP ? check_crc32(0, out, made) : check_adler32(1, out, made);
    if (stored != real)
        fail(request, STATUS_CHECKSUM_FAILED, CAUSE_CHECKSUM, "%s: the output's is 0x%08x, the trailer at byte %zu says 0x%08x",
             format == FORMAT_GZIP ? "CRC-32" : "Adler-32", real, base, stored);
    else if (format == FORMAT_GZIP && little_endian(data + 4) != (uint32_t)made)
        fail(request, STATUS_CHECKSUM_FAILED, CAUSE_CHECKSUM, "length: the output has %zu bytes, the trailer at byte %zu says %u modulo 2**32",
             made, base + 4, little_endian(data + 4));
    else
        return (int)length;
    return -1;
}

/* ---- units --------------------------------------------------------------------------------------------------- */

static size_t first_room(const struct request *request, const uint8_t *data, size_t size)
{
    size_t usual = size < SIZE_MAX / 16 ? size * USUAL_EXPANSION : size;
    bool may_look = !request->region; /* at the last page, before it is wanted */
    size_t told = may_look ? told_length(request->plan->format, data, size) : NOT_TOLD;
    if (told != NOT_TOLD)
        return told + 1;
    return usual < SMALL_OUTPUT ? SMALL_OUTPUT : usual;
}

static void fail_full(struct request *request, const struct sink *sink, size_t consumed)
{
    if (!request->into || request->max_length < request->room) {
        fail(request, STATUS_OUT_OF_SPACE_TERMINATED, CAUSE_NONE, "the output passes max_length of %llu bytes",
             (unsigned long long)request->max_length);
        return;
    }
    /* Whole members that are done are good, and decoding can begin again at the next one. */
    request->consumed = consumed;
    fail(request, consumed ? STATUS_OUT_OF_SPACE_RECOVERABLE : STATUS_OUT_OF_SPACE_TERMINATED, CAUSE_NONE,
         "the output does not fit into %zu bytes; %zu bytes of it do, from the first %zu bytes of input",
         request->room, consumed ? sink->size : 0, consumed);
}

/* libdeflate is lenient (decision 18): it reads reserved symbols as the last that is not, takes more codes than there
   may be, and a code that nothing has as the only one there is, or as a distance of 1. If what it took that way shows in
   the check value, or in where the unit ends, then the first cause is what the caller should hear of. */
static void blame_deflate(struct request *request, const uint8_t *data, size_t size, size_t begin)
{
    struct request other = {.plan = request->plan, .stop = request->stop, .dictionary = request->dictionary};
    if (request->plan->engine == ENGINE_LIBDEFLATE && explain_deflate(&other, data + begin, size - begin, begin))
        fail(request, other.status, other.cause, "%s", other.message);
}

/* One unit, at data[position]. Where it ends, or 0: the request has failed. */
static size_t one_unit(struct kit *kit, struct request *request, const uint8_t *data, size_t size, size_t position,
                       struct sink *sink)
{
    enum format format = request->plan->format;
    size_t before = sink->size, used = 0;
    size_t header = read_header(request, format, data + position, size - position, position);
    if (!header && format != FORMAT_DEFLATE)
        return 0;
    size_t begin = position + header;
    bool one_shot = request->plan->engine == ENGINE_LIBDEFLATE;
    kit->dictionary = has_dictionary(request, data + position) ? &request->dictionary : NULL;
    switch ((one_shot ? raw_by_libdeflate : raw_by_zlib)(kit, request, data + begin, size - begin, sink, &used)) {
    case RAW_GOOD:
        break;
    case RAW_FULL:
        sink->size = before;
        fail_full(request, sink, position);
        return 0;
    case RAW_MEMORY:
        fail_memory(request, sink->room);
        return 0;
    case RAW_STOPPED:
        fail_stopped(request);
        return 0;
    default:
        if (must_stop(request))
            fail_stopped(request);
        else if (!explain_deflate(request, data + begin, size - begin, begin))
            fail(request, STATUS_DATA_ERROR, CAUSE_CORRUPT, "the deflate data that begins at byte %zu is not valid",
                 begin);
        return 0;
    }
    size_t end = begin + used;
    int trailer = read_trailer(request, data + end, size - end, end, sink_at(sink, before), sink->size - before);
    if (trailer < 0)
        blame_deflate(request, data, size, begin);
    return trailer < 0 ? 0 : end + (size_t)trailer;
}

/* What follows a gzip member: zeros (as tape blocks are padded), then perhaps another member. */
static size_t skip_zeros(const uint8_t *data, size_t size, size_t position)
{
    while (position < size && !data[position])
        position++;
    return position;
}

static bool another_member(struct request *request, const uint8_t *data, size_t size, size_t position,
                           size_t members)
{
    if (request->plan->format != FORMAT_GZIP || data[position] != 0x1f
        || (position + 1 < size && data[position + 1] != 0x8b)) {
        fail(request, STATUS_DATA_ERROR, CAUSE_TRAILING_DATA, "%zu bytes follow the end, which is at byte %zu",
             size - position, position);
        return false;
    }
    if (members >= request->max_members) {
        fail(request, STATUS_OUT_OF_SPACE_TERMINATED, CAUSE_NONE, "there are more than max_members of %u members",
             request->max_members);
        return false;
    }
    return true;
}

void run_decompress(struct kit *kit, struct request *request)
{
    struct sink sink;
    size_t size, position = 0, members = 0;
    const uint8_t *data = joined_input(kit, request, &size);
    if (!data) {
        fail_memory(request, size);
        return;
    }
    sink_begin(&sink, request, first_room(request, data, size), request->max_length);
    for (;;) {
        size_t end = one_unit(kit, request, data, size, position, &sink);
        if (!end && request->status != STATUS_SUCCESS)
            break;
        members++;
        position = request->plan->format == FORMAT_GZIP ? skip_zeros(data, size, end) : end;
        if (position == size) {
            request->consumed = size;
            break;
        }
        if (!another_member(request, data, size, position, members))
            break;
    }
    sink_end(&sink, request);
}

/* ---- Brotli (RFC 7932) --------------------------------------------------------------------------------------- */

static void brotli_ends(struct request *request, void *decoder, int result)
{
    if (result == BROTLI_NEEDS_INPUT)
        fail(request, STATUS_DATA_ERROR, CAUSE_TRUNCATED, "the input ends before the Brotli stream does");
    else
        fail(request, STATUS_DATA_ERROR, CAUSE_CORRUPT, "the Brotli data is not valid: %s",
             brotli->error_string(brotli->decoder_error(decoder)));
}

static int decode_segment(struct request *request, void *decoder, struct segment segment, struct sink *sink,
                          size_t *left)
{
    const uint8_t *in = segment.data;
    *left = segment.size;
    for (;;) {
        uint8_t beyond, *out = &beyond;
        size_t room = 1;
        bool full = sink->room == sink->size && sink->room >= sink->limit;
        if (must_stop(request)) {
            fail_stopped(request);
            return BROTLI_DECODE_ERROR;
        }
        if (!full) {
            if (sink->room == sink->size && !sink_grow(sink, 0)) {
                fail_memory(request, sink->room);
                return BROTLI_DECODE_ERROR;
            }
            out = sink->data + sink->size;
            room = sink->room - sink->size < ZLIB_ROOM ? sink->room - sink->size : ZLIB_ROOM;
        }
        size_t before = room;
        int result = brotli->decode(decoder, left, &in, &room, &out, NULL);
        if (full && room == 0) {
            fail_full(request, sink, 0);
            return BROTLI_DECODE_ERROR;
        }
        if (!full)
            sink->size += before - room;
        if (result != BROTLI_NEEDS_OUTPUT)
            return result;
    }
}

void run_brotli_decompress(struct kit *kit, struct request *request)
{
    struct sink sink;
    size_t position = 0, left = 0;
    int result = BROTLI_NEEDS_INPUT;
    void *decoder = kit->brotli_decoder = brotli->decoder_new(NULL, NULL, NULL);
    if (!decoder) {
        fail_memory(request, 1 << 16);
        return;
    }
    if (request->dictionary.data)
        brotli->decoder_attach(decoder, 0, request->dictionary.size, request->dictionary.data);
    sink_begin(&sink, request, SMALL_OUTPUT, request->max_length);
    for (uint32_t i = 0; i < request->count && result == BROTLI_NEEDS_INPUT; i++) {
        result = decode_segment(request, decoder, request->segments[i], &sink, &left);
        position += request->segments[i].size - left;
    }
    if (result != BROTLI_DECODE_SUCCESS) {
        if (request->status == STATUS_SUCCESS)
            brotli_ends(request, decoder, result);
    } else {
        size_t size = 0;
        for (uint32_t i = 0; i < request->count; i++)
            size += request->segments[i].size;
        if (position < size)
            fail(request, STATUS_DATA_ERROR, CAUSE_TRAILING_DATA, "%zu bytes follow the end, which is at byte %zu",
                 size - position, position);
        request->consumed = position;
    }
    brotli->decoder_free(decoder);
    kit->brotli_decoder = NULL;
    sink_end(&sink, request);
}
