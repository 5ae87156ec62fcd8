/* policy.c: see policy.h. A rule is a pattern and a type; a preset is a list of rules. For each entry the rules are walked in
 * order (preset, -t, --rule) and the last that matches says the type. */
#include "libcore/base.h"
#include "libcore/log.h"
#include "libcore/policy.h"
#include "libcore/rx.h"

static const char *const roles[] = { "experts", "shared", "router", "attn", "kda", "embed", "head", "dense", "norm", "other" };

static const struct preset {
	const char *name, *about, *rules[8];
} presets[] = {
	{ "k2-thinking", "routed experts in i4g32, block FP8 expanded to bf16, everything else as it is", { "fp8b128>bf16", "experts=i4g32" } },
	{ "small", "experts in i4g32, every other matrix that tolerates it in 8 bit", { "shared=i8row", "attn=i8row", "kda=i8row", "dense=i8row", "embed=i8row", "head=i8row", "experts=i4g32" } },
	{ "fp8", "every matrix but embedding and head in block FP8, as Kimi-K2-Instruct", { "shared=fp8b128", "attn=fp8b128", "dense=fp8b128", "experts=fp8b128" } },
};

const char *k_policy_preset(int i, const char **about)
{
	if (i < 0 || i >= (int)K_LEN(presets))
		return NULL;
	*about = presets[i].about;
	return presets[i].name;
}

static const struct preset *find_preset(const char *name, struct k_err *err)
{
	for (size_t i = 0; i < K_LEN(presets); i++)
		if (strcmp(presets[i].name, name) == 0)
			return &presets[i];
	k_err_set(err, K_EUSAGE, "unknown preset '%s', known are k2-thinking, small and fp8", name);
	return NULL;
}

bool k_policy_is_role(const char *s, size_t n)
{
	for (size_t i = 0; i < K_LEN(roles); i++)
		if (strlen(roles[i]) == n && memcmp(roles[i], s, n) == 0)
			return true;
	return false;
}

/* One rule, taken apart. by_type: "TYPE>TYPE" of a preset, applied to what is stored as the first. */
struct rule {
	char pattern[256];
	bool role, by_type;
	const char *type;               /* NULL: keep */
	int hits;
};

static int parse_rule(struct rule *r, const char *text, struct k_err *err)
{
	const char *eq = strrchr(text, '='), *gt = strchr(text, '>');
	const char *cut = eq ? eq : gt;
	size_t n = cut ? (size_t)(cut - text) : 0;

	if (!cut || n == 0 || n >= sizeof(r->pattern))
		return k_err_set(err, K_EUSAGE, "rule '%s' is not ROLE=TYPE", text);
	memcpy(r->pattern, text, n);
	r->pattern[n] = 0;
	r->by_type = !eq;
	r->role = eq && k_policy_is_role(text, n);
	if (!r->role && eq && !strpbrk(r->pattern, "*?[.") )
		return k_err_set(err, K_EUSAGE, "rule '%s': '%s' is no role (experts, shared, router, attn, kda, embed, head, dense, norm, other) and no glob on names", text, r->pattern);
	r->type = strcmp(cut + 1, "keep") == 0 ? NULL : cut + 1;
	if (r->type && !k_qtype_find(r->type, NULL))
		return k_err_set(err, K_EUSAGE, "rule '%s': unknown type '%s'; kquant -t '?' lists the types", text, r->type);
	return 0;
}

/* Vectors and the small things beside the matrices: only a glob reaches them. */
static bool is_small(const struct k_entry *e)
{
	return e->ndim < 2 || k_entry_rows(e) <= 1 || k_entry_cols(e) <= 1 || strcmp(e->role, "norm") == 0 || strcmp(e->role, "router") == 0 || strstr(e->name, "conv1d") != NULL;
}

static bool matches(const struct rule *r, const struct k_entry *e)
{
	if (strcmp(e->role, "file") == 0)
		return false;
	if (r->by_type)
		return strcmp(e->type->name, r->pattern) == 0;
	if (r->role)
		return strcmp(e->role, r->pattern) == 0 && !is_small(e);
	return k_glob(r->pattern, e->name);
}

