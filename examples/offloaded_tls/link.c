/*
 * A server's TLS with OpenSSL, where somebody else has the private key.
 *
 * OpenSSL computes the signature of a handshake deep inside SSL_do_handshake(), and expects it there and then. But it can run the
 * handshake as a job on a stack of its own (ASYNC_start_job(3)), and such a job can be left in the middle: with SSL_MODE_ASYNC
 * SSL_do_handshake() then returns SSL_ERROR_WANT_ASYNC, and called again, it goes on where the job was left. So the method that
 * signs (EVP_PKEY_meth_new(3)) notes what is to be signed, leaves, and when it comes back, the signature is there.
 *
 * The method is that of a key type and not of a key; keys that are not ours it hands to the usual one.
 */

#include <openssl/async.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "link.h"

enum state { QUIET, ASKED, ANSWERED, REFUSED };

struct link {
    SSL *ssl;
    BIO *in, *out;
    enum state state;
    struct asked asked;
    unsigned char answer[1024];
    size_t answer_length;
    int settled; /* the handshake is over, or has failed */
};

/* The connection whose handshake runs in this thread. The job runs in the same thread, on another stack. */
static __thread struct link *current;

static int ours = -1; /* where a key says that it is one of ours */
static int (*usual_rsa)(EVP_PKEY_CTX *, unsigned char *, size_t *, const unsigned char *, size_t);
static int (*usual_ec)(EVP_PKEY_CTX *, unsigned char *, size_t *, const unsigned char *, size_t);

static int ask(struct link *link, EVP_PKEY_CTX *context, int scheme, const unsigned char *digest, size_t length)
{
    const EVP_MD *hash;
    struct asked *asked = &link->asked;

    if (!ASYNC_get_current_job() || length > sizeof asked->digest || EVP_PKEY_CTX_get_signature_md(context, &hash) <= 0 || !hash)
        return 0;
    memset(asked, 0, sizeof *asked);
    asked->scheme = scheme;
    if (scheme != SCHEME_ECDSA) {
        int padding, salt = 0;
        if (EVP_PKEY_CTX_get_rsa_padding(context, &padding) <= 0)
            return 0;
        if (padding == RSA_PKCS1_PSS_PADDING) {
            if (EVP_PKEY_CTX_get_rsa_pss_saltlen(context, &salt) <= 0)
                return 0;
            asked->scheme = SCHEME_RSA_PSS;
            asked->salt_length = salt == RSA_PSS_SALTLEN_DIGEST ? (int)length : salt;
        } else if (padding != RSA_PKCS1_PADDING) {
            return 0;
        }
    }
    strncpy(asked->hash, EVP_MD_get0_name(hash), sizeof asked->hash - 1);
    memcpy(asked->digest, digest, length);
    asked->length = length;
    link->state = ASKED;
    while (link->state == ASKED)
        if (!ASYNC_pause_job())
            return 0;
    return link->state == ANSWERED;
}

static int sign(EVP_PKEY_CTX *context, int scheme, unsigned char *signature, size_t *length, const unsigned char *digest,
                size_t digest_length)
{
    size_t size = (size_t)EVP_PKEY_get_size(EVP_PKEY_CTX_get0_pkey(context));
    struct link *link = current;

    if (!signature) {
        *length = size;
        return 1;
    }
    if (!link || !ask(link, context, scheme, digest, digest_length) || link->answer_length > *length)
        return 0;
    memcpy(signature, link->answer, link->answer_length);
    *length = link->answer_length;
    link->state = QUIET;
    return 1;
}

static int is_ours(EVP_PKEY_CTX *context)
{
    EVP_PKEY *key = EVP_PKEY_CTX_get0_pkey(context);
    return key && EVP_PKEY_get_ex_data(key, ours);
}

static int sign_rsa(EVP_PKEY_CTX *context, unsigned char *signature, size_t *length, const unsigned char *digest, size_t size)
{
    return is_ours(context) ? sign(context, SCHEME_RSA_PKCS1, signature, length, digest, size)
                            : usual_rsa(context, signature, length, digest, size);
}

