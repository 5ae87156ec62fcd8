/* lines.h: lines that a person types, or that come from a pipe. Each way to read them is a table of functions; the one with editing
 * and history (lines_edit.c) is left out of a build without libedit. */
#ifndef K_LINES_H
#define K_LINES_H

#include "libcore/buf.h"
#include "libcore/ctx.h"

enum k_line { K_LINE_TEXT, K_LINE_CANCEL /* Ctrl-C: what was typed is no line */, K_LINE_END };
struct k_lines_way {
	const char *name;
	int (*open)(void **own, const struct k_ctx *ctx, struct k_err *err);
	/* The next line without its end, into line (emptied before). The prompt is shown on a terminal. */
	int (*get)(void *own, const char *prompt, struct k_buf *line, enum k_line *what, struct k_err *err);
	void (*close)(void *own);
};

/* For a terminal the best that there is, else plain lines. */
const struct k_lines_way *k_lines_way(bool terminal);

#endif
