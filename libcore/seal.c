/* seal.c: see seal.h.
 *
 *   journals of the parts --records--> read the blocks, compare, digests of leaves --> trailer, rename */
#include "libcore/base.h"
#include <dirent.h>
#include <stdio.h>
#include "libcore/io_place.h"
#include "libcore/kmf.h"
#include "libcore/log.h"
#include "libcore/out.h"
#include "libcore/pool.h"
#include "libcore/seal.h"

struct seal {
	char *path;
	const struct k_ctx *ctx;
	char *parts;                    /* PATH.parts */
	struct k_place *file;
	struct k_journal **journals; int n;     /* of part i + 1 */
	struct k_ckpt *c;               /* a container's head; NULL: another format, which has no trailer */
	struct k_kmf_plan *plan;
	int part; int64_t record;       /* next to read */
	struct k_progress progress;
};

struct slot { struct k_record r; int part; uint8_t *p; size_t cap; };

/* --- parts -------------------------------------------------------------------------------------------------------------- */

/* N of the file names BASE.part-K-of-N, which must agree; 0: there is none. */
static int count_parts(const struct seal *s, int *n, struct k_err *err)
{
	const char *slash = strrchr(s->path, '/'), *base = slash ? slash + 1 : s->path;
	char *folder = slash ? k_strndup(s->path, (size_t)(slash - s->path) + 1) : k_strdup(".");
	DIR *d = folder ? opendir(folder) : NULL;
	struct dirent *e;
	int r = 0;

	*n = 0;
	if (!folder)
		r = k_err_nomem(err, strlen(s->path), "a file name");
	else if (!d)
		r = k_err_io(err, "cannot read '%s'", folder);
	while (r == 0 && (e = readdir(d)) != NULL) {
		int k, of;
		char rest;

		if (strncmp(e->d_name, base, strlen(base)) != 0 || sscanf(e->d_name + strlen(base), ".part-%d-of-%d%c", &k, &of, &rest) != 2)
			continue;
		if (*n && of != *n)
			r = k_err_set(err, K_ECHECK, "'%s': there are parts of %d and of %d; remove those that are not wanted", s->path, *n, of);
		*n = of;
	}
	if (d)
		closedir(d);
	k_free(folder);
	return r;
}

static int open_part(struct seal *s, int part, struct k_journal_id *first, struct k_err *err)
{
	char *name = k_out_part_path(s->path, part, s->n);
	struct k_journal_id id;
	int r = name ? 0 : k_err_nomem(err, 64, "a file name");

	if (r == 0 && !k_path_exists(name))
		r = k_err_set(err, K_ENOENT, "'%s': part %d of %d is missing; make it with --part %d/%d", s->path, part, s->n, part, s->n);
	if (r == 0)
		r = k_journal_read(&s->journals[part - 1], name, &id, err);
	if (r == 0 && (id.part != (uint32_t)part || id.n_parts != (uint32_t)s->n))
		r = k_err_set(err, K_ECHECK, "'%s' is the journal of part %u of %u", name, id.part, id.n_parts);
	if (r == 0 && !k_journal_ended(s->journals[part - 1]))
		r = k_err_set(err, K_ENOENT, "'%s': part %d of %d is not complete; make it again with --part %d/%d", s->path, part, s->n, part, s->n);
	if (r == 0 && part == 1)
		*first = id;
	if (r == 0 && memcmp(first->key, id.key, 32) != 0)
		r = k_err_set(err, K_ECHECK, "'%s': part %d was made from another input or with other options than part 1", s->path, part);
	k_free(name);
	return r;
}

static int open_parts(struct seal *s, struct k_err *err)
{
	struct k_journal_id first;
	int r = count_parts(s, &s->n, err);

	if (r == 0 && (s->n < 1 || s->n > 10000))
		r = k_err_set(err, K_ENOENT, "'%s': there are no parts of it", s->path);
	if (r < 0)
		return r;
	s->journals = k_calloc((size_t)s->n, sizeof(*s->journals));
	if (!s->journals)
		return k_err_nomem(err, (size_t)s->n * sizeof(*s->journals), "the parts");
	for (int part = 1; r == 0 && part <= s->n; part++)
		r = open_part(s, part, &first, err);
	return r;
}

/* --- a container -------------------------------------------------------------------------------------------------------- */

