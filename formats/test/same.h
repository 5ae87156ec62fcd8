/* same.h: for tests of formats: opening by path, and whether two checkpoints are the same in everything but their path. */
#ifndef K_SAME_H
#define K_SAME_H

#include <stdlib.h>
#include "formats/format.h"
#include "libcore/import.h"
#include "libcore/job.h"
#include "libcore/test.h"

static inline struct k_ckpt *k_same_open(const char *path)
{
	static const struct k_ctx ctx;
	struct k_ckpt *c;
	struct k_err err;

	K_CHECK_OK(k_format_open(&c, path, false, &ctx, &err));
	return c;
}

static inline void k_same(struct k_ckpt *a, struct k_ckpt *b)
{
	struct k_err err;

	K_CHECK_MSG(a->n_entries == b->n_entries, "%d and %d entries", a->n_entries, b->n_entries);
	K_CHECK(!a->arch == !b->arch && (!a->arch || !strcmp(a->arch, b->arch)));
	K_CHECK(a->config_len == b->config_len && (!a->config || !memcmp(a->config, b->config, a->config_len)));
	for (int i = 0; i < a->n_entries; i++) {
		const struct k_entry *x = &a->entries[i], *y = &b->entries[i];
		char *p = malloc(x->bytes + 1), *q = malloc(x->bytes + 1);

		K_CHECK_MSG(!strcmp(x->name, y->name) && x->type == y->type && x->bytes == y->bytes, "%s and %s", x->name, y->name);
		K_CHECK(x->ndim == y->ndim && !memcmp(x->shape, y->shape, sizeof(x->shape)) && !strcmp(x->role, y->role));
		K_CHECK(!x->form == !y->form && (!x->form || !strcmp(x->form, y->form)));
		K_CHECK_OK(k_ckpt_read(a, i, 0, p, x->bytes, &err));
		K_CHECK_OK(k_ckpt_read(b, i, 0, q, x->bytes, &err));
		K_CHECK_MSG(!memcmp(p, q, x->bytes), "%s has other bytes", x->name);
		free(p);
		free(q);
	}
}

/* Opens and reads all that there is, as kls --verify does; the code. */
static inline int k_same_verify(const char *path, struct k_err *err)
{
	static const struct k_ctx ctx;
	struct k_ckpt *c;
	int r = k_format_open(&c, path, false, &ctx, err);

	if (r == 0) {
		r = k_ckpt_check_values(c, &ctx, err);
		k_ckpt_close(c);
	}
	return r;
}

/* kconvert --to FORMAT -o PATH; the code. */
static inline int k_same_write(const char *format, struct k_ckpt *c, const char *path, const struct k_write_opts *o, struct k_err *err)
{
	static const struct k_ctx ctx;
	const struct k_format *f = k_format_find(format);
	struct k_job job = { .out = path, .folder = f->folder };
	struct k_target *t;
	int r = f->target(&t, c, path, o, &ctx, err);

	if (r < 0)
		return r;
	job.stream = (struct k_stream){ .in = c, .target = t, .what = "writing" };
	r = k_job_run(&job, &ctx, err);
	k_target_free(t);
	return r;
}

#endif
