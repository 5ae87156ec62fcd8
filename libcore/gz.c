/* gz.c: unpacking gzip, and deflate as such; the only includer of zlib.h.
 *
 *     member | member | ... | zeros          each member: head, deflated bytes, CRC-32, length
 *
 * zlib compares the two numbers at the end of a member (libarchive's own filter reads over them). Behind the last member only zeros
 * may stand, with which tapes and block devices fill up. */
#include "libcore/base.h"
#include "libcore/gz.h"
#include <limits.h>
#include <zlib.h>

enum { GZIP_ONLY = 16 };

struct k_gunzip {
	z_stream z;
	k_gunzip_more *more;
	void *arg;
	const char *name;
	bool between;                   /* a member has ended, the next has not begun */
	bool padding;                   /* zeros have begun */
};

static void *take(void *arg K_UNUSED, uInt n, uInt size) { return k_calloc(n, size); }
static void give(void *arg K_UNUSED, void *p) { k_free(p); }

int k_gunzip_new(struct k_gunzip **out, k_gunzip_more *more, void *arg, const char *name, struct k_err *err)
{
	struct k_gunzip *z = k_calloc(1, sizeof(*z));

	*out = NULL;
	if (!z)
		return k_err_nomem(err, sizeof(*z), name);
	z->more = more;
	z->arg = arg;
	z->name = name;
	z->z.zalloc = take;
	z->z.zfree = give;
	if (inflateInit2(&z->z, GZIP_ONLY + MAX_WBITS) != Z_OK) {
		k_free(z);
		return k_err_nomem(err, 1 << MAX_WBITS, name);
	}
	*out = z;
	return 0;
}

void k_gunzip_free(struct k_gunzip *z)
{
	if (z)
		inflateEnd(&z->z);
	k_free(z);
}

/* Another member, or zeros to the end. */
static int begin_next(struct k_gunzip *z, struct k_err *err)
{
	for (; z->z.avail_in && !*z->z.next_in; z->z.next_in++, z->z.avail_in--)
		z->padding = true;
	if (!z->z.avail_in)
		return 0;
	if (z->padding || *z->z.next_in != 0x1f)
		return k_err_set(err, K_EFORMAT, "'%s' has bytes behind its end that are not gzip", z->name);
	z->between = false;
	inflateReset(&z->z);
	return 0;
}

static int unpack(struct k_gunzip *z, struct k_err *err)
{
	int rc = inflate(&z->z, Z_NO_FLUSH);

	z->between = rc == Z_STREAM_END;
	if (rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR)
		return 0;
	if (rc == Z_MEM_ERROR)
		return k_err_nomem(err, 1 << MAX_WBITS, z->name);
	return k_err_set(err, K_EFORMAT, "'%s' is packed with gzip and damaged: %s", z->name, z->z.msg ? z->z.msg : "it cannot be unpacked");
}

int k_gunzip_read(struct k_gunzip *z, void *dst, size_t n, size_t *got, struct k_err *err)
{
	uInt room = (uInt)K_MIN(n, (size_t)UINT_MAX);
	const void *p;
	size_t more = 0;
	int r = 0;

	z->z.next_out = dst;
	z->z.avail_out = room;
	while (r == 0 && z->z.avail_out) {
		if (!z->z.avail_in) {
			r = z->more(z->arg, &p, &more, err);
			if (r < 0 || !more)
				break;
			K_ASSERT(more <= UINT_MAX);
			z->z.next_in = (Bytef *)(uintptr_t)p;
			z->z.avail_in = (uInt)more;
		}
		r = z->between ? begin_next(z, err) : unpack(z, err);
	}
	*got = room - z->z.avail_out;
	if (r == 0 && z->z.avail_out && !z->between)
		return k_err_set(err, K_ETRUNC, "'%s' is packed with gzip and ends early", z->name);
	return r;
}

/* --- bare deflate ------------------------------------------------------------------------------------------------------- */

/* The window is as wide for single bytes too, which look at none: zlib moves its tables with the window. Large blocks save code tables. */
static const struct { int level, strategy, window, memory; } ways[] = {
	[K_DEFLATE_HUFFMAN] = { 1, Z_HUFFMAN_ONLY, 15, 9 },
	[K_DEFLATE_MATCH] = { 6, Z_DEFAULT_STRATEGY, 15, 9 },
};

int k_deflate(void *dst, size_t cap, size_t *len, const void *src, size_t n, enum k_deflate_how how, struct k_err *err)
{
	z_stream z = { .zalloc = take, .zfree = give, .next_in = (Bytef *)(uintptr_t)src, .avail_in = (uInt)n, .next_out = dst };
	int rc;

	K_ASSERT(n <= UINT_MAX && cap <= UINT_MAX);
	z.avail_out = (uInt)cap;
	*len = 0;
	if (deflateInit2(&z, ways[how].level, Z_DEFLATED, -ways[how].window, ways[how].memory, ways[how].strategy) != Z_OK)
		return k_err_nomem(err, (size_t)1 << 18, "packing");
	rc = deflate(&z, Z_FINISH);
	if (rc == Z_STREAM_END && z.avail_out)
		*len = cap - z.avail_out;
	deflateEnd(&z);
	return 0;
}

int k_inflate(void *dst, size_t n, const void *src, size_t len, struct k_err *err)
{
	z_stream z = { .zalloc = take, .zfree = give, .next_in = (Bytef *)(uintptr_t)src, .avail_in = (uInt)len, .next_out = dst };
	int rc;

	K_ASSERT(n <= UINT_MAX && len <= UINT_MAX);
	z.avail_out = (uInt)n;
	if (inflateInit2(&z, -MAX_WBITS) != Z_OK)
		return k_err_nomem(err, (size_t)1 << 15, "unpacking");
	rc = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	if (rc == Z_MEM_ERROR)
		return k_err_nomem(err, (size_t)1 << 15, "unpacking");
	if (rc == Z_STREAM_END && !z.avail_in && !z.avail_out)
		return 0;
	if (rc == Z_STREAM_END || rc == Z_BUF_ERROR || rc == Z_OK)
		return k_err_set(err, K_EFORMAT, "%zu packed bytes are not those of %zu", len, n);
	return k_err_set(err, K_EFORMAT, "the packed bytes are damaged: %s", z.msg ? z.msg : "they cannot be unpacked");
}
