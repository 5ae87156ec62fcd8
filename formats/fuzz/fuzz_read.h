/* fuzz_read.h: what the targets of formats share: a checkpoint is read to its end as a tool would, in blocks. */
#ifndef K_FUZZ_READ_H
#define K_FUZZ_READ_H

#include "libcore/base.h"
#include "formats/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Values of a block: what is plain in a row of its own, of others the first row of each granule. */
static inline void fuzz_decode(const struct k_entry *e, const char *p, size_t n, float *row)
{
	int64_t cols = k_entry_cols(e);
	size_t granule = e->type->granule_bytes(cols, e->type->granule);

	if (e->type->plain) {
		e->type->dequant(row, p, (int64_t)(n / (size_t)e->type->elem_bytes), 1, 0);
		return;
	}
	for (size_t at = 0; at < n; at += granule)
		e->type->dequant(row, p + at, cols, (int)K_MIN((int64_t)e->type->granule, k_entry_rows(e)), 0);
}

/* Every byte of an entry in order, checked and decoded. */
static inline int fuzz_read_entry(struct k_ckpt *c, int i, struct k_err *err)
{
	const struct k_entry *e = &c->entries[i];
	uint64_t slice = k_entry_slice_bytes(e);
	size_t block = k_entry_block(e, 1 << 16), floats = e->type->plain ? block : (size_t)k_entry_cols(e);
	char *p = NULL;
	float *row = NULL;
	int r = 0;

	/* What a pipe says of itself is not known to be there. */
	if (e->bytes == 0 || block > 1 << 26)
		return e->bytes ? k_err_nomem(err, block, e->name) : 0;
	p = k_alloc(block);
	row = k_alloc(floats * sizeof(*row));
	if (!p || !row)
		r = k_err_nomem(err, block, e->name);
	for (uint64_t off = 0; r == 0 && off < e->bytes; ) {
		struct k_err bad = { 0 };
		size_t n = (size_t)K_MIN((uint64_t)block, slice - off % slice);

		r = k_ckpt_read(c, i, off, p, n, err);
		if (r == 0 && e->type->dequant)
			fuzz_decode(e, p, n, row);
		/* Values that are no numbers are no reason to end. */
		if (r == 0)
			(void)!k_ckpt_check_block(c, i, off, p, n, &bad);
		off += n;
	}
	k_free(p);
	k_free(row);
	return r;
}

/* Side files, entries, the end: 0 or the error. */
static inline int fuzz_read_all(struct k_ckpt *c, struct k_err *err)
{
	const struct k_files *files;
	int r = k_ckpt_files(c, &files, err);

	for (int i = 0; r == 0 && i < c->n_entries; i++)
		/* The side files of a pipe were consumed above. */
		if (!c->sequential || strcmp(c->entries[i].role, "file") != 0)
			r = fuzz_read_entry(c, i, err);
	return r == 0 ? k_ckpt_finish(c, err) : r;
}

/* A format's open and read on an input. -1: not this format's at all. */
static inline int fuzz_format(const char *name, const uint8_t *data, size_t size)
{
	const struct k_format *f = k_format_find(name);
	const struct k_ctx ctx = { 0 };
	struct k_format_in in = { .path = "input", .ctx = &ctx };
	struct k_err err = { 0 };
	struct k_ckpt *c;

	if (!f || k_source_mem(&in.src, data, size, false, "input", &err) < 0)
		return -1;
	if (f->taste(&in, data, K_MIN(size, (size_t)4096)) == 0) {
		k_source_close(in.src);
		return -1;
	}
	if (f->open(&c, &in, &err) < 0)
		return 0;
	(void)fuzz_read_all(c, &err);
	k_ckpt_close(c);
	return 0;
}

#endif
