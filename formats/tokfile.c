/* tokfile.c: a tokenizer file by itself, under any name: ranks of tiktoken, or a tokenizer.json. It becomes a checkpoint without
 * weights, so that texts can be encoded without a model. The tokenizer is opened here, so that a bad file fails when it is read. */
#include "libcore/base.h"
#include "formats/format_int.h"
#include "libcore/import.h"
#include "libcore/tokenizer.h"

/* The first line of ranks: base64, a space, a number. */
static bool is_ranks(const unsigned char *p, size_t n)
{
	static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
	size_t i = 0;

	while (i < n && p[i] && strchr(base64, p[i]))
		i++;
	return i > 0 && i + 1 < n && p[i] == ' ' && p[i + 1] >= '0' && p[i + 1] <= '9';
}

static bool is_object(const unsigned char *p, size_t n)
{
	while (n && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++, n--;
	return n && *p == '{';
}

static int taste(const struct k_format_in *in, const void *head, size_t n)
{
	return !in->dir && (is_ranks(head, n) || is_object(head, n)) ? 10 : 0;
}

static int read_file(const struct k_format_in *in, struct k_rawset *set, struct k_err *err)
{
	const char *name;
	struct k_buf b;
	size_t len;
	char *data;
	int r;

	k_buf_init(&b, 0);
	r = k_source_slurp(in->src, &b, K_FILE_MAX, err);
	if (r == 0)
		r = k_format_refuse(k_source_name(in->src), b.data, b.len, err);
	if (r < 0) {
		k_buf_fini(&b);
		return r;
	}
	name = is_object((const unsigned char *)b.data, b.len) ? "tokenizer.json" : "tiktoken.model";
	data = k_buf_take(&b, &len);
	if (!data)
		return k_err_nomem(err, 1, name);
	return k_files_add(&set->files, name, data, len, err);
}

static int check(struct k_ckpt *c, struct k_err *err)
{
	const struct k_files *files;
	struct k_tokenizer *t = NULL;
	int r = k_ckpt_files(c, &files, err);

	if (r == 0)
		r = k_tokenizer_open(&t, files, 0, err);
	k_tokenizer_free(t);
	return r;
}

static int read_set(struct k_ckpt **out, const struct k_format_in *in, struct k_err *err)
{
	struct k_rawset *set = k_format_new_set(k_source_name(in->src), err);

	if (!set)
		return err->code;
	if (read_file(in, set, err) < 0) {
		k_format_free_set(set);
		return err->code;
	}
	return k_import(out, set, in->ctx->log, err);
}

static int open_tokenizer(struct k_ckpt **out, const struct k_format_in *in, struct k_err *err)
{
	int r = read_set(out, in, err);

	if (r == 0 && check(*out, err) < 0) {
		r = k_err_add(err, "in '%s'", k_source_name(in->src));
		k_ckpt_close(*out);
		*out = NULL;
	}
	k_source_close(in->src);
	return r;
}

const struct k_format k_format_tokenizer = { .name = "tokenizer", .about = "tokenizer file", .taste = taste, .open = open_tokenizer };
