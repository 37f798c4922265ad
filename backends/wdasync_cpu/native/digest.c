/* Digests: one after another by OpenSSL, or many at once by Intel's IPsec-MB, each in a lane of the processor's wide
 * registers. What a lane does takes longer than OpenSSL does, so only many together are worth it; how many that are is measured
 * where it runs, for each digest, and told to set_batches().
 */
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "forkgate.h"
#include "guard.h"

/* Bytes between two looks at whether to stop. */
enum { PIECE = 1 << 20 };

/* What a digest costs beside its data, in bytes of data: the block with its length, and the call. */
enum { FIXED = 128 };

static const struct {
    const char *name; /* OpenSSL's */
    uint8_t size;
    uint8_t job; /* of IPsec-MB; 0: it has none */
} DIGEST[DIGESTS] = {
    [DIGEST_MD5] = {"MD5", 16, 0},
    [DIGEST_SHA1] = {"SHA1", 20, IPSEC_SHA1},
    [DIGEST_SHA224] = {"SHA224", 28, IPSEC_SHA224},
    [DIGEST_SHA256] = {"SHA256", 32, IPSEC_SHA256},
    [DIGEST_SHA384] = {"SHA384", 48, IPSEC_SHA384},
    [DIGEST_SHA512] = {"SHA512", 64, IPSEC_SHA512},
    [DIGEST_SHA512_224] = {"SHA512-224", 28, 0},
    [DIGEST_SHA512_256] = {"SHA512-256", 32, 0},
    [DIGEST_SM3] = {"SM3", 32, 0},
};

/* So many of the same length are worth a batch; 0: none are. */
static _Atomic unsigned worth[DIGESTS];

const char *digest_name(enum digest digest)
{
    return DIGEST[digest].name;
}

bool can_batch(enum digest digest)
{
    return ipsec_mb && DIGEST[digest].job;
}

void set_batches(enum digest digest, unsigned least)
{
    atomic_store_explicit(&worth[digest], can_batch(digest) ? least : 0, memory_order_relaxed);
}

bool may_batch(const struct request *request)
{
    return request->plan->engine == ENGINE_DIGEST && request->count == 1 && !request->region && request->segments->size
           && request->segments->size <= BATCH_LONGEST
           && atomic_load_explicit(&worth[request->plan->format], memory_order_relaxed);
}

/* ---- one -------------------------------------------------------------------------------------------------------- */

static void deliver(struct request *request, const uint8_t *output)
{
    size_t size = DIGEST[request->plan->format].size;
    if (!(request->out = malloc(size))) {
        fail_memory(request, size);
        return;
    }
    memcpy(request->out, output, size);
    request->produced = size;
    for (uint32_t i = 0; i < request->count; i++)
        request->consumed += request->segments[i].size;
}

/* With this kind of digest; NULL: with the one that it has. NULL comes back if OpenSSL may not do it. */
static void *begun(void *state, const void *kind)
{
    if (state && !openssl->digest_begin(state, kind, NULL)) {
        openssl->digest_free(state);
        state = NULL;
    }
    return state;
}

/* OpenSSL looks for the algorithm, and locks what it looks at. */
static void *first(enum digest digest)
{
    gate_enter();
    const void *kind = openssl->digest_by_name(DIGEST[digest].name);
    void *state = kind ? begun(openssl->digest_new(), kind) : NULL;
    gate_leave();
    return state;
}

/* The kit's state for this digest, ready for data. NULL: OpenSSL has no memory, or may not do it. */
static void *begin(struct kit *kit, enum digest digest)
{
    void **state = &kit->digests[digest];
    *state = *state ? begun(*state, NULL) : first(digest);
    return *state;
}

