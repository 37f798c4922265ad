/* What is wrong with a unit that cannot be decoded, and where: wrappers (RFC 1950, RFC 1952), and deflate data
 * (RFC 1951) walked bit by bit without making output. Slow on purpose of being plain: it only runs on what a codec has
 * refused, and its time is linear in the input. */
#include "codec.h"

#include <string.h>

/* ---- headers ------------------------------------------------------------------------------------------------- */

enum { GZIP_HCRC = 2, GZIP_EXTRA = 4, GZIP_NAME = 8, GZIP_COMMENT = 16, GZIP_RESERVED = 0xe0 };

static size_t truncated(struct request *request, const char *inside, size_t end)
{
    fail(request, STATUS_DATA_ERROR, CAUSE_TRUNCATED, "the input ends inside %s, at byte %zu", inside, end);
    return 0;
}

static size_t skip_text(const uint8_t *data, size_t size, size_t position)
{
    const uint8_t *zero = memchr(data + position, 0, size - position);
    return zero ? (size_t)(zero - data) + 1 : 0;
}

static size_t read_gzip_header(struct request *request, const uint8_t *data, size_t size, size_t base)
{
    if ((size > 0 && data[0] != 0x1f) || (size > 1 && data[1] != 0x8b)) {
        fail(request, STATUS_DATA_ERROR, CAUSE_WRONG_FORMAT, "not gzip: byte %zu is %02x %02x, and a member begins with 1f 8b",
             base, data[0], size > 1 ? data[1] : 0);
        return 0;
    }
    if (size > 2 && data[2] != 8) {
        fail(request, STATUS_DATA_ERROR, CAUSE_WRONG_FORMAT, "gzip: compression method %u at byte %zu; only 8, deflate, is known",
             data[2], base + 2);
        return 0;
    }
    if (size > 3 && data[3] & GZIP_RESERVED) {
        fail(request, STATUS_DATA_ERROR, CAUSE_WRONG_FORMAT, "gzip: reserved flags are set at byte %zu: 0x%02x",
             base + 3, data[3]);
        return 0;
    }
    if (size < 10)
        return truncated(request, size ? "the gzip header" : "the gzip header: it is empty", base + size);
    size_t position = 10;
    if (data[3] & GZIP_EXTRA) {
        if (size - position < 2 || size - position - 2 < (size_t)(data[10] | data[11] << 8))
            return truncated(request, "the gzip header's extra field", base + size);
        position += 2 + (size_t)(data[10] | data[11] << 8);
    }
    if (data[3] & GZIP_NAME && !(position = skip_text(data, size, position)))
        return truncated(request, "the gzip header's file name", base + size);
    if (data[3] & GZIP_COMMENT && !(position = skip_text(data, size, position)))
        return truncated(request, "the gzip header's comment", base + size);
    if (data[3] & GZIP_HCRC) {
        if (size - position < 2)
            return truncated(request, "the gzip header's CRC", base + size);
        unsigned stored = data[position] | data[position + 1] << 8;
        unsigned real = check_crc32(0, data, position) & 0xffff;
        if (stored != real) {
            fail(request, STATUS_CHECKSUM_FAILED, CAUSE_CHECKSUM, "CRC-16 of the gzip header: it is 0x%04x, byte %zu says 0x%04x",
                 real, base + position, stored);
            return 0;
        }
        position += 2;
    }
    return position;
}

/* RFC 1950, section 2.2: DICTID is the Adler-32 of the dictionary. */
static size_t preset_dictionary(struct request *request, const uint8_t *data, size_t size, size_t base)
{
    const struct dictionary *dictionary = &request->dictionary;
    if (!dictionary->data)
        fail(request, STATUS_DATA_ERROR, CAUSE_DICTIONARY, "zlib: a preset dictionary is needed (byte %zu), and none was given",
             base + 1);
    else if (size < 6)
        truncated(request, "the zlib header's dictionary identifier", base + size);
    else {
        uint32_t wanted = (uint32_t)data[2] << 24 | (uint32_t)data[3] << 16 | (uint32_t)data[4] << 8 | data[5];
        uint32_t given = check_adler32(1, dictionary->data, dictionary->size);
        if (wanted == given)
            return 6;
        fail(request, STATUS_DATA_ERROR, CAUSE_DICTIONARY, "zlib: the dictionary's Adler-32 is 0x%08x, byte %zu asks for 0x%08x",
             given, base + 2, wanted);
    }
    return 0;
}