/* Gives e the type name, where its shape allows; returns 1 when the stored type changes. */
static int retype(struct k_entry *e, const char *name, struct k_log *log, struct k_err *err)
{
	const struct k_qtype *t = k_qtype_for(name, k_entry_rows(e), k_entry_cols(e));
	const char *why;

	if (strcmp(e->type->name, name) == 0)
		return 0;
	if (!e->type->dequant) {
		k_logf(log, K_LOG_WARN, "%s: %s cannot be quantised, kept", e->name, e->type->name);
		return 0;
	}
	if (!t || !t->quant)
		return k_err_set(err, K_EUSAGE, "%s: type '%s' can be read but not made", e->name, name);
	/* Rows without columns have scales in i8row (kmf.5), but who converts walks what is stored, and would never come to them. */
	if (e->bytes == 0) {
		k_logf(log, K_LOG_WARN, "%s: it has no values, kept as %s", e->name, e->type->name);
		return 0;
	}
	why = k_qtype_refuses(t, k_entry_rows(e), k_entry_cols(e));
	if (why) {
		k_logf(log, K_LOG_WARN, "%s: no %s for it (%s), kept as %s", e->name, name, why, e->type->name);
		return 0;
	}
	e->type = t;
	e->form = NULL;
	if (k_entry_size(e, err) < 0)
		return err->code;
	return 1;
}

/* Entries that are quantised already and get another such type that saves less than a bit: they lose once more, and for nothing. */
struct again { int n; const struct k_entry *first; const struct k_qtype *to; };

static void note_again(struct again *a, const struct k_policy *p, const struct k_entry *e, const struct k_qtype *to)
{
	if (p->on_grid || to == e->type || to->plain || e->type->plain || to->bits <= e->type->bits - 1)
		return;
	if (a->n++ == 0) {
		a->first = e;
		a->to = to;
	}
}

static void tell_again(const struct again *a, const struct k_ckpt *c, struct k_log *log)
{
	if (a->n)
		k_logf(log, K_LOG_WARN, "'%s': what is quantised already is quantised again in %d tensor%s, first in %s (%s to %s), which loses more and saves little or nothing; --rule %s=keep leaves it",
			c->path, a->n, a->n > 1 ? "s" : "", a->first->name, a->first->type->name, a->to->name, a->first->role);
}

/* The role that would be worth a rule in a model without routed experts. */
static const char *advice(const struct k_ckpt *c)
{
	static const char *const order[] = { "dense", "attn", "embed" };

	for (size_t k = 0; k < K_LEN(order); k++)
		for (int i = 0; i < c->n_entries; i++)
			if (strcmp(c->entries[i].role, order[k]) == 0 && !is_small(&c->entries[i]))
				return order[k];
	return "'*.weight'";
}

static struct rule *new_rules(const struct k_policy *p, struct k_err *err)
{
	size_t n = (size_t)p->n_rules + K_LEN(presets[0].rules) + 1;
	struct rule *rules = k_calloc(n, sizeof(*rules));

	if (!rules)
		k_err_nomem(err, n * sizeof(*rules), "the rules");
	return rules;
}

static int collect(const struct k_policy *p, struct rule *rules, struct k_err *err)
{
	int n = 0;

	if (p->preset) {
		const struct preset *s = find_preset(p->preset, err);

		if (!s)
			return err->code;
		for (int i = 0; i < (int)K_LEN(s->rules) && s->rules[i]; i++)
			if (parse_rule(&rules[n++], s->rules[i], err) < 0)
				return err->code;
	}
	if (p->type) {
		if (!k_qtype_find(p->type, NULL))
			return k_err_set(err, K_EUSAGE, "unknown type '%s'; kquant -t '?' lists the types", p->type);
		strcpy(rules[n].pattern, "experts");
		rules[n].role = true;
		rules[n].type = p->type;
		n++;
	}
	for (int i = 0; i < p->n_rules; i++)
		if (parse_rule(&rules[n++], p->rules[i], err) < 0)
			return err->code;
	return n;
}

/* --- choices under a budget ------------------------------------------------------------------------------------------- */

static void add_choice(struct k_choices *c, const struct k_entry *e, const char *name)
{
	const struct k_qtype *t = k_qtype_for(name, k_entry_rows(e), k_entry_cols(e));
	uint64_t bytes, last;

	if (!t || !t->quant || k_qtype_refuses(t, k_entry_rows(e), k_entry_cols(e)))
		return;
	if (!k_qtype_slice_bytes(t, k_entry_rows(e), k_entry_cols(e), &bytes) ||
	    !k_qtype_slice_bytes(c->type[c->n - 1], k_entry_rows(e), k_entry_cols(e), &last) || bytes >= last)
		return;
	c->type[c->n++] = t;
}

