/* Streams: state that lives from one operation to the next. A worker builds it when the first step comes, so that
 * opening, resetting and closing cost the owner nothing that matters. */
#include "codec.h"

#include <stdlib.h>
#include <string.h>

#include "frames.h"

enum stage {
    FRESH,   /* nothing has come yet */
    RUNNING,
    BETWEEN, /* a unit has ended; the stream may go on with another member or frame */
    ENDED,
    FAILED
};

struct session {
    const struct plan *plan;
    const void *owner;
    bool busy;
    bool closed;
    atomic_bool wants_reset;
    enum stage stage;
    bool later_member;
    struct deflate_state deflate;
    struct z_state inflate;
    bool inflate_ready;
    struct isal_stream *isal;
    uint8_t *isal_buffer;
    struct dictionary dictionary;
    struct brotli_encoder encoder;
    void *decoder; /* Brotli's */
    struct zstd_encoder zstd;
    struct lz4_encoder lz4;
    struct frame_decoder frames;
};

enum { CHUNK_ROOM = 512, STEP_ROOM = 1 << 18 };

struct session *session_new(const struct plan *plan, const void *owner, const struct dictionary *dictionary)
{
    struct session *session = calloc(1, sizeof *session);
    uint8_t *copy = session && dictionary->data ? malloc(dictionary->size ? dictionary->size : 1) : NULL;
    if (!session || (dictionary->data && !copy)) {
        free(session);
        return NULL;
    }
    session->plan = plan;
    session->owner = owner;
    session->dictionary = *dictionary;
    session->dictionary.data = copy;
    if (copy)
        memcpy(copy, dictionary->data, dictionary->size);
    return session;
}

const void *session_owner(const struct session *session)
{
    return session->owner;
}

bool session_closed(const struct session *session)
{
    return session->closed;
}

const struct plan *session_plan(const struct session *session)
{
    return session->plan;
}

bool *session_busy(struct session *session)
{
    return &session->busy;
}

void session_reset(struct session *session)
{
    atomic_store(&session->wants_reset, true);
}

static void forget_brotli(struct session *session)
{
    brotli_forget(&session->encoder);
    if (session->decoder)
        brotli->decoder_free(session->decoder);
    session->decoder = NULL;
}

static void forget_codec(struct session *session)
{
    forget_brotli(session);
    if (session->deflate.ready)
        zlib->deflate_end(&session->deflate.z);
    if (session->inflate_ready)
        zlib->inflate_end(&session->inflate);
    session->deflate.ready = session->inflate_ready = false;
    zstd_forget(&session->zstd);
    lz4_forget(&session->lz4);
    frame_decoder_forget(&session->frames);
    free(session->isal);
    free(session->isal_buffer);
    session->isal = NULL;
    session->isal_buffer = NULL;
}

void session_break(struct session *session)
{
    forget_codec(session);
    session->stage = FAILED;
}

void session_close(struct session *session)
{
    forget_codec(session);
    session->closed = true;
}

void session_free(struct session *session)
{
    session_close(session);
    free((void *)(uintptr_t)session->dictionary.data);
    free(session);
}

/* ---- beginning ----------------------------------------------------------------------------------------------- */

static bool begin_isal(struct session *session)
{
    if (!session->isal)
        session->isal = malloc(sizeof *session->isal);
    if (!session->isal_buffer)
        session->isal_buffer = malloc(ISAL_LEVEL_BUFFER);
    if (!session->isal || !session->isal_buffer)
        return false;
    isal_begin(session->isal, session->isal_buffer, session->plan->level, session->plan->format);
    return true;
}

static bool begin_compress(struct session *session, struct request *request)
{
    const struct plan *plan = session->plan;
    switch (plan->engine) {
    case ENGINE_ISAL:
        return begin_isal(session);
    case ENGINE_BROTLI:
        return brotli_begin(&session->encoder, request, 0);
    case ENGINE_ZSTD:
        return zstd_begin(&session->zstd, request, UINT64_MAX);
    case ENGINE_LZ4:
        return lz4_begin(&session->lz4, request, UINT64_MAX);
    default:
        if (session->deflate.ready ? zlib->deflate_reset(&session->deflate.z) != Z_OK_
                                   : !deflate_begin(&session->deflate, plan->level, plan->format, plan->window))
            return false;
        return deflate_use(&session->deflate, &session->dictionary);
    }
}

