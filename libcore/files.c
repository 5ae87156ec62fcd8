/* files.c: a list of named files in memory. A checkpoint has about a dozen, so looking is a walk. */
#include "libcore/base.h"
#include "libcore/files.h"

void k_files_init(struct k_files *f, const char *where) { *f = (struct k_files){ .where = where }; }

void k_files_fini(struct k_files *f)
{
	for (int i = 0; i < f->n; i++) {
		k_free(f->v[i].name);
		k_free(f->v[i].data);
	}
	k_free(f->v);
	k_files_init(f, f->where);
}

static int grow(struct k_files *f, struct k_err *err)
{
	int cap = f->cap ? f->cap * 2 : 16;
	struct k_file *v;

	if (f->n < f->cap)
		return 0;
	v = k_realloc(f->v, (size_t)cap * sizeof *v);
	if (!v)
		return k_err_nomem(err, (size_t)cap * sizeof *v, "the list of side files");
	f->v = v;
	f->cap = cap;
	return 0;
}

int k_files_add(struct k_files *f, const char *name, char *data, size_t len, struct k_err *err)
{
	char *copy = NULL;
	int r;

	if (k_files_find(f, name)) {
		r = k_err_set(err, K_EFORMAT, "'%s' holds a second file '%s'", f->where ? f->where : "the model", name);
		goto out;
	}
	r = grow(f, err);
	if (r < 0)
		goto out;
	copy = k_strdup(name);
	if (!copy) {
		r = k_err_nomem(err, strlen(name) + 1, "the name of a side file");
		goto out;
	}
	f->v[f->n++] = (struct k_file){ copy, data, len };
	return 0;
out:
	k_free(data);
	return r;
}

const struct k_file *k_files_find(const struct k_files *f, const char *name)
{
	for (int i = 0; i < f->n; i++)
		if (!strcmp(f->v[i].name, name))
			return &f->v[i];
	return NULL;
}

bool k_files_prose(const char *name) { return !strcmp(name, "LICENSE") || !strcmp(name, "README.md"); }

bool k_files_known(const char *name)
{
	static const char *const names[] = {
		"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
		"added_tokens.json", "tiktoken.model", "chat_template.jinja", "vocab.json", "merges.txt", "preprocessor_config.json",
		"gguf_keys.json",
	};

	for (size_t i = 0; i < K_LEN(names); i++)
		if (!strcmp(name, names[i]))
			return true;
	return k_files_prose(name);
}