static int sign_ec(EVP_PKEY_CTX *context, unsigned char *signature, size_t *length, const unsigned char *digest, size_t size)
{
    return is_ours(context) ? sign(context, SCHEME_ECDSA, signature, length, digest, size)
                            : usual_ec(context, signature, length, digest, size);
}

typedef int signing(EVP_PKEY_CTX *, unsigned char *, size_t *, const unsigned char *, size_t);

static int install(int type, signing *method, signing **usual)
{
    const EVP_PKEY_METHOD *before = EVP_PKEY_meth_find(type);
    int (*begin)(EVP_PKEY_CTX *), id, flags;
    EVP_PKEY_METHOD *added;

    if (!before)
        return 0;
    EVP_PKEY_meth_get0_info(&id, &flags, before);
    if (!(added = EVP_PKEY_meth_new(type, flags)))
        return 0;
    EVP_PKEY_meth_copy(added, before);
    EVP_PKEY_meth_get_sign(before, &begin, usual);
    EVP_PKEY_meth_set_sign(added, begin, method);
    return EVP_PKEY_meth_add0(added);
}

/* Once a process. Only while Python's lock is held, so by one thread. */
static int install_once(void)
{
    if (ours >= 0)
        return 1;
    if (!ASYNC_is_capable() || !install(EVP_PKEY_RSA, sign_rsa, &usual_rsa) || !install(EVP_PKEY_EC, sign_ec, &usual_ec))
        return 0;
    return (ours = EVP_PKEY_get_ex_new_index(0, NULL, NULL, NULL, NULL)) >= 0;
}

/* A key that stands for a private one: it has the certificate's public part only. */
static EVP_PKEY *stand_in(EVP_PKEY *public)
{
    EVP_PKEY *key = EVP_PKEY_new();
    int done = 0;

    if (!key)
        return NULL;
    if (EVP_PKEY_get_base_id(public) == EVP_PKEY_RSA) {
        RSA *rsa = EVP_PKEY_get1_RSA(public);
        done = rsa && EVP_PKEY_assign_RSA(key, rsa);
    } else if (EVP_PKEY_get_base_id(public) == EVP_PKEY_EC) {
        EC_KEY *ec = EVP_PKEY_get1_EC_KEY(public);
        done = ec && EVP_PKEY_assign_EC_KEY(key, ec);
    }
    if (done && EVP_PKEY_set_ex_data(key, ours, &ours))
        return key;
    EVP_PKEY_free(key);
    return NULL;
}

static int choose_protocol(SSL *ssl, const unsigned char **chosen, unsigned char *chosen_length, const unsigned char *offered,
                           unsigned length, void *unused)
{
    static const unsigned char http[] = "\x08http/1.1";

    (void)ssl, (void)unused;
    return SSL_select_next_proto((unsigned char **)chosen, chosen_length, http, sizeof http - 1, offered, length) ==
                   OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_NOACK;
}

