/* Zstandard frames (RFC 8878) and LZ4 frames (LZ4 Frame Format 1.6.2): both go through the same steps. Units of both may
 * be concatenated, and skippable frames may stand between them. */
#ifndef WDASYNC_FRAMES_H
#define WDASYNC_FRAMES_H

#include "codec.h"

/* What begins where a frame may begin. MAYBE: there are too few bytes to tell. */
enum frame_kind { FRAME_NONE, FRAME_MAYBE, FRAME_DATA, FRAME_SKIPPABLE };

enum frame_kind frame_kind_of(enum format format, const uint8_t *data, size_t size);

/* ---- compressing ------------------------------------------------------------------------------------------------- */

/* Makes the state ready for a unit. `size`: of its content, or UINT64_MAX. False: no memory. */
bool zstd_begin(struct zstd_encoder *encoder, const struct request *request, uint64_t size);
bool lz4_begin(struct lz4_encoder *encoder, const struct request *request, uint64_t size);
void zstd_forget(struct zstd_encoder *encoder);
void lz4_forget(struct lz4_encoder *encoder);

/* See compress.c: one step of each engine. */
enum progress step_zstd(struct encoder *encoder, const uint8_t **in, size_t *in_size, uint8_t **out, size_t *out_size,
                        enum flush flush);
enum progress step_lz4(struct encoder *encoder, const uint8_t **in, size_t *in_size, uint8_t **out, size_t *out_size,
                       enum flush flush);

/* So many bytes of output are enough for a unit of `size` bytes. */
size_t zstd_bound(size_t size);
size_t lz4_bound(const struct plan *plan, size_t size);

/* Why it failed: the request has. */
void zstd_complain(const struct zstd_encoder *encoder, struct request *request);
void lz4_complain(const struct lz4_encoder *encoder, struct request *request);

/* A unit at once, where the output has room for zstd_bound(). Its size, or 0: the compressor failed. */
size_t zstd_at_once(struct zstd_encoder *encoder, const uint8_t *in, size_t size, uint8_t *out, size_t room);

/* ---- decompressing ----------------------------------------------------------------------------------------------- */

enum frame_step { FRAME_GO_ON, FRAME_WANTS_INPUT, FRAME_ENDS, FRAME_BROKEN };

/* False: the request has failed. */
bool frame_decoder_begin(struct frame_decoder *decoder, struct request *request);
void frame_decoder_forget(struct frame_decoder *decoder);

/* One step. FRAME_BROKEN: the request has failed. `later`: a frame has ended before. */
enum frame_step frame_decode(struct frame_decoder *decoder, struct request *request, const uint8_t **in, size_t *left,
                             uint8_t *out, size_t *room, bool later);

/* Whole units. */
void run_frames_decompress(struct kit *kit, struct request *request);

#endif
