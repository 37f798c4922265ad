#include "codec.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frames.h"
#include "guard.h"
#include "region.h"
#include "ring.h"

enum { KEPT_JOINED = 1 << 20 };

void *kit_new(void)
{
    return calloc(1, sizeof(struct kit));
}

static void kit_empty(struct kit *kit)
{
    for (int i = 0; i < DEFLATE_STATES; i++)
        if (kit->deflate[i].ready)
            zlib->deflate_end(&kit->deflate[i].z);
    if (kit->inflate_ready)
        zlib->inflate_end(&kit->inflate);
    for (int i = 0; i < LIBDEFLATE_LEVELS; i++)
        if (kit->compressors[i])
            libdeflate->free_compressor(kit->compressors[i]);
    if (kit->decompressor)
        libdeflate->free_decompressor(kit->decompressor);
    brotli_forget(&kit->brotli_encoder);
    if (kit->brotli_decoder)
        brotli->decoder_free(kit->brotli_decoder);
    zstd_forget(&kit->zstd);
    lz4_forget(&kit->lz4);
    frame_decoder_forget(&kit->frames);
    forget_blocks(kit);
    forget_digests(kit);
    forget_sealing(kit);
    forget_signing(kit);
    free(kit->isal);
    free(kit->isal_buffer);
    free(kit->joined);
    memset(kit, 0, sizeof *kit);
}

void kit_free(struct kit *kit)
{
    if (kit)
        kit_empty(kit);
    free(kit);
}

/* ---- how a request ends -------------------------------------------------------------------------------------- */

void fail(struct request *request, enum status status, enum cause cause, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(request->message, sizeof request->message, format, arguments);
    va_end(arguments);
    request->status = status;
    request->cause = cause;
}

void fail_memory(struct request *request, size_t size)
{
    fail(request, STATUS_DEVICE_ERROR, CAUSE_NONE, "out of memory: %zu bytes could not be had", size);
}

void fail_stopped(struct request *request)
{
    fail(request, STATUS_ABORTED, CAUSE_NONE, "the queue was stopped");
}

bool must_stop(const struct request *request)
{
    return atomic_load_explicit(crews_stopping(), memory_order_relaxed)
           || (request->stop && atomic_load_explicit(request->stop, memory_order_relaxed))
           || (request->region && region_was_refused(request->region));
}

/* ---- output -------------------------------------------------------------------------------------------------- */

bool is_direct(const struct request *request)
{
    return request->offer && request->out == request->offer;
}

void drop_output(struct request *request)
{
    if (request->into)
        return;
    if (!is_direct(request))
        free(request->out);
    request->out = NULL;
}

void sink_begin(struct sink *sink, struct request *request, size_t room, uint64_t limit)
{
    memset(sink, 0, sizeof *sink);
    sink->request = request;
    sink->limit = limit < SIZE_MAX / 2 ? (size_t)limit : SIZE_MAX / 2;
    sink->fixed = request->into;
    if (request->into) {
        sink->data = request->out;
        sink->room = request->room < sink->limit ? request->room : sink->limit;
        sink->limit = sink->room;
    } else if (request->offer && room <= request->offered + 1) {
        sink->data = request->out = request->offer;
        sink->room = request->offered < sink->limit ? request->offered + 1 : sink->limit;
    } else if (room) {
        sink_grow(sink, room);
    }
}

bool sink_grow(struct sink *sink, size_t at_least)
{
    size_t room = sink->room < 512 ? 1024 : sink->room * 2;
    if (sink->fixed || sink->room >= sink->limit)
        return false;
    if (room < at_least)
        room = at_least;
    if (room > sink->limit)
        room = sink->limit;
    bool direct = is_direct(sink->request);
    uint8_t *data = realloc(direct ? NULL : sink->data, room ? room : 1);
    if (!data)
        return false;
    if (direct)
        memcpy(data, sink->data, sink->size);
    sink->data = sink->request->out = data;
    sink->room = room;
    return true;
}

uint8_t *sink_at(struct sink *sink, size_t position)
{
    static uint8_t nowhere[1]; /* no room was ever had: nothing is written */
    return sink->data ? sink->data + position : nowhere;
}

static bool is_good(const struct request *request)
{
    return request->status == STATUS_SUCCESS || request->status == STATUS_OUT_OF_SPACE_RECOVERABLE;
}

/* The output is in what was offered, and may have another length. */
static void leave_offer(const struct sink *sink, struct request *request)
{
    if (sink->size == request->offered) {
        request->offer[request->offered] = 0;
        return;
    }
    if ((request->out = malloc(sink->size))) {
        memcpy(request->out, sink->data, sink->size);
    } else {
        fail_memory(request, sink->size);
        request->consumed = 0;
    }
}

void sink_end(struct sink *sink, struct request *request)
{
    request->room = sink->fixed ? request->room : sink->room;
    if (is_direct(request) && is_good(request) && sink->size)
        leave_offer(sink, request);
    if (!is_good(request) || !sink->size)
        drop_output(request);
    request->produced = is_good(request) ? sink->size : 0;
}

