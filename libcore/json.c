/* json.c: parsing, getters, building over jansson; the only includer of jansson.h. Text is written by
 * json_text.c.
 *
 * struct k_json is a json_t under another name: a pointer is cast, nothing is wrapped. jansson's memory is
 * ours (k_alloc). Its parser does not look whether a token that it copies found room: it goes on with a part,
 * or ends in an assertion. So a parse that finds no memory is left by a jump, and what it took is freed.
 *
 * A text becomes many small pieces that mostly die together: they lie side by side in blocks. A block is
 * freed with its last piece, by whichever thread frees that. */
#include "libcore/base.h"
#include "libcore/json.h"
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* Of a text of so many bytes: about what a short one needs, so that many texts of a line each may be kept. */
#ifdef K_ASAN
static size_t block_size(size_t len) { return (void)len, 0; }  /* one for each piece, which the sanitizer then watches */
#else
enum { LEAST_BLOCK = 512, MOST_BLOCK = 16 << 10 };
static size_t block_size(size_t len) { return len < MOST_BLOCK / 4 ? K_MAX(4 * len, (size_t)LEAST_BLOCK) : MOST_BLOCK; }
#endif

struct block {
	struct block *prev, *next;      /* of the parse that is going on; NULL: it is over */
	atomic_size_t live;             /* pieces that are not freed; one more while there may come others */
	size_t used, size;
};
struct piece { struct block *block; };  /* before each piece; NULL: it has memory of its own */

static _Thread_local struct parse {
	jmp_buf *failed;                /* NULL: no parse is going on */
	struct block blocks;            /* ring */
	struct block *open;             /* the one that has room, NULL: none yet */
	size_t size;                    /* of the next ones */
} parse;

static void release(struct block *b)
{
	if (atomic_fetch_sub(&b->live, 1) > 1)
		return;
	if (b->prev) {
		b->prev->next = b->next;
		b->next->prev = b->prev;
	}
	k_free(b);
}

/* A large piece gets a block of its own, so that it can go before the others. */
static struct block *new_block(size_t n)
{
	bool large = n > parse.size / 4;
	size_t size = large ? n : parse.size;
	struct block *b = k_alloc(sizeof *b + size);

	if (!b)
		longjmp(*parse.failed, 1);
	*b = (struct block){ .prev = parse.blocks.prev, .next = &parse.blocks, .size = size };
	b->prev->next = parse.blocks.prev = b;
	if (large)
		return b;
	if (parse.open)
		release(parse.open);
	parse.open = b;
	atomic_init(&b->live, 1);
	return b;
}

static void *take(size_t n)
{
	struct block *b = parse.open;
	struct piece *p;

	if (n > SIZE_MAX / 2)
		return NULL;
	n = k_align_up(n + sizeof *p, sizeof *p);
	if (!parse.failed) {
		p = k_alloc(n);
		if (p)
			p->block = NULL;
		return p ? p + 1 : NULL;
	}
	if (!b || n > b->size - b->used)
		b = new_block(n);
	p = (struct piece *)((char *)(b + 1) + b->used);
	p->block = b;
	b->used += n;
	/* Nobody else knows of the block yet. */
	atomic_store_explicit(&b->live, atomic_load_explicit(&b->live, memory_order_relaxed) + 1, memory_order_relaxed);
	return p + 1;
}

static void give(void *memory)
{
	struct piece *p = memory ? (struct piece *)memory - 1 : NULL;

	if (p && p->block)
		release(p->block);
	else
		k_free(p);
}

__attribute__((constructor)) static void use_our_memory(void) { json_set_alloc_funcs(take, give); }

static json_t *in(const struct k_json *v) { return (json_t *)(uintptr_t)v; }
static struct k_json *out_of(json_t *v) { return (struct k_json *)v; }

const char *k_json_library(void) { return "jansson " JANSSON_VERSION; }

/* --- parsing ------------------------------------------------------------------------------------- */

/* jansson's own limit is 2048 and fixed; ours is counted before. Brackets in strings do not count. */
static bool too_deep(const char *text, size_t len, int limit)
{
	const char *end = text + len;
	int depth = 0;

	for (const char *p = text; p < end; ) {
		depth += (*p == '[' || *p == '{') - (*p == ']' || *p == '}');
		if (depth > limit)
			return true;
		p = *p == '"' ? k_json_string_end(p, end) : p + 1;
	}
	return false;
}

