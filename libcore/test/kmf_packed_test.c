/* kmf_packed_test.c: packed containers and deltas, whose blocks are put together here: read from memory (a file) and from a pipe, in
 * whole leaves and in pieces; and every kind of damage. What kmf_pack.c writes is in cmd/test/pack.sh. */
#include "libcore/base.h"
#include <stdio.h>
#include <unistd.h>
#include "libcore/io.h"
#include "libcore/pack.h"
#include "libcore/test.h"
#include "libcore/test/kmf_file.h"
#include "libcore/test/kmf_packed_file.h"

enum { SLICE = 64 * 300 * 2, BIG = 3 * SLICE, N = 4, LEAVES = 5 };

struct box { struct k_json *history; struct k_entry entries[N]; struct k_kmf_head head; const void *data[N]; uint8_t big[BIG]; };

/* A side file, an empty tensor, three experts of which the first and the last are the same, a scalar: leaves 0; 1, 2, 3; 4. */
static void make(struct box *x)
{
	const struct k_qtype *u8 = k_qtype_find("u8", NULL), *f32 = k_qtype_find("f32", NULL), *bf16 = k_qtype_find("bf16", NULL);
	struct k_err err;

	memset(x, 0, sizeof(*x));
	x->entries[0] = (struct k_entry){ .name = "tokenizer.json", .role = "file", .type = u8, .ndim = 1, .shape = { 5 } };
	x->entries[1] = (struct k_entry){ .name = "empty", .role = "other", .type = f32, .ndim = 2, .shape = { 0, 7 } };
	x->entries[2] = (struct k_entry){ .name = "w.*.x", .role = "experts", .type = bf16, .ndim = 3, .shape = { 3, 64, 300 } };
	x->entries[3] = (struct k_entry){ .name = "scalar", .role = "norm", .type = f32, .ndim = 0 };
	for (int i = 0; i < BIG; i++)
		x->big[i] = (uint8_t)(i % SLICE * 37 + i % SLICE / 1000 + (i / SLICE == 1)) & 0x3f;
	for (int i = 0; i < N; i++)
		K_CHECK_OK(k_entry_size(&x->entries[i], &err));
	x->history = k_json_array();
	x->head = (struct k_kmf_head){ .arch = "llama", .config = "{}", .config_len = 2, .n_entries = N, .entries = x->entries, .history = x->history };
	x->data[0] = "hello";
	x->data[1] = "";
	x->data[2] = x->big;
	x->data[3] = "\0\0\x80\x3f";
}

/* --- blocks ------------------------------------------------------------------------------------------------------------- */

static void block(struct k_buf *b, int method, const void *p, size_t n)
{
	uint32_t len = (uint32_t)n;

	k_buf_put(b, &len, 4);
	k_buf_putc(b, (char)method);
	k_buf_put(b, p, n);
}

static void reference(struct k_buf *b, int method, uint64_t leaf) { block(b, method, &leaf, 8); }

static void planes(struct k_buf *b, const struct box *x, int expert)
{
	uint8_t packed[SLICE], scratch[SLICE];
	struct k_pack_fields f;
	struct k_err err;
	size_t len;

	k_pack_fields_of(&x->entries[2], &f);
	K_CHECK_OK(k_pack_encode(packed, &len, x->big + expert * SLICE, SLICE, &f, scratch, &err));
	K_CHECK(len > 0);
	block(b, KMF_PLANES, packed, len);
}

/* Leaf `leaf` the other way, all others as they should be. */
typedef void odd(struct k_buf *b, const struct box *x);
static void put_blocks(struct k_buf *b, const struct box *x, int leaf, odd *other)
{
	for (int i = 0; i < LEAVES; i++) {
		if (i == leaf)
			other(b, x);
		else if (i == 0)
			block(b, KMF_STORED, "hello", 5);
		else if (i < 4)
			planes(b, x, i - 1);
		else
			block(b, KMF_STORED, x->data[3], 4);
	}
}

static void put_file(struct k_buf *file, const struct box *x, int leaf, odd *other, const uint8_t *base)
{
	struct k_buf blocks;
	struct k_err err;

	k_buf_init(&blocks, 0);
	k_buf_init(file, 0);
	put_blocks(&blocks, x, leaf, other);
	K_CHECK_OK(kmf_packed_file(file, &x->head, x->data, base, blocks.data, blocks.len, &err));
	k_buf_fini(&blocks);
}

/* --- reading ------------------------------------------------------------------------------------------------------------ */

