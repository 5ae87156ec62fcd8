/* kmf_pack.c: packed containers and deltas, written. Inside is the target of plain containers, which makes the bytes; here each leaf
 * of them becomes a block.
 *
 *   note, many threads   leaf -> packed, or a reference to the base      a bundle: the blocks of one block of the stream
 *   settle, in order     a leaf that was there before -> a reference; offsets for the index
 *   end                  index, then the trailer that the plain container has
 */
#include "libcore/base.h"
#include "libcore/kmf_layout.h"
#include "libcore/kmf_pack.h"
#include "libcore/kmf_read.h"
#include "libcore/map.h"
#include "libcore/pack.h"
#include <pthread.h>

/* A reference is worth its while only for what is larger than it, and one within the file, which a pipe cannot follow, for more. */
enum { WORTH_BASE = 32, WORTH_SELF = 4096 };

struct bundle { struct bundle *next; int64_t index; uint8_t *p; size_t cap, n; };

struct packer {
	struct k_target t, *inner;
	struct k_kmf_plan *plan;        /* inner's */
	struct k_buf head;
	struct k_out_file file;
	struct k_out_const consts;
	struct k_ckpt *base;
	uint8_t (*base_digests)[32];
	struct k_map in_base, in_file;  /* digest -> number of its first leaf, from 1 on */
	uint64_t *index, leaf, at;      /* place of each block; the next one's number and place */
	pthread_mutex_t lock;           /* of the lists */
	struct bundle *packed, *spare;
};

/* --- bundles ------------------------------------------------------------------------------------------------------------ */

static void free_bundles(struct bundle *x)
{
	while (x) {
		struct bundle *next = x->next;

		k_free(x->p);
		k_free(x);
		x = next;
	}
}

/* One with room for n bytes, in the list of the packed ones. */
static struct bundle *new_bundle(struct packer *p, int64_t index, size_t n, struct k_err *err)
{
	struct bundle *x;

	pthread_mutex_lock(&p->lock);
	x = p->spare;
	if (x)
		p->spare = x->next;
	pthread_mutex_unlock(&p->lock);
	if (!x)
		x = k_calloc(1, sizeof(*x));
	if (x && x->cap < n) {
		k_free(x->p);
		x->p = k_alloc(n);
		x->cap = x->p ? n : 0;
	}
	if (x) {
		x->index = index;
		x->n = 0;
		pthread_mutex_lock(&p->lock);
		x->next = p->packed;
		p->packed = x;
		pthread_mutex_unlock(&p->lock);
	}
	if (!x || !x->p)
		k_err_nomem(err, n, "a packed block");
	return x && x->p ? x : NULL;
}

/* Bundles behind the one that is being written are done with. */
static struct bundle *find_bundle(struct packer *p, int64_t index)
{
	struct bundle **at = &p->packed, *x, *found = NULL;

	pthread_mutex_lock(&p->lock);
	while ((x = *at) != NULL) {
		if (x->index < index) {
			*at = x->next;
			x->next = p->spare;
			p->spare = x;
			continue;
		}
		if (x->index == index)
			found = x;
		at = &x->next;
	}
	pthread_mutex_unlock(&p->lock);
	return found;
}

/* --- packing ------------------------------------------------------------------------------------------------------------ */

static size_t put_block(uint8_t *at, enum kmf_method method, size_t len)
{
	uint32_t n = (uint32_t)len;

	memcpy(at, &n, 4);
	at[4] = (uint8_t)method;
	return KMF_BLOCK + len;
}

static size_t put_reference(uint8_t *at, enum kmf_method method, uint64_t leaf)
{
	memcpy(at + KMF_BLOCK, &leaf, KMF_REFERENCE);
	return put_block(at, method, KMF_REFERENCE);
}

/* One leaf -> a block at `at`; its length, 0 without memory. */
static size_t pack_leaf(struct packer *p, const struct k_pack_fields *fields, uint64_t leaf, const uint8_t *bytes, size_t n, uint8_t *at,
	struct k_err *err)
{
	void *in_base = n > WORTH_BASE ? k_map_find(&p->in_base, (const char *)p->plan->leaves[leaf], 32) : NULL;
	uint8_t *scratch;
	size_t len = 0;
	int r;

