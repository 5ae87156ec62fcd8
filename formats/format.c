/* format.c: which format an input has. Every format tastes the first bytes (or the folder); the surest one opens it.
 *
 *     path -> folder -> a format that knows the folder, else the one model file in it
 *          -> file   -> what is no model at all is refused by name, else the surest format
 *
 * Names of files decide nothing. */
#include "libcore/base.h"
#include "formats/format_int.h"
#include "formats/gguf_parts.h"

#define X(name) extern const struct k_format k_format_##name;
#include "formats.list"
#undef X

static const struct k_format *const formats[] = {
#define X(name) &k_format_##name,
#include "formats.list"
#undef X
	NULL
};

const struct k_format *k_format_at(int i)
{
	return i >= 0 && (size_t)i < K_LEN(formats) ? formats[i] : NULL;
}

const struct k_format *k_format_find(const char *name)
{
	for (size_t i = 0; formats[i]; i++)
		if (strcmp(formats[i]->name, name) == 0)
			return formats[i];
	return NULL;
}

/* --- what is no model ----------------------------------------------------------------------------------------------------- */

static const struct { const char *bytes; size_t n; bool text; int code; const char *what; } strangers[] = {
#define BYTES(s) s, sizeof(s) - 1, false
#define TEXT(s) s, sizeof(s) - 1, true
	{ BYTES("version https://git-lfs"), K_EFORMAT, "a Git LFS pointer: the data was not downloaded (git lfs pull brings it)" },
	{ TEXT("<!doctype"), K_EFORMAT, "an HTML page: the download went wrong" },
	{ TEXT("<html"), K_EFORMAT, "an HTML page: the download went wrong" },
	{ TEXT("{\"error\""), K_EFORMAT, "an error message of a server: the download went wrong" },
	{ BYTES("PK\x03\x04"), K_EUNSUP, "a zip archive, as PyTorch's pickled checkpoints are: convert it to safetensors first" },
	{ BYTES("\x80\x02"), K_EUNSUP, "a pickle, which can run code when it is loaded: convert it to safetensors first" },
	{ BYTES("\x80\x03"), K_EUNSUP, "a pickle, which can run code when it is loaded: convert it to safetensors first" },
	{ BYTES("\x80\x04\x95"), K_EUNSUP, "a pickle, which can run code when it is loaded: convert it to safetensors first" },
	{ BYTES("\x80\x05\x95"), K_EUNSUP, "a pickle, which can run code when it is loaded: convert it to safetensors first" },
	{ BYTES("\x93NUMPY"), K_EUNSUP, "an npy array: a model has names and a config" },
	{ BYTES("BZh"), K_EUNSUP, "packed with bzip2: gzip, zstd and xz are read" },
#undef BYTES
#undef TEXT
};

static bool begins(const unsigned char *p, size_t n, const char *what, size_t len, bool text)
{
	while (text && n && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++, n--;
	if (n < len)
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = p[i];

		if (text && c >= 'A' && c <= 'Z')
			c |= 32;
		if (c != (unsigned char)what[i])
			return false;
	}
	return true;
}

int k_format_refuse(const char *name, const void *head, size_t n, struct k_err *err)
{
	for (size_t i = 0; i < K_LEN(strangers); i++)
		if (begins(head, n, strangers[i].bytes, strangers[i].n, strangers[i].text))
			return k_err_set(err, strangers[i].code, "'%s' is %s", name, strangers[i].what);
	return 0;
}

struct k_rawset *k_format_new_set(const char *path, struct k_err *err)
{
	struct k_rawset *set = k_alloc(sizeof(*set));

	if (!set) {
		k_err_nomem(err, sizeof(*set), "a model");
		return NULL;
	}
	k_rawset_init(set, "");
	set->path = set->files.where = k_arena_strdup(&set->arena, path);
	if (set->path)
		return set;
	k_format_free_set(set);
	k_err_nomem(err, strlen(path) + 1, "a model");
	return NULL;
}

void k_format_free_set(struct k_rawset *set)
{
	if (set)
		k_rawset_fini(set);
	k_free(set);
}

