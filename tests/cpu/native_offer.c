/* Output in memory that was offered for it, by the C side without Python. A mistake is an error of the address sanitizer, too: what
 * is offered lies in the middle of a block, so it cannot be freed.
 *
 * Exits with 0, or with 1 and a line that says what was not as expected. "no OpenSSL" or "no zlib": there is none to be called.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "codec.h"
#include "guard.h"

const char *library_bind(const char *name, const char *const *files);

enum { SIZE = 5000, BEFORE = 64, NOISE = 0xa5 };

static const char *story;
static void *kit;
static uint8_t *block, *offer; /* of SIZE bytes, and one more */
static uint8_t text[SIZE + 1000];

static void expect(bool good, const char *what)
{
    if (good)
        return;
    printf("%s: expected %s\n", story, what);
    exit(1);
}

static void begin(const char *what)
{
    story = what;
    free(block);
    block = malloc(BEFORE + SIZE + 1);
    offer = block + BEFORE;
    memset(block, NOISE, BEFORE + SIZE + 1);
}

static struct request offered(const struct plan *plan, const struct segment *segments, uint32_t count)
{
    return (struct request){.plan = plan, .kind = plan->kind, .segments = segments, .count = count, .max_members = 100,
                            .max_length = 1 << 20, .offer = offer, .offered = SIZE};
}

static bool all(uint8_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (offer[i] != value)
            return false;
    return true;
}

/* ---- the sink ------------------------------------------------------------------------------------------------ */

static struct plan plain = {.kind = KIND_DECOMPRESS};

/* So many bytes in pieces, as a codec writes that uses all the room that it has. */
static void pour(struct request *request, size_t room, size_t size, enum status status)
{
    struct sink sink;
    sink_begin(&sink, request, room, request->max_length);
    while (sink.size < size) {
        if (sink.size == sink.room)
            expect(sink_grow(&sink, 0), "room");
        size_t piece = sink.room - sink.size, left = size - sink.size;
        memset(sink_at(&sink, sink.size), 1, piece);
        piece = piece < left ? piece : left;
        memcpy(sink_at(&sink, sink.size), text + sink.size, piece);
        sink.size += piece;
    }
    if (status != STATUS_SUCCESS)
        fail(request, status, CAUSE_NONE, "no use");
    sink_end(&sink, request);
}

static void check_sink(const char *what, size_t room, size_t size, enum status status)
{
    begin(what);
    struct request request = offered(&plain, NULL, 0);
    pour(&request, room, size, status);
    bool good = status == STATUS_SUCCESS;
    expect(is_direct(&request) == (good && size == SIZE && room <= SIZE + 1), "the offer to be taken if it fits");
    expect(request.produced == (good ? size : 0), "all to be produced, or nothing");
    expect(good ? !memcmp(request.out ? request.out : text, text, size) : !request.out, "the output, or none");
    expect(!is_direct(&request) || !offer[SIZE], "a 0 behind it");
    drop_output(&request);
    expect(!request.out, "nothing to be left");
}

