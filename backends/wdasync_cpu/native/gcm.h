/* Ways to make AES-GCM: by OpenSSL, or by IPsec-MB with a key that was expanded before. Both do the same, a message at a time for
 * each kit, of the sealing that is in the request. What a way returns as false has not been done; the request says why if somebody
 * knows.
 */
#ifndef WDASYNC_GCM_H
#define WDASYNC_GCM_H

#include "codec.h"

/* Bytes between two looks at whether to stop; OpenSSL counts in an int. */
enum { GCM_PIECE = 1 << 20 };

struct gcm_way {
    /* A message begins; its associated data are read. */
    bool (*begin)(struct kit *kit, struct request *request, bool seal);
    /* A piece of it at most; associated data have no output. */
    bool (*add)(struct kit *kit, const struct request *request, bool seal, const uint8_t *data, size_t size, uint8_t *out);
    /* The tag: written, or compared with what should be there. */
    bool (*end)(struct kit *kit, struct request *request, bool seal, uint8_t *tag);
    /* All three for a message that is one piece. NULL: that is no quicker. */
    bool (*whole)(struct kit *kit, struct request *request, bool seal, const uint8_t *data, size_t size, uint8_t *out,
                  uint8_t *tag);
    /* After each message, however it ended, unless the whole kit is thrown away. */
    void (*forget)(struct kit *kit, const struct request *request);
};

extern const struct gcm_way gcm_openssl, gcm_ipsec;

/* Adds any number of bytes, and looks between pieces whether to stop. */
bool gcm_feed(const struct gcm_way *way, struct kit *kit, struct request *request, bool seal, const uint8_t *data, size_t size,
              uint8_t *out);

/* The tag is another. Ends the request; always false. */
bool gcm_refuse(struct request *request);

#endif
