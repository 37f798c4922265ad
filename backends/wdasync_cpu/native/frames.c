#include "frames.h"

#include <stdlib.h>
#include <string.h>

/* A codec whose state grew beyond this for one large operation is not kept. */
enum { KEPT_STATE = 16 << 20 };

/* The largest history that is read: 2**27 bytes, as zstd(1) does unless it is told otherwise (RFC 8878, section
   3.1.1.1.2, leaves the bound to decoders). */
enum { MOST_WINDOW = 27 };

/* Bytes of output between two looks at whether to stop. */
enum { STEP_OUTPUT = 4 << 20 };

enum { USUAL_EXPANSION = 4, SMALL_OUTPUT = 1024 };

enum { SKIPPABLE_HEADER = 8 };

/* How a trained dictionary begins (RFC 8878, section 5). */
#define TRAINED_DICTIONARY 0xec30a437u

/* The tables of the quick levels hold matches in so much of a dictionary; for more there is another one. */
enum { LONG_PREFIX = 1 << 18 };

/* The library's word for it, and about what it takes for its buffers. */
#define LZ4_NO_MEMORY "ERROR_allocation_failed"
enum { LZ4_STATE = 1 << 22 };

static const char *name_of(enum format format)
{
    return format == FORMAT_ZSTD ? "Zstandard" : "LZ4";
}

enum frame_kind frame_kind_of(enum format format, const uint8_t *data, size_t size)
{
    static const uint8_t MAGIC[2][4] = {{0x28, 0xb5, 0x2f, 0xfd}, {0x04, 0x22, 0x4d, 0x18}};
    static const uint8_t SKIPPABLE[4] = {0x50, 0x2a, 0x4d, 0x18}; /* the low half of the first byte is free */
    const uint8_t *magic = MAGIC[format == FORMAT_LZ4];
    bool data_frame = true, skippable = true;
    size_t seen = size < 4 ? size : 4;
    for (size_t i = 0; i < seen; i++) {
        data_frame = data_frame && data[i] == magic[i];
        skippable = skippable && (i ? data[i] : data[i] & 0xf0) == SKIPPABLE[i];
    }
    if (!data_frame && !skippable)
        return FRAME_NONE;
    return seen < 4 ? FRAME_MAYBE : data_frame ? FRAME_DATA : FRAME_SKIPPABLE;
}

/* ---- compressing by Zstandard ------------------------------------------------------------------------------------ */

/* A prefix is content as it is, and good for one frame; what is loaded may be a trained dictionary, and stays. */
static size_t zstd_use(struct zstd_encoder *encoder, const struct dictionary *dictionary)
{
    if (!dictionary->data)
        return 0;
    if (!dictionary->raw)
        return zstd->compressor_load(encoder->context, dictionary->data, dictionary->size);
    encoder->prefix = *dictionary;
    if (dictionary->size > LONG_PREFIX)
        zstd->compressor_set(encoder->context, ZSTD_LONG_DISTANCE, 1);
    return zstd->compressor_prefix(encoder->context, dictionary->data, dictionary->size);
}

bool zstd_begin(struct zstd_encoder *encoder, const struct request *request, uint64_t size)
{
    const struct plan *plan = request->plan;
    if (!encoder->context && !(encoder->context = zstd->compressor_new()))
        return false;
    encoder->ended = false;
    encoder->error = 0;
    encoder->prefix.data = NULL;
    zstd->compressor_reset(encoder->context, ZSTD_RESET_ALL);
    zstd->compressor_set(encoder->context, ZSTD_LEVEL, plan->level);
    zstd->compressor_set(encoder->context, ZSTD_CHECKSUM, 1);
    if (plan->window)
        zstd->compressor_set(encoder->context, ZSTD_WINDOW, plan->window);
    if (size != UINT64_MAX)
        zstd->compressor_pledge(encoder->context, size);
    return !zstd->is_error(zstd_use(encoder, &request->dictionary));
}