static size_t read_zlib_header(struct request *request, const uint8_t *data, size_t size, size_t base)
{
    if (size && (data[0] & 15) != 8)
        fail(request, STATUS_DATA_ERROR, CAUSE_WRONG_FORMAT, "zlib: compression method %u at byte %zu; only 8, deflate, is known",
             data[0] & 15, base);
    else if (size && data[0] >> 4 > 7)
        fail(request, STATUS_DATA_ERROR, CAUSE_WRONG_FORMAT, "zlib: window of 2**%u bytes at byte %zu; 2**15 is the largest",
             (data[0] >> 4) + 8, base);
    else if (size < 2)
        truncated(request, size ? "the zlib header" : "the zlib header: it is empty", base + size);
    else if ((data[0] << 8 | data[1]) % 31)
        fail(request, STATUS_DATA_ERROR, CAUSE_WRONG_FORMAT, "not zlib: the header check of %02x %02x at byte %zu fails",
             data[0], data[1], base);
    else if (data[1] & 0x20)
        return preset_dictionary(request, data, size, base);
    else
        return 2;
    return 0;
}

size_t read_header(struct request *request, enum format format, const uint8_t *data, size_t size, size_t base)
{
    if (format == FORMAT_GZIP)
        return read_gzip_header(request, data, size, base);
    return format == FORMAT_ZLIB ? read_zlib_header(request, data, size, base) : 0;
}

/* ---- bits ---------------------------------------------------------------------------------------------------- */

struct walk {
    struct request *request;
    const uint8_t *data;
    size_t size;
    size_t next;   /* byte that goes into `hold` next */
    uint64_t hold; /* bits taken from `data`, not yet used */
    unsigned held;
    size_t base;
    uint64_t made;
    const char *inside;
    bool wrong;
};

static void wrong(struct walk *walk, const char *what)
{
    size_t bits = walk->next * 8 - walk->held;
    if (!walk->wrong)
        fail(walk->request, STATUS_DATA_ERROR, CAUSE_CORRUPT, "%s, at byte %zu bit %zu", what, walk->base + bits / 8,
             bits % 8);
    walk->wrong = true;
}

static void ends_too_soon(struct walk *walk)
{
    if (!walk->wrong)
        truncated(walk->request, walk->inside, walk->base + walk->size);
    walk->wrong = true;
}

static inline void fill(struct walk *walk)
{
    for (; walk->held <= 56 && walk->next < walk->size; walk->held += 8)
        walk->hold |= (uint64_t)walk->data[walk->next++] << walk->held;
}

static inline void drop(struct walk *walk, unsigned count)
{
    walk->hold >>= count;
    walk->held -= count;
}

static unsigned take(struct walk *walk, unsigned count)
{
    if (walk->held < count)
        fill(walk);
    if (walk->held < count) {
        ends_too_soon(walk);
        return 0;
    }
    unsigned value = (unsigned)(walk->hold & ((1u << count) - 1));
    drop(walk, count);
    return value;
}

/* ---- prefix codes (RFC 1951, 3.2.2) -------------------------------------------------------------------------- */

enum { MAX_BITS = 15, LITERALS = 288, DISTANCES = 32, LENGTH_CODES = 19, END_OF_BLOCK = 256 };

struct code {
    uint16_t count[MAX_BITS + 1]; /* codes of each length */
    unsigned longest;             /* 0: there are none */
    uint16_t symbols[LITERALS];   /* in the order of their codes */
};

