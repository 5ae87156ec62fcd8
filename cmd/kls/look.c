/* look.c: what a file says of itself: its entries, head, history, and what decoding one token costs. */
#include "libcore/base.h"
#include "cmd/kls/kls.h"
#include "libcore/block.h"
#include "libcore/json.h"
#include "libcore/log.h"

static int flush(struct k_buf *b, struct k_err *err)
{
	int r = k_buf_ok(b, "the output", err);

	if (r == 0)
		r = k_cli_write(b->data ? b->data : "", b->len, err);
	k_buf_fini(b);
	return r;
}

static void put_name(struct k_buf *b, const char *s)
{
	k_json_quote(b, s, strlen(s));
}

void k_kls_column(struct k_buf *b, const char *s, int width)
{
	int n = 0;

	for (; *s; s++, n++)
		k_buf_putc(b, (unsigned char)*s < 32 || *s == 127 ? '?' : *s);
	k_buf_printf(b, "%*s", n < width ? width + 1 - n : 1, "");
}

int k_kls_list(struct k_ckpt *c, bool table, struct k_err *err)
{
	struct k_buf b;
	char shape[128];
	uint64_t total = 0;

	k_buf_init(&b, 0);
	for (int i = 0; i < c->n_entries; i++) {
		const struct k_entry *e = &c->entries[i];

		k_shape_format(shape, e->ndim, e->shape);
		total += e->bytes;
		if (table) {
			k_kls_column(&b, e->name, 64);
			k_buf_printf(&b, "%-8s %-8s %-22s %14llu\n", e->role, e->type->name, shape, (unsigned long long)e->bytes);
			continue;
		}
		k_buf_puts(&b, "{\"name\": ");
		put_name(&b, e->name);
		k_buf_printf(&b, ", \"role\": \"%s\", \"type\": \"%s\", \"layout\": \"%s\", \"shape\": %s, \"bytes\": %llu}\n", e->role, e->type->name,
			e->type->layout, shape, (unsigned long long)e->bytes);
	}
	if (table)
		k_buf_printf(&b, "%d entries, %llu bytes, architecture %s\n", c->n_entries, (unsigned long long)total, c->arch ? c->arch : "unknown");
	else
		k_buf_printf(&b, "{\"entries\": %d, \"bytes\": %llu, \"arch\": %s%s%s, \"summary\": true}\n", c->n_entries, (unsigned long long)total,
			c->arch ? "\"" : "", c->arch ? c->arch : "null", c->arch ? "\"" : "");
	return flush(&b, err);
}

/* For people: one member a line. */
int k_kls_head(struct k_ckpt *c, bool table, struct k_err *err)
{
	struct k_json *config = NULL;
	struct k_buf b;

	if (c->config && k_json_parse(&config, c->config, c->config_len, K_JSON_STRICT, "config.json", err) < 0)
		return err->code;
	k_buf_init(&b, 0);
	k_buf_puts(&b, "{\"arch\": ");
	if (c->arch)
		put_name(&b, c->arch);
	else
		k_buf_puts(&b, "null");
	k_buf_printf(&b, ", \"entries\": %d, \"config\": ", c->n_entries);
	k_json_dump(&b, config, table ? K_JSON_INDENT : 0);
	k_buf_puts(&b, "}\n");
	k_json_free(config);
	return flush(&b, err);
}

/* "quantise      type i4g32  scale amax/7" */
static void history_row(struct k_buf *b, const struct k_json *row)
{
	const char *key, *step = k_json_string(k_json_find(row, "step"));
	struct k_json *v;

	k_kls_column(b, step ? step : "?", 12);
	for (void *it = NULL; k_json_next(row, &it, &key, &v); ) {
		if (strcmp(key, "step") == 0)
			continue;
		k_buf_putc(b, ' ');
		k_kls_column(b, key, 0);
		if (k_json_kind(v) == K_JSON_STRING)
			k_kls_column(b, k_json_string(v), 0);
		else
			k_json_dump(b, v, 0);
	}
	k_buf_putc(b, '\n');
}

int k_kls_history(struct k_ckpt *c, bool table, struct k_err *err)
{
	struct k_buf b;
	struct k_json *row;

	k_buf_init(&b, 0);
	for (size_t i = 0; (row = k_json_at(c->history, i)); i++) {
		if (table) {
			history_row(&b, row);
			continue;
		}
		k_json_dump(&b, row, 0);
		k_buf_putc(&b, '\n');
	}
	return flush(&b, err);
}

/* --- budget ----------------------------------------------------------------------------------------------------------------- */

enum { PART_EXPERTS, PART_SHARED, PART_ATTN, PART_DENSE, PART_HEAD, PART_STATE, N_PARTS };
static const char *const part_names[] = { "routed_experts", "shared", "attention", "dense", "head", "state" };

