/* opt_help.c: the texts that are made of a tool's option rows: help, manual page (mdoc), completions, JSON. */
#include "libcore/base.h"
#include "libcore/opt.h"
#include "libcore/json.h"
#include <ctype.h>

enum { WIDTH = 100, COLUMN = 26 };

static bool takes_value(const struct k_opt *o) { return o->kind != K_OPT_KIND_FLAG; }
static bool is_file(const struct k_opt *o)
{
	return o->arg && (!strcmp(o->arg, "FILE") || !strcmp(o->arg, "DIR"));
}

/* Choices "a|b|c", else NULL: completions offer them. */
static const char *choices(const struct k_opt *o) { return o->arg && strchr(o->arg, '|') ? o->arg : NULL; }

/* --- plain help ---------------------------------------------------------------------------------- */

/* Words of text from column `at` on, wrapped to the width with the given indent. */
static void wrap(struct k_buf *b, const char *text, int at, int indent)
{
	while (*text) {
		int n = (int)strcspn(text, " \n");

		if (at > indent && at + 1 + n > WIDTH) {
			k_buf_printf(b, "\n%*s", indent, "");
			at = indent;
		} else if (at > indent) {
			k_buf_putc(b, ' ');
			at++;
		}
		k_buf_put(b, text, (size_t)n);
		at += n;
		text += n;
		if (!strncmp(text, "\n\n", 2)) {
			k_buf_printf(b, "\n\n%*s", indent, "");
			at = indent;
		}
		text += strspn(text, " \n");
	}
	k_buf_putc(b, '\n');
}

static void option_line(struct k_buf *b, const struct k_opt *o)
{
	size_t start = b->len;
	int at;

	if (o->letter)
		k_buf_printf(b, "  -%c, --%s", o->letter, o->name);
	else
		k_buf_printf(b, "      --%s", o->name);
	if (takes_value(o))
		k_buf_printf(b, o->optional_arg ? "[=%s]" : " %s", o->arg);
	at = (int)(b->len - start);
	if (at + 2 > COLUMN) {
		k_buf_printf(b, "\n%*s", COLUMN, "");
	} else {
		k_buf_printf(b, "%*s", COLUMN - at, "");
	}
	if (o->def && *o->def && !b->failed) {
		struct k_buf about;

		k_buf_init(&about, 0);
		k_buf_printf(&about, "%s (default: %s)", o->about, o->def);
		if (about.failed)
			b->failed = true;
		else
			wrap(b, about.data, COLUMN, COLUMN);
		k_buf_fini(&about);
	} else {
		wrap(b, o->about, COLUMN, COLUMN);
	}
}

static void help_text(const struct k_tool *t, const char *version K_UNUSED, struct k_buf *b)
{
	k_buf_printf(b, "usage: %s %s\n\n", t->name, t->usage);
	wrap(b, t->about, 0, 0);
	if (t->text) {
		k_buf_putc(b, '\n');
		wrap(b, t->text, 0, 0);
	}
	k_buf_puts(b, "\noptions:\n");
	for (const struct k_opt *o = t->opts; o->name; o++)
		option_line(b, o);
	if (t->examples && t->examples[0])
		k_buf_puts(b, "\nexamples:\n");
	for (const char *const *e = t->examples; e && *e; e++)
		k_buf_printf(b, "  %s\n", *e);
	k_buf_printf(b, "\n%s --help=man is the manual page, with exit status and environment.\n", t->name);
}

/* --- manual page --------------------------------------------------------------------------------- */

/* Text lines: no backslash, no control character at the start of a line, each sentence on its own line. */
static void man_text(struct k_buf *b, const char *s)
{
	bool start = true;

	for (; *s; s++) {
		if (!strncmp(s, "\n\n", 2)) {
			k_buf_puts(b, "\n.Pp\n");
			s += strspn(s, "\n") - 1;
			start = true;
			continue;
		}
		if (start && (*s == '.' || *s == '\''))
			k_buf_puts(b, "\\&");
		start = false;
		if (*s == '\\')
			k_buf_puts(b, "\\e");
		else if (*s == '\n' || (*s == ' ' && s[-1] == '.' && isupper((unsigned char)s[1])))
			k_buf_putc(b, '\n'), start = true;
		else
			k_buf_putc(b, *s);
	}
	k_buf_putc(b, '\n');
}

