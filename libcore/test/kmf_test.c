/* kmf_test.c: containers written to memory and read back, from memory (a file) and from a pipe; every kind of damage. */
#include "libcore/base.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "libcore/io.h"
#include "libcore/kmf.h"
#include "libcore/test.h"
#include "libcore/test/kmf_file.h"

enum { BIG = 70000 };

struct box { struct k_buf file; struct k_json *history; struct k_entry entries[4]; unsigned char big[BIG]; };

/* A side file, an empty tensor, a large one, a scalar. */
static void make(struct box *x)
{
	const struct k_qtype *u8 = k_qtype_find("u8", NULL), *f32 = k_qtype_find("f32", NULL), *bf16 = k_qtype_find("bf16", NULL);
	struct k_kmf_head head = { .arch = "llama", .config = "{\"a\": \"\\u00e9\\n\"}", .config_len = 17, .n_entries = 4, .entries = x->entries };
	const void *data[] = { "hello", "", x->big, "\0\0\x80\x3f" };
	struct k_err err;

	memset(x, 0, sizeof(*x));
	x->entries[0] = (struct k_entry){ .name = "tokenizer.json", .role = "file", .type = u8, .ndim = 1, .shape = { 5 } };
	x->entries[1] = (struct k_entry){ .name = "empty", .role = "other", .type = f32, .ndim = 2, .shape = { 0, 7 } };
	x->entries[2] = (struct k_entry){ .name = "w.*.x", .role = "experts", .type = bf16, .ndim = 3, .shape = { 5, 7, BIG / 70 }, .source = "blk.0" };
	x->entries[3] = (struct k_entry){ .name = "scalar", .role = "norm", .type = f32, .ndim = 0, .form = NULL };
	for (int i = 0; i < BIG; i++)
		x->big[i] = (unsigned char)(i * 37 + i / 1000) & 0x3f;
	for (int i = 0; i < 4; i++)
		K_CHECK_OK(k_entry_size(&x->entries[i], &err));
	K_CHECK(x->entries[2].bytes == BIG && x->entries[3].bytes == 4 && x->entries[1].bytes == 0);
	x->history = k_json_array();
	head.history = x->history;
	k_buf_init(&x->file, 0);
	K_CHECK_OK(kmf_file(&x->file, &head, data, &err));
}

static void unmake(struct box *x)
{
	k_json_free(x->history);
	k_buf_fini(&x->file);
}

static int open_mem(struct k_ckpt **c, const void *p, size_t n, bool map, struct k_err *err)
{
	struct k_source *s;

	K_CHECK(k_source_mem(&s, p, n, false, "box.kmf", err) == 0);
	return k_kmf_open(c, s, map, NULL, err);
}

/* The same through a pipe: a child writes. */
static int open_pipe(struct k_ckpt **c, const void *p, size_t n, struct k_err *err)
{
	struct k_source *s;
	int fd[2];

	K_CHECK(pipe(fd) == 0);
	if (fork() == 0) {
		close(fd[0]);
		for (size_t at = 0; at < n;) {
			ssize_t k = write(fd[1], (const char *)p + at, n - at);

			if (k <= 0)
				_exit(1);
			at += (size_t)k;
		}
		_exit(0);
	}
	close(fd[1]);
	K_CHECK(dup2(fd[0], 0) == 0);
	close(fd[0]);
	K_CHECK(k_source_open(&s, "-", err) == 0);
	return k_kmf_open(c, s, false, NULL, err);
}

/* Reads everything in order, in odd pieces. */
static int read_all(struct k_ckpt *c, const struct box *x, bool same, struct k_err *err)
{
	const char *want[] = { "hello", "", (const char *)x->big, "\0\0\x80\x3f" };
	char buf[BIG];

	for (int i = 0; i < c->n_entries; i++) {
		uint64_t bytes = c->entries[i].bytes;

		for (uint64_t off = 0; off < bytes;) {
			size_t n = (size_t)K_MIN(bytes - off, 9998);
			int r = k_ckpt_take(c, i, off, buf + off, n, err);

			if (r < 0)
				return r;
			off += n;
		}
		K_CHECK(!same || memcmp(buf, want[i], bytes) == 0);
	}
	return k_ckpt_finish(c, err);
}

K_TEST(kmf_reads_what_it_wrote)
{
	struct box x;
	struct k_ckpt *c;
	struct k_err err;
	uint8_t a[32], b[32];

	make(&x);
	for (int how = 0; how < 3; how++) {
		if (how < 2)
			K_CHECK_OK(open_mem(&c, x.file.data, x.file.len, how == 1, &err));
		else
			K_CHECK_OK(open_pipe(&c, x.file.data, x.file.len, &err));
		K_CHECK(c->n_entries == 4 && !strcmp(c->arch, "llama") && c->config_len == 17 && c->sequential == (how == 2));
		K_CHECK(!strcmp(c->entries[2].name, "w.*.x") && !strcmp(c->entries[2].source, "blk.0") && !c->entries[3].source);
		K_CHECK(c->entries[2].offset % 4096 == 0 && c->entries[3].offset % 64 == 0);
		if (how == 1)
			K_CHECK(memcmp(k_ckpt_map(c, 2), x.big, BIG) == 0);
		K_CHECK_OK(read_all(c, &x, true, &err));
		K_CHECK_OK(k_kmf_identity(c, how ? b : a, &err));
		K_CHECK(how == 0 || memcmp(a, b, 32) == 0);
		k_ckpt_close(c);
	}
	unmake(&x);
}

