/* safetensors_test.c: heads good and bad, one file written and read back, and the splitting of joined types from a checkpoint that
 * can be read only once, in order. */
#include "libcore/base.h"
#include "formats/st.h"
#include "formats/test/same.h"
#include "libcore/hash.h"
#include "libcore/qtype.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static const struct k_ctx no_ctx;

static const char *in_dir(const char *name)
{
	static char paths[4][700];
	static int turn;
	char *p = paths[turn++ % 4];

	snprintf(p, sizeof(paths[0]), "%s/%s", k_test_dir(), name);
	return p;
}

static void put(const char *path, const void *p, size_t n)
{
	FILE *f = fopen(path, "wb");

	K_CHECK(f && fwrite(p, 1, n, f) == n && !fclose(f));
}

static void get(const char *path, struct k_buf *b)
{
	struct k_err err;

	k_buf_init(b, 0);
	K_CHECK_OK(k_read_file(path, b, 1 << 26, &err));
}

/* The example of the format's description, byte by byte. */
static const char two_head[] = "\x90\0\0\0\0\0\0\0{\"__metadata__\":{\"format\":\"pt\"},"
	"\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
	"\"a\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[8,16]}}  ";
static const char two_data[] = "\x00\x00\x80\x3f\x00\x00\x00\xc0\x80\x3f\x00\xc0\x00\x00\x00\x3f";
#define TWO_SHA "ec5baaa5ab34b65bac17642e42f0542c2577cc087ba76e65d6e7a0b686b762b1"

static size_t make_two(char *p)
{
	memcpy(p, two_head, 152);
	memcpy(p + 152, two_data, 16);
	return 168;
}

static void sha_of(const char *path, char hex[65])
{
	uint8_t digest[32];
	struct k_err err;
	struct k_buf b;

	get(path, &b);
	K_CHECK_OK(k_sha256_once(b.data, b.len, digest, &err));
	k_hex(hex, digest);
	k_buf_fini(&b);
}

static int open_bytes(const void *p, size_t n, struct k_err *err)
{
	struct k_ckpt *c;
	int r;

	put(in_dir("bytes"), p, n);
	r = k_format_open(&c, in_dir("bytes"), false, &no_ctx, err);
	if (r == 0)
		k_ckpt_close(c);
	return r;
}

K_TEST(safetensors_example_is_read_and_written)
{
	struct k_write_opts keep = { 0 };
	char file[200], hex[65];
	struct k_ckpt *c;
	struct k_err err;
	float v[2];

	put(in_dir("two"), file, make_two(file));
	sha_of(in_dir("two"), hex);
	K_CHECK(!strcmp(hex, TWO_SHA));
	c = k_same_open(in_dir("two"));
	K_CHECK(c->n_entries == 2 && !c->arch && !c->config && !strcmp(c->entries[0].name, "b") && c->entries[1].shape[1] == 2);
	K_CHECK_OK(k_ckpt_read(c, 0, 0, v, 8, &err));
	K_CHECK(v[0] == 1 && v[1] == -2);
	K_CHECK_OK(k_same_write("safetensors", c, in_dir("again"), &keep, &err));
	k_ckpt_close(c);
	sha_of(in_dir("again"), hex);
	K_CHECK(!strcmp(hex, TWO_SHA));
}

K_TEST(safetensors_cut_anywhere_is_refused)
{
	char file[200];
	size_t n = make_two(file);
	struct k_err err;

	K_CHECK(open_bytes(file, n, &err) == 0);
	for (size_t i = 0; i < n; i++)
		K_CHECK_MSG(k_err_exit(open_bytes(file, i, &err)) == 3, "%zu bytes: %s", i, err.msg);
	file[n] = 0;
	K_CHECK(k_err_exit(open_bytes(file, n + 1, &err)) == 3 && strstr(err.msg, "17 bytes"));
}

/* Nothing crashes, and what is still accepted has the same data. */
K_TEST(safetensors_any_byte_of_the_head_changed)
{
	char file[200];
	struct k_err err;
	size_t n = make_two(file);

	for (size_t i = 0; i < 152; i++)
		for (int bit = 0; bit < 8; bit++) {
			int code;

			make_two(file);
			file[i] ^= (char)(1 << bit);
			code = k_err_exit(open_bytes(file, n, &err));
			K_CHECK_MSG(code == 0 || code == 3 || code == 4, "byte %zu bit %d: %d %s", i, bit, code, err.msg);
		}
}