/* --- opening ---------------------------------------------------------------------------------------------------------------- */

static const struct k_format *surest(const struct k_format_in *in, const void *head, size_t n)
{
	const struct k_format *best = NULL;
	int most = 0, sure;

	for (size_t i = 0; formats[i]; i++) {
		sure = formats[i]->taste(in, head, n);
		if (sure > most) {
			most = sure;
			best = formats[i];
		}
	}
	return best;
}

/* Files that say something about a model and are none. */
static bool is_note(const char *name)
{
	return name[0] == '.' || strcmp(name, "README.md") == 0 || strcmp(name, "LICENSE") == 0;
}

/* Are both parts of one GGUF, of which the first is given? */
static bool is_part_of(const char *first, const char *name)
{
	size_t stem, no = strlen("-00001");

	return k_gguf_part_named(first, &stem) && strlen(name) == strlen(first) && memcmp(first, name, stem + 1) == 0 &&
		strspn(name + stem + 1, "0123456789") == no - 1 && strcmp(first + stem + no, name + stem + no) == 0;
}

/* The one model file, or the first of a split one. */
static const char *only_file(const struct k_dir *d)
{
	const char *one = NULL;

	for (int i = 0; i < d->n; i++) {
		if (is_note(d->names[i]))
			continue;
		if (one && !is_part_of(one, d->names[i]))
			return NULL;
		one = one ? one : d->names[i];
	}
	return one;
}

int k_format_open_dir(struct k_ckpt **out, const struct k_format_in *in, struct k_err *err)
{
	const struct k_format *f = surest(in, NULL, 0);
	struct k_format_in one = *in;
	const char *name;
	int r;

	*out = NULL;
	if (f)
		return f->open(out, in, err);
	name = only_file(in->dir);
	if (name) {
		one.dir = NULL;
		one.beside = in->dir;
		r = in->dir->open(in->dir, name, &one.src, err);
		one.path = r == 0 ? k_source_name(one.src) : NULL;
	} else {
		r = k_err_set(err, K_EFORMAT, "'%s' holds no model: wanted config.json and safetensors files, or one model file", in->dir->path);
	}
	if (r == 0)
		r = k_format_open_source(out, &one, true, err);
	k_dir_close(in->dir);
	return r;
}

int k_format_open_source(struct k_ckpt **out, const struct k_format_in *in, bool inside, struct k_err *err)
{
	const char *name = k_source_name(in->src);
	const struct k_format *f = NULL;
	const void *head;
	size_t n;
	int r = k_source_peek(in->src, &head, K_FORMAT_HEAD, &n, err);

	*out = NULL;
	if (r == 0 && n == 0)
		r = k_err_set(err, K_EFORMAT, "'%s' is empty, wanted a model", name);
	if (r == 0)
		f = surest(in, head, n);
	/* Only what no format knows: two bytes of a pickle may begin a safetensors file too. */
	if (r == 0 && !f)
		r = k_format_refuse(name, head, n, err);
	if (r == 0 && !f)
		r = k_err_set(err, K_EFORMAT, "'%s' is nothing that is known here: wanted a KMF, safetensors, GGUF, tar or tokenizer file", name);
	if (r == 0 && inside && strcmp(f->name, "tar") == 0)
		r = k_err_set(err, K_EUNSUP, "'%s' is an archive inside something else: unpack it first", name);
	if (r == 0)
		return f->open(out, in, err);
	k_source_close(in->src);
	return r;
}

int k_format_open(struct k_ckpt **out, const char *path, bool map, const struct k_ctx *ctx, struct k_err *err)
{
	struct k_format_in in = { .path = path, .ctx = ctx, .map = map };
	int r;

	*out = NULL;
	if (strcmp(path, "-") != 0 && k_path_is_dir(path)) {
		r = k_dir_open(&in.dir, path, err);
		return r < 0 ? r : k_format_open_dir(out, &in, err);
	}
	r = k_source_open(&in.src, path, err);
	return r < 0 ? r : k_format_open_source(out, &in, false, err);
}