/* Copies text with ".0" behind every integer that has no place in 64 bits, so that jansson reads it as a real number:
 * tokenizer_config.json may say "model_max_length": 1000000000000000019884624838656. */
static void widen(struct k_buf *b, const char *text, size_t len)
{
	static const char digits[] = "-0123456789", number[] = "-0123456789.eE+";
	const char *end = text + len;

	for (const char *p = text, *next; p < end; p = next) {
		bool whole = memchr(digits, *p, sizeof digits - 1);

		next = *p == '"' ? k_json_string_end(p, end) : p + 1;
		for (bool in = whole; in && next < end && memchr(number, *next, sizeof number - 1); next++)
			whole &= memchr(digits, *next, sizeof digits - 1) != NULL;
		k_buf_put(b, p, (size_t)(next - p));
		errno = 0;
		if (whole && !b->failed && next - p >= 19 && (strtoll(b->data + b->len - (next - p), NULL, 10), errno == ERANGE))
			k_buf_puts(b, ".0");
	}
}

/* json_loadb, with *starved when memory gave out. Its value is no parse's: it may be freed anywhere. */
static json_t *load(const char *text, size_t len, size_t how, json_error_t *why, bool *starved)
{
	jmp_buf failed;
	json_t *volatile v = NULL;

	parse.blocks.prev = parse.blocks.next = &parse.blocks;
	parse.open = NULL;
	parse.size = block_size(len);
	parse.failed = &failed;
	*starved = setjmp(failed) != 0;
	if (!*starved)
		v = json_loadb(text, len, how, why);
	parse.failed = NULL;
	for (struct block *b = parse.blocks.next, *next; b != &parse.blocks; b = next) {
		next = b->next;
		b->prev = b->next = NULL;
		if (*starved)
			k_free(b);
		else if (b == parse.open)
			release(b);
	}
	return *starved ? NULL : v;
}

static json_t *load_widened(const char *text, size_t len, size_t how, json_error_t *why, bool *starved)
{
	struct k_buf b;
	json_t *v = NULL;

	k_buf_init(&b, 0);
	widen(&b, text, len);
	*starved = b.failed;
	if (!b.failed)
		v = load(b.data, b.len, how, why, starved);
	k_buf_fini(&b);
	return v;
}

int k_json_parse(
	struct k_json **out, const char *text, size_t len, int flags, const char *what, struct k_err *err)
{
	int limit = flags & K_JSON_LAST_WINS ? 128 : 64;
	size_t how = JSON_DECODE_ANY | (flags & K_JSON_LAST_WINS ? 0 : JSON_REJECT_DUPLICATES) |
		(flags & K_JSON_NUL ? JSON_ALLOW_NUL : 0);
	json_error_t why = { .text = "" };
	bool starved;
	json_t *v;

