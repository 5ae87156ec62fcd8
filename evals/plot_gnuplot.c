/* plot_gnuplot.c: the same figure by gnuplot, for PNG: a script with its data goes to gnuplot's standard input, the picture comes from its
 * standard output straight into the file. No shell: texts stand in single quotes, in which gnuplot expands nothing. */
#include "libcore/base.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "evals/plot_int.h"
#include "libcore/io.h"
#include "libcore/json.h"

extern char **environ;

/* --- the script ---------------------------------------------------------------------------------------------------------------- */

static void quote(struct k_buf *b, const char *s)
{
	struct k_buf good;
	k_buf_init(&good, 0);
	k_utf8_mend(&good, s, strlen(s));
	k_buf_putc(b, '\'');
	for (const char *c = good.len ? good.data : ""; *c; c++) {
		if (*c == '\'')
			k_buf_putc(b, '\'');
		k_buf_putc(b, (unsigned char)*c < 0x20 || *c == 0x7f ? ' ' : *c);
	}
	k_buf_putc(b, '\'');
	b->failed |= good.failed;
	k_buf_fini(&good);
}

static void number(struct k_buf *b, double v)
{
	if (isfinite(v))
		k_json_put_double(b, v);
	else
		k_buf_puts(b, "NaN");
}

static void axis(struct k_buf *b, char name, const struct k_plot_axis *a, const struct k_scale *s)
{
	k_buf_printf(b, "set %clabel ", name);
	quote(b, a->label);
	k_buf_printf(b, " noenhanced\nset %crange [", name);
	number(b, s->lo);
	k_buf_putc(b, ':');
	number(b, s->hi);
	k_buf_puts(b, "]\n");
	if (s->base)
		k_buf_printf(b, "set logscale %c %d\n", name, s->base);
	k_buf_printf(b, "set %ctics noenhanced out nomirror (", name);
	for (int i = 0; i < s->n; i++) {
		k_buf_puts(b, i ? ", " : "");
		quote(b, s->tick[i].text);
		k_buf_putc(b, ' ');
		number(b, s->tick[i].at);
	}
	k_buf_puts(b, ")\n");
}

static void mark(struct k_buf *b, const struct k_plot_mark *m, int i)
{
	const char *from[2] = { "graph 0, first ", "first " }, *to[2] = { "graph 1, first ", "first " };
	bool band = m->lo < m->hi;
	k_buf_puts(b, band ? "set object rectangle from " : "set arrow from ");
	k_buf_puts(b, from[m->upright]);
	number(b, m->lo);
	k_buf_printf(b, "%s to %s", m->upright ? ", graph 0" : "", to[m->upright]);
	number(b, m->hi);
	k_buf_printf(b, "%s ", m->upright ? ", graph 1" : "");
	if (band)
		k_buf_printf(b, "fillcolor rgb '%s' fillstyle solid 0.18 noborder behind\n", k_plot_color(m->color));
	else
		k_buf_printf(b, "nohead linecolor rgb '%s' linewidth 2 dashtype (%s)\n", k_plot_color(m->color), *k_plot_dash(i) ? k_plot_dash(i) : "100,0");
}

/* Bars stand beside each other: their middle, and their width. */
static double bar_shift(const struct k_plot_series *q) { return 0.8 * ((q->place + 0.5) / q->places - 0.5); }
static bool beside(const struct k_plot_series *q) { return q->kind == K_PLOT_BARS || q->kind == K_PLOT_TICKS; }

static void data(struct k_buf *b, const struct k_plot *p, int i)
{
	const struct k_plot_series *q = &p->series[i];
	bool across = p->y.n_names;
	k_buf_printf(b, "$d%d << END\n", i);
	for (size_t k = 0; k < q->n; k++) {
		const struct k_plot_point *v = &q->v[k];
		number(b, beside(q) && !across ? v->x + bar_shift(q) : v->x);
		k_buf_putc(b, ' ');
		number(b, beside(q) && across ? v->y + bar_shift(q) : v->y);
		k_buf_putc(b, ' ');
		number(b, v->lo);
		k_buf_putc(b, ' ');
		number(b, v->hi);
		k_buf_putc(b, '\n');
	}
	k_buf_puts(b, q->n ? "END\n" : "NaN NaN NaN NaN\nEND\n");
}