static void check_sinks(void)
{
    check_sink("it fits", SIZE + 1, SIZE, STATUS_SUCCESS);
    check_sink("it fits, and less room is asked for", 1000, SIZE, STATUS_SUCCESS);
    check_sink("more room is asked for", SIZE + 2, SIZE, STATUS_SUCCESS);
    check_sink("one byte less", SIZE + 1, SIZE - 1, STATUS_SUCCESS);
    check_sink("one byte more", SIZE + 1, SIZE + 1, STATUS_SUCCESS);
    check_sink("two bytes more", SIZE + 1, SIZE + 2, STATUS_SUCCESS);
    check_sink("much more", SIZE + 1, SIZE + 1000, STATUS_SUCCESS);
    check_sink("one byte", SIZE + 1, 1, STATUS_SUCCESS);
    check_sink("nothing", SIZE + 1, 0, STATUS_SUCCESS);
    check_sink("it fits, and fails", SIZE + 1, SIZE, STATUS_DATA_ERROR);
    check_sink("more, and fails", SIZE + 1, SIZE + 1000, STATUS_DATA_ERROR);
    check_sink("nothing, and fails", SIZE + 1, 0, STATUS_DATA_ERROR);
    begin("a bound");
    struct request request = offered(&plain, NULL, 0);
    request.max_length = SIZE;
    struct sink sink;
    sink_begin(&sink, &request, SIZE + 1, request.max_length);
    expect(sink.room == SIZE && !sink_grow(&sink, 0), "no byte beyond it");
    sink_end(&sink, &request);
    begin("memory of the caller's");
    request = offered(&plain, NULL, 0);
    uint8_t own[8];
    request.into = true;
    request.out = own;
    request.room = sizeof own;
    pour(&request, 1, sizeof own, STATUS_SUCCESS);
    expect(request.out == own && all(NOISE, SIZE), "the offer to be left alone");
}

/* ---- sealing ------------------------------------------------------------------------------------------------- */

static const struct secret secret = {.format = SEAL_AES_256_GCM, .size = 32};
static const uint8_t nonce[SEAL_NONCE];
static struct plan seal = {.kind = KIND_SEAL, .format = SEAL_AES_256_GCM, .engine = ENGINE_SEAL},
                   open_ = {.kind = KIND_OPEN, .format = SEAL_AES_256_GCM, .engine = ENGINE_SEAL},
                   digest = {.kind = KIND_DIGEST, .format = DIGEST_SHA256, .engine = ENGINE_DIGEST},
                   other_digest = {.kind = KIND_DIGEST, .format = DIGEST_SHA512, .engine = ENGINE_DIGEST};
static uint8_t sealed[SIZE + SEAL_TAG];

static struct request sealing(struct plan *plan, const struct segment *segments, uint32_t count)
{
    struct request request = offered(plan, segments, count);
    request.sealing = (struct sealing){.secret = &secret, .nonce = {nonce, sizeof nonce}, .tag_size = SEAL_TAG};
    return request;
}

static void check_sealing(void)
{
    begin("sealing");
    struct segment input = {text, SIZE - SEAL_TAG};
    struct request request = sealing(&seal, &input, 1);
    run_request(kit, &request);
    expect(request.status == STATUS_SUCCESS && is_direct(&request) && request.produced == SIZE, "the offer to be taken");
    expect(foretold_output(&request, false) == SIZE, "its length to be told");
    input.size = SIZE;
    request = sealing(&seal, &input, 1);
    run_request(kit, &request);
    expect(request.status == STATUS_SUCCESS && !is_direct(&request) && request.produced == SIZE + SEAL_TAG, "memory of another length");
    memcpy(sealed, request.out, sizeof sealed);
    drop_output(&request);
    begin("opening");
    input = (struct segment){sealed, sizeof sealed};
    request = sealing(&open_, &input, 1);
    run_request(kit, &request);
    expect(request.status == STATUS_SUCCESS && is_direct(&request) && !memcmp(offer, text, SIZE), "the text in the offer");
    expect(foretold_output(&request, false) == SIZE, "its length to be told");
    expect(offer[SIZE] == NOISE, "nothing to be written behind it");
}

static void refused(const char *what, struct request *request, enum status status)
{
    story = what;
    run_request(kit, request);
    expect(request->status == status, "it to fail");
    expect(!request->out && !request->produced, "no output");
    expect(all(0, SIZE), "no text in the offer");
    expect(offer[SIZE] == NOISE, "nothing behind it to be wiped");
}

