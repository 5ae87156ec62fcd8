/* schema_names.c: propertyNames: a schema for the names of an object's members, all of which are strings. */
#include "libcore/base.h"

#include "libcore/schema_int.h"

/* All that the set's propertyNames lead to; 1: that cannot be said, and is noted. */
static int rules_of(struct k_compiler *c, const struct k_conj *x, struct k_conj *out)
{
	int rc = 0;
	*out = (struct k_conj){ 0 };
	for (uint32_t i = 0; i < x->n && !rc; i++) {
		const struct k_json *v = k_json_find(x->v[i].schema, "propertyNames");
		if (v && !k_schema_is(v))
			return k_schema_wrong(c, x->v[i].path, "propertyNames", v, "a schema");
		if (v)
			rc = k_schema_add(c, out, v, k_schema_sub_path(c, x->v[i].path, "propertyNames"), 0);
	}
	return rc ? rc : k_schema_flatten(c, out);
}

int k_schema_names(struct k_compiler *c, const struct k_conj *x, struct k_facts *rule, struct k_pattern **fits)
{
	static const char *const branches[] = { "anyOf", "oneOf" };
	struct k_conj rules;
	int rc = rules_of(c, x, &rules);
	*rule = k_schema_no_facts();
	for (uint32_t i = 0; i < rules.n && !rc; i++) {
		const struct k_json *s = rules.v[i].schema;
		if (k_json_kind(s) == K_JSON_BOOL && !k_json_bool(s)) {
			k_schema_why(c, rules.v[i].path, "the schema false admits no name");
			rule->types = 0;
		}
		for (size_t k = 0; k < K_LEN(branches) && !rc; k++)
			rc = k_json_find(s, branches[k]) ? k_schema_unsupported(c, rules.v[i].path, branches[k], "for names") : 0;
		if (!rc)
			rc = k_schema_refuse(c, &rules.v[i]);
		if (!rc)
			rc = k_schema_facts(c, &rules.v[i], rule);
	}
	if (!rc && rules.n)
		rc = k_schema_pattern(c, rule, fits);
	return rc;
}

size_t k_schema_enum_len(const struct k_facts *f)
{
	return !f->n_enums ? 0 : f->is_const[0] ? 1 : k_json_len(f->enums[0]);
}

const struct k_json *k_schema_enum_at(const struct k_facts *f, size_t i)
{
	return f->is_const[0] ? f->enums[0] : k_json_at(f->enums[0], i);
}

bool k_schema_name_fits(const struct k_facts *rule, const struct k_pattern *fits, const char *name)
{
	bool yes = (rule->types & K_T_STRING) && (!fits || k_pattern_fits(fits, name, strlen(name)));
	for (int i = 0; i < rule->n_enums && yes; i++) {
		size_t n = rule->is_const[i] ? 1 : k_json_len(rule->enums[i]);
		yes = false;
		for (size_t k = 0; k < n && !yes; k++) {
			const char *one = k_json_string(rule->is_const[i] ? rule->enums[i] : k_json_at(rule->enums[i], k));
			yes = one && !strcmp(one, name);
		}
	}
	return yes;
}
