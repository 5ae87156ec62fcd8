/* kmf_write.c: a container in one forward pass. The head is complete before the first byte of data: offsets follow from types and
 * shapes. Digests are made in passing and stand at the end.
 *
 *   begin: fixed head, head   put...: padding, bytes, next entry   end: digests, identity, end mark
 */
#include "libcore/base.h"
#include "libcore/hash.h"
#include "libcore/kmf_layout.h"

struct k_kmf_writer {
	struct k_sink *sink;
	struct k_sha256 *hash;
	int entry;                      /* the one that is being filled; n_entries: all are */
	uint64_t done;                  /* bytes of it */
	uint64_t pos;                   /* bytes of the data section, padding included */
	uint64_t start, total;          /* of the data section; of the file */
	uint8_t head_digest[32];
	uint8_t (*digests)[32];
	struct k_kmf_head kept;         /* its entries are the caller's */
};

/* --- head ------------------------------------------------------------------------------------------------------------- */

static void put_member(struct k_buf *b, const char *key, const char *s, size_t n)
{
	k_buf_printf(b, ",\"%s\":", key);
	if (s)
		k_json_quote(b, s, n);
	else
		k_buf_puts(b, "null");
}

static void put_entry(struct k_buf *b, const struct k_entry *e)
{
	k_buf_puts(b, "{\"name\":");
	k_json_quote(b, e->name, strlen(e->name));
	put_member(b, "role", e->role, strlen(e->role));
	put_member(b, "type", e->type->name, strlen(e->type->name));
	put_member(b, "layout", e->type->layout, strlen(e->type->layout));
	k_buf_puts(b, ",\"shape\":[");
	for (int i = 0; i < e->ndim; i++)
		k_buf_printf(b, i ? ",%lld" : "%lld", (long long)e->shape[i]);
	k_buf_printf(b, "],\"offset\":%llu,\"bytes\":%llu", (unsigned long long)e->offset, (unsigned long long)e->bytes);
	if (e->source)
		put_member(b, "source", e->source, strlen(e->source));
	if (e->form)
		put_member(b, "form", e->form, strlen(e->form));
	k_buf_putc(b, '}');
}

static int make_head(struct k_buf *b, const struct k_kmf_head *h, struct k_err *err)
{
	k_buf_puts(b, "{\"kmf\":1");
	put_member(b, "arch", h->arch, h->arch ? strlen(h->arch) : 0);
	put_member(b, "config", h->config, h->config_len);
	k_buf_puts(b, ",\"entries\":[");
	for (int i = 0; i < h->n_entries; i++) {
		if (i)
			k_buf_putc(b, ',');
		put_entry(b, &h->entries[i]);
	}
	k_buf_puts(b, "],\"history\":");
	if (h->history)
		k_json_dump(b, h->history, K_JSON_COMPACT);
	else
		k_buf_puts(b, "[]");
	k_buf_putc(b, '}');
	return k_buf_ok(b, "the head of a container", err);
}

static int write_zeros(struct k_sink *sink, uint64_t n, struct k_err *err)
{
	static const char zeros[4096];

	while (n > 0) {
		size_t part = (size_t)K_MIN(n, sizeof(zeros));

		if (k_sink_write(sink, zeros, part, err) < 0)
			return err->code;
		n -= part;
	}
	return 0;
}

static int write_head(struct k_kmf_writer *w, const struct k_buf *json, uint64_t data_len, struct k_err *err)
{
	uint8_t fixed[KMF_FIXED];
	uint32_t version = K_KMF_VERSION, flags = 0;
	uint64_t head_len = json->len;

	if (k_sha256_once(json->data, json->len, w->head_digest, err) < 0)
		return err->code;
	memcpy(fixed, K_KMF_MAGIC, 8);
	memcpy(fixed + 8, &version, 4);
	memcpy(fixed + 12, &flags, 4);
	memcpy(fixed + 16, &head_len, 8);
	memcpy(fixed + 24, &data_len, 8);
	memcpy(fixed + 32, w->head_digest, 32);
	if (k_sink_write(w->sink, fixed, sizeof(fixed), err) < 0 || k_sink_write(w->sink, json->data, json->len, err) < 0)
		return err->code;
	return write_zeros(w->sink, w->start - KMF_FIXED - head_len, err);
}

/* Offsets of all entries; the length of the data section. */
static int lay_out(const struct k_kmf_head *h, uint64_t *data_len, struct k_err *err)
{
	uint64_t end = 0;

	for (int i = 0; i < h->n_entries; i++) {
		struct k_entry *e = &h->entries[i];

		e->offset = kmf_place(end, e->bytes);
		if (__builtin_add_overflow(e->offset, e->bytes, &end) || end > (uint64_t)1 << 60)
			return k_err_set(err, K_ESHAPE, "%s: the container would be larger than 2^60 bytes", e->name);
	}
	*data_len = end;
	return 0;
}

