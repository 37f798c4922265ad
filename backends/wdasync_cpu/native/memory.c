/* Work on memory as it is: copy, fill, compare, checksums. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "codec.h"

/* Bytes between two looks at whether to stop. */
enum { PIECE = 1 << 20 };

/* ---- CRC-32C (RFC 3720, appendix B.4): the polynomial 0x1edc6f41, bits reversed ------------------------------- */

enum { CASTAGNOLI = (int)0x82f63b78 };

static uint32_t tables[8][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++)
            value = value & 1 ? value >> 1 ^ (uint32_t)CASTAGNOLI : value >> 1;
        tables[0][i] = value;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int step = 1; step < 8; step++)
            tables[step][i] = tables[step - 1][i] >> 8 ^ tables[0][tables[step - 1][i] & 0xff];
}

/* Eight bytes a step, each by the table of its distance from the end. */
static uint32_t crc32c_by_tables(uint32_t value, const uint8_t *data, size_t size)
{
    pthread_once(&tables_once, make_tables);
    for (; size >= 8; data += 8, size -= 8) {
        value ^= (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
        value = tables[7][value & 0xff] ^ tables[6][value >> 8 & 0xff] ^ tables[5][value >> 16 & 0xff]
                ^ tables[4][value >> 24] ^ tables[3][data[4]] ^ tables[2][data[5]] ^ tables[1][data[6]] ^ tables[0][data[7]];
    }
    for (; size; data++, size--)
        value = value >> 8 ^ tables[0][(value ^ *data) & 0xff];
    return value;
}

#if defined(__x86_64__)

static bool has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_by_instruction(uint32_t value, const uint8_t *data, size_t size)
{
    uint64_t wide = value, word;
    for (; size >= 8; data += 8, size -= 8) {
        memcpy(&word, data, 8);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    value = (uint32_t)wide;
    for (; size; data++, size--)
        value = __builtin_ia32_crc32qi(value, *data);
    return value;
}

#elif defined(__aarch64__)

enum { CAPABILITY_CRC32 = 1 << 7 }; /* HWCAP_CRC32 of Linux */

static bool has_instruction(void)
{
    return getauxval(AT_HWCAP) & CAPABILITY_CRC32;
}

__attribute__((target("+crc"))) static uint32_t crc32c_by_instruction(uint32_t value, const uint8_t *data, size_t size)
{
    uint64_t word;
    for (; size >= 8; data += 8, size -= 8) {
        memcpy(&word, data, 8);
        __asm__("crc32cx %w0, %w0, %1" : "+r"(value) : "r"(word));
    }
    for (; size; data++, size--)
        __asm__("crc32cb %w0, %w0, %w1" : "+r"(value) : "r"(*data));
    return value;
}

#else

static bool has_instruction(void)
{
    return false;
}

static uint32_t crc32c_by_instruction(uint32_t value, const uint8_t *data, size_t size)
{
    return crc32c_by_tables(value, data, size);
}

#endif

uint32_t check_crc32c(uint32_t value, const uint8_t *data, size_t size, bool plainly)
{
    bool quick = !plainly && has_instruction();
    return ~(quick ? crc32c_by_instruction : crc32c_by_tables)(~value, data, size);
}

/* ---- requests ------------------------------------------------------------------------------------------------ */

static size_t size_of(const struct segment *segments, uint32_t count)
{
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++)
        size += segments[i].size;
    return size;
}

/* A few bytes of output, the most significant first. */
static void put(struct request *request, uint32_t value, size_t size)
{
    request->consumed = size_of(request->segments, request->count);
    if (!(request->out = malloc(size))) {
        fail_memory(request, size);
        return;
    }
    for (size_t i = 0; i < size; i++)
        request->out[i] = (uint8_t)(value >> 8 * (size - 1 - i));
    request->produced = size;
}

static void copy(struct request *request)
{
    uint8_t *to = request->out;
    if (request->room < size_of(request->segments, request->count)) {
        fail(request, STATUS_OUT_OF_SPACE_TERMINATED, CAUSE_NONE, "the output has no room for the input");
        return;
    }
    for (uint32_t i = 0; i < request->count; i++) {
        memmove(to, request->segments[i].data, request->segments[i].size);
        to += request->segments[i].size;
    }
    request->consumed = request->produced = (size_t)(to - request->out);
}

static void fill(struct request *request)
{
    memset(request->out, (int)request->value, request->room);
    request->produced = request->room;
}

/* Both inputs may be in segments, cut at different places. */
static bool same(const struct request *request)
{
    const struct segment *one = request->segments, *other = one + request->count;
    const struct segment *ends[2] = {other, other + request->others};
    size_t at = 0, other_at = 0;
    if (size_of(one, request->count) != size_of(other, request->others))
        return false;
    for (;;) {
        while (one < ends[0] && at == one->size)
            one++, at = 0;
        while (other < ends[1] && other_at == other->size)
            other++, other_at = 0;
        if (one == ends[0])
            return true;
        size_t left = one->size - at, other_left = other->size - other_at, size = left < other_left ? left : other_left;
        if (memcmp(one->data + at, other->data + other_at, size))
            return false;
        at += size, other_at += size;
    }
}

static uint32_t step(enum checksum checksum, uint32_t value, const uint8_t *data, size_t size)
{
    switch (checksum) {
    case CHECKSUM_CRC32:
        return check_crc32(value, data, size);
    case CHECKSUM_ADLER32:
        return check_adler32(value, data, size);
    default:
        return check_crc32c(value, data, size, false);
    }
}

static void sum_up(struct request *request)
{
    uint32_t value = request->value;
    for (uint32_t i = 0; i < request->count; i++) {
        const struct segment *segment = &request->segments[i];
        for (size_t at = 0; at < segment->size; at += PIECE) {
            if (must_stop(request)) {
                fail_stopped(request);
                return;
            }
            size_t size = segment->size - at < PIECE ? segment->size - at : PIECE;
            value = step(request->plan->format, value, segment->data + at, size);
        }
    }
    put(request, value, 4);
}

void run_memory(struct request *request)
{
    switch (request->kind) {
    case KIND_COPY:
        copy(request);
        break;
    case KIND_FILL:
        fill(request);
        break;
    case KIND_COMPARE:
        put(request, same(request), 1);
        break;
    default:
        sum_up(request);
    }
}
