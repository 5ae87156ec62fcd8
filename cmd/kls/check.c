/* check.c: is a model what was signed? The signature first, then the set of files, then every byte; the first difference is named. */
#include "libcore/base.h"
#include "cmd/kls/kls.h"
#include "cmd/kls/sign.h"
#include "libcore/log.h"

struct check {
	const struct k_oms *o;
	const char *path;               /* of the model, for messages */
	struct k_pass_file *in;         /* the files that are read */
	const struct k_oms_file **signed_as;    /* parallel */
	int n;
	bool stream;
	struct k_ctx *ctx;
};

/* --- the files ------------------------------------------------------------------------------------------------------------ */

static int pair_up(struct check *c, const struct k_tree *t, struct k_err *err)
{
	const struct k_oms *o = c->o;
	int i = 0, j = 0;

	while (i < t->n || j < o->n_files) {
		int cmp = i == t->n ? 1 : j == o->n_files ? -1 : strcmp(t->v[i].name, o->files[j].name);

		/* Shards of nothing are none: only ours say which empty files there are. */
		if (cmp < 0 && !o->empties && t->v[i].bytes == 0) {
			k_logf(c->ctx->log, K_LOG_WARN, "'%s' is empty, of which a signature by shards of another signer tells nothing", t->v[i].path);
			i++;
			continue;
		}
		if (cmp < 0)
			return k_err_set(err, K_ENO, "'%s': the file '%s' is not among what was signed", c->path, t->v[i].name);
		if (cmp > 0)
			return k_err_set(err, K_ENO, "'%s': the file '%s' was signed and is not there", c->path, o->files[j].name);
		c->signed_as[c->n] = &o->files[j];
		c->in[c->n++] = (struct k_pass_file){ t->v[i].path, o->files[j].shard_size, o->files[j].whole };
		i++;
		j++;
	}
	return 0;
}

/* A split model whose parts cannot be told, or are not all there, is no error of the command: it is not what was signed. */
static int read_tree(struct check *c, struct k_tree *t, const char *sig, struct k_err *err)
{
	const char *own[] = { sig, NULL };
	int r = k_tree_read(t, c->path, c->o->ignore, c->o->n_ignore, own, err);
	struct k_err why = *err;

	if (t->split && (r == K_EFORMAT || r == K_ETRUNC || r == K_EUNSUP || r == K_ENOENT))
		return k_err_set(err, K_ENO, "'%s' is not what was signed: %s", c->path, why.msg);
	return r;
}

static int match_files(struct check *c, struct k_tree *t, const char *sig, struct k_err *err)
{
	bool one = c->o->n_files == 1 && strcmp(c->o->files[0].name, ".") == 0;
	int r = c->stream ? 0 : read_tree(c, t, sig, err);

	if (r < 0)
		return r;
	if (c->stream && !one)
		return k_err_set(err, K_EUSAGE, "'%s': several files were signed; only a model that is one file can be checked from a pipe", sig);
	if (!c->stream && (t->folder || t->split) == one)
		return k_err_set(err, K_ENO, "'%s' is %s, what was signed is %s", c->path,
			t->folder ? "a folder" : t->split ? "a GGUF of several files" : "one file", one ? "one file" : "several files");
	c->in = k_arena_array(&t->arena, (size_t)c->o->n_files, sizeof(*c->in));
	c->signed_as = k_arena_array(&t->arena, (size_t)c->o->n_files, sizeof(*c->signed_as));
	if (!c->in || !c->signed_as)
		return k_err_nomem(err, (size_t)c->o->n_files * sizeof(*c->in), "the files of a model");
	if (!c->stream)
		return pair_up(c, t, err);
	c->signed_as[0] = &c->o->files[0];
	c->in[0] = (struct k_pass_file){ "-", c->o->files[0].shard_size, c->o->files[0].whole };
	c->n = 1;
	return 0;
}

/* --- the bytes ------------------------------------------------------------------------------------------------------------ */

static int differs(const struct check *c, int file, uint64_t from, uint64_t to, struct k_err *err)
{
	const char *path = c->stream ? NULL : c->in[file].path;

	return k_where(c->o, path, path ? path : c->path, from, to, c->ctx, err);
}

static int see_shard(void *arg, int file, int64_t i, uint64_t off, size_t n, const uint8_t digest[32], struct k_err *err)
{
	const struct check *c = arg;
	const struct k_oms_file *f = c->signed_as[file];

	if (i < f->n_shards && memcmp(digest, f->shards[i], 32) == 0)
		return 0;
	if (off >= f->bytes)
		return k_err_set(err, K_ENO, "'%s': goes on behind byte %llu, where what was signed ends", c->in[file].path,
			(unsigned long long)f->bytes);
	return differs(c, file, off, off + n, err);
}

static int see_end(void *arg, int file, uint64_t bytes, const uint8_t digest[32], struct k_err *err)
{
	const struct check *c = arg;
	const struct k_oms_file *f = c->signed_as[file];

	if (f->bytes != UINT64_MAX && bytes < f->bytes)
		return k_err_set(err, K_ENO, "'%s': ends at byte %llu, %llu bytes were signed", c->in[file].path, (unsigned long long)bytes,
			(unsigned long long)f->bytes);
	if (f->whole && memcmp(digest, f->digest, 32) != 0)
		return differs(c, file, 0, bytes, err);
	return 0;
}

static int read_all(struct check *c, struct k_sink *copy, uint64_t total, struct k_err *err)
{
	struct k_pass p = { .files = c->in, .n = c->n, .total = total, .copy = copy, .shard = see_shard, .end = see_end, .arg = c };

	return k_pass_run(&p, c->ctx, "checking", err);
}

/* --- copying while checking ------------------------------------------------------------------------------------------------ */

static int check_copy(struct check *c, const char *to, struct k_err *err)
{
	struct k_sink *sink = NULL;
	int r;

	if (c->n != 1 || !c->in[0].shard_size || c->in[0].shard_size > K_PASS_SHARD_MAX)
		return k_err_set(err, K_EUSAGE, "--copy wants the signature of one file with short shards, so that nothing leaves before it is checked");
	r = k_sink_open(&sink, to, err);
	if (r == 0 && k_sink_is_terminal(sink))
		r = k_err_set(err, K_EUSAGE, "weights are not written to a terminal; give --copy a file, or use a pipe");
	if (r == 0)
		r = read_all(c, sink, 0, err);
	if (r == 0)
		r = k_sink_commit(sink, err);
	k_sink_close(sink);
	return r;
}

int k_kls_check_sign(const struct k_kls_check *how, const char *path, struct k_ctx *ctx, struct k_err *err)
{
	struct check c = { .path = path, .stream = strcmp(path, "-") == 0, .ctx = ctx };
	struct k_oms *o = NULL;
	struct k_key *key = NULL;
	struct k_tree t = { 0 };
	uint64_t total = 0;
	int r = k_kls_key(&key, how->key, false, err);

	k_arena_init(&t.arena);
	if (r == 0)
		r = k_kls_bundle(&o, how->sig, key, err);
	c.o = o;
	if (r == 0)
		r = match_files(&c, &t, how->sig, err);
	for (int i = 0; i < t.n; i++)
		total += t.v[i].bytes;
	if (r == 0)
		r = how->copy ? check_copy(&c, how->copy, err) : read_all(&c, NULL, total, err);
	k_tree_fini(&t);
	k_oms_free(o);
	k_key_free(key);
	return r;
}