/* How many codes of the longest length are left over; negative: there are too many. */
static int build(struct code *code, const uint8_t *lengths, unsigned count)
{
    uint16_t next[MAX_BITS + 2] = {0};
    int left = 1;
    memset(code->count, 0, sizeof code->count);
    for (unsigned i = 0; i < count; i++)
        code->count[lengths[i]]++;
    code->longest = 0;
    for (unsigned i = 1; i <= MAX_BITS; i++) {
        if (code->count[i])
            code->longest = i;
        left = left * 2 - code->count[i];
        if (left < 0)
            return left;
        next[i + 1] = (uint16_t)(next[i] + code->count[i]);
    }
    for (unsigned i = 0; i < count; i++)
        if (lengths[i])
            code->symbols[next[lengths[i]]++] = (uint16_t)i;
    return left;
}

/* The next symbol, or -1: no code begins like this. */
static int decode(struct walk *walk, const struct code *code)
{
    int bits = 0, first = 0, index = 0;
    if (walk->held < MAX_BITS)
        fill(walk);
    for (unsigned length = 1; length <= code->longest; length++) {
        if (length > walk->held) {
            ends_too_soon(walk);
            return -1;
        }
        bits |= (int)(walk->hold >> (length - 1) & 1);
        if (bits - first < code->count[length]) {
            drop(walk, length);
            return code->symbols[index + bits - first];
        }
        index += code->count[length];
        first = (first + code->count[length]) << 1;
        bits <<= 1;
    }
    return -1;
}

/* A code may be incomplete only if it is a single one, of one bit. */
static bool incomplete(const struct code *code, int left)
{
    unsigned codes = 0;
    for (unsigned i = 1; i <= MAX_BITS; i++)
        codes += code->count[i];
    return left > 0 && codes && !(codes == 1 && code->count[1] == 1);
}

/* ---- blocks (RFC 1951, 3.2.3 to 3.2.7) ----------------------------------------------------------------------- */

static void stored_block(struct walk *walk)
{
    walk->inside = "the header of a stored block";
    drop(walk, walk->held % 8);
    unsigned length = take(walk, 16), inverse = take(walk, 16);
    if (walk->wrong)
        return;
    if (length != (~inverse & 0xffff)) {
        wrong(walk, "the length of a stored block and its complement do not agree");
        return;
    }
    walk->next -= walk->held / 8;
    walk->hold = walk->held = 0;
    walk->inside = "a stored block";
    if (walk->size - walk->next < length)
        ends_too_soon(walk);
    else
        walk->next += length;
    walk->made += length;
}

