/* fuzz_kmf.c: any bytes are a container or an error, from a file, a map and a pipe alike; what is read and written again is read again
 * and written to the same bytes.
 *
 * A change anywhere breaks a digest, and nothing behind that check would ever be tried. So an input is tried as it is, then sealed: its
 * head and data get the digests, the trailer and the end mark that fit, the second time with offsets and sizes that follow from its
 * shapes too. An input that begins with '{' is a head alone; zeros and what stands behind its first NUL are the data. */
#include "libcore/base.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "formats/fuzz/fuzz_read.h"
#include "libcore/hash.h"
#include "libcore/kmf_layout.h"
#include "libcore/test/kmf_file.h"

enum { DATA_MOST = 1 << 18, HASH_MOST = 8 << 20, PIPE_MOST = 1 << 20 };

const char *const fuzz_seeds[] = {
	"{\"kmf\":2,\"arch\":null,\"config\":\"{\\\"a\\\": 1}\",\"entries\":["
	"{\"name\":\"LICENSE\",\"role\":\"file\",\"type\":\"u8\",\"layout\":\"rows\",\"shape\":[5],\"offset\":0,\"bytes\":5},"
	"{\"name\":\"x\",\"role\":\"other\",\"type\":\"f32\",\"layout\":\"rows\",\"shape\":[2,32],\"offset\":64,\"bytes\":256,"
	"\"source\":\"a\",\"form\":\"ct.i64\"},"
	"{\"name\":\"x.*.w\",\"role\":\"experts\",\"type\":\"i4g32\",\"layout\":\"x16\",\"shape\":[2,16,64],\"offset\":320,\"bytes\":1152},"
	"{\"name\":\"f\",\"role\":\"dense\",\"type\":\"fp8b128\",\"layout\":\"rows\",\"shape\":[3,5],\"offset\":1472,\"bytes\":19},"
	"{\"name\":\"m\",\"role\":\"shared\",\"type\":\"mxfp4\",\"layout\":\"rows\",\"shape\":[1,32],\"offset\":1536,\"bytes\":17},"
	"{\"name\":\"q\",\"role\":\"head\",\"type\":\"q4_k\",\"layout\":\"rows\",\"shape\":[1,256],\"offset\":1600,\"bytes\":144}"
	"],\"history\":[{\"step\":\"convert\",\"format\":1}]}",
	"{\"kmf\":2,\"arch\":\"kimi_linear\",\"config\":null,\"entries\":["
	"{\"name\":\"a\",\"role\":\"norm\",\"type\":\"bf16\",\"layout\":\"rows\",\"shape\":[],\"offset\":0,\"bytes\":2},"
	"{\"name\":\"b\",\"role\":\"embed\",\"type\":\"i8row\",\"layout\":\"rows\",\"shape\":[3,7],\"offset\":64,\"bytes\":33},"
	"{\"name\":\"c\",\"role\":\"attn\",\"type\":\"i4g32\",\"layout\":\"rows\",\"shape\":[0,32],\"offset\":128,\"bytes\":0},"
	"{\"name\":\"d\",\"role\":\"kda\",\"type\":\"u8\",\"layout\":\"rows\",\"shape\":[65536],\"offset\":4096,\"bytes\":65536},"
	"{\"name\":\"e\",\"role\":\"router\",\"type\":\"mxfp4\",\"layout\":\"gguf\",\"shape\":[1,1,1,1,1,1,2,32],\"offset\":69632,\"bytes\":34}"
	"],\"history\":[]}",
	NULL
};

static void must(int r) { if (r < 0) abort(); }

/* --- writing again ------------------------------------------------------------------------------------------------------ */

/* A sound container -> its bytes as this build writes them. */
static void write_again(struct k_buf *out, struct k_ckpt *c)
{
	struct k_kmf_head head = { c->arch, c->config, c->config_len, c->n_entries, c->entries, c->history };
	void **data = k_calloc((size_t)c->n_entries + 1, sizeof(*data));
	struct k_err err = { 0 };

	if (!data)
		abort();
	for (int i = 0; i < c->n_entries; i++) {
		data[i] = k_alloc((size_t)c->entries[i].bytes);
		if (!data[i])
			abort();
		must(k_ckpt_read(c, i, 0, data[i], (size_t)c->entries[i].bytes, &err));
	}
	must(kmf_file(out, &head, (const void *const *)data, &err));
	for (int i = 0; i < c->n_entries; i++)
		k_free(data[i]);
	k_free(data);
}

static void write_twice(struct k_ckpt *c)
{
	struct k_err err = { 0 };
	struct k_buf once, twice;
	struct k_source *src;
	struct k_ckpt *again;

	k_buf_init(&once, 0);
	k_buf_init(&twice, 0);
	write_again(&once, c);
	must(k_source_mem(&src, once.data, once.len, false, "written", &err));
	must(k_kmf_open(&again, src, true, NULL, &err));
	for (int i = 0; i < c->n_entries; i++)
		if (!k_ckpt_map(again, i) || again->entries[i].offset != c->entries[i].offset)
			abort();
	write_again(&twice, again);
	if (once.len != twice.len || memcmp(once.data, twice.data, once.len) != 0)
		abort();
	k_ckpt_close(again);
	k_buf_fini(&once);
	k_buf_fini(&twice);
}