/* Finished entries behind the current place: the one that is full, and empty ones. */
static void step(struct k_kmf_writer *w)
{
	while (w->entry < w->kept.n_entries && w->done == w->kept.entries[w->entry].bytes) {
		k_sha256_end(w->hash, w->digests[w->entry]);
		w->entry++;
		w->done = 0;
	}
}

int k_kmf_begin(struct k_kmf_writer **out, struct k_sink *sink, const struct k_kmf_head *head, struct k_err *err)
{
	struct k_kmf_writer *w = k_calloc(1, sizeof(*w));
	struct k_buf json;
	uint64_t data_len = 0;

	if (!w)
		return k_err_nomem(err, sizeof(*w), "a container");
	w->sink = sink;
	w->kept = *head;
	w->digests = k_calloc((size_t)head->n_entries + 1, 32);
	k_buf_init(&json, K_KMF_HEAD_MAX);
	if (!w->digests) {
		k_err_nomem(err, 32 * (size_t)head->n_entries, "digests");
		goto fail;
	}
	if (k_sha256_new(&w->hash, err) < 0 || lay_out(head, &data_len, err) < 0 || make_head(&json, head, err) < 0)
		goto fail;
	w->start = kmf_data_start(json.len);
	w->total = w->start + k_align_up(data_len, KMF_ALIGN) + kmf_trailer_len(head->n_entries);
	if (k_sink_reserve(sink, w->total, err) < 0 || write_head(w, &json, data_len, err) < 0)
		goto fail;
	k_buf_fini(&json);
	step(w);
	*out = w;
	return 0;
fail:
	k_buf_fini(&json);
	k_kmf_writer_free(w);
	return err->code;
}

/* --- data ------------------------------------------------------------------------------------------------------------- */

uint64_t k_kmf_total(const struct k_kmf_writer *w) { return w->total; }

int k_kmf_put(struct k_kmf_writer *w, const void *p, size_t n, struct k_err *err)
{
	const char *at = p;

	while (n > 0) {
		const struct k_entry *e = &w->kept.entries[w->entry];
		size_t part;

		if (w->entry == w->kept.n_entries)
			return k_err_set(err, K_EBUG, "'%s': more bytes than the entries hold", k_sink_name(w->sink));
		if (w->done == 0 && write_zeros(w->sink, e->offset - w->pos, err) < 0)
			return err->code;
		if (w->done == 0)
			w->pos = e->offset;
		part = (size_t)K_MIN((uint64_t)n, e->bytes - w->done);
		if (k_sink_write(w->sink, at, part, err) < 0)
			return err->code;
		k_sha256_add(w->hash, at, part);
		at += part;
		n -= part;
		w->done += part;
		w->pos += part;
		step(w);
	}
	return 0;
}

int k_kmf_end(struct k_kmf_writer *w, struct k_err *err)
{
	uint64_t n = (uint64_t)w->kept.n_entries;
	size_t bytes = 32 * (size_t)n;
	uint8_t mark[16];

	if (w->entry != w->kept.n_entries)
		return k_err_set(err, K_EBUG, "'%s': %s is not complete", k_sink_name(w->sink), w->kept.entries[w->entry].name);
	memcpy(mark, KMF_DIGESTS, 8);
	memcpy(mark + 8, &n, 8);
	if (write_zeros(w->sink, k_align_up(w->pos, KMF_ALIGN) - w->pos, err) < 0 || k_sink_write(w->sink, mark, 16, err) < 0 ||
	    k_sink_write(w->sink, w->digests, bytes, err) < 0)
		return err->code;
	k_sha256_add(w->hash, w->head_digest, 32);
	k_sha256_add(w->hash, w->digests, bytes);
	k_sha256_end(w->hash, w->head_digest);
	memcpy(mark, KMF_LAST, 8);
	memcpy(mark + 8, &w->total, 8);
	if (k_sink_write(w->sink, w->head_digest, 32, err) < 0)
		return err->code;
	return k_sink_write(w->sink, mark, KMF_END, err);
}

const uint8_t *k_kmf_writer_digest(const struct k_kmf_writer *w, int entry)
{
	K_ASSERT(entry < w->entry);
	return w->digests[entry];
}

void k_kmf_writer_free(struct k_kmf_writer *w)
{
	if (!w)
		return;
	k_sha256_free(w->hash);
	k_free(w->digests);
	k_free(w);
}
