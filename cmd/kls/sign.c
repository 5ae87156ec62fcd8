/* sign.c: makes a signature: the digests of every file and shard of a model, signed with a key.
 *
 * A container knows what its bytes should be, so before they are signed they are compared with that: a signature makes damage look like
 * what was meant.
 *
 * Signing again after a change (--resign): a shard whose bytes are, by the digests of both containers, those of unchanged entries keeps
 * the digest that was signed before, and is neither read nor compared. So nothing becomes signed that nobody has read: a shard that lost a
 * bit meanwhile is found by --check-sign, as before. */
#include "libcore/base.h"
#include "cmd/kls/kls.h"
#include "cmd/kls/sign.h"
#include "libcore/import.h"
#include "libcore/kmf.h"

enum { KEY_MAX = 1 << 20 };

struct signing {
	struct k_oms *o;
	struct k_pass_file *in;         /* parallel to o->files */
	struct k_ckpt *c;               /* the container that is signed; NULL: something else is */
	const struct k_oms *old;        /* --resign; NULL: none */
	bool *kept;                     /* shards of the one file that are not read; NULL: all are */
};

int k_kls_key(struct k_key **key, const char *path, bool private, struct k_err *err)
{
	struct k_buf pem;
	int r;

	k_buf_init(&pem, 0);
	r = k_read_file(path, &pem, KEY_MAX, err);
	if (r == 0)
		r = (private ? k_key_private : k_key_public)(key, pem.data ? pem.data : "", pem.len, path, err);
	if (pem.data)
		memset(pem.data, 0, pem.len);
	k_buf_fini(&pem);
	return r;
}

int k_kls_bundle(struct k_oms **o, const char *path, const struct k_key *key, struct k_err *err)
{
	struct k_buf text;
	int r;

	k_buf_init(&text, 0);
	r = k_read_file(path, &text, K_OMS_BUNDLE_MAX, err);
	if (r == 0)
		r = k_oms_read(o, text.data ? text.data : "", text.len, key, path, err);
	k_buf_fini(&text);
	return r;
}

/* --- what is signed ------------------------------------------------------------------------------------------------------ */

/* Magic, version, flags. A packed container's entries do not lie where their offsets say. */
int k_kls_plain_container(struct k_source *src, bool *is, struct k_err *err)
{
	const char *head;
	uint32_t flags = 1;
	size_t n;
	int r = k_source_peek(src, (const void **)&head, 16, &n, err);

	if (r == 0 && n == 16 && memcmp(head, K_KMF_MAGIC, 8) == 0)
		memcpy(&flags, head + 12, 4);
	*is = flags == 0;
	return r;
}

/* Where the one file is a container. */
static int open_container(struct k_ckpt **c, const char *path, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_source *src;
	const void *head;
	size_t n;
	int r = k_source_open(&src, path, err);

	if (r < 0)
		return r;
	r = k_source_peek(src, &head, 8, &n, err);
	if (r == 0 && n == 8 && memcmp(head, K_KMF_MAGIC, 8) == 0)
		return k_kmf_open(c, src, false, ctx->log, err);
	k_source_close(src);
	return r;
}

/* What its own head and trailer say, so that a difference has a name and unchanged entries are known. */
static int note_container(struct k_oms *o, struct k_ckpt *c, struct k_err *err)
{
	int r = k_kmf_identity(c, o->identity, err);

	o->entries = k_arena_array(&o->arena, (size_t)c->n_entries + 1, sizeof(*o->entries));
	if (r == 0 && !o->entries)
		r = k_err_nomem(err, (size_t)c->n_entries * sizeof(*o->entries), "entries");
	for (int i = 0; r == 0 && i < c->n_entries; i++) {
		struct k_oms_entry *e = &o->entries[o->n_entries++];

		e->name = k_arena_strdup(&o->arena, c->entries[i].name);
		e->offset = k_kmf_data(c) + c->entries[i].offset;
		e->bytes = c->entries[i].bytes;
		memcpy(e->digest, k_kmf_digests(c) + 32 * (size_t)i, 32);
		if (!e->name)
			r = k_err_nomem(err, 64, "a name");
	}
	o->container = r == 0;
	return r;
}

