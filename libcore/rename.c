/* rename.c: see rename.h. */
#include "libcore/base.h"
#include "libcore/arch.h"
#include "libcore/io.h"
#include "libcore/log.h"
#include "libcore/rename.h"
#include "libcore/rx.h"

enum { MOST_RULES = 1000, NAME_BYTES = 1024, MAP_BYTES = 1 << 20 };

struct rule { struct k_rx *rx; char *to; };
struct k_renames { struct rule v[MOST_RULES]; int n; };

/* --- rules ------------------------------------------------------------------------------------------------------------------ */

void k_renames_free(struct k_renames *r)
{
	for (int i = 0; r && i < r->n; i++) {
		k_rx_free(r->v[i].rx);
		k_free(r->v[i].to);
	}
	k_free(r);
}

static int read_rule(struct k_renames *r, char *line, const char *path, int number, struct k_err *err)
{
	struct rule *one = &r->v[r->n];
	char *from, *to, *rest;

	from = line + strspn(line, " \t\r");
	to = from + strcspn(from, " \t\r");
	if (!*from || *from == '#')
		return 0;
	if (r->n == MOST_RULES)
		return k_err_set(err, K_EUNSUP, "'%s' has more than %d rules", path, MOST_RULES);
	if (*to)
		*to++ = 0;
	to += strspn(to, " \t\r");
	rest = to + strcspn(to, " \t\r");
	if (rest[strspn(rest, " \t\r")])
		return k_err_set(err, K_EFORMAT, "'%s', line %d: wanted FROM TO, got a third word", path, number);
	*rest = 0;
	if (k_rx_new(&one->rx, from, 0, err) < 0)
		return k_err_add(err, "in '%s', line %d", path, number);
	one->to = k_strdup(to);
	r->n++;
	return one->to ? 0 : k_err_nomem(err, strlen(to), "a rule");
}

int k_renames_read(struct k_renames **out, const char *path, struct k_err *err)
{
	struct k_renames *r = k_calloc(1, sizeof(*r));
	char *line, *next;
	struct k_buf b;
	int number = 1, rc;

	*out = NULL;
	if (!r)
		return k_err_nomem(err, sizeof(*r), "rules");
	k_buf_init(&b, 0);
	rc = k_read_file(path, &b, MAP_BYTES, err);
	if (rc == 0 && b.len && (memchr(b.data, 0, b.len) || !k_utf8_ok(b.data, b.len)))
		rc = k_err_set(err, K_EFORMAT, "'%s' is no text, wanted lines of FROM TO", path);
	k_buf_putc(&b, 0);
	if (rc == 0)
		rc = k_buf_ok(&b, path, err);
	for (line = b.data; rc == 0 && line && *line; line = next, number++) {
		next = line + strcspn(line, "\n");
		if (*next)
			*next++ = 0;
		rc = read_rule(r, line, path, number, err);
	}
	k_buf_fini(&b);
	if (rc < 0)
		k_renames_free(r);
	else
		*out = r;
	return rc;
}

static int apply(struct k_rawset *set, const struct rule *rule, struct k_raw *t, struct k_err *err)
{
	size_t len = strlen(t->name), a, b;
	int r = k_rx_find(rule->rx, t->name, len, 0, &a, &b, err);

	if (r <= 0)
		return r;
	if (len - (b - a) + strlen(rule->to) > NAME_BYTES || len - (b - a) + strlen(rule->to) == 0)
		return k_err_set(err, K_EUNSUP, "'%s': a rule makes the name of %s empty or longer than %d bytes", t->file, t->name, NAME_BYTES);
	t->was = k_raw_in_file(t);
	t->name = k_arena_printf(&set->arena, "%.*s%s%s", (int)a, t->name, rule->to, t->name + b);
	return t->name ? 0 : k_err_nomem(err, len, "a name");
}

/* --- the text model ----------------------------------------------------------------------------------------------------------- */

static bool begins(const char *s, const char *with) { return strncmp(s, with, strlen(with)) == 0; }