K_TEST(kmf_files_come_with_the_config)
{
	const struct k_files *files;
	const struct k_file *f;
	struct k_ckpt *c;
	struct k_err err;
	struct box x;

	make(&x);
	K_CHECK_OK(open_pipe(&c, x.file.data, x.file.len, &err));
	K_CHECK_OK(k_ckpt_files(c, &files, &err));
	f = k_files_find(files, "tokenizer.json");
	K_CHECK(f && f->len == 5 && !memcmp(f->data, "hello", 6) && k_files_find(files, "config.json"));
	k_ckpt_close(c);
	unmake(&x);
}

/* Whatever single byte is wrong, somebody notices before the end. */
K_TEST(kmf_damage_is_noticed)
{
	struct k_ckpt *c;
	struct k_err err;
	struct box x;

	make(&x);
	for (size_t at = 0; at < x.file.len; at += at < 1200 ? 1 : 997) {
		int r;

		x.file.data[at] ^= 0x10;
		r = open_mem(&c, x.file.data, x.file.len, false, &err);
		if (r == 0) {
			r = read_all(c, &x, false, &err);
			k_ckpt_close(c);
		}
		x.file.data[at] ^= 0x10;
		K_CHECK_MSG(k_err_exit(r) == 3 || k_err_exit(r) == 4, "byte %zu: %s", at, err.msg);
	}
	unmake(&x);
}

K_TEST(kmf_a_cut_pipe_fails)
{
	static const size_t cuts[] = { 0, 10, 63, 64, 500, 4096, 5000, 40000 };
	struct k_ckpt *c;
	struct k_err err;
	struct box x;

	make(&x);
	for (size_t i = 0; i < K_LEN(cuts) + 2; i++) {
		size_t n = i < K_LEN(cuts) ? cuts[i] : x.file.len - (i == K_LEN(cuts) ? 1 : 17);
		int r = open_pipe(&c, x.file.data, n, &err);

		if (r == 0) {
			r = read_all(c, &x, true, &err);
			k_ckpt_close(c);
		}
		K_CHECK_MSG(r == K_ETRUNC, "%zu bytes: %d", n, r);
		K_CHECK(open_mem(&c, x.file.data, n, true, &err) < 0);
	}
	unmake(&x);
}

/* Every beginning of a container is refused, read or mapped. */
K_TEST(kmf_cut_anywhere_is_refused)
{
	struct k_ckpt *c;
	struct k_err err;
	struct box x;

	make(&x);
	for (size_t n = 0; n < x.file.len; n += n < 1200 || n > x.file.len - 300 ? 1 : 997) {
		K_CHECK_MSG(k_err_exit(open_mem(&c, x.file.data, n, true, &err)) == 3, "%zu bytes: %s", n, err.msg);
		K_CHECK_MSG(k_err_exit(open_mem(&c, x.file.data, n, false, &err)) == 3, "%zu bytes: %s", n, err.msg);
	}
	unmake(&x);
}

/* A long tensor is several leaves: the wrong one is named, by whichever way it is read. */
K_TEST(kmf_names_the_leaf)
{
	static float values[4][300 * 1000];
	struct k_entry e = { .name = "x.*.w", .role = "experts", .type = k_qtype_find("f32", NULL), .ndim = 3, .shape = { 4, 600, 500 } };
	struct k_kmf_head head = { .n_entries = 1, .entries = &e };
	const void *data[] = { values };
	struct k_leaves l;
	struct k_err err;
	struct k_ckpt *c;
	struct k_buf file;
	uint64_t off;

	for (size_t i = 0; i < sizeof(values) / 4; i++)
		((float *)values)[i] = (float)i;
	K_CHECK_OK(k_entry_size(&e, &err));
	k_entry_leaves(&e, &l);
	K_CHECK(l.span == 1200000 && l.leaf == 1024000 * 2 && l.per_span == 1 && l.n == 4);
	e.shape[0] = 1;
	e.shape[1] = 2400;
	k_entry_leaves(&e, &l);
	K_CHECK(l.span == 4800000 && l.leaf == 2048000 && l.per_span == 3 && l.n == 3 && k_leaf_at(&l, 2, &off) == 704000 && off == 4096000);
	K_CHECK(k_leaf_of(&l, 4799999) == 2 && k_leaf_of(&l, 2047999) == 0);
	k_buf_init(&file, 0);
	K_CHECK_OK(kmf_file(&file, &head, data, &err));
	file.data[4096 + 3 * 1024000] ^= 1;
	for (int how = 0; how < 2; how++) {
		static char part[4800000];
		int r;

		K_CHECK_OK(how ? open_pipe(&c, file.data, file.len, &err) : open_mem(&c, file.data, file.len, false, &err));
		r = k_ckpt_read(c, 0, 0, part, sizeof(part), &err);
		K_CHECK(r == 0);
		r = k_ckpt_seen(c, 0, 0, part, sizeof(part), &err);
		if (r == 0)
			r = k_ckpt_finish(c, &err);
		K_CHECK(r == K_ECHECK);
		K_CHECK_MSG(strstr(err.msg, "x.0.w") && strstr(err.msg, "rows from 1024 on"), "%s", err.msg);
		k_ckpt_close(c);
	}
	k_buf_fini(&file);
}