/* ---- input --------------------------------------------------------------------------------------------------- */

const uint8_t *joined_input(struct kit *kit, struct request *request, size_t *size)
{
    static const uint8_t nothing[1];
    size_t total = 0, position = 0;
    if (request->count <= 1) {
        *size = request->count ? request->segments[0].size : 0;
        return *size ? request->segments[0].data : nothing;
    }
    for (uint32_t i = 0; i < request->count; i++)
        total += request->segments[i].size;
    *size = total;
    if (!total)
        return nothing;
    if (total > kit->joined_room || kit->joined_room > KEPT_JOINED) {
        free(kit->joined);
        kit->joined_room = total > 4096 ? total : 4096;
        if (!(kit->joined = malloc(kit->joined_room))) {
            kit->joined_room = 0;
            return NULL;
        }
    }
    for (uint32_t i = 0; i < request->count; i++) {
        memcpy(kit->joined + position, request->segments[i].data, request->segments[i].size);
        position += request->segments[i].size;
    }
    return kit->joined;
}

bool touch_input(struct request *request)
{
    const volatile uint8_t *data = request->segments->data;
    for (size_t at = 0; request->region && at < request->segments->size; at += REGION_PAGE) {
        (void)data[at];
        if (must_stop(request)) {
            fail_stopped(request);
            return false;
        }
    }
    return true;
}

/* ---- dispatch ------------------------------------------------------------------------------------------------ */

static void run_copy(struct request *request)
{
    memcpy(request->copy_to, request->out, request->produced);
    drop_output(request); /* giving back much memory takes its time, too */
}

static void work(void *kit, struct request *request)
{
    switch (request->kind) {
    case KIND_COMPRESS:
        if (request->plan->format == FORMAT_LZ4_BLOCK)
            run_block_compress(kit, request);
        else
            run_compress(kit, request);
        break;
    case KIND_DECOMPRESS:
        switch (request->plan->format) {
        case FORMAT_BROTLI:
            run_brotli_decompress(kit, request);
            break;
        case FORMAT_ZSTD:
        case FORMAT_LZ4:
            run_frames_decompress(kit, request);
            break;
        case FORMAT_LZ4_BLOCK:
            run_block_decompress(kit, request);
            break;
        default:
            run_decompress(kit, request);
        }
        break;
    case KIND_COMPRESS_CHUNK:
    case KIND_DECOMPRESS_CHUNK:
        run_session(request);
        break;
    case KIND_COPY:
    case KIND_FILL:
    case KIND_COMPARE:
    case KIND_CHECKSUM:
        run_memory(request);
        break;
    case KIND_DIGEST:
        run_digest(kit, request);
        break;
    case KIND_SEAL:
    case KIND_OPEN:
        run_sealing(kit, request);
        break;
    case KIND_SIGN:
        run_signing(kit, request);
        break;
    default:
        break;
    }
}

/* A codec was left in the middle of something: its state is thrown away, and made anew when it is wanted. */
static void clear_up(struct kit *kit, struct request *request)
{
    kit_empty(kit);
    if (request->session)
        session_break(request->session);
    drop_output(request);
    request->produced = request->consumed = 0;
    request->final = false;
}

static void begin(struct request *request)
{
    request->status = STATUS_SUCCESS;
    request->cause = CAUSE_NONE;
    request->final = request->batched = false;
    request->produced = request->consumed = 0;
    request->message[0] = 0;
    if (!request->into)
        request->out = NULL;
}

void run_request(void *kit, struct request *request)
{
    if (request->kind == KIND_HAND_OVER) {
        run_copy(request);
        return;
    }
    begin(request);
    if (request->kind == KIND_SEQUENCE)
        run_chain(kit, request); /* each step has a guard of its own */
    else if (!guarded(work, kit, request))
        clear_up(kit, request);
}

void run_requests(void *kit, struct request *const *requests, unsigned count)
{
    bool together = count > 1;
    for (unsigned i = 0; together && i < count; i++)
        begin(requests[i]);
    if (together && !run_digests(kit, requests, count))
        kit_empty(kit);
    for (unsigned i = 0; i < count; i++)
        if (!together || !requests[i]->batched)
            run_request(kit, requests[i]);
}

void run_paged(void *kit, struct request *const *requests, unsigned count)
{
    struct request *request = *requests;
    (void)count;
    struct region *region = request->region;
    int error = region_open(region);
    if (!error)
        run_request(kit, request);
    region_close(region);
    request->faults = region->taken;
    if (region_was_refused(region)) { /* whatever came of it was made of zeros */
        drop_output(request);
        request->produced = request->consumed = 0;
        fail(request, region->status, CAUSE_NONE, "%s", region->reason ? "" : "the queue was stopped");
    } else if (error) {
        fail(request, STATUS_DEVICE_ERROR, CAUSE_NONE, "the pages of its input cannot be watched: %s", strerror(error));
    }
}