static void bars_form(struct k_buf *b, const struct k_plot_series *q, int i, bool across)
{
	double half = 0.4 / q->places;
	bool tick = q->kind == K_PLOT_TICKS;
	/* Corners of a box: x, y, xlow, xhigh, ylow, yhigh. */
	if (across)
		k_buf_printf(b, "$d%d using 1:2:(%s):1:($2-%.9g):($2+%.9g)", i, tick ? "$1" : "0", half, half);
	else
		k_buf_printf(b, "$d%d using 1:2:($1-%.9g):($1+%.9g):(%s):2", i, half, half, tick ? "$2" : "0");
	k_buf_printf(b, " with boxxyerror fillstyle solid 1 %s linecolor rgb '%s' linewidth 3", tick ? "" : "noborder", k_plot_color(q->color));
}

static bool has_errors(const struct k_plot_series *q)
{
	for (size_t i = 0; i < q->n; i++)
		if (isfinite(q->v[i].lo))
			return q->kind != K_PLOT_CELLS;
	return false;
}

static void series(struct k_buf *b, const struct k_plot *p, int i)
{
	static const int points[] = { 7, 5, 9, 13 };
	const struct k_plot_series *q = &p->series[i];
	bool across = p->y.n_names;
	k_buf_puts(b, i ? ", \\\n" : "plot ");
	if (beside(q))
		bars_form(b, q, i, across);
	else if (q->kind == K_PLOT_CELLS)
		k_buf_printf(b, "$d%d using 1:2:($1-.5):($1+.5):($2-.5):($2+.5):3 with boxxyerror fillstyle solid 1 noborder linecolor palette", i);
	else
		k_buf_printf(b, "$d%d using 1:2 with %s", i, q->kind == K_PLOT_STEPS ? "steps" : q->kind == K_PLOT_LINE ? "linespoints" : "points");
	if (!beside(q) && q->kind != K_PLOT_CELLS)
		k_buf_printf(b, " linecolor rgb '%s'", k_plot_color(q->color));
	if (q->kind == K_PLOT_LINE || q->kind == K_PLOT_POINTS)
		k_buf_printf(b, " pointtype %d pointsize 1.4", points[(unsigned)q->color % K_LEN(points)]);
	if (q->kind == K_PLOT_LINE || q->kind == K_PLOT_STEPS)
		k_buf_printf(b, " linewidth 3%s%s%s", q->dash ? " dashtype (" : "", q->dash ? k_plot_dash(q->dash) : "", q->dash ? ")" : "");
	if (*q->label) {
		k_buf_puts(b, " title ");
		quote(b, q->label);
		k_buf_puts(b, " noenhanced");
	} else {
		k_buf_puts(b, " notitle");
	}
	if (has_errors(q))
		k_buf_printf(b, ", $d%d using 1:2:3:4 with %cerrorbars pointtype 7 pointsize 0 linewidth 2 linecolor rgb '%s' notitle", i, across ? 'x' : 'y',
			q->kind == K_PLOT_BARS ? "#222222" : k_plot_color(q->color));
}

/* An entry of the legend for a mark: a series of no points. */
static void mark_entry(struct k_buf *b, const struct k_plot_mark *m, int i)
{
	if (!*m->label)
		return;
	k_buf_printf(b, ", NaN with lines linewidth %d linecolor rgb '%s%s' dashtype (%s) title ", m->lo < m->hi ? 16 : 3, m->lo < m->hi ? "#d0" : "#",
		k_plot_color(m->color) + 1, m->lo < m->hi || !*k_plot_dash(i) ? "100,0" : k_plot_dash(i));
	quote(b, m->label);
	k_buf_puts(b, " noenhanced");
}

