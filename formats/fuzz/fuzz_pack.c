/* fuzz_pack.c: any bytes are the blocks of a packed container or of a delta, or an error, from a file and from a pipe alike; what unpacks
 * is packed again and unpacked to the same.
 *
 * Digests would stop every change, so the container around the blocks is made here, with an index of what the blocks say themselves, and
 * is read without comparing. An input is the blocks of the entries below; its first byte says whether of a delta. The rest is tried as the
 * packed bytes of one leaf too. */
#include "libcore/base.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "formats/fuzz/fuzz_read.h"
#include "libcore/pack.h"
#include "libcore/test/kmf_file.h"
#include "libcore/test/kmf_packed_file.h"

enum { N = 5, MOST = 1 << 19, PIPE_MOST = 1 << 20 };

const char *const fuzz_seeds[] = {
	"p\5\1\1\1\1helloooooo",
	"d\10\1\1\1\2\1\1\1\1\1\1\1\1\10\1\1\1\3\1\1\1\1\1\1\1\1",
	NULL
};

static void must(int r) { if (r < 0) abort(); }

struct model { struct k_entry entries[N]; struct k_kmf_head head; struct k_json *history; uint64_t bytes; };

/* A side file; experts of two types, whose leaves are alike; a row that is cut; a scalar. */
static void make(struct model *m)
{
	static const struct { const char *name, *role, *type; int ndim; int64_t shape[3]; } rows[N] = {
		{ "LICENSE", "file", "u8", 1, { 5 } }, { "a.*.w", "experts", "bf16", 3, { 3, 8, 16 } }, { "b.*.w", "experts", "i4g32", 3, { 2, 4, 32 } },
		{ "c", "dense", "f32", 2, { 16, 16 } }, { "d", "norm", "f32", 0, { 0 } },
	};
	struct k_err err;

	*m = (struct model){ .history = k_json_array() };
	for (int i = 0; i < N; i++) {
		m->entries[i] = (struct k_entry){ .name = rows[i].name, .role = rows[i].role, .type = k_qtype_find(rows[i].type, NULL), .ndim = rows[i].ndim };
		memcpy(m->entries[i].shape, rows[i].shape, sizeof(rows[i].shape));
		must(k_entry_size(&m->entries[i], &err));
		m->bytes += m->entries[i].bytes;
	}
	m->head = (struct k_kmf_head){ .n_entries = N, .entries = m->entries, .history = m->history };
}

/* Are these the blocks of all leaves, by their own lengths? Then *n ends with them: what is left over, or is not there, a file finds in
 * its index before it reads a block, and a pipe when its blocks are over. */
static bool whole(const struct model *m, const uint8_t *blocks, size_t *n)
{
	uint64_t leaves = 0;
	size_t at = 0;

	for (int i = 0; i < N; i++)
		leaves += kmf_all_leaves(&m->entries[i]);
	for (uint32_t len; leaves > 0 && *n - at >= KMF_BLOCK; leaves--) {
		memcpy(&len, blocks + at, 4);
		if (len > *n - at - KMF_BLOCK)
			return false;
		at += KMF_BLOCK + len;
	}
	if (leaves == 0)
		*n = at;
	return leaves == 0;
}

static int open_pipe(struct k_ckpt **c, const struct k_buf *b, struct k_err *err)
{
	struct k_source *src;
	char name[64];
	int fds[2], r;

	if (pipe(fds) < 0 || fcntl(fds[1], F_SETPIPE_SZ, PIPE_MOST) < 0 || write(fds[1], b->data, b->len) != (ssize_t)b->len)
		abort();
	close(fds[1]);
	snprintf(name, sizeof(name), "/dev/fd/%d", fds[0]);
	r = k_source_open(&src, name, err);
	close(fds[0]);
	return r < 0 ? r : k_kmf_open(c, src, false, NULL, err);
}

