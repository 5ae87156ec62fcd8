/* page_bytes.h: what page_int8.h wants of a level that multiplies bytes: for one that has defined page_order, the order of the bytes of each four words. */
enum { PAGE_PARTS = 1 };
static inline void page_dot_two(vu *a, vu x, vu y, vu *b, vu u, vu v)
{
	*a = page_dot(*a, x, y);
	*b = page_dot(*b, u, v);
}
static inline vu page_codes(vu x, int i K_UNUSED) { return x; }
static inline vu page_values(vu x, int i K_UNUSED) { return x; }
static inline void page_query(vu *w, vu c) { *w = page_order(c, _mm_setr_epi8(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12)); }
static inline void page_weights_of(vu *w, vu c) { *w = page_order(c, _mm_setr_epi8(1, 5, 9, 13, 1, 5, 9, 13, 1, 5, 9, 13, 1, 5, 9, 13)); }
