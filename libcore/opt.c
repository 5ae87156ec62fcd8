/* opt.c: options from defaults, environment and command line, through one row each; opt_help.c writes the
 * texts.
 *
 * The three sources use one setter, so a value means the same wherever it comes from; only the name in the
 * sentence differs. */
#include "libcore/base.h"
#include "libcore/opt.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* --- values -------------------------------------------------------------------------------------- */

static bool parse_int(const char *s, int64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoll(s, &end, 10);
	return !errno && end != s && !*end && !isspace((unsigned char)*s);
}

static bool parse_num(const char *s, double *out)
{
	char *end;

	*out = strtod(s, &end);
	return end != s && !*end && isfinite(*out) && !isspace((unsigned char)*s);
}

/* Index of the word in "a|b|c", or -1. */
static int word_index(const char *words, const char *s)
{
	size_t n = strlen(s);
	int i = 0;

	for (;;) {
		size_t len = strcspn(words, "|");

		if (len == n && !memcmp(words, s, n))
			return i;
		if (!words[len])
			return -1;
		words += len + 1;
		i++;
	}
}

static int push(struct k_strs *list, const char *s, struct k_err *err)
{
	size_t n = ((size_t)list->n + 1) * sizeof *list->v;
	const char **v = k_realloc(list->v, n);

	if (!v)
		return k_err_nomem(err, n, "a list of options");
	v[list->n++] = s;
	list->v = v;
	return 0;
}

/* how: "--type", "-t", "K_KQUANT_TYPE" for the sentence. */
static int set(const struct k_opt *o, void *args, const char *value, const char *how, struct k_err *err)
{
	void *at = (char *)args + o->offset;
	int index;

	switch (o->kind) {
	case K_OPT_KIND_FLAG:
		index = value ? word_index("0|1|no|yes|false|true", value) : 1;
		if (index < 0)
			return k_err_set(err, K_EUSAGE, "%s is '%s', wanted 0 or 1", how, value);
		*(bool *)at = index & 1;
		return 0;
	case K_OPT_KIND_STR:
		*(const char **)at = value;
		return 0;
	case K_OPT_KIND_LIST:
		return push(at, value, err);
	case K_OPT_KIND_INT:
		if (!parse_int(value, at))
			return k_err_set(err, K_EUSAGE, "%s is '%s', wanted an integer", how, value);
		return 0;
	case K_OPT_KIND_NUM:
		if (!parse_num(value, at))
			return k_err_set(err, K_EUSAGE, "%s is '%s', wanted a number", how, value);
		return 0;
	case K_OPT_KIND_SIZE:
		if (k_size_parse(value, at, err))
			return k_err_set(
				err, K_EUSAGE, "%s is '%s', wanted a size such as 512M or 2GB", how, value);
		/* Nothing fits in nothing; and 0 is what an option has that was not given. */
		if (*(uint64_t *)at == 0)
			return k_err_set(err, K_EUSAGE, "%s is '%s', wanted a size above 0; leave the option out to set none", how, value);
		return 0;
	case K_OPT_KIND_WORD:
		index = word_index(o->arg, value);
		if (index < 0)
			return k_err_set(err, K_EUSAGE, "%s is '%s', wanted one of %s", how, value, o->arg);
		*(int *)at = index;
		return 0;
	}
	return 0;
}

/* --- names --------------------------------------------------------------------------------------- */

