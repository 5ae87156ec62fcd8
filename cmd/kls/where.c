/* where.c: in which tensor a difference lies, and from which byte on.
 *
 * A signature knows shards. What lies in them is found in the model's own head: a container's entries and their digests, the tensors of
 * safetensors and GGUF. The signer's list of entries is used where the head cannot be read any more. */
#include "libcore/base.h"
#include "cmd/kls/kls.h"
#include "cmd/kls/sign.h"
#include "formats/places.h"
#include "libcore/kmf.h"
#include <stdio.h>

struct place { const struct k_oms *o; const char *path, *show; uint64_t from, to; struct k_ctx *ctx; struct k_err *err; };

static int say(const struct place *p, const char *what, uint64_t off)
{
	return k_err_set(p->err, K_ENO, "'%s': differs from what was signed in %s, from byte %llu on", p->show, what,
		(unsigned long long)K_MAX(off, p->from));
}

/* A leaf that begins at byte off of entry e: the first byte that may differ, its expert and row. */
static int say_leaf(const struct place *p, const struct k_entry *e, uint64_t off, uint64_t data)
{
	uint64_t first = K_MAX(data + e->offset + off, p->from), in = first - data - e->offset, slice = k_entry_slice_bytes(e);
	uint64_t granule = e->type->granule_bytes(k_entry_cols(e), e->type->granule);
	char name[1100], what[1200];

	k_entry_slice_name(e, (int64_t)(in / slice), name, sizeof(name));
	snprintf(what, sizeof(what), "%s, row %llu or behind it", name, (unsigned long long)(in % slice / granule * (uint64_t)e->type->granule));
	return say(p, k_entry_rows(e) > 1 ? what : name, first);
}

static bool lies_in(const struct place *p, uint64_t off, uint64_t bytes) { return bytes && off < p->to && off + bytes > p->from; }

/* By the signer's list alone. */
static int by_list(const struct place *p)
{
	const struct k_oms *o = p->o;

	if (o->n_entries && p->from < o->entries[0].offset)
		return say(p, "the head", p->from);
	for (int i = 0; i < o->n_entries; i++)
		if (lies_in(p, o->entries[i].offset, o->entries[i].bytes))
			return say(p, o->entries[i].name, o->entries[i].offset);
	return say(p, o->n_entries ? "what lies between and behind the tensors" : "its bytes", p->from);
}

/* --- containers ------------------------------------------------------------------------------------------------------------ */

/* Has entry i, by the trailer, another digest than the one that was signed? */
static bool made_anew(const struct place *p, struct k_ckpt *c, int i)
{
	const struct k_oms *o = p->o;

	return i < o->n_entries && strcmp(o->entries[i].name, c->entries[i].name) == 0 &&
		memcmp(o->entries[i].digest, k_kmf_digests(c) + 32 * (size_t)i, 32) != 0;
}

/* The first leaf of entry i with bytes in the place whose digest is wrong: its start in the entry, and what is wrong with it. */
static bool damaged(const struct place *p, struct k_ckpt *c, int i, uint64_t *off, struct k_err *why)
{
	uint64_t base = k_kmf_data(c) + c->entries[i].offset, from = p->from > base ? p->from - base : 0, n;
	struct k_leaves l;
	uint8_t *buf;
	int r = 0;

	k_entry_leaves(&c->entries[i], &l);
	for (uint64_t leaf = k_leaf_of(&l, from); r == 0 && leaf < l.n; leaf++) {
		n = k_leaf_at(&l, leaf, off);
		if (base + *off >= p->to || k_ctx_check(p->ctx, why) < 0)
			return false;
		buf = k_alloc((size_t)n);
		r = buf ? k_ckpt_read(c, i, *off, buf, (size_t)n, why) : K_ENOMEM;
		if (r == 0)
			r = k_ckpt_seen(c, i, *off, buf, (size_t)n, why);
		k_free(buf);
	}
	return r == K_ECHECK;
}

static int in_container(const struct place *p, struct k_ckpt *c)
{
	uint64_t data = k_kmf_data(c), off;
	struct k_err why = { 0 };

	for (int i = 0; i < c->n_entries; i++) {
		const struct k_entry *e = &c->entries[i];

		if (!lies_in(p, data + e->offset, e->bytes))
			continue;
		if (made_anew(p, c, i))
			return say(p, e->name, data + e->offset);
		if (damaged(p, c, i, &off, &why))
			return say_leaf(p, e, off, data);
	}
	return p->from < data ? say(p, "the head", p->from) : by_list(p);
}

/* Takes src. */
static int by_container(const struct place *p, struct k_source *src)
{
	struct k_err why = { 0 };
	struct k_ckpt *c;
	int r;

	if (k_kmf_open(&c, src, false, p->ctx->log, &why) < 0)
		return by_list(p);
	r = in_container(p, c);
	k_ckpt_close(c);
	return r;
}

/* --- files of tensors -------------------------------------------------------------------------------------------------------- */

/* Takes src. */
static int by_tensors(const struct place *p, struct k_source *src)
{
	struct k_err why = { 0 };
	const struct k_place *in = NULL;
	struct k_places t;
	int r = k_places_read(&t, src, &why);

	for (int64_t i = 0; i < t.n && !in; i++)
		if (lies_in(p, t.v[i].off, t.v[i].bytes))
			in = &t.v[i];
	if (r < 0)
		r = by_list(p);
	else if (p->from < t.data)
		r = say(p, in ? "the head or what follows it" : "the head", p->from);
	else
		r = say(p, in ? in->name : "what lies between the tensors", in ? in->off : p->from);
	k_places_fini(&t);
	return r;
}

int k_where(const struct k_oms *o, const char *path, const char *show, uint64_t from, uint64_t to, struct k_ctx *ctx, struct k_err *err)
{
	struct place p = { o, path, show, from, to, ctx, err };
	struct k_err why = { 0 };
	struct k_source *src;
	bool container;

	if (!path || k_source_open(&src, path, &why) < 0)
		return by_list(&p);
	if (k_kls_plain_container(src, &container, &why) == 0 && container)
		return by_container(&p, src);
	return by_tensors(&p, src);
}
