/* AES-GCM by OpenSSL. A kit's cipher state gets a key for one message, and another key, of zeros, after it. */
#include "forkgate.h"
#include "gcm.h"

enum { SET_TAG = 0x11, GET_TAG = 0x10 }; /* EVP_CTRL_AEAD_ */

static const char *const NAMES[SEALS] = {
    [SEAL_AES_128_GCM] = "AES-128-GCM",
    [SEAL_AES_192_GCM] = "AES-192-GCM",
    [SEAL_AES_256_GCM] = "AES-256-GCM",
};

static bool set_key(struct kit *kit, uint8_t format, const uint8_t *key, const uint8_t *nonce, bool seal)
{
    void **state = &kit->ciphers[format];
    if (*state)
        return openssl->cipher_begin(*state, NULL, NULL, key, nonce, seal);
    gate_enter(); /* OpenSSL looks for the algorithm, and locks what it looks at */
    const void *kind = openssl->cipher_by_name(NAMES[format]);
    *state = kind ? openssl->cipher_new() : NULL;
    bool good = *state && openssl->cipher_begin(*state, kind, NULL, key, nonce, seal);
    gate_leave();
    return good;
}

static bool begin(struct kit *kit, struct request *request, bool seal)
{
    const struct sealing *sealing = &request->sealing;
    return set_key(kit, request->plan->format, sealing->secret->bytes, sealing->nonce.data, seal)
           && gcm_feed(&gcm_openssl, kit, request, seal, sealing->aad.data, sealing->aad.size, NULL);
}

static bool add(struct kit *kit, const struct request *request, bool seal, const uint8_t *data, size_t size, uint8_t *out)
{
    int produced;
    (void)seal;
    return openssl->cipher_add(kit->ciphers[request->plan->format], out, &produced, data, (int)size);
}

static bool end(struct kit *kit, struct request *request, bool seal, uint8_t *tag)
{
    void *state = kit->ciphers[request->plan->format];
    uint8_t nothing[1]; /* all text has come */
    int produced;
    if (seal)
        return openssl->cipher_end(state, nothing, &produced) && openssl->cipher_control(state, GET_TAG, SEAL_TAG, tag);
    if (!openssl->cipher_control(state, SET_TAG, SEAL_TAG, tag))
        return false;
    return openssl->cipher_end(state, nothing, &produced) || gcm_refuse(request);
}

static void forget(struct kit *kit, const struct request *request)
{
    static const uint8_t zeros[32];
    void **state = &kit->ciphers[request->plan->format];
    if (*state && !openssl->cipher_begin(*state, NULL, NULL, zeros, zeros, true)) {
        openssl->cipher_free(*state);
        *state = NULL;
    }
}

const struct gcm_way gcm_openssl = {begin, add, end, NULL, forget};
