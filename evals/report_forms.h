/* report_forms.h: items, bars and a summary as the text of a table, of TAP 14 and of JUnit XML. Strings may be any bytes. */
#ifndef K_REPORT_FORMS_H
#define K_REPORT_FORMS_H

#include "libcore/json.h"

/* The members of an item as columns; they are named once, above. */
void k_form_heads(struct k_buf *b, const struct k_json *item);
void k_form_row(struct k_buf *b, const struct k_json *item);
void k_form_summary(struct k_buf *b, const struct k_json *summary);

/* Test n, with why where it is not ok; why there are no more tests. */
void k_form_tap(struct k_buf *b, int64_t n, const char *name, bool ok, const char *why);
void k_form_bail(struct k_buf *b, const char *why);

/* A <testcase>, with the element "failure" or "error" in it, and why; NULL: it passed. */
void k_form_case(struct k_buf *b, const char *suite, const char *name, const char *element, const char *why);
/* The file around the cases. */
void k_form_suite(struct k_buf *b, const char *suite, int64_t tests, int64_t failures, int64_t errors, const struct k_buf *cases);

#endif
