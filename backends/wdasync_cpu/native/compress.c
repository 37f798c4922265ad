/* Compression: whole units, and the step that streams share with them. */
#include "codec.h"

#include <stdlib.h>
#include <string.h>

#include "frames.h"

/* Input is fed in pieces, between which a worker notices that its queue is being stopped. */
enum { PIECE = 1 << 16 };

/* Zstandard's levels up to this one take more at once: 4 MiB are some 20 ms. */
enum { ZSTD_QUICK = 5, QUICK_PIECE = 4 << 20 };

/* A codec whose state grew beyond this for one large operation is not kept. */
enum { KEPT_STATE = 16 << 20 };

/* zlib repeats its flush marker if the output was full to the last byte; so there is always room for one. */
enum { FLUSH_ROOM = 64 };

/* RFC 1952 names no operating system "255"; so the output does not tell where it was made. */
enum { GZIP_OS_UNKNOWN = 255 };

/* What no level of deflate exceeds: stored blocks of at most 64 KiB and their headers, and a wrapper. zlib's own
   blocks may be as short as its buffer of 16 KiB. */
static size_t deflate_bound_of(uint64_t size)
{
    return (size_t)(size + (size >> 11) + 64);
}

static uint64_t input_size(const struct request *request)
{
    uint64_t size = 0;
    for (uint32_t i = 0; i < request->count; i++)
        size += request->segments[i].size;
    return size;
}

/* ---- setting up ---------------------------------------------------------------------------------------------- */

static int window_bits(enum format format, int window)
{
    return format == FORMAT_GZIP ? window + 16 : format == FORMAT_ZLIB ? window : -window;
}

bool deflate_begin(struct deflate_state *state, int level, enum format format, int window)
{
    memset(state, 0, sizeof *state);
    state->level = level;
    state->window_bits = window_bits(format, window);
    if (zlib->deflate_init(&state->z, level, 8, state->window_bits, 8, 0, "1", sizeof state->z) != Z_OK_)
        return false;
    state->header.os = GZIP_OS_UNKNOWN;
    if (format == FORMAT_GZIP)
        zlib->deflate_set_header(&state->z, &state->header);
    return state->ready = true;
}

bool deflate_use(struct deflate_state *state, const struct dictionary *dictionary)
{
    return !dictionary->data
           || zlib->deflate_dictionary(&state->z, dictionary->data, (unsigned)dictionary->size) == Z_OK_;
}

static struct deflate_state *kept_deflate(struct kit *kit, const struct plan *plan)
{
    int bits = window_bits(plan->format, plan->window);
    for (int i = 0; i < DEFLATE_STATES; i++) {
        struct deflate_state *state = &kit->deflate[i];
        if (state->ready && state->level == plan->level && state->window_bits == bits) {
            zlib->deflate_reset(&state->z);
            return state;
        }
    }
    struct deflate_state *state = &kit->deflate[kit->next_deflate++ % DEFLATE_STATES];
    if (state->ready)
        zlib->deflate_end(&state->z);
    state->ready = false;
    return deflate_begin(state, plan->level, plan->format, plan->window) ? state : NULL;
}

void isal_begin(struct isal_stream *stream, uint8_t *buffer, int level, enum format format)
{
    isal->init(stream);
    stream->level = (uint32_t)level;
    stream->level_buffer = buffer;
    stream->level_buffer_size = ISAL_LEVEL_BUFFER;
    stream->wrapper = format == FORMAT_GZIP ? ISAL_GZIP_ : format == FORMAT_ZLIB ? ISAL_ZLIB_ : ISAL_RAW;
}

static struct isal_stream *kept_isal(struct kit *kit, const struct plan *plan)
{
    if (!kit->isal)
        kit->isal = malloc(sizeof *kit->isal);
    if (!kit->isal_buffer)
        kit->isal_buffer = malloc(ISAL_LEVEL_BUFFER);
    if (!kit->isal || !kit->isal_buffer)
        return NULL;
    isal_begin(kit->isal, kit->isal_buffer, plan->level, plan->format);
    return kit->isal;
}

void brotli_forget(struct brotli_encoder *encoder)
{
    if (encoder->state)
        brotli->encoder_free(encoder->state);
    if (encoder->prepared)
        brotli->unprepare(encoder->prepared);
    encoder->state = encoder->prepared = NULL;
}

