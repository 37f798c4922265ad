// SPDX-License-Identifier: GPL-2.0-only
/*
 * The work: block mode, one entry is one whole unit. The header is the driver's, the trailer the engine's. Input goes
 * through a bounce buffer in pieces, so that what lies behind the end of a stream is hardly looked at.
 */
#include <asm/unaligned.h>
#include <linux/bitrev.h>
#include <linux/crc32.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/zlib.h>
#include <linux/zutil.h>

#include "zip.h"

#define PIECE (64u << 10)
#define LEVEL 1
#define MEMORY_LEVEL 8

#define WORD_CONSUMED 0
#define WORD_PRODUCED 1
#define WORD_STATUS 3
#define WORD_INPUT 4
#define WORD_CONTROL 7
#define WORD_DESTINATION_OFFSET 8
#define WORD_REQUEST 9
#define WORD_CAPACITY 14
#define WORD_CONTEXT 15
#define WORD_SOURCE 18
#define WORD_DESTINATION 20
#define WORD_STORED 28
#define WORD_WINDOW 29
#define WORD_SIZE 30
#define WORD_CHECK 31

#define STATEFUL BIT(26)
#define LAST_BLOCK BIT(8)
#define FINAL_SEEN BIT(7)

enum format { FORMAT_ZLIB = 2, FORMAT_GZIP = 3 };

struct zip_engine {
	void *deflater, *inflater; /* workspaces */
	u8 *in, *out;

	/* Of the entry in work. */
	u32 *words;
	enum format format;
	int window;
	struct zip_memory source, destination;
	u32 room, consumed, produced, check;
};

struct zip_engine *zip_engine_create(void)
{
	struct zip_engine *engine = kzalloc(sizeof(*engine), GFP_KERNEL);

	if (!engine)
		return NULL;
	engine->deflater = vmalloc(zlib_deflate_workspacesize(MAX_WBITS, MEMORY_LEVEL));
	engine->inflater = vmalloc(zlib_inflate_workspacesize());
	engine->in = vmalloc(PIECE);
	engine->out = vmalloc(PIECE);
	if (!engine->deflater || !engine->inflater || !engine->in || !engine->out) {
		zip_engine_destroy(engine);
		return NULL;
	}
	return engine;
}

void zip_engine_destroy(struct zip_engine *engine)
{
	if (!engine)
		return;
	vfree(engine->deflater);
	vfree(engine->inflater);
	vfree(engine->in);
	vfree(engine->out);
	kfree(engine);
}

static u64 address_at(const u32 *words, unsigned int word)
{
	return words[word] | (u64)words[word + 1] << 32;
}

static void answer(u32 *words, u32 consumed, u32 produced, u32 status)
{
	words[WORD_CONSUMED] = consumed;
	words[WORD_PRODUCED] = produced;
	words[2] = 0;
	words[WORD_STATUS] = status;
	words[WORD_CONTEXT] = 0;
	words[WORD_STORED] = words[WORD_WINDOW] = 0;
	words[WORD_SIZE] = words[WORD_CHECK] = 0;
}

/* The check value: Adler-32, or CRC-32 with neither end inverted yet. */

static u32 check_begin(enum format format)
{
	return format == FORMAT_ZLIB ? 1 : ~0u;
}

static u32 check_go_on(enum format format, u32 check, const u8 *data, size_t bytes)
{
	return format == FORMAT_ZLIB ? zlib_adler32(check, data, bytes) : crc32_le(check, data, bytes);
}

/* As it stands in the descriptor: CRC-32 with its bits reversed, then inverted. */
static u32 check_of_engine(enum format format, u32 check)
{
	return format == FORMAT_ZLIB ? check : ~bitrev32(~check);
}

static unsigned int trailer(enum format format, u32 check, u32 size, u8 *to)
{
	if (format == FORMAT_ZLIB) {
		put_unaligned_be32(check, to);
		return 4;
	}
	put_unaligned_le32(~check, to);
	put_unaligned_le32(size, to + 4);
	return 8;
}

