/* kmf_layout.h: private to kmf_*.c: the numbers of kmf.5. */
#ifndef K_KMF_LAYOUT_H
#define K_KMF_LAYOUT_H

#include "libcore/kmf.h"

enum { KMF_FIXED = 64, KMF_DATA_ALIGN = 4096, KMF_ALIGN = 64, KMF_BIG_ALIGN = 4096, KMF_BIG = 65536, KMF_END = 16 };
/* Flags of the fixed head; blocks in the place of the data, and what they hold. */
enum { KMF_PACKED = 1, KMF_DELTA = 2 };
enum kmf_method { KMF_STORED, KMF_PLANES, KMF_OF_BASE, KMF_OF_FILE };
enum { KMF_BLOCK = 5, KMF_REFERENCE = 8 };      /* bytes: head of a block; a reference */
#define KMF_INDEX "KMFINDX\n"
#define KMF_DIGESTS "KMFDIGS\n"
#define KMF_LAST "KMFEND\r\n"

/* Where an entry of `bytes` begins that follows `end`. */
static inline uint64_t kmf_place(uint64_t end, uint64_t bytes) { return k_align_up(end, bytes >= KMF_BIG ? KMF_BIG_ALIGN : KMF_ALIGN); }
/* Where the data section begins. */
static inline uint64_t kmf_data_start(uint64_t head_len) { return k_align_up(KMF_FIXED + head_len, KMF_DATA_ALIGN); }
/* Leaf digests that the trailer holds for an entry: one that is a single leaf has none beside its own. */
static inline uint64_t kmf_leaves(const struct k_entry *e)
{
	struct k_leaves l;

	k_entry_leaves(e, &l);
	return l.n > 1 ? l.n : 0;
}
static inline uint64_t kmf_all_leaves(const struct k_entry *e)
{
	struct k_leaves l;

	k_entry_leaves(e, &l);
	return l.n;
}
/* Bytes of the trailer of n entries with m leaf digests, end mark included. The part behind the leaf digests. */
enum { KMF_TRAILER = 24 };
static inline uint64_t kmf_trailer_end(int n) { return 32 * ((uint64_t)n + 1) + KMF_END; }
static inline uint64_t kmf_trailer_len(int n, uint64_t m) { return KMF_TRAILER + 32 * m + kmf_trailer_end(n); }

#endif
