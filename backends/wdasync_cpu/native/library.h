/* The codec libraries, bound when they are first needed: a wheel that was built here works where they are missing, and
 * a machine that gets one later uses it without a rebuild.
 *
 * The declarations are of the stable interfaces: opaque pointers for libdeflate, Brotli, Zstandard and LZ4, zlib's `z_stream` (the same
 * since 1995), and of ISA-L 2.30 and later that part of `isal_zstream` which its callers set. Where a library's header
 * is there at build time, library.c makes the compiler compare the layouts.
 */
#ifndef WDASYNC_LIBRARY_H
#define WDASYNC_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- zlib ---------------------------------------------------------------------------------------------------- */

struct z_state {
    const uint8_t *next_in;
    unsigned avail_in;
    unsigned long total_in;
    uint8_t *next_out;
    unsigned avail_out;
    unsigned long total_out;
    const char *message;
    void *internal;
    void *(*allocate)(void *, unsigned, unsigned);
    void (*release)(void *, void *);
    void *opaque;
    int data_type;
    unsigned long check;
    unsigned long reserved;
};

struct z_gzip_header {
    int text;
    unsigned long time;
    int flags;
    int os;
    uint8_t *extra;
    unsigned extra_len, extra_max;
    uint8_t *name;
    unsigned name_max;
    uint8_t *comment;
    unsigned comment_max;
    int header_crc;
    int done;
};

enum { Z_NO_FLUSH_, Z_PARTIAL_FLUSH_, Z_SYNC_FLUSH_, Z_FULL_FLUSH_, Z_FINISH_ };
enum { Z_OK_ = 0, Z_STREAM_END_ = 1, Z_NEED_DICT_ = 2, Z_STREAM_ERROR_ = -2, Z_DATA_ERROR_ = -3, Z_MEM_ERROR_ = -4, Z_BUF_ERROR_ = -5 };

struct zlib {
    int (*deflate_init)(struct z_state *, int level, int method, int window_bits, int mem_level, int strategy,
                        const char *version, int size);
    int (*deflate)(struct z_state *, int flush);
    int (*deflate_reset)(struct z_state *);
    int (*deflate_end)(struct z_state *);
    int (*deflate_set_header)(struct z_state *, struct z_gzip_header *);
    int (*deflate_dictionary)(struct z_state *, const uint8_t *, unsigned);
    int (*inflate_dictionary)(struct z_state *, const uint8_t *, unsigned);
    int (*inflate_init)(struct z_state *, int window_bits, const char *version, int size);
    int (*inflate)(struct z_state *, int flush);
    int (*inflate_reset)(struct z_state *);
    int (*inflate_end)(struct z_state *);
    unsigned long (*crc32)(unsigned long, const uint8_t *, unsigned);
    unsigned long (*adler32)(unsigned long, const uint8_t *, unsigned);
    const char *(*version)(void);
};

/* ---- libdeflate ---------------------------------------------------------------------------------------------- */

typedef size_t deflate_compress(void *compressor, const void *in, size_t in_size, void *out, size_t room);
typedef size_t deflate_bound(void *compressor, size_t in_size);
enum { DEFLATE_SUCCESS_, DEFLATE_BAD_DATA_, DEFLATE_SHORT_OUTPUT_, DEFLATE_INSUFFICIENT_SPACE_ };

struct libdeflate {
    void *(*alloc_compressor)(int level);
    void (*free_compressor)(void *);
    deflate_compress *compress_deflate, *compress_zlib, *compress_gzip;
    deflate_bound *bound_deflate, *bound_zlib, *bound_gzip;
    void *(*alloc_decompressor)(void);
    void (*free_decompressor)(void *);
    int (*decompress)(void *, const void *in, size_t in_size, void *out, size_t room, size_t *consumed,
                      size_t *produced);
    uint32_t (*crc32)(uint32_t, const void *, size_t);
    uint32_t (*adler32)(uint32_t, const void *, size_t);
};

/* ---- ISA-L --------------------------------------------------------------------------------------------------- */

struct isal_stream {
    const uint8_t *next_in;
    uint32_t avail_in;
    uint32_t total_in;
    uint8_t *next_out;
    uint32_t avail_out;
    uint32_t total_out;
    void *tables;
    uint32_t level;
    uint32_t level_buffer_size;
    uint8_t *level_buffer;
    uint16_t end_of_stream;
    uint16_t flush;
    uint16_t wrapper;
    uint16_t history_bits;
    uint64_t internal[128 * 1024 / 8]; /* 84 KiB are used with a history of 32 KiB, the largest there is */
};