void zstd_complain(const struct zstd_encoder *encoder, struct request *request)
{
    const struct dictionary *dictionary = &request->dictionary;
    bool trained = dictionary->size >= 8 && !dictionary->raw && little_endian(dictionary->data) == TRAINED_DICTIONARY;
    /* The library cannot make its tables of it, and takes that for a lack of memory. */
    if (trained && (encoder->error == ZSTD_DICTIONARY_CORRUPTED || encoder->error == ZSTD_NO_MEMORY))
        fail(request, STATUS_INVALID_ARGS, CAUSE_NONE, "dictionary: it begins like a trained one of Zstandard, and is not valid");
    else if (encoder->error == ZSTD_NO_MEMORY)
        fail_memory(request, 1 << 20);
    else
        fail(request, STATUS_DEVICE_ERROR, CAUSE_NONE, "the compressor failed");
}

void zstd_forget(struct zstd_encoder *encoder)
{
    if (encoder->context)
        zstd->compressor_free(encoder->context);
    encoder->context = NULL;
}

size_t zstd_bound(size_t size)
{
    return zstd->bound(size);
}

size_t zstd_at_once(struct zstd_encoder *encoder, const uint8_t *in, size_t size, uint8_t *out, size_t room)
{
    size_t made = zstd->compress(encoder->context, out, room, in, size);
    encoder->error = zstd->is_error(made) ? zstd->error_code(made) : 0;
    return encoder->error ? 0 : made;
}

/* A full flush ends the frame: what follows is another one, which refers to nothing before it. Where nothing follows,
   the end of the stream need not add an empty one. */
enum progress step_zstd(struct encoder *encoder, const uint8_t **in, size_t *in_size, uint8_t **out, size_t *out_size,
                        enum flush flush)
{
    static const int OPERATIONS[] = {ZSTD_CONTINUE, ZSTD_FLUSH, ZSTD_END, ZSTD_END};
    struct zstd_encoder *state = encoder->zstd;
    struct zstd_input input = {*in, *in_size, 0};
    struct zstd_output output = {*out, *out_size, 0};
    if (state->ended && !*in_size)
        return COMPLETE;
    if (state->ended && state->prefix.data)
        zstd->compressor_prefix(state->context, state->prefix.data, state->prefix.size);
    state->ended = false;
    size_t left = zstd->compress_some(state->context, &output, &input, OPERATIONS[flush]);
    *in += input.position;
    *in_size -= input.position;
    *out += output.position;
    *out_size -= output.position;
    state->error = zstd->is_error(left) ? zstd->error_code(left) : 0;
    if (state->error)
        return BROKEN;
    if (flush == FLUSH_NONE)
        return !*in_size && *out_size ? COMPLETE : GOING;
    state->ended = !left && flush == FLUSH_FULL;
    return left ? GOING : COMPLETE;
}

/* ---- compressing by LZ4 ------------------------------------------------------------------------------------------ */

static bool lz4_use(struct lz4_encoder *encoder, const struct dictionary *dictionary)
{
    if (encoder->dictionary)
        lz4->dictionary_free(encoder->dictionary);
    encoder->dictionary = dictionary->data ? lz4->dictionary_new(dictionary->data, dictionary->size) : NULL;
    return encoder->dictionary || !dictionary->data;
}

bool lz4_begin(struct lz4_encoder *encoder, const struct request *request, uint64_t size)
{
    const struct plan *plan = request->plan;
    if (!encoder->context && lz4->is_error(lz4->compressor_new(&encoder->context, LZ4F_VERSION_))) {
        encoder->context = NULL;
        return false;
    }
    memset(&encoder->preferences, 0, sizeof encoder->preferences);
    encoder->preferences.block_size = LZ4F_BLOCKS_64K;
    encoder->preferences.block_mode = size <= 1 << 16 ? LZ4F_INDEPENDENT : LZ4F_LINKED;
    encoder->preferences.content_checksum = 1;
    encoder->preferences.content_size = size == UINT64_MAX ? 0 : size;
    encoder->preferences.level = plan->level;
    encoder->stage = LZ4_CLOSED;
    encoder->staged_at = encoder->staged_size = encoder->lacking = 0;
    return lz4_use(encoder, &request->dictionary);
}

void lz4_complain(const struct lz4_encoder *encoder, struct request *request)
{
    if (encoder->lacking)
        fail_memory(request, encoder->lacking);
    else
        fail(request, STATUS_DEVICE_ERROR, CAUSE_NONE, "the compressor failed");
}

void lz4_forget(struct lz4_encoder *encoder)
{
    if (encoder->context)
        lz4->compressor_free(encoder->context);
    if (encoder->dictionary)
        lz4->dictionary_free(encoder->dictionary);
    free(encoder->staged);
    memset(encoder, 0, sizeof *encoder);
}

