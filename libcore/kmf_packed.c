/* kmf_packed.c: packed containers and deltas, read. A leaf is a block; where it stands is known from the index (a file) or from the
 * block in front of it (a pipe).
 *
 *   fetch, one thread    block -> the first bytes of the leaf's place; what refers elsewhere is followed
 *   unpack, any thread   in place
 *   read                 both; of a leaf that is wanted in pieces the bytes are held
 *
 * Digests are of unpacked leaves and compared where those of plain containers are. */
#include "libcore/base.h"
#include <stdio.h>
#include "libcore/kmf_layout.h"
#include "libcore/kmf_read.h"
#include "libcore/pack.h"
#include <pthread.h>

enum { LEAF_MOST = 1 << 30 };

struct state { uint32_t len; uint8_t method; };         /* of a leaf that was fetched */

struct kmf_packed {
	uint64_t *first, n;             /* first[i]: of entry i's leaves among all n */
	uint64_t *index;                /* places of blocks; a file: n + 1; a pipe: of those that came */
	struct state *states;
	uint64_t cap;                   /* of index and states: a pipe's grow */
	pthread_mutex_t lock;           /* of states and, in a pipe, index */
	uint64_t next;                  /* a pipe: the leaf that comes next */
	uint64_t held; uint8_t *leaf; size_t leaf_cap;  /* the leaf in memory, from 1 on; 0: none */
	struct k_ckpt *base; uint64_t *base_first;
	uint8_t base_identity[32];
};

struct place { int entry; uint64_t leaf, off; size_t n; };

/* --- leaves ------------------------------------------------------------------------------------------------------------- */

int kmf_packed_check(const char *path, const struct k_entry *entries, int n, struct k_err *err)
{
	for (int i = 0; i < n; i++) {
		struct k_leaves l;

		k_entry_leaves(&entries[i], &l);
		if (l.n && K_MIN(l.leaf, l.span) > LEAF_MOST)
			return k_err_set(err, K_EUNSUP, "'%s': %s has rows of more than %d bytes, which are not packed", path, entries[i].name, LEAF_MOST);
	}
	return 0;
}

static int number_leaves(const struct k_ckpt *c, uint64_t **first, struct k_err *err)
{
	uint64_t *p = k_calloc((size_t)c->n_entries + 1, sizeof(*p));

	*first = p;
	if (!p)
		return k_err_nomem(err, (size_t)c->n_entries * sizeof(*p), "the leaves");
	for (int i = 0; i < c->n_entries; i++)
		p[i + 1] = p[i] + kmf_all_leaves(&c->entries[i]);
	return 0;
}

static struct place place_of(const struct k_ckpt *c, const uint64_t *first, uint64_t leaf)
{
	int lo = 0, hi = c->n_entries;
	struct place p;
	struct k_leaves l;

	while (hi - lo > 1) {
		int mid = lo + (hi - lo) / 2;

		if (first[mid] <= leaf)
			lo = mid;
		else
			hi = mid;
	}
	k_entry_leaves(&c->entries[lo], &l);
	p.entry = lo;
	p.leaf = leaf - first[lo];
	p.n = (size_t)k_leaf_at(&l, p.leaf, &p.off);
	return p;
}

static int bad(const struct k_ckpt *c, uint64_t leaf, const char *why, struct k_err *err)
{
	const struct kmf *k = c->impl;
	struct place p = place_of(c, k->packed->first, leaf);
	const struct k_entry *e = &c->entries[p.entry];
	uint64_t slice = k_entry_slice_bytes(e);
	char name[1100], text[sizeof(err->msg)];

	memcpy(text, why, strnlen(why, sizeof(text) - 1) + 1);
	text[sizeof(text) - 1] = 0;
	return k_err_set(err, K_EFORMAT, "'%s': the packed block of %s, bytes %llu to %llu, at byte %llu of the file, is damaged: %s", c->path,
		k_entry_slice_name(e, (int64_t)(p.off / slice), name, sizeof(name)), (unsigned long long)(p.off % slice),
		(unsigned long long)(p.off % slice + p.n - 1), (unsigned long long)k->packed->index[leaf], text);
}

/* --- blocks ------------------------------------------------------------------------------------------------------------- */

