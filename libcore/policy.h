/* policy.h: which type an entry gets when a model is quantised: a preset, then -t for the routed experts, then --rule, last match
 * wins. Norms, router, convolutions, decay and bias vectors are never touched by a role: they are small and the result depends on
 * them; a rule with a glob on names reaches them all the same. */
#ifndef K_POLICY_H
#define K_POLICY_H

#include "libcore/ckpt.h"

struct k_policy {
	const char *type;               /* -t: for role experts; NULL: none */
	const char *preset;             /* NULL: none */
	const char *const *rules;       /* "ROLE=TYPE", "GLOB=TYPE", "...=keep" */
	int n_rules;
	bool on_grid;                   /* values lie on the new type's grid, and who makes it counts those that do not: nothing is lost unsaid */
};

/* Sets type, shape-dependent layout and bytes of out[i] for every entry of c (out: copies of c->entries). *n_changed: entries whose type
 * changes. Unknown role, type or preset: K_EUSAGE with the words that are known. An entry that a rule wants but whose shape the type
 * refuses is kept, and the log says so, as it does of a rule that no tensor matches, and of what is quantised
 * already and gets another such type that saves less than a bit (but for on_grid). If nothing carries the role that -t is for: K_EUSAGE that names the --rule that would help. */
int k_policy_apply(const struct k_policy *p, const struct k_ckpt *c, struct k_entry *out, int *n_changed, struct k_log *log, struct k_err *err) K_MUST_USE;
/* The types that each entry of c may get where a size is asked for, in falling bytes; the first is what it has. Warnings as above. A --rule or a preset leaves one. Else a
 * matrix of floats (or block FP8) may become bf16, i8row, and, but for embedding and head, p->type (NULL: i4g32); what is quantised
 * already, norms, routers and vectors stay. */
enum { K_CHOICES = 4 };
struct k_choices { int n; const struct k_qtype *type[K_CHOICES]; };
int k_policy_choices(const struct k_policy *p, const struct k_ckpt *c, struct k_choices *out, struct k_log *log, struct k_err *err) K_MUST_USE;
bool k_policy_is_role(const char *s, size_t n);
/* i-th preset's name and what it does; NULL past the end. */
const char *k_policy_preset(int i, const char **about);

#endif
