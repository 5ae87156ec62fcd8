/* pass.c: one pass over the files of a model.
 *
 *   block --read--> [bytes] --work: digests of its shards, on all threads--> [digests] --write, in order--> whole digest, verdict, copy
 *
 * A block is a few short shards, or one, or a part of one that is too long to hold. */
#include "libcore/base.h"
#include "libcore/log.h"
#include "libcore/pool.h"
#include "cmd/kls/sign.h"

enum { PLAIN_BLOCK = 4 << 20, SHORT_BLOCK = 1 << 20, MOST_DIGESTS = 16 };

struct block {
	int file;
	uint64_t off;
	uint8_t *buf;
	size_t n, cap;
	bool last;                      /* of its file */
	uint8_t digests[MOST_DIGESTS][32];
};

struct run {
	struct k_pass *p;
	const struct k_ctx *ctx;
	struct k_progress progress;
	/* read */
	struct k_source *src;
	int file;
	uint64_t off;
	/* write */
	struct k_sha256 *whole, *part;
};

static bool cut(const struct k_pass_file *f) { return f->shard_size && f->shard_size <= K_PASS_SHARD_MAX; }

/* Bytes of a block that begins at a multiple of itself, or inside a long shard. */
static size_t block_size(const struct k_pass *p, int file)
{
	const struct k_pass_file *f = &p->files[file];
	uint64_t k;

	if (!cut(f))
		return PLAIN_BLOCK;
	k = p->wanted ? 1 : K_MIN(K_MAX(SHORT_BLOCK / f->shard_size, 1), MOST_DIGESTS);
	return (size_t)(k * f->shard_size);
}

/* --- read --------------------------------------------------------------------------------------------------------------- */

/* Until n bytes are there or the end is. */
static int fill(struct k_source *src, uint8_t *buf, size_t n, size_t *have, struct k_err *err)
{
	size_t got = 1;

	for (*have = 0; *have < n && got > 0; *have += got)
		if (k_source_some(src, buf + *have, n - *have, &got, err) < 0)
			return err->code;
	return 0;
}

/* Of a file that can be read anywhere: the next bytes that are wanted. */
static int read_at(struct run *r, struct block *b, size_t most, struct k_err *err)
{
	uint64_t size = (uint64_t)k_source_size(r->src), shard = r->p->files[r->file].shard_size;
	int rc = 0;

	while (r->p->wanted && r->off < size && !r->p->wanted(r->p->arg, r->file, (int64_t)(r->off / shard)))
		r->off += K_MIN(shard, size - r->off);
	b->off = r->off;
	b->n = (size_t)K_MIN((uint64_t)most, size - r->off);
	/* A long shard ends where it ends. */
	if (shard > most)
		b->n = (size_t)K_MIN((uint64_t)b->n, shard - r->off % shard);
	if (b->n)
		rc = k_source_pread(r->src, b->buf, b->n, b->off, err);
	b->last = b->off + b->n == size;
	return rc;
}

static int read_stream(struct run *r, struct block *b, size_t most, struct k_err *err)
{
	uint64_t shard = r->p->files[r->file].shard_size;
	size_t want = shard > most ? (size_t)K_MIN((uint64_t)most, shard - r->off % shard) : most;
	int rc = fill(r->src, b->buf, want, &b->n, err);

	b->off = r->off;
	b->last = b->n < want;
	return rc;
}

static int read_block(void *arg, void *item, struct k_err *err)
{
	struct run *r = arg;
	struct block *b = item;
	size_t most;
	int rc;

	if (r->file == r->p->n)
		return 0;
	rc = k_ctx_check(r->ctx, err);
	if (rc == 0 && !r->src)
		rc = k_source_open(&r->src, r->p->files[r->file].path, err);
	if (rc < 0)
		return rc;
	most = block_size(r->p, r->file);
	if (b->cap < most) {
		k_free(b->buf);
		b->buf = k_alloc(most);
		b->cap = b->buf ? most : 0;
		if (!b->buf)
			return k_err_nomem(err, most, "a block");
	}
	b->file = r->file;
	rc = k_source_seekable(r->src) ? read_at(r, b, most, err) : read_stream(r, b, most, err);
	if (rc < 0)
		return rc;
	r->off = b->off + b->n;
	r->p->n_read += b->n;
	if (b->last) {
		k_source_close(r->src);
		r->src = NULL;
		r->off = 0;
		r->file++;
	}
	return 1;
}