	if (in_base)
		return put_reference(at, KMF_OF_BASE, (uint64_t)(uintptr_t)in_base - 1);
	scratch = k_alloc(n);
	r = scratch ? k_pack_encode(at + KMF_BLOCK, &len, bytes, n, fields, scratch, err) : k_err_nomem(err, n, "packing");
	k_free(scratch);
	if (r < 0)
		return 0;
	if (len)
		return put_block(at, KMF_PLANES, len);
	memcpy(at + KMF_BLOCK, bytes, n);
	return put_block(at, KMF_STORED, n);
}

static int note(const struct k_target *t, const struct k_block *b, struct k_err *err)
{
	struct packer *p = t->arg;
	const struct k_entry *e = &p->plan->entries[b->entry];
	uint64_t off = b->dst[0].at - p->plan->start - e->offset, end = off + b->dst[0].n, begin, n;
	const uint8_t *bytes = b->dst[0].p;
	struct k_pack_fields fields;
	struct k_leaves l;
	struct bundle *x;
	size_t len;

	if (p->inner->note(p->inner, b, err) < 0)
		return err->code;
	k_entry_leaves(e, &l);
	k_pack_fields_of(e, &fields);
	x = new_bundle(p, b->index, b->dst[0].n + (k_leaf_of(&l, end - 1) - k_leaf_of(&l, off) + 1) * (KMF_BLOCK + KMF_REFERENCE), err);
	for (; x && off < end; off += n, bytes += n) {
		uint64_t leaf = k_leaf_of(&l, off);

		n = k_leaf_at(&l, leaf, &begin);
		len = pack_leaf(p, &fields, p->plan->first[b->entry] + leaf, bytes, (size_t)n, x->p + x->n, err);
		if (!len)
			return err->code;
		x->n += len;
	}
	return x ? 0 : err->code;
}

/* --- in order ----------------------------------------------------------------------------------------------------------- */

/* The number of an earlier leaf with the bytes of the next one, from 1 on; 0: there is none, and now this is one. -1: no memory. */
static int64_t seen_before(struct packer *p)
{
	const char *digest = (const char *)p->plan->leaves[p->leaf];
	int r = k_map_put(&p->in_file, digest, 32, (void *)(uintptr_t)(p->leaf + 1));

	return r ? (r < 0 ? -1 : 0) : (int64_t)(uintptr_t)k_map_find(&p->in_file, digest, 32);
}

static int settle(const struct k_target *t, struct k_block *b, struct k_err *err)
{
	struct packer *p = t->arg;
	struct bundle *x = find_bundle(p, b->index);
	size_t to = 0, len;
	uint32_t n;

	K_ASSERT(x);
	for (size_t from = 0; from < x->n; from += len, p->leaf++) {
		enum kmf_method method = x->p[from + 4];
		int64_t twin = 0;

		memcpy(&n, x->p + from, 4);
		len = KMF_BLOCK + n;
		if (method != KMF_OF_BASE && n >= WORTH_SELF)
			twin = seen_before(p);
		if (twin < 0)
			return k_err_nomem(err, 64, "the digests");
		p->index[p->leaf] = p->at + to;
		if (twin) {
			to += put_reference(x->p + to, KMF_OF_FILE, (uint64_t)twin - 1);
			continue;
		}
		memmove(x->p + to, x->p + from, len);
		to += len;
	}
	b->dst[0] = (struct k_plane){ .p = x->p, .n = to, .at = p->at };
	p->at += to;
	return 0;
}

static int end(const struct k_target *t, struct k_out *out, struct k_err *err)
{
	struct packer *p = t->arg;
	struct k_buf b;
	int r;

	p->index[p->leaf] = p->at;
	k_buf_init(&b, 0);
	k_buf_put(&b, KMF_INDEX, 8);
	k_buf_put(&b, &p->leaf, 8);
	k_buf_put(&b, p->index, (size_t)(p->leaf + 1) * 8);
	p->plan->total = p->at + b.len + kmf_trailer_len(p->plan->n_entries, p->plan->n_leaves);
	r = k_kmf_plan_trailer(p->plan, &b, err);
	if (r == 0)
		r = k_out_put(out, 0, p->at, b.data, b.len, false, err);
	k_buf_fini(&b);
	return r;
}

/* --- the target --------------------------------------------------------------------------------------------------------- */

static void cut(const struct k_target *t, int entry, struct k_cut *out)
{
	const struct packer *p = t->arg;

	p->inner->cut(p->inner, entry, out);
}

static void place(const struct k_target *t, struct k_block *b)
{
	const struct packer *p = t->arg;

	p->inner->place(p->inner, b);
}

