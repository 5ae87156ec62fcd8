/* tokenizer_merge.c: one piece to ids by byte-pair merging.
 *
 * The piece is a linked list of nodes, one a byte at first. Every node knows the priority of the merge with its right neighbour
 * (tiktoken: the rank of the joined bytes, which is the id; BPE: the index of the pair's merge). The lowest priority is merged,
 * the leftmost of equal ones, until there is none:
 *
 *     h e l l o        nodes[]: prev, next, id, at (first byte), rank (of id + next id)
 *     h e ll  o        heap[]:  rank << 32 | node; entries that no longer hold are skipped when they come up
 *
 * Short pieces, which is nearly all of them, are scanned instead; both orders are the same. The heap makes a piece of m bytes
 * cost m log m, so that a megabyte of one letter is no trap. */
#include "libcore/base.h"
#include "libcore/tokenizer_int.h"
#include "libcore/unicode.h"

#define NO_RANK UINT32_MAX
enum { SCAN_MOST = 48 };        /* nodes; above this the heap is faster */

void k_merger_init(struct k_merger *m, const struct k_tokenizer *t)
{
	*m = (struct k_merger){ .t = t };
	k_buf_init(&m->symbols, 0);
}

void k_merger_fini(struct k_merger *m)
{
	k_free(m->nodes);
	k_free(m->heap);
	k_buf_fini(&m->symbols);
}

static int32_t find(const struct k_tokenizer *t, const char *p, size_t n)
{
	if (n > t->longest)
		return -1;
	return t->by_pair ? (int32_t)(uintptr_t)k_map_find(&t->by_text, p, n) - 1 : k_ranks_find(t, p, n);
}

/* Is the whole piece a token? BPE looks up what the file spells. */
static int find_whole(struct k_merger *m, const char *p, size_t n, int32_t *id, struct k_err *err)
{
	char symbol[4];

	*id = -1;
	if (!m->t->by_pair) {
		*id = find(m->t, p, n);
		return 0;
	}
	if (n > m->t->longest)
		return 0;
	k_buf_reset(&m->symbols);
	for (size_t i = 0; i < n; i++)
		k_buf_put(&m->symbols, symbol, (size_t)k_unicode_put(k_tokenizer_symbol((unsigned char)p[i]), symbol));
	if (k_buf_ok(&m->symbols, "a piece of text", err) < 0)
		return err->code;
	*id = find(m->t, m->symbols.data, m->symbols.len);
	return 0;
}

static uint32_t rank_at(const struct k_merger *m, const char *p, size_t n, int32_t i)
{
	const struct k_merge_node *a = &m->nodes[i];
	int32_t key[2];
	const struct k_merge *found;

	if (a->next < 0)
		return NO_RANK;
	if (!m->t->by_pair) {
		int32_t after = m->nodes[a->next].next;

		return (uint32_t)find(m->t, p + a->at, (after < 0 ? n : m->nodes[after].at) - a->at);
	}
	key[0] = a->id;
	key[1] = m->nodes[a->next].id;
	found = k_map_find(&m->t->by_ids, (const char *)key, sizeof key);
	return found ? (uint32_t)(found - m->t->merges) : NO_RANK;
}

/* --- the heap: smallest first ----------------------------------------------------------------------------------------- */

static void heap_push(struct k_merger *m, uint32_t rank, int32_t node)
{
	uint64_t v = (uint64_t)rank << 32 | (uint32_t)node;
	size_t i = m->n_heap++;

	for (; i > 0 && m->heap[(i - 1) / 2] > v; i = (i - 1) / 2)
		m->heap[i] = m->heap[(i - 1) / 2];
	m->heap[i] = v;
}

static uint64_t heap_pop(struct k_merger *m)
{
	uint64_t top = m->heap[0], v = m->heap[--m->n_heap];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < m->n_heap) {
		if (child + 1 < m->n_heap && m->heap[child + 1] < m->heap[child])
			child++;
		if (m->heap[child] >= v)
			break;
		m->heap[i] = m->heap[child];
		i = child;
	}
	m->heap[i] = v;
	return top;
}

/* --- merging ------------------------------------------------------------------------------------------------------------ */