static int open_mem(struct k_ckpt **c, const void *p, size_t n, struct k_err *err)
{
	struct k_source *s;

	K_CHECK(k_source_mem(&s, p, n, false, "box.kmf", err) == 0);
	return k_kmf_open(c, s, false, NULL, err);
}

static int open_pipe(struct k_ckpt **c, const void *p, size_t n, struct k_err *err)
{
	struct k_source *s;
	int fd[2];

	K_CHECK(pipe(fd) == 0);
	if (fork() == 0) {
		close(fd[0]);
		_exit(write(fd[1], p, n) != (ssize_t)n);
	}
	close(fd[1]);
	K_CHECK(dup2(fd[0], 0) == 0);
	close(fd[0]);
	K_CHECK(k_source_open(&s, "-", err) == 0);
	return k_kmf_open(c, s, false, NULL, err);
}

/* Everything in order in pieces of `step`; 0: leaf by leaf, in two steps. */
static int read_all(struct k_ckpt *c, const struct box *x, size_t step, struct k_err *err)
{
	static uint8_t buf[BIG];
	bool wrong = false;
	int r = 0;

	for (int i = 0; r == 0 && i < c->n_entries; i++) {
		struct k_leaves l;
		size_t n;

		k_entry_leaves(&c->entries[i], &l);
		for (uint64_t off = 0, begin; r == 0 && off < c->entries[i].bytes; off += n) {
			n = (size_t)K_MIN(c->entries[i].bytes - off, (uint64_t)step);
			if (step) {
				r = k_ckpt_take(c, i, off, buf + off, n, err);
				continue;
			}
			n = (size_t)k_leaf_at(&l, k_leaf_of(&l, off), &begin);
			r = k_ckpt_fetch(c, i, off, buf + off, n, err);
			if (r == 0)
				r = k_ckpt_unpack(c, i, off, buf + off, n, err);
			if (r == 0)
				r = k_ckpt_seen(c, i, off, buf + off, n, err);
		}
		wrong |= r == 0 && memcmp(buf, x->data[i], (size_t)c->entries[i].bytes) != 0;
	}
	if (r == 0)
		r = k_ckpt_finish(c, err);
	return r == 0 && wrong ? k_err_set(err, K_EBUG, "an entry was read wrong, and nobody noticed") : r;
}

/* What reading the file says, from memory and from a pipe; base NULL: none. */
static int read_file(const struct k_buf *file, const struct box *x, struct k_ckpt *base, bool pipe, size_t step, struct k_err *err)
{
	struct k_ckpt *c;
	int r = pipe ? open_pipe(&c, file->data, file->len, err) : open_mem(&c, file->data, file->len, err);

	if (r < 0)
		return r;
	if (base)
		r = k_kmf_set_base(c, base, err);
	if (r == 0)
		r = read_all(c, x, step, err);
	k_ckpt_close(c);
	return r;
}

/* --- tests -------------------------------------------------------------------------------------------------------------- */

static void same_expert(struct k_buf *b, const struct box *x K_UNUSED) { reference(b, KMF_OF_FILE, 1); }
static void plain_expert(struct k_buf *b, const struct box *x) { block(b, KMF_STORED, x->big + SLICE, SLICE); }
static void expert_of_base(struct k_buf *b, const struct box *x K_UNUSED) { reference(b, KMF_OF_BASE, 2); }

K_TEST(kmf_packed_reads)
{
	static const size_t steps[] = { 0, 1 << 20, SLICE, 9998, 7 };
	struct k_buf file, plain;
	uint8_t a[32], b[32];
	struct k_ckpt *c;
	struct k_err err;
	struct box x;

	make(&x);
	k_buf_init(&plain, 0);
	K_CHECK_OK(kmf_file(&plain, &x.head, x.data, &err));
	put_file(&file, &x, 2, plain_expert, NULL);
	for (size_t i = 0; i < K_LEN(steps); i++) {
		K_CHECK_OK(read_file(&file, &x, NULL, false, steps[i], &err));
		K_CHECK_OK(read_file(&file, &x, NULL, true, steps[i], &err));
	}
	K_CHECK_OK(open_mem(&c, plain.data, plain.len, &err));
	K_CHECK_OK(k_kmf_identity(c, a, &err));
	k_ckpt_close(c);
	K_CHECK_OK(open_mem(&c, file.data, file.len, &err));
	K_CHECK_OK(k_kmf_identity(c, b, &err));
	K_CHECK(memcmp(a, b, 32) == 0 && !k_ckpt_map(c, 2));
	k_ckpt_close(c);
	k_buf_fini(&file);
	put_file(&file, &x, 3, same_expert, NULL);
	for (size_t i = 0; i < K_LEN(steps); i++)
		K_CHECK_OK(read_file(&file, &x, NULL, false, steps[i], &err));
	K_CHECK(read_file(&file, &x, NULL, true, 0, &err) == K_EUSAGE && strstr(err.msg, "from a file"));
	k_buf_fini(&file);
	k_buf_fini(&plain);
	k_json_free(x.history);
}

