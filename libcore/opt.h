/* opt.h: one row an option; parsing, --help, the manual page (mdoc), completions and --help=json are made of the rows.
 *
 *     struct args { struct k_common common; const char *type; char *out; int64_t limit; struct k_strs rules; };
 *     static const struct k_opt opts[] = {
 *         K_OPT_STR('t', "type", struct args, type, "TYPE", "i4g32", "quantise routed experts to TYPE"),
 *         K_OPT_LIST(0, "rule", struct args, rules, "ROLE=TYPE", "..."),
 *         K_OPT_FLAG(0, "verify", struct args, verify, "..."),
 *         K_OPT_COMMON(struct args, common),
 *         K_OPT_END
 *     };
 * The target is an offset; _Generic in the macros makes a wrong field type a compile error. Long names may be abbreviated
 * where unique; `--name=value` and `--name value`; `-jN` and `-j N`; `--` ends options; operands may stand between options
 * (unless stop_at_operand). An unknown option: K_EUSAGE with the nearest name. Every option's default may come from the
 * environment: K_<TOOL>_<OPTION> (upper case, '-' -> '_'); the command line wins: over the variable of the same option, and over those of
 * options that say something else where only one of them can hold (rivals, k_opt_yield). */
#ifndef K_OPT_H
#define K_OPT_H

#include "libcore/err.h"
#include "libcore/buf.h"

struct k_ctx;

enum k_opt_kind { K_OPT_KIND_FLAG, K_OPT_KIND_STR, K_OPT_KIND_INT, K_OPT_KIND_SIZE, K_OPT_KIND_NUM, K_OPT_KIND_LIST, K_OPT_KIND_WORD };

struct k_strs { const char **v; int n; };              /* a repeatable option's values, in order; freed by k_opt_fini */

struct k_opt {
	char letter;                    /* 0: none */
	const char *name;               /* NULL ends the table */
	enum k_opt_kind kind;
	size_t offset;
	const char *arg;                /* "FILE"; for WORD: "auto|none|json", value stored as the index (int) */
	const char *def;                /* default as text, NULL: zero / NULL */
	const char *about;              /* one sentence, lower case, no full stop */
	bool optional_arg;              /* --help, --help=man */
};

#define K_OPT_AT_(type, field, kind_, T) (_Generic(((type *)0)->field, T: offsetof(type, field)))
#define K_OPT_FLAG(c, name, type, field, about) { c, name, K_OPT_KIND_FLAG, K_OPT_AT_(type, field, 0, bool), NULL, NULL, about, false }
#define K_OPT_STR(c, name, type, field, arg, def, about) { c, name, K_OPT_KIND_STR, K_OPT_AT_(type, field, 0, const char *), arg, def, about, false }
#define K_OPT_INT(c, name, type, field, arg, def, about) { c, name, K_OPT_KIND_INT, K_OPT_AT_(type, field, 0, int64_t), arg, def, about, false }
#define K_OPT_SIZE(c, name, type, field, arg, def, about) { c, name, K_OPT_KIND_SIZE, K_OPT_AT_(type, field, 0, uint64_t), arg, def, about, false }
#define K_OPT_NUM(c, name, type, field, arg, def, about) { c, name, K_OPT_KIND_NUM, K_OPT_AT_(type, field, 0, double), arg, def, about, false }
#define K_OPT_LIST(c, name, type, field, arg, about) { c, name, K_OPT_KIND_LIST, K_OPT_AT_(type, field, 0, struct k_strs), arg, NULL, about, false }
#define K_OPT_WORD(c, name, type, field, words, def, about) { c, name, K_OPT_KIND_WORD, K_OPT_AT_(type, field, 0, int), words, def, about, false }
#define K_OPT_END { 0, NULL, K_OPT_KIND_FLAG, 0, NULL, NULL, NULL, false }

enum { K_OPT_MOST = 96 };               /* rows of a table */

/* What every tool has (cli.md 1.2). The member is called `common` and the struct of options begins with it. */
struct k_common {
	const char *help;               /* NULL: not asked; "": text; man bash zsh fish json */
	bool version, json, table, verbose, quiet;
	int log;                        /* 0 text 1 json */
	int64_t threads;                /* 0: default */
	int progress;                   /* 0 auto 1 none 2 json */
	const char *cpu, *device;
	int act;                        /* 0 auto (the tool's default), 1 f32, 2 bf16, 3 int8 */
	int kv;                         /* 0 auto (by act), 1 f32, 2 bf16, 3 int8 */
	const char *output;             /* K_OPT_OUTPUT: cmd/cli.c puts standard output there */
	uint64_t max_memory, gpu_memory;
	bool environment[K_OPT_MOST];   /* of k_opt_parse: a row: its value is the environment's alone */
};
#define K_OPT_COMMON(type, c) \
	{ 'h', "help", K_OPT_KIND_STR, K_OPT_AT_(type, c.help, 0, const char *), "man|bash|zsh|fish|json", NULL, "show this help, the manual page, a shell completion or the option table", true }, \
	K_OPT_FLAG(0, "version", type, c.version, "show the version and what is compiled in"), \
	K_OPT_FLAG(0, "json", type, c.json, "results as JSON lines, also on a terminal"), \
	K_OPT_FLAG(0, "table", type, c.table, "results as a table, also into a pipe"), \
	K_OPT_FLAG('v', "verbose", type, c.verbose, "say more on standard error"), \
	K_OPT_FLAG('q', "quiet", type, c.quiet, "errors only on standard error"), \
	K_OPT_WORD(0, "log", type, c.log, "text|json", "text", "form of the lines on standard error"), \
	K_OPT_INT('j', "threads", type, c.threads, "N", NULL, "threads; default: the CPUs that this process may use"), \
	K_OPT_WORD(0, "progress", type, c.progress, "auto|none|json", "auto", "meter on a terminal, nothing, or JSON lines"), \
	K_OPT_STR(0, "cpu", type, c.cpu, "LEVEL", NULL, "highest kernel level to use; ? lists them"), \
	K_OPT_SIZE(0, "max-memory", type, c.max_memory, "SIZE", NULL, "ceiling for memory, e.g. 512M; a job that cannot fit is refused (exit 6)")
