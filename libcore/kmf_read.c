/* kmf_read.c: containers from files (positioned reads or a map) and from pipes (one forward pass).
 *
 * An entry whose bytes were read in order has its digest made in passing. A file's digests are known from the trailer, which is
 * read at open, so a wrong one is said at the entry's last byte; a pipe's come last, and finish compares them all. */
#include "libcore/base.h"
#include "libcore/hash.h"
#include "libcore/io_ahead.h"
#include "libcore/kmf_layout.h"
#include "libcore/kmf_read.h"

struct kmf {
	struct k_source *src;
	const char *base;               /* the map; NULL: none */
	uint64_t start, data_len;       /* of the data section */
	uint64_t head_len;
	uint8_t head_digest[32], identity[32];
	uint8_t (*digests)[32];         /* the trailer's; NULL before it was read */
	uint8_t (*seen)[32];            /* a pipe's own */
	struct k_sha256 *hash;
	int entry;                      /* whose bytes are in hash, hashed of them so far; -1: none */
	uint64_t hashed;
	int next;                       /* a pipe: first entry that was not read to its end */
	struct k_ahead *ahead;          /* a file: NULL before the first read, and without memory */
	uint64_t at, told;              /* of the data section: read last; asked for up to here */
	int asked;                      /* entries that were asked for */
};

/* --- fixed head and head ------------------------------------------------------------------------------------------------ */

static int read_fixed(struct k_ckpt *c, struct kmf *k, struct k_err *err)
{
	uint8_t fixed[KMF_FIXED];
	uint32_t version, flags;
	int r = k_source_read(k->src, fixed, sizeof(fixed), err);

	if (r < 0)
		return r;
	if (memcmp(fixed, K_KMF_MAGIC, 8) != 0)
		return k_err_set(err, K_EFORMAT, "'%s': not a KMF container: the magic number is wrong%s", c->path,
			memcmp(fixed, K_KMF_MAGIC, 4) == 0 ? "; line ends were changed by a transfer in text mode" : "");
	memcpy(&version, fixed + 8, 4);
	memcpy(&flags, fixed + 12, 4);
	memcpy(&k->head_len, fixed + 16, 8);
	memcpy(&k->data_len, fixed + 24, 8);
	memcpy(k->head_digest, fixed + 32, 32);
	if (version != K_KMF_VERSION || flags != 0)
		return k_err_set(err, K_EUNSUP, "'%s': container version %u with flags %u; this build reads version %d with flags 0", c->path, version,
			flags, K_KMF_VERSION);
	if (k->head_len == 0 || k->head_len > K_KMF_HEAD_MAX || k->data_len > (uint64_t)1 << 60)
		return k_err_set(err, K_EFORMAT, "'%s': the head is said to have %llu bytes and the data %llu", c->path,
			(unsigned long long)k->head_len, (unsigned long long)k->data_len);
	if (k_source_size(k->src) >= 0 && (uint64_t)k_source_size(k->src) < KMF_FIXED + k->head_len)
		return k_err_set(err, K_ETRUNC, "'%s': the head is said to have %llu bytes, the file has %lld", c->path,
			(unsigned long long)k->head_len, (long long)k_source_size(k->src));
	k->start = kmf_data_start(k->head_len);
	return 0;
}

/* Memory grows with what comes, not with what is said. */
static int slurp_head(struct kmf *k, struct k_buf *b, struct k_err *err)
{
	while (b->len < k->head_len) {
		size_t want = (size_t)K_MIN(k->head_len - b->len, (uint64_t)1 << 20);
		void *p = k_buf_room(b, want);

		if (!p)
			return k_err_nomem(err, want, "the head of a container");
		if (k_source_read(k->src, p, want, err) < 0)
			return err->code;
		b->len += want;
	}
	return 0;
}

/* n bytes that must be zero. */
static int read_zeros(struct k_ckpt *c, struct kmf *k, uint64_t n, struct k_err *err)
{
	char buf[4096];

	while (n > 0) {
		size_t part = (size_t)K_MIN(n, sizeof(buf));

		if (k_source_read(k->src, buf, part, err) < 0)
			return err->code;
		for (size_t i = 0; i < part; i++)
			if (buf[i])
				return k_err_set(err, K_EFORMAT, "'%s': padding that is not zero at byte %llu", c->path,
					(unsigned long long)(k_source_pos(k->src) - part + i));
		n -= part;
	}
	return 0;
}

