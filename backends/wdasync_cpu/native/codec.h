/* What workers run. A *kit* is the codec state that a worker keeps from one operation to the next. */
#ifndef WDASYNC_CODEC_H
#define WDASYNC_CODEC_H

#include "library.h"
#include "request.h"

enum { DEFLATE_STATES = 6, LIBDEFLATE_LEVELS = 13, ISAL_LEVELS = 4 };

struct deflate_state {
    struct z_state z;
    int level, window_bits;
    bool ready;
    struct z_gzip_header header;
};

struct brotli_encoder {
    void *state, *prepared; /* the dictionary */
};

struct zstd_encoder {
    void *context;
    struct dictionary prefix; /* of the next frame */
    bool ended;               /* its last frame, and nothing came after it */
    int error;
};

enum lz4_stage { LZ4_CLOSED, LZ4_OPEN, LZ4_FLUSHED, LZ4_BETWEEN, LZ4_ENDED };

struct lz4_encoder {
    void *context;
    void *dictionary;
    struct lz4_preferences preferences;
    enum lz4_stage stage;
    uint8_t *staged; /* output for which there was no room */
    size_t staged_at, staged_size, staged_room;
    size_t lacking; /* bytes of memory that could not be had */
};

struct frame_decoder {
    enum format format;
    void *zstd, *lz4;
    struct dictionary dictionary;
    bool fresh;   /* a frame of Zstandard begins, and wants its prefix */
    bool starved; /* it wants input before it can do anything */
    bool inside;  /* of a frame of LZ4 */
};

struct kit {
    struct deflate_state deflate[DEFLATE_STATES];
    unsigned next_deflate;
    struct z_state inflate; /* raw */
    bool inflate_ready;
    void *compressors[LIBDEFLATE_LEVELS];
    void *decompressor;
    struct isal_stream *isal;
    uint8_t *isal_buffer;
    struct brotli_encoder brotli_encoder; /* while it is used */
    void *brotli_decoder;                 /* so too */
    const struct dictionary *dictionary;  /* of the unit that is inflated */
    void *lz4_states[2];                  /* for blocks: quick, thorough */
    void *lz4_streams[2];                 /* so too, while they are used */
    struct zstd_encoder zstd;
    struct lz4_encoder lz4;
    struct frame_decoder frames;
    void *digests[DIGESTS];        /* OpenSSL's */
    struct ipsec_manager *manager; /* of digests that are made together */
    void *ciphers[SEALS]; /* OpenSSL's */
    struct ipsec_context gcm; /* of a sealing, while it is made by IPsec-MB */
    uint8_t *text;        /* of a sealing, until it is known to be good */
    size_t text_size;
    bool text_lent; /* it is somebody else's */
    void *signing;         /* OpenSSL's state of a signature, while it is made */
    void *signing_context; /* so too, of a digest's */
    uint8_t *joined;
    size_t joined_room;
};

void *kit_new(void);
void kit_free(struct kit *kit);

/* Run a request to its end: everything from `status` on is filled. */
void run_request(void *kit, struct request *request);

/* Several requests, for all of which may_batch() is true; or one, of any kind. */
void run_requests(void *kit, struct request *const *requests, unsigned count);

/* One, with an input whose pages come when they are touched. */
void run_paged(void *kit, struct request *const *requests, unsigned count);

/* Whether the output lies in what was offered. */
bool is_direct(const struct request *request);

/* Nobody wants the output, or has it already. */
void drop_output(struct request *request);

/* Output that grows, or that has a fixed place. What grows is the request's `out` as well, all the time. It begins in
   what was offered, if that is room enough to begin with, and leaves it if that proves to be too much or too little. */
struct sink {
    struct request *request;
    uint8_t *data;
    size_t size;
    size_t room;
    size_t limit; /* it never gets more room than this */
    bool fixed;
};

void sink_begin(struct sink *sink, struct request *request, size_t room, uint64_t limit);
bool sink_grow(struct sink *sink, size_t at_least); /* false: limit reached (room == limit), or no memory */
uint8_t *sink_at(struct sink *sink, size_t position);
void sink_end(struct sink *sink, struct request *request);