/* Module names in quantization_config lose the prefix, written plain or as a pattern. */
static int strip_names(struct k_json *obj, const char *key)
{
	static const char *const prefixes[] = { "re:^language_model\\.", "re:language_model\\.", "re:^" K_ARCH_WRAPPED, "re:" K_ARCH_WRAPPED, K_ARCH_WRAPPED };
	const struct k_json *list = k_json_find(obj, key);
	struct k_json *made = k_json_array();
	int r = made ? 0 : -1;

	for (size_t i = 0; r == 0 && i < k_json_len(list); i++) {
		const char *s = k_json_string(k_json_at(list, i));
		char text[NAME_BYTES];
		size_t k = 0;

		while (s && k < K_LEN(prefixes) && !begins(s, prefixes[k]))
			k++;
		if (!s || k == K_LEN(prefixes) || strlen(s) >= sizeof(text)) {
			r = k_json_push(made, k_json_keep(k_json_at(list, i)));
			continue;
		}
		strcpy(text, k + 1 == K_LEN(prefixes) ? "" : "re:");
		strcat(text, s + strlen(prefixes[k]));
		r = k_json_push(made, k_json_new_string(text, strlen(text)));
	}
	if (r == 0 && k_json_kind(list) == K_JSON_ARRAY)
		return k_json_set(obj, key, made);
	k_json_free(made);
	return r;
}

static int text_quantization(struct k_json *text, const struct k_json *config)
{
	const struct k_json *q = k_json_find(config, "quantization_config");
	struct k_json *copy, *groups, *g;
	const char *key;
	void *it = NULL;
	int r;

	if (k_json_kind(q) == K_JSON_NULL)
		q = k_json_find(text, "quantization_config");
	if (k_json_kind(q) != K_JSON_OBJECT)
		return 0;
	copy = k_json_copy(q);
	r = copy ? strip_names(copy, "ignore") : -1;
	if (r == 0)
		r = strip_names(copy, "modules_to_not_convert");
	groups = k_json_find(copy, "config_groups");
	while (r == 0 && k_json_next(groups, &it, &key, &g))
		r = k_json_kind(g) == K_JSON_OBJECT ? strip_names(g, "targets") : 0;
	if (r == 0)
		return k_json_set(text, "quantization_config", copy);
	k_json_free(copy);
	return r;
}

/* Ids of tokens stand in the text's own config, or in the one around it, which goes. */
static int text_ids(struct k_json *text, const struct k_json *config)
{
	int r = 0;

	for (int i = 0; r == 0 && k_arch_outer_ids[i]; i++) {
		const struct k_json *id = k_arch_id(config, text, k_arch_outer_ids[i]);

		if (k_json_kind(id) != K_JSON_NULL && id != k_json_find(text, k_arch_outer_ids[i]))
			r = k_json_set(text, k_arch_outer_ids[i], k_json_copy(id));
	}
	return r;
}

static int text_type(struct k_json *text, const struct k_json *config)
{
	const char *type = k_arch_text_type(config);

	return type ? k_json_set(text, "model_type", k_json_new_string(type, strlen(type))) : 0;
}

/* Where there is one it takes the place of the whole. */
static int text_config(struct k_rawset *set, struct k_err *err)
{
	struct k_file *f = (struct k_file *)(uintptr_t)k_files_find(&set->files, "config.json");
	struct k_json *config = NULL, *text;
	struct k_buf b;
	char *data;
	size_t len;
	int r = f ? k_json_parse(&config, f->data, f->len, K_JSON_STRICT, "config.json", err) : 0;

	if (r < 0)
		return k_err_add(err, "in '%s'", set->path);
	if (k_json_kind(k_json_find(config, "text_config")) != K_JSON_OBJECT) {
		k_json_free(config);
		return 0;
	}
	text = k_json_copy(k_json_find(config, "text_config"));
	k_buf_init(&b, 0);
	if (text && text_quantization(text, config) == 0 && text_ids(text, config) == 0 && text_type(text, config) == 0) {
		k_json_dump(&b, text, K_JSON_INDENT);
		k_buf_putc(&b, '\n');
	}
	data = k_buf_take(&b, &len);
	k_json_free(text);
	k_json_free(config);
	if (!data || !len) {
		k_free(data);
		return k_err_nomem(err, 4096, "the config");
	}
	k_free(f->data);
	f->data = data;
	f->len = len;
	return 0;
}