static int check_block(struct k_ckpt *c, uint64_t leaf, size_t n, const struct state *s, struct k_err *err)
{
	const struct kmf_packed *q = ((struct kmf *)c->impl)->packed;
	bool reference = s->method == KMF_OF_BASE || s->method == KMF_OF_FILE;
	char why[120];

	if (s->method > KMF_OF_FILE || (s->method == KMF_OF_BASE && !(((struct kmf *)c->impl)->flags & KMF_DELTA)))
		snprintf(why, sizeof(why), "method %u is not known", s->method);
	else if (reference ? s->len != KMF_REFERENCE : s->method == KMF_STORED ? s->len != n : s->len >= n)
		snprintf(why, sizeof(why), "%u bytes for a leaf of %zu in method %u", s->len, n, s->method);
	else if (!c->sequential && q->index[leaf] + KMF_BLOCK + s->len != q->index[leaf + 1])
		snprintf(why, sizeof(why), "%u bytes, but %llu in the index", s->len, (unsigned long long)(q->index[leaf + 1] - q->index[leaf] - KMF_BLOCK));
	else
		return 0;
	return bad(c, leaf, why, err);
}

/* The head of block `leaf`, which has n bytes when unpacked. */
static int read_state(struct k_ckpt *c, uint64_t leaf, size_t n, struct state *s, struct k_err *err)
{
	struct kmf *k = c->impl;
	uint8_t head[KMF_BLOCK];
	int r;

	r = c->sequential ? k_source_read(k->src, head, sizeof(head), err) : k_source_pread(k->src, head, sizeof(head), k->packed->index[leaf], err);
	if (r < 0)
		return r;
	memcpy(&s->len, head, 4);
	s->method = head[4];
	return check_block(c, leaf, n, s, err);
}

static int read_payload(struct k_ckpt *c, uint64_t leaf, void *dst, size_t n, struct k_err *err)
{
	struct kmf *k = c->impl;

	if (c->sequential)
		return k_source_read(k->src, dst, n, err);
	return k_source_pread(k->src, dst, n, k->packed->index[leaf] + KMF_BLOCK, err);
}

static int read_base(struct k_ckpt *c, uint64_t leaf, uint64_t of, uint8_t *dst, size_t n, struct k_err *err)
{
	const struct kmf_packed *q = ((struct kmf *)c->impl)->packed;
	struct place p;

	if (!q->base)
		return k_err_set(err, K_EUSAGE, "'%s' is a delta: kconvert BASE '%s' -o FULL restores what it was made from", c->path, c->path);
	if (of >= q->base_first[q->base->n_entries])
		return bad(c, leaf, "it refers to a leaf that the base does not have", err);
	p = place_of(q->base, q->base_first, of);
	return p.n == n ? k_ckpt_read(q->base, p.entry, p.off, dst, n, err) : bad(c, leaf, "it refers to a leaf of the base of another size", err);
}

/* The payload of an earlier leaf, which is no reference itself. */
static int read_earlier(struct k_ckpt *c, uint64_t leaf, uint64_t of, uint8_t *dst, size_t n, struct state *s, struct k_err *err)
{
	const struct kmf_packed *q = ((struct kmf *)c->impl)->packed;
	int r;

	if (c->sequential) {
		struct place p = place_of(c, q->first, leaf);

		return k_err_set(err, K_EUSAGE, "'%s': %s is stored once, further in front, and a pipe cannot go back: read it from a file", c->path,
			c->entries[p.entry].name);
	}
	if (of >= leaf || place_of(c, q->first, of).n != n)
		return bad(c, leaf, "it refers to no earlier leaf of its size", err);
	r = read_state(c, of, n, s, err);
	if (r == 0 && (s->method == KMF_OF_BASE || s->method == KMF_OF_FILE))
		r = bad(c, leaf, "it refers to a reference", err);
	return r < 0 ? r : read_payload(c, of, dst, s->len, err);
}

/* Room for what is known of a leaf of a pipe. */
static int grow(struct kmf_packed *q, struct k_err *err)
{
	uint64_t cap = K_MIN(2 * q->next + 64, q->n + 1), *index = k_realloc(q->index, (size_t)cap * sizeof(*index));
	struct state *states;

	if (index)
		q->index = index;
	states = index ? k_realloc(q->states, (size_t)cap * sizeof(*states)) : NULL;
	if (!states)
		return k_err_nomem(err, (size_t)cap * sizeof(*index), "the index");
	q->states = states;
	q->cap = cap;
	return 0;
}

