/* needle.c: does the model find a sentence in a long text? One question for each length and depth:
 *
 *   text of -f, again and again, cut to the length --(needle at the depth, where a sentence ends, or a line or a word)--> "what is ...?" --> the number?
 *
 * Lengths are tokens of the text as this model counts them on average; prompt_tokens of an item is what it was. */
#include "libcore/base.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "evals/pictures.h"
#include "evals/quiz.h"
#include "evals/report.h"
#include "libcore/io.h"

#define FILE_MAX (256u << 20)
enum { MAX_POINTS = 64, ANSWER_TOKENS = 64, SAMPLE_BYTES = 65536 };

/* Where needles are put. */
struct grid { int64_t lengths[MAX_POINTS], depths[MAX_POINTS]; int n_lengths, n_depths; };

struct needle {
	const struct k_eval_opts *o;
	struct k_buf text;
	double bytes_per_token;
	struct grid grid;
};

static int parse_list(const char *text, const char *option, int64_t lo, int64_t hi, int64_t *v, int *n, struct k_err *err)
{
	for (const char *p = text; ; p++) {
		char *end;
		long long x = strtoll(p, &end, 10);
		for (int i = 0; i < *n; i++)
			if (end > p && v[i] == x)
				return k_err_set(err, K_EUSAGE, "%s is '%s', which has %lld twice", option, text, x);
		if (end == p || x < lo || x > hi || (*end && *end != ',') || *n == MAX_POINTS)
			return k_err_set(err, K_EUSAGE, "%s is '%s', wanted up to %d numbers from %" PRId64 " to %" PRId64 " with commas", option, text,
				MAX_POINTS, lo, hi);
		v[(*n)++] = x;
		p = end;
		if (!*p)
			return 0;
	}
}

static int parse_grid(struct grid *g, const char *lengths, const char *depths, struct k_err *err)
{
	int r = parse_list(lengths, "--lengths", 16, 1 << 24, g->lengths, &g->n_lengths, err);
	return r < 0 ? r : parse_list(depths, "--depths", 0, 100, g->depths, &g->n_depths, err);
}

static int read_text(struct needle *d, struct k_asker *a, struct k_err *err)
{
	struct k_source *src = NULL;
	int64_t tokens = 0;
	int r = k_source_open(&src, d->o->file, err);
	if (r == 0)
		r = k_source_slurp(src, &d->text, FILE_MAX, err);
	k_source_close(src);
	if (r == 0 && (d->text.len < 100 || !k_utf8_ok(d->text.data, d->text.len)))
		r = k_err_set(err, K_EFORMAT, "'%s' is no text of 100 bytes or more in UTF-8", d->o->file);
	size_t n = K_MIN(d->text.len, (size_t)SAMPLE_BYTES);
	while (n < d->text.len && (d->text.data[n] & 0xc0) == 0x80)
		n++;
	if (r == 0 && a->count)
		r = a->count(a, d->text.data, n, &tokens, err);
	d->bytes_per_token = tokens ? (double)n / (double)tokens : 4;
	return r;
}

/* --- a question ------------------------------------------------------------------------------------------------------------------------ */

/* The secret of a question: a city and five digits, by seed and place. */
static const char *secret(const struct needle *d, int64_t length, int64_t depth, int *number)
{
	static const char *const cities[] = { "Oslo", "Lima", "Quito", "Cairo", "Delhi", "Minsk", "Tunis", "Seoul" };
	uint64_t x = ((uint64_t)d->o->seed * 1000003u + (uint64_t)length) * 1009u + (uint64_t)depth + 1;
	x *= 0x9e3779b97f4a7c15u;
	x ^= x >> 29;
	*number = (int)(10000 + (x >> 8) % 90000);
	return cities[(x >> 50) % K_LEN(cities)];
}

/* The text from 0 to n bytes, again and again; n is moved to where a character begins. */
static void put_text(const struct needle *d, struct k_buf *b, size_t n)
{
	while (n && !b->failed) {
		size_t k = K_MIN(n, d->text.len);
		while (k < d->text.len && k && (d->text.data[k] & 0xc0) == 0x80)
			k--;
		k_buf_put(b, d->text.data, k);
		n = n > d->text.len ? n - d->text.len : 0;
	}
}