static int read_head(struct k_ckpt *c, struct kmf *k, struct k_err *err)
{
	uint8_t digest[32];
	struct k_buf text;
	int r = read_fixed(c, k, err);

	k_buf_init(&text, K_KMF_HEAD_MAX);
	if (r == 0)
		r = slurp_head(k, &text, err);
	if (r == 0)
		r = k_sha256_once(text.data, text.len, digest, err);
	if (r == 0 && memcmp(digest, k->head_digest, 32) != 0)
		r = k_err_set(err, K_ECHECK, "'%s': the head has a wrong digest", c->path);
	if (r == 0)
		r = kmf_read_head(c, text.data, text.len, k->data_len, err);
	if (r == 0)
		r = read_zeros(c, k, k->start - KMF_FIXED - k->head_len, err);
	k_buf_fini(&text);
	return r;
}

/* --- trailer ------------------------------------------------------------------------------------------------------------ */

static int wrong_digest(const struct k_ckpt *c, int i, struct k_err *err)
{
	return k_err_set(err, K_ECHECK, "'%s': %s has a wrong digest; the container is damaged", c->path, c->entries[i].name);
}

/* Nobody reads an entry without bytes, so its digest is looked at here. */
static int check_empty(const struct k_ckpt *c, const struct kmf *k, struct k_err *err)
{
	uint8_t empty[32];
	int r = k_sha256_once("", 0, empty, err);

	for (int i = 0; r == 0 && i < c->n_entries; i++)
		if (c->entries[i].bytes == 0 && memcmp(k->digests[i], empty, 32) != 0)
			return wrong_digest(c, i, err);
	return r;
}

/* The trailer's bytes -> digests and identity, all of it checked. */
static int take_trailer(struct k_ckpt *c, struct kmf *k, const uint8_t *p, struct k_err *err)
{
	uint64_t n = (uint64_t)c->n_entries, said, total, want = k->start + k_align_up(k->data_len, KMF_ALIGN) + kmf_trailer_len(c->n_entries);
	const uint8_t *digests = p + 16, *end = digests + 32 * n + 32;
	uint8_t identity[32];

	memcpy(&said, p + 8, 8);
	memcpy(&total, end + 8, 8);
	if (memcmp(p, KMF_DIGESTS, 8) != 0 || memcmp(end, KMF_LAST, 8) != 0)
		return k_err_set(err, K_EFORMAT, "'%s': the %s is missing; the container is not complete", c->path,
			memcmp(p, KMF_DIGESTS, 8) != 0 ? "list of digests" : "end mark");
	if (said != n || total != want)
		return k_err_set(err, K_EFORMAT, "'%s': the trailer speaks of %llu digests and %llu bytes, wanted %llu and %llu", c->path,
			(unsigned long long)said, (unsigned long long)total, (unsigned long long)n, (unsigned long long)want);
	k_sha256_reset(k->hash);
	k->entry = -1;
	k_sha256_add(k->hash, k->head_digest, 32);
	k_sha256_add(k->hash, digests, 32 * (size_t)n);
	k_sha256_end(k->hash, identity);
	if (memcmp(identity, digests + 32 * n, 32) != 0)
		return k_err_set(err, K_ECHECK, "'%s': the list of digests has a wrong digest", c->path);
	k->digests = k_calloc((size_t)n + 1, 32);
	if (!k->digests)
		return k_err_nomem(err, 32 * (size_t)n, "digests");
	memcpy(k->digests, digests, 32 * (size_t)n);
	memcpy(k->identity, identity, 32);
	return check_empty(c, k, err);
}

static int read_trailer(struct k_ckpt *c, struct kmf *k, bool at, struct k_err *err)
{
	uint64_t pos = k->start + k_align_up(k->data_len, KMF_ALIGN);
	size_t n = (size_t)kmf_trailer_len(c->n_entries);
	uint8_t *p = k_alloc(n);
	int r;

	if (!p)
		return k_err_nomem(err, n, "the digests");
	r = at ? k_source_pread(k->src, p, n, pos, err) : k_source_read(k->src, p, n, err);
	if (r == 0)
		r = take_trailer(c, k, p, err);
	k_free(p);
	return r;
}

static int open_file(struct k_ckpt *c, struct kmf *k, struct k_err *err)
{
	uint64_t want = k->start + k_align_up(k->data_len, KMF_ALIGN) + kmf_trailer_len(c->n_entries), size = (uint64_t)k_source_size(k->src);

	if (size != want)
		return k_err_set(err, size < want ? K_ETRUNC : K_EFORMAT, "'%s': the file has %llu bytes, its head wants %llu", c->path,
			(unsigned long long)size, (unsigned long long)want);
	return read_trailer(c, k, true, err);
}