/* A pipe is read in order. */
static int take_turn(struct k_ckpt *c, uint64_t leaf, struct k_err *err)
{
	struct kmf *k = c->impl;
	struct kmf_packed *q = k->packed;
	int r = 0;

	if (leaf != q->next)
		return k_err_set(err, K_EBUG, "'%s': %s is read twice from a pipe, or not in order", c->path,
			c->entries[place_of(c, q->first, leaf).entry].name);
	pthread_mutex_lock(&q->lock);
	if (q->next + 1 >= q->cap)
		r = grow(q, err);
	if (r == 0)
		q->index[q->next++] = k_source_pos(k->src);
	pthread_mutex_unlock(&q->lock);
	return r;
}

static int fetch_leaf(struct k_ckpt *c, uint64_t leaf, uint8_t *dst, size_t n, struct k_err *err)
{
	struct kmf_packed *q = ((struct kmf *)c->impl)->packed;
	uint64_t of = 0;
	struct state s;
	int r = c->sequential ? take_turn(c, leaf, err) : 0;

	if (r == 0)
		r = read_state(c, leaf, n, &s, err);
	if (r == 0 && (s.method == KMF_OF_BASE || s.method == KMF_OF_FILE)) {
		bool base = s.method == KMF_OF_BASE;

		r = read_payload(c, leaf, &of, KMF_REFERENCE, err);
		if (r == 0)
			r = base ? read_base(c, leaf, of, dst, n, err) : read_earlier(c, leaf, of, dst, n, &s, err);
		if (base)
			s = (struct state){ (uint32_t)n, KMF_STORED };
	} else if (r == 0) {
		r = read_payload(c, leaf, dst, s.len, err);
	}
	if (r < 0)
		return r == K_ETRUNC ? k_err_add(err, "in %s", c->entries[place_of(c, q->first, leaf).entry].name) : r;
	pthread_mutex_lock(&q->lock);
	q->states[leaf] = s;
	pthread_mutex_unlock(&q->lock);
	return 0;
}

static int unpack_leaf(struct k_ckpt *c, uint64_t leaf, uint8_t *p, size_t n, struct k_err *err)
{
	struct kmf_packed *q = ((struct kmf *)c->impl)->packed;
	uint8_t *packed, *scratch;
	struct state s;
	struct k_err why;
	int r;

	pthread_mutex_lock(&q->lock);
	s = q->states[leaf];
	pthread_mutex_unlock(&q->lock);
	if (s.method == KMF_STORED)
		return 0;
	packed = k_alloc(s.len);
	scratch = k_alloc(n);
	if (packed && scratch) {
		memcpy(packed, p, s.len);
		r = k_pack_decode(p, n, packed, s.len, scratch, &why);
	} else {
		r = k_err_nomem(&why, n + s.len, "unpacking");
	}
	k_free(packed);
	k_free(scratch);
	if (r == K_EFORMAT) {
		pthread_mutex_lock(&q->lock);
		r = bad(c, leaf, why.msg, err);
		pthread_mutex_unlock(&q->lock);
	} else if (r < 0) {
		*err = why;
	}
	return r;
}

/* --- for checkpoints ---------------------------------------------------------------------------------------------------- */

/* do_leaf on each leaf of [off, off + n), which are whole ones. */
static int each_leaf(struct k_ckpt *c, int i, uint64_t off, uint8_t *p, size_t n,
	int (*do_leaf)(struct k_ckpt *, uint64_t, uint8_t *, size_t, struct k_err *), struct k_err *err)
{
	const struct kmf_packed *q = ((struct kmf *)c->impl)->packed;
	struct k_leaves l;

	k_entry_leaves(&c->entries[i], &l);
	while (n > 0) {
		uint64_t leaf = k_leaf_of(&l, off), begin, size = k_leaf_at(&l, leaf, &begin);

		K_ASSERT(begin == off && size <= n);
		if (do_leaf(c, q->first[i] + leaf, p, (size_t)size, err) < 0)
			return err->code;
		p += size;
		off += size;
		n -= (size_t)size;
	}
	return 0;
}

int kmf_packed_fetch(struct k_ckpt *c, int i, uint64_t off, void *dst, size_t n, struct k_err *err)
{
	return each_leaf(c, i, off, dst, n, fetch_leaf, err);
}

int kmf_packed_unpack(struct k_ckpt *c, int i, uint64_t off, void *p, size_t n, struct k_err *err)
{
	return each_leaf(c, i, off, p, n, unpack_leaf, err);
}