/* --- reading ------------------------------------------------------------------------------------------------------------ */

/* Opens src and reads all of it; true when it is sound. */
static bool read_from(struct k_source *src, bool map)
{
	struct k_err err = { 0 };
	struct k_ckpt *c;
	bool sound;

	if (k_kmf_open(&c, src, map, NULL, &err) < 0)
		return false;
	sound = fuzz_read_all(c, &err) == 0;
	if (sound && !c->sequential)
		write_twice(c);
	k_ckpt_close(c);
	return sound;
}

static bool read_file(const uint8_t *p, size_t n, bool map)
{
	struct k_err err = { 0 };
	struct k_source *src;

	must(k_source_mem(&src, p, n, false, "input", &err));
	return read_from(src, map);
}

/* The same from a pipe that holds all of it; `as` where there is none that large. */
static bool read_pipe(const uint8_t *p, size_t n, bool as)
{
	struct k_err err = { 0 };
	struct k_source *src;
	char name[64];
	int fds[2];

	if (n > PIPE_MOST || pipe(fds) < 0)
		return as;
	if ((n > 65536 && fcntl(fds[1], F_SETPIPE_SZ, PIPE_MOST) < 0) || write(fds[1], p, n) != (ssize_t)n) {
		close(fds[0]);
		close(fds[1]);
		return as;
	}
	close(fds[1]);
	snprintf(name, sizeof(name), "/dev/fd/%d", fds[0]);
	if (k_source_open(&src, name, &err) == 0)
		as = read_from(src, false);
	close(fds[0]);
	return as;
}

static void try_container(const uint8_t *p, size_t n)
{
	bool sound = read_file(p, n, false);

	if (read_file(p, n, true) != sound || read_pipe(p, n, sound) != sound)
		abort();
}

/* --- sealing ------------------------------------------------------------------------------------------------------------ */

static uint64_t size_of(const struct k_json *entry, const char *key)
{
	int64_t v = k_json_int(k_json_find(entry, key));

	return v > 0 && v < DATA_MOST ? (uint64_t)v : 0;
}

/* Offsets and sizes of the entries that have a shape and a type; false when there is none. */
static bool lay_out(struct k_json *entries)
{
	struct k_err err = { 0 };
	uint64_t end = 0;

	for (size_t i = 0; i < k_json_len(entries); i++) {
		struct k_json *v = k_json_at(entries, i), *shape = k_json_find(v, "shape");
		const char *type = k_json_string(k_json_find(v, "type")), *layout = k_json_string(k_json_find(v, "layout"));
		struct k_entry e = { .name = "input", .type = type ? k_qtype_find(type, layout) : NULL, .ndim = (int)K_MIN(k_json_len(shape), 8u) };

		for (int k = 0; k < e.ndim; k++)
			e.shape[k] = k_json_int(k_json_at(shape, (size_t)k));
		if (k_json_kind(v) != K_JSON_OBJECT || !e.type || k_entry_size(&e, &err) < 0 || e.bytes > DATA_MOST || end > DATA_MOST)
			return false;
		e.offset = kmf_place(end, e.bytes);
		end = e.offset + e.bytes;
		must(k_json_set(v, "offset", k_json_new_int((int64_t)e.offset)));
		must(k_json_set(v, "bytes", k_json_new_int((int64_t)e.bytes)));
	}
	return k_json_len(entries) > 0;
}

static void put_zeros(struct k_buf *b, uint64_t until)
{
	while (b->len < until)
		k_buf_putc(b, 0);
}

/* The entry as its JSON has it; its size when that can be. */
static struct k_entry entry_of(const struct k_json *v)
{
	const struct k_json *shape = k_json_find(v, "shape");
	const char *type = k_json_string(k_json_find(v, "type")), *layout = k_json_string(k_json_find(v, "layout")), *name = k_json_string(k_json_find(v, "name"));
	struct k_entry e = { .name = name ? name : "input", .type = type ? k_qtype_find(type, layout) : NULL, .ndim = (int)K_MIN(k_json_len(shape), 8u) };
	struct k_err err = { 0 };

	for (int k = 0; k < e.ndim; k++)
		e.shape[k] = k_json_int(k_json_at(shape, (size_t)k));
	if (!e.type || k_entry_size(&e, &err) < 0)
		e.bytes = 0;
	return e;
}