/* The text model alone, whose config still is that of the whole: no tensor has the prefix, and there is nothing beside it. */
static bool is_export(const struct k_rawset *set)
{
	const struct k_file *f = k_files_find(&set->files, "config.json");
	struct k_json *config = NULL;
	struct k_err later;             /* what is wrong with the config is said by who reads it */
	bool yes = f && set->n && !set->gguf;

	for (int64_t i = 0; yes && i < set->n; i++)
		yes = begins(set->v[i].name, "model.") || begins(set->v[i].name, "lm_head.");
	yes = yes && k_json_parse(&config, f->data, f->len, K_JSON_STRICT, "config.json", &later) == 0 &&
		k_json_kind(k_json_find(config, "text_config")) == K_JSON_OBJECT;
	k_json_free(config);
	return yes;
}

/* The other way round: the config of the text model alone (a config.json that was replaced by its text_config) over the tensors of the whole. */
static bool is_whole(const struct k_rawset *set)
{
	const struct k_file *f = k_files_find(&set->files, "config.json");
	struct k_json *config = NULL;
	struct k_err later;
	bool inner = false, bare = false;

	for (int64_t i = 0; i < set->n; i++) {
		inner = inner || begins(set->v[i].name, K_ARCH_WRAPPED "model.");
		bare = bare || begins(set->v[i].name, "model.");
	}
	inner = inner && !bare && f && !set->gguf && k_json_parse(&config, f->data, f->len, K_JSON_STRICT, "config.json", &later) == 0 &&
		k_json_kind(k_json_find(config, "text_config")) == K_JSON_NULL;
	k_json_free(config);
	return inner;
}

static int keep_text(struct k_rawset *set, struct k_err *err)
{
	static const char *const others[] = { "vision_tower.", "mm_projector.", "vision_model.", "visual.", "multi_modal_projector." };
	bool has_config = k_files_find(&set->files, "config.json") != NULL, inner = false;
	int64_t kept = 0;
	int r = text_config(set, err);

	for (int64_t i = 0; i < set->n; i++)
		inner = inner || (has_config && begins(set->v[i].name, K_ARCH_WRAPPED));
	for (int64_t i = 0; r == 0 && i < set->n; i++) {
		struct k_raw *t = &set->v[i];
		bool other = inner && !begins(t->name, K_ARCH_WRAPPED);

		for (size_t k = 0; k < K_LEN(others); k++)
			other = other || begins(t->name, others[k]);
		if (other)
			continue;
		if (inner) {
			t->was = k_raw_in_file(t);
			t->name += strlen(K_ARCH_WRAPPED);
		}
		set->v[kept++] = *t;
	}
	if (r == 0)
		set->n = kept;
	return r;
}

int k_rename(struct k_rawset *set, const struct k_renames *renames, bool text_only, struct k_log *log, struct k_err *err)
{
	int r = 0;

	for (int k = 0; renames && k < renames->n; k++)
		for (int64_t i = 0; r == 0 && i < set->n; i++)
			r = apply(set, &renames->v[k], &set->v[i], err);
	if (r == 0 && !text_only && is_export(set)) {
		k_logf(log, K_LOG_INFO, "'%s' has the text model alone: its text_config is taken for the config", set->path);
		text_only = true;
	} else if (r == 0 && !text_only && is_whole(set)) {
		k_logf(log, K_LOG_INFO, "'%s' has a text model's config over the tensors of a multimodal model: the text model is taken, and nothing else", set->path);
		text_only = true;
	}
	return r == 0 && text_only ? keep_text(set, err) : r;
}