/* How far from its place a needle may be for the sake of a sentence: longer than those of any prose. */
enum { REACH = 2048 };

/* Is the character of n bytes at p one of set? */
static bool is_in(const char *set, const char *p, size_t n) { return n && memmem(set, strlen(set), p, n); }

/* Bytes of the character that ends before at; 0: none does. */
static size_t char_before(const struct k_buf *b, size_t at)
{
	size_t n = at > 0;
	while (n && n < 4 && n < at && (b->data[at - n] & 0xc0) == 0x80)
		n++;
	return n;
}

static bool is_boundary(const struct k_buf *b, size_t at) { return at >= b->len || (b->data[at] & 0xc0) != 0x80; }

static size_t char_at(const struct k_buf *b, size_t at)
{
	size_t n = at < b->len;
	while (n && !is_boundary(b, at + n))
		n++;
	return n;
}

/* Marks behind which no space is needed, and the quotes and brackets that may close behind them. Of dots (U+2026) only those behind a wide character
 * end a sentence: in other scripts they stand within. */
#define MARKS "\u3002\uff01\uff1f\uff0e\uff61\u0964\u061f\u06d4\u1362"
#define CLOSING "\u300d\u300f\uff09\u201d\u2019\u3011\u300b\u3009)\"'"
#define DOTS "\u2026"

static bool ends_wide(const struct k_buf *b, size_t at)
{
	const char *p = b->data;
	size_t n, end = at;
	if (!at || !is_boundary(b, at) || is_in(MARKS CLOSING DOTS, p + at, char_at(b, at)))
		return false;
	while ((n = char_before(b, end)) && is_in(CLOSING, p + end - n, n))
		end -= n;
	if (is_in(MARKS, p + end - char_before(b, end), char_before(b, end)))
		return true;
	size_t dots = end;
	while ((n = char_before(b, end)) && is_in(DOTS, p + end - n, n))
		end -= n;
	return end < dots && char_before(b, end) == 3 && (unsigned char)p[end - 3] >= 0xe3;
}

static bool ends_sentence(const struct k_buf *b, size_t at)
{
	return (at >= 2 && strchr(" \n", b->data[at - 1]) && strchr(".!?", b->data[at - 2])) || ends_wide(b, at);
}

static bool ends_line(const struct k_buf *b, size_t at) { return at && b->data[at - 1] == '\n'; }
static bool ends_word(const struct k_buf *b, size_t at) { return at && strchr(" \t\r\n", b->data[at - 1]); }

/* The nearest place where fits is true, none farther than REACH; SIZE_MAX: none. */
static size_t nearest(const struct k_buf *b, size_t place, bool (*fits)(const struct k_buf *b, size_t at))
{
	for (size_t d = 0; d <= REACH; d++) {
		if (d <= place && fits(b, place - d))
			return place - d;
		if (d && place + d < b->len && fits(b, place + d))
			return place + d;
	}
	return SIZE_MAX;
}

/* Where the needle goes: where a sentence ends, before the place or else behind it; in a text without sentences where a line ends, or a word, or a
 * character. */
static size_t find_gap(const struct k_buf *b, size_t place)
{
	size_t low = place > REACH ? place - REACH : 0, high = K_MIN(b->len, place + REACH), at;
	if (!place)
		return 0;
	for (at = place; at > low; at--)
		if (ends_sentence(b, at))
			return at;
	for (at = place; at < high; at++)
		if (ends_sentence(b, at))
			return at;
	at = nearest(b, place, ends_line);
	if (at == SIZE_MAX)
		at = nearest(b, place, ends_word);
	return at == SIZE_MAX ? nearest(b, place, is_boundary) : at;
}