/* All bytes of all entries into p; fetched and unpacked leaf by leaf, or read in pieces. */
static int read_all(struct k_ckpt *c, uint8_t *p, size_t step, struct k_err *err)
{
	int r = 0;

	for (int i = 0; r == 0 && i < c->n_entries; p += c->entries[i++].bytes) {
		struct k_leaves l;
		uint64_t begin;
		size_t n;

		k_entry_leaves(&c->entries[i], &l);
		for (uint64_t off = 0; r == 0 && off < c->entries[i].bytes; off += n) {
			n = step ? (size_t)K_MIN(c->entries[i].bytes - off, (uint64_t)step) : (size_t)k_leaf_at(&l, k_leaf_of(&l, off), &begin);
			r = step ? k_ckpt_read(c, i, off, p + off, n, err) : k_ckpt_fetch(c, i, off, p + off, n, err);
			if (r == 0 && !step)
				r = k_ckpt_unpack(c, i, off, p + off, n, err);
		}
	}
	return r;
}

static int read_from(const struct k_buf *b, bool pipe, struct k_ckpt *base, uint8_t *p, size_t step)
{
	struct k_err err = { 0 };
	struct k_source *src;
	struct k_ckpt *c;
	int r;

	if (!pipe)
		must(k_source_mem(&src, b->data, b->len, false, "input", &err));
	r = pipe ? open_pipe(&c, b, &err) : k_kmf_open(&c, src, false, NULL, &err);
	if (r < 0)
		return r;
	if (base && k_kmf_is_delta(c))
		must(k_kmf_set_base(c, base, &err));
	r = read_all(c, p, step, &err);
	k_ckpt_close(c);
	return r;
}

static void try_blocks(const uint8_t *blocks, size_t n, bool delta)
{
	struct k_err err = { 0 };
	struct k_buf plain, file;
	const void *data[N];
	struct k_source *src;
	struct k_ckpt *base;
	struct model m;
	uint8_t identity[32], *a, *b;
	bool complete;
	int r;

	make(&m);
	complete = whole(&m, blocks, &n);
	a = k_calloc(1, (size_t)m.bytes);
	b = k_calloc(1, (size_t)m.bytes);
	if (!a || !b)
		abort();
	for (int i = 0; i < N; i++)
		data[i] = a;
	k_buf_init(&plain, 0);
	k_buf_init(&file, 0);
	must(kmf_file(&plain, &m.head, data, &err));
	must(k_source_mem(&src, plain.data, plain.len, false, "base", &err));
	must(k_kmf_open(&base, src, false, NULL, &err));
	must(k_kmf_identity(base, identity, &err));
	must(kmf_packed_file(&file, &m.head, NULL, delta ? identity : NULL, blocks, n, &err));
	r = read_from(&file, false, base, a, 0);
	if (read_from(&file, false, base, b, 24) != r || (r == 0 && memcmp(a, b, (size_t)m.bytes) != 0))
		abort();
	/* What refers within the file is no pipe's. */
	if (read_from(&file, true, base, b, 0) == 0 && complete && (r < 0 || memcmp(a, b, (size_t)m.bytes) != 0))
		abort();
	k_ckpt_close(base);
	k_buf_fini(&plain);
	k_buf_fini(&file);
	k_json_free(m.history);
	k_free(a);
	k_free(b);
}

/* As one leaf of n bytes: unpacked, packed as its own fields say, unpacked again. */
static void try_leaf(const uint8_t *p, size_t len, size_t n)
{
	uint8_t *dst = k_alloc(n), *scratch = k_alloc(n), *packed = k_alloc(n), *again = k_alloc(n);
	struct k_pack_fields f = { .n = len ? p[0] & 3 : 0 };
	struct k_err err = { 0 };
	size_t out;

	if (!dst || !scratch || !packed || !again)
		abort();
	if (f.n > 0 && k_pack_decode(dst, n, p, len, scratch, &err) == 0) {
		for (int i = 0; i < f.n; i++) {
			memcpy(&f.f[i].bytes, p + 1 + 5 * i, 4);
			f.f[i].width = p[5 + 5 * i] & 0x7f;
			f.f[i].turned = p[5 + 5 * i] >> 7;
		}
		f.numbers = n & 1;
		must(k_pack_encode(packed, &out, dst, n, &f, scratch, &err));
		if (out) {
			must(k_pack_decode(again, n, packed, out, scratch, &err));
			if (memcmp(dst, again, n) != 0)
				abort();
		}
	}
	k_free(dst);
	k_free(scratch);
	k_free(packed);
	k_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 4 || size > MOST)
		return -1;
	try_blocks(data + 1, size - 1, data[0] == 'd');
	try_leaf(data + 3, size - 3, (size_t)data[1] << 8 | data[2]);
	return 0;
}
