/* AES-GCM by Intel's IPsec-MB, with keys that were expanded when they were told to the device: that takes longer than a short message.
 *
 * The library has these functions in its managers, and none of them takes one. So one manager is asked for them, once a process, and what
 * they work with is in the kit and the key: they lock nothing, and no fork() has to wait for them (forkgate.h).
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "gcm.h"

static struct ipsec_gcm gcm;
static bool able;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Without the processor's instructions for AES the library has tables, which tell the key to who watches the caches. */
static void look(void)
{
    struct ipsec_manager *manager = ipsec_manager_new();
    if (!manager)
        return;
    able = (manager->features & IPSEC_AESNI) && !(manager->features & IPSEC_AESNI_EMULATED);
    gcm = manager->gcm;
    ipsec_mb->manager_free(manager);
}

bool expand_secret(struct secret *secret)
{
    if (!ipsec_mb || pthread_once(&once, look) || !able || secret->format >= SEALS
        || secret->size != seal_key_size(secret->format))
        return false;
    secret->expanded = aligned_alloc(_Alignof(struct ipsec_key), sizeof(struct ipsec_key));
    if (secret->expanded)
        gcm.expand[secret->format](secret->bytes, secret->expanded);
    return secret->expanded;
}

void forget_secret(struct secret *secret)
{
    if (secret->expanded)
        explicit_bzero(secret->expanded, sizeof *secret->expanded);
    free(secret->expanded);
    explicit_bzero(secret, sizeof *secret);
    free(secret);
}

/* In a time that does not tell where they differ. */
static bool is_same(const uint8_t *one, const uint8_t *other)
{
    uint8_t differences = 0;
    for (int i = 0; i < SEAL_TAG; i++)
        differences |= one[i] ^ other[i];
    return !differences;
}

/* The tag of a text that somebody else made is not for him, and so is not left anywhere. */
static bool compare(struct request *request, uint8_t *right, const uint8_t *tag)
{
    bool same = is_same(right, tag);
    explicit_bzero(right, SEAL_TAG);
    return same || gcm_refuse(request);
}

static bool begin(struct kit *kit, struct request *request, bool seal)
{
    const struct sealing *sealing = &request->sealing;
    (void)seal;
    gcm.begin[request->plan->format](sealing->secret->expanded, &kit->gcm, sealing->nonce.data, sealing->aad.data,
                                     sealing->aad.size);
    return true;
}

static bool add(struct kit *kit, const struct request *request, bool seal, const uint8_t *data, size_t size, uint8_t *out)
{
    ipsec_add *const function = (seal ? gcm.seal_add : gcm.open_add)[request->plan->format];
    function(request->sealing.secret->expanded, &kit->gcm, out, data, size);
    return true;
}

static bool end(struct kit *kit, struct request *request, bool seal, uint8_t *tag)
{
    const struct ipsec_key *key = request->sealing.secret->expanded;
    uint8_t format = request->plan->format, right[SEAL_TAG];
    if (seal) {
        gcm.seal_end[format](key, &kit->gcm, tag, SEAL_TAG);
        return true;
    }
    gcm.open_end[format](key, &kit->gcm, right, SEAL_TAG);
    return compare(request, right, tag);
}

static bool whole(struct kit *kit, struct request *request, bool seal, const uint8_t *data, size_t size, uint8_t *out,
                  uint8_t *tag)
{
    const struct sealing *sealing = &request->sealing;
    uint8_t format = request->plan->format, right[SEAL_TAG];
    ipsec_whole *const function = (seal ? gcm.seal : gcm.open)[format];
    function(sealing->secret->expanded, &kit->gcm, out, data, size, sealing->nonce.data, sealing->aad.data,
             sealing->aad.size, seal ? tag : right, SEAL_TAG);
    return seal || compare(request, right, tag);
}

static void forget(struct kit *kit, const struct request *request)
{
    (void)request;
    explicit_bzero(&kit->gcm, sizeof kit->gcm); /* a block of the key stream is in it */
}

const struct gcm_way gcm_ipsec = {begin, add, end, whole, forget};