K_TEST(kmf_packed_delta)
{
	struct k_buf file, plain, other;
	uint8_t identity[32];
	struct k_ckpt *base;
	struct k_err err;
	struct box x;

	make(&x);
	k_buf_init(&plain, 0);
	K_CHECK_OK(kmf_file(&plain, &x.head, x.data, &err));
	K_CHECK_OK(open_mem(&base, plain.data, plain.len, &err));
	K_CHECK_OK(k_kmf_identity(base, identity, &err));
	put_file(&file, &x, 2, expert_of_base, identity);
	for (size_t step = 0; step < 10000; step += 5000) {
		K_CHECK_OK(read_file(&file, &x, base, false, step, &err));
		K_CHECK_OK(read_file(&file, &x, base, true, step, &err));
	}
	K_CHECK(read_file(&file, &x, NULL, false, 0, &err) == K_EUSAGE && strstr(err.msg, "is a delta"));
	k_buf_fini(&file);
	/* another base; a base that is none; no delta */
	identity[5] ^= 1;
	put_file(&other, &x, 2, expert_of_base, identity);
	K_CHECK(read_file(&other, &x, base, false, 0, &err) == K_ECHECK && strstr(err.msg, "identity"));
	k_buf_fini(&other);
	put_file(&other, &x, 2, plain_expert, NULL);
	K_CHECK(read_file(&other, &x, base, false, 0, &err) == K_EUSAGE);
	k_buf_fini(&other);
	k_ckpt_close(base);
	k_buf_fini(&plain);
	k_json_free(x.history);
}

static void forward(struct k_buf *b, const struct box *x K_UNUSED) { reference(b, KMF_OF_FILE, 3); }
static void itself(struct k_buf *b, const struct box *x K_UNUSED) { reference(b, KMF_OF_FILE, 2); }
static void far(struct k_buf *b, const struct box *x K_UNUSED) { reference(b, KMF_OF_FILE, UINT64_MAX); }
static void smaller(struct k_buf *b, const struct box *x K_UNUSED) { reference(b, KMF_OF_FILE, 0); }
static void no_delta(struct k_buf *b, const struct box *x K_UNUSED) { reference(b, KMF_OF_BASE, 2); }
static void method(struct k_buf *b, const struct box *x) { block(b, 4, x->big, SLICE); }
static void stored_short(struct k_buf *b, const struct box *x) { block(b, KMF_STORED, x->big + SLICE, SLICE - 1); }
static void stored_long(struct k_buf *b, const struct box *x) { block(b, KMF_STORED, x->big + SLICE, SLICE + 1); }
static void planes_long(struct k_buf *b, const struct box *x) { block(b, KMF_PLANES, x->big, SLICE); }
static void planes_none(struct k_buf *b, const struct box *x K_UNUSED) { block(b, KMF_PLANES, "", 0); }
static void reference_short(struct k_buf *b, const struct box *x K_UNUSED) { block(b, KMF_OF_FILE, "\1\0\0\0", 4); }
static void another(struct k_buf *b, const struct box *x) { planes(b, x, 0); }
static void within_element(struct k_buf *b, const struct box *x K_UNUSED)
{
	static const uint8_t p[] = { 1, 8, 0, 0, 0, 8, 0, 0, 0, 0, 0 };

	block(b, KMF_PLANES, p, sizeof(p));
}

