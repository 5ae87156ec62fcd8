/* schema.h: JSON Schema (2020-12) -> grammar. Every text of the grammar is valid under the schema; what cannot be promised is
 * refused. */
#ifndef K_SCHEMA_H
#define K_SCHEMA_H

#include "libcore/grammar.h"
#include "libcore/json.h"

enum {
	K_SCHEMA_LAX = 1,       /* keywords that are not supported are left out, and named in `ignored` */
	K_SCHEMA_OBJECT = 2,    /* of the values only objects */
	K_SCHEMA_CALL = 4,      /* with OBJECT: not as JSON, but as the arguments of a call of Kimi-K3 */
};
/* where: path of the schema, for sentences. schema NULL: anything. ignored may be NULL. The schema is not needed afterwards.
 * K_EFORMAT: no schema, or no value can exist; K_EUNSUP: a keyword, or a size, that is not supported. */
int k_schema_compile(struct k_grammar **out, const struct k_json *schema, const char *where, int flags, struct k_buf *ignored,
	struct k_err *err) K_MUST_USE;
/* One of these texts, as they are. */
int k_schema_choice(struct k_grammar **out, const struct k_json *texts, const char *where, struct k_err *err) K_MUST_USE;

/* The regular expression of a format; NULL: not known. */
const char *k_schema_format(const char *name);

#endif