static int make(const struct k_target *t, struct k_block *b, struct k_err *err)
{
	const struct packer *p = t->arg;

	return p->inner->make(p->inner, b, err);
}

static void decode(const struct k_target *t, struct k_block *b)
{
	const struct packer *p = t->arg;

	p->inner->decode(p->inner, b);
}

static void free_target(struct k_target *t)
{
	struct packer *p = t->arg;

	k_target_free(p->inner);
	k_buf_fini(&p->head);
	k_map_fini(&p->in_base);
	k_map_fini(&p->in_file);
	k_free(p->base_digests);
	k_free(p->index);
	free_bundles(p->packed);
	free_bundles(p->spare);
	pthread_mutex_destroy(&p->lock);
	k_free(p);
}

/* Every leaf of the base by its digest. */
static int learn_base(struct packer *p, struct k_err *err)
{
	uint64_t n = 0, at = 0;

	for (int i = 0; i < p->base->n_entries; i++)
		n += kmf_all_leaves(&p->base->entries[i]);
	p->base_digests = k_calloc((size_t)n + 1, 32);
	if (!p->base_digests)
		return k_err_nomem(err, (size_t)n * 32, "the digests");
	for (int i = 0; i < p->base->n_entries; i++)
		for (uint64_t leaf = 0, m = kmf_all_leaves(&p->base->entries[i]); leaf < m; leaf++, at++) {
			if (k_kmf_leaf_digest(p->base, i, leaf, p->base_digests[at], err) < 0)
				return err->code;
			if (k_map_put(&p->in_base, (char *)p->base_digests[at], 32, (void *)(uintptr_t)(at + 1)) < 0)
				return k_err_nomem(err, 64, "the digests");
		}
	return 0;
}

static int make_head(struct packer *p, struct k_err *err)
{
	uint32_t flags = p->base ? KMF_DELTA : KMF_PACKED;
	uint8_t identity[32];

	k_buf_put(&p->head, p->plan->head.data, p->plan->head.len);
	if (k_buf_ok(&p->head, "the head of a container", err) < 0)
		return err->code;
	memcpy(p->head.data + 12, &flags, 4);
	if (p->base && k_kmf_identity(p->base, identity, err) < 0)
		return err->code;
	if (p->base)
		k_buf_put(&p->head, identity, 32);
	return k_buf_ok(&p->head, "the head of a container", err);
}

static int begin(struct packer *p, struct k_err *err)
{
	uint64_t n = p->plan->first[p->plan->n_entries];

	p->index = k_calloc((size_t)n + 1, sizeof(*p->index));
	if (!p->index)
		return k_err_nomem(err, (size_t)n * sizeof(*p->index), "the index");
	if (p->base && (p->base->sequential || !k_kmf_digests(p->base)))
		return k_err_set(err, K_EUSAGE, "'%s' cannot be the base of a delta: wanted a container that is a file", p->base->path);
	if ((p->base && learn_base(p, err) < 0) || make_head(p, err) < 0)
		return err->code;
	p->at = p->head.len;
	p->consts = (struct k_out_const){ 0, p->head.data, p->head.len };
	p->file = (struct k_out_file){ .bytes = p->head.len, .grows = true, .consts = &p->consts, .n_consts = 1 };
	p->t.n_files = 1;
	p->t.files = &p->file;
	return 0;
}

int k_kmf_pack_target_new(struct k_target **out, const struct k_kmf_spec *spec, struct k_ckpt *base, const struct k_ctx *ctx, struct k_err *err)
{
	struct packer *p = k_calloc(1, sizeof(*p));
	int r;

	*out = NULL;
	if (!p)
		return k_err_nomem(err, sizeof(*p), "a container");
	p->base = base;
	k_buf_init(&p->head, 0);
	k_map_init(&p->in_base);
	k_map_init(&p->in_file);
	pthread_mutex_init(&p->lock, NULL);
	p->t = (struct k_target){ .beside = 2, .cut = cut, .place = place, .make = make, .decode = decode, .note = note, .settle = settle, .end = end,
		.base = base, .free = free_target, .arg = p };
	r = k_kmf_target_new(&p->inner, spec, ctx, err);
	if (r == 0) {
		p->plan = k_kmf_target_plan(p->inner);
		r = kmf_packed_check(spec->in->path, spec->out, spec->in->n_entries, err);
	}
	if (r == 0)
		r = begin(p, err);
	if (r < 0) {
		free_target(&p->t);
		return r;
	}
	*out = &p->t;
	return 0;
}
