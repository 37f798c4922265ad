#include "library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* WDASYNC_CPU_NATIVE_CODECS=0 at build time: only zlib in the native workers. */
#ifndef WDASYNC_ONLY_ZLIB
#define WDASYNC_ONLY_ZLIB 0
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
#endif
#ifndef ZLIB_HEADER
#define ZLIB_HEADER ""
#endif
#ifndef ISAL_HEADER
#define ISAL_HEADER ""
#endif

const struct zlib *zlib;
const struct libdeflate *libdeflate;
const struct isal *isal;
const struct brotli *brotli;

static struct zlib the_zlib;
static struct libdeflate the_libdeflate;
static struct isal the_isal;
static struct brotli the_brotli;

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
    {NULL, NULL},
};

static const struct {
    const char *name;
    const struct symbol *symbols;
    const void **handle;
    const void *functions;
} LIBRARIES[] = {
    {"zlib", ZLIB, (const void **)&zlib, &the_zlib},
#if !WDASYNC_ONLY_ZLIB
    {"libdeflate", LIBDEFLATE, (const void **)&libdeflate, &the_libdeflate},
    {"isal", ISAL, (const void **)&isal, &the_isal},
    {"brotli", BROTLI, (const void **)&brotli, &the_brotli},
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
        for (int i = 0; i < count && !found; i++)
            found = dlsym(opened[i], symbols->name);
        if (!found) {
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
        if (!why)
            *LIBRARIES[i].handle = LIBRARIES[i].functions;
        return why;
    }
    return "left out when wdasync was built";
}

const char *library_headers(void)
{
    return ZLIB_HEADER ISAL_HEADER;
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
