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

#define QUICK __attribute__((target("sse4.2")))

static bool has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}

QUICK static inline uint32_t take_word(uint32_t value, uint64_t word)
{
    return (uint32_t)__builtin_ia32_crc32di(value, word);
}

QUICK static inline uint32_t take_byte(uint32_t value, uint8_t byte)
{
    return __builtin_ia32_crc32qi(value, byte);
}

#elif defined(__aarch64__)

enum { CAPABILITY_CRC32 = 1 << 7 }; /* HWCAP_CRC32 of Linux */

#define QUICK __attribute__((target("+crc")))

static bool has_instruction(void)
{
    return getauxval(AT_HWCAP) & CAPABILITY_CRC32;
}

QUICK static inline uint32_t take_word(uint32_t value, uint64_t word)
{
    __asm__("crc32cx %w0, %w0, %x1" : "+r"(value) : "r"(word));
    return value;
}

QUICK static inline uint32_t take_byte(uint32_t value, uint8_t byte)
{
    __asm__("crc32cb %w0, %w0, %w1" : "+r"(value) : "r"(byte));
    return value;
}

#else

#define QUICK

static bool has_instruction(void)
{
    return false;
}

static uint32_t take_word(uint32_t value, uint64_t word)
{
    return crc32c_by_tables(value, (const uint8_t *)&word, sizeof word);
}

static uint32_t take_byte(uint32_t value, uint8_t byte)
{
    return crc32c_by_tables(value, &byte, 1);
}

#endif

/* The instruction has its result only some cycles later, and could begin another one in each of them. So three parts of this
   many bytes go at once; their values are put together by what so many zeros would make of them. */
enum { PART = 1024 };

static uint32_t zeros_after[4][256]; /* by each byte of a value: what PART zeros make of it */
static pthread_once_t zeros_once = PTHREAD_ONCE_INIT;

static void make_zeros(void)
{
    static const uint8_t zeros[PART];
    for (uint32_t bit = 0; bit < 32; bit++) {
        uint32_t made = crc32c_by_tables((uint32_t)1 << bit, zeros, PART), lowest = 1u << bit % 8;
        for (uint32_t i = 0; i < lowest; i++)
            zeros_after[bit / 8][lowest + i] = zeros_after[bit / 8][i] ^ made;
    }
}

static uint32_t after_zeros(uint32_t value)
{
    return zeros_after[0][value & 0xff] ^ zeros_after[1][value >> 8 & 0xff] ^ zeros_after[2][value >> 16 & 0xff]
           ^ zeros_after[3][value >> 24];
}

QUICK static uint32_t take_parts(uint32_t value, const uint8_t *data)
{
    uint32_t second = 0, third = 0;
    uint64_t words[3];
    for (size_t at = 0; at < PART; at += 8) {
        memcpy(&words[0], data + at, 8);
        memcpy(&words[1], data + PART + at, 8);
        memcpy(&words[2], data + 2 * PART + at, 8);
        value = take_word(value, words[0]);
        second = take_word(second, words[1]);
        third = take_word(third, words[2]);
    }
    return after_zeros(after_zeros(value) ^ second) ^ third;
}

QUICK static uint32_t crc32c_by_instruction(uint32_t value, const uint8_t *data, size_t size)
{
    uint64_t word;
    if (size >= 3 * PART)
        pthread_once(&zeros_once, make_zeros);
    for (; size >= 3 * PART; data += 3 * PART, size -= 3 * PART)
        value = take_parts(value, data);
    for (; size >= 8; data += 8, size -= 8) {
        memcpy(&word, data, 8);
        value = take_word(value, word);
    }
    for (; size; data++, size--)
        value = take_byte(value, *data);
    return value;
}

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
