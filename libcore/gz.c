/* gz.c: unpacking gzip; the only includer of zlib.h.
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