enum { ISAL_RAW = 0, ISAL_GZIP_ = 1, ISAL_ZLIB_ = 3 };
enum { ISAL_NO_FLUSH, ISAL_SYNC_FLUSH, ISAL_FULL_FLUSH };
enum { ISAL_LEVEL_BUFFER = (4 + 64 + 64 + 256) * 1024 }; /* enough for each of its levels */

struct isal {
    void (*init)(struct isal_stream *);
    void (*reset)(struct isal_stream *);
    int (*deflate)(struct isal_stream *);
};

/* ---- Brotli -------------------------------------------------------------------------------------------------- */

enum { BROTLI_PROCESS, BROTLI_FLUSH, BROTLI_FINISH };
enum { BROTLI_MODE_, BROTLI_QUALITY_, BROTLI_LGWIN_, BROTLI_LGBLOCK_, BROTLI_NO_CONTEXT_, BROTLI_SIZE_HINT_ };
enum { BROTLI_DECODE_ERROR, BROTLI_DECODE_SUCCESS, BROTLI_NEEDS_INPUT, BROTLI_NEEDS_OUTPUT };

struct brotli {
    void *(*encoder_new)(void *, void *, void *);
    void (*encoder_free)(void *);
    int (*encoder_set)(void *, int parameter, uint32_t value);
    int (*encode)(void *, int operation, size_t *avail_in, const uint8_t **next_in, size_t *avail_out,
                  uint8_t **next_out, size_t *total);
    int (*encoder_finished)(void *);
    int (*encoder_has_more)(void *);
    void *(*decoder_new)(void *, void *, void *);
    void (*decoder_free)(void *);
    int (*decode)(void *, size_t *avail_in, const uint8_t **next_in, size_t *avail_out, uint8_t **next_out,
                  size_t *total);
    int (*decoder_error)(void *);
    const char *(*error_string)(int);
    uint32_t (*version)(void);
    /* Since 1.1; NULL before. Type 0 is content as it is. */
    void *(*prepare)(int type, size_t size, const uint8_t *, int quality, void *, void *, void *);
    void (*unprepare)(void *);
    int (*encoder_attach)(void *, const void *prepared);
    int (*decoder_attach)(void *, int type, size_t size, const uint8_t *);
};

/* ---- Zstandard, 1.4 and later ------------------------------------------------------------------------------------ */

enum { ZSTD_CONTINUE, ZSTD_FLUSH, ZSTD_END };
enum { ZSTD_LEVEL = 100, ZSTD_WINDOW = 101, ZSTD_LONG_DISTANCE = 160, ZSTD_CHECKSUM = 201, ZSTD_MOST_WINDOW = 100 };
enum { ZSTD_RESET_SESSION = 1, ZSTD_RESET_ALL = 3 };
enum {
    ZSTD_PREFIX_UNKNOWN = 10,
    ZSTD_VERSION_UNKNOWN = 12,
    ZSTD_WINDOW_TOO_LARGE = 16,
    ZSTD_CHECKSUM_WRONG = 22,
    ZSTD_DICTIONARY_CORRUPTED = 30,
    ZSTD_DICTIONARY_WRONG = 32,
    ZSTD_NO_MEMORY = 64,
    ZSTD_OUTPUT_TOO_SMALL = 70
};

struct zstd_input {
    const void *data;
    size_t size, position;
};

struct zstd_output {
    void *data;
    size_t size, position;
};

struct zstd {
    void *(*compressor_new)(void);
    size_t (*compressor_free)(void *);
    size_t (*compressor_reset)(void *, int what);
    size_t (*compressor_set)(void *, int parameter, int value);
    size_t (*compressor_pledge)(void *, unsigned long long size);
    size_t (*compressor_memory)(const void *);
    size_t (*compressor_load)(void *, const void *dictionary, size_t size);
    size_t (*compressor_prefix)(void *, const void *prefix, size_t size);
    size_t (*compress)(void *, void *out, size_t room, const void *in, size_t size);
    size_t (*compress_some)(void *, struct zstd_output *, struct zstd_input *, int operation);
    size_t (*bound)(size_t size);
    void *(*decompressor_new)(void);
    size_t (*decompressor_free)(void *);
    size_t (*decompressor_reset)(void *, int what);
    size_t (*decompressor_set)(void *, int parameter, int value);
    size_t (*decompressor_memory)(const void *);
    size_t (*decompressor_load)(void *, const void *dictionary, size_t size);
    size_t (*decompressor_prefix)(void *, const void *prefix, size_t size);
    size_t (*decompress_some)(void *, struct zstd_output *, struct zstd_input *);
    unsigned long long (*content_size)(const void *frame, size_t size);
    unsigned (*is_error)(size_t);
    int (*error_code)(size_t);
    const char *(*error_name)(size_t);
    unsigned (*version)(void);
};

/* ---- LZ4, 1.9 and later ------------------------------------------------------------------------------------------ */

