/* Any bytes for each decoder of the native workers: whole units, and streams in steps of any size. For libFuzzer, which
 * looks where they lead, or (with -DSTANDALONE) with a main of its own that changes cases of a corpus at random.
 *
 * A case is a format, how it is cut, bounds, whether there is a dictionary, and data. What must hold, whatever it is: nothing beyond the bounds is read or
 * written (the sanitizers look), no bound is passed, engines that accept something agree about what it means, and a
 * stream gives what the whole unit gives.
 *
 * Environment: FUZZ_ZLIB, FUZZ_LIBDEFLATE, FUZZ_BROTLI (two files, with a colon), FUZZ_ZSTD, FUZZ_LZ4: the libraries.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec.h"

enum { MOST_OUTPUT = 1 << 18, HEAD = 4, MOST_MEMBERS = 64 };

static const struct {
    const char *library;
    uint8_t engine;
    uint8_t formats[3];
    int count;
} ENGINES[] = {
    {"zlib", ENGINE_ZLIB, {FORMAT_DEFLATE, FORMAT_ZLIB, FORMAT_GZIP}, 3},
    {"libdeflate", ENGINE_LIBDEFLATE, {FORMAT_DEFLATE, FORMAT_ZLIB, FORMAT_GZIP}, 3},
    {"brotli", ENGINE_BROTLI, {FORMAT_BROTLI}, 1},
    {"zstd", ENGINE_ZSTD, {FORMAT_ZSTD}, 1},
    {"lz4", ENGINE_LZ4, {FORMAT_LZ4, FORMAT_LZ4_BLOCK}, 2},
};
enum { ENGINE_COUNT = sizeof ENGINES / sizeof *ENGINES, FORMAT_COUNT = FORMAT_LZ4_BLOCK + 1 };

static const uint8_t KNOWN[] = "line 1 of what is compressed\nline 2 of what is compressed\nwhat both sides know before";
static struct dictionary dictionary; /* of the case at hand */

static bool bound[ENGINE_COUNT];
static char *names[ENGINE_COUNT];
static void *kit;
static unsigned long accepted;

static const uint8_t *current; /* the case at hand */
static size_t current_size;

static _Noreturn void give_up(const char *what, const char *condition)
{
    fprintf(stderr, "%s (%s) in the case\n", what, condition);
    for (size_t i = 0; i < current_size; i++)
        fprintf(stderr, "%02x", current[i]);
    fprintf(stderr, "\n");
    abort();
}

#define MUST(condition, what)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            give_up(what, #condition);                                                                                 \
        }                                                                                                              \
    } while (0)

struct output {
    uint8_t *data;
    size_t size;
    bool good;
    char message[MESSAGE_SIZE];
};

static void set_up(void)
{
    for (int i = 0; i < ENGINE_COUNT; i++) {
        char variable[32] = "FUZZ_", *file;
        for (int at = 0; ENGINES[i].library[at]; at++)
            variable[5 + at] = (char)(ENGINES[i].library[at] & ~32);
        if (!(file = getenv(variable)))
            continue;
        char *one = names[i] = strdup(file), *other = strchr(one, ':');
        if (other)
            *other++ = 0;
        const char *files[] = {one, other, NULL};
        const char *problem = library_bind(ENGINES[i].library, files);
        if (problem) {
            fprintf(stderr, "%s: %s\n", variable, problem);
            exit(2);
        }
        bound[i] = true;
    }
    kit = kit_new();
}

static bool can(int engine, uint8_t format)
{
    if (!bound[engine])
        return false;
    for (int i = 0; i < ENGINES[engine].count; i++)
        if (ENGINES[engine].formats[i] == format)
            return true;
    return false;
}

/* A whole unit. `room` > 0: into a buffer of that size, else memory that grows up to the limit. */
static struct output at_once(uint8_t engine, uint8_t format, const uint8_t *data, size_t size, size_t limit, size_t room,
                             unsigned members)
{
    struct plan plan = {.kind = KIND_DECOMPRESS, .format = format, .engine = engine};
    size_t half = size / 2;
    struct segment segments[] = {{data, half}, {data + half, size - half}};
    struct request request = {
        .plan = &plan, .kind = KIND_DECOMPRESS, .segments = room % 2 ? segments : &(struct segment){data, size},
        .count = room % 2 ? 2 : 1, .max_members = members, .max_length = limit,
        .dictionary = dictionary, .into = room > 0, .room = room,
        .out = room ? malloc(room) : NULL,
    };
    struct output output = {0};
    run_request(kit, &request);
    MUST(request.consumed <= size, "more was consumed than there was");
    MUST(request.produced <= limit, "the bound was passed");
    MUST(!room || request.produced <= room, "the room was passed");
    output.good = request.status == STATUS_SUCCESS;
    MUST(output.good || request.message[0], "an error without words");
    output.data = request.out;
    output.size = request.produced;
    memcpy(output.message, request.message, sizeof output.message);
    return output;
}

