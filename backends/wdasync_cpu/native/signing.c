/* Signatures by OpenSSL: RSA with PKCS #1 v1.5 or PSS (RFC 8017), and ECDSA in DER (RFC 3279). They are made by the threads that work
 * for Python, without the interpreter's lock. What OpenSSL cannot do goes to Python, which has another library for it, and words.
 *
 * OpenSSL locks what it shares: what it has found out about algorithms, and what belongs to a key. So all of it is done inside the gate, and
 * fork() waits for a signature; but not for a long message to be read. What is signed is not looked at there: it may be gone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "forkgate.h"

/* Bytes between two looks at whether to stop. */
enum { PIECE = 1 << 20 };

void *signing_key(const uint8_t *der, size_t size)
{
    gate_enter();
    void *key = openssl->key_read(NULL, &der, (long)size);
    if (!key)
        openssl->forget_errors();
    gate_leave();
    return key;
}

void forget_signing_key(void *key)
{
    gate_enter();
    openssl->key_free(key);
    gate_leave();
}

/* The key that they hold is let go. */
void forget_signing(struct kit *kit)
{
    if (!kit->signing && !kit->signing_context)
        return;
    gate_enter();
    if (kit->signing)
        openssl->digest_free(kit->signing);
    if (kit->signing_context)
        openssl->context_free(kit->signing_context);
    gate_leave();
    kit->signing = kit->signing_context = NULL;
}

static bool pad(void *context, const struct signing *signing)
{
    char salt[12];
    if (signing->padding == PADDING_NONE)
        return true;
    if (openssl->context_control(context, "rsa_padding_mode", signing->padding == PADDING_PSS ? "pss" : "pkcs1") <= 0)
        return false;
    if (signing->padding == PADDING_PKCS1)
        return true;
    snprintf(salt, sizeof salt, "%d", signing->salt);
    return openssl->context_control(context, "rsa_pss_saltlen", salt) > 0;
}

/* Room for a signature of `size` bytes at most. */
static bool make_room(struct request *request, size_t size)
{
    return (request->out = malloc(size)) != NULL;
}

static bool sign_digest(struct kit *kit, struct request *request, size_t *size)
{
    const struct signing *signing = &request->signing;
    const struct segment *input = request->segments;
    uint8_t digest[DIGEST_MOST];
    if (input->size > sizeof digest)
        return false;
    memcpy(digest, input->data, input->size);
    gate_enter();
    void *context = kit->signing_context = openssl->context_new(signing->key, NULL);
    bool good = context && openssl->sign_begin(context) > 0 && pad(context, signing)
                && openssl->context_control(context, "digest", digest_name(signing->digest)) > 0
                && openssl->sign(context, NULL, size, digest, input->size) > 0 && make_room(request, *size)
                && openssl->sign(context, request->out, size, digest, input->size) > 0;
    gate_leave();
    return good;
}

static bool begin_message(struct kit *kit, const struct signing *signing)
{
    void *context = NULL;
    gate_enter();
    const void *kind = openssl->digest_by_name(digest_name(signing->digest));
    void *state = kit->signing = kind ? openssl->digest_new() : NULL;
    bool good = state && openssl->message_begin(state, &context, kind, NULL, signing->key) > 0 && pad(context, signing);
    gate_leave();
    return good;
}

/* All segments. False: OpenSSL could not, or the request has failed. */
static bool feed(void *state, struct request *request)
{
    for (uint32_t i = 0; i < request->count; i++) {
        const struct segment *segment = &request->segments[i];
        for (size_t at = 0; at < segment->size; at += PIECE) {
            size_t size = segment->size - at < PIECE ? segment->size - at : PIECE;
            if (must_stop(request)) {
                fail_stopped(request);
                return false;
            }
            if (!openssl->digest_add(state, segment->data + at, size))
                return false;
        }
    }
    return true;
}

static bool end_message(struct kit *kit, struct request *request, size_t *size)
{
    gate_enter();
    bool good = openssl->message_end(kit->signing, NULL, size) > 0 && make_room(request, *size)
                && openssl->message_end(kit->signing, request->out, size) > 0;
    gate_leave();
    return good;
}

static bool sign_message(struct kit *kit, struct request *request, size_t *size)
{
    return begin_message(kit, &request->signing) && feed(kit->signing, request) && end_message(kit, request, size);
}

static void forget_errors(void)
{
    gate_enter();
    openssl->forget_errors(); /* hashlib looks for its own there */
    gate_leave();
}

void run_signing(struct kit *kit, struct request *request)
{
    size_t size = 0;
    bool good = request->signing.hashed ? sign_digest(kit, request, &size) : sign_message(kit, request, &size);
    if (good) {
        request->produced = size;
        for (uint32_t i = 0; i < request->count; i++)
            request->consumed += request->segments[i].size;
    } else {
        forget_errors();
        free(request->out);
        request->out = NULL;
        if (request->status == STATUS_SUCCESS)
            fail(request, STATUS_DEVICE_ERROR, CAUSE_NONE, "%s", "");
    }
    forget_signing(kit);
}