/* --- work, write --------------------------------------------------------------------------------------------------------- */

static int work_block(void *arg, void *item, struct k_err *err)
{
	const struct k_pass_file *f = &((struct run *)arg)->p->files[((struct block *)item)->file];
	struct block *b = item;
	int rc = 0, i = 0;

	for (size_t at = 0; rc == 0 && cut(f) && at < b->n; at += f->shard_size)
		rc = k_sha256_once(b->buf + at, K_MIN(f->shard_size, b->n - at), b->digests[i++], err);
	return rc;
}

static int tell_shards(struct run *r, struct block *b, struct k_err *err)
{
	const struct k_pass_file *f = &r->p->files[b->file];
	int rc = 0, i = 0;

	for (size_t at = 0; rc == 0 && at < b->n; at += f->shard_size) {
		uint64_t off = b->off + at;

		rc = r->p->shard(r->p->arg, b->file, (int64_t)(off / f->shard_size), off, K_MIN(f->shard_size, b->n - at), b->digests[i++], err);
	}
	return rc;
}

static int tell_long_shard(struct run *r, struct block *b, struct k_err *err)
{
	uint64_t size = r->p->files[b->file].shard_size, end = b->off + b->n, start;
	uint8_t digest[32];

	k_sha256_add(r->part, b->buf, b->n);
	if (end % size == 0 ? b->n == 0 : !b->last)
		return 0;
	start = (end - 1) / size * size;
	k_sha256_end(r->part, digest);
	return r->p->shard(r->p->arg, b->file, (int64_t)(start / size), start, (size_t)(end - start), digest, err);
}

static int write_block(void *arg, void *item, struct k_err *err)
{
	struct run *r = arg;
	struct block *b = item;
	const struct k_pass_file *f = &r->p->files[b->file];
	uint8_t digest[32];
	int rc = 0;

	if (f->whole)
		k_sha256_add(r->whole, b->buf, b->n);
	if (f->shard_size)
		rc = cut(f) ? tell_shards(r, b, err) : tell_long_shard(r, b, err);
	if (rc == 0 && r->p->copy)
		rc = k_sink_write(r->p->copy, b->buf, b->n, err);
	if (rc == 0 && b->last) {
		k_sha256_end(r->whole, digest);
		rc = r->p->end(r->p->arg, b->file, b->off + b->n, digest, err);
	}
	k_progress_step(&r->progress, b->n);
	return rc;
}

static void drop_block(void *arg K_UNUSED, void *item)
{
	k_free(((struct block *)item)->buf);
}

static int depth(const struct k_pass *p, const struct k_ctx *ctx)
{
	size_t most = 1;

	for (int i = 0; i < p->n; i++)
		most = K_MAX(most, block_size(p, i));
	return k_pool_depth(ctx, 0, most);
}

int k_pass_run(struct k_pass *p, const struct k_ctx *ctx, const char *what, struct k_err *err)
{
	struct run r = { .p = p, .ctx = ctx };
	struct k_pipe pipe = { .item_bytes = sizeof(struct block), .depth = depth(p, ctx), .read = read_block, .work = work_block,
		.write = write_block, .drop = drop_block, .arg = &r };
	int rc = k_sha256_new(&r.whole, err);

	if (rc == 0)
		rc = k_sha256_new(&r.part, err);
	if (rc == 0) {
		k_progress_begin(&r.progress, ctx->log, what, p->total, "bytes");
		rc = k_pool_pipe(ctx->pool, &pipe, err);
		k_progress_end(&r.progress);
	}
	k_source_close(r.src);
	k_sha256_free(r.whole);
	k_sha256_free(r.part);
	return rc;
}