static int put_prompt(const struct needle *d, int64_t length, int64_t depth, struct k_buf *out, struct k_err *err)
{
	struct k_buf text;
	int number;
	const char *city = secret(d, length, depth, &number);
	k_buf_init(&text, 0);
	put_text(d, &text, (size_t)((double)length * d->bytes_per_token));
	if (text.len) {
		size_t at = depth == 100 ? text.len : find_gap(&text, (size_t)((double)text.len * (double)depth / 100));
		k_buf_put(out, text.data, at);
		k_buf_printf(out, "%sThe secret number of %s is %d. ", at && !strchr(" \n", text.data[at - 1]) ? " " : "", city, number);
		k_buf_put(out, text.data + at, text.len - at);
	}
	k_buf_printf(out, "\n\nWhat is the secret number of %s? Answer with the number.", city);
	out->failed |= text.failed;
	k_buf_fini(&text);
	return k_buf_ok(out, "a prompt", err);
}

static int plan(void *arg, struct k_quiz_item *q, struct k_err *err)
{
	const struct needle *d = arg;
	struct k_buf b;
	k_buf_init(&b, 0);
	int r = put_prompt(d, k_json_int(k_json_find(q->json, "length")), k_json_int(k_json_find(q->json, "depth")), &b, err);
	struct k_json *rq = k_json_object(), *list = k_json_array(), *m = k_json_object();
	int bad = r < 0 || !rq || !list || !m;
	if (!bad) {
		bad = k_put_str(m, "role", "user") | k_json_set(m, "content", k_json_new_string(b.data, b.len)) | k_json_push(list, m) |
			k_json_set(rq, "messages", list) | k_put_int(rq, "temperature", 0) | k_put_int(rq, "max_tokens", ANSWER_TOKENS);
	} else {
		k_json_free(list);
		k_json_free(m);
	}
	k_buf_fini(&b);
	if (!bad)
		return k_quiz_request(q, K_ASK_CHAT, rq, err);
	k_json_free(rq);
	return r < 0 ? r : k_err_nomem(err, 1024, "a request");
}

static struct k_json *judge(void *arg, const struct k_quiz_item *q)
{
	const struct needle *d = arg;
	int64_t length = k_json_int(k_json_find(q->json, "length")), depth = k_json_int(k_json_find(q->json, "depth"));
	const char *got = k_json_string(k_json_find(k_json_find(k_json_at(k_json_find(q->ask[0].answer, "choices"), 0), "message"), "content"));
	struct k_json *o = k_json_object();
	char want[16];
	int number;
	secret(d, length, depth, &number);
	snprintf(want, sizeof(want), "%d", number);
	if (o && (k_put_int(o, "length", length) | k_put_int(o, "depth", depth) | k_put_bool(o, "right", got && strstr(got, want)) |
		k_put_str(o, "answer", got ? got : "") |
		k_put_int(o, "prompt_tokens", k_get_count(k_json_find(q->ask[0].answer, "usage"), "prompt_tokens"))) == 0)
		return o;
	k_json_free(o);
	return NULL;
}

static int put_run(void *arg, struct k_json *o)
{
	const struct needle *d = arg;
	return k_put_str(o, "lengths", d->o->lengths) | k_put_str(o, "depths", d->o->depths);
}

/* --- the summary ---------------------------------------------------------------------------------------------------------------------- */

struct counts { int64_t n, right, asked_at[MAX_POINTS][MAX_POINTS], right_at[MAX_POINTS][MAX_POINTS]; };

static int find(const int64_t *v, int n, int64_t x)
{
	for (int i = 0; i < n; i++)
		if (v[i] == x)
			return i;
	return 0;
}

static void tally(struct counts *t, const struct grid *g, const struct k_json *item)
{
	int l = find(g->lengths, g->n_lengths, k_json_int(k_json_find(item, "length")));
	int p = find(g->depths, g->n_depths, k_json_int(k_json_find(item, "depth")));
	bool right = k_json_bool(k_json_find(item, "right"));
	t->n++;
	t->right += right;
	t->asked_at[l][p]++;
	t->right_at[l][p] += right;
}