static int lay_out(struct signing *s, const struct k_tree *t, bool by_shards, struct k_err *err)
{
	struct k_oms *o = s->o;
	uint64_t total = 0, size;

	for (int i = 0; i < t->n; i++)
		total += t->v[i].bytes;
	if (total == 0)
		return k_err_set(err, K_EUNSUP, "'%s': nothing to sign: no file, or empty ones", t->subject);
	/* An old shard is of use only where the new ones have its places. */
	size = s->old ? s->old->files[0].shard_size : k_oms_shard_size(total);
	o->subject = t->subject;
	o->by_shards = by_shards;
	o->links = t->links;
	o->ignore = t->ignore;
	o->n_ignore = t->n_ignore;
	o->files = k_arena_array(&o->arena, (size_t)t->n + 1, sizeof(*o->files));
	s->in = k_arena_array(&o->arena, (size_t)t->n + 1, sizeof(*s->in));
	if (!o->files || !s->in)
		return k_err_nomem(err, (size_t)t->n * sizeof(*o->files), "the files of a model");
	for (int i = 0; i < t->n; i++) {
		struct k_oms_file *f = &o->files[o->n_files];
		const char *why = k_oms_refuses(t->v[i].name, by_shards);

		if (why)
			return k_err_set(err, K_EUNSUP, "'%s': cannot be signed: %s", t->v[i].path, why);
		*f = (struct k_oms_file){ .name = t->v[i].name, .bytes = t->v[i].bytes, .whole = !by_shards, .shard_size = size };
		if (k_oms_room(o, f, err) < 0)
			return err->code;
		s->in[o->n_files++] = (struct k_pass_file){ t->v[i].path, size, f->whole };
	}
	return 0;
}

static int take_shard(void *arg, int file, int64_t i, uint64_t off K_UNUSED, size_t n K_UNUSED, const uint8_t digest[32],
	struct k_err *err)
{
	struct signing *s = arg;
	struct k_oms_file *f = &s->o->files[file];

	if (i >= f->n_shards)
		return k_err_set(err, K_EIO, "'%s' grew while it was read", s->in[file].path);
	memcpy(f->shards[i], digest, 32);
	return 0;
}

static int take_end(void *arg, int file, uint64_t bytes, const uint8_t digest[32], struct k_err *err)
{
	struct signing *s = arg;
	struct k_oms_file *f = &s->o->files[file];

	if (bytes != f->bytes)
		return k_err_set(err, K_EIO, "'%s' had %llu bytes, now it has %llu", s->in[file].path, (unsigned long long)f->bytes,
			(unsigned long long)bytes);
	memcpy(f->digest, digest, 32);
	return 0;
}

/* --- signing again --------------------------------------------------------------------------------------------------------- */

static int check_old(const struct signing *s, const char *path, struct k_err *err)
{
	const struct k_oms *old = s->old;

	if (!old->container || old->n_files != 1 || !old->files[0].shard_size || old->files[0].shard_size > K_PASS_SHARD_MAX)
		return k_err_set(err, K_EUNSUP, "'%s': does not say which entries lie in which shards; --resign wants the signature of one container",
			path);
	return 0;
}

static bool same_entry(const struct k_oms_entry *a, const struct k_oms_entry *b)
{
	return a->offset == b->offset && a->bytes == b->bytes && memcmp(a->digest, b->digest, 32) == 0;
}

static bool touches(const struct k_oms_entry *e, uint64_t from, uint64_t to)
{
	return e->bytes && e->offset < to && e->offset + e->bytes > from;
}

/* First entry from i on that ends behind `from`. */
static int skip(const struct k_oms *o, int i, uint64_t from)
{
	while (i < o->n_entries && o->entries[i].offset + o->entries[i].bytes <= from)
		i++;
	return i;
}

/* Are [from, to) the same entries in both, and nothing but entries and the gaps between them? */
static bool unchanged(const struct k_oms *new, int i, const struct k_oms *old, int j, uint64_t from, uint64_t to)
{
	const struct k_oms_entry *last = &new->entries[new->n_entries - 1];

	if (from < new->entries[0].offset || to > last->offset + last->bytes)
		return false;
	for (; i < new->n_entries && j < old->n_entries && touches(&new->entries[i], from, to) && touches(&old->entries[j], from, to); i++, j++)
		if (!same_entry(&new->entries[i], &old->entries[j]))
			return false;
	return !(i < new->n_entries && touches(&new->entries[i], from, to)) && !(j < old->n_entries && touches(&old->entries[j], from, to));
}

static int keep_shards(struct signing *s, struct k_err *err)
{
	struct k_oms_file *f = &s->o->files[0];
	const struct k_oms_file *g = &s->old->files[0];

	s->kept = k_arena_array(&s->o->arena, (size_t)f->n_shards + 1, sizeof(bool));
	if (!s->kept)
		return k_err_nomem(err, (size_t)f->n_shards, "shards");
	for (int64_t k = 0, i = 0, j = 0; s->o->n_entries && k < K_MIN(f->n_shards, g->n_shards); k++) {
		uint64_t from = (uint64_t)k * f->shard_size, to = K_MIN(from + f->shard_size, f->bytes);

		i = skip(s->o, (int)i, from);
		j = skip(s->old, (int)j, from);
		s->kept[k] = to == K_MIN(from + g->shard_size, g->bytes) && unchanged(s->o, (int)i, s->old, (int)j, from, to);
		if (s->kept[k])
			memcpy(f->shards[k], g->shards[k], 32);
	}
	return 0;
}

