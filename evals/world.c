/* world.c: see world.h. The made-up tools between them use every part of the vendor's dialect of JSON schema, each bounded, so that every call
 * that keeps to its schema ends. */
#include "libcore/base.h"
#include <inttypes.h>
#include <stdio.h>
#include "evals/report.h"
#include "evals/world.h"
#include "libcore/io.h"

#define FILE_MAX (64u << 20)

static const struct { const char *name, *about, *properties; } made_up[] = {
	{ "next_page", "Return one page of the list.", "{\"cursor\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":99999}}" },
	{ "calc_add", "Add two numbers.", "{\"a\":{\"type\":\"integer\",\"minimum\":-999,\"maximum\":999},\"b\":{\"type\":\"integer\",\"minimum\":-999,\"maximum\":999}}" },
	{ "read_file", "Read a file.", "{\"path\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":24}}" },
	{ "set_light", "Switch a light.", "{\"room\":{\"enum\":[\"hall\",\"kitchen\",\"attic\"]},\"on\":{\"type\":\"boolean\"}}" },
	{ "book_table", "Reserve a table.", "{\"guests\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":12},\"when\":{\"type\":\"string\",\"pattern\":\"^[0-2][0-9]:[0-5][0-9]$\"}}" },
	{ "search", "Search the archive.", "{\"query\":{\"type\":\"string\",\"maxLength\":16},\"limit\":{\"type\":[\"integer\",\"null\"],\"minimum\":1,\"maximum\":50}}" },
	{ "tag_items", "Tag items.", "{\"tags\":{\"type\":\"array\",\"items\":{\"enum\":[\"new\",\"old\",\"blue\",\"red\"]},\"minItems\":1,\"maxItems\":3}}" },
	{ "move_to", "Move to a place.", "{\"at\":{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":9},\"y\":{\"type\":\"integer\",\"minimum\":0,"
		"\"maximum\":9}},\"required\":[\"x\",\"y\"],\"additionalProperties\":false}}" },
	{ "pick", "Pick one of two.", "{\"what\":{\"anyOf\":[{\"type\":\"integer\",\"minimum\":0,\"maximum\":9},{\"enum\":[\"left\",\"right\"]}]}}" },
	{ "confirm", "Say yes.", "{\"answer\":{\"const\":\"yes\"}}" },
	{ "weather.now", "Weather of a city.", "{\"city\":{\"type\":\"string\",\"enum\":[\"Oslo\",\"Bergen\",\"Troms\xc3\xb8\"]}}" },
	{ "send-note", "Send a note.", "{\"text\":{\"type\":\"string\",\"maxLength\":20},\"urgent\":{\"type\":\"boolean\"}}" },
	{ "grid", "Fill a grid.", "{\"rows\":{\"type\":\"array\",\"items\":{\"type\":\"array\",\"items\":{\"type\":\"boolean\"},\"minItems\":2,\"maxItems\":2},\"minItems\":1,\"maxItems\":2}}" },
};

static struct k_json *parse(const char *text)
{
	struct k_err err;
	struct k_json *v;
	return k_json_parse(&v, text, strlen(text), K_JSON_STRICT, "a tool", &err) == 0 ? v : NULL;
}

/* The k-th tool; past the end of the table the same again under numbered names. */
static struct k_json *make_tool(int64_t k)
{
	struct k_buf b;
	size_t i = (size_t)k % K_LEN(made_up);
	const char *key;
	struct k_json *v, *properties = parse(made_up[i].properties);
	k_buf_init(&b, 0);
	k_buf_printf(&b, "{\"type\":\"function\",\"function\":{\"name\":\"%s", made_up[i].name);
	if ((size_t)k >= K_LEN(made_up))
		k_buf_printf(&b, "_%zu", (size_t)k / K_LEN(made_up) + 1);
	k_buf_printf(&b, "\",\"description\":\"%s\",\"parameters\":{\"type\":\"object\",\"properties\":%s,\"required\":[", made_up[i].about,
		made_up[i].properties);
	for (void *it = NULL; k_json_next(properties, &it, &key, &v); )
		k_buf_printf(&b, "%s\"%s\"", b.data[b.len - 1] == '[' ? "" : ",", key);
	k_buf_puts(&b, "],\"additionalProperties\":false}}}");
	v = b.failed || !properties ? NULL : parse(b.data);
	k_json_free(properties);
	k_buf_fini(&b);
	return v;
}