static bool begin_brotli(struct session *session)
{
    const struct dictionary *dictionary = &session->dictionary;
    session->decoder = brotli->decoder_new(NULL, NULL, NULL);
    if (session->decoder && dictionary->data)
        brotli->decoder_attach(session->decoder, 0, dictionary->size, dictionary->data);
    return session->decoder;
}

static bool begin_decompress(struct session *session, struct request *request)
{
    const struct plan *plan = session->plan;
    int window = plan->window;
    if (plan->engine == ENGINE_BROTLI)
        return begin_brotli(session);
    if (plan->engine == ENGINE_ZSTD || plan->engine == ENGINE_LZ4)
        return frame_decoder_begin(&session->frames, request);
    if (session->inflate_ready) {
        zlib->inflate_reset(&session->inflate);
    } else {
        window = plan->format == FORMAT_GZIP ? window + 16 : plan->format == FORMAT_ZLIB ? window : -window;
        memset(&session->inflate, 0, sizeof session->inflate);
        session->inflate_ready = zlib->inflate_init(&session->inflate, window, "1", sizeof session->inflate) == Z_OK_;
    }
    if (!session->inflate_ready || plan->format != FORMAT_DEFLATE || !session->dictionary.data)
        return session->inflate_ready;
    return zlib->inflate_dictionary(&session->inflate, session->dictionary.data, (unsigned)session->dictionary.size)
           == Z_OK_;
}

static bool begin(struct session *session, struct request *request)
{
    if (atomic_exchange(&session->wants_reset, false)) {
        forget_brotli(session);
        session->stage = FRESH;
        session->later_member = false;
    }
    if (session->stage == FAILED || (session->stage == ENDED && request->kind == KIND_COMPRESS_CHUNK)) {
        fail(request, STATUS_INVALID_STATE, CAUSE_NONE, "the stream %s", session->stage == ENDED ? "has ended" : "has failed");
        return false;
    }
    if (session->stage == FRESH) {
        bool compress = request->kind == KIND_COMPRESS_CHUNK;
        if (!(compress ? begin_compress : begin_decompress)(session, request)) {
            forget_codec(session);
            if (request->status == STATUS_SUCCESS)
                fail_memory(request, 1 << 18);
            return false;
        }
        session->stage = RUNNING;
    }
    return true;
}

/* ---- steps --------------------------------------------------------------------------------------------------- */

static void compress_step(struct session *session, struct request *request)
{
    struct encoder encoder = {session->plan->engine, &session->deflate.z, session->isal, &session->encoder,
                              &session->zstd,        &session->lz4};
    struct sink sink;
    size_t size = 0;
    for (uint32_t i = 0; i < request->count; i++)
        size += request->segments[i].size;
    sink_begin(&sink, request, CHUNK_ROOM + size / 4, UINT64_MAX);
    if (!encode(&encoder, request, &sink, request->flush))
        session->stage = FAILED;
    else if (request->flush == FLUSH_FINISH) {
        session->stage = ENDED;
        request->final = true;
    }
    sink_end(&sink, request);
}

