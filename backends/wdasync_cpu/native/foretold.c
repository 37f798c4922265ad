/* How long an output will be, as far as that can be told before it is made. No Python in here. */
#include "frames.h"

/* A size in a header is a hint from a stranger. It is believed up to this many times the input; beyond that, memory
   grows with what was really decoded. */
enum { BELIEVED_EXPANSION = 32 };

/* An empty unit of gzip; the head of a frame of LZ4 that tells, and its flag that it does. */
enum { GZIP_LEAST = 18, LZ4_TELLING = 15, LZ4_TELLS = 8 };

size_t told_length(enum format format, const uint8_t *data, size_t size)
{
    uint64_t told = UINT64_MAX;
    if (format == FORMAT_GZIP && size >= GZIP_LEAST)
        told = little_endian(data + size - 4);
    else if (format == FORMAT_ZSTD)
        told = zstd->content_size(data, size); /* the two largest values say that it is not known */
    else if (format == FORMAT_LZ4 && size >= LZ4_TELLING && frame_kind_of(FORMAT_LZ4, data, size) == FRAME_DATA
             && data[4] & LZ4_TELLS)
        told = little_endian(data + 6) | (uint64_t)little_endian(data + 10) << 32;
    return told <= (uint64_t)size * BELIEVED_EXPANSION ? (size_t)told : NOT_TOLD;
}

/* What a step makes of `size` bytes. `data`: those, if they can be looked at. */
static size_t length_after(const struct request *step, const uint8_t *data, size_t size)
{
    size_t told;
    switch (step->kind) {
    case KIND_SEAL:
        return size + SEAL_TAG;
    case KIND_OPEN:
        return size < SEAL_TAG ? NOT_TOLD : size - SEAL_TAG;
    case KIND_DECOMPRESS:
        told = data ? told_length(step->plan->format, data, size) : NOT_TOLD;
        return told <= step->max_length ? told : NOT_TOLD;
    default:
        return NOT_TOLD;
    }
}

size_t foretold_output(const struct request *request, bool readable)
{
    const struct chain *chain = request->chain;
    const uint8_t *data = readable && request->count == 1 ? request->segments->data : NULL;
    size_t size = 0, made = NOT_TOLD;
    for (uint32_t i = 0; i < request->count; i++)
        size += request->segments[i].size;
    if (!chain)
        return length_after(request, data, size);
    for (uint32_t i = 0; i < chain->count; i++) {
        if (only_looks(&chain->steps[i]))
            continue;
        made = length_after(&chain->steps[i], data, size);
        if (made == NOT_TOLD)
            return NOT_TOLD;
        size = made;
        data = NULL;
    }
    return made;
}