	*out = NULL;
	if (len >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
		return k_err_set(
			err, K_EFORMAT, "'%s' begins with a byte order mark, wanted JSON without one", what);
	if (too_deep(text, len, limit))
		return k_err_set(err, K_EFORMAT, "'%s' is nested deeper than %d levels", what, limit);
	v = load(text, len, how, &why, &starved);
	if (!v && !starved && json_error_code(&why) == json_error_numeric_overflow)
		v = load_widened(text, len, how, &why, &starved);
	if (v) {
		*out = out_of(v);
		return 0;
	}
	if (starved || json_error_code(&why) == json_error_out_of_memory)
		return k_err_nomem(err, len, what);
	return k_err_set(err, K_EFORMAT, "'%s' is not valid JSON at line %d, column %d: %s", what, why.line,
		why.column, why.text);
}

/* jansson counts references atomically, but looks at the count before as if nobody else changed it; and the sanitizer sees nothing of what happens within
 * jansson: that one thread frees a value after others have let go of it is told by a count of our own. */
#if !JSON_HAVE_ATOMIC_BUILTINS && !JSON_HAVE_SYNC_BUILTINS
#error values are shared by threads, which this jansson does not allow
#endif
static bool counted(const json_t *v) { return v && __atomic_load_n(&v->refcount, __ATOMIC_RELAXED) != SIZE_MAX; }

void k_json_free(struct k_json *v)
{
	json_t *j = in(v);
#ifdef K_TSAN
	static atomic_int order;
	atomic_fetch_add(&order, 1);
#endif
	if (counted(j) && __atomic_sub_fetch(&j->refcount, 1, __ATOMIC_ACQ_REL) == 0)
		json_delete(j);
}

struct k_json *k_json_keep(struct k_json *v)
{
	if (counted(in(v)))
		__atomic_add_fetch(&in(v)->refcount, 1, __ATOMIC_RELAXED);
	return v;
}

bool k_json_equal(const struct k_json *a, const struct k_json *b) { return json_equal(in(a), in(b)); }

static bool same_members(const struct k_json *a, const struct k_json *b)
{
	const char *key, *other;
	struct k_json *v, *w;
	void *i = NULL, *k = NULL;

	while (k_json_next(a, &i, &key, &v))
		if (!k_json_next(b, &k, &other, &w) || strcmp(key, other) || !k_json_same(v, w))
			return false;
	return true;
}

static bool same_elements(const struct k_json *a, const struct k_json *b)
{
	size_t n = k_json_len(a), i = 0;

	while (i < n && k_json_same(k_json_at(a, i), k_json_at(b, i)))
		i++;
	return i == n;
}

bool k_json_same(const struct k_json *a, const struct k_json *b)
{
	if (a == b || !a || !b)
		return a == b;
	if (k_json_kind(a) != k_json_kind(b) || k_json_len(a) != k_json_len(b))
		return false;
	switch (k_json_kind(a)) {
	case K_JSON_OBJECT: return same_members(a, b);
	case K_JSON_ARRAY: return same_elements(a, b);
	case K_JSON_STRING: return !memcmp(k_json_string(a), k_json_string(b), k_json_len(a));
	case K_JSON_REAL: return k_json_number(a) == k_json_number(b) && !signbit(k_json_number(a)) == !signbit(k_json_number(b));
	default: return k_json_equal(a, b);
	}
}

/* --- looking ------------------------------------------------------------------------------------- */

enum k_json_kind k_json_kind(const struct k_json *v)
{
	static const enum k_json_kind kinds[] = {
		[JSON_OBJECT] = K_JSON_OBJECT,
		[JSON_ARRAY] = K_JSON_ARRAY,
		[JSON_STRING] = K_JSON_STRING,
		[JSON_INTEGER] = K_JSON_INT,
		[JSON_REAL] = K_JSON_REAL,
		[JSON_TRUE] = K_JSON_BOOL,
		[JSON_FALSE] = K_JSON_BOOL,
		[JSON_NULL] = K_JSON_NULL,
	};

	return v ? kinds[json_typeof(in(v))] : K_JSON_NULL;
}

const char *k_json_kind_name(const struct k_json *v)
{
	static const char *const names[] = { "null", "a boolean", "an integer", "a number", "a string",
		"an array", "an object" };

	return names[k_json_kind(v)];
}

struct k_json *k_json_find(const struct k_json *obj, const char *key)
{
	return out_of(json_object_get(in(obj), key));
}

struct k_json *k_json_given(const struct k_json *obj, const char *key)
{
	struct k_json *v = k_json_find(obj, key);