K_TEST(strangers_are_called_by_name)
{
	static const struct { const char *bytes; size_t n; int exit; const char *say; } all[] = {
		{ "version https://git-lfs.github.com/spec/v1\noid", 46, 3, "LFS" },
		{ "\n <!DOCTYPE html>", 17, 3, "HTML" },
		{ "{\"error\":\"Repository not found\"}", 32, 3, "download" },
		{ "PK\x03\x04\0\0\0\0\0\0\0\0", 12, 4, "zip" },
		{ "\x80\x02}q\0.", 6, 4, "pickle" },
		{ "\x93NUMPY\x01\0v\0{", 11, 4, "npy" },
		{ "", 0, 3, "empty" },
		{ "hello", 5, 3, "nothing that is known" },
	};
	struct k_err err;

	for (size_t i = 0; i < K_LEN(all); i++)
		K_CHECK_MSG(k_err_exit(open_bytes(all[i].bytes, all[i].n, &err)) == all[i].exit && strstr(err.msg, all[i].say), "%zu: %s", i, err.msg);
}

/* The head of 640 = 0x280 bytes begins like a pickle. */
K_TEST(safetensors_head_that_begins_like_a_pickle)
{
	char file[8 + 640] = "\x80\x02";
	struct k_err err;

	memset(file + 8, ' ', 640);
	memcpy(file + 8, "{}", 2);
	K_CHECK_OK(open_bytes(file, sizeof(file), &err));
}

K_TEST(safetensors_from_a_pipe_says_what_to_do)
{
	char file[200];
	struct k_ckpt *c;
	struct k_err err;

	K_CHECK(mkfifo(in_dir("fifo"), 0600) == 0);
	K_CHECK(open(in_dir("fifo"), O_RDWR) >= 0);
	make_two(file);
	put(in_dir("fifo"), file, 168);
	put(in_dir("fifo"), (char[4096]){ 0 }, 4096);
	K_CHECK(k_format_open(&c, in_dir("fifo"), false, &no_ctx, &err) == K_EUNSUP && strstr(err.msg, "tar stream"));
}

K_TEST(dtype_that_is_too_small_is_an_error)
{
	struct k_write_opts f16 = { .dtype = "f16" }, bf16 = { .dtype = "bf16" };
	char file[200];
	float big[2] = { 1, 100000 };
	struct k_ckpt *c, *d;
	struct k_err err;
	uint16_t v[2];

	make_two(file);
	memcpy(file + 152, big, 8);
	put(in_dir("big"), file, 168);
	c = k_same_open(in_dir("big"));
	K_CHECK(k_same_write("safetensors", c, in_dir("out"), &f16, &err) == K_ENO);
	K_CHECK_MSG(strstr(err.msg, " b: as f16") && strstr(err.msg, "100000"), "%s", err.msg);
	K_CHECK(!k_path_exists(in_dir("out")));
	K_CHECK_OK(k_same_write("safetensors", c, in_dir("out"), &bf16, &err));
	d = k_same_open(in_dir("out"));
	K_CHECK(!strcmp(d->entries[0].type->name, "bf16"));
	K_CHECK_OK(k_ckpt_read(d, 0, 0, v, 4, &err));
	K_CHECK(v[0] == 0x3f80 && v[1] == 0x47c3);
	k_ckpt_close(c);
	k_ckpt_close(d);
}

/* --- a checkpoint like a pipe --------------------------------------------------------------------------------------------- */

enum { ROWS = 144, COLS = 64, EXPERTS = 3, FP8_ROWS = 200, FP8_COLS = 300 };

struct pipe_ckpt { struct k_ckpt c; struct k_entry entries[8]; uint8_t *data[8]; int at; uint64_t off; };

static int read_once(struct k_ckpt *c, int i, uint64_t off, void *dst, size_t n, struct k_err *err K_UNUSED)
{
	struct pipe_ckpt *p = c->impl;

	while (p->off == p->entries[p->at].bytes && p->at < i)
		p->at++, p->off = 0;
	K_CHECK_MSG(p->at == i && p->off == off, "entry %d, byte %llu is read after entry %d, byte %llu", i, (unsigned long long)off, p->at,
		(unsigned long long)p->off);
	memcpy(dst, p->data[i] + off, n);
	p->off += n;
	return 0;
}