static void script(struct k_buf *b, const struct k_plot *p)
{
	struct k_scale x, y;
	char rgb[3][8];
	bool heat = false;
	for (int i = 0; i < p->n_series; i++)
		heat |= p->series[i].kind == K_PLOT_CELLS;
	for (int i = 0; i < 3; i++)
		k_plot_heat(rgb[i], i / 2.0);
	k_scale_of(&x, p, false);
	k_scale_of(&y, p, true);
	k_buf_puts(b, "set terminal pngcairo size 1520,920 font 'sans,20' noenhanced background rgb '#ffffff'\nset encoding utf8\n"
		"set border 3\nset pointintervalbox 0\nset grid linecolor rgb '#e4e4e4' linetype 1\nset key outside top left horizontal\n");
	k_buf_printf(b, "set palette defined (0 '%s', 0.5 '%s', 1 '%s')\nset cbrange [0:1]\n", rgb[0], rgb[1], rgb[2]);
	if (heat)
		k_buf_puts(b, "unset grid\n");
	k_buf_puts(b, "set title ");
	quote(b, p->title);
	if (*p->note) {
		k_buf_puts(b, ".\"\\n\".");
		quote(b, p->note);
	}
	k_buf_puts(b, " noenhanced\n");
	axis(b, 'x', &p->x, &x);
	axis(b, 'y', &p->y, &y);
	for (int i = 0; i < p->n_marks; i++)
		mark(b, &p->mark[i], i);
	for (int i = 0; i < p->n_series; i++)
		data(b, p, i);
	for (int i = 0; i < p->n_series; i++)
		series(b, p, i);
	if (!p->n_series)
		k_buf_puts(b, "plot NaN notitle");
	for (int i = 0; i < p->n_marks; i++)
		mark_entry(b, &p->mark[i], i);
	k_buf_putc(b, '\n');
}

/* --- the process --------------------------------------------------------------------------------------------------------------- */

bool k_plot_has_gnuplot(void)
{
	const char *path = getenv("PATH");
	struct k_buf name;
	bool found = false;
	for (const char *p = path; p && *p && !found; ) {
		size_t n = strcspn(p, ":");
		k_buf_init(&name, 0);
		k_buf_put(&name, p, n);
		k_buf_puts(&name, n ? "/gnuplot" : "./gnuplot");
		found = !name.failed && access(name.data, X_OK) == 0;
		k_buf_fini(&name);
		p += n + (p[n] == ':');
	}
	return found;
}

/* fds: what gnuplot reads from, and where its picture goes. */
static int spawn(pid_t *pid, int in, int out, struct k_err *err)
{
	char *const argv[] = { "gnuplot", "-d", "-", NULL };    /* -d: nobody's own settings */
	posix_spawn_file_actions_t f;
	if (posix_spawn_file_actions_init(&f))
		return k_err_nomem(err, 64, "gnuplot");
	int e = posix_spawn_file_actions_adddup2(&f, in, 0);
	if (!e)
		e = posix_spawn_file_actions_adddup2(&f, out, 1);
	if (!e)
		e = posix_spawn_file_actions_addopen(&f, 2, "/dev/null", O_WRONLY, 0);
	if (!e)
		e = posix_spawnp(pid, argv[0], &f, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&f);
	return e ? k_err_set(err, K_EUSAGE, "cannot run gnuplot: %s", strerror(e)) : 0;
}

/* A gnuplot that ends early is found by its status. */
static void feed(int fd, const struct k_buf *b)
{
	for (size_t at = 0; at < b->len; ) {
		ssize_t n = send(fd, b->data + at, b->len - at, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			return;
		at += n > 0 ? (size_t)n : 0;
	}
}

static int converse(const struct k_buf *b, int out, const char *name, struct k_err *err)
{
	int pair[2], status = 0;
	struct stat st;
	pid_t pid;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return k_err_io(err, "cannot talk to gnuplot");
	int r = spawn(&pid, pair[0], out, err);
	close(pair[0]);
	if (r == 0)
		feed(pair[1], b);
	close(pair[1]);
	while (r == 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (r == 0 && status)
		r = k_err_set(err, K_EIO, "gnuplot, which draws '%s', ended with status %d", name, WIFEXITED(status) ? WEXITSTATUS(status)
			: 128 + WTERMSIG(status));
	if (r == 0 && (fstat(out, &st) < 0 || st.st_size < 8))
		r = k_err_set(err, K_EIO, "gnuplot drew nothing for '%s': has it the terminal pngcairo?", name);
	return r;
}

int k_plot_gnuplot(const struct k_plot *p, struct k_sink *sink, struct k_err *err)
{
	struct k_buf b;
	k_buf_init(&b, 0);
	script(&b, p);
	int r = k_buf_ok(&b, "a figure", err), out = r == 0 ? open("/dev/null", O_WRONLY | O_CLOEXEC) : -1;
	if (r == 0 && out < 0)
		r = k_err_io(err, "cannot open '/dev/null'");
	if (r == 0)
		r = k_sink_redirect(sink, out, err);
	if (r == 0)
		r = converse(&b, out, k_sink_name(sink), err);
	if (out >= 0)
		close(out);
	k_buf_fini(&b);
	return r;
}
