/* reported.h: a report read back, and whether two of them are of the same run. */
#ifndef K_REPORTED_H
#define K_REPORTED_H

#include "libcore/json.h"

struct k_reported {
	const char *path;               /* borrowed */
	struct k_json *head;            /* the item "run"; NULL: there is none */
	struct k_json *items, *summary; /* the other items, in order */
};

/* K_EFORMAT: it is no report, or has no summary. On failure fini is still right. */
int k_reported_read(struct k_reported *r, const char *path, struct k_err *err) K_MUST_USE;
void k_reported_fini(struct k_reported *r);

/* Are these heads equal, the member `but` aside (NULL: all are compared)? Else code, with the first member that is not and both values: theirs
 * is that of the report at path, ours that of whom. */
int k_reported_same(const char *path, const struct k_json *theirs, const char *whom, const struct k_json *ours, const char *but, int code,
	struct k_err *err) K_MUST_USE;

#endif