bool brotli_begin(struct brotli_encoder *encoder, const struct request *request, uint64_t size_hint)
{
    const struct plan *plan = request->plan;
    const struct dictionary *dictionary = &request->dictionary;
    void *state = encoder->state = brotli->encoder_new(NULL, NULL, NULL);
    if (!state)
        return false;
    brotli->encoder_set(state, BROTLI_QUALITY_, (uint32_t)plan->level);
    brotli->encoder_set(state, BROTLI_LGWIN_, plan->window);
    if (size_hint)
        brotli->encoder_set(state, BROTLI_SIZE_HINT_, size_hint < UINT32_MAX ? (uint32_t)size_hint : UINT32_MAX);
    if (!dictionary->data)
        return true;
    encoder->prepared = brotli->prepare(0, dictionary->size, dictionary->data, plan->level, NULL, NULL, NULL);
    return encoder->prepared && brotli->encoder_attach(state, encoder->prepared);
}

/* ---- one step of each engine --------------------------------------------------------------------------------- */

/* Each takes from (in, in_size) and adds to (out, out_size). */
static enum progress step_zlib(struct encoder *encoder, const uint8_t **in, size_t *in_size, uint8_t **out,
                               size_t *out_size, enum flush flush)
{
    static const int FLUSHES[] = {Z_NO_FLUSH_, Z_SYNC_FLUSH_, Z_FULL_FLUSH_, Z_FINISH_};
    struct z_state *z = encoder->z;
    unsigned room = *out_size < UINT32_MAX ? (unsigned)*out_size : UINT32_MAX;
    z->next_in = *in;
    z->avail_in = (unsigned)*in_size;
    z->next_out = *out;
    z->avail_out = room;
    int result = zlib->deflate(z, FLUSHES[flush]);
    *in = z->next_in;
    *in_size = z->avail_in;
    *out = z->next_out;
    *out_size -= room - z->avail_out;
    if (result == Z_STREAM_END_)
        return COMPLETE;
    if (result != Z_OK_ && result != Z_BUF_ERROR_)
        return BROKEN;
    return flush != FLUSH_FINISH && !z->avail_in && z->avail_out ? COMPLETE : GOING;
}

static enum progress step_isal(struct encoder *encoder, const uint8_t **in, size_t *in_size, uint8_t **out,
                               size_t *out_size, enum flush flush)
{
    struct isal_stream *stream = encoder->isal;
    uint32_t room = *out_size < UINT32_MAX ? (uint32_t)*out_size : UINT32_MAX;
    stream->next_in = *in;
    stream->avail_in = (uint32_t)*in_size;
    stream->next_out = *out;
    stream->avail_out = room;
    stream->end_of_stream = flush == FLUSH_FINISH;
    stream->flush = flush == FLUSH_SYNC ? ISAL_SYNC_FLUSH : flush == FLUSH_FULL ? ISAL_FULL_FLUSH : ISAL_NO_FLUSH;
    int result = isal->deflate(stream);
    *in = stream->next_in;
    *in_size = stream->avail_in;
    *out = stream->next_out;
    *out_size -= room - stream->avail_out;
    if (result)
        return BROKEN;
    return !stream->avail_in && stream->avail_out ? COMPLETE : GOING;
}

static enum progress step_brotli(struct encoder *encoder, const uint8_t **in, size_t *in_size, uint8_t **out,
                                 size_t *out_size, enum flush flush)
{
    int operation = flush == FLUSH_NONE ? BROTLI_PROCESS : flush == FLUSH_FINISH ? BROTLI_FINISH : BROTLI_FLUSH;
    void *state = encoder->brotli->state;
    if (!brotli->encode(state, operation, in_size, in, out_size, out, NULL))
        return BROKEN;
    if (flush == FLUSH_FINISH)
        return brotli->encoder_finished(state) ? COMPLETE : GOING;
    return !*in_size && !brotli->encoder_has_more(state) ? COMPLETE : GOING;
}

static enum progress step(struct encoder *encoder, const uint8_t **in, size_t *in_size, uint8_t **out,
                          size_t *out_size, enum flush flush)
{
    switch (encoder->engine) {
    case ENGINE_ISAL:
        return step_isal(encoder, in, in_size, out, out_size, flush);
    case ENGINE_BROTLI:
        return step_brotli(encoder, in, in_size, out, out_size, flush);
    case ENGINE_ZSTD:
        return step_zstd(encoder, in, in_size, out, out_size, flush);
    case ENGINE_LZ4:
        return step_lz4(encoder, in, in_size, out, out_size, flush);
    default:
        return step_zlib(encoder, in, in_size, out, out_size, flush);
    }
}

