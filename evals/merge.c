/* merge.c: see merge.h. Nothing is computed but the summary, by what the task itself makes it with. */
#include "libcore/base.h"
#include <stdio.h>
#include "evals/merge.h"
#include "evals/report.h"
#include "evals/reported.h"
#include "libcore/job.h"

struct k_merge {
	const struct k_eval *task;
	struct k_reported *file;        /* as given */
	const struct k_reported **part; /* in order */
	int n;
};

/* --- what belongs together --------------------------------------------------------------------------------------------------- */

static int place(struct k_merge *m, const struct k_reported *f, struct k_err *err)
{
	const char *text = k_json_string(k_json_find(f->head, "part"));
	int part, parts;
	if (!text)
		return k_err_set(err, K_EUSAGE, "'%s' is no part: its run had no --part", f->path);
	if (k_job_part(text, &part, &parts, err) < 0)
		return k_err_set(err, K_EFORMAT, "'%s' says that it is part '%.40s', wanted K/N", f->path, text);
	if (parts != m->n)
		return k_err_set(err, K_EUSAGE, "'%s' is part %s, and %d report%s given", f->path, text, m->n, m->n == 1 ? " is" : "s are");
	if (m->part[part - 1])
		return k_err_set(err, K_EUSAGE, "'%s' and '%s' are both part %s", m->part[part - 1]->path, f->path, text);
	m->part[part - 1] = f;
	return 0;
}

static int find_task(struct k_merge *m, struct k_err *err)
{
	const char *name = k_json_string(k_json_find(m->part[0]->head, "task"));
	m->task = name ? k_eval_find(name) : NULL;
	if (!m->task || !m->task->summarise)
		return k_err_set(err, K_EFORMAT, "'%s' is of task '%.40s', which has no parts", m->part[0]->path, name ? name : "");
	return 0;
}

/* A report that was changed, or lost items, has not the summary of what it has. */
static int check_summary(const struct k_merge *m, const struct k_reported *f, struct k_err *err)
{
	struct k_json *s;
	int r = k_report_make_sum(&s, f->head, f->items, m->task->summarise, err);
	if (r < 0)
		return k_err_add(err, "in '%s'", f->path);
	if (!k_json_equal(s, f->summary))
		r = k_err_set(err, K_EFORMAT, "'%s' has items that do not make its summary: some are missing, or were changed", f->path);
	k_json_free(s);
	return r;
}

/* Of n items part k has each n-th from the k-th on. */
static int check_counts(const struct k_merge *m, struct k_err *err)
{
	size_t all = 0;
	for (int k = 0; k < m->n; k++)
		all += k_json_len(m->part[k]->items);
	for (int k = 0; k < m->n; k++) {
		size_t have = k_json_len(m->part[k]->items), want = (all + (size_t)(m->n - 1 - k)) / (size_t)m->n;
		if (have != want)
			return k_err_set(err, K_EFORMAT, "'%s' has %zu items, wanted %zu: the parts have %zu, so part %d of %d ran with another --limit, or others did",
				m->part[k]->path, have, want, all, k + 1, m->n);
	}
	return 0;
}

static int check(struct k_merge *m, struct k_err *err)
{
	char whom[160];
	int r = 0;
	for (int i = 0; i < m->n && r == 0; i++)
		r = place(m, &m->file[i], err);
	if (r == 0)
		r = find_task(m, err);
	for (int k = 1; k < m->n && r == 0; k++) {
		snprintf(whom, sizeof(whom), "'%.150s'", m->part[0]->path);
		r = k_reported_same(m->part[k]->path, m->part[k]->head, whom, m->part[0]->head, "part", K_EUSAGE, err);
	}
	for (int i = 0; i < m->n && r == 0; i++)
		r = check_summary(m, &m->file[i], err);
	return r < 0 ? r : check_counts(m, err);
}

int k_merge_open(struct k_merge **out, const char *const *paths, int n, struct k_err *err)
{
	struct k_merge *m = k_calloc(1, sizeof(*m));
	*out = NULL;
	if (!m)
		return k_err_nomem(err, sizeof(*m), "reports");
	m->file = k_calloc((size_t)n + 1, sizeof(*m->file));
	m->part = k_calloc((size_t)n + 1, sizeof(*m->part));
	int r = !m->file || !m->part ? k_err_nomem(err, (size_t)n * sizeof(*m->file), "reports")
		: n ? 0 : k_err_set(err, K_EUSAGE, "merge wants the reports of all parts of a run");
	for (; m->n < n && r == 0; m->n++)
		r = k_reported_read(&m->file[m->n], paths[m->n], err);
	if (r == 0)
		r = check(m, err);
	if (r < 0) {
		k_merge_close(m);
		return r;
	}
	*out = m;
	return 0;
}

void k_merge_close(struct k_merge *m)
{
	if (!m)
		return;
	for (int i = 0; m->file && i < m->n; i++)
		k_reported_fini(&m->file[i]);
	k_free(m->file);
	k_free(m->part);
	k_free(m);
}

const struct k_eval *k_merge_task(const struct k_merge *m) { return m->task; }

/* --- the report -------------------------------------------------------------------------------------------------------------- */

/* The members of an item without those that the report puts around them. */
static int report(struct k_report *rep, const struct k_json *item, const char *but, struct k_err *err)
{
	const char *name, *key = k_json_string(k_json_find(item, "item")), *why = k_json_string(k_json_find(item, "why"));
	struct k_json *o = k_json_object(), *v;
	int bad = !o;
	for (void *it = NULL; !bad && k_json_next(item, &it, &name, &v); )
		if (strcmp(name, "item") && strcmp(name, "ok") && strcmp(name, "why") && !(but && !strcmp(name, but)))
			bad = k_json_set(o, name, k_json_keep(v)) < 0;
	if (!bad)
		return k_report_item(rep, key, o, !why, why, err);
	k_json_free(o);
	return k_err_nomem(err, 256, "an item of the report");
}

int k_merge_report(const struct k_merge *m, struct k_report *rep, struct k_err *err)
{
	int r = report(rep, m->part[0]->head, "part", err);
	for (size_t i = 0; r == 0 && i < k_json_len(m->part[0]->items); i++)
		for (int k = 0; r == 0 && k < m->n; k++) {
			const struct k_json *item = k_json_at(m->part[k]->items, i);
			if (item)
				r = report(rep, item, NULL, err);
		}
	return r < 0 ? r : k_report_sum(rep, m->task->summarise, err);
}