/* Digests of an entry's leaves behind leaves, and its own. What is too much to hash gets a wrong one. */
static void hash_entry(struct k_buf *leaves, const struct k_json *v, const char *data, uint64_t data_len, uint64_t *hashed, uint8_t out[32])
{
	uint64_t off = K_MIN(size_of(v, "offset"), data_len), bytes = K_MIN(size_of(v, "bytes"), data_len - off);
	struct k_entry e = entry_of(v);
	size_t before = leaves->len;
	struct k_err err = { 0 };
	struct k_leaves l = { .n = 0 };

	*hashed += bytes;
	if (e.bytes == bytes && bytes)
		k_entry_leaves(&e, &l);
	if (*hashed > HASH_MOST || l.n < 2 || l.n > 4096) {
		must(k_sha256_once(data + off, *hashed > HASH_MOST ? 0 : bytes, out, &err));
		return;
	}
	for (uint64_t i = 0; i < l.n; i++) {
		uint64_t at, n = k_leaf_at(&l, i, &at);

		must(k_sha256_once(data + off + at, n, out, &err));
		k_buf_put(leaves, out, 32);
	}
	must(k_sha256_once(leaves->data + before, leaves->len - before, out, &err));
}

/* Trailer and end mark behind the data, which begin at `start`. */
static void put_trailer(struct k_buf *b, const struct k_json *entries, const uint8_t head_digest[32], size_t start)
{
	uint64_t n = k_json_len(entries), m, data_len = b->len - start, hashed = 0, total;
	struct k_buf leaves, all;
	struct k_err err = { 0 };
	uint8_t digest[32];

	k_buf_init(&leaves, 0);
	k_buf_init(&all, 0);
	k_buf_put(&all, head_digest, 32);
	for (size_t i = 0; i < n; i++) {
		/* Entries that overlap are refused before a digest is looked at. */
		hash_entry(&leaves, k_json_at(entries, i), b->data + start, data_len, &hashed, digest);
		k_buf_put(&all, digest, 32);
	}
	must(k_sha256_once(all.data, all.len, digest, &err));
	m = leaves.len / 32;
	put_zeros(b, start + k_align_up(data_len, KMF_ALIGN));
	k_buf_put(b, KMF_DIGESTS, 8);
	k_buf_put(b, &n, 8);
	k_buf_put(b, &m, 8);
	k_buf_put(b, leaves.data, leaves.len);
	k_buf_put(b, all.data + 32, all.len - 32);
	k_buf_put(b, digest, 32);
	k_buf_put(b, KMF_LAST, 8);
	total = b->len + 8;
	k_buf_put(b, &total, 8);
	k_buf_fini(&leaves);
	k_buf_fini(&all);
}

/* A whole container of a head and data, with everything that a digest protects made to fit. */
static void seal(const char *text, size_t len, const struct k_json *entries, const uint8_t *data, size_t size)
{
	struct k_err err = { 0 };
	uint64_t data_len = 0, head_len = len;
	uint32_t version[2] = { K_KMF_VERSION, 0 };
	uint8_t digest[32];
	size_t start = (size_t)kmf_data_start(len);
	struct k_buf b;

	for (size_t i = 0; i < k_json_len(entries); i++) {
		uint64_t end = size_of(k_json_at(entries, i), "offset") + size_of(k_json_at(entries, i), "bytes");

		data_len = K_MAX(data_len, end);
	}
	k_buf_init(&b, 0);
	must(k_sha256_once(text, len, digest, &err));
	k_buf_put(&b, K_KMF_MAGIC, 8);
	k_buf_put(&b, version, 8);
	k_buf_put(&b, &head_len, 8);
	k_buf_put(&b, &data_len, 8);
	k_buf_put(&b, digest, 32);
	k_buf_put(&b, text, len);
	put_zeros(&b, start);
	k_buf_put(&b, data, (size_t)K_MIN((uint64_t)size, data_len));
	put_zeros(&b, start + data_len);
	put_trailer(&b, entries, digest, start);
	must(k_buf_ok(&b, "a container", &err));
	try_container((const uint8_t *)b.data, b.len);
	k_buf_fini(&b);
}

static void try_sealed(const char *text, size_t len, const uint8_t *data, size_t size)
{
	struct k_json *head, *entries;
	struct k_err err = { 0 };
	struct k_buf b;

	if (k_json_parse(&head, text, len, K_JSON_STRICT, "input", &err) < 0)
		return;
	entries = k_json_find(head, "entries");
	seal(text, len, entries, data, size);
	if (lay_out(entries)) {
		k_buf_init(&b, 0);
		k_json_dump(&b, head, K_JSON_COMPACT);
		must(k_buf_ok(&b, "a head", &err));
		seal(b.data, b.len, entries, data, size);
		k_buf_fini(&b);
	}
	k_json_free(head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t head_len, start;

	if (size > 0 && data[0] == '{') {
		size_t len = strnlen((const char *)data, size), skip = K_MIN(len + 1, size);

		try_sealed((const char *)data, len, data + skip, size - skip);
		return 0;
	}
	if (size < KMF_FIXED || memcmp(data, K_KMF_MAGIC, 4) != 0) {
		read_file(data, size, false);
		return -1;
	}
	try_container(data, size);
	memcpy(&head_len, data + 16, 8);
	if (head_len <= size - KMF_FIXED) {
		start = K_MIN(kmf_data_start(head_len), (uint64_t)size);
		try_sealed((const char *)data + KMF_FIXED, (size_t)head_len, data + start, size - (size_t)start);
	}
	return 0;
}