/* Code of the window -> base-2 logarithm. Of 24 KiB zlib has none: the next below. */
static int window_bits(unsigned int code)
{
	static const int bits[] = { 12, 13, 14, 14, 15 };

	return code < ARRAY_SIZE(bits) ? bits[code] : -EINVAL;
}

static int prepare(struct zip_engine *engine)
{
	u32 *words = engine->words;
	u32 request = words[WORD_REQUEST], control = words[WORD_CONTROL];
	unsigned int buffers = request >> 8 & 0xf;
	int error;

	if ((control >> 28 != 0 && control >> 28 != 3) || control & STATEFUL || buffers > 1 ||
	    words[WORD_INPUT] > ZIP_MAX_BYTES)
		return -EINVAL;
	engine->format = request & 0xff;
	engine->window = window_bits(request >> 12 & 0xf);
	if (engine->format != FORMAT_ZLIB && engine->format != FORMAT_GZIP)
		return -EINVAL;
	engine->room = min(words[WORD_CAPACITY], ZIP_MAX_BYTES);
	if (!buffers) {
		error = zip_memory_flat(&engine->source, address_at(words, WORD_SOURCE));
		return error ?: zip_memory_flat(&engine->destination, address_at(words, WORD_DESTINATION));
	}
	error = zip_memory_scattered(&engine->source, address_at(words, WORD_SOURCE), control & 0xffffff);
	error = error ?: zip_memory_scattered(&engine->destination, address_at(words, WORD_DESTINATION),
					      words[WORD_DESTINATION_OFFSET] & 0xffffff);
	engine->room = min_t(u64, engine->room, engine->destination.total);
	return error;
}

/* Output that was made; -ENOSPC: there is no room for all of it. */
static int deliver(struct zip_engine *engine, const u8 *data, size_t bytes)
{
	int error;

	if (bytes > engine->room - engine->produced)
		return -ENOSPC;
	error = zip_memory_write(&engine->destination, data, bytes);
	engine->produced += bytes;
	return error;
}

static int deflate_all(struct zip_engine *engine, z_stream *stream, u32 input)
{
	int result = Z_OK, error;

	while (result != Z_STREAM_END) {
		if (!stream->avail_in && engine->consumed < input) {
			u32 piece = min(PIECE, input - engine->consumed);

			error = zip_memory_read(&engine->source, engine->in, piece);
			if (error)
				return error;
			engine->check = check_go_on(engine->format, engine->check, engine->in, piece);
			stream->next_in = engine->in;
			stream->avail_in = piece;
			engine->consumed += piece;
		}
		stream->next_out = engine->out;
		stream->avail_out = PIECE;
		result = zlib_deflate(stream, engine->consumed < input ? Z_NO_FLUSH : Z_FINISH);
		if (result != Z_OK && result != Z_STREAM_END)
			return -EIO;
		error = deliver(engine, engine->out, PIECE - stream->avail_out);
		if (error)
			return error;
		cond_resched();
	}
	return 0;
}