enum { LZ4F_VERSION_ = 100, LZ4F_BLOCKS_64K = 4, LZ4F_LINKED = 0, LZ4F_INDEPENDENT = 1, LZ4F_HEADER_MOST = 19 };

struct lz4_preferences {
    int block_size, block_mode, content_checksum, frame_type;
    unsigned long long content_size;
    unsigned dictionary_id;
    int block_checksum;
    int level;
    unsigned flush_always, favour_decoding, reserved[3];
};

struct lz4 {
    size_t (*compressor_new)(void **, unsigned version);
    size_t (*compressor_free)(void *);
    size_t (*begin)(void *, void *out, size_t room, const struct lz4_preferences *);
    size_t (*bound)(size_t size, const struct lz4_preferences *);
    size_t (*compress_some)(void *, void *out, size_t room, const void *in, size_t size, const void *options);
    size_t (*flush)(void *, void *out, size_t room, const void *options);
    size_t (*end)(void *, void *out, size_t room, const void *options);
    size_t (*decompressor_new)(void **, unsigned version);
    size_t (*decompressor_free)(void *);
    size_t (*decompress_some)(void *, void *out, size_t *room, const void *in, size_t *size, const void *options);
    unsigned (*is_error)(size_t);
    const char *(*error_name)(size_t);
    int (*version)(void);
    /* Frames with a dictionary. Not in every build before 1.10: then NULL. */
    void *(*dictionary_new)(const void *, size_t);
    void (*dictionary_free)(void *);
    size_t (*begin_with)(void *, void *out, size_t room, const void *dictionary, const struct lz4_preferences *);
    size_t (*decompress_with)(void *, void *out, size_t *room, const void *in, size_t *size, const void *dictionary,
                              size_t dictionary_size, const void *options);
    /* Blocks. */
    int (*state_size)(void);
    int (*state_size_hc)(void);
    int (*block_bound)(int size);
    int (*compress_block)(void *state, const void *in, void *out, int size, int room, int acceleration);
    int (*compress_block_hc)(void *state, const void *in, void *out, int size, int room, int level);
    void *(*stream_new)(void);
    int (*stream_free)(void *);
    int (*stream_load)(void *, const void *dictionary, int size);
    int (*stream_compress)(void *, const void *in, void *out, int size, int room, int acceleration);
    void *(*stream_new_hc)(void);
    int (*stream_free_hc)(void *);
    void (*stream_level_hc)(void *, int level);
    int (*stream_load_hc)(void *, const void *dictionary, int size);
    int (*stream_compress_hc)(void *, const void *in, void *out, int size, int room);
    int (*decompress_block)(const void *in, void *out, int size, int room);
    int (*decompress_block_with)(const void *in, void *out, int size, int room, const void *dictionary,
                                 int dictionary_size);
};

/* ---- OpenSSL, 1.1 and later ---------------------------------------------------------------------------------------- */

struct openssl {
    const void *(*digest_by_name)(const char *);
    void *(*digest_new)(void);
    void (*digest_free)(void *);
    int (*digest_begin)(void *, const void *kind, void *engine); /* without a kind: the one it had */
    int (*digest_add)(void *, const void *, size_t);
    int (*digest_end)(void *, uint8_t *, unsigned *size);
    const void *(*cipher_by_name)(const char *);
    void *(*cipher_new)(void);
    void (*cipher_free)(void *);
    int (*cipher_begin)(void *, const void *kind, void *engine, const uint8_t *key, const uint8_t *nonce, int encrypt);
    int (*cipher_add)(void *, uint8_t *, int *produced, const uint8_t *, int size);
    int (*cipher_end)(void *, uint8_t *, int *produced);
    int (*cipher_control)(void *, int what, int size, void *);
    /* Signatures. Not in every library that says it is OpenSSL: then NULL. */
    void *(*key_read)(void *, const uint8_t **, long size); /* PKCS #8, in DER */
    void (*key_free)(void *);                               /* wipes it */
    void *(*context_new)(void *key, void *engine);
    void (*context_free)(void *);
    int (*context_control)(void *, const char *name, const char *value);
    int (*sign_begin)(void *);
    int (*sign)(void *, uint8_t *, size_t *size, const uint8_t *digest, size_t);
    int (*message_begin)(void *state, void **context, const void *kind, void *engine, void *key);
    int (*message_end)(void *state, uint8_t *, size_t *size);
    void (*forget_errors)(void);
};

/* ---- IPsec-MB, 1.3 and later of 1 -------------------------------------------------------------------------------------- */