/* One argument of a macro: quoted, as "Op" is a macro's name too. */
static void man_arg(struct k_buf *b, const char *s)
{
	k_buf_puts(b, " \"");
	for (; *s; s++) {
		if (*s == '"')
			k_buf_puts(b, "\"\"");
		else if (*s == '\\')
			k_buf_puts(b, "\\e");
		else
			k_buf_putc(b, *s);
	}
	k_buf_putc(b, '"');
}

static void man_option(struct k_buf *b, const struct k_opt *o)
{
	k_buf_puts(b, ".It");
	if (o->letter) {
		k_buf_printf(b, " Fl %c", o->letter);
		if (takes_value(o) && !o->optional_arg) {
			k_buf_puts(b, " Ar");
			man_arg(b, o->arg);
		}
		k_buf_puts(b, " ,");
	}
	k_buf_printf(b, " Fl \\-%s", o->name);
	if (takes_value(o)) {
		k_buf_printf(b, "%s Ar", o->optional_arg ? " Ns Op Ns =" : "");
		man_arg(b, o->arg);
	}
	k_buf_putc(b, '\n');
	man_text(b, o->about);
	if (o->def && *o->def) {
		k_buf_puts(b, "(default:\n.Li");
		man_arg(b, o->def);
		k_buf_puts(b, " )\n");
	}
}

static void man_statuses(struct k_buf *b)
{
	static const struct { int exit; const char *about; } rows[] = {
#define K_ERR(name, exit, text) { exit, text },
#include "libcore/errs.def"
#undef K_ERR
	};
	int last = -1;

	k_buf_puts(b, ".Sh EXIT STATUS\n.Bl -tag -width 4n\n.It 0\ndone\n");
	for (size_t i = 0; i < K_LEN(rows); i++) {
		if (rows[i].exit != last)
			k_buf_printf(b, ".It %d\n", rows[i].exit);
		else
			k_buf_puts(b, "or\n");
		man_text(b, rows[i].about);
		last = rows[i].exit;
	}
	k_buf_puts(b, ".It 128+n\nended by signal n (143: SIGTERM)\n.El\n.Pp\n"
		      "The last line on standard error before a status other than 0 is one sentence that "
		      "says why.\n");
}

static void help_man(const struct k_tool *t, const char *version, struct k_buf *b)
{
	char env[96];

	k_buf_puts(b, ".Dd November 24, 2026\n.Dt ");
	for (const char *p = t->name; *p; p++)
		k_buf_putc(b, (char)toupper((unsigned char)*p));
	k_buf_printf(b, " 1\n.Os ktools %s\n.Sh NAME\n.Nm %s\n.Nd %s\n.Sh SYNOPSIS\n.Nm\n", version, t->name,
		t->about);
	man_text(b, t->usage);
	k_buf_puts(b, ".Sh DESCRIPTION\n");
	man_text(b, t->text && *t->text ? t->text : t->about);
	k_buf_puts(b, ".Pp\nThe options are:\n.Bl -tag -width Ds\n");
	for (const struct k_opt *o = t->opts; o->name; o++)
		man_option(b, o);
	k_buf_puts(b, ".El\n.Pp\nLong options may be abbreviated where that is unique.\n"
		      "Sizes: 512M and 2G count in powers of 1024, 2GB in powers of 1000.\n"
		      ".Sh ENVIRONMENT\nEach option has a default in the environment; the command line "
		      "wins.\n.Bl -tag -width Ds\n");
	for (const struct k_opt *o = t->opts; o->name; o++) {
		if (o->optional_arg || !strcmp(o->name, "version"))
			continue;
		k_opt_env_name(t, o, env);
		k_buf_printf(b, ".It Ev %s\n.Fl \\-%s\n", env, o->name);
	}
	k_buf_puts(b, ".It Ev NO_COLOR\nno colours on a terminal\n.El\n");
	man_statuses(b);
	if (t->examples && t->examples[0])
		k_buf_puts(b, ".Sh EXAMPLES\n");
	for (const char *const *e = t->examples; e && *e; e++) {
		k_buf_puts(b, ".Dl");
		man_arg(b, *e);
		k_buf_putc(b, '\n');
	}
}