static bool is_wanted(void *arg, int file K_UNUSED, int64_t shard)
{
	return !((struct signing *)arg)->kept[shard];
}

/* Is a leaf of the container in a shard that is read? */
static bool is_read(void *arg, int i, uint64_t off, uint64_t n)
{
	const struct signing *s = arg;
	uint64_t from = s->o->entries[i].offset + off, size = s->o->files[0].shard_size;

	for (uint64_t k = from / size; k <= (from + n - 1) / size; k++)
		if (!s->kept[k])
			return true;
	return false;
}

/* What a delta has digests of comes from its base. */
static int check_container(struct signing *s, const char *path, const struct k_ctx *ctx, struct k_err *err)
{
	if (k_kmf_is_delta(s->c)) {
		k_logf(ctx->log, K_LOG_WARN, "'%s' is a delta: its bytes are signed, and not compared with its digests", path);
		return 0;
	}
	return k_ckpt_check_digests(s->c, s->kept ? is_read : NULL, s, ctx, err);
}

/* --- the whole ------------------------------------------------------------------------------------------------------------ */

static int hash(struct signing *s, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_pass p = { .files = s->in, .n = s->o->n_files, .wanted = s->kept ? is_wanted : NULL, .shard = take_shard, .end = take_end,
		.arg = s };
	uint64_t all = 0;
	int r;

	for (int i = 0; i < s->o->n_files; i++)
		all += s->o->files[i].bytes;
	p.total = all;
	for (int64_t k = 0; s->kept && k < s->o->files[0].n_shards; k++)
		p.total -= s->kept[k] ? s->o->files[0].shard_size : 0;
	r = k_pass_run(&p, ctx, "signing", err);
	if (r == 0 && s->kept)
		k_logf(ctx->log, K_LOG_INFO, "%llu of %llu bytes were read, the rest keeps its digests", (unsigned long long)p.n_read,
			(unsigned long long)all);
	return r;
}

static int write_bundle(const struct k_oms *o, const struct k_key *key, struct k_err *err)
{
	struct k_buf b;
	int r;

	k_buf_init(&b, 0);
	r = k_oms_write(o, key, &b, err);
	if (r == 0)
		r = k_cli_write(b.data, b.len, err);
	k_buf_fini(&b);
	return r;
}

static int sign(struct signing *s, const struct k_kls_sign *how, const struct k_tree *t, const char *path, const struct k_ctx *ctx,
	struct k_err *err)
{
	int r = s->old ? check_old(s, how->resign, err) : 0;

	bool plain = false;

	if (r == 0)
		r = lay_out(s, t, how->shards || s->old, err);
	if (r == 0 && !t->folder && !t->split)
		r = open_container(&s->c, path, ctx, err);
	if (r == 0 && s->c) {
		plain = !k_kmf_is_packed(s->c);
		r = plain ? note_container(s->o, s->c, err) : 0;
	}
	if (r == 0 && s->old && !plain)
		r = k_err_set(err, K_EUNSUP, "'%s': no container%s; --resign knows what changed only in one", path, s->c ? " that is not packed" : "");
	if (r == 0 && s->old)
		r = keep_shards(s, err);
	if (r == 0 && s->c)
		r = check_container(s, path, ctx, err);
	return r < 0 ? r : hash(s, ctx, err);
}

int k_kls_sign(const struct k_kls_sign *how, const char *path, const struct k_ctx *ctx, struct k_err *err)
{
	const char *own[] = { how->out && strcmp(how->out, "-") != 0 ? how->out : NULL, NULL };
	struct k_oms o = { 0 }, *old = NULL;
	struct signing s = { .o = &o };
	struct k_key *key = NULL;
	struct k_tree t = { 0 };
	int r;

	if (strcmp(path, "-") == 0)
		return k_err_set(err, K_EUSAGE, "a model is signed where it lies, not in a pipe; give --sign a file or a folder");
	r = k_kls_key(&key, how->key, true, err);
	if (r == 0 && how->resign)
		r = k_kls_bundle(&old, how->resign, key, err);
	if (r == 0)
		r = k_tree_read(&t, path, NULL, 0, own, err);
	k_arena_init(&o.arena);
	s.old = old;
	if (r == 0)
		r = sign(&s, how, &t, path, ctx, err);
	if (r == 0)
		r = write_bundle(&o, key, err);
	k_ckpt_close(s.c);
	k_arena_fini(&o.arena);
	k_tree_fini(&t);
	k_oms_free(old);
	k_key_free(key);
	return r;
}
