/* schema_int.h: what the parts of the schema compiler share.
 *
 *   schema.c           a set of schemas that must all hold -> a node; references, anyOf, oneOf, allOf
 *   schema_members.c   objects and arrays
 *   schema_names.c     propertyNames
 *   schema_value.c     what the keywords of such a set say of scalars, and the nodes of scalars
 *   schema_format.c    formats
 *   schema_height.c    which nodes have a value
 *   schema_call.c      the arguments of a call of Kimi-K3 */
#ifndef K_SCHEMA_INT_H
#define K_SCHEMA_INT_H

#include "libcore/grammar_int.h"
#include "libcore/map.h"
#include "libcore/schema.h"

enum { K_T_NULL = 1, K_T_BOOL = 2, K_T_INT = 4, K_T_REAL = 8, K_T_STRING = 16, K_T_ARRAY = 32, K_T_OBJECT = 64, K_T_ALL = 127 };
enum { K_MAX_NODES = 60000, K_MAX_HEIGHT = 400, K_MAX_WORK = 20 << 20 };

struct k_item { const struct k_json *schema; const char *path; int used; int32_t parent; };
/* used: K_USED_...; parent: the item of the set that led to it, -1: none */
enum { K_USED_ANY = 1, K_USED_ONE = 2 };
struct k_conj { struct k_item *v; uint32_t n, cap; };

struct k_compiler {
	struct k_grammar *g;
	const struct k_json *root;
	const char *where;
	int flags;
	struct k_buf *ignored;
	struct k_err *err;
	struct k_arena arena;           /* of the compilation */
	struct k_map memo;              /* conj -> node + 1 */
	struct { struct k_conj conj; uint32_t node; } *queue;
	uint32_t n_queue, cap_queue, done;
	struct { uint32_t node; const char *path; int a, b; } *pairs;   /* branches of oneOf that must exclude each other */
	uint32_t n_pairs, cap_pairs;
	const char *why;                /* the first contradiction */
	uint32_t any[10];
	size_t work;
};

/* What all schemas of a set say together. */
struct k_facts {
	int types;
	__int128 low, high;             /* in 1e-15 */
	bool bounded;
	int64_t step;
	int64_t min_chars, max_chars, min_items, max_items, min_props, max_props;
	struct k_pattern_part *parts; int n_parts, cap_parts;
	const struct k_json **enums; int n_enums, cap_enums;    /* arrays of enum, values of const */
	bool *is_const;
	bool unique, structured;        /* structured: keywords for arrays or objects */
	const char *path;
};

int k_schema_nomem(struct k_compiler *c);
uint32_t k_schema_node(struct k_compiler *c, enum k_node_kind kind);    /* K_NODE_NONE: error */
/* Error, or under LAX a note: 0. */
int k_schema_unsupported(struct k_compiler *c, const char *path, const char *keyword, const char *why);
int k_schema_wrong(struct k_compiler *c, const char *path, const char *keyword, const struct k_json *v, const char *wanted);
void k_schema_why(struct k_compiler *c, const char *path, const char *text);
/* Keywords of one schema that say something of scalars and sizes. */
int k_schema_facts(struct k_compiler *c, const struct k_item *it, struct k_facts *f);
/* What holds of any value. */
struct k_facts k_schema_no_facts(void);
/* All that is said of strings but enumerations. */
int k_schema_pattern(struct k_compiler *c, const struct k_facts *f, struct k_pattern **out);
/* Nodes of scalars, appended to kids[0..8). */
int k_schema_scalars(struct k_compiler *c, struct k_facts *f, uint32_t *kids, uint32_t *n);
/* f->enums as one WORDS node. */
int k_schema_words(struct k_compiler *c, struct k_facts *f, uint32_t node);
int k_schema_sort_words(struct k_word *w, uint32_t n);
uint32_t k_schema_string(struct k_compiler *c, struct k_pattern *p);

/* The code that is set, K_ENOMEM when none is. */
int k_schema_fail(const struct k_compiler *c);
const char *k_schema_sub_path(struct k_compiler *c, const char *path, const char *name);
bool k_schema_is(const struct k_json *v);       /* an object or a boolean */
/* Adds a schema to a set, once. */
int k_schema_add(struct k_compiler *c, struct k_conj *x, const struct k_json *s, const char *path, int used);
/* Adds what the schemas of a set refer to, and their allOf. */
int k_schema_flatten(struct k_compiler *c, struct k_conj *x);
/* The node of a set, which is built later; K_NODE_NONE: error. */
uint32_t k_schema_node_of(struct k_compiler *c, const struct k_conj *x);
int k_schema_object(struct k_compiler *c, const struct k_conj *x, const struct k_facts *f, uint32_t *out);
/* propertyNames of a set: what they say together, and what its pattern is but for enumerations. */
int k_schema_names(struct k_compiler *c, const struct k_conj *x, struct k_facts *rule, struct k_pattern **fits);
bool k_schema_name_fits(const struct k_facts *rule, const struct k_pattern *fits, const char *name);
/* Error, or under LAX a note: 0, where one has keywords that no schema may have. */
int k_schema_refuse(struct k_compiler *c, const struct k_item *it);
/* Values of the first enumeration, which are all that can be; none: 0. */
size_t k_schema_enum_len(const struct k_facts *f);
const struct k_json *k_schema_enum_at(const struct k_facts *f, size_t i);
int k_schema_array(struct k_compiler *c, const struct k_conj *x, const struct k_facts *f, uint32_t *out);
/* After k_grammar_settle: unions of unions become one, without what has no value. */
int k_schema_flatten_unions(struct k_compiler *c);
/* After that: the root's objects become calls. */
int k_schema_call(struct k_compiler *c);

#endif
