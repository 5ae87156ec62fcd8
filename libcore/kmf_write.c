/* kmf_write.c: what a container has beside the data: places and head before, digests behind. The head is complete before the first
 * byte of data, because offsets follow from types and shapes.
 *
 *   new: places, head   note...: digests of leaves, in any order, by many threads   trailer: leaf digests, entry digests, identity, end mark
 */
#include "libcore/base.h"
#include "libcore/hash.h"
#include "libcore/kmf_layout.h"

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
	k_buf_puts(b, "{\"kmf\":2");
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

/* The fixed head, the JSON, zeros: everything before the data. */
static int put_head(struct k_kmf_plan *p, const struct k_buf *json, uint64_t data_len, struct k_err *err)
{
	uint8_t fixed[KMF_FIXED];
	uint32_t version = K_KMF_VERSION, flags = 0;
	uint64_t head_len = json->len;

	if (k_sha256_once(json->data, json->len, p->head_digest, err) < 0)
		return err->code;
	memcpy(fixed, K_KMF_MAGIC, 8);
	memcpy(fixed + 8, &version, 4);
	memcpy(fixed + 12, &flags, 4);
	memcpy(fixed + 16, &head_len, 8);
	memcpy(fixed + 24, &data_len, 8);
	memcpy(fixed + 32, p->head_digest, 32);
	k_buf_put(&p->head, fixed, sizeof(fixed));
	k_buf_put(&p->head, json->data, json->len);
	while (p->head.len < p->start && !p->head.failed)
		k_buf_putc(&p->head, 0);
	return k_buf_ok(&p->head, "the head of a container", err);
}

static int count_leaves(struct k_kmf_plan *p, struct k_err *err)
{
	p->first = k_calloc((size_t)p->n_entries + 1, sizeof(*p->first));
	if (!p->first)
		return k_err_nomem(err, (size_t)p->n_entries * sizeof(*p->first), "digests");
	for (int i = 0; i < p->n_entries; i++) {
		struct k_leaves l;

		k_entry_leaves(&p->entries[i], &l);
		p->first[i + 1] = p->first[i] + l.n;
		p->n_leaves += kmf_leaves(&p->entries[i]);
	}
	p->leaves = k_calloc((size_t)p->first[p->n_entries] + 1, 32);
	return p->leaves ? 0 : k_err_nomem(err, 32 * (size_t)p->first[p->n_entries], "digests");
}

int k_kmf_plan_new(struct k_kmf_plan **out, const struct k_kmf_head *head, struct k_err *err)
{
	struct k_kmf_plan *p = k_calloc(1, sizeof(*p));
	struct k_buf json;
	uint64_t data_len = 0;

	*out = NULL;
	if (!p)
		return k_err_nomem(err, sizeof(*p), "a container");
	p->entries = head->entries;
	p->n_entries = head->n_entries;
	k_buf_init(&p->head, 0);
	k_buf_init(&json, K_KMF_HEAD_MAX);
	if (lay_out(head, &data_len, err) < 0 || make_head(&json, head, err) < 0 || count_leaves(p, err) < 0)
		goto fail;
	p->start = kmf_data_start(json.len);
	p->trailer_at = p->start + k_align_up(data_len, KMF_ALIGN);
	p->total = p->trailer_at + kmf_trailer_len(p->n_entries, p->n_leaves);
	if (put_head(p, &json, data_len, err) < 0)
		goto fail;
	k_buf_fini(&json);
	*out = p;
	return 0;
fail:
	k_buf_fini(&json);
	k_kmf_plan_free(p);
	return err->code;
}

void k_kmf_plan_free(struct k_kmf_plan *p)
{
	if (!p)
		return;
	k_buf_fini(&p->head);
	k_free(p->first);
	k_free(p->leaves);
	k_free(p);
}

/* --- digests ------------------------------------------------------------------------------------------------------------ */

int k_kmf_plan_note(struct k_kmf_plan *p, int entry, uint64_t off, const void *bytes, size_t n, struct k_err *err)
{
	const char *at = bytes;
	struct k_leaves l;

	k_entry_leaves(&p->entries[entry], &l);
	while (n > 0) {
		uint64_t leaf = k_leaf_of(&l, off), begin, size = k_leaf_at(&l, leaf, &begin);

		K_ASSERT(begin == off && size <= n);
		if (k_sha256_once(at, (size_t)size, p->leaves[p->first[entry] + leaf], err) < 0)
			return err->code;
		at += size;
		off += size;
		n -= (size_t)size;
	}
	return 0;
}

void k_kmf_plan_note_leaf(struct k_kmf_plan *p, int entry, uint64_t off, const uint8_t digest[32])
{
	struct k_leaves l;

	k_entry_leaves(&p->entries[entry], &l);
	memcpy(p->leaves[p->first[entry] + k_leaf_of(&l, off)], digest, 32);
}

int k_kmf_plan_digest(const struct k_kmf_plan *p, int entry, uint8_t out[32], struct k_err *err)
{
	uint64_t n = p->first[entry + 1] - p->first[entry];

	if (n != 1)
		return k_sha256_once(p->leaves + p->first[entry], (size_t)n * 32, out, err);
	memcpy(out, p->leaves[p->first[entry]], 32);
	return 0;
}

int k_kmf_plan_trailer(const struct k_kmf_plan *p, struct k_buf *b, struct k_err *err)
{
	uint64_t counts[2] = { (uint64_t)p->n_entries, p->n_leaves };
	size_t digests;
	uint8_t digest[32];
	struct k_sha256 *h;

	k_buf_put(b, KMF_DIGESTS, 8);
	k_buf_put(b, counts, sizeof(counts));
	for (int i = 0; i < p->n_entries; i++)
		k_buf_put(b, p->leaves + p->first[i], 32 * (size_t)kmf_leaves(&p->entries[i]));
	digests = b->len;
	for (int i = 0; i < p->n_entries; i++) {
		if (k_kmf_plan_digest(p, i, digest, err) < 0)
			return err->code;
		k_buf_put(b, digest, 32);
	}
	if (k_buf_ok(b, "the digests", err) < 0 || k_sha256_new(&h, err) < 0)
		return err->code;
	k_sha256_add(h, p->head_digest, 32);
	k_sha256_add(h, b->data + digests, b->len - digests);
	k_sha256_end(h, digest);
	k_sha256_free(h);
	k_buf_put(b, digest, 32);
	k_buf_put(b, KMF_LAST, 8);
	k_buf_put(b, &p->total, 8);
	return k_buf_ok(b, "the digests", err);
}