/* Ends the request with a message; what it made is no use. */
void fail(struct request *request, enum status status, enum cause cause, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void fail_memory(struct request *request, size_t size);
void fail_stopped(struct request *request);
bool must_stop(const struct request *request);

static inline uint32_t little_endian(const uint8_t *data)
{
    return data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
}

/* How long an output will be: see foretold.c. */
#define NOT_TOLD SIZE_MAX

/* What compressed data tell of their content, if it may be believed. */
size_t told_length(enum format format, const uint8_t *data, size_t size);

/* By what is known before; `readable`: the input's memory is there. */
size_t foretold_output(const struct request *request, bool readable);

/* The whole input in one piece: its only segment, or a copy that the kit keeps. NULL: no memory. */
const uint8_t *joined_input(struct kit *kit, struct request *request, size_t *size);

/* For a codec that takes its input in one go: the pages come before, one after another. False: the request has failed. */
bool touch_input(struct request *request);

void run_compress(struct kit *kit, struct request *request);
void run_decompress(struct kit *kit, struct request *request);
void run_brotli_decompress(struct kit *kit, struct request *request);

/* A compressing stream of any engine. */
struct encoder {
    enum engine engine;
    struct z_state *z;
    struct isal_stream *isal;
    struct brotli_encoder *brotli;
    struct zstd_encoder *zstd;
    struct lz4_encoder *lz4;
};

/* What came of one step of an encoder. COMPLETE: all input was taken, and what the flush asks for was written. */
enum progress { GOING, COMPLETE, BROKEN };

/* Feeds all segments of the request; `flush` after the last. False: the request has failed. */
bool encode(struct encoder *encoder, struct request *request, struct sink *sink, enum flush flush);

/* Sets up `z` for a plan, whose window may be of any size. */
bool deflate_begin(struct deflate_state *state, int level, enum format format, int window);
void isal_begin(struct isal_stream *stream, uint8_t *buffer, int level, enum format format);
bool deflate_use(struct deflate_state *state, const struct dictionary *dictionary); /* after begin or reset */
bool brotli_begin(struct brotli_encoder *encoder, const struct request *request, uint64_t size_hint);
void brotli_forget(struct brotli_encoder *encoder);

/* What is wrong with deflate data that a codec refused? Walks it without making output, bit by bit, and says what and
   where in `request`. `base` is where `data` lies in the whole input. False: it found nothing wrong. */
bool explain_deflate(struct request *request, const uint8_t *data, size_t size, size_t base);

/* Parses the wrapper of a unit. The header's length, or 0: the request has failed. */
size_t read_header(struct request *request, enum format format, const uint8_t *data, size_t size, size_t base);

/* Blocks of LZ4: see lz4block.c. */
void run_block_compress(struct kit *kit, struct request *request);
void run_block_decompress(struct kit *kit, struct request *request);
void forget_blocks(struct kit *kit);

/* The length of a block's content, which the block does not tell. -1: the request has failed. */
int64_t measure_block(struct request *request, const uint8_t *data, size_t size);

/* Copy, fill, compare, checksums: see memory.c. */
void run_memory(struct request *request);

/* CRC-32C as those in library.h; plainly: without the processor's instruction for it. */
uint32_t check_crc32c(uint32_t value, const uint8_t *data, size_t size, bool plainly);

/* Digests: see digest.c. */
enum { DIGEST_MOST = 64 }; /* room for any */
void run_digest(struct kit *kit, struct request *request);
size_t digest_bytes(struct kit *kit, enum digest digest, struct segment data, uint8_t *output); /* its size; 0: OpenSSL could not */
void forget_digests(struct kit *kit);
const char *digest_name(enum digest digest);              /* OpenSSL's */
bool can_batch(enum digest digest);                       /* whether a library was found that makes several at once */
void set_batches(enum digest digest, unsigned least);     /* from so many on it is quicker; 0: it never is */
bool may_batch(const struct request *request);            /* whether it may wait in LANE_BATCH */

/* Makes several digests at once, whether that is quicker or not; what it leaves undone is not marked as `batched`. */
void digest_together(void *kit, struct request *const *requests, unsigned count);

/* Makes several digests at once, if that is quicker: those whose `batched` is set are done then. False: memory of one of
   them was not there, and the kit is in the middle of something. */
bool run_digests(struct kit *kit, struct request *const *requests, unsigned count);

/* Ciphers with authentication: see sealing.c, and gcm.h for those who make them. */
size_t seal_key_size(uint8_t format);
bool expand_secret(struct secret *secret); /* for IPsec-MB. False: there is none, no memory, or not on this processor */
void forget_secret(struct secret *secret); /* wipes and frees it */
bool can_seal(const struct secret *secret, const struct sealing *sealing, uint8_t format); /* it is an ordinary case */
void run_sealing(struct kit *kit, struct request *request);
/* The same into memory for all of the output. False: it is not as it should be, and `output` is to be wiped. */
bool seal_bytes(struct kit *kit, const struct plan *plan, const struct sealing *sealing, struct segment data, uint8_t *output);
void forget_sealing(struct kit *kit);

/* Signatures: see signing.c. If OpenSSL cannot make one, that is a DEVICE_ERROR without words. Several threads may sign with one key. */
void *signing_key(const uint8_t *der, size_t size); /* PKCS #8; NULL: OpenSSL cannot read it */
void forget_signing_key(void *key);                 /* wipes it, when nothing signs with it any more */
void run_signing(struct kit *kit, struct request *request);
void forget_signing(struct kit *kit);

/* Sequences: see chain.c. */
bool only_looks(const struct request *step); /* it hands its input on */
void run_chain(struct kit *kit, struct request *request);

/* Sessions: see session.c. `dictionary` is copied. */
struct session *session_new(const struct plan *plan, const void *owner, const struct dictionary *dictionary);
void session_reset(struct session *session);
void session_break(struct session *session); /* its codec was left in the middle of something */
void session_close(struct session *session);
void session_free(struct session *session);
const struct plan *session_plan(const struct session *session);
const void *session_owner(const struct session *session);
bool session_closed(const struct session *session);
bool *session_busy(struct session *session); /* the owner's mark that an operation is in flight */
void run_session(struct request *request);

#endif
