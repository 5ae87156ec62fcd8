/* opt_test.c: command lines, environment, sizes, bars, and that every help text holds every option. */
#include "libcore/base.h"
#include "libcore/opt.h"
#include "libcore/test.h"
#include <stdlib.h>

struct args {
	struct k_common common;
	const char *out, *type;
	int64_t limit;
	double x;
	struct k_strs rules;
	bool verify;
	int how;
};

static const struct k_opt opts[] = {
	K_OPT_STR('o', "output", struct args, out, "FILE", NULL, "where the result goes"),
	K_OPT_STR('t', "type", struct args, type, "TYPE", "i4g32", "type of the experts"),
	K_OPT_INT(0, "limit", struct args, limit, "N", "7", "items"),
	K_OPT_NUM(0, "tol", struct args, x, "X", NULL, "tolerance"),
	K_OPT_LIST(0, "rule", struct args, rules, "ROLE=TYPE", "a rule"),
	K_OPT_FLAG(0, "verify", struct args, verify, "read back"),
	K_OPT_WORD(0, "how", struct args, how, "one|two|three", "two", "the way"),
	K_OPT_COMMON(struct args, common),
	K_OPT_COMPUTE(struct args, common),
	K_OPT_END
};
static const char *const examples[] = { "ktry -t i4g32 model", NULL };
static const char *const rivals[] = { "type tol", "verify rule limit", NULL };
static const struct args unset = { .x = -1 };
static const struct k_tool tool = {
	.name = "ktry",
	.about = "try options",
	.usage = "[options] [MODEL]",
	.text = "It tries.\n\n.Not a macro.",
	.opts = opts,
	.examples = examples,
	.args_size = sizeof(struct args),
	.unset = &unset,
	.rivals = rivals,
	.max_operands = 2,
};

static int n_ops;
static char **ops;

static int parse(struct args *a, struct k_err *err, const char *words)
{
	static char copy[500];
	static char *argv[32];
	int argc = 1;

	argv[0] = "ktry";
	strcpy(copy, words);
	for (char *w = strtok(copy, " "); w; w = strtok(NULL, " "))
		argv[argc++] = w;
	argv[argc] = NULL;
	k_free(ops);
	return k_opt_parse(&tool, argc, argv, a, &n_ops, &ops, err);
}

K_TEST(opt_values_of_all_kinds)
{
	struct k_err err = { 0 };
	struct args a;

	K_CHECK_OK(parse(&a, &err,
		"m1 -o out -tbf16 --limit=-3 --tol 1e-4 --rule a=b --rule=c=d --verify --how three -vj4 m2 "
		"--max-memory 2G"));
	K_CHECK(!strcmp(a.out, "out") && !strcmp(a.type, "bf16") && a.limit == -3 && a.x == 1e-4 &&
		a.verify && a.how == 2);
	K_CHECK(a.rules.n == 2 && !strcmp(a.rules.v[1], "c=d"));
	K_CHECK(a.common.verbose && a.common.threads == 4 && a.common.max_memory == 2ull << 30);
	K_CHECK(n_ops == 2 && !strcmp(ops[0], "m1") && !strcmp(ops[1], "m2"));
	k_opt_fini(&tool, &a);
	K_CHECK_OK(parse(&a, &err, "- -- -x"));
	K_CHECK(!strcmp(a.type, "i4g32") && a.limit == 7 && a.x == -1 && a.how == 1 && n_ops == 2 &&
		!strcmp(ops[1], "-x"));
	K_CHECK(!strcmp(a.common.device, "cpu"));
	k_opt_fini(&tool, &a);
}

K_TEST(opt_abbreviations)
{
	struct k_err err = { 0 };
	struct args a;

	K_CHECK_OK(parse(&a, &err, "--out x --lim 5"));
	K_CHECK(!strcmp(a.out, "x") && a.limit == 5);
	K_CHECK(parse(&a, &err, "--t 5") == K_EUSAGE && strstr(err.msg, "--type") &&
		strstr(err.msg, "--tol"));
	K_CHECK_OK(parse(&a, &err, "--help=man"));
	K_CHECK(!strcmp(a.common.help, "man"));
	K_CHECK_OK(parse(&a, &err, "-h"));
	K_CHECK(!strcmp(a.common.help, ""));
	/* --log is exact although --log... could go on; --ver may be --verify, --version, --verbose. */
	K_CHECK_OK(parse(&a, &err, "--log json"));
	K_CHECK(parse(&a, &err, "--ver") == K_EUSAGE);
}