/* The header, what one call may hold back and then write, and the end. */
size_t lz4_bound(const struct plan *plan, size_t size)
{
    struct lz4_preferences preferences = {.block_size = LZ4F_BLOCKS_64K, .content_checksum = 1, .level = plan->level};
    return LZ4F_HEADER_MOST + lz4->bound(size, &preferences) + LZ4F_HEADER_MOST;
}

/* The library wants room for the worst case. Where there is less, its output is staged. */
static bool lz4_stage(struct lz4_encoder *state, size_t room)
{
    if (state->staged_room >= room)
        return true;
    free(state->staged);
    state->staged = malloc(room);
    state->staged_room = state->staged ? room : 0;
    state->lacking = state->staged ? 0 : room;
    return state->staged;
}

static void lz4_unstage(struct lz4_encoder *state, uint8_t **out, size_t *out_size)
{
    size_t count = state->staged_size - state->staged_at;
    count = count < *out_size ? count : *out_size;
    if (!count) /* there may be no stage, and no memcpy from nowhere */
        return;
    memcpy(*out, state->staged + state->staged_at, count);
    state->staged_at += count;
    *out += count;
    *out_size -= count;
}

/* What is to be done next, into `out`. Its length, or an error of the library's. */
static size_t lz4_next(struct lz4_encoder *state, const uint8_t **in, size_t *in_size, uint8_t *out, size_t room,
                       enum flush flush)
{
    if (state->stage == LZ4_CLOSED) {
        state->stage = LZ4_OPEN;
        return state->dictionary
                   ? lz4->begin_with(state->context, out, room, state->dictionary, &state->preferences)
                   : lz4->begin(state->context, out, room, &state->preferences);
    }
    if (*in_size) {
        size_t made = lz4->compress_some(state->context, out, room, *in, *in_size, NULL);
        *in += *in_size;
        *in_size = 0;
        return made;
    }
    if (flush == FLUSH_SYNC) {
        state->stage = LZ4_FLUSHED;
        return lz4->flush(state->context, out, room, NULL);
    }
    state->stage = flush == FLUSH_FULL ? LZ4_BETWEEN : LZ4_ENDED;
    state->preferences.content_size = 0;
    return lz4->end(state->context, out, room, NULL);
}

static bool lz4_failed(struct lz4_encoder *state, size_t made)
{
    if (!lz4->is_error(made))
        return false;
    if (!strcmp(lz4->error_name(made), LZ4_NO_MEMORY))
        state->lacking = LZ4_STATE;
    return true;
}

static bool lz4_done(struct lz4_encoder *state, size_t in_size, enum flush flush)
{
    if (in_size)
        return false;
    switch (state->stage) {
    case LZ4_CLOSED:
        return false;
    case LZ4_OPEN:
        return flush == FLUSH_NONE;
    default:
        return true;
    }
}

/* A full flush ends the frame, as step_zstd() does. */
enum progress step_lz4(struct encoder *encoder, const uint8_t **in, size_t *in_size, uint8_t **out, size_t *out_size,
                       enum flush flush)
{
    struct lz4_encoder *state = encoder->lz4;
    if (*in_size && state->stage == LZ4_BETWEEN)
        state->stage = LZ4_CLOSED;
    if (*in_size && state->stage == LZ4_FLUSHED)
        state->stage = LZ4_OPEN;
    if (state->stage == LZ4_FLUSHED && state->staged_at == state->staged_size && flush != FLUSH_SYNC)
        state->stage = LZ4_OPEN;
    for (;;) {
        lz4_unstage(state, out, out_size);
        if (state->staged_at < state->staged_size)
            return GOING;
        if (lz4_done(state, *in_size, flush))
            return COMPLETE;
        size_t wanted = LZ4F_HEADER_MOST + lz4->bound(*in_size, &state->preferences);
        bool direct = *out_size >= wanted;
        if (!direct && !lz4_stage(state, wanted))
            return BROKEN;
        size_t made = lz4_next(state, in, in_size, direct ? *out : state->staged, direct ? *out_size : wanted, flush);
        if (lz4_failed(state, made))
            return BROKEN;
        if (direct) {
            *out += made;
            *out_size -= made;
        } else {
            state->staged_at = 0;
            state->staged_size = made;
        }
    }
}

/* ---- decompressing ----------------------------------------------------------------------------------------------- */