	return k_json_kind(v) == K_JSON_NULL ? NULL : v;
}
struct k_json *k_json_at(const struct k_json *arr, size_t i) { return out_of(json_array_get(in(arr), i)); }

size_t k_json_len(const struct k_json *v)
{
	switch (k_json_kind(v)) {
	case K_JSON_OBJECT: return json_object_size(in(v));
	case K_JSON_ARRAY: return json_array_size(in(v));
	case K_JSON_STRING: return json_string_length(in(v));
	default: return 0;
	}
}

bool k_json_next(const struct k_json *obj, void **it, const char **key, struct k_json **value)
{
	*it = *it ? json_object_iter_next(in(obj), *it) : json_object_iter(in(obj));
	if (!*it)
		return false;
	*key = json_object_iter_key(*it);
	*value = out_of(json_object_iter_value(*it));
	return true;
}

const char *k_json_string(const struct k_json *v) { return json_string_value(in(v)); }
int64_t k_json_int(const struct k_json *v) { return json_integer_value(in(v)); }
double k_json_number(const struct k_json *v) { return json_number_value(in(v)); }
bool k_json_bool(const struct k_json *v) { return json_is_true(in(v)); }

bool k_json_whole(const struct k_json *v, int64_t *out)
{
	double d = k_json_number(v);

	if (k_json_kind(v) == K_JSON_INT)
		*out = k_json_int(v);
	else if (k_json_kind(v) != K_JSON_REAL || !(d > -0x1p63 && d < 0x1p63) || d != (double)(int64_t)d)
		return false;
	else
		*out = (int64_t)d;
	return true;
}

/* --- typed members ------------------------------------------------------------------------------- */

/* "config.json" and "factor" -> 'config.json': factor
 * "config.json: rope_scaling" and "factor" -> 'config.json': rope_scaling.factor */
static void place(char *buf, size_t n, const char *where, const char *key)
{
	const char *colon = strstr(where, ": ");

	if (colon)
		snprintf(buf, n, "'%.*s': %.100s.%.80s", (int)K_MIN(colon - where, 140), where, colon + 2,
			key);
	else
		snprintf(buf, n, "'%.140s': %.80s", where, key);
}

static int wrong(const char *where, const char *key, const char *is, const char *wanted, struct k_err *err)
{
	char at[400];

	place(at, sizeof at, where, key);
	return k_err_set(err, K_EFORMAT, "%s is %s, wanted %s", at, is, wanted);
}

static int absent(const char *where, const char *key, const char *wanted, struct k_err *err)
{
	char at[400];

	place(at, sizeof at, where, key);
	return k_err_set(err, K_ENOENT, "%s is missing, wanted %s", at, wanted);
}

static bool is_null(const struct k_json *v) { return !v || k_json_kind(v) == K_JSON_NULL; }

static int check_int(const struct k_json *v, const char *key, int64_t lo, int64_t hi, int64_t *out,
	const char *where, struct k_err *err)
{
	char is[32], wanted[80];
	int64_t x = k_json_int(v);

	if (k_json_kind(v) != K_JSON_INT)
		return wrong(where, key, k_json_kind_name(v), "an integer", err);
	if (x < lo || x > hi) {
		snprintf(is, sizeof is, "%lld", (long long)x);
		snprintf(wanted, sizeof wanted, "an integer from %lld to %lld", (long long)lo, (long long)hi);
		return wrong(where, key, is, wanted, err);
	}
	*out = x;
	return 0;
}

int k_json_get_int(const struct k_json *obj, const char *key, int64_t lo, int64_t hi, int64_t *out,
	const char *where, struct k_err *err)
{
	const struct k_json *v = k_json_find(obj, key);

	return is_null(v) ? absent(where, key, "an integer", err)
			  : check_int(v, key, lo, hi, out, where, err);
}

int k_json_int_or(const struct k_json *obj, const char *key, int64_t lo, int64_t hi, int64_t def,
	int64_t *out, const char *where, struct k_err *err)
{
	const struct k_json *v = k_json_find(obj, key);

	*out = def;
	return is_null(v) ? 0 : check_int(v, key, lo, hi, out, where, err);
}

static int check_num(const struct k_json *v, const char *key, double lo, double hi, double *out,
	const char *where, struct k_err *err)
{
	char is[40], wanted[100];
	double x = k_json_number(v);

	if (k_json_kind(v) != K_JSON_INT && k_json_kind(v) != K_JSON_REAL)
		return wrong(where, key, k_json_kind_name(v), "a number", err);
	if (!(x >= lo && x <= hi)) {
		snprintf(is, sizeof is, "%.9g", x);
		snprintf(wanted, sizeof wanted, "a number from %.9g to %.9g", lo, hi);
		return wrong(where, key, is, wanted, err);
	}
	*out = x;
	return 0;
}

int k_json_get_num(const struct k_json *obj, const char *key, double lo, double hi, double *out,
	const char *where, struct k_err *err)
{
	const struct k_json *v = k_json_find(obj, key);

	return is_null(v) ? absent(where, key, "a number", err) : check_num(v, key, lo, hi, out, where, err);
}

int k_json_num_or(const struct k_json *obj, const char *key, double lo, double hi, double def, double *out,
	const char *where, struct k_err *err)
{
	const struct k_json *v = k_json_find(obj, key);

	*out = def;
	return is_null(v) ? 0 : check_num(v, key, lo, hi, out, where, err);
}

int k_json_bool_or(
	const struct k_json *obj, const char *key, bool def, bool *out, const char *where, struct k_err *err)
{
	const struct k_json *v = k_json_find(obj, key);

	*out = def;
	if (is_null(v))
		return 0;
	if (k_json_kind(v) != K_JSON_BOOL)
		return wrong(where, key, k_json_kind_name(v), "a boolean", err);
	*out = k_json_bool(v);
	return 0;
}

int k_json_get_str(
	const struct k_json *obj, const char *key, const char **out, const char *where, struct k_err *err)
{
	const struct k_json *v = k_json_find(obj, key);

	if (is_null(v))
		return absent(where, key, "a string", err);
	return k_json_str_or(obj, key, NULL, out, where, err);
}

int k_json_str_or(const struct k_json *obj, const char *key, const char *def, const char **out,
	const char *where, struct k_err *err)
{
	const struct k_json *v = k_json_find(obj, key);

	*out = def;
	if (is_null(v))
		return 0;
	if (k_json_kind(v) != K_JSON_STRING)
		return wrong(where, key, k_json_kind_name(v), "a string", err);
	*out = k_json_string(v);
	return 0;
}

static int get_kind(const struct k_json *obj, const char *key, enum k_json_kind kind, const char *wanted,
	struct k_json **out, const char *where, struct k_err *err)
{
	struct k_json *v = k_json_find(obj, key);