/* zlib's words -> what is wrong. */
static void explain_zlib(struct session *session, struct request *request)
{
    static const struct {
        const char *words;
        enum cause cause;
    } CAUSES[] = {
        {"incorrect header check", CAUSE_WRONG_FORMAT}, {"unknown compression method", CAUSE_WRONG_FORMAT},
        {"invalid window size", CAUSE_WRONG_FORMAT},    {"unknown header flags set", CAUSE_WRONG_FORMAT},
        {"header crc mismatch", CAUSE_CHECKSUM},        {"incorrect data check", CAUSE_CHECKSUM},
        {"incorrect length check", CAUSE_CHECKSUM},
    };
    const char *words = session->inflate.message ? session->inflate.message : "zlib cannot say why";
    enum cause cause = CAUSE_CORRUPT;
    for (size_t i = 0; i < sizeof CAUSES / sizeof *CAUSES; i++)
        if (!strcmp(CAUSES[i].words, words))
            cause = CAUSES[i].cause;
    if (cause == CAUSE_WRONG_FORMAT && session->later_member)
        fail(request, STATUS_DATA_ERROR, CAUSE_TRAILING_DATA, "what follows the last gzip member is not another one: %s", words);
    else
        fail(request, cause == CAUSE_CHECKSUM ? STATUS_CHECKSUM_FAILED : STATUS_DATA_ERROR, cause, "%s", words);
}

/* Its header has asked for a dictionary (RFC 1950, section 2.2). False: the request has failed. */
static bool give_dictionary(struct session *session, struct request *request)
{
    const struct dictionary *dictionary = &session->dictionary;
    unsigned long wanted = session->inflate.check;
    if (!dictionary->data)
        fail(request, STATUS_DATA_ERROR, CAUSE_DICTIONARY, "zlib: a preset dictionary with Adler-32 0x%08lx is needed, and none was given",
             wanted);
    else if (zlib->inflate_dictionary(&session->inflate, dictionary->data, (unsigned)dictionary->size) != Z_OK_)
        fail(request, STATUS_DATA_ERROR, CAUSE_DICTIONARY, "zlib: the dictionary's Adler-32 is 0x%08x, the header asks for 0x%08lx",
             check_adler32(1, dictionary->data, dictionary->size), wanted);
    return request->status == STATUS_SUCCESS;
}

enum step { STEP_GO_ON, STEP_WANTS_INPUT, STEP_BROKEN };

static enum step inflate_step(struct session *session, struct request *request, const uint8_t **in, size_t *left,
                              uint8_t *out, size_t *room)
{
    struct z_state *z = &session->inflate;
    unsigned given = *left < 1 << 30 ? (unsigned)*left : 1 << 30, space = (unsigned)*room;
    z->next_in = *in;
    z->avail_in = given;
    z->next_out = out;
    z->avail_out = space;
    int result = zlib->inflate(z, Z_NO_FLUSH_);
    *in += given - z->avail_in;
    *left -= given - z->avail_in;
    *room = z->avail_out;
    if (result == Z_STREAM_END_)
        session->stage = session->plan->format == FORMAT_GZIP ? BETWEEN : ENDED;
    else if (result == Z_MEM_ERROR_)
        fail_memory(request, 1 << 16);
    else if (result == Z_NEED_DICT_)
        return give_dictionary(session, request) ? STEP_GO_ON : STEP_BROKEN;
    else if (result != Z_OK_ && result != Z_BUF_ERROR_)
        explain_zlib(session, request);
    if (request->status != STATUS_SUCCESS)
        return STEP_BROKEN;
    return session->stage == RUNNING && !z->avail_in && z->avail_out ? STEP_WANTS_INPUT : STEP_GO_ON;
}

static enum step brotli_step(struct session *session, struct request *request, const uint8_t **in, size_t *left,
                             uint8_t *out, size_t *room)
{
    int result = brotli->decode(session->decoder, left, in, room, &out, NULL);
    if (result == BROTLI_DECODE_SUCCESS)
        session->stage = ENDED;
    if (result == BROTLI_DECODE_ERROR) {
        fail(request, STATUS_DATA_ERROR, CAUSE_CORRUPT, "the Brotli data is not valid: %s",
             brotli->error_string(brotli->decoder_error(session->decoder)));
        return STEP_BROKEN;
    }
    /* With no room left it may want input and hold back output at the same time. */
    return result == BROTLI_NEEDS_INPUT && *room ? STEP_WANTS_INPUT : STEP_GO_ON;
}

