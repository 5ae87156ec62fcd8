/* kmf_read.c: containers from files (positioned reads or a map) and from pipes (one forward pass).
 *
 *   file   entry digests from the trailer at open; the leaf digests of an entry when its first leaf was read, checked against its own
 *   pipe   digests of leaves are noted as they come, and compared with the trailer, which comes last, by finish
 */
#include "libcore/base.h"
#include "libcore/hash.h"
#include "libcore/io_ahead.h"
#include "libcore/kmf_layout.h"
#include "libcore/kmf_read.h"

/* --- fixed head and head ------------------------------------------------------------------------------------------------ */

static int read_fixed(struct k_ckpt *c, struct kmf *k, struct k_err *err)
{
	uint8_t fixed[KMF_FIXED];
	uint32_t version;
	int r = k_source_read(k->src, fixed, sizeof(fixed), err);

	if (r < 0)
		return r;
	if (memcmp(fixed, K_KMF_MAGIC, 8) != 0)
		return k_err_set(err, K_EFORMAT, "'%s': not a KMF container: the magic number is wrong%s", c->path,
			memcmp(fixed, K_KMF_MAGIC, 4) == 0 ? "; line ends were changed by a transfer in text mode" : "");
	memcpy(&version, fixed + 8, 4);
	memcpy(&k->flags, fixed + 12, 4);
	memcpy(&k->head_len, fixed + 16, 8);
	memcpy(&k->data_len, fixed + 24, 8);
	memcpy(k->head_digest, fixed + 32, 32);
	if (version == 1)
		return k_err_set(err, K_EUNSUP, "'%s': container version 1, written by ktools before 0.2: convert the source again", c->path);
	if (version != K_KMF_VERSION || k->flags > KMF_DELTA)
		return k_err_set(err, K_EUNSUP, "'%s': container version %u with flags %u; this build reads version %d with flags 0, 1 and 2", c->path,
			version, k->flags, K_KMF_VERSION);
	if (k->head_len == 0 || k->head_len > K_KMF_HEAD_MAX || k->data_len > (uint64_t)1 << 60)
		return k_err_set(err, K_EFORMAT, "'%s': the head is said to have %llu bytes and the data %llu", c->path,
			(unsigned long long)k->head_len, (unsigned long long)k->data_len);
	if (k_source_size(k->src) >= 0 && (uint64_t)k_source_size(k->src) < KMF_FIXED + k->head_len)
		return k_err_set(err, K_ETRUNC, "'%s': the head is said to have %llu bytes, the file has %lld", c->path,
			(unsigned long long)k->head_len, (long long)k_source_size(k->src));
	k->start = kmf_data_start(k->head_len);
	k->trailer_at = k->start + k_align_up(k->data_len, KMF_ALIGN);
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

/* --- digests ------------------------------------------------------------------------------------------------------------ */

static int wrong_digest(const struct k_ckpt *c, int i, struct k_err *err)
{
	return k_err_set(err, K_ECHECK, "'%s': %s has a wrong digest; the container is damaged", c->path, c->entries[i].name);
}

/* The same of a leaf: expert and rows say where. */
static int wrong_leaf(const struct k_ckpt *c, int i, uint64_t leaf, struct k_err *err)
{
	const struct k_entry *e = &c->entries[i];
	const struct kmf *k = c->impl;
	uint64_t slice = k_entry_slice_bytes(e), off, n, in;
	struct k_leaves l;
	char name[1100];
	size_t granule = e->type->granule_bytes(k_entry_cols(e), e->type->granule);

	k_entry_leaves(e, &l);
	n = k_leaf_at(&l, leaf, &off);
	in = off % slice;
	return k_err_set(err, K_ECHECK, "'%s': %s has a wrong digest in its bytes %llu to %llu (rows from %llu on; byte %llu of the file); the container is damaged",
		c->path, k_entry_slice_name(e, (int64_t)(off / slice), name, sizeof(name)), (unsigned long long)in, (unsigned long long)(in + n - 1),
		(unsigned long long)(in / granule * (uint64_t)e->type->granule), (unsigned long long)(k->packed ? kmf_packed_at(k->packed, i, leaf) : k->start + e->offset + off));
}

static int list_digest(const uint8_t (*list)[32], uint64_t n, uint8_t out[32], struct k_err *err)
{
	return k_sha256_once(list, (size_t)n * 32, out, err);
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

/* Which leaf digests are whose. Counts come from the head, so they are only added up here. */
static int count_leaves(struct k_ckpt *c, struct kmf *k, struct k_err *err)
{
	k->first = k_calloc((size_t)c->n_entries + 1, sizeof(*k->first));
	if (!k->first)
		return k_err_nomem(err, (size_t)c->n_entries * sizeof(*k->first), "digests");
	for (int i = 0; i < c->n_entries; i++) {
		k->first[i] = k->n_leaves;
		k->n_leaves += kmf_leaves(&c->entries[i]);
	}
	if (k->n_leaves > (uint64_t)1 << 40)
		return k_err_set(err, K_EFORMAT, "'%s': %llu leaves are too many", c->path, (unsigned long long)k->n_leaves);
	return 0;
}

/* --- trailer ------------------------------------------------------------------------------------------------------------ */

/* The first bytes, and the last, which hold the entries' digests. */
static int check_trailer(struct k_ckpt *c, struct kmf *k, const uint8_t *p, const uint8_t *last, struct k_err *err)
{
	uint64_t n = (uint64_t)c->n_entries, said[2], total, want = k->trailer_at + kmf_trailer_len(c->n_entries, k->n_leaves);
	const uint8_t *end = last + 32 * n + 32;
	struct k_sha256 *hash;

	memcpy(said, p + 8, 16);
	memcpy(&total, end + 8, 8);
	if (memcmp(p, KMF_DIGESTS, 8) != 0 || memcmp(end, KMF_LAST, 8) != 0)
		return k_err_set(err, K_EFORMAT, "'%s': the %s is missing; the container is not complete", c->path,
			memcmp(p, KMF_DIGESTS, 8) != 0 ? "list of digests" : "end mark");
	if (said[0] != n || said[1] != k->n_leaves || total != want)
		return k_err_set(err, K_EFORMAT, "'%s': the trailer speaks of %llu digests, %llu leaves and %llu bytes, wanted %llu, %llu and %llu", c->path,
			(unsigned long long)said[0], (unsigned long long)said[1], (unsigned long long)total, (unsigned long long)n,
			(unsigned long long)k->n_leaves, (unsigned long long)want);
	if (k_sha256_new(&hash, err) < 0)
		return err->code;
	k_sha256_add(hash, k->head_digest, 32);
	k_sha256_add(hash, last, 32 * (size_t)n);
	k_sha256_end(hash, k->identity);
	k_sha256_free(hash);
	if (memcmp(k->identity, last + 32 * n, 32) != 0)
		return k_err_set(err, K_ECHECK, "'%s': the list of digests has a wrong digest", c->path);
	k->digests = k_calloc((size_t)n + 1, 32);
	if (!k->digests)
		return k_err_nomem(err, 32 * (size_t)n, "digests");
	memcpy(k->digests, last, 32 * (size_t)n);
	return check_empty(c, k, err);
}

static int open_file(struct k_ckpt *c, struct kmf *k, struct k_err *err)
{
	uint64_t want = k->trailer_at + kmf_trailer_len(c->n_entries, k->n_leaves), size = (uint64_t)k_source_size(k->src);
	size_t n = (size_t)kmf_trailer_end(c->n_entries);
	uint8_t first[KMF_TRAILER], *last;
	int r;

	if (size != want)
		return k_err_set(err, size < want ? K_ETRUNC : K_EFORMAT, "'%s': the file has %llu bytes, its head wants %llu", c->path,
			(unsigned long long)size, (unsigned long long)want);
	last = k_alloc(n);
	k->known = k_calloc((size_t)c->n_entries + 1, 1);
	k->leaves = k_calloc((size_t)k->n_leaves + 1, 32);
	if (!last || !k->known || !k->leaves) {
		k_free(last);
		return k_err_nomem(err, n + (size_t)k->n_leaves * 32, "the digests");
	}
	r = k_source_pread(k->src, first, sizeof(first), k->trailer_at, err);
	if (r == 0)
		r = k_source_pread(k->src, last, n, size - n, err);
	if (r == 0)
		r = check_trailer(c, k, first, last, err);
	k_free(last);
	return r;
}

/* --- entries of a file -------------------------------------------------------------------------------------------------- */

/* A file is read forward, mostly; who jumps back, or beyond what was asked for, begins anew. Of a mapped one only the side files are read, and
 * at the next start they should be in the page cache. */
static void look_ahead(struct k_ckpt *c, struct kmf *k, int i, uint64_t off)
{
	uint64_t at = c->entries[i].offset + off;

	if (k->base)
		return;
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

	look_ahead(c, k, i, off);
	return k_source_pread(k->src, dst, n, k->start + c->entries[i].offset + off, err);
}

/* The leaf digests of entry i, once; the lock is held. */
static int know(struct k_ckpt *c, struct kmf *k, int i, struct k_err *err)
{
	uint64_t n = kmf_leaves(&c->entries[i]);
	uint8_t digest[32];

	if (k->known[i])
		return 0;
	if (k_source_pread(k->src, k->leaves[k->first[i]], 32 * (size_t)n, k->trailer_at + KMF_TRAILER + 32 * k->first[i], err) < 0 ||
	    list_digest(k->leaves + k->first[i], n, digest, err) < 0)
		return err->code;
	if (memcmp(digest, k->digests[i], 32) != 0)
		return k_err_set(err, K_ECHECK, "'%s': the leaf digests of %s have a wrong digest; the container is damaged", c->path, c->entries[i].name);
	k->known[i] = 1;
	return 0;
}

static int leaf_of_file(struct k_ckpt *c, int i, uint64_t leaf, const uint8_t digest[32], struct k_err *err)
{
	struct kmf *k = c->impl;
	int r = 0;

	if (kmf_leaves(&c->entries[i]) == 0)
		return memcmp(digest, k->digests[i], 32) == 0 ? 0 : wrong_leaf(c, i, leaf, err);
	pthread_mutex_lock(&k->lock);
	r = know(c, k, i, err);
	pthread_mutex_unlock(&k->lock);
	if (r < 0)
		return r;
	return memcmp(digest, k->leaves[k->first[i] + leaf], 32) == 0 ? 0 : wrong_leaf(c, i, leaf, err);
}

/* --- entries of a pipe -------------------------------------------------------------------------------------------------- */

/* Entries between the last one and i are empty, or the caller left one out. */
static int skip_to(struct k_ckpt *c, struct kmf *k, int i, struct k_err *err)
{
	for (; k->next < i; k->next++, k->next_off = 0)
		if (c->entries[k->next].bytes > k->next_off)
			return k_err_set(err, K_EBUG, "'%s': %s was left out of a pipe", c->path, c->entries[k->next].name);
	return 0;
}

static int read_pipe(struct k_ckpt *c, int i, uint64_t off, void *dst, size_t n, struct k_err *err)
{
	struct kmf *k = c->impl;
	uint64_t at = k->start + c->entries[i].offset + off, pos = k_source_pos(k->src);
	int r = skip_to(c, k, i, err);

	if (r == 0 && (pos > at || off != k->next_off))
		r = k_err_set(err, K_EBUG, "'%s': %s is read twice from a pipe, or not in order", c->path, c->entries[i].name);
	if (r == 0)
		r = read_zeros(c, k, at - pos, err);
	if (r == 0)
		r = k_source_read(k->src, dst, n, err);
	if (r < 0)
		return r == K_ETRUNC ? k_err_add(err, "in %s", c->entries[i].name) : r;
	k->next_off = off + n;
	return 0;
}

/* Room grows with what came, not with what the head says will come. */
static int leaf_of_pipe(struct k_ckpt *c, int i, uint64_t leaf, const uint8_t digest[32], struct k_err *err)
{
	struct kmf *k = c->impl;
	bool one = kmf_leaves(&c->entries[i]) == 0;
	uint64_t at = k->first[i] + leaf;
	int r = 0;

	pthread_mutex_lock(&k->lock);
	if (!one && at >= k->cap_leaves) {
		uint64_t cap = K_MIN(2 * at + 64, k->n_leaves);
		void *p = k_realloc(k->leaves, (size_t)cap * 32);

		if (p) {
			k->leaves = p;
			memset(k->leaves[k->cap_leaves], 0, (size_t)(cap - k->cap_leaves) * 32);
			k->cap_leaves = cap;
		} else {
			r = k_err_nomem(err, (size_t)cap * 32, "the digests");
		}
	}
	if (r == 0)
		memcpy(one ? k->single[i] : k->leaves[at], digest, 32);
	pthread_mutex_unlock(&k->lock);
	return r;
}

/* The trailer's leaf digests one by one against those that came. A leaf that nobody hashed has zeros, which no digest is. */
static int compare_leaves(struct k_ckpt *c, struct kmf *k, struct k_err *err)
{
	uint8_t digest[32];

	for (int i = 0; i < c->n_entries; i++)
		for (uint64_t leaf = 0, n = kmf_leaves(&c->entries[i]); leaf < n; leaf++) {
			if (k_source_read(k->src, digest, 32, err) < 0)
				return err->code;
			if (k->first[i] + leaf >= k->cap_leaves || memcmp(digest, k->leaves[k->first[i] + leaf], 32) != 0)
				return wrong_leaf(c, i, leaf, err);
		}
	return 0;
}

static int compare_entries(struct k_ckpt *c, struct kmf *k, struct k_err *err)
{
	uint8_t digest[32];

	for (int i = 0; i < c->n_entries; i++) {
		uint64_t n = kmf_leaves(&c->entries[i]);

		if (c->entries[i].bytes == 0)
			continue;
		if (n && list_digest(k->leaves + k->first[i], n, digest, err) < 0)
			return err->code;
		if (memcmp(n ? digest : k->single[i], k->digests[i], 32) != 0)
			return wrong_digest(c, i, err);
	}
	return 0;
}

/* Up to the trailer. */
static int end_pipe(struct k_ckpt *c, struct kmf *k, struct k_err *err)
{
	int r = skip_to(c, k, c->n_entries, err);

	return r < 0 ? r : read_zeros(c, k, k->trailer_at - k_source_pos(k->src), err);
}

static int finish_pipe(struct k_ckpt *c, struct k_err *err)
{
	struct kmf *k = c->impl;
	size_t n = (size_t)kmf_trailer_end(c->n_entries), more = 0;
	uint8_t first[KMF_TRAILER], *last = k_alloc(n);
	const void *p;
	int r = last ? 0 : k_err_nomem(err, n, "the digests");

	if (r == 0)
		r = k->packed ? kmf_packed_end(c, k, err) : end_pipe(c, k, err);
	if (r == 0)
		r = k_source_read(k->src, first, sizeof(first), err);
	if (r == 0)
		r = compare_leaves(c, k, err);
	if (r == 0)
		r = k_source_read(k->src, last, n, err);
	if (r == 0)
		r = check_trailer(c, k, first, last, err);
	if (r == 0)
		r = compare_entries(c, k, err);
	if (r == 0)
		r = k_source_peek(k->src, &p, 1, &more, err);
	if (r == 0 && more)
		r = k_err_set(err, K_EFORMAT, "'%s': bytes behind the end mark", c->path);
	k_free(last);
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
	k_free(k->digests);
	k_free(k->first);
	k_free(k->leaves);
	k_free(k->single);
	k_free(k->known);
	kmf_packed_free(k->packed);
	pthread_mutex_destroy(&k->lock);
	k_free(k);
}

static int stamp(struct k_ckpt *c, bool here K_UNUSED, struct k_sha256 *h, struct k_err *err K_UNUSED)
{
	const struct kmf *k = c->impl;

	k_sha256_add(h, k->identity, 32);
	return 0;
}

static const struct k_ckpt_ops file_ops = { .read = read_random, .leaf = leaf_of_file, .finish = finish_file, .stamp = stamp, .map = map_entry,
	.close = close_kmf };
static const struct k_ckpt_ops unfinished_ops = { .read = read_random, .finish = finish_file, .close = close_kmf };
static const struct k_ckpt_ops pipe_ops = { .read = read_pipe, .leaf = leaf_of_pipe, .finish = finish_pipe, .close = close_kmf };
static const struct k_ckpt_ops packed_file_ops = { .read = kmf_packed_read, .fetch = kmf_packed_fetch, .unpack = kmf_packed_unpack,
	.leaf = leaf_of_file, .stamp = stamp, .close = close_kmf };
static const struct k_ckpt_ops packed_pipe_ops = { .read = kmf_packed_read, .fetch = kmf_packed_fetch, .unpack = kmf_packed_unpack,
	.leaf = leaf_of_pipe, .finish = finish_pipe, .close = close_kmf };

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
	pthread_mutex_init(&k->lock, NULL);
	c->impl = k;
	c->log = log;
	c->sequential = !k_source_seekable(src);
	c->ops = c->sequential ? &pipe_ops : &file_ops;
	return c;
}

static int open_pipe(struct k_ckpt *c, struct kmf *k, struct k_err *err)
{
	k->single = k_calloc((size_t)c->n_entries + 1, 32);
	return k->single ? 0 : k_err_nomem(err, 32 * (size_t)c->n_entries, "digests");
}

/* Up to what follows from the head. */
static int open_head(struct k_ckpt **out, struct k_source *src, struct k_log *log, struct k_err *err)
{
	struct k_ckpt *c = new_ckpt(src, log, err);
	int r = 0;

	*out = c;
	if (!c)
		return err->code;
	c->path = k_arena_strdup(&c->arena, k_source_name(src));
	if (!c->path)
		r = k_err_nomem(err, 256, "a name");
	if (r == 0)
		r = read_head(c, c->impl, err);
	return r < 0 ? r : count_leaves(c, c->impl, err);
}

static int open_packed(struct k_ckpt *c, struct kmf *k, struct k_err *err)
{
	c->ops = c->sequential ? &packed_pipe_ops : &packed_file_ops;
	return kmf_packed_open(c, k, err);
}

int k_kmf_open(struct k_ckpt **out, struct k_source *src, bool map, struct k_log *log, struct k_err *err)
{
	struct k_ckpt *c;
	int r = open_head(&c, src, log, err);
	size_t size;

	if (r == 0 && ((struct kmf *)c->impl)->flags)
		r = open_packed(c, c->impl, err);
	if (r == 0)
		r = c->sequential ? open_pipe(c, c->impl, err) : open_file(c, c->impl, err);
	if (r == 0 && map && c->ops->map)
		r = k_source_map(src, (const void **)&((struct kmf *)c->impl)->base, &size, err);
	if (r < 0) {
		k_ckpt_close(c);
		return r;
	}
	*out = c;
	return 0;
}

int k_kmf_open_unfinished(struct k_ckpt **out, struct k_source *src, struct k_err *err)
{
	struct k_ckpt *c;
	int r = open_head(&c, src, NULL, err);

	if (r == 0 && ((struct kmf *)c->impl)->flags)
		r = k_err_set(err, K_EUNSUP, "'%s' is packed, and has no unfinished form", c->path);
	/* Digests have room for what the head says: the file has to have it. */
	if (r == 0 && (uint64_t)k_source_size(src) < ((struct kmf *)c->impl)->trailer_at)
		r = k_err_set(err, K_ETRUNC, "'%s': the file has %lld bytes, its data ends at %llu", c->path, (long long)k_source_size(src),
			(unsigned long long)((struct kmf *)c->impl)->trailer_at);
	if (r < 0) {
		k_ckpt_close(c);
		return r;
	}
	c->ops = &unfinished_ops;
	*out = c;
	return 0;
}

const struct kmf *kmf_of(const struct k_ckpt *c)
{
	return c->ops && c->ops->close == close_kmf ? c->impl : NULL;
}

const uint8_t *k_kmf_digests(struct k_ckpt *c)
{
	const struct kmf *k = kmf_of(c);

	return k && k->digests ? k->digests[0] : NULL;
}

int k_kmf_leaf_digest(struct k_ckpt *c, int i, uint64_t leaf, uint8_t out[32], struct k_err *err)
{
	struct kmf *k = c->impl;
	int r = 0;

	K_ASSERT(k_kmf_digests(c) && k->known);
	if (kmf_leaves(&c->entries[i]) == 0) {
		memcpy(out, k->digests[i], 32);
		return 0;
	}
	pthread_mutex_lock(&k->lock);
	r = know(c, k, i, err);
	pthread_mutex_unlock(&k->lock);
	if (r == 0)
		memcpy(out, k->leaves[k->first[i] + leaf], 32);
	return r;
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