/* ---- all segments -------------------------------------------------------------------------------------------- */

/* There is no room left and there will not be: is there more to come, or did it just fit? */
static enum progress step_beyond(struct encoder *encoder, struct request *request, const uint8_t **in,
                                 size_t *in_size, enum flush flush)
{
    uint8_t beyond, *out = &beyond;
    size_t out_size = 1;
    enum progress progress = step(encoder, in, in_size, &out, &out_size, flush);
    if (progress == BROKEN || out_size)
        return progress;
    fail(request, STATUS_OUT_OF_SPACE_TERMINATED, CAUSE_NONE, "the output does not fit into %zu bytes", request->room);
    return BROKEN;
}

static enum progress encode_some(struct encoder *encoder, struct request *request, struct sink *sink,
                                 const uint8_t **in, size_t *in_size, enum flush flush)
{
    if (must_stop(request)) {
        fail_stopped(request);
        return BROKEN;
    }
    if (sink->room - sink->size < FLUSH_ROOM && !sink->fixed && !sink_grow(sink, sink->size + 4 * FLUSH_ROOM)) {
        fail_memory(request, sink->room);
        return BROKEN;
    }
    if (sink->room == sink->size)
        return step_beyond(encoder, request, in, in_size, flush);
    uint8_t *out = sink->data + sink->size;
    size_t out_size = sink->room - sink->size;
    enum progress progress = step(encoder, in, in_size, &out, &out_size, flush);
    sink->size = (size_t)(out - sink->data);
    return progress;
}

/* One segment, in pieces; `flush` after its end. */
static bool encode_segment(struct encoder *encoder, struct request *request, struct sink *sink,
                           struct segment segment, enum flush flush)
{
    const uint8_t *in = segment.data;
    size_t left = segment.size;
    for (;;) {
        size_t piece = left < PIECE ? left : PIECE, rest = piece;
        bool last = piece == left;
        enum progress progress = encode_some(encoder, request, sink, &in, &rest, last ? flush : FLUSH_NONE);
        if (progress == BROKEN)
            return false;
        left -= piece - rest;
        request->consumed += piece - rest;
        if (progress == COMPLETE && last && !left)
            return true;
    }
}

bool encode(struct encoder *encoder, struct request *request, struct sink *sink, enum flush flush)
{
    static const struct segment nothing = {(const uint8_t *)"", 0};
    bool good = true;
    for (uint32_t i = 0; i + 1 < request->count && good; i++)
        good = encode_segment(encoder, request, sink, request->segments[i], FLUSH_NONE);
    struct segment last = request->count ? request->segments[request->count - 1] : nothing;
    good = good && encode_segment(encoder, request, sink, last.size ? last : nothing, flush);
    if (!good && request->status == STATUS_SUCCESS && encoder->engine == ENGINE_ZSTD)
        zstd_complain(encoder->zstd, request);
    if (!good && request->status == STATUS_SUCCESS && encoder->engine == ENGINE_LZ4)
        lz4_complain(encoder->lz4, request);
    if (!good && request->status == STATUS_SUCCESS)
        fail(request, STATUS_DEVICE_ERROR, CAUSE_NONE, "the compressor failed");
    return good;
}

/* ---- whole units --------------------------------------------------------------------------------------------- */

static void compress_by_libdeflate(struct kit *kit, struct request *request)
{
    const struct plan *plan = request->plan;
    deflate_compress *compress = plan->format == FORMAT_GZIP   ? libdeflate->compress_gzip
                                 : plan->format == FORMAT_ZLIB ? libdeflate->compress_zlib
                                                               : libdeflate->compress_deflate;
    deflate_bound *bound = plan->format == FORMAT_GZIP   ? libdeflate->bound_gzip
                           : plan->format == FORMAT_ZLIB ? libdeflate->bound_zlib
                                                         : libdeflate->bound_deflate;
    void **compressor = &kit->compressors[plan->level];
    if (!*compressor && !(*compressor = libdeflate->alloc_compressor(plan->level))) {
        fail_memory(request, 1 << 20);
        return;
    }
    size_t size;
    const uint8_t *data = joined_input(kit, request, &size);
    if (!data) {
        fail_memory(request, size);
        return;
    }
    struct sink sink;
    size_t wanted = bound(*compressor, size);
    if (!touch_input(request))
        return;
    sink_begin(&sink, request, wanted, UINT64_MAX);
    if (!sink.fixed && sink.room < wanted)
        fail_memory(request, wanted);
    else if (!(sink.size = compress(*compressor, data, size, sink.data, sink.room)))
        fail(request, STATUS_OUT_OF_SPACE_TERMINATED, CAUSE_NONE, "the output does not fit into %zu bytes", sink.room);
    else
        request->consumed = size;
    sink_end(&sink, request);
}