/* Text goes nowhere before it is known to be right. */
static void check_wiping(void)
{
    atomic_bool stop = true;
    struct segment input[2] = {{sealed, sizeof sealed}};
    begin("");
    struct request request = sealing(&open_, input, 1);
    sealed[SIZE + 3] ^= 1;
    refused("another tag", &request, STATUS_CHECKSUM_FAILED);
    sealed[SIZE + 3] ^= 1;
    begin("");
    request = sealing(&open_, input, 1);
    request.stop = &stop;
    refused("stopped", &request, STATUS_ABORTED);
    begin("");
    long page = sysconf(_SC_PAGESIZE);
    int file = memfd_create("gone", 0);
    uint8_t *memory = file < 0 || ftruncate(file, page) ? MAP_FAILED : mmap(NULL, (size_t)page, PROT_READ, MAP_SHARED, file, 0);
    expect(memory != MAP_FAILED && !ftruncate(file, 0), "a file that is truncated");
    input[0].size = SIZE - 100;
    input[1] = (struct segment){memory, 100 + SEAL_TAG};
    request = sealing(&open_, input, 2);
    refused("memory that goes away in the middle", &request, STATUS_PAGE_FAULT);
    munmap(memory, (size_t)page);
    close(file);
    input[0].size = sizeof sealed;
    request = sealing(&open_, input, 1);
    run_request(kit, &request);
    expect(request.status == STATUS_SUCCESS && is_direct(&request), "the next one to be done");
}

/* ---- sequences ----------------------------------------------------------------------------------------------- */

static struct plan chain_plan = {.kind = KIND_SEQUENCE, .engine = ENGINE_CHAIN};

static void *no_digest(void)
{
    return NULL;
}

static void end_chain(struct request *steps, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        free(steps[i].out); /* as whoever has the chain does it */
}

static void check_chain(void)
{
    struct segment input = {sealed, sizeof sealed}, text_input = {text, SIZE - 2 * SEAL_TAG};
    begin("a sequence");
    struct request steps[3] = {sealing(&open_, &input, 1), {.plan = &digest, .kind = KIND_DIGEST}, {.plan = &digest, .kind = KIND_DIGEST}};
    struct chain chain = {.steps = steps, .count = 3};
    steps->offer = NULL;
    struct request request = offered(&chain_plan, &input, 1);
    request.chain = &chain;
    expect(foretold_output(&request, false) == SIZE, "its length to be told");
    run_request(kit, &request);
    expect(request.status == STATUS_SUCCESS && is_direct(&request) && !memcmp(offer, text, SIZE), "the text in the offer");
    end_chain(steps, 3);
    begin("a sequence whose last step fails");
    memset(steps, 0, sizeof steps);
    steps[0] = sealing(&open_, &input, 1);
    steps[1] = (struct request){.plan = &open_, .kind = KIND_OPEN};
    steps[1].sealing = steps[0].sealing;
    steps[0].offer = NULL;
    chain.count = 2;
    expect(foretold_output(&request, false) == SIZE - SEAL_TAG, "its length to be told");
    request = offered(&chain_plan, &input, 1);
    request.chain = &chain;
    request.offered = SIZE - SEAL_TAG;
    run_request(kit, &request);
    expect(request.status == STATUS_CHECKSUM_FAILED && !request.out && all(0, SIZE - SEAL_TAG), "nothing in the offer");
    end_chain(steps, 2);
    begin("a sequence that fails after its output was made");
    struct openssl without = *openssl;
    const struct openssl *with = openssl;
    without.digest_new = no_digest;
    openssl = &without;
    memset(steps, 0, sizeof steps);
    steps[0] = sealing(&open_, &input, 1);
    steps[1] = (struct request){.plan = &other_digest, .kind = KIND_DIGEST};
    steps[0].offer = NULL;
    request = offered(&chain_plan, &input, 1);
    request.chain = &chain;
    run_request(kit, &request);
    openssl = with;
    expect(request.status == STATUS_DEVICE_ERROR && !request.out && !steps[0].out, "no output");
    end_chain(steps, 2);
    begin("a sequence of two that make");
    memset(steps, 0, sizeof steps);
    steps[0] = sealing(&seal, &text_input, 1);
    steps[1] = sealing(&seal, NULL, 0);
    steps[0].offer = steps[1].offer = NULL;
    request = offered(&chain_plan, &text_input, 1);
    request.chain = &chain;
    expect(foretold_output(&request, false) == SIZE, "its length to be told");
    run_request(kit, &request);
    expect(request.status == STATUS_SUCCESS && is_direct(&request), "the offer to be taken");
    end_chain(steps, 2);
    steps[0].plan = &plain;
    steps[0].kind = KIND_COMPRESS;
    expect(foretold_output(&request, true) == NOT_TOLD, "nothing to be told of what a compressor makes");
}