/* A stream, in pieces of input and of output. False in `good`: it refused something. What it made is there until the
   next one. */
static struct output in_steps(uint8_t engine, uint8_t format, const uint8_t *data, size_t size, size_t piece, size_t step,
                              bool *ended)
{
    struct plan plan = {.kind = KIND_DECOMPRESS_CHUNK, .format = format, .engine = engine, .window = 15};
    struct session *session = session_new(&plan, NULL, &dictionary);
    static uint8_t made[MOST_OUTPUT];
    struct output output = {.data = made, .good = true};
    size_t at = 0, given = piece < size ? piece : size;
    unsigned idle = 0;
    *ended = false;
    MUST(session, "no memory");
    while (output.size < MOST_OUTPUT && idle < 3) {
        uint8_t *copy = malloc(given - at + 1); /* so that what is beyond its end is found */
        memcpy(copy, data + at, given - at);
        size_t room = step < MOST_OUTPUT - output.size ? step : MOST_OUTPUT - output.size;
        struct request request = {
            .plan = &plan, .kind = KIND_DECOMPRESS_CHUNK, .segments = &(struct segment){copy, given - at}, .count = 1,
            .max_members = MOST_MEMBERS, .max_length = room, .session = session,
        };
        run_request(kit, &request);
#ifdef FORGETFUL /* as a decoder that is wrong would have it, to see that it is found */
        request.produced -= request.produced > 1;
#endif
        free(copy);
        MUST(request.consumed <= given - at, "more was consumed than was given");
        if (request.status != STATUS_SUCCESS) {
            MUST(request.message[0], "an error without words");
            memcpy(output.message, request.message, sizeof output.message);
            free(request.out);
            output.good = false;
            break;
        }
        MUST(request.produced <= room, "the bound of a step was passed");
        if (request.produced)
            memcpy(output.data + output.size, request.out, request.produced);
        free(request.out);
        output.size += request.produced;
        at += request.consumed;
        idle = request.produced || request.consumed ? 0 : idle + 1;
        *ended = request.final;
        while (request.final && format == FORMAT_GZIP && at < given && !data[at]) {
            at++; /* padding, which the stream's user skips */
            idle = 0;
        }
        if (idle && given < size) {
            given = size - given < piece ? size : given + piece;
            idle = 0;
        }
    }
    *ended = *ended && at == size;
    session_reset(session);
    struct request again = {
        .plan = &plan, .kind = KIND_DECOMPRESS_CHUNK, .segments = &(struct segment){data, size}, .count = 1,
        .max_members = MOST_MEMBERS, .max_length = 64, .session = session,
    };
    run_request(kit, &again);
    free(again.out);
    session_close(session);
    session_free(session);
    return output;
}

static bool same(struct output one, struct output other)
{
    return one.size == other.size && (!one.size || !memcmp(one.data, other.data, one.size));
}

static void whole_and_stream(int engine, uint8_t format, const uint8_t *data, size_t size, size_t piece, size_t step,
                             struct output *first)
{
    struct output whole = at_once(ENGINES[engine].engine, format, data, size, MOST_OUTPUT, 0, MOST_MEMBERS);
    bool ended;
    struct output stream = whole;
    if (format != FORMAT_LZ4_BLOCK) /* which has no streams */
        stream = in_steps(ENGINES[engine].engine, format, data, size, piece, step, &ended);
    if (whole.good) {
        accepted++;
        /* libdeflate takes some codes that zlib refuses, where the check value is right: decision 18. libzstd, when it has all
           of a frame, takes distances that are longer than its window; when it has not, it refuses them. */
        uint8_t by = ENGINES[engine].engine;
        bool lenient = (by == ENGINE_LIBDEFLATE || by == ENGINE_ZSTD) && !stream.good;
        if (whole.size < MOST_OUTPUT && !lenient && !(stream.good && same(whole, stream))) {
            fprintf(stderr, "%s, format %u, in pieces of %zu and steps of %zu: %zu bytes at once, %zu in steps: %s\n",
                    ENGINES[engine].library, format, piece, step, whole.size, stream.size, stream.message);
            MUST(false, "a stream gives something else than the whole unit");
        }
        if (first->good)
            MUST(same(*first, whole), "two engines give different content");
        free(at_once(ENGINES[engine].engine, format, data, size, MOST_OUTPUT, whole.size + piece % 3, MOST_MEMBERS).data);
    }
    free(at_once(ENGINES[engine].engine, format, data, size, step, 1 + step % 512, 1 + (unsigned)piece % 3).data);
    if (whole.good && !first->good) {
        free(first->data);
        *first = whole;
    } else {
        free(whole.data);
    }
}