K_TEST(opt_mistakes_are_named)
{
	struct k_err err = { 0 };
	struct args a;

	K_CHECK(parse(&a, &err, "--outptu x") == K_EUSAGE && strstr(err.msg, "'--outptu'") &&
		strstr(err.msg, "'--output'"));
	K_CHECK(parse(&a, &err, "-Z") == K_EUSAGE && strstr(err.msg, "'-Z'"));
	K_CHECK(parse(&a, &err, "--limit 5x") == K_EUSAGE && strstr(err.msg, "5x"));
	K_CHECK(parse(&a, &err, "--limit 99999999999999999999") == K_EUSAGE);
	K_CHECK(parse(&a, &err, "--tol nan") == K_EUSAGE);
	K_CHECK(parse(&a, &err, "--how four") == K_EUSAGE && strstr(err.msg, "one|two|three"));
	K_CHECK(parse(&a, &err, "--limit") == K_EUSAGE && strstr(err.msg, "--limit"));
	K_CHECK(parse(&a, &err, "--verify=1") == K_EUSAGE);
	K_CHECK(parse(&a, &err, "--rule x --max-memory lots") == K_EUSAGE);
	K_CHECK(parse(&a, &err, "a b c") == K_EUSAGE && strstr(err.msg, "'c'"));
}

K_TEST(opt_environment_gives_defaults)
{
	struct k_err err = { 0 };
	struct args a;

	setenv("K_KTRY_TYPE", "fp8", 1);
	setenv("K_KTRY_MAX_MEMORY", "1M", 1);
	setenv("K_KTRY_RULE", "env=x", 1);
	setenv("K_KTRY_VERIFY", "1", 1);
	setenv("K_KTRY_LIMIT", "", 1);
	K_CHECK_OK(parse(&a, &err, ""));
	K_CHECK(!strcmp(a.type, "fp8") && a.common.max_memory == 1 << 20 && a.verify && a.limit == 7);
	K_CHECK(a.rules.n == 1 && !strcmp(a.rules.v[0], "env=x"));
	k_opt_fini(&tool, &a);
	K_CHECK_OK(parse(&a, &err, "-t bf16 --rule cli=y"));
	K_CHECK(!strcmp(a.type, "bf16") && a.rules.n == 1 && !strcmp(a.rules.v[0], "cli=y"));
	k_opt_fini(&tool, &a);
	setenv("K_KTRY_LIMIT", "many", 1);
	K_CHECK(parse(&a, &err, "") == K_EUSAGE && strstr(err.msg, "K_KTRY_LIMIT"));
}

/* What the environment says goes where the command line rules it out, back to what it is where nobody says a value. */
K_TEST(opt_environment_yields)
{
	struct k_err err = { 0 };
	struct args a;

	unsetenv("K_KTRY_VERIFY");
	setenv("K_KTRY_TYPE", "fp8", 1);
	setenv("K_KTRY_TOL", "3", 1);
	setenv("K_KTRY_RULE", "env=x", 1);
	setenv("K_KTRY_LIMIT", "5", 1);
	setenv("K_KTRY_TABLE", "1", 1);
	K_CHECK_OK(parse(&a, &err, ""));
	K_CHECK(!strcmp(a.type, "fp8") && a.x == 3 && a.rules.n == 1 && a.limit == 5 && a.common.table);
	k_opt_yield(&tool, &a, "rule tol how");
	K_CHECK(a.rules.n == 0 && a.x == -1 && a.how == 1 && a.limit == 5);
	k_opt_fini(&tool, &a);
	K_CHECK_OK(parse(&a, &err, "--tol 2 --verify --json"));
	K_CHECK(!strcmp(a.type, "i4g32") && a.x == 2 && a.rules.n == 0 && a.limit == 7 && !a.common.table && a.common.json);
	k_opt_yield(&tool, &a, "tol verify");
	K_CHECK(a.x == 2 && a.verify);
	k_opt_fini(&tool, &a);
	/* Two on the command line are for the tool to judge. */
	K_CHECK_OK(parse(&a, &err, "--type fp8 --tol 2 --rule a=b"));
	K_CHECK(!strcmp(a.type, "fp8") && a.x == 2 && a.rules.n == 1 && a.limit == 7);
	k_opt_fini(&tool, &a);
	unsetenv("K_KTRY_TOL");
	unsetenv("K_KTRY_TABLE");
}

