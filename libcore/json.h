/* json.h: JSON values (json.c is the only includer of jansson.h). A struct k_json is a reference-counted value; what a getter
 * returns is borrowed from its parent. Getters make errors that name the file and the path: "'config.json': rope_scaling.factor
 * is a string, wanted a number". */
#ifndef K_JSON_H
#define K_JSON_H

#include "libcore/err.h"
#include "libcore/buf.h"

struct k_json;          /* opaque: a jansson value */

enum {
	K_JSON_STRICT = 0,      /* files: duplicate members refused, depth <= 64 */
	K_JSON_LAST_WINS = 1,   /* requests: duplicates: the last wins, depth <= 128 */
	K_JSON_NUL = 2,         /* strings, not names, may hold U+0000: only for who asks for their length */
};
enum k_json_kind { K_JSON_NULL, K_JSON_BOOL, K_JSON_INT, K_JSON_REAL, K_JSON_STRING, K_JSON_ARRAY, K_JSON_OBJECT };

/* text must be one JSON value in valid UTF-8 without byte order mark; no NaN, no overflowing numbers, no NUL in strings (but K_JSON_NUL). Integers
 * beyond 64 bits become reals.
 * what names the text in errors. *out is owned: k_json_free. */
int k_json_parse(struct k_json **out, const char *text, size_t len, int flags, const char *what, struct k_err *err) K_MUST_USE;
/* The members of text, an object, in its order, each as a value that goes behind the call: for objects with half a million of them. Of its member `deep`
 * (NULL: none), where that is an object, the members come in its place, with in = deep; else in is NULL. K_JSON_STRICT, but a name that is there
 * twice is for the caller to find. An error of fn ends it. */
typedef int k_json_member(void *arg, const char *in, const char *name, const struct k_json *value, struct k_err *err);
int k_json_each(const char *text, size_t len, const char *deep, const char *what, k_json_member *fn, void *arg, struct k_err *err) K_MUST_USE;
void k_json_free(struct k_json *v);                     /* drops a reference; takes NULL */
struct k_json *k_json_keep(struct k_json *v);           /* adds one */
bool k_json_equal(const struct k_json *a, const struct k_json *b);
/* Equal, and members in the same order: they are written the same. NULL is only as NULL. */
bool k_json_same(const struct k_json *a, const struct k_json *b);

enum k_json_kind k_json_kind(const struct k_json *v);   /* K_JSON_NULL for NULL */
const char *k_json_kind_name(const struct k_json *v);   /* "a string", "null", ... for messages */
/* Member or element; NULL when absent (or when v is not an object/array). A member that is null is returned as such. */
struct k_json *k_json_find(const struct k_json *obj, const char *key);
struct k_json *k_json_given(const struct k_json *obj, const char *key);         /* a member that is there and not null; else NULL */
struct k_json *k_json_at(const struct k_json *arr, size_t i);
size_t k_json_len(const struct k_json *v);              /* members or elements; bytes of a string */
/* Iterates an object in file order: for (it = NULL; k_json_next(obj, &it, &key, &value); ) */
bool k_json_next(const struct k_json *obj, void **it, const char **key, struct k_json **value);
const char *k_json_string(const struct k_json *v);      /* NULL when not a string */
int64_t k_json_int(const struct k_json *v);             /* 0 when not an integer */
double k_json_number(const struct k_json *v);           /* integers too; 0 when not a number */
bool k_json_bool(const struct k_json *v);
/* An integer, or a real that is one and fits (16.0), as requests may have it. */
bool k_json_whole(const struct k_json *v, int64_t *out);

/* Typed members. where names the file. Absent or null: K_ENOENT for get; for the _or forms *out = def. Wrong kind or out of
 * [lo, hi]: K_EFORMAT. where may go on behind the file: "config.json: rope_scaling". */
int k_json_get_int(const struct k_json *obj, const char *key, int64_t lo, int64_t hi, int64_t *out, const char *where, struct k_err *err) K_MUST_USE;
int k_json_int_or(const struct k_json *obj, const char *key, int64_t lo, int64_t hi, int64_t def, int64_t *out, const char *where, struct k_err *err) K_MUST_USE;
int k_json_get_num(const struct k_json *obj, const char *key, double lo, double hi, double *out, const char *where, struct k_err *err) K_MUST_USE;
int k_json_num_or(const struct k_json *obj, const char *key, double lo, double hi, double def, double *out, const char *where, struct k_err *err) K_MUST_USE;
int k_json_bool_or(const struct k_json *obj, const char *key, bool def, bool *out, const char *where, struct k_err *err) K_MUST_USE;
int k_json_get_str(const struct k_json *obj, const char *key, const char **out, const char *where, struct k_err *err) K_MUST_USE;
int k_json_str_or(const struct k_json *obj, const char *key, const char *def, const char **out, const char *where, struct k_err *err) K_MUST_USE;
int k_json_get_array(const struct k_json *obj, const char *key, struct k_json **out, const char *where, struct k_err *err) K_MUST_USE;
int k_json_get_object(const struct k_json *obj, const char *key, struct k_json **out, const char *where, struct k_err *err) K_MUST_USE;

/* Building. New values are owned by the caller; NULL without memory. set/push take the value (also on failure, also NULL,
 * which is then a failure): -1 on failure. Strings must be UTF-8; invalid bytes become U+FFFD. */
struct k_json *k_json_object(void);
struct k_json *k_json_array(void);
struct k_json *k_json_new_string(const char *s, size_t n);
struct k_json *k_json_new_int(int64_t v);
struct k_json *k_json_new_number(double v);             /* NaN and infinities: null */
struct k_json *k_json_new_bool(bool v);
struct k_json *k_json_new_null(void);
int k_json_set(struct k_json *obj, const char *key, struct k_json *value);
int k_json_push(struct k_json *arr, struct k_json *value);
struct k_json *k_json_copy(const struct k_json *v);     /* deep */
/* Element i to be edited: where others have a reference too, a copy takes its place. NULL when absent, or without memory. */
struct k_json *k_json_own(struct k_json *arr, size_t i);

/* Text, as Python's json.dumps(ensure_ascii=False) writes it: escapes only ", \ and U+0000-001F; floats in the shortest form
 * that reads back (repr: 1.0, 1e-05, 1e+16). */
enum { K_JSON_COMPACT = 1 /* "," ":" instead of ", " ": " */, K_JSON_SORT = 2 /* members by key, deep */ , K_JSON_INDENT = 4 /* 2 spaces, one member a line */ };
void k_json_dump(struct k_buf *b, const struct k_json *v, int flags);
/* One JSON string with quotes. */
void k_json_quote(struct k_buf *b, const char *s, size_t n);
/* Behind the string of a text that begins at p; end where it does not end. */
const char *k_json_string_end(const char *p, const char *end);
/* A double in the shortest form that reads back, Python's repr; a float32 in %.9g (1.4 of the cli page); null for NaN, inf. */
void k_json_put_double(struct k_buf *b, double v);
void k_json_put_float(struct k_buf *b, float v);
/* The double nearest to the shortest decimal that reads back as f (finite): 1e-05 where widening gives 9.999999747378752e-06. */
double k_json_short(float f);
/* Strict UTF-8 (no overlong forms, no surrogates). */
bool k_utf8_ok(const char *s, size_t n);
/* Appends s with each invalid part as one U+FFFD. */
void k_utf8_mend(struct k_buf *b, const char *s, size_t n);

/* "jansson 2.14" */
const char *k_json_library(void);

#endif
