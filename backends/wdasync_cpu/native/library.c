#define _GNU_SOURCE /* dladdr() */
#include "library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "request.h"

/* WDASYNC_BUILD_NATIVE_CODECS=0 at build time: only zlib in the native workers. */
#ifndef WDASYNC_ONLY_ZLIB
#define WDASYNC_ONLY_ZLIB 0
#endif

/* See build_native.py. */
#ifndef WDASYNC_LINKED
#define WDASYNC_LINKED ""
#endif

#define SAME_PLACE(ours, member, theirs, other)                                                                       \
    _Static_assert(offsetof(ours, member) == offsetof(theirs, other), #other " lies elsewhere in this library's header")

#ifdef __has_include
#if __has_include(<zlib.h>)
#include <zlib.h>
#define ZLIB_HEADER "zlib.h "
SAME_PLACE(struct z_state, avail_out, z_stream, avail_out);
SAME_PLACE(struct z_state, message, z_stream, msg);
SAME_PLACE(struct z_state, opaque, z_stream, opaque);
SAME_PLACE(struct z_state, reserved, z_stream, reserved);
_Static_assert(sizeof(struct z_state) == sizeof(z_stream), "z_stream has another size");
SAME_PLACE(struct z_gzip_header, os, gz_header, os);
SAME_PLACE(struct z_gzip_header, done, gz_header, done);
_Static_assert(sizeof(struct z_gzip_header) == sizeof(gz_header), "gz_header has another size");
#endif
#if __has_include(<isa-l.h>) || __has_include(<isa-l/igzip_lib.h>)
#include <isa-l/igzip_lib.h>
#define ISAL_HEADER "igzip_lib.h "
SAME_PLACE(struct isal_stream, avail_out, struct isal_zstream, avail_out);
SAME_PLACE(struct isal_stream, level_buffer, struct isal_zstream, level_buf);
SAME_PLACE(struct isal_stream, wrapper, struct isal_zstream, gzip_flag);
SAME_PLACE(struct isal_stream, internal, struct isal_zstream, internal_state);
_Static_assert(sizeof(struct isal_stream) >= sizeof(struct isal_zstream), "isal_zstream is larger");
_Static_assert(ISAL_LEVEL_BUFFER >= ISAL_DEF_LVL3_DEFAULT, "ISA-L level 3 needs a larger buffer");
#endif
#if __has_include(<zstd.h>) && __has_include(<zstd_errors.h>)
#include <zstd.h>
#include <zstd_errors.h>
#define ZSTD_HEADER "zstd.h "
SAME_PLACE(struct zstd_input, position, ZSTD_inBuffer, pos);
SAME_PLACE(struct zstd_output, position, ZSTD_outBuffer, pos);
_Static_assert(ZSTD_FLUSH == (int)ZSTD_e_flush && ZSTD_END == (int)ZSTD_e_end, "ZSTD_EndDirective has other values");
_Static_assert(ZSTD_LEVEL == (int)ZSTD_c_compressionLevel && ZSTD_WINDOW == (int)ZSTD_c_windowLog
                   && ZSTD_LONG_DISTANCE == (int)ZSTD_c_enableLongDistanceMatching && ZSTD_CHECKSUM == (int)ZSTD_c_checksumFlag && ZSTD_MOST_WINDOW == (int)ZSTD_d_windowLogMax,
               "parameters of Zstandard have other numbers");
_Static_assert(ZSTD_PREFIX_UNKNOWN == (int)ZSTD_error_prefix_unknown
                   && ZSTD_WINDOW_TOO_LARGE == (int)ZSTD_error_frameParameter_windowTooLarge
                   && ZSTD_CHECKSUM_WRONG == (int)ZSTD_error_checksum_wrong
                   && ZSTD_DICTIONARY_WRONG == (int)ZSTD_error_dictionary_wrong
                   && ZSTD_OUTPUT_TOO_SMALL == (int)ZSTD_error_dstSize_tooSmall,
               "errors of Zstandard have other numbers");
#endif
#if __has_include(<lz4frame.h>)
#include <lz4frame.h>
#define LZ4_HEADER "lz4frame.h "
SAME_PLACE(struct lz4_preferences, content_size, LZ4F_preferences_t, frameInfo.contentSize);
SAME_PLACE(struct lz4_preferences, block_checksum, LZ4F_preferences_t, frameInfo.blockChecksumFlag);
SAME_PLACE(struct lz4_preferences, level, LZ4F_preferences_t, compressionLevel);
SAME_PLACE(struct lz4_preferences, reserved, LZ4F_preferences_t, reserved);
_Static_assert(sizeof(struct lz4_preferences) == sizeof(LZ4F_preferences_t), "LZ4F_preferences_t has another size");
_Static_assert(LZ4F_BLOCKS_64K == (int)LZ4F_max64KB && LZ4F_INDEPENDENT == (int)LZ4F_blockIndependent, "LZ4F numbers");
#endif
#if __has_include(<intel-ipsec-mb.h>)
#include <intel-ipsec-mb.h>
#define IPSEC_HEADER "intel-ipsec-mb.h "
SAME_PLACE(struct ipsec_job, source, IMB_JOB, src);
SAME_PLACE(struct ipsec_job, hash_size, IMB_JOB, msg_len_to_hash_in_bytes);
SAME_PLACE(struct ipsec_job, tag_size, IMB_JOB, auth_tag_output_len_in_bytes);
SAME_PLACE(struct ipsec_job, status, IMB_JOB, status);
SAME_PLACE(struct ipsec_job, order, IMB_JOB, chain_order);
SAME_PLACE(struct ipsec_job, user_data, IMB_JOB, user_data);
SAME_PLACE(struct ipsec_manager, features, IMB_MGR, features);
SAME_PLACE(struct ipsec_manager, next, IMB_MGR, get_next_job);
SAME_PLACE(struct ipsec_manager, completed, IMB_MGR, get_completed_job);
SAME_PLACE(struct ipsec_manager, flush, IMB_MGR, flush_job);
_Static_assert(IPSEC_SHA1 == (int)IMB_AUTH_SHA_1 && IPSEC_SHA256 == (int)IMB_AUTH_SHA_256 && IPSEC_SHA512 == (int)IMB_AUTH_SHA_512
                   && IPSEC_NO_CIPHER == (int)IMB_CIPHER_NULL && IPSEC_ENCRYPT == (int)IMB_DIR_ENCRYPT
                   && IPSEC_HASH_FIRST == (int)IMB_ORDER_HASH_CIPHER && IPSEC_COMPLETED == (int)IMB_STATUS_COMPLETED,
               "jobs of IPsec-MB have other numbers");
SAME_PLACE(struct ipsec_manager, gcm.seal[SEAL_AES_128_GCM], IMB_MGR, gcm128_enc);
SAME_PLACE(struct ipsec_manager, gcm.seal[SEAL_AES_192_GCM], IMB_MGR, gcm192_enc);
SAME_PLACE(struct ipsec_manager, gcm.seal[SEAL_AES_256_GCM], IMB_MGR, gcm256_enc);
SAME_PLACE(struct ipsec_manager, gcm.open, IMB_MGR, gcm128_dec);
SAME_PLACE(struct ipsec_manager, gcm.begin, IMB_MGR, gcm128_init);
SAME_PLACE(struct ipsec_manager, gcm.seal_add, IMB_MGR, gcm128_enc_update);
SAME_PLACE(struct ipsec_manager, gcm.open_add, IMB_MGR, gcm128_dec_update);
SAME_PLACE(struct ipsec_manager, gcm.seal_end, IMB_MGR, gcm128_enc_finalize);
SAME_PLACE(struct ipsec_manager, gcm.open_end, IMB_MGR, gcm128_dec_finalize);
SAME_PLACE(struct ipsec_manager, gcm.powers, IMB_MGR, gcm128_precomp);
SAME_PLACE(struct ipsec_manager, gcm.expand, IMB_MGR, gcm128_pre);
SAME_PLACE(struct ipsec_manager, gcm.expand[SEAL_AES_256_GCM], IMB_MGR, gcm256_pre);
_Static_assert(sizeof(struct ipsec_key) >= sizeof(struct gcm_key_data)
                   && _Alignof(struct ipsec_key) >= _Alignof(struct gcm_key_data),
               "gcm_key_data is larger, or wants another place");
_Static_assert(sizeof(struct ipsec_context) == sizeof(struct gcm_context_data)
                   && _Alignof(struct ipsec_context) >= _Alignof(struct gcm_context_data),
               "gcm_context_data has another size");
_Static_assert(IPSEC_AESNI == IMB_FEATURE_AESNI && IPSEC_AESNI_EMULATED == IMB_FEATURE_AESNI_EMU,
               "features of IPsec-MB have other numbers");
#endif
#endif
#ifndef ZLIB_HEADER
#define ZLIB_HEADER ""
#endif
#ifndef ISAL_HEADER
#define ISAL_HEADER ""
#endif
#ifndef ZSTD_HEADER
#define ZSTD_HEADER ""
#endif
#ifndef LZ4_HEADER
#define LZ4_HEADER ""
#endif
#ifndef IPSEC_HEADER
#define IPSEC_HEADER ""
#endif

const struct zlib *zlib;
const struct libdeflate *libdeflate;
const struct isal *isal;
const struct brotli *brotli;
const struct zstd *zstd;
const struct lz4 *lz4;
const struct openssl *openssl;
const struct ipsec_mb *ipsec_mb;

static struct zlib the_zlib;
static struct libdeflate the_libdeflate;
static struct isal the_isal;
static struct brotli the_brotli;
static struct zstd the_zstd;
static struct lz4 the_lz4;
static struct openssl the_openssl;
static struct ipsec_mb the_ipsec_mb;

struct symbol {
    const char *name;
    void *place; /* of a pointer to a function */
};

static const struct symbol ZLIB[] = {
    {"deflateInit2_", &the_zlib.deflate_init},
    {"deflate", &the_zlib.deflate},
    {"deflateReset", &the_zlib.deflate_reset},
    {"deflateEnd", &the_zlib.deflate_end},
    {"deflateSetHeader", &the_zlib.deflate_set_header},
    {"deflateSetDictionary", &the_zlib.deflate_dictionary},
    {"inflateSetDictionary", &the_zlib.inflate_dictionary},
    {"inflateInit2_", &the_zlib.inflate_init},
    {"inflate", &the_zlib.inflate},
    {"inflateReset", &the_zlib.inflate_reset},
    {"inflateEnd", &the_zlib.inflate_end},
    {"crc32", &the_zlib.crc32},
    {"adler32", &the_zlib.adler32},
    {"zlibVersion", &the_zlib.version},
    {NULL, NULL},
};

static const struct symbol LIBDEFLATE[] = {
    {"libdeflate_alloc_compressor", &the_libdeflate.alloc_compressor},
    {"libdeflate_free_compressor", &the_libdeflate.free_compressor},
    {"libdeflate_deflate_compress", &the_libdeflate.compress_deflate},
    {"libdeflate_zlib_compress", &the_libdeflate.compress_zlib},
    {"libdeflate_gzip_compress", &the_libdeflate.compress_gzip},
    {"libdeflate_deflate_compress_bound", &the_libdeflate.bound_deflate},
    {"libdeflate_zlib_compress_bound", &the_libdeflate.bound_zlib},
    {"libdeflate_gzip_compress_bound", &the_libdeflate.bound_gzip},
    {"libdeflate_alloc_decompressor", &the_libdeflate.alloc_decompressor},
    {"libdeflate_free_decompressor", &the_libdeflate.free_decompressor},
    {"libdeflate_deflate_decompress_ex", &the_libdeflate.decompress},
    {"libdeflate_crc32", &the_libdeflate.crc32},
    {"libdeflate_adler32", &the_libdeflate.adler32},
    {NULL, NULL},
};

static const struct symbol ISAL[] = {
    {"isal_deflate_init", &the_isal.init},
    {"isal_deflate_reset", &the_isal.reset},
    {"isal_deflate", &the_isal.deflate},
    {NULL, NULL},
};

static const struct symbol BROTLI[] = {
    {"BrotliEncoderCreateInstance", &the_brotli.encoder_new},
    {"BrotliEncoderDestroyInstance", &the_brotli.encoder_free},
    {"BrotliEncoderSetParameter", &the_brotli.encoder_set},
    {"BrotliEncoderCompressStream", &the_brotli.encode},
    {"BrotliEncoderIsFinished", &the_brotli.encoder_finished},
    {"BrotliEncoderHasMoreOutput", &the_brotli.encoder_has_more},
    {"BrotliDecoderCreateInstance", &the_brotli.decoder_new},
    {"BrotliDecoderDestroyInstance", &the_brotli.decoder_free},
    {"BrotliDecoderDecompressStream", &the_brotli.decode},
    {"BrotliDecoderGetErrorCode", &the_brotli.decoder_error},
    {"BrotliDecoderErrorString", &the_brotli.error_string},
    {"BrotliEncoderVersion", &the_brotli.version},
    {"?BrotliEncoderPrepareDictionary", &the_brotli.prepare},
    {"?BrotliEncoderDestroyPreparedDictionary", &the_brotli.unprepare},
    {"?BrotliEncoderAttachPreparedDictionary", &the_brotli.encoder_attach},
    {"?BrotliDecoderAttachDictionary", &the_brotli.decoder_attach},
    {NULL, NULL},
};

static const struct symbol ZSTD[] = {
    {"ZSTD_createCCtx", &the_zstd.compressor_new},
    {"ZSTD_freeCCtx", &the_zstd.compressor_free},
    {"ZSTD_CCtx_reset", &the_zstd.compressor_reset},
    {"ZSTD_CCtx_setParameter", &the_zstd.compressor_set},
    {"ZSTD_CCtx_setPledgedSrcSize", &the_zstd.compressor_pledge},
    {"ZSTD_sizeof_CCtx", &the_zstd.compressor_memory},
    {"ZSTD_CCtx_loadDictionary", &the_zstd.compressor_load},
    {"ZSTD_CCtx_refPrefix", &the_zstd.compressor_prefix},
    {"ZSTD_compress2", &the_zstd.compress},
    {"ZSTD_compressStream2", &the_zstd.compress_some},
    {"ZSTD_compressBound", &the_zstd.bound},
    {"ZSTD_createDCtx", &the_zstd.decompressor_new},
    {"ZSTD_freeDCtx", &the_zstd.decompressor_free},
    {"ZSTD_DCtx_reset", &the_zstd.decompressor_reset},
    {"ZSTD_DCtx_setParameter", &the_zstd.decompressor_set},
    {"ZSTD_sizeof_DCtx", &the_zstd.decompressor_memory},
    {"ZSTD_DCtx_loadDictionary", &the_zstd.decompressor_load},
    {"ZSTD_DCtx_refPrefix", &the_zstd.decompressor_prefix},
    {"ZSTD_decompressStream", &the_zstd.decompress_some},
    {"ZSTD_getFrameContentSize", &the_zstd.content_size},
    {"ZSTD_isError", &the_zstd.is_error},
    {"ZSTD_getErrorCode", &the_zstd.error_code},
    {"ZSTD_getErrorName", &the_zstd.error_name},
    {"ZSTD_versionNumber", &the_zstd.version},
    {NULL, NULL},
};

static const struct symbol LZ4[] = {
    {"LZ4F_createCompressionContext", &the_lz4.compressor_new},
    {"LZ4F_freeCompressionContext", &the_lz4.compressor_free},
    {"LZ4F_compressBegin", &the_lz4.begin},
    {"LZ4F_compressBound", &the_lz4.bound},
    {"LZ4F_compressUpdate", &the_lz4.compress_some},
    {"LZ4F_flush", &the_lz4.flush},
    {"LZ4F_compressEnd", &the_lz4.end},
    {"LZ4F_createDecompressionContext", &the_lz4.decompressor_new},
    {"LZ4F_freeDecompressionContext", &the_lz4.decompressor_free},
    {"LZ4F_decompress", &the_lz4.decompress_some},
    {"LZ4F_isError", &the_lz4.is_error},
    {"LZ4F_getErrorName", &the_lz4.error_name},
    {"LZ4_versionNumber", &the_lz4.version},
    {"?LZ4F_createCDict", &the_lz4.dictionary_new},
    {"?LZ4F_freeCDict", &the_lz4.dictionary_free},
    {"?LZ4F_compressBegin_usingCDict", &the_lz4.begin_with},
    {"?LZ4F_decompress_usingDict", &the_lz4.decompress_with},
    {"LZ4_sizeofState", &the_lz4.state_size},
    {"LZ4_sizeofStateHC", &the_lz4.state_size_hc},
    {"LZ4_compressBound", &the_lz4.block_bound},
    {"LZ4_compress_fast_extState", &the_lz4.compress_block},
    {"LZ4_compress_HC_extStateHC", &the_lz4.compress_block_hc},
    {"LZ4_createStream", &the_lz4.stream_new},
    {"LZ4_freeStream", &the_lz4.stream_free},
    {"LZ4_loadDict", &the_lz4.stream_load},
    {"LZ4_compress_fast_continue", &the_lz4.stream_compress},
    {"LZ4_createStreamHC", &the_lz4.stream_new_hc},
    {"LZ4_freeStreamHC", &the_lz4.stream_free_hc},
    {"LZ4_resetStreamHC_fast", &the_lz4.stream_level_hc},
    {"LZ4_loadDictHC", &the_lz4.stream_load_hc},
    {"LZ4_compress_HC_continue", &the_lz4.stream_compress_hc},
    {"LZ4_decompress_safe", &the_lz4.decompress_block},
    {"LZ4_decompress_safe_usingDict", &the_lz4.decompress_block_with},
    {NULL, NULL},
};

static const struct symbol OPENSSL[] = {
    {"EVP_get_digestbyname", &the_openssl.digest_by_name},
    {"EVP_MD_CTX_new", &the_openssl.digest_new},
    {"EVP_MD_CTX_free", &the_openssl.digest_free},
    {"EVP_DigestInit_ex", &the_openssl.digest_begin},
    {"EVP_DigestUpdate", &the_openssl.digest_add},
    {"EVP_DigestFinal_ex", &the_openssl.digest_end},
    {"EVP_get_cipherbyname", &the_openssl.cipher_by_name},
    {"EVP_CIPHER_CTX_new", &the_openssl.cipher_new},
    {"EVP_CIPHER_CTX_free", &the_openssl.cipher_free},
    {"EVP_CipherInit_ex", &the_openssl.cipher_begin},
    {"EVP_CipherUpdate", &the_openssl.cipher_add},
    {"EVP_CipherFinal_ex", &the_openssl.cipher_end},
    {"EVP_CIPHER_CTX_ctrl", &the_openssl.cipher_control},
    {"?d2i_AutoPrivateKey", &the_openssl.key_read},
    {"?EVP_PKEY_free", &the_openssl.key_free},
    {"?EVP_PKEY_CTX_new", &the_openssl.context_new},
    {"?EVP_PKEY_CTX_free", &the_openssl.context_free},
    {"?EVP_PKEY_CTX_ctrl_str", &the_openssl.context_control},
    {"?EVP_PKEY_sign_init", &the_openssl.sign_begin},
    {"?EVP_PKEY_sign", &the_openssl.sign},
    {"?EVP_DigestSignInit", &the_openssl.message_begin},
    {"?EVP_DigestSignFinal", &the_openssl.message_end},
    {"?ERR_clear_error", &the_openssl.forget_errors},
    {NULL, NULL},
};

static const struct symbol IPSEC_MB[] = {
    {"alloc_mb_mgr", &the_ipsec_mb.manager_new},
    {"free_mb_mgr", &the_ipsec_mb.manager_free},
    {"init_mb_mgr_auto", &the_ipsec_mb.manager_begin},
    {"imb_get_version", &the_ipsec_mb.version},
    {NULL, NULL},
};

#if !WDASYNC_ONLY_ZLIB
/* The parts of its structures that we use are those of these versions. */
static const char *ipsec_problem(void)
{
    unsigned version = the_ipsec_mb.version();
    return version >= 0x10300 && version < 0x20000 ? NULL : "expected a version from 1.3 on, and before 2";
}
#endif

static const struct {
    const char *name;
    const struct symbol *symbols;
    const void **handle;
    const void *functions;
    const char *(*problem)(void); /* of a library that has all its functions */
} LIBRARIES[] = {
    {"zlib", ZLIB, (const void **)&zlib, &the_zlib, NULL},
#if !WDASYNC_ONLY_ZLIB
    {"libdeflate", LIBDEFLATE, (const void **)&libdeflate, &the_libdeflate, NULL},
    {"isal", ISAL, (const void **)&isal, &the_isal, NULL},
    {"brotli", BROTLI, (const void **)&brotli, &the_brotli, NULL},
    {"zstd", ZSTD, (const void **)&zstd, &the_zstd, NULL},
    {"lz4", LZ4, (const void **)&lz4, &the_lz4, NULL},
    {"openssl", OPENSSL, (const void **)&openssl, &the_openssl, NULL},
    {"ipsec-mb", IPSEC_MB, (const void **)&ipsec_mb, &the_ipsec_mb, ipsec_problem},
#endif
};

static const char *bind_symbols(const struct symbol *symbols, const char *const *files)
{
    static char why[256];
    void *opened[8] = {NULL};
    int count = 0;
    snprintf(why, sizeof why, "no file to take it from");
    for (; *files && count < 8; files++) {
        if ((opened[count] = dlopen(*files, RTLD_NOW | RTLD_LOCAL)))
            count++;
        else
            snprintf(why, sizeof why, "%s", dlerror());
    }
    for (; symbols->name; symbols++) {
        void *found = NULL;
        bool optional = *symbols->name == '?';
        for (int i = 0; i < count && !found; i++)
            found = dlsym(opened[i], symbols->name + optional);
        if (!found && !(optional && count)) {
            if (count)
                snprintf(why, sizeof why, "it has no function %s", symbols->name);
            for (int i = 0; i < count; i++)
                dlclose(opened[i]);
            return why;
        }
        memcpy(symbols->place, &found, sizeof found);
    }
    return NULL; /* what was opened stays open */
}

const char *library_bind(const char *name, const char *const *files)
{
    for (size_t i = 0; i < sizeof LIBRARIES / sizeof *LIBRARIES; i++) {
        if (strcmp(LIBRARIES[i].name, name))
            continue;
        if (*LIBRARIES[i].handle)
            return NULL;
        const char *why = bind_symbols(LIBRARIES[i].symbols, files);
        if (!why && LIBRARIES[i].problem)
            why = LIBRARIES[i].problem();
        if (!why)
            *LIBRARIES[i].handle = LIBRARIES[i].functions;
        return why;
    }
    return "left out when wdasync was built";
}

const char *library_origin(const char *name)
{
    for (size_t i = 0; i < sizeof LIBRARIES / sizeof *LIBRARIES; i++) {
        void *function;
        Dl_info info;
        if (strcmp(LIBRARIES[i].name, name) || !*LIBRARIES[i].handle)
            continue;
        memcpy(&function, LIBRARIES[i].symbols->place, sizeof function);
        return dladdr(function, &info) && info.dli_fname ? info.dli_fname : "";
    }
    return "";
}

const char *library_linked(void)
{
    return WDASYNC_LINKED;
}

int library_dictionaries(const char *name)
{
    if (!strcmp(name, "brotli"))
        return brotli && brotli->prepare && brotli->unprepare && brotli->encoder_attach && brotli->decoder_attach;
    return !strcmp(name, "lz4") && lz4 && lz4->dictionary_new && lz4->dictionary_free && lz4->begin_with
           && lz4->decompress_with;
}

int library_signs(void)
{
    return openssl && openssl->key_read && openssl->key_free && openssl->context_new && openssl->context_free
           && openssl->context_control && openssl->sign_begin && openssl->sign && openssl->message_begin
           && openssl->message_end && openssl->forget_errors;
}

struct ipsec_manager *ipsec_manager_new(void)
{
    struct ipsec_manager *manager = ipsec_mb->manager_new(0);
    if (manager)
        ipsec_mb->manager_begin(manager, NULL);
    if (manager && !manager->submit) {
        ipsec_mb->manager_free(manager);
        manager = NULL;
    }
    return manager;
}

const char *library_headers(void)
{
    return ZLIB_HEADER ISAL_HEADER ZSTD_HEADER LZ4_HEADER IPSEC_HEADER;
}

enum { PIECE = 1 << 30 }; /* zlib counts in unsigned int */

static uint32_t by_pieces(unsigned long (*function)(unsigned long, const uint8_t *, unsigned), uint32_t value,
                          const uint8_t *data, size_t size)
{
    for (; size > PIECE; data += PIECE, size -= PIECE)
        value = (uint32_t)function(value, data, PIECE);
    return (uint32_t)function(value, data, (unsigned)size);
}

uint32_t check_crc32(uint32_t value, const uint8_t *data, size_t size)
{
    if (!size)
        return value; /* libraries answer a NULL with the initial value */
    return libdeflate ? libdeflate->crc32(value, data, size) : by_pieces(zlib->crc32, value, data, size);
}

uint32_t check_adler32(uint32_t value, const uint8_t *data, size_t size)
{
    if (!size)
        return value;
    return libdeflate ? libdeflate->adler32(value, data, size) : by_pieces(zlib->adler32, value, data, size);
}
