/* walk.c: an entry, block by block. Blocks never span slices; the last granule of a slice may be short. */
#include "libcore/base.h"
#include "cmd/kls/kls.h"

int k_walk_begin(struct k_walk *w, struct k_ckpt *c, int entry, struct k_err *err)
{
	const struct k_entry *e = &c->entries[entry];
	size_t row, granule = e->bytes ? e->type->granule_bytes(k_entry_cols(e), (int)K_MIN((int64_t)e->type->granule, k_entry_rows(e))) : 0;

	memset(w, 0, sizeof(*w));
	w->c = c;
	w->i = entry;
	/* Rows are looked at whole, also those of plain types. */
	row = granule > (4u << 20) ? granule : (4u << 20) / K_MAX(granule, 1) * granule;
	w->cap = row;
	w->buf = k_alloc(K_MAX(w->cap, 1));
	return w->buf ? 0 : k_err_nomem(err, w->cap, e->name);
}

int k_walk_next(struct k_walk *w, struct k_err *err)
{
	const struct k_entry *e = &w->c->entries[w->i];
	const struct k_qtype *t = e->type;
	uint64_t slice_bytes = k_entry_slice_bytes(e), in_slice;
	int64_t cols = k_entry_cols(e), rows = k_entry_rows(e);

	if (w->off >= e->bytes || slice_bytes == 0)
		return 0;
	in_slice = w->off % slice_bytes;
	w->slice = (int64_t)(w->off / slice_bytes);
	w->row = in_slice ? w->row + w->rows : 0;
	w->rows = 0;
	w->n = 0;
	while (w->row + w->rows < rows) {
		int k = (int)K_MIN((int64_t)t->granule, rows - w->row - w->rows);
		size_t g = t->granule_bytes(cols, k);

		if (w->n + g > w->cap)
			break;
		w->n += g;
		w->rows += k;
	}
	if (k_ckpt_take(w->c, w->i, w->off, w->buf, w->n, err) < 0)
		return err->code;
	w->off += w->n;
	return 1;
}

void k_walk_row(const struct k_walk *w, int64_t r, float *dst)
{
	const struct k_entry *e = &w->c->entries[w->i];
	const struct k_qtype *t = e->type;
	int64_t cols = k_entry_cols(e), g = r / t->granule;
	int rows = (int)K_MIN((int64_t)t->granule, w->rows - g * t->granule);
	const uint8_t *p = w->buf + (size_t)g * t->granule_bytes(cols, t->granule);

	t->dequant(dst, p, cols, rows, (int)(r % t->granule));
}

void k_walk_end(struct k_walk *w)
{
	k_free(w->buf);
}