static int make_up(struct k_world *w, int64_t steps, int64_t n_tools, struct k_err *err)
{
	w->user = "Call the tools in turn until you are told that it is done.";
	w->n_steps = steps ? steps : 300;
	w->tools = k_json_array();
	int bad = !w->tools;
	for (int64_t k = 0; k < n_tools && !bad; k++)
		bad = k_json_push(w->tools, make_tool(k)) < 0;
	return bad ? k_err_nomem(err, 4096, "tools") : 0;
}

static int read_world(struct k_world *w, const char *path, int64_t steps, struct k_err *err)
{
	struct k_buf b;
	struct k_json *list, *tools;
	k_buf_init(&b, FILE_MAX);
	int r = k_read_file(path, &b, FILE_MAX, err);
	if (r == 0)
		r = k_json_parse(&w->file, b.len ? b.data : "", b.len, K_JSON_LAST_WINS, path, err);
	k_buf_fini(&b);
	if (r == 0)
		r = k_json_get_array(w->file, "tools", &tools, path, err);
	if (r == 0)
		r = k_json_get_array(w->file, "steps", &list, path, err);
	if (r == 0)
		r = k_json_get_str(w->file, "user", &w->user, path, err);
	if (r == 0)
		r = k_json_str_or(w->file, "final", NULL, &w->final, path, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < k_json_len(list); i++)
		if (!k_json_string(k_json_find(k_json_at(list, i), "result")))
			return k_err_set(err, K_EFORMAT, "'%s': steps[%zu].result is no string", path, i);
	w->tools = k_json_keep(tools);
	w->n_steps = (int64_t)k_json_len(list);
	if (!w->n_steps)
		return k_err_set(err, K_EFORMAT, "'%s' has no steps", path);
	if (steps && steps < w->n_steps) {
		w->n_steps = steps;
		w->final = NULL;
	}
	return 0;
}

int k_world_open(struct k_world *w, const char *path, int64_t steps, int64_t n_tools, int64_t seed, struct k_err *err)
{
	*w = (struct k_world){ .seed = seed };
	return path ? read_world(w, path, steps, err) : make_up(w, steps, n_tools, err);
}

void k_world_close(struct k_world *w)
{
	k_json_free(w->tools);
	k_json_free(w->file);
}

static const struct k_json *function_at(const struct k_json *tools, size_t i) { return k_json_find(k_json_at(tools, i), "function"); }

struct k_json *k_world_choice(const struct k_world *w, int64_t step)
{
	struct k_buf b;
	const char *name = w->file ? NULL : k_json_string(k_json_find(function_at(w->tools, (size_t)step % k_json_len(w->tools)), "name"));
	if (!name)
		return NULL;
	k_buf_init(&b, 0);
	k_buf_printf(&b, "{\"type\":\"function\",\"function\":{\"name\":\"%s\"}}", name);
	struct k_json *v = b.failed ? NULL : parse(b.data);
	k_buf_fini(&b);
	return v;
}

static const struct k_json *step_at(const struct k_world *w, int64_t step) { return k_json_at(k_json_find(w->file, "steps"), (size_t)step); }

const struct k_json *k_world_wanted(const struct k_world *w, int64_t step) { return k_json_find(step_at(w, step), "args"); }

void k_world_result(const struct k_world *w, int64_t step, struct k_buf *out)
{
	static const char *const words[] = { "window", "rabbit", "river", "lamp", "stone", "bread", "letter", "garden" };
	const struct k_json *result = k_json_find(step_at(w, step), "result");
	uint64_t x = ((uint64_t)w->seed + 1) * 0x9e3779b97f4a7c15u + (uint64_t)step * 0xbf58476d1ce4e5b9u;
	if (k_json_string(result))
		k_buf_put(out, k_json_string(result), k_json_len(result));
	else
		k_buf_printf(out, "{\"cursor\": %" PRId64 ", \"item\": \"%s\"}", step + 1, words[(x >> 40) % K_LEN(words)]);
}

const struct k_json *k_world_schema(const struct k_json *tools, const char *name)
{
	for (size_t i = 0; i < k_json_len(tools); i++) {
		const struct k_json *f = function_at(tools, i);
		const char *have = k_json_string(k_json_find(f, "name"));
		if (have && name && !strcmp(have, name))
			return k_json_find(f, "parameters");
	}
	return NULL;
}
