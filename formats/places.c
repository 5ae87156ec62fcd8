/* places.c: see places.h. */
#include "libcore/base.h"
#include "formats/gguf_head.h"
#include "formats/places.h"
#include "formats/st.h"

static int make_room(struct k_places *p, uint64_t n, struct k_err *err)
{
	p->v = n < SIZE_MAX / sizeof(*p->v) ? k_arena_array(&p->arena, (size_t)n + 1, sizeof(*p->v)) : NULL;
	return p->v ? 0 : k_err_nomem(err, (size_t)n, "the places of tensors");
}

static int add(struct k_places *p, const char *name, uint64_t off, uint64_t bytes, struct k_err *err)
{
	struct k_place *t = &p->v[p->n];

	*t = (struct k_place){ k_arena_strdup(&p->arena, name), off, bytes };
	if (!t->name)
		return k_err_nomem(err, strlen(name), "the name of a tensor");
	p->n++;
	p->data = K_MIN(p->data, off);
	return 0;
}

/* Takes src. */
static int read_safetensors(struct k_places *p, struct k_source *src, struct k_err *err)
{
	struct k_rawset set;
	int r;

	k_rawset_init(&set, k_source_name(src));
	r = k_st_read_head(&set, src, err);
	if (r == 0)
		r = make_room(p, (uint64_t)set.n, err);
	for (int64_t i = 0; r == 0 && i < set.n; i++)
		r = add(p, set.v[i].name, set.v[i].off, set.v[i].bytes, err);
	k_rawset_fini(&set);
	return r;
}

static int read_gguf(struct k_places *p, struct k_source *src, struct k_err *err)
{
	struct k_gguf g = { 0 };
	const void *bytes;
	size_t n;
	int r = k_source_map(src, &bytes, &n, err);

	if (r < 0)
		return r;
	r = k_gguf_read(&g, bytes, n, k_source_name(src), NULL, err);
	if (r == 0)
		r = make_room(p, g.n_tensors, err);
	for (uint64_t i = 0; r == 0 && i < g.n_tensors; i++)
		r = add(p, g.tensors[i].name, g.tensors[i].off, g.tensors[i].bytes, err);
	k_gguf_fini(&g);
	return r;
}

int k_places_read(struct k_places *p, struct k_source *src, struct k_err *err)
{
	const void *head;
	size_t n;
	int r;

	memset(p, 0, sizeof(*p));
	k_arena_init(&p->arena);
	p->data = UINT64_MAX;
	r = k_source_peek(src, &head, 4096, &n, err);
	if (r == 0 && k_st_taste(head, n))
		return read_safetensors(p, src, err);
	if (r == 0 && (n < 4 || memcmp(head, "GGUF", 4) != 0))
		r = k_err_set(err, K_EUNSUP, "'%s': neither safetensors nor GGUF", k_source_name(src));
	if (r == 0)
		r = read_gguf(p, src, err);
	k_source_close(src);
	return r;
}

void k_places_fini(struct k_places *p)
{
	k_arena_fini(&p->arena);
}
