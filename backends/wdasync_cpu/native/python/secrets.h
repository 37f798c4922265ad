/* What is read of the operations that have a key. */
#ifndef WDASYNC_PYTHON_SECRETS_H
#define WDASYNC_PYTHON_SECRETS_H

#include "pin.h"

extern const char SECRET[], SIGNER[];

/* Exact bytes only, whose memory is there and does not change. */
bool is_bytes(PyObject *object, struct segment *segment);

/* What there is beside the text and the key. False: it is nothing for a native worker. */
bool read_beside(struct pin *pin, struct sealing *sealing, PyObject *operation);

/* What a native worker cannot do, or what is wrong, goes another way. */
void read_sealing(struct pin *pin, struct request *request, PyObject *operation);

/* How a way to sign is told: see way_of() in crypto/signers.py. False: it is none. */
bool take_way(struct signing *signing, long way);

/* What OpenSSL cannot do, or what is wrong, goes another way. The key is one that was read for OpenSSL before, by a thread. */
void read_signing(struct pin *pin, struct request *request, PyObject *operation);

#endif