/* --- entries ------------------------------------------------------------------------------------------------------------ */

/* Digests of what was read in order: true when entry i ended with these bytes. */
static bool hash_in_order(struct k_ckpt *c, struct kmf *k, int i, uint64_t off, const void *p, size_t n, uint8_t digest[32])
{
	if (off == 0) {
		k_sha256_reset(k->hash);
		k->entry = i;
		k->hashed = 0;
	}
	if (k->entry != i || k->hashed != off) {
		k->entry = -1;
		return false;
	}
	k_sha256_add(k->hash, p, n);
	k->hashed += n;
	if (k->hashed < c->entries[i].bytes)
		return false;
	k_sha256_end(k->hash, digest);
	k->entry = -1;
	return true;
}

/* A file is read forward, mostly; who jumps back, or beyond what was asked for, begins anew. */
static void look_ahead(struct k_ckpt *c, struct kmf *k, int i, uint64_t off)
{
	uint64_t at = c->entries[i].offset + off;

	if (!k->ahead)
		k->ahead = k_ahead_new();
	if (at < k->at || at >= k->told) {
		k_ahead_forget(k->ahead);
		k->asked = i;
		k->told = at;
	}
	k->at = at;
	while (k->asked < c->n_entries && k_ahead_hungry(k->ahead)) {
		const struct k_entry *e = &c->entries[k->asked++];
		uint64_t from = K_MAX(e->offset, k->told), end = e->offset + e->bytes;

		k_ahead_step(k->ahead);
		if (from < end)
			k_ahead_want(k->ahead, k->src, k->start + from, end - from);
		k->told = K_MAX(k->told, end);
	}
}

static int read_random(struct k_ckpt *c, int i, uint64_t off, void *dst, size_t n, struct k_err *err)
{
	struct kmf *k = c->impl;
	uint8_t digest[32];
	int r;

	look_ahead(c, k, i, off);
	r = k_source_pread(k->src, dst, n, k->start + c->entries[i].offset + off, err);
	if (r < 0)
		return r;
	if (hash_in_order(c, k, i, off, dst, n, digest) && memcmp(digest, k->digests[i], 32) != 0)
		return wrong_digest(c, i, err);
	return 0;
}

/* Entries between the last one and i are empty, or the caller left one out. */
static int skip_to(struct k_ckpt *c, struct kmf *k, int i, struct k_err *err)
{
	for (; k->next < i; k->next++)
		if (c->entries[k->next].bytes > 0)
			return k_err_set(err, K_EBUG, "'%s': %s was left out of a pipe", c->path, c->entries[k->next].name);
	return 0;
}

static int read_pipe(struct k_ckpt *c, int i, uint64_t off, void *dst, size_t n, struct k_err *err)
{
	struct kmf *k = c->impl;
	uint64_t at = k->start + c->entries[i].offset + off, pos = k_source_pos(k->src);
	int r = skip_to(c, k, i, err);

	if (r == 0 && pos > at)
		r = k_err_set(err, K_EBUG, "'%s': %s is read twice from a pipe", c->path, c->entries[i].name);
	if (r == 0)
		r = read_zeros(c, k, at - pos, err);
	if (r == 0)
		r = k_source_read(k->src, dst, n, err);
	if (r < 0)
		return r == K_ETRUNC ? k_err_add(err, "in %s", c->entries[i].name) : r;
	if (hash_in_order(c, k, i, off, dst, n, k->seen[i]))
		k->next = i + 1;
	return 0;
}

static int finish_pipe(struct k_ckpt *c, struct k_err *err)
{
	struct kmf *k = c->impl;
	const void *p;
	size_t more = 0;
	int r = skip_to(c, k, c->n_entries, err);

	if (r == 0)
		r = read_zeros(c, k, k->start + k_align_up(k->data_len, KMF_ALIGN) - k_source_pos(k->src), err);
	if (r == 0)
		r = read_trailer(c, k, false, err);
	if (r < 0)
		return r;
	for (int i = 0; i < c->n_entries; i++)
		if (c->entries[i].bytes && memcmp(k->digests[i], k->seen[i], 32) != 0)
			return wrong_digest(c, i, err);
	r = k_source_peek(k->src, &p, 1, &more, err);
	if (r == 0 && more)
		r = k_err_set(err, K_EFORMAT, "'%s': bytes behind the end mark", c->path);
	return r;
}