/* Bits of the largest history that this request may claim. */
static int most_window(const struct request *request)
{
    return request->plan->window ? request->plan->window : MOST_WINDOW;
}

static bool begin_zstd(struct frame_decoder *decoder, struct request *request)
{
    const struct dictionary *dictionary = &decoder->dictionary;
    if (!decoder->zstd && !(decoder->zstd = zstd->decompressor_new())) {
        fail_memory(request, 1 << 17);
        return false;
    }
    zstd->decompressor_reset(decoder->zstd, ZSTD_RESET_ALL);
    zstd->decompressor_set(decoder->zstd, ZSTD_MOST_WINDOW, most_window(request));
    if (!dictionary->data || dictionary->raw)
        return true;
    if (!zstd->is_error(zstd->decompressor_load(decoder->zstd, dictionary->data, dictionary->size)))
        return true;
    fail(request, STATUS_INVALID_ARGS, CAUSE_NONE, "dictionary: it begins like a trained one of Zstandard, and is not valid");
    return false;
}

bool frame_decoder_begin(struct frame_decoder *decoder, struct request *request)
{
    decoder->format = request->plan->format;
    decoder->dictionary = request->dictionary;
    decoder->fresh = true;
    decoder->starved = false;
    if (decoder->format == FORMAT_ZSTD)
        return begin_zstd(decoder, request);
    if (decoder->lz4 && decoder->inside) /* a reset leaves it with what the frame has still to bring: LZ4 before 1.10 */
        frame_decoder_forget(decoder);
    if (!decoder->lz4 && lz4->is_error(lz4->decompressor_new(&decoder->lz4, LZ4F_VERSION_)))
        decoder->lz4 = NULL;
    if (!decoder->lz4)
        fail_memory(request, 1 << 17);
    return decoder->lz4;
}

void frame_decoder_forget(struct frame_decoder *decoder)
{
    if (decoder->zstd)
        zstd->decompressor_free(decoder->zstd);
    if (decoder->lz4)
        lz4->decompressor_free(decoder->lz4);
    decoder->zstd = decoder->lz4 = NULL;
}

static void fail_data(struct request *request, enum cause cause, const char *words)
{
    fail(request, cause == CAUSE_CHECKSUM ? STATUS_CHECKSUM_FAILED : STATUS_DATA_ERROR, cause,
         "the %s data is not valid: %s", name_of(request->plan->format), words);
}

static void fail_format(struct request *request, bool later)
{
    if (later)
        fail(request, STATUS_DATA_ERROR, CAUSE_TRAILING_DATA, "what follows the last %s frame is not another one",
             name_of(request->plan->format));
    else
        fail(request, STATUS_DATA_ERROR, CAUSE_WRONG_FORMAT, "it does not begin as a %s frame does",
             name_of(request->plan->format));
}

static void explain_zstd(struct request *request, size_t error, bool later)
{
    switch (zstd->error_code(error)) {
    case ZSTD_PREFIX_UNKNOWN:
    case ZSTD_VERSION_UNKNOWN:
        fail_format(request, later);
        break;
    case ZSTD_WINDOW_TOO_LARGE:
        fail(request, STATUS_INVALID_ARGS, CAUSE_NONE,
             "window: expected a frame with a history of at most 2**%d bytes, got one that wants more", most_window(request));
        break;
    case ZSTD_NO_MEMORY:
        fail_memory(request, (size_t)1 << most_window(request));
        break;
    case ZSTD_DICTIONARY_WRONG:
        fail(request, STATUS_DATA_ERROR, CAUSE_DICTIONARY, "the Zstandard frame wants a dictionary, and %s",
             request->dictionary.data ? "another one was given" : "none was given");
        break;
    case ZSTD_DICTIONARY_CORRUPTED:
        fail(request, STATUS_INVALID_ARGS, CAUSE_NONE,
             "dictionary: it begins like a trained one of Zstandard, and is not valid");
        break;
    case ZSTD_CHECKSUM_WRONG:
        fail_data(request, CAUSE_CHECKSUM, zstd->error_name(error));
        break;
    default:
        fail_data(request, CAUSE_CORRUPT, zstd->error_name(error));
    }
}

