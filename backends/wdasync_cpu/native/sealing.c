/* AES-GCM (NIST SP 800-38D) in the ordinary case: a nonce of 12 bytes and a tag of 16. What is out of the ordinary is for
 * Python. Who makes it depends on the key: see gcm.h.
 */
#include <stdlib.h>
#include <string.h>

#include "gcm.h"

size_t seal_key_size(uint8_t format)
{
    static const uint8_t SIZES[SEALS] = {[SEAL_AES_128_GCM] = 16, [SEAL_AES_192_GCM] = 24, [SEAL_AES_256_GCM] = 32};
    return SIZES[format];
}

bool can_seal(const struct secret *secret, const struct sealing *sealing, uint8_t format)
{
    return secret->format == format && format < SEALS && secret->size == seal_key_size(format)
           && sealing->nonce.size == SEAL_NONCE && sealing->tag_size == SEAL_TAG;
}

/* Text that is not known to be right, perhaps. */
static void forget_text(struct kit *kit)
{
    if (kit->text)
        explicit_bzero(kit->text, kit->text_size);
    if (!kit->text_lent)
        free(kit->text);
    kit->text = NULL;
}

/* Room for an output of `size` bytes: what was offered, which nobody else has before the request is done, or else memory of our own.
   False: there is none. */
static bool find_room(struct kit *kit, struct request *request, size_t size)
{
    kit->text_lent = request->offer && request->offered == size;
    kit->text_size = kit->text_lent ? size : size + SEAL_TAG;
    kit->text = kit->text_lent ? request->offer : malloc(kit->text_size);
    if (!kit->text)
        fail_memory(request, kit->text_size);
    return kit->text;
}

/* What must not be found by whoever gets this memory next, also after memory was gone in the middle of a message. */
void forget_sealing(struct kit *kit)
{
    for (int i = 0; i < SEALS; i++)
        if (kit->ciphers[i])
            openssl->cipher_free(kit->ciphers[i]); /* wipes it */
    explicit_bzero(&kit->gcm, sizeof kit->gcm);
    forget_text(kit);
}

/* IPsec-MB reads associated data in one go. */
static const struct gcm_way *way_of(const struct sealing *sealing)
{
    return sealing->secret->expanded && sealing->aad.size <= GCM_PIECE ? &gcm_ipsec : &gcm_openssl;
}

bool gcm_refuse(struct request *request)
{
    fail(request, STATUS_CHECKSUM_FAILED, CAUSE_NONE, "%s", ""); /* no more is said */
    return false;
}

static bool goes_on(struct request *request)
{
    if (!must_stop(request))
        return true;
    fail_stopped(request);
    return false;
}

bool gcm_feed(const struct gcm_way *way, struct kit *kit, struct request *request, bool seal, const uint8_t *data, size_t size,
              uint8_t *out)
{
    for (size_t at = 0; at < size; at += GCM_PIECE) {
        size_t piece = size - at < GCM_PIECE ? size - at : GCM_PIECE;
        if (!goes_on(request) || !way->add(kit, request, seal, data + at, piece, out ? out + at : NULL))
            return false;
    }
    return true;
}

/* All segments, of which the first `size` bytes are text; what is behind them goes to `rest`. */
static bool feed_all(const struct gcm_way *way, struct kit *kit, struct request *request, bool seal, size_t size, uint8_t *rest)
{
    uint8_t *out = kit->text;
    for (uint32_t i = 0; i < request->count; i++) {
        const struct segment *segment = &request->segments[i];
        size_t text = segment->size < size ? segment->size : size;
        if (!gcm_feed(way, kit, request, seal, segment->data, text, out))
            return false;
        out += text;
        size -= text;
        if (text < segment->size) {
            memcpy(rest, segment->data + text, segment->size - text);
            rest += segment->size - text;
        }
    }
    return true;
}

/* The output is whole: it goes where it is wanted. */
static void deliver(struct kit *kit, struct request *request, size_t size)
{
    if (!request->into) {
        request->out = kit->text;
        kit->text = NULL;
    } else if (request->room < size) {
        fail(request, STATUS_OUT_OF_SPACE_TERMINATED, CAUSE_NONE, "needs %zu bytes", size);
        return;
    } else {
        memcpy(request->out, kit->text, size);
    }
    request->produced = size;
    for (uint32_t i = 0; i < request->count; i++)
        request->consumed += request->segments[i].size;
}

/* So many bytes of text in one piece. */
static bool transform_one(const struct gcm_way *way, struct kit *kit, struct request *request, size_t text, bool seal)
{
    const uint8_t *data = request->segments->data;
    uint8_t tag[SEAL_TAG];
    if (!goes_on(request))
        return false;
    if (!seal)
        memcpy(tag, data + text, SEAL_TAG);
    return way->whole(kit, request, seal, data, text, kit->text, seal ? kit->text + text : tag);
}

static bool transform_all(const struct gcm_way *way, struct kit *kit, struct request *request, size_t text, bool seal)
{
    uint8_t tag[SEAL_TAG];
    return way->begin(kit, request, seal) && feed_all(way, kit, request, seal, text, tag)
           && way->end(kit, request, seal, seal ? kit->text + text : tag);
}

/* The output lies in the kit then, and none of the key. False: it could not be made, and why may be in the request. */
static bool transform(struct kit *kit, struct request *request, size_t text, bool seal)
{
    const struct gcm_way *way = way_of(&request->sealing);
    bool one = way->whole && request->count == 1 && text <= GCM_PIECE;
    bool good = (one ? transform_one : transform_all)(way, kit, request, text, seal);
    way->forget(kit, request);
    return good;
}

void run_sealing(struct kit *kit, struct request *request)
{
    bool seal = request->kind == KIND_SEAL;
    size_t total = 0;
    for (uint32_t i = 0; i < request->count; i++)
        total += request->segments[i].size;
    if (!seal && total < SEAL_TAG) {
        gcm_refuse(request);
        return;
    }
    size_t text = seal ? total : total - SEAL_TAG, size = seal ? total + SEAL_TAG : text;
    if (!find_room(kit, request, size))
        return;
    if (transform(kit, request, text, seal))
        deliver(kit, request, size);
    else if (request->status == STATUS_SUCCESS)
        fail(request, STATUS_DEVICE_ERROR, CAUSE_NONE, "OpenSSL could not do it");
    forget_text(kit);
}

bool seal_bytes(struct kit *kit, const struct plan *plan, const struct sealing *sealing, struct segment data, uint8_t *output)
{
    bool seal = plan->kind == KIND_SEAL;
    if (!can_seal(sealing->secret, sealing, plan->format) || (!seal && data.size < SEAL_TAG))
        return false;
    struct request request = {.plan = plan, .segments = &data, .count = 1, .sealing = *sealing};
    kit->text = output;
    bool good = transform(kit, &request, seal ? data.size : data.size - SEAL_TAG, seal);
    kit->text = NULL;
    return good;
}