static enum step frame_step(struct session *session, struct request *request, const uint8_t **in, size_t *left,
                            uint8_t *out, size_t *room)
{
    switch (frame_decode(&session->frames, request, in, left, out, room, session->later_member)) {
    case FRAME_BROKEN:
        return STEP_BROKEN;
    case FRAME_WANTS_INPUT:
        return STEP_WANTS_INPUT;
    case FRAME_ENDS:
        session->stage = BETWEEN;
        return STEP_GO_ON;
    default:
        return STEP_GO_ON;
    }
}

static enum step one_step(struct session *session, struct request *request, const uint8_t **in, size_t *left,
                          uint8_t *out, size_t *room)
{
    switch (session->plan->engine) {
    case ENGINE_BROTLI:
        return brotli_step(session, request, in, left, out, room);
    case ENGINE_ZSTD:
    case ENGINE_LZ4:
        return frame_step(session, request, in, left, out, room);
    default:
        return inflate_step(session, request, in, left, out, room);
    }
}

/* One segment. False: stop, for whatever reason. */
static bool decompress_segment(struct session *session, struct request *request, struct sink *sink,
                               const uint8_t **in, size_t *left)
{
    for (;;) {
        if (session->stage != RUNNING || sink->size == sink->limit)
            return false;
        if (must_stop(request)) {
            fail_stopped(request);
            return false;
        }
        if (sink->room == sink->size && !sink_grow(sink, 0)) {
            fail_memory(request, sink->room);
            return false;
        }
        size_t room = sink->room - sink->size < STEP_ROOM ? sink->room - sink->size : STEP_ROOM, space = room;
        enum step step = one_step(session, request, in, left, sink->data + sink->size, &room);
        sink->size += space - room;
        if (step != STEP_GO_ON)
            return step == STEP_WANTS_INPUT;
    }
}

/* After the end of a member or frame: does another one begin here? One byte of its magic number is enough, since the
   others may come with the next step. */
static bool begins_a_member(const struct session *session, const struct request *request)
{
    uint8_t begin[4];
    size_t seen = 0;
    for (uint32_t i = 0; i < request->count; i++)
        for (size_t j = 0; j < request->segments[i].size && seen < sizeof begin; j++)
            begin[seen++] = request->segments[i].data[j];
    if (session->plan->format != FORMAT_GZIP)
        return seen && frame_kind_of(session->plan->format, begin, seen) != FRAME_NONE;
    return seen && begin[0] == 0x1f && (seen == 1 || begin[1] == 0x8b);
}

static void next_member(struct session *session, const struct request *request)
{
    if (!begins_a_member(session, request))
        return;
    if (session->plan->format == FORMAT_GZIP)
        zlib->inflate_reset(&session->inflate);
    session->stage = RUNNING;
    session->later_member = true;
}

static void decompress_step(struct session *session, struct request *request)
{
    static const struct segment nothing = {(const uint8_t *)"", 0};
    struct sink sink;
    size_t size = request->count ? request->segments[0].size : 0;
    if (session->stage == BETWEEN)
        next_member(session, request);
    sink_begin(&sink, request, CHUNK_ROOM + size, request->max_length);
    for (uint32_t i = 0; i < (request->count ? request->count : 1); i++) {
        struct segment segment = request->count ? request->segments[i] : nothing;
        const uint8_t *in = segment.data;
        size_t left = segment.size;
        bool go_on = decompress_segment(session, request, &sink, &in, &left);
        request->consumed += segment.size - left;
        if (!go_on)
            break;
    }
    if (request->status != STATUS_SUCCESS)
        session->stage = FAILED;
    request->final = session->stage == BETWEEN || session->stage == ENDED;
    sink_end(&sink, request);
}

void run_session(struct request *request)
{
    struct session *session = request->session;
    request->dictionary = session->dictionary;
    if (!begin(session, request))
        return;
    if (request->kind == KIND_COMPRESS_CHUNK)
        compress_step(session, request);
    else
        decompress_step(session, request);
}
