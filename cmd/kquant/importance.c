/* importance.c: see importance.h. */
#include "libcore/base.h"
#include "cmd/kquant/importance.h"
#include "formats/imatrix.h"
#include "libcore/buf.h"
#include "libcore/log.h"

struct k_importance { struct k_imatrix **files; int n; const struct k_ckpt *in; };

int k_importance_weights(void *arg, int entry, int64_t slice, float *w, struct k_err *err)
{
	const struct k_importance *i = arg;
	const struct k_entry *e = &i->in->entries[entry];
	size_t cols = (size_t)k_entry_cols(e);
	double *sums = k_calloc(cols, sizeof(*sums)), count = 0;
	int r = sums ? 0 : k_err_nomem(err, cols * sizeof(*sums), "the weights of a tensor's columns");

	for (int k = 0; r == 0 && k < i->n; k++)
		r = k_imatrix_add(i->files[k], i->in->arch, e, slice, sums, &count, err);
	for (size_t c = 0; r == 0 && count > 0 && c < cols; c++)
		w[c] = (float)(sums[c] / count);
	k_free(sums);
	return r < 0 ? r : count > 0;
}

const uint8_t *k_importance_digest(const struct k_importance *i, int k) { return k_imatrix_digest(i->files[k]); }

/* "3, 17, 200": the slices of an entry without statistics. *n: how many. */
static int list_unseen(struct k_importance *i, int entry, struct k_buf *b, int64_t *n, struct k_err *err)
{
	const struct k_entry *e = &i->in->entries[entry];
	float *w = k_alloc((size_t)k_entry_cols(e) * sizeof(*w));
	int r = w ? 0 : k_err_nomem(err, (size_t)k_entry_cols(e) * sizeof(*w), "the weights of a tensor's columns");

	*n = 0;
	for (int64_t s = 0; r >= 0 && s < k_entry_slices(e); s++) {
		r = k_importance_weights(i, entry, s, w, err);
		if (r == 0)
			k_buf_printf(b, "%s%lld", (*n)++ ? ", " : "", (long long)s);
	}
	k_free(w);
	return K_MIN(r, 0);
}

/* *found: some slice has statistics. */
static int look_up(struct k_importance *i, int entry, struct k_log *log, bool *found, struct k_err *err)
{
	const struct k_entry *e = &i->in->entries[entry];
	struct k_buf b;
	int64_t n;
	int r;

	k_buf_init(&b, 0);
	r = list_unseen(i, entry, &b, &n, err);
	*found |= n < k_entry_slices(e);
	if (r == 0 && n == k_entry_slices(e))
		k_logf(log, K_LOG_WARN, "%s: no activation statistics, its errors count alike", e->name);
	else if (r == 0 && n)
		k_logf(log, K_LOG_WARN, "%s: no token reached experts %s; their errors count alike", e->name, b.data ? b.data : "");
	k_buf_fini(&b);
	return r;
}

int k_importance_open(struct k_importance **out, const struct k_strs *paths, const struct k_ckpt *in, const struct k_entry *entries, struct k_log *log, struct k_err *err)
{
	struct k_importance *i = k_calloc(1, sizeof(*i));
	bool found = false, any = false;
	int r = 0;

	if (!i)
		return k_err_nomem(err, sizeof(*i), "activation statistics");
	i->in = in;
	i->files = k_calloc((size_t)paths->n, sizeof(*i->files));
	if (!i->files)
		r = k_err_nomem(err, (size_t)paths->n * sizeof(*i->files), "activation statistics");
	for (int k = 0; r == 0 && k < paths->n; k++) {
		r = k_imatrix_open(&i->files[k], paths->v[k], log, err);
		i->n += r == 0;
	}
	for (int k = 0; r == 0 && k < in->n_entries; k++)
		if (entries[k].type != in->entries[k].type) {
			any = true;
			r = look_up(i, k, log, &found, err);
		}
	if (r == 0 && any && !found)
		r = k_err_set(err, K_EFORMAT, "'%s' has no statistics for any tensor of '%s' that is quantised", paths->v[0], in->path);
	if (r < 0) {
		k_importance_close(i);
		return r;
	}
	*out = i;
	return 0;
}

void k_importance_close(struct k_importance *i)
{
	if (!i)
		return;
	for (int k = 0; k < i->n; k++)
		k_imatrix_close(i->files[k]);
	k_free(i->files);
	k_free(i);
}