static const struct k_ckpt_ops pipe_ops = { .read = read_once };

static struct k_entry *add(struct pipe_ckpt *p, const char *name, const struct k_qtype *t, int ndim, const int64_t *shape)
{
	struct k_entry *e = &p->entries[p->c.n_entries];
	struct k_err err;

	*e = (struct k_entry){ .name = name, .role = "other", .type = t, .ndim = ndim };
	for (int i = 0; i < ndim; i++)
		e->shape[i] = shape[i];
	K_CHECK_OK(k_entry_size(e, &err));
	p->data[p->c.n_entries++] = malloc(e->bytes + 1);
	return e;
}

/* Planes that are plausible everywhere: no NaN in scales or codes. */
static void planes(uint8_t *values, size_t n, uint8_t *scales, size_t m, uint8_t top)
{
	for (size_t i = 0; i < n; i++)
		values[i] = (uint8_t)(i * 2654435761u >> 11) & 0x7e;
	for (size_t i = 0; i < m; i++)
		scales[i] = (uint8_t)(i % top == top - 1u ? 0x3c : i * 40503u >> 7 & 0x3f);
}

struct want { uint8_t values[EXPERTS][ROWS * COLS / 2], codes[FP8_ROWS * FP8_COLS]; uint16_t scales[EXPERTS][ROWS * COLS / 32]; float blocks[6];
	uint8_t packed[4 * 32], exps[4 * 2]; };

static void fill_pipe(struct pipe_ckpt *p, struct want *w)
{
	const struct k_qtype *x16 = k_qtype_find("i4g32", "x16"), *fp8 = k_qtype_find("fp8b128", NULL), *mx = k_qtype_find("mxfp4", NULL);
	size_t step = x16->granule_bytes(COLS, 16), at = 0;

	memset(p, 0, sizeof(*p));
	p->c = (struct k_ckpt){ .path = "pipe", .entries = p->entries, .sequential = true, .ops = &pipe_ops, .impl = p };
	add(p, "none", k_qtype_find("f32", NULL), 2, (int64_t[]){ 0, 3 });
	memset(p->data[p->c.n_entries - 1], 0, 1);
	add(p, "m.experts.*.up.weight", x16, 3, (int64_t[]){ EXPERTS, ROWS, COLS })->form = "ct.i64";
	for (int e = 0; e < EXPERTS; e++) {
		planes(w->values[e], sizeof(w->values[e]), (uint8_t *)w->scales[e], sizeof(w->scales[e]), 2);
		for (int r = 0; r < ROWS; r += 16, at += step)
			k_i4g32_from_ct(x16, p->data[1] + at, w->values[e] + r * COLS / 2, w->scales[e] + r * COLS / 32, COLS, 16);
	}
	add(p, "m.down.weight", fp8, 2, (int64_t[]){ FP8_ROWS, FP8_COLS });
	planes(w->codes, sizeof(w->codes), NULL, 0, 2);
	for (int i = 0; i < 6; i++)
		w->blocks[i] = 0.5f + (float)i;
	at = fp8->granule_bytes(FP8_COLS, 128);
	k_fp8b128_from_planes(p->data[2], w->codes, w->blocks, FP8_COLS, 128);
	k_fp8b128_from_planes(p->data[2] + at, w->codes + 128 * FP8_COLS, w->blocks + 3, FP8_COLS, FP8_ROWS - 128);
	add(p, "m.gate.weight", mx, 2, (int64_t[]){ 4, 64 });
	planes(w->packed, sizeof(w->packed), w->exps, sizeof(w->exps), 2);
	for (int r = 0; r < 4; r++)
		k_mxfp4_from_planes(mx, p->data[3] + (size_t)r * mx->granule_bytes(64, 1), w->packed + 32 * r, w->exps + 2 * r, 64, 1);
	add(p, "stack.*.bias", k_qtype_find("bf16", NULL), 2, (int64_t[]){ 2, 5 });
	memset(p->data[4], 0x3f, 20);
	add(p, "scalar", k_qtype_find("i64", NULL), 0, NULL);
	memset(p->data[5], 7, 8);
}

