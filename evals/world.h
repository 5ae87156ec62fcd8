/* world.h: the world of a tool loop: what tools there are, who is forced to be called, what the calls return. Scripted (a file: user, tools, steps
 * with args and result, final) or made up: tools of many shapes, called in turn. */
#ifndef K_WORLD_H
#define K_WORLD_H

#include "libcore/json.h"

struct k_world {
	struct k_json *file;            /* NULL: made up */
	struct k_json *tools;
	const char *user, *final;       /* final NULL: the loop ends with the last call */
	int64_t n_steps;
	int64_t seed;
};

/* path NULL: made up, of n_tools tools and steps calls. steps 0: all of the file; 300. */
int k_world_open(struct k_world *w, const char *path, int64_t steps, int64_t n_tools, int64_t seed, struct k_err *err) K_MUST_USE;
void k_world_close(struct k_world *w);
/* tool_choice of a step; NULL: the model is free. New. */
struct k_json *k_world_choice(const struct k_world *w, int64_t step);
/* The arguments that the script wants; NULL: whatever fits the schema. Borrowed. */
const struct k_json *k_world_wanted(const struct k_world *w, int64_t step);
/* What the call returns. */
void k_world_result(const struct k_world *w, int64_t step, struct k_buf *out);
/* The parameters of a declared tool; NULL: there is none of that name. Borrowed. */
const struct k_json *k_world_schema(const struct k_json *tools, const char *name);

#endif