K_TEST(opt_help_holds_every_option)
{
	static const char *const forms[] = { "", "man", "bash", "zsh", "fish", "json" };
	struct k_err err = { 0 };
	struct k_buf b;

	k_buf_init(&b, 0);
	for (size_t i = 0; i < K_LEN(forms); i++) {
		k_buf_reset(&b);
		K_CHECK_OK(k_opt_help(&tool, forms[i], "0.1.0", &b, &err));
		for (const struct k_opt *o = opts; o->name; o++)
			K_CHECK_MSG(strstr(b.data, o->name), "'%s' lacks %s", forms[i], o->name);
	}
	k_buf_reset(&b);
	K_CHECK_OK(k_opt_help(&tool, "man", "0.1.0", &b, &err));
	K_CHECK(!strncmp(b.data, ".Dd ", 4) && strstr(b.data, "\n.Dt KTRY 1\n.Os ") &&
		strstr(b.data, ".Sh EXIT STATUS") && strstr(b.data, "the way\n(default:\n.Li \"two\" )\n"));
	K_CHECK(strstr(b.data, "K_KTRY_MAX_MEMORY") && strstr(b.data, ".Sh EXAMPLES") &&
		strstr(b.data, "\n\\&.Not"));
	K_CHECK(k_opt_help(&tool, "html", "0.1.0", &b, &err) == K_EUSAGE);
	k_buf_fini(&b);
}

K_TEST(size_suffixes)
{
	static const struct { const char *text; uint64_t want;
	} cases[] = {
		{ "0", 0 },
		{ "123", 123 },
		{ "512M", 512ull << 20 },
		{ "2G", 2ull << 30 },
		{ "2GB", 2000000000 },
		{ "1kB", 1000 },
		{ "1k", 1024 },
		{ "3MiB", 3ull << 20 },
		{ "1.5G", 3ull << 29 },
		{ "1T", 1ull << 40 },
		{ "17B", 17 },
		{ "18446744073709551615", UINT64_MAX },
	};
	static const char *const bad[] = { "", "x", "-1", "1X", "1GBx", "18446744073709551616", "99999999P",
		"1.", ".5G", " 1", "1 G" };
	struct k_err err = { 0 };
	uint64_t n;

	for (size_t i = 0; i < K_LEN(cases); i++) {
		K_CHECK_OK(k_size_parse(cases[i].text, &n, &err));
		K_CHECK_MSG(n == cases[i].want, "%s", cases[i].text);
	}
	for (size_t i = 0; i < K_LEN(bad); i++)
		K_CHECK_MSG(k_size_parse(bad[i], &n, &err) == K_EUSAGE, "'%s'", bad[i]);
}

K_TEST(bars)
{
	struct k_err err = { 0 };
	struct k_bar b;

	K_CHECK_OK(k_bar_parse(&b, "ppl<25", &err));
	K_CHECK(!strcmp(b.field, "ppl") && k_bar_holds(&b, 24.9) && !k_bar_holds(&b, 25) &&
		!k_bar_holds(&b, 0.0 / 0.0));
	K_CHECK_OK(k_bar_parse(&b, "experts.rel_rms >= 0.5", &err));
	K_CHECK(!strcmp(b.field, "experts.rel_rms") && k_bar_holds(&b, 0.5) && !k_bar_holds(&b, 0.4));
	K_CHECK_OK(k_bar_parse(&b, "n!=3", &err));
	K_CHECK(k_bar_holds(&b, 2) && !k_bar_holds(&b, 3));
	K_CHECK_OK(k_bar_parse(&b, "n==3", &err));
	K_CHECK(k_bar_holds(&b, 3));
	K_CHECK(k_bar_parse(&b, "ppl", &err) == K_EUSAGE && k_bar_parse(&b, "<3", &err) == K_EUSAGE);
	K_CHECK(k_bar_parse(&b, "a<b", &err) == K_EUSAGE && k_bar_parse(&b, "a=3", &err) == K_EUSAGE);
	K_CHECK(k_bar_parse(&b, "a<", &err) == K_EUSAGE && k_bar_parse(&b, "a<1x", &err) == K_EUSAGE);
}