/* The library's numbers are not part of its stable interface; the names are what it prints. */
static void explain_lz4(struct request *request, size_t error, bool later)
{
    const char *name = lz4->error_name(error);
    if (!strcmp(name, "ERROR_frameType_unknown"))
        fail_format(request, later);
    else if (!strcmp(name, LZ4_NO_MEMORY))
        fail_memory(request, LZ4_STATE);
    else
        fail_data(request, strstr(name, "hecksum_invalid") ? CAUSE_CHECKSUM : CAUSE_CORRUPT, name);
}

static enum frame_step decode_zstd(struct frame_decoder *decoder, struct request *request, const uint8_t **in,
                                   size_t *left, uint8_t *out, size_t *room, bool later)
{
    struct zstd_input input = {*in, *left, 0};
    struct zstd_output output = {out, *room, 0};
    if (decoder->fresh && decoder->dictionary.raw)
        zstd->decompressor_prefix(decoder->zstd, decoder->dictionary.data, decoder->dictionary.size);
    decoder->fresh = false;
    size_t result = zstd->decompress_some(decoder->zstd, &output, &input);
    *in += input.position;
    *left -= input.position;
    *room -= output.position;
    if (zstd->is_error(result)) {
        explain_zstd(request, result, later);
        return FRAME_BROKEN;
    }
    decoder->fresh = !result;
    return result ? FRAME_GO_ON : FRAME_ENDS;
}

static enum frame_step decode_lz4(struct frame_decoder *decoder, struct request *request, const uint8_t **in,
                                  size_t *left, uint8_t *out, size_t *room, bool later)
{
    size_t used = *left, made = *room;
    decoder->inside = true;
    const struct dictionary *dictionary = &decoder->dictionary;
    size_t result = dictionary->data ? lz4->decompress_with(decoder->lz4, out, &made, *in, &used, dictionary->data,
                                                            dictionary->size, NULL)
                                     : lz4->decompress_some(decoder->lz4, out, &made, *in, &used, NULL);
    if (lz4->is_error(result)) {
        explain_lz4(request, result, later);
        return FRAME_BROKEN;
    }
    *in += used;
    *left -= used;
    *room -= made;
    decoder->inside = result;
    return result ? FRAME_GO_ON : FRAME_ENDS;
}

enum frame_step frame_decode(struct frame_decoder *decoder, struct request *request, const uint8_t **in, size_t *left,
                             uint8_t *out, size_t *room, bool later)
{
    /* Zstandard takes it for an error if it is asked again and again, and given nothing. */
    if (!*left && decoder->starved)
        return FRAME_WANTS_INPUT;
    enum frame_step step = (decoder->format == FORMAT_ZSTD ? decode_zstd : decode_lz4)(decoder, request, in, left, out,
                                                                                     room, later);
    decoder->starved = step == FRAME_GO_ON && !*left && *room;
    return decoder->starved ? FRAME_WANTS_INPUT : step;
}

/* ---- whole units ------------------------------------------------------------------------------------------------- */

/* What the header of the first frame says, if that may be believed. */
static size_t first_room(const struct request *request, const uint8_t *data, size_t size)
{
    size_t usual = size < SIZE_MAX / 16 ? size * USUAL_EXPANSION : size;
    size_t told = told_length(request->plan->format, data, size);
    if (told != NOT_TOLD)
        return told + 1;
    return usual < SMALL_OUTPUT ? SMALL_OUTPUT : usual;
}

static void fail_full(struct request *request, struct sink *sink, size_t before, size_t begin)
{
    sink->size = before;
    if (!request->into || request->max_length < request->room) {
        fail(request, STATUS_OUT_OF_SPACE_TERMINATED, CAUSE_NONE, "the output passes max_length of %llu bytes",
             (unsigned long long)request->max_length);
        return;
    }
    /* Whole frames that are done are good, and decoding can begin again at the next one. */
    request->consumed = begin;
    fail(request, begin ? STATUS_OUT_OF_SPACE_RECOVERABLE : STATUS_OUT_OF_SPACE_TERMINATED, CAUSE_NONE,
         "the output does not fit into %zu bytes; %zu bytes of it do, from the first %zu bytes of input", request->room,
         begin ? before : 0, begin);
}