/* Raw data that is good gets the wrapper that belongs to it, which no chance would find. */
static void wrapped(const uint8_t *data, size_t size, size_t piece, size_t step)
{
    struct output plain = at_once(ENGINE_ZLIB, FORMAT_DEFLATE, data, size, MOST_OUTPUT, 0, 1);
    if (plain.good && plain.size < MOST_OUTPUT) {
        uint8_t *unit = malloc(size + 18);
        uint32_t crc = check_crc32(0, plain.data, plain.size), length = (uint32_t)plain.size;
        memcpy(unit, "\x1f\x8b\x08\0\0\0\0\0\0\3", 10);
        memcpy(unit + 10, data, size);
        for (int i = 0; i < 4; i++) {
            unit[10 + size + i] = (uint8_t)(crc >> 8 * i);
            unit[14 + size + i] = (uint8_t)(length >> 8 * i);
        }
        for (int engine = 0; engine < ENGINE_COUNT; engine++)
            if (can(engine, FORMAT_GZIP)) {
                struct output none = {0};
                whole_and_stream(engine, FORMAT_GZIP, unit, size + 18, piece, step, &none);
                if (ENGINES[engine].engine == ENGINE_ZLIB)
                    MUST(none.good && same(none, plain), "a good member is refused");
                free(none.data);
            }
        free(unit);
    }
    free(plain.data);
}

static void one_case(const uint8_t *data, size_t size)
{
    if (size < HEAD)
        return;
    current = data;
    current_size = size;
    uint8_t format = data[0] % FORMAT_COUNT;
    size_t piece = data[1] < 128 ? data[1] + 1u : 1u << 20;
    size_t step = data[2] < 128 ? 1 + data[2] * 3u : 1u << 18;
    struct output first = {0};
    bool known = data[3] & 2 && format != FORMAT_GZIP && format != FORMAT_BROTLI;
    dictionary = known ? (struct dictionary){KNOWN, sizeof KNOWN - 1, true} : (struct dictionary){0};
    for (int engine = 0; engine < ENGINE_COUNT; engine++)
        if (can(engine, format))
            whole_and_stream(engine, format, data + HEAD, size - HEAD, piece, step, &first);
    free(first.data);
    if (format == FORMAT_DEFLATE && bound[0] && (data[3] & 3) == 1)
        wrapped(data + HEAD, size - HEAD, piece, step);
}

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count, (void)arguments;
    set_up();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    one_case(data, size);
    return 0;
}

#ifdef STANDALONE

enum { LARGEST = 4096, CASES = 1 << 16 };

static struct {
    uint8_t *data;
    size_t size;
} corpus[CASES];
static unsigned known;
static uint64_t state;

static unsigned chance(unsigned below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)((state >> 16) % below);
}

static size_t change(uint8_t *data, size_t size)
{
    for (unsigned left = chance(6); left && size; left--) {
        size_t at = chance((unsigned)size), other = chance(known);
        switch (chance(6)) {
        case 0:
            data[at] ^= (uint8_t)(1u << chance(8));
            break;
        case 1:
            data[at] = (uint8_t)chance(256);
            break;
        case 2:
            size = at;
            break;
        case 3: /* the rest of another one */
            for (size_t i = at; i < LARGEST && i < corpus[other].size; size = ++i > size ? i : size)
                data[i] = corpus[other].data[i];
            break;
        case 4:
            for (size_t i = 0; i < 4 && at + i < size; i++)
                data[at + i] = (uint8_t)-chance(2);
            break;
        default: /* a part twice */
            for (size_t i = 0; i < chance(32) + 1 && size < LARGEST; i++, size++)
                data[size] = data[at + i];
        }
    }
    return size;
}

/* Arguments: a file with a case a line, in hexadecimal; how many; seed. */
int main(int count, char **arguments)
{
    static char line[2 * LARGEST + 2];
    static uint8_t data[LARGEST];
    FILE *file = count == 4 ? fopen(arguments[1], "r") : NULL;
    if (!file)
        return 2;
    set_up();
    while (known < CASES && fgets(line, sizeof line, file)) {
        size_t size = strlen(line) / 2;
        corpus[known].data = malloc(size + 1);
        for (size_t i = 0; i < size; i++)
            sscanf(line + 2 * i, "%2hhx", &corpus[known].data[i]);
        corpus[known++].size = size;
    }
    fclose(file);
    unsigned long cases = strtoul(arguments[2], NULL, 10), good;
    for (unsigned i = 0; i < known; i++)
        one_case(corpus[i].data, corpus[i].size);
    good = accepted;
    state = strtoull(arguments[3], NULL, 10) * 2654435769u + 88172645463325252u;
    for (unsigned long i = known; known && i < cases; i++) {
        unsigned from = chance(known);
        memcpy(data, corpus[from].data, corpus[from].size);
        uint8_t *exact;
        size_t size = change(data, corpus[from].size);
        exact = malloc(size + !size);
        memcpy(exact, data, size);
        one_case(exact, size);
        free(exact);
    }
    kit_free(kit);
    printf("%lu cases, %u of the corpus; accepted: %lu of the corpus, %lu of all\n", cases, known, good, accepted);
    return 0;
}

#endif