/* For tools whose results are text or one stream: with -o standard output is the file, which appears when the run is done. */
#define K_OPT_OUTPUT(type, c) \
	K_OPT_STR('o', "output", type, c.output, "FILE", NULL, "write the result to FILE instead of standard output")
/* For tools that compute. */
#define K_OPT_COMPUTE(type, c) \
	K_OPT_SIZE(0, "gpu-memory", type, c.gpu_memory, "SIZE", NULL, "memory of each GPU to use; weights beyond it stay on the host (default: what is free)"), \
	K_OPT_STR(0, "device", type, c.device, "SPEC", "cpu", "cpu, cuda, cuda:1, cuda:0,1 (layers split over both), or auto: a GPU where there is one; ? lists what is here"), \
	K_OPT_WORD(0, "act", type, c.act, "auto|f32|bf16|int8", "auto", "precision of the activations that enter matrix products"), \
	K_OPT_WORD(0, "kv", type, c.kv, "auto|f32|bf16|int8", "auto", "what keys and values are kept in; int8: 8 bits and a scale for 32 of a token's, on the CPU. auto: f32 with --act f32, else bf16")

struct k_tool {
	const char *name, *about;       /* "kquant", "quantise a model" */
	const char *usage;              /* "[-t TYPE] [options] [MODEL] [-o OUT]" */
	const char *text;               /* paragraphs of the manual's DESCRIPTION */
	const struct k_opt *opts;
	const char *const *examples;    /* command lines, NULL-terminated; run by the tests */
	size_t args_size;               /* of the struct of options; it begins with struct k_common */
	const void *unset;              /* such a struct: what is there where no default is and nobody says a value; NULL: zeros */
	/* Names of options with blanks between, a row: one of them at a time. One on the command line takes back what the environment says of the
	 * others. Two on the command line, or two in the environment, are for the tool to judge. NULL-terminated; NULL: none. */
	const char *const *rivals;
	int max_operands;               /* -1: any */
	bool stop_at_operand;           /* the first operand ends the options (kbench compare) */
	int (*run)(struct k_ctx *ctx, void *args, int n_operands, char **operands, struct k_err *err);   /* 0 or a code; cmd/cli.c */
	const char *(*library)(void);   /* name and version of a library that only this tool has; NULL: none */
};

/* Fills args (unset, then defaults, then environment, then argv[1..]). operands: new array (k_free), pointing into argv. */
int k_opt_parse(const struct k_tool *tool, int argc, char **argv, void *args, int *n_operands, char ***operands, struct k_err *err) K_MUST_USE;
/* For what an operand or a value rules out: those of the options in names (blanks between) whose value is the environment's alone get back what they
 * have where nobody says one. */
void k_opt_yield(const struct k_tool *tool, void *args, const char *names);
/* "K_KQUANT_MAX_MEMORY" */
void k_opt_env_name(const struct k_tool *tool, const struct k_opt *o, char buf[96]);
void k_opt_fini(const struct k_tool *tool, void *args);
/* how: "" man bash zsh fish json; anything else: K_EUSAGE. */
int k_opt_help(const struct k_tool *tool, const char *how, const char *version, struct k_buf *out, struct k_err *err) K_MUST_USE;
/* "512M" "2G" (1024) "2GB" (1000) "123" */
int k_size_parse(const char *s, uint64_t *out, struct k_err *err) K_MUST_USE;
/* Is word one of those in words, which have blanks between? */
bool k_is_word_of(const char *word, const char *words);
/* "12.3 MB" for people (powers of 1000). */
const char *k_size_format(char buf[32], uint64_t n);

/* A bar: FIELD OP NUMBER with OP in < <= > >= == !=, e.g. "ppl<25" (keval, kbench, kquant --fail-if). */
struct k_bar { char field[64]; int op; double value; const char *text; };
int k_bar_parse(struct k_bar *bar, const char *text, struct k_err *err) K_MUST_USE;
bool k_bar_holds(const struct k_bar *bar, double x);

#endif