void run_digest(struct kit *kit, struct request *request)
{
    uint8_t output[DIGEST_MOST];
    void *state = begin(kit, request->plan->format);
    bool good = state;
    for (uint32_t i = 0; good && i < request->count; i++) {
        const struct segment *segment = &request->segments[i];
        for (size_t at = 0; good && at < segment->size; at += PIECE) {
            if (must_stop(request)) {
                fail_stopped(request);
                return;
            }
            size_t size = segment->size - at < PIECE ? segment->size - at : PIECE;
            good = openssl->digest_add(state, segment->data + at, size);
        }
    }
    if (good && openssl->digest_end(state, output, NULL))
        deliver(request, output);
    else
        fail(request, STATUS_DEVICE_ERROR, CAUSE_NONE, "OpenSSL could not make the digest");
}

size_t digest_bytes(struct kit *kit, enum digest digest, struct segment data, uint8_t *output)
{
    void *state = begin(kit, digest);
    bool good = state && openssl->digest_add(state, data.data, data.size) && openssl->digest_end(state, output, NULL);
    return good ? DIGEST[digest].size : 0;
}

/* ---- many ------------------------------------------------------------------------------------------------------- */

/* NULL: no memory, or not on this processor. */
static struct ipsec_manager *manager_of(struct kit *kit)
{
    if (!kit->manager)
        kit->manager = ipsec_manager_new();
    return kit->manager;
}

void forget_digests(struct kit *kit)
{
    for (int i = 0; i < DIGESTS; i++)
        if (kit->digests[i])
            openssl->digest_free(kit->digests[i]);
    if (kit->manager)
        ipsec_mb->manager_free(kit->manager);
}

struct batch {
    uint8_t outputs[BATCH_MOST][DIGEST_MOST];
    bool done[BATCH_MOST];
};

static void note(struct batch *batch, const struct ipsec_job *job)
{
    if (job->status == IPSEC_COMPLETED)
        batch->done[(uintptr_t)job->user_data] = true;
}

static void submit(struct ipsec_manager *manager, struct batch *batch, const struct request *request, uintptr_t index)
{
    struct ipsec_job *job = manager->next(manager);
    job->source = request->segments->data;
    job->hash_offset = 0;
    job->hash_size = request->segments->size;
    job->tag = batch->outputs[index];
    job->tag_size = DIGEST[request->plan->format].size;
    job->cipher = IPSEC_NO_CIPHER;
    job->direction = IPSEC_ENCRYPT;
    job->order = IPSEC_HASH_FIRST;
    job->hash = DIGEST[request->plan->format].job;
    job->user_data = (void *)index;
    for (job = manager->submit(manager); job; job = manager->completed(manager))
        note(batch, job);
}

/* All in lanes. What the library leaves undone is not marked as done. */
void digest_together(void *all, struct request *const *requests, unsigned count)
{
    struct kit *kit = all;
    struct batch batch = {.done = {false}};
    struct ipsec_manager *manager = manager_of(kit);
    for (unsigned i = 0; manager && i < count; i++)
        submit(manager, &batch, requests[i], i);
    for (struct ipsec_job *job; manager && (job = manager->flush(manager));)
        note(&batch, job);
    for (unsigned i = 0; i < count; i++) {
        if (!batch.done[i])
            continue;
        deliver(requests[i], batch.outputs[i]);
        requests[i]->batched = true;
    }
}

/* A lane takes as long as the longest of its round, whatever the others do. */
static bool is_worth_it(struct request *const *requests, unsigned count)
{
    size_t total = 0, longest = 0;
    unsigned least = 0;
    for (unsigned i = 0; i < count; i++) {
        size_t size = requests[i]->segments->size + FIXED;
        unsigned wanted = atomic_load_explicit(&worth[requests[i]->plan->format], memory_order_relaxed);
        total += size;
        longest = size > longest ? size : longest;
        least = wanted > least ? wanted : least;
    }
    return total >= least * longest;
}

bool run_digests(struct kit *kit, struct request *const *requests, unsigned count)
{
    if (!is_worth_it(requests, count))
        return true;
    return guarded_all(digest_together, kit, requests, count);
}