	*out = NULL;
	if (is_null(v))
		return absent(where, key, wanted, err);
	if (k_json_kind(v) != kind)
		return wrong(where, key, k_json_kind_name(v), wanted, err);
	*out = v;
	return 0;
}

int k_json_get_array(
	const struct k_json *obj, const char *key, struct k_json **out, const char *where, struct k_err *err)
{
	return get_kind(obj, key, K_JSON_ARRAY, "an array", out, where, err);
}

int k_json_get_object(
	const struct k_json *obj, const char *key, struct k_json **out, const char *where, struct k_err *err)
{
	return get_kind(obj, key, K_JSON_OBJECT, "an object", out, where, err);
}

/* --- building ------------------------------------------------------------------------------------ */

struct k_json *k_json_object(void) { return out_of(json_object()); }
struct k_json *k_json_array(void) { return out_of(json_array()); }
struct k_json *k_json_new_int(int64_t v) { return out_of(json_integer(v)); }
struct k_json *k_json_new_number(double v) { return out_of(isfinite(v) ? json_real(v) : json_null()); }
struct k_json *k_json_new_bool(bool v) { return out_of(json_boolean(v)); }
struct k_json *k_json_new_null(void) { return out_of(json_null()); }

struct k_json *k_json_new_string(const char *s, size_t n)
{
	struct k_buf b;
	json_t *v = NULL;

	if (k_utf8_ok(s, n))
		return out_of(json_stringn_nocheck(n ? s : "", n));
	k_buf_init(&b, 0);
	k_utf8_mend(&b, s, n);
	if (!b.failed)
		v = json_stringn_nocheck(b.data, b.len);
	k_buf_fini(&b);
	return out_of(v);
}

int k_json_set(struct k_json *obj, const char *key, struct k_json *value)
{
	return json_object_set_new(in(obj), key, in(value));
}

int k_json_push(struct k_json *arr, struct k_json *value)
{
	return json_array_append_new(in(arr), in(value));
}
struct k_json *k_json_copy(const struct k_json *v) { return out_of(json_deep_copy(in(v))); }

struct k_json *k_json_own(struct k_json *arr, size_t i)
{
	json_t *v = json_array_get(in(arr), i);

	if (!v || __atomic_load_n(&v->refcount, __ATOMIC_ACQUIRE) == 1)
		return out_of(v);
	return json_array_set_new(in(arr), i, json_deep_copy(v)) ? NULL : out_of(json_array_get(in(arr), i));
}
