/* slotfile.c: orders to slots, see slotfile.h.
 *
 *   DIR/<name>             a sequence as libcore/seq_save.c writes it, its tag the cache salt
 *
 * A name comes from the network: it is one name inside of the folder, and nothing that a shell or a log would read otherwise. */
#include "libcore/base.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "libcore/io.h"
#include "libcore/log.h"
#include "cmd/kserve/dialect.h"
#include "cmd/kserve/slotfile.h"

static const struct { const char *name, *count, *bytes, *time; } actions[] = {
	[K_SLOT_SAVE] = { "save", "n_saved", "n_written", "save_ms" },
	[K_SLOT_RESTORE] = { "restore", "n_restored", "n_read", "restore_ms" },
	[K_SLOT_ERASE] = { "erase", "n_erased", NULL, NULL },
};

/* --- what is wanted ---------------------------------------------------------------------------------------------------------- */

static bool plain_name(const char *s)
{
	size_t n = strlen(s);
	if (!n || n > 255 || *s == '.' || strstr(s, "..") || strpbrk(s, "/\\"))
		return false;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return false;
	return true;
}

static int parse_slot(struct k_order *o, const struct k_server *s, const char *slot, struct k_fault *f)
{
	size_t n = strspn(slot, "0123456789");
	o->slot = 0;
	for (size_t i = 0; i < n && o->slot < s->n_slots; i++)
		o->slot = 10 * o->slot + (slot[i] - '0');
	if (!n || slot[n] || (n > 1 && *slot == '0') || o->slot >= s->n_slots)
		return k_fault_set(f, 400, NULL, "id_slot", "there is no such slot, wanted 0 to %d", s->n_slots - 1);
	return 0;
}

int k_order_parse(struct k_order *o, const struct k_server *s, const char *slot, const char *action, size_t n, const struct k_json *body,
	struct k_fault *f)
{
	int a = 0;
	if (!s->slot_dir)
		return k_fault_set(f, 501, "unsupported_endpoint", NULL, "slots are neither saved nor restored: the server was started without --slot-save-path");
	while (a < K_SLOT_ACTIONS && (!action || strlen(actions[a].name) != n || memcmp(actions[a].name, action, n)))
		a++;
	if (a == K_SLOT_ACTIONS)
		return k_fault_set(f, 400, NULL, "action", "action must be save, restore or erase");
	o->action = (enum k_slot_action)a;
	if (parse_slot(o, s, slot, f))
		return -1;
	if (o->action == K_SLOT_ERASE)
		return 0;
	const struct k_json *v = body ? k_json_given(body, "filename") : NULL;
	if (!v)
		return k_fault_set(f, 400, NULL, "filename", "filename is missing");
	const char *name = k_word(v);
	if (!name || !plain_name(name))
		return k_fault_set(f, 400, NULL, "filename", "filename must be a plain name of 1 to 255 bytes, without a path, a dot in front, \"..\" or control characters");
	snprintf(o->name, sizeof(o->name), "%s", name);
	return 0;
}

/* --- the disk ------------------------------------------------------------------------------------------------------------------ */

/* The client names what is read and replaced: a link would lead it out of the folder. */
static int no_link(const struct k_order *o, const char *path, struct k_err *err)
{
	struct stat st;
	if (lstat(path, &st) || !S_ISLNK(st.st_mode))
		return 0;
	return k_err_set(err, K_EFORMAT, "'%s' is a symbolic link, wanted a file", o->name);
}

static int save(struct k_order *o, const char *path, struct k_err *err)
{
	struct k_sink *sink;
	int rc = k_sink_open(&sink, path, err);
	if (rc)
		return rc;
	rc = k_seq_save(o->seq, o->salt, sink, err);
	if (!rc)
		rc = k_sink_commit(sink, err);
	o->n_bytes = k_sink_pos(sink);
	k_sink_close(sink);
	return rc;
}

/* A sequence that is too long for this server is told by its head, before its pages take memory. */
static int restore(struct k_order *o, const struct k_server *s, const char *path, struct k_err *err)
{
	struct k_seq_head head = { 0 };
	struct k_source *src;
	int rc = k_source_openat(&src, AT_FDCWD, path, o->name, err);
	if (rc)
		return rc;
	rc = k_seq_peek(&head, s->model, src, err);
	k_source_close(src);
	k_free(head.ids);
	if (!rc && head.n > s->n_ctx)
		rc = k_err_set(err, K_EFORMAT, "'%s' holds %" PRId64 " tokens, a context has %" PRId64, o->name, head.n, s->n_ctx);
	if (!rc)
		rc = k_source_openat(&src, AT_FDCWD, path, o->name, err);
	if (rc)
		return rc;
	rc = k_seq_load(&o->seq, s->model, src, &o->salt, err);
	o->n_bytes = k_source_pos(src);
	k_source_close(src);
	return rc;
}

void k_order_do(struct k_order *o, const struct k_server *s)
{
	char path[4400];
	snprintf(path, sizeof(path), "%s/%s", s->slot_dir, o->name);
	if (!no_link(o, path, &o->err)) {
		if (o->action == K_SLOT_RESTORE)
			restore(o, s, path, &o->err);
		else
			save(o, path, &o->err);
	}
	if (!o->err.code)
		o->n_tokens = k_seq_len(o->seq);
}

/* --- what came of it ----------------------------------------------------------------------------------------------------------- */

static void answer_fault(struct k_order *o, const struct k_fault *f)
{
	struct k_buf b;
	k_buf_init(&b, 0);
	k_openai_fault(&b, f, "");
	o->out->finish(o->out, f->status, b.data, b.len, f);
	k_buf_fini(&b);
}

void k_order_answer(struct k_order *o, const struct k_fault *f)
{
	struct k_buf b;
	struct k_fault own;
	if (!o->out)
		return;
	k_buf_init(&b, 0);
	k_buf_printf(&b, "{\"id_slot\":%d", o->slot);
	if (*o->name) {
		k_buf_puts(&b, ",\"filename\":");
		k_json_quote(&b, o->name, strlen(o->name));
	}
	k_buf_printf(&b, ",\"%s\":%" PRId64, actions[o->action].count, o->n_tokens);
	if (actions[o->action].bytes)
		k_buf_printf(&b, ",\"%s\":%" PRIu64 ",\"timings\":{\"%s\":%.3f}", actions[o->action].bytes, o->n_bytes, actions[o->action].time,
			(double)(k_now_ns() - o->t_began) / 1e6);
	k_buf_putc(&b, '}');
	if (!f && b.failed) {
		k_no_memory(&own);
		f = &own;
	}
	if (f)
		answer_fault(o, f);
	else
		o->out->finish(o->out, 200, b.data, b.len, NULL);
	k_buf_fini(&b);
	o->out = NULL;
}

void k_order_free(struct k_order *o)
{
	if (o)
		k_seq_free(o->seq);
	k_free(o);
}