/* Edits (insert, remove, replace, swap neighbours) between two names, both cut at 40 letters. */
static int distance(const char *a, size_t na, const char *b, size_t nb)
{
	enum { LONGEST = 40 };
	int d[LONGEST + 1][LONGEST + 1];

	na = K_MIN(na, (size_t)LONGEST);
	nb = K_MIN(nb, (size_t)LONGEST);
	for (size_t i = 0; i <= na; i++) {
		for (size_t j = 0; j <= nb; j++) {
			if (!i || !j) {
				d[i][j] = (int)(i + j);
				continue;
			}
			d[i][j] = K_MIN(K_MIN(d[i - 1][j], d[i][j - 1]) + 1,
				d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = K_MIN(d[i][j], d[i - 2][j - 2] + 1);
		}
	}
	return d[na][nb];
}

static int unknown(const struct k_tool *tool, const char *name, size_t n, struct k_err *err)
{
	const struct k_opt *best = NULL;
	int least = 0;

	for (const struct k_opt *o = tool->opts; o->name; o++) {
		int far = distance(name, n, o->name, strlen(o->name));

		if (!best || far < least) {
			best = o;
			least = far;
		}
	}
	return k_err_set(err, K_EUSAGE, "no option '--%.*s', the nearest is '--%s'; see %s --help",
		(int)K_MIN(n, (size_t)100), name, best ? best->name : "help", tool->name);
}

/* The row of a long name: exact, or the only one that begins so. */
static int find_long(
	const struct k_tool *tool, const char *name, size_t n, const struct k_opt **out, struct k_err *err)
{
	const struct k_opt *found = NULL, *other = NULL;

	for (const struct k_opt *o = tool->opts; o->name; o++) {
		if (strncmp(o->name, name, n))
			continue;
		if (!o->name[n]) {
			*out = o;
			return 0;
		}
		if (!found)
			found = o;
		else if (!other)
			other = o;
	}
	if (!found || !n)
		return unknown(tool, name, n, err);
	if (other)
		return k_err_set(err, K_EUSAGE, "'--%.*s' may be '--%s' or '--%s'", (int)n, name, found->name,
			other->name);
	*out = found;
	return 0;
}

void k_opt_env_name(const struct k_tool *tool, const struct k_opt *o, char buf[96])
{
	snprintf(buf, 96, "K_%s_%s", tool->name, o->name);
	for (char *p = buf; *p; p++)
		*p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
}

/* --- sources of values --------------------------------------------------------------------------- */

static int set_defaults(const struct k_tool *tool, void *args, struct k_err *err)
{
	for (const struct k_opt *o = tool->opts; o->name; o++) {
		int rc = o->def ? set(o, args, o->def, o->name, err) : 0;

		if (rc)
			return rc;
	}
	return 0;
}

/* What asks for help or the version is no default. An empty variable counts as unset. */
static int set_environment(const struct k_tool *tool, void *args, struct k_err *err)
{
	char name[96];

	for (const struct k_opt *o = tool->opts; o->name; o++) {
		const char *value;
		int rc;

		if (o->optional_arg || !strcmp(o->name, "version"))
			continue;
		k_opt_env_name(tool, o, name);
		value = getenv(name);
		if (!value || !*value)
			continue;
		rc = set(o, args, value, name, err);
		if (rc)
			return k_err_add(err, "in the environment");
		((struct k_common *)args)->environment[o - tool->opts] = true;
	}
	return 0;
}

/* Of a value that is no list. */
static size_t bytes_of(enum k_opt_kind kind)
{
	switch (kind) {
	case K_OPT_KIND_FLAG:
		return sizeof(bool);
	case K_OPT_KIND_WORD:
		return sizeof(int);
	case K_OPT_KIND_STR:
		return sizeof(char *);
	default:
		return 8;
	}
}

static void take_back(const struct k_tool *tool, void *args, const struct k_opt *o)
{
	char *at = (char *)args + o->offset;
	bool *from = &((struct k_common *)args)->environment[o - tool->opts];
	struct k_err err;

	if (!*from)
		return;
	*from = false;
	if (o->kind == K_OPT_KIND_LIST)
		((struct k_strs *)(void *)at)->n = 0;
	else if (tool->unset)
		memcpy(at, (const char *)tool->unset + o->offset, bytes_of(o->kind));
	else
		memset(at, 0, bytes_of(o->kind));
	/* It was set before. */
	if (o->def && set(o, args, o->def, o->name, &err))
		k_bug("a default that is none");
}

/* The row of the name that *names begins with, which goes on to the next one; NULL at the end. */
static const struct k_opt *next_name(const struct k_tool *tool, const char **names)
{
	const char *name = *names + strspn(*names, " ");
	size_t n = strcspn(name, " ");
	const struct k_opt *o = tool->opts;

	*names = name + n;
	if (!n)
		return NULL;
	while (o->name && (strncmp(o->name, name, n) || o->name[n]))
		o++;
	K_ASSERT(o->name);
	return o;
}

void k_opt_yield(const struct k_tool *tool, void *args, const char *names)
{
	const struct k_opt *o;

	while ((o = next_name(tool, &names)))
		take_back(tool, args, o);
}

/* given: a row, by the command line. */
static void yield_to(const struct k_tool *tool, void *args, const bool *given, const char *names)
{
	const char *rest = names;
	const struct k_opt *o;
	bool any = false;

	while ((o = next_name(tool, &rest)))
		any |= given[o - tool->opts];
	if (any)
		k_opt_yield(tool, args, names);
}

static void yield_rivals(const struct k_tool *tool, void *args, const bool *given)
{
	yield_to(tool, args, given, "json table");
	yield_to(tool, args, given, "verbose quiet");
	for (size_t i = 0; tool->rivals && tool->rivals[i]; i++)
		yield_to(tool, args, given, tool->rivals[i]);
}

struct parse {
	const struct k_tool *tool;
	void *args;
	int argc, at;
	char **argv;
	bool *given;            /* a row: set by the command line */
	int n_operands;
	char **operands;
};

static int set_given(
	struct parse *p, const struct k_opt *o, const char *value, const char *how, struct k_err *err)
{
	size_t row = (size_t)(o - p->tool->opts);

	/* The first on the command line replaces the list of the environment. */
	if (o->kind == K_OPT_KIND_LIST && !p->given[row])
		((struct k_strs *)(void *)((char *)p->args + o->offset))->n = 0;
	p->given[row] = true;
	((struct k_common *)p->args)->environment[row] = false;
	return set(o, p->args, value, how, err);
}

static int parse_long(struct parse *p, const char *word, struct k_err *err)
{
	const char *equals = strchr(word, '='), *value = equals ? equals + 1 : NULL;
	const struct k_opt *o = NULL;
	char how[80];
	int rc = find_long(p->tool, word, equals ? (size_t)(equals - word) : strlen(word), &o, err);

	if (rc)
		return rc;
	snprintf(how, sizeof how, "--%s", o->name);
	if (o->kind == K_OPT_KIND_FLAG) {
		if (value)
			return k_err_set(err, K_EUSAGE, "%s takes no value, but got '%s'", how, value);
	} else if (o->optional_arg) {
		value = value ? value : "";
	} else if (!value) {
		if (p->at >= p->argc)
			return k_err_set(err, K_EUSAGE, "%s wants a value: %s", how, o->arg);
		value = p->argv[p->at++];
	}
	return set_given(p, o, value, how, err);
}

/* "-vq", "-j4", "-j 4", "-vj4" */
static int parse_short(struct parse *p, const char *letters, struct k_err *err)
{
	for (; *letters; letters++) {
		const struct k_opt *o = p->tool->opts;
		char how[] = { '-', *letters, 0 };
		int rc;

		while (o->name && o->letter != *letters)
			o++;
		if (!o->name)
			return k_err_set(err, K_EUSAGE, "no option '%s'; see %s --help", how, p->tool->name);
		if (o->kind == K_OPT_KIND_FLAG || o->optional_arg) {
			rc = set_given(p, o, o->optional_arg ? "" : NULL, how, err);
			if (rc)
				return rc;
			continue;
		}
		if (!letters[1] && p->at >= p->argc)
			return k_err_set(err, K_EUSAGE, "%s wants a value: %s", how, o->arg);
		return set_given(p, o, letters[1] ? letters + 1 : p->argv[p->at++], how, err);
	}
	return 0;
}

static int parse_words(struct parse *p, struct k_err *err)
{
	bool only_operands = false;
	int rc = 0;

	while (p->at < p->argc && !rc) {
		char *word = p->argv[p->at++];

		if (only_operands || word[0] != '-' || !word[1]) {
			p->operands[p->n_operands++] = word;
			only_operands |= p->tool->stop_at_operand;
		} else if (!strcmp(word, "--")) {
			only_operands = true;
		} else if (word[1] == '-') {
			rc = parse_long(p, word + 2, err);
		} else {
			rc = parse_short(p, word + 1, err);
		}
	}
	return rc;
}

int k_opt_parse(const struct k_tool *tool, int argc, char **argv, void *args, int *n_operands,
	char ***operands, struct k_err *err)
{
	struct parse p = { .tool = tool, .args = args, .argc = argc, .at = 1, .argv = argv };
	size_t rows = 0;
	int rc;

	memset(args, 0, tool->args_size);
	if (tool->unset)
		memcpy(args, tool->unset, tool->args_size);
	*n_operands = 0;
	*operands = NULL;
	while (tool->opts[rows].name)
		rows++;
	K_ASSERT(rows <= K_OPT_MOST);
	p.given = k_calloc(rows + 1, sizeof *p.given);
	p.operands = k_calloc((size_t)argc + 1, sizeof *p.operands);
	if (!p.given || !p.operands) {
		rc = k_err_nomem(err, (size_t)argc * sizeof *p.operands, "the command line");
		goto out;
	}
	rc = set_defaults(tool, args, err);
	if (!rc)
		rc = set_environment(tool, args, err);
	if (!rc)
		rc = parse_words(&p, err);
	if (!rc)
		yield_rivals(tool, args, p.given);
	/* Who asks for help gets it, whatever else is there. */
	if (!rc && tool->max_operands >= 0 && p.n_operands > tool->max_operands &&
		!((struct k_common *)args)->help)
		rc = k_err_set(err, K_EUSAGE, "'%s' is one operand too many; see %s --help",
			p.operands[tool->max_operands], tool->name);
	if (!rc) {
		*n_operands = p.n_operands;
		*operands = p.operands;
		p.operands = NULL;
	}
out:
	if (rc)
		k_opt_fini(tool, args);
	k_free(p.operands);
	k_free(p.given);
	return rc;
}

void k_opt_fini(const struct k_tool *tool, void *args)
{
	for (const struct k_opt *o = tool->opts; o->name; o++) {
		struct k_strs *list = (void *)((char *)args + o->offset);

		if (o->kind != K_OPT_KIND_LIST)
			continue;
		k_free(list->v);
		*list = (struct k_strs){ NULL, 0 };
	}
}