static bool is_free(const struct k_entry *e)
{
	static const char *const free_roles[] = { "experts", "shared", "attn", "kda", "dense", "embed", "head" };

	for (size_t i = 0; i < K_LEN(free_roles); i++)
		if (strcmp(e->role, free_roles[i]) == 0)
			return !is_small(e) && e->type->dequant && (e->type->plain || strcmp(e->type->name, "fp8b128") == 0);
	return false;
}

/* The last rule that matches e; all that do are counted. */
static const struct rule *last_match(struct rule *rules, int n, const struct k_entry *e)
{
	const struct rule *last = NULL;

	for (int k = 0; k < n; k++)
		if (matches(&rules[k], e)) {
			last = &rules[k];
			rules[k].hits++;
		}
	return last;
}

static void tell_unused(const struct k_policy *p, const struct k_ckpt *c, const struct rule *rules, int n, struct k_log *log)
{
	for (int k = 0; k < p->n_rules; k++)
		if (rules[n - p->n_rules + k].hits == 0)
			k_logf(log, K_LOG_WARN, "'%s': no tensor matches --rule %s", c->path, p->rules[k]);
}

static int choices_of(const struct k_policy *p, const struct k_entry *e, const struct rule *last, struct k_choices *out, struct k_log *log, struct k_err *err)
{
	struct k_entry as = *e;
	int r = 0;

	*out = (struct k_choices){ 1, { e->type } };
	if (last && last->type) {
		r = retype(&as, last->type, log, err);
		out->type[0] = as.type;
	} else if (!last && is_free(e)) {
		add_choice(out, e, "bf16");
		add_choice(out, e, "i8row");
		if (strcmp(e->role, "embed") != 0 && strcmp(e->role, "head") != 0)
			add_choice(out, e, p->type ? p->type : "i4g32");
	}
	return K_MIN(r, 0);
}

int k_policy_choices(const struct k_policy *p, const struct k_ckpt *c, struct k_choices *out, struct k_log *log, struct k_err *err)
{
	struct k_policy rules_only = { .preset = p->preset, .rules = p->rules, .n_rules = p->n_rules };
	struct rule *rules = new_rules(p, err);
	struct again again = { 0 };
	int n, r = 0;

	if (!rules)
		return err->code;
	n = collect(&rules_only, rules, err);
	for (int i = 0; n >= 0 && r == 0 && i < c->n_entries; i++) {
		r = choices_of(p, &c->entries[i], last_match(rules, n, &c->entries[i]), &out[i], log, err);
		note_again(&again, p, &c->entries[i], out[i].type[0]);
	}
	if (n >= 0 && r == 0) {
		tell_unused(p, c, rules, n, log);
		tell_again(&again, c, log);
	}
	k_free(rules);
	return n < 0 ? n : r;
}

int k_policy_apply(const struct k_policy *p, const struct k_ckpt *c, struct k_entry *out, int *n_changed, struct k_log *log, struct k_err *err)
{
	struct rule *rules = new_rules(p, err);
	struct again again = { 0 };
	int n, hits = 0, r = 0;

	*n_changed = 0;
	if (!rules)
		return err->code;
	n = collect(p, rules, err);
	for (int i = 0; n >= 0 && r >= 0 && i < c->n_entries; i++) {
		const struct rule *last = last_match(rules, n, &c->entries[i]);

		out[i] = c->entries[i];
		r = last && last->type ? retype(&out[i], last->type, log, err) : 0;
		*n_changed += r > 0;
		note_again(&again, p, &c->entries[i], out[i].type);
	}
	for (int k = 0; k < n; k++)
		hits += rules[k].by_type ? 0 : rules[k].hits;
	if (n >= 0 && r >= 0) {
		tell_unused(p, c, rules, n, log);
		tell_again(&again, c, log);
		r = hits || n == 0 ? 0 : k_err_set(err, K_EUSAGE, "'%s': no tensor matches -t %s, which is for routed experts; try --rule %s=%s", c->path, p->type ? p->type : "i4g32", advice(c), p->type ? p->type : "i4g32");
	}
	k_free(rules);
	return n < 0 ? n : r;
}