/* Every merge takes one entry and may put two: at most nodes + merges are there at once. */
static int reserve(struct k_merger *m, size_t n, struct k_err *err)
{
	void *p;

	if (n > m->cap_nodes) {
		p = k_realloc(m->nodes, n * sizeof *m->nodes);
		if (!p)
			return k_err_nomem(err, n * sizeof *m->nodes, "a piece of text");
		m->nodes = p;
		m->cap_nodes = n;
	}
	if (n > SCAN_MOST && 2 * n > m->cap_heap) {
		p = k_realloc(m->heap, 2 * n * sizeof *m->heap);
		if (!p)
			return k_err_nomem(err, 2 * n * sizeof *m->heap, "a piece of text");
		m->heap = p;
		m->cap_heap = 2 * n;
	}
	return 0;
}

/* One node a byte. A byte that the vocabulary lacks is left out, as the reference does, or becomes the unknown token. */
static int32_t fill(struct k_merger *m, const char *p, size_t n)
{
	const struct k_tokenizer *t = m->t;
	int32_t k = 0;

	for (size_t i = 0; i < n; i++) {
		int32_t id = t->byte_id[(unsigned char)p[i]];

		if (id < 0) {
			id = t->unk;
			if (id < 0 || (t->fuse_unk && k > 0 && m->nodes[k - 1].id == id))
				continue;
		}
		m->nodes[k] = (struct k_merge_node){ k - 1, k + 1, id, (uint32_t)i, NO_RANK };
		k++;
	}
	if (k)
		m->nodes[k - 1].next = -1;
	return k;
}

static void merge_at(struct k_merger *m, const char *p, size_t n, int32_t i, bool heap)
{
	struct k_merge_node *a = &m->nodes[i], *b = &m->nodes[a->next];

	a->id = m->t->by_pair ? m->t->merges[a->rank].id : (int32_t)a->rank;
	a->next = b->next;
	b->id = -1;
	b->rank = NO_RANK;
	if (a->next >= 0)
		m->nodes[a->next].prev = i;
	a->rank = rank_at(m, p, n, i);
	if (heap && a->rank != NO_RANK)
		heap_push(m, a->rank, i);
	if (a->prev >= 0) {
		struct k_merge_node *before = &m->nodes[a->prev];

		before->rank = rank_at(m, p, n, a->prev);
		if (heap && before->rank != NO_RANK)
			heap_push(m, before->rank, a->prev);
	}
}

static void merge_by_scan(struct k_merger *m, const char *p, size_t n)
{
	for (;;) {
		int32_t best = 0;

		for (int32_t i = m->nodes[0].next; i >= 0; i = m->nodes[i].next)
			if (m->nodes[i].rank < m->nodes[best].rank)
				best = i;
		if (m->nodes[best].rank == NO_RANK)
			return;
		merge_at(m, p, n, best, false);
	}
}

static void merge_by_heap(struct k_merger *m, const char *p, size_t n, int32_t count)
{
	m->n_heap = 0;
	for (int32_t i = 0; i < count; i++)
		if (m->nodes[i].rank != NO_RANK)
			heap_push(m, m->nodes[i].rank, i);
	while (m->n_heap) {
		uint64_t v = heap_pop(m);
		int32_t i = (int32_t)(uint32_t)v;

		/* An old entry whose rank is right again is as good as a new one: the rank names the merge. */
		if (m->nodes[i].rank == v >> 32)
			merge_at(m, p, n, i, true);
	}
}

int k_merger_put(struct k_merger *m, const char *p, size_t n, struct k_ids *out, struct k_err *err)
{
	int32_t id = -1, count;
	int r = 0;

	if (!m->t->by_pair || m->t->whole_first)
		r = find_whole(m, p, n, &id, err);
	if (r < 0)
		return r;
	if (id >= 0)
		return k_ids_put(out, id, err);
	r = reserve(m, n, err);
	if (r < 0)
		return r;
	count = fill(m, p, n);
	for (int32_t i = 0; i < count; i++)
		m->nodes[i].rank = rank_at(m, p, n, i);
	if (count > SCAN_MOST)
		merge_by_heap(m, p, n, count);
	else if (count > 0)
		merge_by_scan(m, p, n);
	for (int32_t i = count ? 0 : -1; i >= 0 && !r; i = m->nodes[i].next)
		r = k_ids_put(out, m->nodes[i].id, err);
	return r;
}