static size_t bound_of(const struct plan *plan, uint64_t size)
{
    return plan->engine == ENGINE_ZSTD  ? zstd_bound((size_t)size)
           : plan->engine == ENGINE_LZ4 ? lz4_bound(plan, (size_t)size)
                                        : deflate_bound_of(size);
}

/* Zstandard needs no buffers of its own where it has the whole input and room for any output. Where the caller gave less,
   it gets memory of ours, so that the output is the same. */
static void zstd_into(struct encoder *encoder, struct request *request, struct sink *sink, const uint8_t *data,
                      size_t size)
{
    size_t room = zstd_bound(size);
    uint8_t *staged = sink->room < room ? malloc(room) : NULL;
    if (sink->room < room && !staged) {
        fail_memory(request, room);
        return;
    }
    size_t made = zstd_at_once(encoder->zstd, data, size, staged ? staged : sink->data, staged ? room : sink->room);
    if (!made)
        zstd_complain(encoder->zstd, request);
    else if (made > sink->room)
        fail(request, STATUS_OUT_OF_SPACE_TERMINATED, CAUSE_NONE, "the output does not fit into %zu bytes", sink->room);
    else if (staged)
        memcpy(sink->data, staged, made);
    sink->size = request->status == STATUS_SUCCESS ? made : 0;
    request->consumed = size;
    free(staged);
}

/* Not for so long that it could not be stopped. */
static bool at_once(struct encoder *encoder, struct request *request, struct sink *sink, uint64_t size)
{
    uint64_t most = request->plan->level <= ZSTD_QUICK ? QUICK_PIECE : PIECE;
    if (!encoder->zstd || request->count > 1 || size > most || must_stop(request) || !touch_input(request))
        return false;
    zstd_into(encoder, request, sink, size ? request->segments->data : (const uint8_t *)"", (size_t)size);
    return true;
}

static void compress_by_stream(struct kit *kit, struct request *request)
{
    const struct plan *plan = request->plan;
    struct encoder encoder = {.engine = plan->engine};
    struct deflate_state *state;
    uint64_t size = input_size(request);
    bool ready;
    switch (encoder.engine) {
    case ENGINE_ISAL:
        ready = (encoder.isal = kept_isal(kit, plan)) != NULL;
        break;
    case ENGINE_BROTLI:
        ready = brotli_begin(encoder.brotli = &kit->brotli_encoder, request, size);
        break;
    case ENGINE_ZSTD:
        ready = zstd_begin(encoder.zstd = &kit->zstd, request, size);
        break;
    case ENGINE_LZ4:
        ready = lz4_begin(encoder.lz4 = &kit->lz4, request, size);
        break;
    default:
        ready = (state = kept_deflate(kit, plan)) != NULL && deflate_use(state, &request->dictionary);
        encoder.z = ready ? &state->z : NULL;
    }
    if (!ready) {
        brotli_forget(&kit->brotli_encoder);
        fail_memory(request, 1 << 18);
        return;
    }
    struct sink sink;
    sink_begin(&sink, request, bound_of(plan, size), UINT64_MAX);
    if (!at_once(&encoder, request, &sink, size))
        encode(&encoder, request, &sink, FLUSH_FINISH);
    sink_end(&sink, request);
    brotli_forget(&kit->brotli_encoder);
    if (encoder.zstd && zstd->compressor_memory(kit->zstd.context) > KEPT_STATE)
        zstd_forget(&kit->zstd);
}

void run_compress(struct kit *kit, struct request *request)
{
    if (request->plan->engine == ENGINE_LIBDEFLATE)
        compress_by_libdeflate(kit, request);
    else
        compress_by_stream(kit, request);
}
