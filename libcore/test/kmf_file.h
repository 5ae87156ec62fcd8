/* kmf_file.h: a whole container in memory, for tests: the plan's head, the entries' bytes, the plan's trailer. */
#ifndef K_KMF_FILE_H
#define K_KMF_FILE_H

#include "libcore/buf.h"
#include "libcore/kmf.h"

/* data[i]: the bytes of entry i. */
static inline int kmf_file(struct k_buf *out, const struct k_kmf_head *head, const void *const *data, struct k_err *err)
{
	struct k_kmf_plan *p;
	int r = k_kmf_plan_new(&p, head, err);

	if (r < 0)
		return r;
	k_buf_put(out, p->head.data, p->head.len);
	for (int i = 0; r == 0 && i < head->n_entries; i++) {
		const struct k_entry *e = &head->entries[i];

		while (out->len < p->start + e->offset && !out->failed)
			k_buf_putc(out, 0);
		k_buf_put(out, data[i], (size_t)e->bytes);
		r = k_kmf_plan_note(p, i, 0, data[i], (size_t)e->bytes, err);
	}
	while (out->len < p->trailer_at && !out->failed)
		k_buf_putc(out, 0);
	if (r == 0)
		r = k_kmf_plan_trailer(p, out, err);
	if (r == 0 && out->len != p->total)
		r = k_err_set(err, K_EBUG, "a container of %zu bytes, planned were %llu", out->len, (unsigned long long)p->total);
	k_kmf_plan_free(p);
	return r;
}

#endif