K_TEST(kmf_packed_blocks)
{
	static const struct { odd *other; int code; } rows[] = {
		{ forward, K_EFORMAT }, { itself, K_EFORMAT }, { far, K_EFORMAT }, { smaller, K_EFORMAT }, { no_delta, K_EFORMAT }, { method, K_EFORMAT },
		{ stored_short, K_EFORMAT }, { stored_long, K_EFORMAT }, { planes_long, K_EFORMAT }, { planes_none, K_EFORMAT },
		{ reference_short, K_EFORMAT }, { another, K_ECHECK }, { within_element, K_EFORMAT },
	};
	struct k_buf file;
	struct k_err err;
	struct box x;
	int r;

	make(&x);
	for (size_t i = 0; i < K_LEN(rows); i++) {
		put_file(&file, &x, 2, rows[i].other, NULL);
		for (size_t step = 0; step < 10000; step += 5000) {
			r = read_file(&file, &x, NULL, false, step, &err);
			K_CHECK_MSG(r == rows[i].code, "row %zu: %d, %s", i, r, r ? err.msg : "");
			K_CHECK_MSG(strstr(err.msg, "w.1.x"), "row %zu: %s", i, err.msg);
			r = read_file(&file, &x, NULL, true, step, &err);
			K_CHECK_MSG(r < 0 && r != K_EBUG, "row %zu from a pipe: %d, %s", i, r, r ? err.msg : "");
		}
		k_buf_fini(&file);
	}
	k_json_free(x.history);
}

/* A reference to a reference, and one of a delta beyond its base. */
K_TEST(kmf_packed_references)
{
	struct k_buf file, blocks, plain;
	uint8_t identity[32];
	struct k_ckpt *base;
	struct k_err err;
	struct box x;

	make(&x);
	memcpy(x.big + SLICE, x.big, SLICE);
	k_buf_init(&blocks, 0);
	k_buf_init(&file, 0);
	k_buf_init(&plain, 0);
	block(&blocks, KMF_STORED, "hello", 5);
	planes(&blocks, &x, 0);
	reference(&blocks, KMF_OF_FILE, 1);
	reference(&blocks, KMF_OF_FILE, 2);
	block(&blocks, KMF_STORED, x.data[3], 4);
	K_CHECK_OK(kmf_packed_file(&file, &x.head, x.data, NULL, blocks.data, blocks.len, &err));
	K_CHECK(read_file(&file, &x, NULL, false, 0, &err) == K_EFORMAT && strstr(err.msg, "w.2.x"));
	K_CHECK_OK(kmf_file(&plain, &x.head, x.data, &err));
	K_CHECK_OK(open_mem(&base, plain.data, plain.len, &err));
	K_CHECK_OK(k_kmf_identity(base, identity, &err));
	for (uint64_t leaf = LEAVES - 1; leaf < LEAVES + 1; leaf++) {
		blocks.len = 0;
		file.len = 0;
		block(&blocks, KMF_STORED, "hello", 5);
		for (int i = 0; i < 3; i++)
			reference(&blocks, KMF_OF_BASE, i == 1 ? leaf : 1);
		block(&blocks, KMF_STORED, x.data[3], 4);
		K_CHECK_OK(kmf_packed_file(&file, &x.head, x.data, identity, blocks.data, blocks.len, &err));
		K_CHECK(read_file(&file, &x, base, false, 0, &err) == K_EFORMAT && strstr(err.msg, "w.1.x") && strstr(err.msg, "base"));
	}
	k_ckpt_close(base);
	k_buf_fini(&blocks);
	k_buf_fini(&file);
	k_buf_fini(&plain);
	k_json_free(x.history);
}

/* One bit anywhere, and every length: refused, or nobody's business: nothing is read wrong. */
K_TEST(kmf_packed_damage)
{
	size_t begin = 4096, end;
	struct k_buf file;
	struct k_err err;
	struct box x;
	int r;

	make(&x);
	put_file(&file, &x, 3, same_expert, NULL);
	end = file.len;
	for (size_t i = 0; i < end; i += i < begin ? 211 : i < end - 1000 ? 997 : 1) {
		file.data[i] ^= (char)(1 << i % 8);
		r = read_file(&file, &x, NULL, false, 0, &err);
		K_CHECK_MSG(r == K_EFORMAT || r == K_ECHECK || r == K_EUNSUP || r == K_ETRUNC || (r == 0 && i >= begin && i < end - 1000),
			"byte %zu of %zu: %d", i, end, r);
		file.data[i] ^= (char)(1 << i % 8);
	}
	for (size_t n = 0; n < end; n += 1 + n / 5) {
		struct k_buf cut = { .data = file.data, .len = n };

		r = read_file(&cut, &x, NULL, false, 0, &err);
		K_CHECK_MSG(r == K_ETRUNC || r == K_EFORMAT, "cut at %zu: %d", n, r);
	}
	K_CHECK_OK(read_file(&file, &x, NULL, false, 0, &err));
	k_buf_put(&file, "x", 1);
	K_CHECK(read_file(&file, &x, NULL, false, 0, &err) < 0);
	k_buf_fini(&file);
	k_json_free(x.history);
}
