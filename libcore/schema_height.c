/* schema_height.c: how many containers the smallest value of each node needs, and so which nodes have none; unions made flat. */
#include "libcore/base.h"

#include "libcore/schema_int.h"

static uint32_t above(uint32_t height) { return height == K_HEIGHT_NONE ? height : height + 1; }

/* Enough optional members to reach the least number: the lowest of them. */
static uint32_t optional_height(const struct k_grammar *g, const struct k_node *x, int64_t wanted, uint32_t highest)
{
	for (uint32_t h = 0; h <= K_MAX_HEIGHT; h++) {
		int64_t n = 0;
		for (uint32_t i = 0; i < x->n_props; i++)
			n += !x->props[i].required && g->nodes[x->props[i].value].height <= h;
		for (uint32_t i = 0; i < x->n_extras; i++)
			n += g->nodes[x->extras[i].value].height <= h && g->nodes[x->extras[i].key].height != K_HEIGHT_NONE ? x->extras[i].names : 0;
		if (n >= wanted)
			return K_MAX(h, highest);
	}
	return K_HEIGHT_NONE;
}

static uint32_t object_height(const struct k_grammar *g, const struct k_node *x)
{
	uint32_t h = 0;
	int64_t required = x->required_from[0];
	if (required > x->max || x->min > x->max)
		return K_HEIGHT_NONE;
	for (uint32_t i = 0; i < x->n_props; i++) {
		if (x->props[i].required)
			h = K_MAX(h, g->nodes[x->props[i].value].height);
	}
	if (h != K_HEIGHT_NONE && required < x->min)
		h = optional_height(g, x, x->min - required, h);
	return above(h);
}

static uint32_t array_height(const struct k_grammar *g, const struct k_node *x)
{
	uint32_t h = 0;
	if (x->min > x->max || (x->unique && x->min > (int64_t)x->n_kids))
		return K_HEIGHT_NONE;
	for (int64_t i = 0; i < x->min && !x->unique && i <= (int64_t)x->n_kids; i++) {
		uint32_t item = i < (int64_t)x->n_kids ? x->kids[i] : x->rest;
		h = K_MAX(h, item == K_NODE_NONE ? K_HEIGHT_NONE : g->nodes[item].height);
	}
	return above(h);
}

static uint32_t height_of(const struct k_grammar *g, const struct k_node *x)
{
	uint32_t h = K_HEIGHT_NONE;
	switch (x->kind) {
	case K_NODE_NEVER:
		return K_HEIGHT_NONE;
	case K_NODE_UNION:
		for (uint32_t i = 0; i < x->n_kids; i++)
			h = K_MIN(h, g->nodes[x->kids[i]].height);
		return h;
	case K_NODE_ARRAY:
		return array_height(g, x);
	case K_NODE_OBJECT:
	case K_NODE_CALL:
		return object_height(g, x);
	}
	return 0;
}

void k_grammar_settle(struct k_grammar *g)
{
	for (bool more = true; more; ) {
		more = false;
		for (uint32_t i = g->n_nodes; i-- > 0; ) {
			uint32_t h = height_of(g, &g->nodes[i]);
			more |= h != g->nodes[i].height;
			g->nodes[i].height = h;
		}
	}
}

/* Unions of unions become one, without what has no value. */
int k_schema_flatten_unions(struct k_compiler *c)
{
	struct k_grammar *g = c->g;
	uint32_t *mark = k_calloc(g->n_nodes, sizeof(*mark)), *stack = k_alloc((size_t)g->n_nodes * sizeof(*stack));
	uint32_t *list = k_alloc((size_t)g->n_nodes * sizeof(*list));
	int rc = mark && stack && list ? 0 : k_schema_nomem(c);
	for (uint32_t i = 0; i < g->n_nodes && !rc; i++) {
		uint32_t n = 0, m = 0;
		if (g->nodes[i].kind != K_NODE_UNION)
			continue;
		stack[n++] = i;
		mark[i] = i + 1;
		while (n) {
			const struct k_node *x = &g->nodes[stack[--n]];
			c->work += x->n_kids;
			for (uint32_t k = x->n_kids; k-- > 0; ) {
				uint32_t kid = x->kids[k];
				if (mark[kid] == i + 1 || g->nodes[kid].height == K_HEIGHT_NONE)
					continue;
				mark[kid] = i + 1;
				if (g->nodes[kid].kind == K_NODE_UNION)
					stack[n++] = kid;
				else
					list[m++] = kid;
			}
		}
		if (c->work > K_MAX_WORK)
			rc = k_err_set(c->err, K_EUNSUP, "%s is too large", c->where);
		uint32_t *kids = rc ? NULL : k_arena_array(&g->arena, m + 1, sizeof(*kids));
		if (kids)
			memcpy(kids, list, m * sizeof(*kids));
		else if (!rc)
			rc = k_schema_nomem(c);
		g->nodes[i].kids = kids;
		g->nodes[i].n_kids = kids ? m : 0;
	}
	k_free(mark);
	k_free(stack);
	k_free(list);
	return rc;
}

