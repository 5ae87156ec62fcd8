/* lines_edit.c: lines with editing and history, by libedit (its only includer). The history lies in
 * $XDG_STATE_HOME/ktools/chat_history (~/.local/state without it), for its owner alone. Ctrl-C is a key here: it takes back what was
 * typed. Pasted text is kept together: a terminal brackets it, and its lines go into the box instead of being sent. */
#include "libcore/base.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "cmd/cli.h"
#include "cmd/kserve/lines.h"

#define HISTORY_LINES 1000
#define LOOK_MS 250                     /* how soon a request to stop is seen */

struct edit {
	EditLine *el;
	History *history;
	const struct k_ctx *ctx;
	const char *prompt;
	bool cancelled;
	char path[4096];                /* of the history; "": none */
};

static struct edit *mine(EditLine *el)
{
	void *own = NULL;
	el_get(el, EL_CLIENTDATA, &own);
	return own;
}

static char *show_prompt(EditLine *el) { return (char *)mine(el)->prompt; }

/* A character; -1 when the program is to end, 0 at the end of the input. */
static int get_character(EditLine *el, wchar_t *out)
{
	struct edit *e = mine(el);
	mbstate_t state = { 0 };
	for (;;) {
		struct pollfd p = { .fd = 0, .events = POLLIN };
		char byte;
		if (e->ctx->stop && *e->ctx->stop)
			return -1;
		if (poll(&p, 1, LOOK_MS) <= 0)
			continue;
		ssize_t n = read(0, &byte, 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return (int)n;
		size_t used = mbrtowc(out, &byte, 1, &state);
		if (used == (size_t)-2)
			continue;
		if (used == (size_t)-1) {
			memset(&state, 0, sizeof(state));
			*out = 0xfffd;
		}
		return 1;
	}
}

static unsigned char on_cancel(EditLine *el, int key K_UNUSED)
{
	mine(el)->cancelled = true;
	return CC_NEWLINE;
}

/* Up to the end mark of the terminal. */
static unsigned char on_paste(EditLine *el, int key K_UNUSED)
{
	static const char end[] = "\033[201~";
	struct k_buf b;
	char c;
	k_buf_init(&b, 1 << 20);
	while (el_getc(el, &c) == 1 && !b.failed) {
		k_buf_putc(&b, c == '\r' ? '\n' : c);
		if (b.len >= sizeof(end) - 1 && !memcmp(b.data + b.len - (sizeof(end) - 1), end, sizeof(end) - 1)) {
			b.len -= sizeof(end) - 1;
			break;
		}
	}
	while (b.len && b.data[b.len - 1] == '\n')
		b.len--;
	if (b.len && !b.failed) {
		b.data[b.len] = 0;
		el_insertstr(el, b.data);
	}
	k_buf_fini(&b);
	return CC_REFRESH;
}

/* The folders that are missing are made; what cannot be made means no history. */
static void find_history(struct edit *e)
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	if (state && *state == '/')
		snprintf(e->path, sizeof(e->path), "%s/ktools/chat_history", state);
	else if (home && *home == '/')
		snprintf(e->path, sizeof(e->path), "%s/.local/state/ktools/chat_history", home);
	for (char *p = e->path; *p && (p = strchr(p + 1, '/')); ) {
		*p = 0;
		int rc = mkdir(e->path, 0700);
		*p = '/';
		if (rc && errno != EEXIST) {
			e->path[0] = 0;
			return;
		}
	}
}

static void edit_close(void *own)
{
	struct edit *e = own;
	HistEvent ev;
	if (e->history && e->path[0])
		history(e->history, &ev, H_SAVE, e->path);
	if (e->history)
		history_end(e->history);
	if (e->el)
		el_end(e->el);
	k_free(e);
}

static void set_up(struct edit *e)
{
	HistEvent ev;
	history(e->history, &ev, H_SETSIZE, HISTORY_LINES);
	history(e->history, &ev, H_SETUNIQUE, 1);
	find_history(e);
	if (e->path[0])
		history(e->history, &ev, H_LOAD, e->path);
	el_set(e->el, EL_CLIENTDATA, e);
	el_set(e->el, EL_EDITOR, "emacs");
	el_set(e->el, EL_PROMPT, show_prompt);
	el_set(e->el, EL_HIST, history, e->history);
	el_set(e->el, EL_GETCFN, get_character);
	el_set(e->el, EL_ADDFN, "k-cancel", "take the line back", on_cancel);
	el_set(e->el, EL_ADDFN, "k-paste", "insert what was pasted", on_paste);
	el_set(e->el, EL_BIND, "^C", "k-cancel", NULL);
	el_set(e->el, EL_BIND, "\033[200~", "k-paste", NULL);
	el_set(e->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
	el_set(e->el, EL_SETTY, "-d", "-isig", NULL);
}

static int edit_open(void **own, const struct k_ctx *ctx, struct k_err *err)
{
	struct edit *e = k_calloc(1, sizeof(*e));
	if (!e)
		return k_err_nomem(err, sizeof(*e), "lines");
	setlocale(LC_CTYPE, "C.UTF-8");
	e->ctx = ctx;
	e->history = history_init();
	e->el = el_init("kserve", stdin, stdout, stderr);
	if (!e->history || !e->el) {
		edit_close(e);
		return k_err_set(err, K_ENOMEM, "the line editor does not start");
	}
	set_up(e);
	*own = e;
	return 0;
}

static int edit_get(void *own, const char *prompt, struct k_buf *line, enum k_line *what, struct k_err *err)
{
	static const char paste_on[] = "\033[?2004h", paste_off[] = "\033[?2004l";
	struct edit *e = own;
	HistEvent ev;
	int n = 0;
	k_buf_reset(line);
	e->prompt = prompt;
	e->cancelled = false;
	int rc = k_cli_write(paste_on, sizeof(paste_on) - 1, err);
	const char *s = rc ? NULL : el_gets(e->el, &n);
	if (!rc)
		rc = k_cli_write(paste_off, sizeof(paste_off) - 1, err);
	if (!rc)
		rc = k_ctx_check(e->ctx, err);
	if (rc)
		return rc;
	*what = e->cancelled ? K_LINE_CANCEL : s && n > 0 ? K_LINE_TEXT : K_LINE_END;
	if (*what != K_LINE_TEXT)
		return k_cli_write("\n", 1, err);
	if (n > 1)
		history(e->history, &ev, H_ENTER, s);
	k_buf_put(line, s, (size_t)n - (s[n - 1] == '\n'));
	return k_buf_ok(line, "a line", err);
}

const struct k_lines_way k_lines_edit = { "libedit", edit_open, edit_get, edit_close };