/* {"1024": {"0": 1.0, "50": 0.0}}; what was not asked is null. */
static struct k_json *table(const struct counts *t, const struct grid *g)
{
	struct k_json *rows = k_json_object();
	int bad = !rows;
	for (int l = 0; l < g->n_lengths && !bad; l++) {
		struct k_json *row = k_json_object();
		char key[32];
		bad = !row;
		for (int p = 0; p < g->n_depths && !bad; p++) {
			snprintf(key, sizeof(key), "%" PRId64, g->depths[p]);
			bad = t->asked_at[l][p] ? k_put_num(row, key, (double)t->right_at[l][p] / (double)t->asked_at[l][p]) : k_put_null(row, key);
		}
		snprintf(key, sizeof(key), "%" PRId64, g->lengths[l]);
		bad |= k_json_set(rows, key, row);
	}
	if (!bad)
		return rows;
	k_json_free(rows);
	return NULL;
}

static int summarise(const struct k_json *head, const struct k_json *items, struct k_json *s, struct k_err *err)
{
	struct grid g = { .n_lengths = 0 };
	const char *lengths, *depths;
	int r = k_json_get_str(head, "lengths", &lengths, "the head of a report", err);
	if (r == 0)
		r = k_json_get_str(head, "depths", &depths, "the head of a report", err);
	if (r == 0)
		r = parse_grid(&g, lengths, depths, err);
	if (r < 0)
		return r;
	struct counts *t = k_calloc(1, sizeof(*t));
	for (size_t i = 0; t && i < k_json_len(items); i++)
		if (k_quiz_judged(k_json_at(items, i)))
			tally(t, &g, k_json_at(items, i));
	int bad = !t || k_quiz_put_share(s, "acc", "acc_stderr", t->right, t->n) | k_put_int(s, "n", t->n) |
		k_put_int(s, "failed", (int64_t)k_json_len(items) - t->n) | k_json_set(s, "table", table(t, &g));
	k_free(t);
	return bad ? k_err_nomem(err, sizeof(*t), "the summary") : 0;
}

/* --- the run ------------------------------------------------------------------------------------------------------------------------------ */

static int make_lines(const struct grid *g, struct k_buf *b, struct k_err *err)
{
	for (int l = 0; l < g->n_lengths; l++)
		for (int p = 0; p < g->n_depths; p++)
			k_buf_printf(b, "{\"length\":%" PRId64 ",\"depth\":%" PRId64 "}\n", g->lengths[l], g->depths[p]);
	return k_buf_ok(b, "questions", err);
}

static int ask_all(struct needle *d, struct k_asker *a, struct k_report *rep, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_quiz z = { .name = "needle", .plan = plan, .judge = judge, .put_run = put_run, .summarise = summarise, .arg = d };
	struct k_buf lines;
	k_buf_init(&lines, 0);
	int r = make_lines(&d->grid, &lines, err);
	z.lines = &lines;
	if (r == 0)
		r = k_quiz_run(&z, a, d->o, rep, ctx, err);
	k_buf_fini(&lines);
	return r;
}

static int needle_run(struct k_asker *a, const struct k_eval_opts *o, struct k_report *rep, const struct k_ctx *ctx, struct k_err *err)
{
	struct needle *d = k_calloc(1, sizeof(*d));
	if (!d)
		return k_err_nomem(err, sizeof(*d), "needles");
	d->o = o;
	k_buf_init(&d->text, FILE_MAX);
	int r = o->file ? 0 : k_err_set(err, K_EUSAGE, "needle wants -f FILE, a text");
	if (r == 0)
		r = parse_grid(&d->grid, o->lengths, o->depths, err);
	if (r == 0)
		r = read_text(d, a, err);
	if (r == 0)
		r = ask_all(d, a, rep, ctx, err);
	k_buf_fini(&d->text);
	k_free(d);
	return r;
}

const struct k_eval k_eval_needle = {
	.name = "needle",
	.about = "a sentence is to be found in a long text (-f), by length and depth",
	.fields = "acc acc_stderr n failed",
	.draw = k_draw_needle,
	.ask = needle_run,
	.summarise = summarise,
};