static void free_pipe(struct pipe_ckpt *p)
{
	struct k_err err;
	const struct k_files *files;

	K_CHECK_OK(k_ckpt_files(&p->c, &files, &err));
	k_free(p->c.files);
	for (int i = 0; i < p->c.n_entries; i++)
		free(p->data[i]);
}

/* The tensor as it lies in the file. */
static void check_raw(const struct k_rawset *set, const char *name, const char *dtype, int64_t rows, int64_t cols, const void *want)
{
	const struct k_raw *t = k_rawset_find(set, name);
	struct k_err err;
	uint8_t *p;

	K_CHECK_MSG(t && !strcmp(t->type->st_dtype, dtype), "no %s in %s", name, dtype);
	K_CHECK_MSG(k_shape_rows(t->ndim, t->shape) == rows && k_shape_cols(t->ndim, t->shape) == cols, "%s has another shape", name);
	p = malloc(t->bytes + 1);
	K_CHECK_OK(k_source_pread(t->src, p, t->bytes, t->off, &err));
	K_CHECK_MSG(!memcmp(p, want, t->bytes), "%s has other bytes", name);
	free(p);
}

K_TEST(joined_types_are_split_in_one_pass)
{
	static const char *const numbers[EXPERTS] = { "0", "1", "2" };
	struct k_write_opts keep = { 0 };
	struct pipe_ckpt p;
	struct want *w = malloc(sizeof(*w));
	struct k_rawset set;
	struct k_source *src;
	struct k_err err;
	char name[80];

	fill_pipe(&p, w);
	K_CHECK_OK(k_same_write("safetensors", &p.c, in_dir("split"), &keep, &err));
	K_CHECK(p.at == 5 && p.off == 8);
	free_pipe(&p);
	k_rawset_init(&set, "split");
	K_CHECK_OK(k_source_open(&src, in_dir("split"), &err));
	K_CHECK_OK(k_st_read_head(&set, src, &err));
	K_CHECK_MSG(set.n == 1 + 3 * EXPERTS + 2 + 2 + 2 + 1, "%lld tensors", (long long)set.n);
	for (int e = 0; e < EXPERTS; e++) {
		snprintf(name, sizeof(name), "m.experts.%s.up.weight_shape", numbers[e]);
		check_raw(&set, name, "I64", 1, 2, (int64_t[]){ ROWS, COLS });
		snprintf(name, sizeof(name), "m.experts.%s.up.weight_packed", numbers[e]);
		check_raw(&set, name, "I32", ROWS, COLS / 8, w->values[e]);
		snprintf(name, sizeof(name), "m.experts.%s.up.weight_scale", numbers[e]);
		check_raw(&set, name, "BF16", ROWS, COLS / 32, w->scales[e]);
	}
	check_raw(&set, "m.down.weight", "F8_E4M3", FP8_ROWS, FP8_COLS, w->codes);
	check_raw(&set, "m.down.weight_scale_inv", "F32", 2, 3, w->blocks);
	check_raw(&set, "m.gate.weight_packed", "U8", 4, 32, w->packed);
	check_raw(&set, "m.gate.weight_scale", "U8", 4, 2, w->exps);
	check_raw(&set, "stack.1.bias", "BF16", 1, 5, "??????????");
	check_raw(&set, "scalar", "I64", 1, 1, "\7\7\7\7\7\7\7\7");
	k_rawset_fini(&set);
	free(w);
}

K_TEST(names_that_would_meet_are_refused)
{
	struct k_write_opts keep = { 0 };
	struct pipe_ckpt p;
	struct want *w = malloc(sizeof(*w));
	struct k_err err;

	fill_pipe(&p, w);
	p.entries[5].name = "m.gate.weight_packed";
	K_CHECK(k_same_write("safetensors", &p.c, in_dir("meet"), &keep, &err) == K_EFORMAT && strstr(err.msg, "m.gate.weight_packed"));
	p.entries[5].name = "__metadata__";
	K_CHECK(k_same_write("safetensors", &p.c, in_dir("meet"), &keep, &err) == K_EFORMAT);
	p.entries[5].name = "fine";
	p.entries[3].name = "m.gate";
	K_CHECK(k_same_write("safetensors", &p.c, in_dir("meet"), &keep, &err) == K_EUNSUP && strstr(err.msg, "--dequant"));
	K_CHECK(!k_path_exists(in_dir("meet")));
	free_pipe(&p);
	free(w);
}
