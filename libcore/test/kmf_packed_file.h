/* kmf_packed_file.h: a packed container in memory around blocks that a test makes: head, blocks, an index of what their lengths say,
 * trailer. */
#ifndef K_KMF_PACKED_FILE_H
#define K_KMF_PACKED_FILE_H

#include "libcore/buf.h"
#include "libcore/kmf_layout.h"

/* Where blocks stand and end, by their own lengths, as far as n bytes go. */
static inline void kmf_packed_index(struct k_buf *out, uint64_t leaves, const uint8_t *blocks, size_t n, uint64_t begin)
{
	uint64_t at = 0, place;

	k_buf_put(out, KMF_INDEX, 8);
	k_buf_put(out, &leaves, 8);
	for (uint64_t i = 0; i <= leaves; i++) {
		uint32_t len = 0;

		place = begin + (i < leaves ? at : n);
		k_buf_put(out, &place, 8);
		if (n - at >= KMF_BLOCK)
			memcpy(&len, blocks + at, 4);
		at = K_MIN(at + KMF_BLOCK + len, (uint64_t)n);
	}
}

/* data[i]: the bytes of entry i, for their digests; NULL: digests are zeros. base: identity, for a delta. */
static inline int kmf_packed_file(struct k_buf *out, const struct k_kmf_head *head, const void *const *data, const uint8_t *base, const void *blocks,
	size_t n, struct k_err *err)
{
	uint32_t flags = base ? KMF_DELTA : KMF_PACKED;
	struct k_kmf_plan *p;
	int r = k_kmf_plan_new(&p, head, err);

	if (r < 0)
		return r;
	k_buf_put(out, p->head.data, p->head.len);
	r = k_buf_ok(out, "a container", err);
	if (r == 0)
		memcpy(out->data + 12, &flags, 4);
	if (base)
		k_buf_put(out, base, 32);
	k_buf_put(out, blocks, n);
	kmf_packed_index(out, p->first[head->n_entries], blocks, n, out->len - n);
	for (int i = 0; r == 0 && data && i < head->n_entries; i++)
		r = k_kmf_plan_note(p, i, 0, data[i], (size_t)head->entries[i].bytes, err);
	p->total = out->len + kmf_trailer_len(head->n_entries, p->n_leaves);
	if (r == 0)
		r = k_kmf_plan_trailer(p, out, err);
	k_kmf_plan_free(p);
	return r;
}

#endif