static int compress(struct zip_engine *engine)
{
	u32 input = engine->words[WORD_INPUT];
	z_stream stream = { .workspace = engine->deflater };
	u8 end[8];
	int error;

	if (engine->window < 0 || engine->source.total < input)
		return -EINVAL;
	if (zlib_deflateInit2(&stream, LEVEL, Z_DEFLATED, -engine->window, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
		return -EIO;
	engine->check = check_begin(engine->format);
	error = deflate_all(engine, &stream, input);
	if (!error)
		error = deliver(engine, end, trailer(engine->format, engine->check, input, end));
	if (error == -ENOSPC) {
		answer(engine->words, input, 0, ZIP_NO_SPACE);
		return 0;
	}
	if (error)
		return error;
	answer(engine->words, input, engine->produced, engine->produced > input ? ZIP_EXPANDED : ZIP_OK);
	engine->words[WORD_SIZE] = input;
	engine->words[WORD_CHECK] = check_of_engine(engine->format, engine->check);
	return 0;
}

enum progress { RUNNING, ENDED, NO_SPACE, BAD_DATA, BAD_CHECK };

/* Inflates the piece that the stream was given. RUNNING: it wants more; ENDED: the deflate data are over. */
static int inflate_piece(struct zip_engine *engine, z_stream *stream, enum progress *progress)
{
	for (;;) {
		u32 left = engine->room - engine->produced;
		/* One byte more than there is room for, so that an output that just fits can come to its end. */
		u32 space = min(PIECE, left + 1), made;
		int result, error;

		stream->next_out = engine->out;
		stream->avail_out = space;
		result = zlib_inflate(stream, Z_SYNC_FLUSH);
		made = space - stream->avail_out;
		if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) {
			*progress = BAD_DATA;
			return 0;
		}
		if (made > left) {
			*progress = NO_SPACE;
			return 0;
		}
		engine->check = check_go_on(engine->format, engine->check, engine->out, made);
		error = deliver(engine, engine->out, made);
		if (error)
			return error;
		if (result == Z_STREAM_END) {
			*progress = ENDED;
			return 0;
		}
		if (stream->avail_out)
			return 0;
		cond_resched();
	}
}

static int decompress_all(struct zip_engine *engine, z_stream *stream, enum progress *progress)
{
	u32 input = engine->words[WORD_INPUT], done = 0;
	unsigned int wanted, have = 0;
	u8 right[8], found[8];
	bool final = false;
	int error;

	while (done < input) {
		u32 piece = min(PIECE, input - done);

		error = zip_memory_read(&engine->source, engine->in, piece);
		if (error)
			return error;
		done += piece;
		stream->next_in = engine->in;
		stream->avail_in = piece;
		if (!final) {
			error = inflate_piece(engine, stream, progress);
			if (error || *progress == NO_SPACE || *progress == BAD_DATA)
				return error;
			final = *progress == ENDED;
			*progress = RUNNING;
		}
		engine->consumed += piece - stream->avail_in;
		if (!final)
			continue;
		wanted = trailer(engine->format, engine->check, engine->produced, right);
		for (; have < wanted && stream->avail_in; stream->avail_in--) {
			found[have++] = *stream->next_in++;
			engine->consumed++;
		}
		if (have == wanted) {
			*progress = memcmp(found, right, wanted) ? BAD_CHECK : ENDED;
			return 0;
		}
	}
	return 0;
}

static int decompress(struct zip_engine *engine)
{
	static const u32 statuses[] = {
		[RUNNING] = ZIP_OK, /* It was cut off: the driver sees that the last block is missing. */
		[ENDED] = ZIP_OK | LAST_BLOCK,
		[NO_SPACE] = ZIP_NO_SPACE,
		[BAD_DATA] = ZIP_BAD_DATA,
		[BAD_CHECK] = ZIP_BAD_CHECK,
	};
	z_stream stream = { .workspace = engine->inflater };
	enum progress progress = RUNNING;
	bool good;
	int error;

	if (engine->source.total < engine->words[WORD_INPUT])
		return -EINVAL;
	if (zlib_inflateInit2(&stream, -MAX_WBITS) != Z_OK)
		return -EIO;
	engine->check = check_begin(engine->format);
	error = decompress_all(engine, &stream, &progress);
	if (error)
		return error;
	good = progress == RUNNING || progress == ENDED;
	answer(engine->words, engine->consumed, good ? engine->produced : 0, statuses[progress]);
	if (good) {
		engine->words[WORD_CONTEXT] = progress == ENDED ? FINAL_SEEN : 0;
		engine->words[WORD_SIZE] = engine->produced;
		engine->words[WORD_CHECK] = check_of_engine(engine->format, engine->check);
	}
	return 0;
}

void zip_engine_run(struct zip_engine *engine, u32 *words, enum zip_type type)
{
	int error;

	engine->words = words;
	engine->consumed = engine->produced = 0;
	error = prepare(engine);
	if (!error)
		error = type == ZIP_DECOMPRESS ? decompress(engine) : compress(engine);
	if (error)
		answer(words, 0, 0, error == -EFAULT ? ZIP_MEMORY : ZIP_BAD_DESCRIPTOR);
	zip_memory_free(&engine->source);
	zip_memory_free(&engine->destination);
}