/* ---- what is told -------------------------------------------------------------------------------------------- */

static struct plan gzip = {.kind = KIND_DECOMPRESS, .format = FORMAT_GZIP, .engine = ENGINE_ZLIB},
                   lz4_frame = {.kind = KIND_DECOMPRESS, .format = FORMAT_LZ4};

static void check_told(void)
{
    uint8_t data[400] = {[396] = 0x88, [397] = 0x13}; /* 5000 */
    struct segment pieces[2] = {{data, 400}, {data, 1}};
    story = "what a unit tells";
    struct request request = offered(&gzip, pieces, 1);
    expect(foretold_output(&request, true) == SIZE, "the length in its trailer");
    expect(foretold_output(&request, false) == NOT_TOLD, "nobody to look at memory that may go away");
    request.max_length = SIZE - 1;
    expect(foretold_output(&request, true) == NOT_TOLD, "nothing beyond max_length");
    request.max_length = SIZE;
    expect(foretold_output(&request, true) == SIZE, "the length in its trailer");
    request.count = 2;
    expect(foretold_output(&request, true) == NOT_TOLD, "nothing to be told by pieces");
    data[397] = 0x33;
    request.count = 1;
    request.max_length = 1 << 20;
    expect(foretold_output(&request, true) == NOT_TOLD, "more than 32 times the input not to be believed");
    pieces[0].size = 17;
    expect(foretold_output(&request, true) == NOT_TOLD, "too short a unit to tell nothing");
    pieces[0].size = 0;
    expect(foretold_output(&request, true) == NOT_TOLD, "no unit to tell nothing");
    pieces[0].size = 400;
    data[397] = 0x13;
    struct request steps[2] = {offered(&gzip, NULL, 0), offered(&gzip, NULL, 0)};
    struct chain chain = {.steps = steps, .count = 1};
    request.chain = &chain;
    expect(foretold_output(&request, true) == SIZE, "the length in the first step's input");
    chain.count = 2;
    expect(foretold_output(&request, true) == NOT_TOLD, "nobody to look at what the first step is yet to make");
    request.chain = NULL;
    uint8_t frame[400] = {4, 0x22, 0x4d, 0x18, 0x68, 0x40, 0x88, 0x13};
    pieces[0] = (struct segment){frame, 400};
    request.plan = &lz4_frame;
    expect(foretold_output(&request, true) == SIZE, "the length in its head");
    frame[4] = 0x60;
    expect(foretold_output(&request, true) == NOT_TOLD, "a head without a length to tell nothing");
    frame[4] = 0x68;
    pieces[0].size = 14;
    expect(foretold_output(&request, true) == NOT_TOLD, "half a head to tell nothing");
    pieces[0].size = 15;
    request.plan = &plain;
    expect(foretold_output(&request, true) == NOT_TOLD, "raw data to tell nothing");
}

int main(void)
{
    static const char *const zlib_files[] = {"libz.so.1", NULL}, *const openssl_files[] = {"libcrypto.so.3", NULL};
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i * 7 + i / 251);
    kit = kit_new();
    guard_install();
    check_sinks();
    if (library_bind("zlib", zlib_files)) {
        puts("no zlib");
        return 0;
    }
    check_told();
    if (library_bind("openssl", openssl_files)) {
        puts("no OpenSSL");
        return 0;
    }
    check_sealing();
    check_wiping();
    check_chain();
    kit_free(kit);
    free(block);
    puts("good");
    return 0;
}