/* --- completions --------------------------------------------------------------------------------- */

static void spaced(struct k_buf *b, const char *words)
{
	for (; *words; words++)
		k_buf_putc(b, *words == '|' ? ' ' : *words);
}

static void help_bash(const struct k_tool *t, const char *version K_UNUSED, struct k_buf *b)
{
	k_buf_printf(b,
		"# bash completion of %s\n_%s()\n{\n\tlocal cur=${COMP_WORDS[COMP_CWORD]} "
		"prev=${COMP_WORDS[COMP_CWORD-1]}\n"
		"\tif [[ $cur == '=' ]]; then cur=; elif [[ $prev == '=' ]]; then "
		"prev=${COMP_WORDS[COMP_CWORD-2]}; fi\n"
		"\tcase $prev in\n",
		t->name, t->name);
	for (const struct k_opt *o = t->opts; o->name; o++) {
		if (!choices(o))
			continue;
		k_buf_putc(b, '\t');
		if (o->letter && !o->optional_arg)
			k_buf_printf(b, "-%c|", o->letter);
		k_buf_printf(b, "--%s) COMPREPLY=($(compgen -W '", o->name);
		spaced(b, choices(o));
		k_buf_puts(b, "' -- \"$cur\")); return ;;\n");
	}
	k_buf_puts(b, "\tesac\n\tif [[ $cur == -* ]]; then\n\t\tCOMPREPLY=($(compgen -W '");
	for (const struct k_opt *o = t->opts; o->name; o++)
		k_buf_printf(b, "--%s ", o->name);
	/* Names of files may have blanks: they are left to readline, which quotes them. */
	k_buf_printf(b, "' -- \"$cur\"))\n\tfi\n}\ncomplete -o default -F _%s %s\n", t->name, t->name);
}

/* In single quotes, with what zsh's _arguments gives a meaning taken out. */
static void zsh_text(struct k_buf *b, const char *s)
{
	for (; *s; s++) {
		if (*s == '\'')
			k_buf_puts(b, "'\\''");
		else if (strchr("[]:\\", *s))
			k_buf_printf(b, "\\%c", *s);
		else
			k_buf_putc(b, *s);
	}
}

static void zsh_option(
	struct k_buf *b, const struct k_opt *o, const char *dashes, const char *name, const char *equals)
{
	k_buf_printf(b, "\t'%s%s%s%s[", o->kind == K_OPT_KIND_LIST ? "*" : "", dashes, name,
		takes_value(o) ? equals : "");
	zsh_text(b, o->about);
	k_buf_putc(b, ']');
	if (takes_value(o)) {
		k_buf_printf(b, "%s:", o->optional_arg ? ":" : "");
		zsh_text(b, choices(o) ? o->name : o->arg);
		k_buf_putc(b, ':');
		if (choices(o)) {
			k_buf_putc(b, '(');
			spaced(b, choices(o));
			k_buf_putc(b, ')');
		} else if (is_file(o)) {
			k_buf_puts(b, "_files");
		}
	}
	k_buf_puts(b, "' \\\n");
}

static void help_zsh(const struct k_tool *t, const char *version K_UNUSED, struct k_buf *b)
{
	k_buf_printf(b, "#compdef %s\n_arguments -s \\\n", t->name);
	for (const struct k_opt *o = t->opts; o->name; o++) {
		if (o->letter && !o->optional_arg)
			zsh_option(b, o, "-", (char[]){ o->letter, 0 }, "+");
		zsh_option(b, o, "--", o->name, o->optional_arg ? "=-" : "=");
	}
	k_buf_puts(b, "\t'*:model:_files'\n");
}