/* One frame with content, at data[begin]. Where it ends, or 0: the request has failed. */
static size_t one_frame(struct frame_decoder *decoder, struct request *request, const uint8_t *data, size_t size,
                        size_t begin, struct sink *sink)
{
    const uint8_t *in = data + begin;
    size_t left = size - begin, before = sink->size;
    for (;;) {
        uint8_t beyond;
        if (must_stop(request)) {
            fail_stopped(request);
            return 0;
        }
        if (sink->room == sink->size && sink->room < sink->limit && !sink_grow(sink, 0)) {
            fail_memory(request, sink->room);
            return 0;
        }
        bool full = sink->room == sink->size;
        size_t space = full ? 1 : sink->room - sink->size < STEP_OUTPUT ? sink->room - sink->size : STEP_OUTPUT;
        size_t room = space;
        enum frame_step step = frame_decode(decoder, request, &in, &left, full ? &beyond : sink_at(sink, sink->size),
                                            &room, begin > 0);
        if (step == FRAME_BROKEN)
            return 0;
        if (full && !room) {
            fail_full(request, sink, before, begin);
            return 0;
        }
        sink->size += space - room;
        if (step == FRAME_ENDS)
            return (size_t)(in - data);
        if (step == FRAME_WANTS_INPUT) {
            fail(request, STATUS_DATA_ERROR, CAUSE_TRUNCATED, "the input ends inside the %s frame that begins at byte %zu",
                 name_of(request->plan->format), begin);
            return 0;
        }
    }
}

/* Where a skippable frame ends, or 0: the request has failed. */
static size_t skip_frame(struct request *request, const uint8_t *data, size_t size, size_t begin)
{
    size_t left = size - begin;
    if (left >= SKIPPABLE_HEADER && left - SKIPPABLE_HEADER >= little_endian(data + begin + 4))
        return begin + SKIPPABLE_HEADER + little_endian(data + begin + 4);
    fail(request, STATUS_DATA_ERROR, CAUSE_TRUNCATED, "the input ends inside the skippable frame that begins at byte %zu",
         begin);
    return 0;
}

/* Whether a frame begins there; else the request has failed. */
static bool begins_frame(struct request *request, const uint8_t *data, size_t size, size_t begin, enum frame_kind kind)
{
    if (kind == FRAME_NONE && begin)
        fail(request, STATUS_DATA_ERROR, CAUSE_TRAILING_DATA, "%zu bytes follow the end, which is at byte %zu",
             size - begin, begin);
    else if (kind == FRAME_NONE)
        fail(request, STATUS_DATA_ERROR, CAUSE_WRONG_FORMAT, "it does not begin as a %s frame does: its first byte is 0x%02x",
             name_of(request->plan->format), data[0]);
    else if (kind == FRAME_MAYBE && !size)
        fail(request, STATUS_DATA_ERROR, CAUSE_TRUNCATED, "it is empty");
    else if (kind == FRAME_MAYBE)
        fail(request, STATUS_DATA_ERROR, CAUSE_TRUNCATED, "the input ends inside the number that begins a %s frame, at byte %zu",
             name_of(request->plan->format), size);
    return request->status == STATUS_SUCCESS;
}

static void decode_frames(struct frame_decoder *decoder, struct request *request, const uint8_t *data, size_t size,
                          struct sink *sink)
{
    size_t position = 0, frames = 0;
    do {
        enum frame_kind kind = frame_kind_of(request->plan->format, data + position, size - position);
        if (!begins_frame(request, data, size, position, kind))
            return;
        if (kind == FRAME_DATA && frames++ >= request->max_members) {
            fail(request, STATUS_OUT_OF_SPACE_TERMINATED, CAUSE_NONE, "there are more than max_members of %u frames",
                 request->max_members);
            return;
        }
        position = kind == FRAME_SKIPPABLE ? skip_frame(request, data, size, position)
                                           : one_frame(decoder, request, data, size, position, sink);
    } while (position && position < size);
    request->consumed = position ? size : request->consumed;
}

void run_frames_decompress(struct kit *kit, struct request *request)
{
    struct frame_decoder *decoder = &kit->frames;
    struct sink sink;
    size_t size;
    const uint8_t *data = joined_input(kit, request, &size);
    if (!data) {
        fail_memory(request, size);
        return;
    }
    if (!frame_decoder_begin(decoder, request))
        return;
    sink_begin(&sink, request, first_room(request, data, size), request->max_length);
    decode_frames(decoder, request, data, size, &sink);
    sink_end(&sink, request);
    if (decoder->zstd && zstd->decompressor_memory(decoder->zstd) > KEPT_STATE)
        frame_decoder_forget(decoder);
}