static void compressed_data(struct walk *walk, const struct code *literals, const struct code *distances)
{
    static const uint16_t LENGTH[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                      31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    static const uint16_t DISTANCE[] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,    65,    97,    129,
                                        193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    walk->inside = "compressed data";
    while (!walk->wrong) {
        int symbol = decode(walk, literals);
        if (symbol < 0) {
            wrong(walk, "no literal or length has this code");
        } else if (symbol < END_OF_BLOCK) {
            walk->made++;
        } else if (symbol == END_OF_BLOCK) {
            return;
        } else if (symbol > 285) {
            wrong(walk, "a length symbol that is reserved (286 or 287)");
        } else {
            unsigned index = (unsigned)symbol - 257;
            unsigned length = LENGTH[index] + (index < 8 || index == 28 ? 0 : take(walk, index / 4 - 1));
            int far = decode(walk, distances);
            if (far < 0)
                wrong(walk, "no distance has this code");
            else if (far > 29)
                wrong(walk, "a distance symbol that is reserved (30 or 31)");
            else if (DISTANCE[far] + (far < 4 ? 0 : take(walk, (unsigned)far / 2 - 1)) > walk->made)
                wrong(walk, "a distance that goes back before the beginning of the output");
            walk->made += length;
        }
    }
}

static void fixed_block(struct walk *walk)
{
    struct code literals, distances;
    uint8_t lengths[LITERALS];
    memset(lengths, 8, 144);
    memset(lengths + 144, 9, 112);
    memset(lengths + 256, 7, 24);
    memset(lengths + 280, 8, 8);
    build(&literals, lengths, LITERALS);
    memset(lengths, 5, DISTANCES);
    build(&distances, lengths, DISTANCES);
    compressed_data(walk, &literals, &distances);
}

/* The lengths of the literal and distance codes, themselves compressed. */
static void code_lengths(struct walk *walk, const struct code *code, uint8_t *lengths, unsigned count)
{
    walk->inside = "the code lengths of a block";
    for (unsigned i = 0; i < count && !walk->wrong;) {
        int symbol = decode(walk, code);
        uint8_t value = 0;
        unsigned times = 1;
        if (symbol < 0) {
            wrong(walk, "no code length has this code");
        } else if (symbol < 16) {
            value = (uint8_t)symbol;
        } else if (symbol == 16) {
            if (!i)
                wrong(walk, "a repeated code length with none before it");
            else
                value = lengths[i - 1];
            times = 3 + take(walk, 2);
        } else {
            times = symbol == 17 ? 3 + take(walk, 3) : 11 + take(walk, 7);
        }
        if (times > count - i)
            wrong(walk, "a repeated code length that runs past the last code");
        for (; times && i < count; times--)
            lengths[i++] = value;
    }
}

static void check_codes(struct walk *walk, const uint8_t *lengths, unsigned literal_count, unsigned distance_count,
                        struct code *literals, struct code *distances)
{
    if (walk->wrong)
        return;
    if (!lengths[END_OF_BLOCK])
        wrong(walk, "a block without a code for its end");
    int left = build(literals, lengths, literal_count);
    if (left < 0)
        wrong(walk, "more literal and length codes than their lengths leave room for");
    else if (incomplete(literals, left))
        wrong(walk, "literal and length codes that leave some codes unused");
    left = build(distances, lengths + literal_count, distance_count);
    if (left < 0)
        wrong(walk, "more distance codes than their lengths leave room for");
    else if (incomplete(distances, left))
        wrong(walk, "distance codes that leave some codes unused");
}

static void dynamic_block(struct walk *walk)
{
    static const uint8_t ORDER[LENGTH_CODES] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    struct code meta, literals, distances;
    uint8_t meta_lengths[LENGTH_CODES] = {0}, lengths[LITERALS + DISTANCES] = {0};
    walk->inside = "the header of a block";
    unsigned literal_count = 257 + take(walk, 5), distance_count = 1 + take(walk, 5), meta_count = 4 + take(walk, 4);
    if (literal_count > 286)
        wrong(walk, "more than 286 literal and length codes");
    if (distance_count > 30)
        wrong(walk, "more than 30 distance codes");
    for (unsigned i = 0; i < meta_count; i++)
        meta_lengths[ORDER[i]] = (uint8_t)take(walk, 3);
    if (walk->wrong)
        return;
    int left = build(&meta, meta_lengths, LENGTH_CODES);
    if (left < 0)
        wrong(walk, "more codes for code lengths than their lengths leave room for");
    else if (left > 0)
        wrong(walk, "codes for code lengths that leave some codes unused");
    code_lengths(walk, &meta, lengths, literal_count + distance_count);
    check_codes(walk, lengths, literal_count, distance_count, &literals, &distances);
    if (!walk->wrong)
        compressed_data(walk, &literals, &distances);
}

bool explain_deflate(struct request *request, const uint8_t *data, size_t size, size_t base)
{
    struct walk walk = {.request = request, .data = data, .size = size, .base = base};
    walk.made = request->dictionary.size; /* distances reach into it */
    bool last = false;
    while (!last && !walk.wrong && !must_stop(request)) {
        walk.inside = size ? "the header of a block" : "the deflate data: it is empty";
        last = take(&walk, 1);
        switch (take(&walk, 2)) {
        case 0:
            if (!walk.wrong)
                stored_block(&walk);
            break;
        case 1:
            fixed_block(&walk);
            break;
        case 2:
            dynamic_block(&walk);
            break;
        default:
            wrong(&walk, "a block of the reserved type 3");
        }
    }
    return walk.wrong;
}