static int hold(struct k_ckpt *c, uint64_t leaf, size_t n, struct k_err *err)
{
	struct kmf_packed *q = ((struct kmf *)c->impl)->packed;

	if (q->held == leaf + 1)
		return 0;
	q->held = 0;
	if (n > q->leaf_cap) {
		k_free(q->leaf);
		q->leaf_cap = 0;
		q->leaf = k_alloc(n);
		if (!q->leaf)
			return k_err_nomem(err, n, "a leaf");
		q->leaf_cap = n;
	}
	if (fetch_leaf(c, leaf, q->leaf, n, err) < 0 || unpack_leaf(c, leaf, q->leaf, n, err) < 0)
		return err->code;
	q->held = leaf + 1;
	return 0;
}

int kmf_packed_read(struct k_ckpt *c, int i, uint64_t off, void *dst, size_t n, struct k_err *err)
{
	struct kmf_packed *q = ((struct kmf *)c->impl)->packed;
	uint8_t *to = dst;
	struct k_leaves l;

	k_entry_leaves(&c->entries[i], &l);
	while (n > 0) {
		uint64_t in = k_leaf_of(&l, off), begin, size = k_leaf_at(&l, in, &begin), leaf = q->first[i] + in;
		size_t part = (size_t)K_MIN((uint64_t)n, begin + size - off);
		int r;

		if (part == size && q->held != leaf + 1) {
			r = fetch_leaf(c, leaf, to, part, err);
			if (r == 0)
				r = unpack_leaf(c, leaf, to, part, err);
		} else {
			r = hold(c, leaf, (size_t)size, err);
			if (r == 0)
				memcpy(to, q->leaf + (off - begin), part);
		}
		if (r < 0)
			return r;
		to += part;
		off += part;
		n -= part;
	}
	return 0;
}

/* --- opening ------------------------------------------------------------------------------------------------------------ */

/* The index of a file, all of it: blocks follow each other from `begin` to the index itself. */
static int check_index(struct k_ckpt *c, const struct kmf_packed *q, uint64_t begin, uint64_t end, struct k_err *err)
{
	if (q->index[0] != begin || q->index[q->n] != end)
		return k_err_set(err, K_EFORMAT, "'%s': the index goes from byte %llu to %llu, the blocks from %llu to %llu", c->path,
			(unsigned long long)q->index[0], (unsigned long long)q->index[q->n], (unsigned long long)begin, (unsigned long long)end);
	for (uint64_t i = 0; i < q->n; i++)
		if (q->index[i + 1] <= q->index[i] || q->index[i + 1] - q->index[i] < KMF_BLOCK || q->index[i + 1] > end)
			return k_err_set(err, K_EFORMAT, "'%s': block %llu stands at byte %llu in the index, the next at %llu", c->path, (unsigned long long)i,
				(unsigned long long)q->index[i], (unsigned long long)q->index[i + 1]);
	return 0;
}

static uint64_t index_len(const struct kmf_packed *q) { return 16 + 8 * (q->n + 1); }

static int check_index_head(const struct k_ckpt *c, const struct kmf_packed *q, const uint8_t head[16], struct k_err *err)
{
	uint64_t n;

	memcpy(&n, head + 8, 8);
	if (memcmp(head, KMF_INDEX, 8) == 0 && n == q->n)
		return 0;
	return k_err_set(err, K_EFORMAT, "'%s': the index of %llu blocks is missing", c->path, (unsigned long long)q->n);
}

/* From the end: what the head wants there is as long as it says, else nothing is allocated. */
static int open_file(struct k_ckpt *c, struct kmf *k, struct k_err *err)
{
	struct kmf_packed *q = k->packed;
	uint64_t size = (uint64_t)k_source_size(k->src), begin = k_source_pos(k->src), behind = kmf_trailer_len(c->n_entries, k->n_leaves) + index_len(q), at;
	uint8_t head[16];
	int r;

	if (size < begin || size - begin < behind || (size - begin - behind) / KMF_BLOCK < q->n)
		return k_err_set(err, K_ETRUNC, "'%s': the file has %llu bytes, too few for %llu blocks, their index and digests", c->path,
			(unsigned long long)size, (unsigned long long)q->n);
	at = size - behind;
	k->trailer_at = at + index_len(q);
	q->cap = q->n + 1;
	q->index = k_calloc((size_t)q->cap, sizeof(*q->index));
	q->states = k_calloc((size_t)q->cap, sizeof(*q->states));
	if (!q->index || !q->states)
		return k_err_nomem(err, (size_t)q->cap * (sizeof(*q->index) + sizeof(*q->states)), "the index");
	r = k_source_pread(k->src, head, sizeof(head), at, err);
	if (r == 0)
		r = check_index_head(c, q, head, err);
	if (r == 0)
		r = k_source_pread(k->src, q->index, (size_t)(q->n + 1) * 8, at + 16, err);
	return r < 0 ? r : check_index(c, q, begin, at, err);
}