SSL_CTX *settings_new(const char *chain_file)
{
    SSL_CTX *settings;
    EVP_PKEY *key = NULL;
    X509 *certificate;

    if (!install_once() || !(settings = SSL_CTX_new(TLS_server_method())))
        return NULL;
    SSL_CTX_set_mode(settings, SSL_MODE_ASYNC | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(settings, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_alpn_select_cb(settings, choose_protocol, NULL);
    /* No RSA key exchange: the key signs, and does nothing else. */
    if (SSL_CTX_set_min_proto_version(settings, TLS1_2_VERSION) && SSL_CTX_set_cipher_list(settings, "ECDHE+AESGCM:ECDHE+CHACHA20") &&
        SSL_CTX_use_certificate_chain_file(settings, chain_file) == 1 && (certificate = SSL_CTX_get0_certificate(settings)) &&
        (key = stand_in(X509_get0_pubkey(certificate))) && SSL_CTX_use_PrivateKey(settings, key) == 1) {
        EVP_PKEY_free(key);
        return settings;
    }
    EVP_PKEY_free(key);
    SSL_CTX_free(settings);
    return NULL;
}

void settings_free(SSL_CTX *settings)
{
    SSL_CTX_free(settings);
}

struct link *link_new(SSL_CTX *settings)
{
    struct link *link = calloc(1, sizeof *link);

    if (!link || !(link->ssl = SSL_new(settings)) || !(link->in = BIO_new(BIO_s_mem())) || !(link->out = BIO_new(BIO_s_mem()))) {
        if (link) {
            BIO_free(link->in);
            SSL_free(link->ssl);
        }
        free(link);
        return NULL;
    }
    BIO_set_mem_eof_return(link->in, -1);
    SSL_set_bio(link->ssl, link->in, link->out); /* which belong to it now */
    SSL_set_accept_state(link->ssl);
    return link;
}

void link_free(struct link *link)
{
    if (link->state == ASKED) { /* a job that was left in the middle would be lost */
        link->state = REFUSED;
        link_handshake(link);
        ERR_clear_error();
    }
    SSL_free(link->ssl);
    OPENSSL_cleanse(link, sizeof *link);
    free(link);
}

int link_feed(struct link *link, const unsigned char *data, int length)
{
    return BIO_write(link->in, data, length) == length ? length : LINK_FAILED;
}

int link_drain(struct link *link, unsigned char *data, int room)
{
    int count = BIO_read(link->out, data, room);
    return count > 0 ? count : 0;
}

size_t link_pending(struct link *link)
{
    return BIO_ctrl_pending(link->out);
}

int link_handshake(struct link *link)
{
    int result;

    if (link->settled)
        return link->settled;
    if (link->state == ASKED)
        return LINK_ASKS;
    ERR_clear_error();
    current = link;
    result = SSL_do_handshake(link->ssl);
    current = NULL;
    if (result == 1) {
        SSL_clear_mode(link->ssl, SSL_MODE_ASYNC); /* nothing is signed any more */
        return link->settled = LINK_DONE;
    }
    switch (SSL_get_error(link->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return LINK_WANTS;
    case SSL_ERROR_WANT_ASYNC:
        return LINK_ASKS;
    default:
        return link->settled = LINK_FAILED;
    }
}

const struct asked *link_asked(struct link *link)
{
    return link->state == ASKED ? &link->asked : NULL;
}

int link_answer(struct link *link, const unsigned char *signature, size_t length)
{
    if (link->state != ASKED || length > sizeof link->answer)
        return 0;
    link->state = signature ? ANSWERED : REFUSED;
    if (signature)
        memcpy(link->answer, signature, length);
    link->answer_length = length;
    return 1;
}

static int outcome(struct link *link, int result)
{
    if (result > 0)
        return result;
    switch (SSL_get_error(link->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return LINK_WANTS;
    case SSL_ERROR_ZERO_RETURN:
        return LINK_ENDED;
    default:
        return LINK_FAILED;
    }
}

int link_read(struct link *link, unsigned char *data, int room)
{
    ERR_clear_error();
    return outcome(link, SSL_read(link->ssl, data, room));
}

int link_write(struct link *link, const unsigned char *data, int length)
{
    ERR_clear_error();
    return outcome(link, SSL_write(link->ssl, data, length));
}

void link_end(struct link *link)
{
    ERR_clear_error();
    if (link->settled == LINK_DONE)
        SSL_shutdown(link->ssl);
    ERR_clear_error();
}

const char *link_version(struct link *link)
{
    return SSL_get_version(link->ssl);
}

void link_complaint(char *text, size_t room)
{
    unsigned long error = ERR_get_error();
    const char *reason = error ? ERR_reason_error_string(error) : NULL;

    strncpy(text, reason ? reason : "no reason given", room - 1);
    text[room - 1] = 0;
    ERR_clear_error();
}
