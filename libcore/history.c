/* history.c: see history.h. */
#include "libcore/base.h"
#include "libcore/history.h"

int k_history_add(struct k_json *history, struct k_json *row, struct k_err *err)
{
	if (!row || k_json_push(history, row) < 0)
		return k_err_nomem(err, sizeof(void *), "a row of the history");
	return 0;
}

int k_history_new(struct k_json **out, const struct k_ckpt *c, struct k_err *err)
{
	struct k_json *h = k_json_copy(c->history), *row;

	if (!h)
		return k_err_nomem(err, sizeof(void *), "the history");
	if (k_json_len(h) == 0) {
		row = k_json_object();
		if (!row || k_json_set(row, "step", k_json_new_string("convert", 7)) < 0 ||
		    k_json_set(row, "format", k_json_new_int(1)) < 0) {
			k_json_free(row);
			row = NULL;
		}
		if (k_history_add(h, row, err) < 0) {
			k_json_free(h);
			return err->code;
		}
	}
	*out = h;
	return 0;
}
