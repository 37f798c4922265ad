/* Signatures by OpenSSL: RSA with PKCS #1 v1.5 or PSS (RFC 8017), and ECDSA in DER (RFC 3279). They are made by the threads that work
 * for Python, without the interpreter's lock. What OpenSSL cannot do goes to Python, which has another library for it, and words.
 */
#include <stdio.h>
#include <stdlib.h>

#include "codec.h"

/* Bytes between two looks at whether to stop. */
enum { PIECE = 1 << 20 };

/* The key that they hold is let go. */
void forget_signing(struct kit *kit)
{
    if (kit->signing)
        openssl->digest_free(kit->signing);
    if (kit->signing_context)
        openssl->context_free(kit->signing_context);
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
    void *context = kit->signing_context = openssl->context_new(signing->key, NULL);
    return context && openssl->sign_begin(context) > 0 && pad(context, signing)
           && openssl->context_control(context, "digest", digest_name(signing->digest)) > 0
           && openssl->sign(context, NULL, size, input->data, input->size) > 0 && make_room(request, *size)
           && openssl->sign(context, request->out, size, input->data, input->size) > 0;
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

static bool sign_message(struct kit *kit, struct request *request, size_t *size)
{
    const struct signing *signing = &request->signing;
    void *state = kit->signing = openssl->digest_new(), *context = NULL;
    const void *kind = openssl->digest_by_name(digest_name(signing->digest));
    return state && kind && openssl->message_begin(state, &context, kind, NULL, signing->key) > 0 && pad(context, signing)
           && feed(state, request) && openssl->message_end(state, NULL, size) > 0 && make_room(request, *size)
           && openssl->message_end(state, request->out, size) > 0;
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
        openssl->forget_errors(); /* hashlib looks for its own there */
        free(request->out);
        request->out = NULL;
        if (request->status == STATUS_SUCCESS)
            fail(request, STATUS_DEVICE_ERROR, CAUSE_NONE, "%s", "");
    }
    forget_signing(kit);
}
