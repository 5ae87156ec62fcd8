/* parts.c: what a sequence keeps, on the devices that have a model's layers.
 *
 *   on the host   one block: the layers in order
 *   devices       mem[0] | mem[1] | ...: each has its own layers' stretch of it; NULL where they keep nothing */
#include "libcore/base.h"
#include "libcore/model_int.h"

int k_part_of_layer(const struct k_model *m, int64_t layer)
{
	int i = 0;
	while (i + 1 < m->n_part && layer >= m->part[i + 1].layer)
		i++;
	return i;
}

static size_t piece_at(const struct k_model *m, enum k_keep what, int i)
{
	const struct k_part *p = &m->part[i];
	return what == K_KEEP_PAGE ? p->page_at : (size_t)p->kda_at * sizeof(float);
}

static size_t piece_bytes(const struct k_model *m, enum k_keep what, int i)
{
	const struct k_part *p = &m->part[i];
	return what == K_KEEP_PAGE ? p->page_bytes : (size_t)p->n_kda * sizeof(float);
}

size_t k_keep_bytes(const struct k_model *m, enum k_keep what) { return what == K_KEEP_PAGE ? m->page_bytes : (size_t)m->n_kda * sizeof(float); }

uint64_t k_keep_held(const struct k_model *m, enum k_keep what)
{
	uint64_t n = 0;
	for (int i = 0; i < m->n_part; i++)
		n += m->part[i].dev->far ? 0 : piece_bytes(m, what, i);
	return n;
}

int k_keep_alloc(struct k_model *m, enum k_keep what, void *mem[K_PARTS], struct k_err *err)
{
	static const char *const names[] = { "a page of a sequence", "the states of a sequence" };
	int r = 0;
	memset(mem, 0, K_PARTS * sizeof(*mem));
	for (int i = 0; r == 0 && i < m->n_part; i++)
		if (piece_bytes(m, what, i))
			r = k_model_take(m, m->part[i].dev, piece_bytes(m, what, i), &mem[i], names[what], err);
	if (r < 0)
		k_keep_free(m, what, mem);
	return r;
}

void k_keep_free(struct k_model *m, enum k_keep what, void *mem[K_PARTS])
{
	for (int i = 0; i < m->n_part; i++)
		k_model_give(m, m->part[i].dev, piece_bytes(m, what, i), mem[i]);
	memset(mem, 0, K_PARTS * sizeof(*mem));
}

int k_keep_get(const struct k_model *m, enum k_keep what, void *host, void *const mem[K_PARTS], struct k_err *err)
{
	int r = 0;
	for (int i = 0; i < m->n_part && r == 0; i++)
		if (mem[i])
			r = m->part[i].dev->get(m->part[i].dev, (char *)host + piece_at(m, what, i), mem[i], piece_bytes(m, what, i), err);
	return r;
}

int k_keep_put(const struct k_model *m, enum k_keep what, void *const mem[K_PARTS], const void *host, struct k_err *err)
{
	int r = 0;
	for (int i = 0; i < m->n_part && r == 0; i++)
		if (mem[i])
			r = m->part[i].dev->put(m->part[i].dev, mem[i], (const char *)host + piece_at(m, what, i), piece_bytes(m, what, i), err);
	return r;
}

/* A sequence takes of each device what its layers keep: where the first is full no other's memory helps. */
uint64_t k_model_room(const struct k_model *m)
{
	uint64_t least = UINT64_MAX;
	for (int i = 0; i < m->n_part && m->dev->room; i++) {
		uint64_t room = m->part[i].dev->room(m->part[i].dev);
		for (int what = K_KEEP_PAGE; what <= K_KEEP_KDA; what++) {
			size_t mine = piece_bytes(m, (enum k_keep)what, i), all = k_keep_bytes(m, (enum k_keep)what);
			if (mine)
				least = K_MIN(least, mine == all ? room : (uint64_t)((double)room / (double)mine * (double)all));
		}
	}
	return least;
}