static int open_container(struct seal *s, struct k_err *err)
{
	struct k_source *src;
	struct k_kmf_head head;
	char magic[8];
	uint8_t *begin;
	int r = k_place_read(s->file, magic, 8, 0, err);

	if (r < 0 || memcmp(magic, K_KMF_MAGIC, 8) != 0)
		return r;
	r = k_source_open(&src, s->parts, err);
	if (r == 0)
		r = k_kmf_open_unfinished(&s->c, src, err);
	if (r < 0)
		return r;
	head = (struct k_kmf_head){ s->c->arch, s->c->config, s->c->config_len, s->c->n_entries, s->c->entries, s->c->history };
	r = k_kmf_plan_new(&s->plan, &head, err);
	if (r < 0)
		return r;
	begin = k_alloc(s->plan->head.len);
	r = begin ? k_place_read(s->file, begin, s->plan->head.len, 0, err) : k_err_nomem(err, s->plan->head.len, "the head");
	if (r == 0 && (memcmp(begin, s->plan->head.data, s->plan->head.len) != 0 || k_place_bytes(s->file) != s->plan->total))
		r = k_err_set(err, K_ECHECK, "'%s': the head is not one that this version writes, or the length is wrong", s->parts);
	k_free(begin);
	return r;
}

/* Which entry holds byte `at` of the file. */
static int entry_at(const struct seal *s, uint64_t at)
{
	int lo = 0, hi = s->c->n_entries;

	while (hi - lo > 1) {
		int mid = (lo + hi) / 2;

		if (s->plan->start + s->c->entries[mid].offset <= at)
			lo = mid;
		else
			hi = mid;
	}
	/* Entries without bytes share their place with the next. */
	while (lo > 0 && s->c->entries[lo].bytes == 0)
		lo--;
	return lo;
}

static int note(struct seal *s, const struct slot *x, struct k_err *err)
{
	static const struct k_entry none;
	int i = entry_at(s, x->r.at[0]);
	const struct k_entry *e = s->c->n_entries ? &s->c->entries[i] : &none;
	uint64_t off = x->r.at[0] - s->plan->start - e->offset;
	struct k_leaves l;
	uint64_t begin, n;

	if (x->r.n[1] || off >= e->bytes || x->r.n[0] > e->bytes - off)
		return k_err_set(err, K_ECHECK, "'%s': part %d speaks of bytes that no tensor has", s->path, x->part);
	k_entry_leaves(e, &l);
	/* The plan asserts that blocks are whole leaves: what comes from a file is looked at first. */
	for (uint64_t at = off; at < off + x->r.n[0]; at += n) {
		n = k_leaf_at(&l, k_leaf_of(&l, at), &begin);
		if (begin != at || n > off + x->r.n[0] - at)
			return k_err_set(err, K_ECHECK, "'%s': part %d has a block of %s that is not whole", s->path, x->part, e->name);
	}
	return k_kmf_plan_note(s->plan, i, off, x->p, (size_t)x->r.n[0], err);
}

/* --- blocks ------------------------------------------------------------------------------------------------------------- */

static int read_block(void *arg, void *item, struct k_err *err)
{
	struct seal *s = arg;
	struct slot *x = item;
	size_t n;
	int r = k_ctx_check(s->ctx, err);

	while (s->part < s->n && s->record == k_journal_n(s->journals[s->part])) {
		s->part++;
		s->record = 0;
	}
	if (r < 0 || s->part == s->n)
		return r;
	if (k_journal_get(s->journals[s->part], s->record++, &x->r, err) < 0)
		return err->code;
	x->part = s->part + 1;
	if (x->r.n[0] > k_place_bytes(s->file) || x->r.n[1] > k_place_bytes(s->file) - x->r.n[0])
		return k_err_set(err, K_ECHECK, "'%s': part %d speaks of more bytes than there are", s->path, x->part);
	n = (size_t)(x->r.n[0] + x->r.n[1]);
	if (n > x->cap) {
		k_free(x->p);
		x->cap = 0;
		x->p = k_alloc(n);
		if (!x->p)
			return k_err_nomem(err, n, "a block of weights");
		x->cap = n;
	}
	r = k_place_read(s->file, x->p, (size_t)x->r.n[0], x->r.at[0], err);
	if (r == 0)
		r = k_place_read(s->file, x->p + x->r.n[0], (size_t)x->r.n[1], x->r.at[1], err);
	return r < 0 ? r : 1;
}

