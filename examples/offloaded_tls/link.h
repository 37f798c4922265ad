/* TLS between two memory buffers, whose private key is elsewhere: see link.c. */

enum { LINK_FAILED = -2, LINK_ENDED = -1, LINK_WANTS = 0, LINK_DONE = 1, LINK_ASKS = 2 };

enum { SCHEME_RSA_PKCS1 = 1, SCHEME_RSA_PSS = 2, SCHEME_ECDSA = 3 };

/* What is to be signed. */
struct asked {
    int scheme;
    int salt_length; /* of PSS, in bytes */
    char hash[32];
    unsigned char digest[64];
    size_t length;
};

typedef struct ssl_ctx_st SSL_CTX;
struct link;

/* A server's settings; NULL on failure. The private key is not in them: only the certificate's public key is read. */
SSL_CTX *settings_new(const char *chain_file);
void settings_free(SSL_CTX *settings);

struct link *link_new(SSL_CTX *settings);
void link_free(struct link *link);

/* Ciphertext in and out; the number of bytes, or LINK_FAILED. */
int link_feed(struct link *link, const unsigned char *data, int length);
int link_drain(struct link *link, unsigned char *data, int room);
size_t link_pending(struct link *link);

/* One step of the handshake: LINK_DONE, LINK_WANTS ciphertext, LINK_ASKS for a signature, LINK_FAILED. */
int link_handshake(struct link *link);

/* While it asks: what for, and the answer; NULL: there will be none. Then the handshake goes on. */
const struct asked *link_asked(struct link *link);
int link_answer(struct link *link, const unsigned char *signature, size_t length);

/* Clear text; the number of bytes, LINK_WANTS ciphertext, LINK_ENDED by the peer, LINK_FAILED. */
int link_read(struct link *link, unsigned char *data, int room);
int link_write(struct link *link, const unsigned char *data, int length);
void link_end(struct link *link);

const char *link_version(struct link *link);

/* The oldest complaint of OpenSSL in this thread, which forgets them all. */
void link_complaint(char *text, size_t room);