static void fish_text(struct k_buf *b, const char *s)
{
	for (; *s; s++) {
		if (*s == '\'' || *s == '\\')
			k_buf_putc(b, '\\');
		k_buf_putc(b, *s);
	}
}

static void help_fish(const struct k_tool *t, const char *version K_UNUSED, struct k_buf *b)
{
	for (const struct k_opt *o = t->opts; o->name; o++) {
		k_buf_printf(b, "complete -c %s -l %s", t->name, o->name);
		if (o->letter)
			k_buf_printf(b, " -s %c", o->letter);
		if (choices(o)) {
			k_buf_puts(b, o->optional_arg ? " -f -a '" : " -x -a '");
			spaced(b, choices(o));
			k_buf_putc(b, '\'');
		} else if (takes_value(o)) {
			k_buf_puts(b, is_file(o) ? " -r" : " -x");
		}
		k_buf_puts(b, " -d '");
		fish_text(b, o->about);
		k_buf_puts(b, "'\n");
	}
}

/* --- JSON ---------------------------------------------------------------------------------------- */

static void json_text(struct k_buf *b, const char *key, const char *s)
{
	k_buf_printf(b, "\"%s\": ", key);
	if (s)
		k_json_quote(b, s, strlen(s));
	else
		k_buf_puts(b, "null");
}

static void help_json(const struct k_tool *t, const char *version, struct k_buf *b)
{
	static const char *const kinds[] = { "flag", "string", "integer", "size", "number", "list", "word" };
	char env[96];

	k_buf_putc(b, '{');
	json_text(b, "name", t->name);
	k_buf_puts(b, ", ");
	json_text(b, "version", version);
	k_buf_puts(b, ", ");
	json_text(b, "about", t->about);
	k_buf_puts(b, ", ");
	json_text(b, "usage", t->usage);
	k_buf_puts(b, ", \"options\": [");
	for (const struct k_opt *o = t->opts; o->name; o++) {
		k_buf_puts(b, o == t->opts ? "{" : ", {");
		json_text(b, "name", o->name);
		k_buf_puts(b, ", ");
		json_text(b, "letter", o->letter ? (char[]){ o->letter, 0 } : NULL);
		k_buf_printf(b, ", \"kind\": \"%s\", ", kinds[o->kind]);
		json_text(b, "arg", o->arg);
		k_buf_puts(b, ", ");
		json_text(b, "default", o->def);
		k_buf_puts(b, ", ");
		k_opt_env_name(t, o, env);
		json_text(b, "env", o->optional_arg || !strcmp(o->name, "version") ? NULL : env);
		k_buf_puts(b, ", ");
		json_text(b, "about", o->about);
		k_buf_putc(b, '}');
	}
	k_buf_puts(b, "], \"examples\": [");
	for (const char *const *e = t->examples; e && *e; e++) {
		k_buf_puts(b, e == t->examples ? "" : ", ");
		k_json_quote(b, *e, strlen(*e));
	}
	k_buf_puts(b, "]}\n");
}

int k_opt_help(
	const struct k_tool *tool, const char *how, const char *version, struct k_buf *out, struct k_err *err)
{
	static const struct {
		const char *how;
		void (*write)(const struct k_tool *, const char *, struct k_buf *);
	} rows[] = {
		{ "", help_text },
		{ "man", help_man },
		{ "bash", help_bash },
		{ "zsh", help_zsh },
		{ "fish", help_fish },
		{ "json", help_json },
	};

	for (size_t i = 0; i < K_LEN(rows); i++) {
		if (strcmp(rows[i].how, how))
			continue;
		rows[i].write(tool, version, out);
		return k_buf_ok(out, "the help text", err);
	}
	return k_err_set(err, K_EUSAGE, "no help as '%s', wanted man, bash, zsh, fish or json", how);
}