static int part_of(const char *role)
{
	static const struct { const char *role; int part; } map[] = {
		{ "experts", PART_EXPERTS }, { "shared", PART_SHARED }, { "router", PART_SHARED }, { "attn", PART_ATTN }, { "kda", PART_ATTN },
		{ "norm", PART_ATTN }, { "dense", PART_DENSE }, { "head", PART_HEAD },
	};

	for (size_t i = 0; i < K_LEN(map); i++)
		if (strcmp(map[i].role, role) == 0)
			return map[i].part;
	return -1;
}

/* What tokens keep. Half of all numbers is left for weights and states. */
static int bytes_of_tokens(uint64_t per_token, int64_t n_ctx, uint64_t *out, const char *path, struct k_err *err)
{
	if (!__builtin_mul_overflow(per_token, (uint64_t)n_ctx, out) && *out <= INT64_MAX)
		return 0;
	return k_err_set(err, K_EUSAGE, "--ctx %lld: '%s' keeps %llu bytes a token, which is more than 2^63 bytes in all", (long long)n_ctx, path,
		(unsigned long long)per_token);
}

static void put_figure(struct k_buf *b, bool table, bool known, const char *name, uint64_t n, const char *unit)
{
	if (!table)
		k_buf_printf(b, known ? "\"%s\": %llu" : "\"%s\": null", name, (unsigned long long)n);
	else if (known)
		k_buf_printf(b, "%-16s %14llu %s\n", name, (unsigned long long)n, unit);
	else
		k_buf_printf(b, "%-16s %14s\n", name, "-");
}

/* Of a config alone the state is known, and what weights take is not: that follows from how each is stored. */
static int put_budget(const uint64_t parts[N_PARTS], bool weights, int64_t n_ctx, uint64_t resident, bool table, struct k_err *err)
{
	uint64_t read = 0;
	struct k_buf b;

	k_buf_init(&b, 0);
	k_buf_puts(&b, table ? "" : "{");
	for (int i = 0; i < N_PARTS; i++) {
		read += parts[i];
		put_figure(&b, table, weights || i == PART_STATE, part_names[i], parts[i], "bytes a token");
		k_buf_puts(&b, table ? "" : ", ");
	}
	put_figure(&b, table, weights, table ? "in all" : "bytes_per_token", read, "bytes a token");
	k_buf_puts(&b, table ? "" : ", ");
	put_figure(&b, table, true, "context", (uint64_t)n_ctx, "tokens");
	k_buf_puts(&b, table ? "" : ", ");
	put_figure(&b, table, weights, "resident", resident, "bytes");
	k_buf_puts(&b, table ? "" : "}\n");
	return flush(&b, err);
}

int k_kls_budget(struct k_ckpt *c, int64_t n_ctx, enum k_kv kv, bool table, struct k_err *err)
{
	uint64_t parts[N_PARTS] = { 0 }, resident = 0, fixed, kept_kv;
	const struct k_json *text;
	const struct k_arch *arch;
	struct k_json *config;
	const char *prefix;
	struct k_kept kept;
	struct k_hp *hp;
	bool tied = true, weights = false;
	int r;

	if (!c->arch || !c->config)
		return k_err_set(err, K_EUNSUP, "'%s': no architecture, so nothing is known of what a token reads", c->path);
	r = k_json_parse(&config, c->config, c->config_len, K_JSON_STRICT, "config.json", err);
	if (r < 0)
		return r;
	hp = k_calloc(1, sizeof(*hp));
	r = hp ? k_arch_find(config, c->path, &arch, &text, &prefix, err) : k_err_nomem(err, sizeof(*hp), "the hyper-parameters");
	if (r == 0)
		r = k_arch_parse(arch, config, text, c->path, hp, err);
	if (r < 0)
		goto out;
	kept = k_blocks_keep(arch, hp, true, 0, hp->n_layer);
	r = bytes_of_tokens(k_kv_bytes(kv, kept.page, kept.groups), n_ctx, &kept_kv, c->path, err);
	if (r < 0)
		goto out;
	for (int i = 0; i < c->n_entries; i++) {
		const struct k_entry *e = &c->entries[i];
		int part = part_of(e->role);

		weights = weights || strcmp(e->role, "file") != 0;
		resident += strcmp(e->role, "file") == 0 ? 0 : e->bytes;
		tied = tied && strcmp(e->role, "head") != 0;
		if (part == PART_EXPERTS)
			parts[part] += e->bytes / (uint64_t)k_entry_slices(e) * (uint64_t)hp->n_expert_used;
		else if (part >= 0)
			parts[part] += e->bytes;
	}
	for (int i = 0; tied && i < c->n_entries; i++)
		if (strcmp(c->entries[i].role, "embed") == 0)
			parts[PART_HEAD] += c->entries[i].bytes;
	fixed = sizeof(float) * (uint64_t)(kept.state + kept.conv);
	parts[PART_STATE] = sizeof(float) * (uint64_t)kept.moved + kept_kv;
	if (!weights)
		k_logf(c->log, K_LOG_WARN, "'%s' has a config and no tensors: what tokens keep is counted, and what weights take is not known", c->path);
	r = put_budget(parts, weights, n_ctx, resident + fixed + kept_kv, table, err);
out:
	k_free(hp);
	k_json_free(config);
	return r;
}
