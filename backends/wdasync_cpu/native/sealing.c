/* AES-GCM (NIST SP 800-38D) by OpenSSL, in the ordinary case: a nonce of 12 bytes and a tag of 16. What is out of the ordinary
 * is for Python. A kit's cipher state gets a key for one operation, and another key, of zeros, after it.
 */
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "forkgate.h"

/* Bytes between two looks at whether to stop; OpenSSL counts in an int. */
enum { PIECE = 1 << 20 };

enum { SET_TAG = 0x11, GET_TAG = 0x10 }; /* EVP_CTRL_AEAD_ */

static const struct {
    const char *name; /* OpenSSL's */
    size_t key;
} CIPHER[SEALS] = {
    [SEAL_AES_128_GCM] = {"AES-128-GCM", 16},
    [SEAL_AES_192_GCM] = {"AES-192-GCM", 24},
    [SEAL_AES_256_GCM] = {"AES-256-GCM", 32},
};

bool can_seal(const struct secret *secret, const struct sealing *sealing, uint8_t format)
{
    return secret->format == format && format < SEALS && secret->size == CIPHER[format].key
           && sealing->nonce.size == SEAL_NONCE && sealing->tag_size == SEAL_TAG;
}

/* What must not be found by whoever gets this memory next. */
void forget_sealing(struct kit *kit)
{
    for (int i = 0; i < SEALS; i++)
        if (kit->ciphers[i])
            openssl->cipher_free(kit->ciphers[i]); /* wipes it */
    if (kit->text)
        explicit_bzero(kit->text, kit->text_size);
    free(kit->text);
}

static bool set_key(struct kit *kit, uint8_t format, const uint8_t *key, const uint8_t *nonce, bool seal)
{
    void **state = &kit->ciphers[format];
    if (*state)
        return openssl->cipher_begin(*state, NULL, NULL, key, nonce, seal);
    gate_enter(); /* OpenSSL looks for the algorithm, and locks what it looks at */
    const void *kind = openssl->cipher_by_name(CIPHER[format].name);
    *state = kind ? openssl->cipher_new() : NULL;
    bool good = *state && openssl->cipher_begin(*state, kind, NULL, key, nonce, seal);
    gate_leave();
    return good;
}

static void wipe_key(struct kit *kit, uint8_t format)
{
    static const uint8_t zeros[32];
    if (kit->ciphers[format] && !openssl->cipher_begin(kit->ciphers[format], NULL, NULL, zeros, zeros, true)) {
        openssl->cipher_free(kit->ciphers[format]);
        kit->ciphers[format] = NULL;
    }
}

/* Feeds `size` bytes; to no output they are associated data. False: OpenSSL could not, or the request has failed. */
static bool feed(void *state, struct request *request, const uint8_t *data, size_t size, uint8_t *out)
{
    int produced;
    for (size_t at = 0; at < size; at += PIECE) {
        size_t piece = size - at < PIECE ? size - at : PIECE;
        if (must_stop(request)) {
            fail_stopped(request);
            return false;
        }
        if (!openssl->cipher_add(state, out ? out + at : NULL, &produced, data + at, (int)piece))
            return false;
    }
    return true;
}

/* All segments, of which the first `size` bytes are text; what is behind them goes to `rest`. */
static bool feed_all(void *state, struct request *request, size_t size, uint8_t *out, uint8_t *rest)
{
    for (uint32_t i = 0; i < request->count; i++) {
        const struct segment *segment = &request->segments[i];
        size_t text = segment->size < size ? segment->size : size;
        if (!feed(state, request, segment->data, text, out))
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

/* An output of `size` bytes that lies in the kit. False: it could not be made, and why may be in the request. */
static bool transform(struct kit *kit, struct request *request, size_t text, bool seal)
{
    const struct sealing *sealing = &request->sealing;
    uint8_t format = request->plan->format, tag[SEAL_TAG];
    int produced;
    if (!set_key(kit, format, sealing->secret->bytes, sealing->nonce.data, seal))
        return false;
    void *state = kit->ciphers[format];
    if (!feed(state, request, sealing->aad.data, sealing->aad.size, NULL)
        || !feed_all(state, request, text, kit->text, tag))
        return false;
    if (seal)
        return openssl->cipher_end(state, kit->text + text, &produced)
               && openssl->cipher_control(state, GET_TAG, SEAL_TAG, kit->text + text);
    if (!openssl->cipher_control(state, SET_TAG, SEAL_TAG, tag))
        return false;
    if (!openssl->cipher_end(state, kit->text + text, &produced))
        fail(request, STATUS_CHECKSUM_FAILED, CAUSE_NONE, "%s", ""); /* no more is said */
    return request->status == STATUS_SUCCESS;
}

void run_sealing(struct kit *kit, struct request *request)
{
    bool seal = request->kind == KIND_SEAL;
    size_t total = 0;
    for (uint32_t i = 0; i < request->count; i++)
        total += request->segments[i].size;
    if (!seal && total < SEAL_TAG) {
        fail(request, STATUS_CHECKSUM_FAILED, CAUSE_NONE, "%s", "");
        return;
    }
    size_t text = seal ? total : total - SEAL_TAG, size = seal ? total + SEAL_TAG : text;
    kit->text_size = text + SEAL_TAG;
    if (!(kit->text = malloc(kit->text_size))) {
        fail_memory(request, kit->text_size);
        return;
    }
    if (transform(kit, request, text, seal))
        deliver(kit, request, size);
    else if (request->status == STATUS_SUCCESS)
        fail(request, STATUS_DEVICE_ERROR, CAUSE_NONE, "OpenSSL could not do it");
    wipe_key(kit, request->plan->format);
    if (kit->text) {
        explicit_bzero(kit->text, kit->text_size); /* unverified text, perhaps */
        free(kit->text);
        kit->text = NULL;
    }
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
    wipe_key(kit, plan->format);
    return good;
}
