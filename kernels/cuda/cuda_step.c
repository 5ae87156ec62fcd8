/* cuda_step.c: a decode step as one graph. Between begin and end operations launch nothing: what they would launch is listed, and what they would put goes
 * to one block of parameters, each piece at the same place as in the step before.
 *
 *   begin   list, parameters = {}
 *   ...     list += kernel, grid, arguments        parameters += ids, segments, lists of pages        neighbours become one (cuda_merge.c)
 *   end     put parameters;  is there a graph of this very list?   launch it   : make it, launch it
 *
 * The list is compared in full, so that a graph can never replay an argument that has changed since: whatever differs (more rows, a longer context that
 * wants more spans, memory that moved) is another graph. Graphs are of exact numbers of rows: a row more to fill a bucket would read
 * experts of its own. Who wants a result in the middle of a step (a probe, an operation left to the CPU) ends the list: what is in it is launched
 * one by one, and so is the rest of the step. */
#include "libcore/base.h"
#include "kernels/cuda/cuda_impl.h"
#include "libcore/log.h"

enum { MOST_CALLS = 8192, ARGS_BYTES = 2 * 1024 * 1024 };

static void drop(struct cuda *c, struct cuda_graph *g)
{
	if (g->exec)
		c->rt->graph_free(c->on, g->exec);
	k_free(g->call);
	k_free(g->args);
	*g = (struct cuda_graph){ 0 };
}

int cuda_step_reserve(struct cuda *c, struct k_err *err)
{
	struct cuda_step *s = &c->step;
	if (!s->call)
		s->call = k_alloc(MOST_CALLS * sizeof(*s->call));
	if (!s->args)
		s->args = k_alloc(ARGS_BYTES);
	return s->call && s->args ? 0 : k_err_nomem(err, ARGS_BYTES, "the launches of a step");
}

void cuda_step_close(struct cuda *c)
{
	struct cuda_step *s = &c->step;
	for (size_t i = 0; i < K_LEN(s->graph); i++)
		drop(c, &s->graph[i]);
	if (s->made)
		k_logf(c->dev.ctx->log, K_LOG_DEBUG, "%s: %lld graphs made, launched %lld times", c->level, (long long)s->made, (long long)s->launched);
	k_free(s->call);
	k_free(s->args);
}

void cuda_step_begin(struct k_device *d, bool decode)
{
	struct cuda *c = cuda_of(d);
	struct cuda_step *s = &c->step;
	s->on = decode && s->call && s->args;
	s->n = s->n_args = 0;
	c->told = 0;
}

/* False: there is no room, it is to be launched at once. */
bool cuda_step_add(struct cuda *c, enum cuda_kernel_id kernel, struct cuda_grid grid, const void *args, size_t bytes)
{
	struct cuda_step *s = &c->step;
	size_t room = k_align_up(bytes, 16);
	if (s->on && (s->n == MOST_CALLS || CUDA_MOST_ARGS > ARGS_BYTES - s->n_args))
		cuda_step_flush(c);
	if (!s->on)
		return false;
	if (s->n) {
		struct cuda_call *last = &s->call[s->n - 1];
		size_t at = (size_t)((const uint8_t *)last->args - s->args);
		if (cuda_merge(last, s->args + at, kernel, grid, args)) {
			s->n_args = at + k_align_up(last->bytes, 16);
			return true;
		}
	}
	memcpy(s->args + s->n_args, args, bytes);
	s->call[s->n++] = (struct cuda_call){ kernel, grid, s->args + s->n_args, bytes };
	s->n_args += room;
	return true;
}

static void put_parameters(struct cuda *c)
{
	if (c->told)
		c->rt->put(c->on, c->there, c->table, (size_t)c->told);
	c->told = 0;
}

void cuda_step_flush(struct cuda *c)
{
	struct cuda_step *s = &c->step;
	if (!s->on)
		return;
	s->on = false;
	put_parameters(c);
	for (size_t i = 0; i < s->n; i++)
		c->rt->launch(c->on, s->call[i].kernel, s->call[i].grid, s->call[i].args, s->call[i].bytes);
}

static bool same(const struct cuda_graph *g, const struct cuda_step *s)
{
	if (!g->exec || g->n != s->n)
		return false;
	for (size_t i = 0; i < s->n; i++) {
		const struct cuda_call *a = &g->call[i], *b = &s->call[i];
		if (a->kernel != b->kernel || memcmp(&a->grid, &b->grid, sizeof(a->grid)) != 0 || a->bytes != b->bytes ||
			memcmp(a->args, b->args, a->bytes) != 0)
			return false;
	}
	return true;
}

/* In the place of the one that was not used for the longest time; NULL: launch one by one. */
static struct cuda_graph *make(struct cuda *c)
{
	struct cuda_step *s = &c->step;
	struct cuda_graph *g = &s->graph[0];
	for (size_t i = 1; i < K_LEN(s->graph); i++)
		if (s->graph[i].used < g->used)
			g = &s->graph[i];
	drop(c, g);
	g->call = k_alloc(s->n * sizeof(*g->call));
	g->args = k_alloc(s->n_args);
	if (g->call && g->args) {
		memcpy(g->args, s->args, s->n_args);
		g->n = s->n;
		for (size_t i = 0; i < s->n; i++) {
			g->call[i] = s->call[i];
			g->call[i].args = g->args + ((const uint8_t *)s->call[i].args - s->args);
		}
		g->exec = c->rt->graph_make(c->on, g->call, g->n);
	}
	if (!g->exec) {
		drop(c, g);
		return NULL;
	}
	s->made++;
	return g;
}

void cuda_step_end(struct k_device *d)
{
	struct cuda *c = cuda_of(d);
	struct cuda_step *s = &c->step;
	struct cuda_graph *g = NULL;
	if (!s->on || !s->n) {
		s->on = false;
		return;
	}
	for (size_t i = 0; i < K_LEN(s->graph) && !g; i++)
		if (same(&s->graph[i], s))
			g = &s->graph[i];
	if (!g)
		g = make(c);
	if (!g) {
		cuda_step_flush(c);
		return;
	}
	g->used = ++s->clock;
	put_parameters(c);
	c->rt->graph_launch(c->on, g->exec, s->call, s->n);
	s->launched++;
	s->on = false;
}