int kmf_packed_open(struct k_ckpt *c, struct kmf *k, struct k_err *err)
{
	struct kmf_packed *q = k->packed = k_calloc(1, sizeof(*q));
	int r;

	if (!q)
		return k_err_nomem(err, sizeof(*q), "a container");
	pthread_mutex_init(&q->lock, NULL);
	r = kmf_packed_check(c->path, c->entries, c->n_entries, err);
	if (r == 0)
		r = number_leaves(c, &q->first, err);
	if (r == 0)
		q->n = q->first[c->n_entries];
	if (r == 0 && (k->flags & KMF_DELTA))
		r = k_source_read(k->src, q->base_identity, 32, err);
	return r < 0 || c->sequential ? r : open_file(c, k, err);
}

/* The index of a pipe, against what came. */
int kmf_packed_end(struct k_ckpt *c, struct kmf *k, struct k_err *err)
{
	struct kmf_packed *q = k->packed;
	uint64_t at = k_source_pos(k->src), said;
	uint8_t head[16];
	int r;

	if (q->next < q->n)
		return k_err_set(err, K_EBUG, "'%s': %s was left out of a pipe", c->path, c->entries[place_of(c, q->first, q->next).entry].name);
	r = k_source_read(k->src, head, sizeof(head), err);
	if (r == 0)
		r = check_index_head(c, q, head, err);
	for (uint64_t i = 0; r == 0 && i <= q->n; i++) {
		r = k_source_read(k->src, &said, 8, err);
		if (r == 0 && said != (i < q->n ? q->index[i] : at))
			r = k_err_set(err, K_EFORMAT, "'%s': block %llu stands at byte %llu in the index, and at %llu in the file", c->path, (unsigned long long)i,
				(unsigned long long)said, (unsigned long long)(i < q->n ? q->index[i] : at));
	}
	k->trailer_at = k_source_pos(k->src);
	return r;
}

uint64_t kmf_packed_at(const struct kmf_packed *q, int i, uint64_t leaf) { return q->index[q->first[i] + leaf]; }

void kmf_packed_free(struct kmf_packed *q)
{
	if (!q)
		return;
	k_free(q->first);
	k_free(q->index);
	k_free(q->states);
	k_free(q->leaf);
	k_free(q->base_first);
	pthread_mutex_destroy(&q->lock);
	k_free(q);
}

/* --- deltas ------------------------------------------------------------------------------------------------------------- */

static const char *hex(char out[65], const uint8_t digest[32])
{
	for (int i = 0; i < 32; i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
	return out;
}

bool k_kmf_is_packed(const struct k_ckpt *c)
{
	const struct kmf *k = kmf_of(c);

	return k && k->packed;
}

bool k_kmf_is_delta(const struct k_ckpt *c)
{
	const struct kmf *k = kmf_of(c);

	return k && k->packed && (k->flags & KMF_DELTA);
}

int k_kmf_set_base(struct k_ckpt *delta, struct k_ckpt *base, struct k_err *err)
{
	uint8_t identity[32];
	char want[65], have[65];
	struct kmf_packed *q;

	if (!k_kmf_is_delta(delta))
		return k_err_set(err, K_EUSAGE, "'%s' is no delta: with two models, the first is the base and the second what --since made of another",
			delta->path);
	if (base->sequential || !kmf_of(base))
		return k_err_set(err, K_EUSAGE, "'%s' cannot be the base of a delta: wanted a container that is a file", base->path);
	if (k_kmf_identity(base, identity, err) < 0)
		return err->code;
	q = ((struct kmf *)delta->impl)->packed;
	if (memcmp(identity, q->base_identity, 32) != 0)
		return k_err_set(err, K_ECHECK, "'%s' was made with a base of identity %s; '%s' has %s", delta->path, hex(want, q->base_identity),
			base->path, hex(have, identity));
	k_free(q->base_first);
	q->base_first = NULL;
	if (number_leaves(base, &q->base_first, err) < 0)
		return err->code;
	q->base = base;
	return 0;
}