/* A gap must be zero, so that equal content is equal bytes. */
static int check_gap(struct k_ckpt *c, struct kmf *k, uint64_t from, uint64_t to, struct k_err *err)
{
	char buf[4096];

	while (from < to) {
		size_t n = (size_t)K_MIN(to - from, sizeof(buf));

		if (k_source_pread(k->src, buf, n, from, err) < 0)
			return err->code;
		for (size_t i = 0; i < n; i++)
			if (buf[i])
				return k_err_set(err, K_EFORMAT, "'%s': padding that is not zero at byte %llu", c->path, (unsigned long long)(from + i));
		from += n;
	}
	return 0;
}

static int finish_file(struct k_ckpt *c, struct k_err *err)
{
	struct kmf *k = c->impl;
	uint64_t end = KMF_FIXED + k->head_len;

	for (int i = 0; i < c->n_entries; i++) {
		if (c->entries[i].bytes == 0)
			continue;
		if (check_gap(c, k, end, k->start + c->entries[i].offset, err) < 0)
			return err->code;
		end = k->start + c->entries[i].offset + c->entries[i].bytes;
	}
	return check_gap(c, k, end, k->start + k_align_up(k->data_len, KMF_ALIGN), err);
}

static const void *map_entry(struct k_ckpt *c, int i)
{
	const struct kmf *k = c->impl;

	return k->base ? k->base + k->start + c->entries[i].offset : NULL;
}

static void close_kmf(struct k_ckpt *c)
{
	struct kmf *k = c->impl;

	if (!k)
		return;
	k_source_close(k->src);
	k_ahead_free(k->ahead);
	k_sha256_free(k->hash);
	k_free(k->digests);
	k_free(k->seen);
	k_free(k);
}

static const struct k_ckpt_ops file_ops = { .read = read_random, .finish = finish_file, .map = map_entry, .close = close_kmf };
static const struct k_ckpt_ops pipe_ops = { .read = read_pipe, .finish = finish_pipe, .close = close_kmf };

/* --- open --------------------------------------------------------------------------------------------------------------- */

static struct k_ckpt *new_ckpt(struct k_source *src, struct k_log *log, struct k_err *err)
{
	struct k_ckpt *c = k_calloc(1, sizeof(*c));
	struct kmf *k = k_calloc(1, sizeof(*k));

	if (!c || !k) {
		k_free(c);
		k_free(k);
		k_source_close(src);
		k_err_nomem(err, sizeof(*c) + sizeof(*k), "a container");
		return NULL;
	}
	k_arena_init(&c->arena);
	k->src = src;
	k->entry = -1;
	c->impl = k;
	c->log = log;
	c->sequential = !k_source_seekable(src);
	c->ops = c->sequential ? &pipe_ops : &file_ops;
	return c;
}

static int open_pipe(struct k_ckpt *c, struct kmf *k, struct k_err *err)
{
	k->seen = k_calloc((size_t)c->n_entries + 1, 32);
	return k->seen ? 0 : k_err_nomem(err, 32 * (size_t)c->n_entries, "digests");
}

int k_kmf_open(struct k_ckpt **out, struct k_source *src, bool map, struct k_log *log, struct k_err *err)
{
	struct k_ckpt *c = new_ckpt(src, log, err);
	struct kmf *k;
	size_t size;
	int r = 0;

	if (!c)
		return err->code;
	k = c->impl;
	c->path = k_arena_strdup(&c->arena, k_source_name(src));
	if (!c->path)
		r = k_err_nomem(err, 256, "a name");
	if (r == 0)
		r = k_sha256_new(&k->hash, err);
	if (r == 0)
		r = read_head(c, k, err);
	if (r == 0)
		r = c->sequential ? open_pipe(c, k, err) : open_file(c, k, err);
	if (r == 0 && map && !c->sequential)
		r = k_source_map(src, (const void **)&k->base, &size, err);
	if (r < 0) {
		k_ckpt_close(c);
		return r;
	}
	*out = c;
	return 0;
}

const uint8_t *k_kmf_digests(struct k_ckpt *c)
{
	const struct kmf *k = c->impl;

	return (c->ops == &file_ops || c->ops == &pipe_ops) && k->digests ? k->digests[0] : NULL;
}

uint64_t k_kmf_data(const struct k_ckpt *c)
{
	return ((const struct kmf *)c->impl)->start;
}

int k_kmf_identity(struct k_ckpt *c, uint8_t out[32], struct k_err *err)
{
	const struct kmf *k = c->impl;

	if (!k_kmf_digests(c))
		return k_err_set(err, K_EUNSUP, "'%s': no container, or its end was not read yet", c->path);
	memcpy(out, k->identity, 32);
	return 0;
}
