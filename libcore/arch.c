/* arch.c: the registry of architectures and what follows from a table of weights: names and shapes.
 *
 *   config.json -> k_arch_find -> struct k_arch -> parse -> struct k_hp
 *   row { "model.layers.{i}.x.{e}.y", "E,F,D" } + layer -> name "model.layers.3.x.*.y", shape [384, 2048, 7168] */
#include "libcore/base.h"
#include <stdio.h>
#include <stdlib.h>
#include "libcore/arch.h"

#define X(name) extern const struct k_arch k_arch_##name;
#include "archs.list"
#undef X

static const struct k_arch *const archs[] = {
#define X(name) &k_arch_##name,
#include "archs.list"
#undef X
	NULL
};

const struct k_arch *k_arch_at(int i)
{
	return i >= 0 && i < (int)K_LEN(archs) ? archs[i] : NULL;
}

const struct k_arch *k_arch_named(const char *name)
{
	for (int i = 0; archs[i]; i++)
		if (strcmp(archs[i]->name, name) == 0)
			return archs[i];
	return NULL;
}

const struct k_arch *k_arch_gguf(const char *gguf_arch)
{
	for (int i = 0; archs[i]; i++)
		if (archs[i]->gguf_arch && strcmp(archs[i]->gguf_arch, gguf_arch) == 0)
			return archs[i];
	return NULL;
}

/* Models for pictures and text whose text part is one of ours. K3's calls itself kimi_linear, whatever it has: its name is the outer one, and a text model
 * that was taken out of it here has that. */
static const struct { const char *type, *arch; } wrappers[] = { { "kimi_k25", NULL }, { "kimi_vl", NULL }, { "kimi_k3", "kimi_k3" } };

/* *arch: where the wrapper says which; else as it was. */
static int unwrap(const struct k_json *config, const char *where, const char *type, const struct k_json **text, const char **prefix,
	const struct k_arch **arch, struct k_err *err)
{
	struct k_json *inner;
	int r;

	*text = config;
	*prefix = "";
	for (size_t i = 0; i < K_LEN(wrappers); i++) {
		if (!type || strcmp(type, wrappers[i].type) != 0)
			continue;
		/* A text model that was taken out tells who it is. */
		if (wrappers[i].arch && !k_json_find(config, "text_config"))
			return 0;
		if (wrappers[i].arch)
			*arch = k_arch_named(wrappers[i].arch);
		r = k_json_get_object(config, "text_config", &inner, where, err);
		if (r < 0)
			return r;
		*text = inner;
		*prefix = K_ARCH_WRAPPED;
	}
	return 0;
}

const char *k_arch_text_type(const struct k_json *config)
{
	const char *type = k_json_string(k_json_find(config, "model_type"));

	for (size_t i = 0; type && i < K_LEN(wrappers); i++)
		if (wrappers[i].arch && strcmp(type, wrappers[i].type) == 0)
			return wrappers[i].type;
	return NULL;
}

const char *const k_arch_outer_ids[] = { "bos_token_id", "eos_token_id", "pad_token_id", NULL };

const struct k_json *k_arch_id(const struct k_json *config, const struct k_json *text, const char *key)
{
	const struct k_json *v = k_json_find(text, key);

	return k_json_kind(v) == K_JSON_NULL ? k_json_find(config, key) : v;
}

static const struct k_arch *best_match(const struct k_json *text)
{
	const struct k_arch *best = NULL;
	int top = 0;

	for (int i = 0; archs[i]; i++) {
		int score = archs[i]->match(text);

		if (score > top) {
			top = score;
			best = archs[i];
		}
	}
	return best;
}

int k_arch_find(const struct k_json *config, const char *where, const struct k_arch **out, const struct k_json **text, const char **prefix, struct k_err *err)
{
	const struct k_json *names;
	const char *type;
	int r;

	*out = NULL;
	if (k_json_kind(config) != K_JSON_OBJECT)
		return k_err_set(err, K_EFORMAT, "'%s' is %s, wanted an object", where, k_json_kind_name(config));
	r = k_json_str_or(config, "model_type", NULL, &type, where, err);
	if (r == 0)
		r = unwrap(config, where, type, text, prefix, out, err);
	if (r < 0)
		return r;
	if (!*out)
		*out = best_match(*text);
	if (*out)
		return 0;
	names = k_json_find(config, "architectures");
	if (!type)
		type = k_json_string(k_json_at(names, 0));
	if (!type)
		return k_err_set(err, K_EUNSUP, "'%s' has neither model_type nor architectures, nothing says what model it is", where);
	return k_err_set(err, K_EUNSUP, "'%s': model_type '%s' is not known here", where, type);
}

int k_arch_shape(const struct k_arch *a, const struct k_hp *hp, const char *shape, int *ndim, int64_t dims[K_MAX_DIMS], struct k_err *err)
{
	char letter[16];
	int n = 0;

	for (const char *p = shape; *p; n++) {
		size_t len = strcspn(p, ",");

		if (n >= K_MAX_DIMS || len == 0 || len >= sizeof(letter))
			return k_err_set(err, K_EBUG, "%s: bad shape '%s'", a->name, shape);
		memcpy(letter, p, len);
		letter[len] = 0;
		dims[n] = letter[0] >= '0' && letter[0] <= '9' ? strtoll(letter, NULL, 10) : a->dim(hp, letter);
		if (dims[n] < 0)
			return k_err_set(err, K_EBUG, "%s: unknown letter '%s' in shape '%s'", a->name, letter, shape);
		p += len + (p[len] == ',');
	}
	*ndim = n;
	return 0;
}

void k_arch_name(char *buf, size_t n, const char *pattern, const char *prefix, int64_t layer, int64_t expert)
{
	size_t at = 0;

	if (n == 0)
		return;
	for (const char *p = prefix; *p && at + 1 < n; p++)
		buf[at++] = *p;
	for (const char *p = pattern; *p && at + 1 < n; ) {
		int64_t v = strncmp(p, "{i}", 3) == 0 ? layer : expert;

		if (*p != '{') {
			buf[at++] = *p++;
			continue;
		}
		if (strncmp(p, "{e}", 3) == 0 && expert < 0)
			at += (size_t)snprintf(buf + at, n - at, "*");
		else
			at += (size_t)snprintf(buf + at, n - at, "%lld", (long long)v);
		at = K_MIN(at, n - 1);
		p += 3;
	}
	buf[at] = 0;
}