static int check_block(void *arg, void *item, struct k_err *err)
{
	struct seal *s = arg;
	struct slot *x = item;
	uint8_t digest[32];

	if (k_sha256_once(x->p, (size_t)(x->r.n[0] + x->r.n[1]), digest, err) < 0)
		return err->code;
	if (memcmp(digest, x->r.digest, 32) != 0)
		return k_err_set(err, K_ECHECK, "'%s': bytes %llu to %llu are not those that part %d wrote; make that part again", s->parts,
			(unsigned long long)x->r.at[0], (unsigned long long)(x->r.at[0] + x->r.n[0] - 1), x->part);
	return s->c ? note(s, x, err) : 0;
}

static int count_block(void *arg, void *item, struct k_err *err K_UNUSED)
{
	struct seal *s = arg;
	const struct slot *x = item;

	k_progress_step(&s->progress, x->r.n[0] + x->r.n[1]);
	return 0;
}

static void drop_block(void *arg K_UNUSED, void *item)
{
	struct slot *x = item;

	k_free(x->p);
}

/* --- the whole ---------------------------------------------------------------------------------------------------------- */

/* A leaf that no part has is zeros, which no digest is. */
static int check_all(const struct seal *s, struct k_err *err)
{
	static const uint8_t zeros[32];

	for (int i = 0; i < s->c->n_entries; i++)
		for (uint64_t leaf = s->plan->first[i]; leaf < s->plan->first[i + 1]; leaf++)
			if (memcmp(s->plan->leaves[leaf], zeros, 32) == 0)
				return k_err_set(err, K_ECHECK, "'%s': no part has all bytes of %s", s->path, s->c->entries[i].name);
	return 0;
}

static int put_trailer(struct seal *s, struct k_err *err)
{
	struct k_buf b;
	int r;

	if (check_all(s, err) < 0)
		return err->code;
	k_buf_init(&b, 0);
	r = k_kmf_plan_trailer(s->plan, &b, err);
	if (r == 0)
		r = k_place_write(s->file, b.data, b.len, s->plan->trailer_at, err);
	if (r == 0)
		r = k_ckpt_finish(s->c, err);
	k_buf_fini(&b);
	return r;
}

static int finish(struct seal *s, struct k_err *err)
{
	struct k_place *file = s->file;
	int r = s->c ? put_trailer(s, err) : 0;

	if (r < 0)
		return r;
	s->file = NULL;
	r = k_place_rename(file, s->path, err);
	for (int part = 1; r == 0 && part <= s->n; part++) {
		char *name = k_out_part_path(s->path, part, s->n);

		r = name ? k_path_remove(name, err) : k_err_nomem(err, 64, "a file name");
		k_free(name);
	}
	return r;
}

static int run(struct seal *s, struct k_err *err)
{
	struct k_pipe pipe = { .item_bytes = sizeof(struct slot), .depth = k_pool_depth(s->ctx, 0, K_LEAF), .read = read_block, .work = check_block,
		.write = count_block, .drop = drop_block, .arg = s };
	int r = open_parts(s, err);

	s->parts = k_out_parts_path(s->path);
	if (r == 0 && !s->parts)
		r = k_err_nomem(err, 64, "a file name");
	if (r == 0 && !k_path_exists(s->parts))
		r = k_err_set(err, K_ENOENT, "'%s' is missing", s->parts);
	if (r == 0)
		r = k_place_open(&s->file, s->parts, s->path, K_PLACE_KEEP, err);
	if (r == 0)
		r = open_container(s, err);
	if (r < 0)
		return r;
	k_progress_begin(&s->progress, s->ctx->log, "sealing", k_place_bytes(s->file), "bytes");
	r = k_pool_pipe(s->ctx->pool, &pipe, err);
	k_progress_end(&s->progress);
	return r < 0 ? r : finish(s, err);
}

int k_seal(const char *path, const struct k_ctx *ctx, struct k_err *err)
{
	struct seal s = { .ctx = ctx };
	int r = k_path_target(&s.path, path, err);

	if (r == 0)
		r = run(&s, err);

	for (int i = 0; s.journals && i < s.n; i++)
		k_journal_close(s.journals[i]);
	k_free(s.journals);
	k_kmf_plan_free(s.plan);
	k_ckpt_close(s.c);
	k_place_close(s.file);
	k_free(s.parts);
	k_free(s.path);
	return r;
}
