/* What a worker is asked to do, and what came of it. Plain data, and no Python. */
#ifndef WDASYNC_REQUEST_H
#define WDASYNC_REQUEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values of wdasync.Kind; HAND_OVER is ours: the second trip of a large output. */
enum kind {
    KIND_NOP,
    KIND_COMPRESS,
    KIND_DECOMPRESS,
    KIND_COMPRESS_CHUNK,
    KIND_DECOMPRESS_CHUNK,
    KIND_COPY,
    KIND_FILL,
    KIND_COMPARE,
    KIND_CHECKSUM,
    KIND_DIGEST,
    KIND_DIGEST_CHUNK,
    KIND_MAC,
    KIND_ENCRYPT,
    KIND_DECRYPT,
    KIND_SEAL,
    KIND_OPEN,
    KIND_SIGN,
    KIND_VERIFY,
    KIND_PUBLIC_ENCRYPT,
    KIND_PRIVATE_DECRYPT,
    KIND_EXCHANGE,
    KIND_GENERATE,
    KIND_SEQUENCE,
    KIND_HAND_OVER
};

/* Values of wdasync.Status. */
enum status {
    STATUS_SUCCESS,
    STATUS_INVALID_ARGS,
    STATUS_INVALID_STATE,
    STATUS_OUT_OF_SPACE_TERMINATED,
    STATUS_OUT_OF_SPACE_RECOVERABLE,
    STATUS_CHECKSUM_FAILED,
    STATUS_DATA_ERROR,
    STATUS_PAGE_FAULT,
    STATUS_DEVICE_ERROR,
    STATUS_ABORTED
};

/* Positions of wdasync.DataCause in the order of its definition, from 1; 0 is "none". */
enum cause {
    CAUSE_NONE,
    CAUSE_CORRUPT,
    CAUSE_TRUNCATED,
    CAUSE_TRAILING_DATA,
    CAUSE_WRONG_FORMAT,
    CAUSE_CHECKSUM,
    CAUSE_DICTIONARY
};

enum format {
    FORMAT_DEFLATE,
    FORMAT_ZLIB,
    FORMAT_GZIP,
    FORMAT_BROTLI,
    FORMAT_ZSTD,
    FORMAT_LZ4,
    FORMAT_LZ4_BLOCK
};

/* What a plan of KIND_CHECKSUM has in place of a format. */
enum checksum { CHECKSUM_CRC32, CHECKSUM_CRC32C, CHECKSUM_ADLER32 };

/* What a plan of KIND_DIGEST has in place of a format. */
enum digest {
    DIGEST_MD5,
    DIGEST_SHA1,
    DIGEST_SHA224,
    DIGEST_SHA256,
    DIGEST_SHA384,
    DIGEST_SHA512,
    DIGEST_SHA512_224,
    DIGEST_SHA512_256,
    DIGEST_SM3,
    DIGESTS
};

/* What a plan of KIND_SEAL or KIND_OPEN has in place of a format. */
enum seal { SEAL_AES_128_GCM, SEAL_AES_192_GCM, SEAL_AES_256_GCM, SEALS };

enum engine {
    ENGINE_NONE,
    ENGINE_ZLIB,
    ENGINE_LIBDEFLATE,
    ENGINE_ISAL,
    ENGINE_BROTLI,
    ENGINE_PYTHON,
    ENGINE_ZSTD,
    ENGINE_LZ4,
    ENGINE_MEMORY,
    ENGINE_DIGEST,
    ENGINE_SEAL,
    ENGINE_CHAIN,
    ENGINE_SIGN
};

/* Values of wdasync.Flush. */
enum flush { FLUSH_NONE, FLUSH_SYNC, FLUSH_FULL, FLUSH_FINISH };

/* Which implementation does a (kind, algorithm, level, window). Made once, never freed; only `pace` changes. */
struct plan {
    uint8_t kind;
    uint8_t format;
    uint8_t engine;
    int8_t level;
    uint8_t window; /* base-2 logarithm; 0: as the level has it */
    bool mapped;    /* the level is not the one that was asked for */
    uint64_t fixed_ns;
    uint64_t ns_per_kib;
    int32_t otherwise; /* number of the plan for what is out of the ordinary; -1: there is none */
    _Atomic double pace; /* nanoseconds that lengthy work takes for each that was estimated, of late; 0: nobody knows */
};

struct segment {
    const uint8_t *data;
    size_t size;
};

/* What both sides know before. `data` is NULL if there is none. */
struct dictionary {
    const uint8_t *data;
    size_t size;
    bool raw; /* content, even where it begins like a trained dictionary of Zstandard */
};

struct ipsec_key;

/* A key, which threads share. Whoever frees it wipes it. */
struct secret {
    uint8_t format; /* an enum seal */
    uint8_t size;
    uint8_t bytes[32];
    struct ipsec_key *expanded; /* NULL: OpenSSL does with it what is done */
};

enum { SEAL_NONCE = 12, SEAL_TAG = 16, SEAL_LONGEST = 1 << 30 };

/* SEAL and OPEN: what there is beside the text. */
struct sealing {
    const struct secret *secret;
    struct segment nonce, aad;
    uint64_t tag_size;
};

enum padding { PADDING_NONE, PADDING_PKCS1, PADDING_PSS };

/* SIGN: with which key, and how. */
struct signing {
    void *key; /* OpenSSL's */
    uint8_t digest;
    uint8_t padding;
    bool hashed; /* the input is a digest */
    int salt;    /* bytes, of PSS */
};

struct session;
struct region;
struct chain;

enum { MESSAGE_SIZE = 160, NO_WORKER = 0xffff };

/* So many requests are done together at most, and bytes of the longest. */
enum { BATCH_MOST = 16, BATCH_LONGEST = 16 << 10 };

struct request {
    const struct plan *plan;
    uint8_t kind; /* of the plan, or HAND_OVER */
    uint8_t flush;
    bool into;    /* the output goes to memory of the caller's: `out`, `room` bytes */
    const struct segment *segments;
    uint32_t count;
    uint32_t others; /* COMPARE: so many segments more are the other input */
    uint32_t value;  /* FILL: the byte; CHECKSUM: of what came before */
    uint32_t max_members;
    uint64_t max_length;
    struct dictionary dictionary;
    struct sealing sealing;
    struct signing signing;
    struct session *session;
    struct chain *chain;     /* SEQUENCE: its steps */
    const atomic_bool *stop; /* somebody wants the queue to end: give up at the next piece */
    struct region *region;   /* of which the input is, if its pages come when they are touched; else NULL */
    uint8_t *offer; /* memory of the owner's, which the output may have if it has `offered` bytes; NULL: none. A byte
                       more is there, and 0 afterwards */
    size_t offered;

    uint8_t status;
    uint8_t cause;
    bool final;
    bool batched; /* done together with others */
    uint8_t crew;    /* of the worker */
    uint16_t worker; /* who ran it; NO_WORKER: nobody */
    uint8_t *out; /* from malloc, unless `into` or the offer */
    size_t room;
    size_t produced;
    size_t consumed;
    uint32_t faults; /* page faults taken for it */
    uint8_t *copy_to;   /* HAND_OVER: where `out` goes; afterwards `out` is freed */
    char message[MESSAGE_SIZE];
};

/* The steps of a sequence. The first has an input, and each has what it is to do. */
struct chain {
    struct request *steps;
    uint32_t count;
    uint32_t done; /* so many have ended well */
};

#endif