enum { IPSEC_SHA1 = 13, IPSEC_SHA224, IPSEC_SHA256, IPSEC_SHA384, IPSEC_SHA512 };
enum { IPSEC_NO_CIPHER = 3, IPSEC_ENCRYPT = 1, IPSEC_HASH_FIRST = 2, IPSEC_COMPLETED = 3 };
enum { IPSEC_AESNI = 1 << 1, IPSEC_AESNI_EMULATED = 1 << 19 }; /* features */

struct ipsec_job {
    const void *encrypt_keys, *decrypt_keys;
    uint64_t key_size;
    const uint8_t *source;
    uint8_t *target;
    uint64_t cipher_offset, cipher_size, hash_offset, hash_size;
    const uint8_t *vector;
    uint64_t vector_size;
    uint8_t *tag;
    uint64_t tag_size;
    const void *fields[3];
    int status, cipher, direction, hash, order;
    void *user_data;
}; /* and more, which is the library's */

/* A key of AES, expanded, and the powers of the hash key that GCM makes of it. */
struct ipsec_key {
    _Alignas(64) uint8_t bytes[1024];
};

/* A message of GCM under way. */
struct ipsec_context {
    uint64_t words[11];
};

typedef void ipsec_whole(const struct ipsec_key *, struct ipsec_context *, uint8_t *out, const uint8_t *data, uint64_t size,
                         const uint8_t *nonce, const uint8_t *aad, uint64_t aad_size, uint8_t *tag, uint64_t tag_size);
typedef void ipsec_begin(const struct ipsec_key *, struct ipsec_context *, const uint8_t *nonce, const uint8_t *aad,
                         uint64_t aad_size);
typedef void ipsec_add(const struct ipsec_key *, struct ipsec_context *, uint8_t *out, const uint8_t *data, uint64_t size);
typedef void ipsec_end(const struct ipsec_key *, struct ipsec_context *, uint8_t *tag, uint64_t tag_size);

/* GCM, for keys of 128, 192 and 256 bits: numbers of enum seal. None of them takes a manager. */
struct ipsec_gcm {
    ipsec_whole *seal[3], *open[3];
    ipsec_begin *begin[3];
    ipsec_add *seal_add[3], *open_add[3];
    ipsec_end *seal_end[3], *open_end[3];
    void (*powers[3])(struct ipsec_key *);
    void (*expand[3])(const void *key, struct ipsec_key *);
};

struct ipsec_manager {
    uint64_t flags, features, reserved[5];
    uint32_t used;
    int error;
    struct ipsec_job *(*next)(struct ipsec_manager *);
    struct ipsec_job *(*submit)(struct ipsec_manager *);
    struct ipsec_job *(*submit_unchecked)(struct ipsec_manager *);
    struct ipsec_job *(*completed)(struct ipsec_manager *);
    struct ipsec_job *(*flush)(struct ipsec_manager *);
    void (*others[19])(void);
    struct ipsec_gcm gcm;
}; /* so too */

struct ipsec_mb {
    struct ipsec_manager *(*manager_new)(uint64_t flags);
    void (*manager_free)(struct ipsec_manager *);
    void (*manager_begin)(struct ipsec_manager *, int *architecture);
    unsigned (*version)(void);
};

/* NULL where the library was not bound. Written before any worker runs a plan that needs them. */
extern const struct zlib *zlib;
extern const struct libdeflate *libdeflate;
extern const struct isal *isal;
extern const struct brotli *brotli;
extern const struct zstd *zstd;
extern const struct lz4 *lz4;
extern const struct openssl *openssl;
extern const struct ipsec_mb *ipsec_mb;

/* Bind a library ("zlib", "libdeflate", "isal", "brotli", "zstd", "lz4", "openssl", "ipsec-mb") from files, which may be names that the dynamic linker
   searches. Each symbol is taken from the first file that has it; one whose name here begins
   with a question mark may be absent. NULL if all symbols were found, else why not. Binding
   one that is bound does nothing. */
const char *library_bind(const char *name, const char *const *files);

/* The file that a bound library is in; empty: it was not bound. */
const char *library_origin(const char *name);

/* The libraries that the extension itself needs, with spaces between. */
const char *library_linked(void);

/* Whether the library ("brotli", "lz4") was bound, and has the functions for dictionaries that some of its versions lack. */
int library_dictionaries(const char *name);

/* Whether OpenSSL was bound, and has the functions for signatures. */
int library_signs(void);

/* A manager of IPsec-MB, which is there, for this processor. NULL: no memory, or the processor lacks what the library needs. */
struct ipsec_manager *ipsec_manager_new(void);

/* Headers that were compared at build time, for people. */
const char *library_headers(void);

/* Running check values, by the fastest implementation at hand. */
uint32_t check_crc32(uint32_t value, const uint8_t *data, size_t size);
uint32_t check_adler32(uint32_t value, const uint8_t *data, size_t size);

#endif
