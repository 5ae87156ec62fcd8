/* journal.c: see journal.h. Records are read and written in batches: a large model has half a million. */
#include "libcore/base.h"
#include "libcore/hash.h"
#include "libcore/io_place.h"
#include "libcore/journal.h"

enum { HEAD = 64, RECORD = 72, BATCH = 512 };
#define MAGIC "\x89KJ1\r\n\x1a\n"

struct k_journal {
	struct k_place *file;
	char *path;
	int64_t n;
	bool ended;
	uint8_t batch[BATCH * RECORD];  /* records [batch_at, batch_at + batch_n) */
	int64_t batch_at, batch_n;
};

/* --- bytes -------------------------------------------------------------------------------------------------------------- */

static int check_of(int64_t i, const uint8_t record[RECORD], uint32_t *out, struct k_err *err)
{
	uint8_t text[8 + RECORD], digest[32];

	*out = 0;
	memcpy(text, &i, 8);
	memcpy(text + 8, record, RECORD);
	memset(text + 8 + 4, 0, 4);
	if (k_sha256_once(text, sizeof(text), digest, err) < 0)
		return err->code;
	memcpy(out, digest, 4);
	return 0;
}

static int pack(int64_t i, const struct k_record *r, uint8_t out[RECORD], struct k_err *err)
{
	uint32_t file = (uint32_t)r->file, check;

	memset(out, 0, RECORD);
	memcpy(out, &file, 4);
	memcpy(out + 8, r->at, 16);
	memcpy(out + 24, r->n, 16);
	memcpy(out + 40, r->digest, 32);
	if (check_of(i, out, &check, err) < 0)
		return err->code;
	memcpy(out + 4, &check, 4);
	return 0;
}

static int is_right(int64_t i, const uint8_t record[RECORD], bool *right, struct k_err *err)
{
	uint32_t check;
	int r = check_of(i, record, &check, err);

	*right = r == 0 && memcmp(&check, record + 4, 4) == 0;
	return r;
}

static void unpack(const uint8_t record[RECORD], struct k_record *out)
{
	uint32_t file;

	memcpy(&file, record, 4);
	out->file = (int)file;
	memcpy(out->at, record + 8, 16);
	memcpy(out->n, record + 24, 16);
	memcpy(out->digest, record + 40, 32);
}

static int make_head(const struct k_journal_id *id, uint8_t out[HEAD], struct k_err *err)
{
	uint8_t digest[32];

	memcpy(out, MAGIC, 8);
	memcpy(out + 8, id->key, 32);
	memcpy(out + 40, &id->part, 4);
	memcpy(out + 44, &id->n_parts, 4);
	if (k_sha256_once(out, 48, digest, err) < 0)
		return err->code;
	memcpy(out + 48, digest, 16);
	return 0;
}

/* --- opening ------------------------------------------------------------------------------------------------------------ */

static int load(struct k_journal *j, int64_t i, struct k_err *err)
{
	int64_t total = (int64_t)((k_place_bytes(j->file) - HEAD) / RECORD);

	if (i >= j->batch_at && i < j->batch_at + j->batch_n)
		return 0;
	j->batch_at = i;
	j->batch_n = K_MIN((int64_t)BATCH, total - i);
	return k_place_read(j->file, j->batch, (size_t)j->batch_n * RECORD, HEAD + (uint64_t)i * RECORD, err);
}

/* Counts the records up to the last right one; all before it must be right. */
static int count(struct k_journal *j, struct k_err *err)
{
	int64_t total = (int64_t)((k_place_bytes(j->file) - HEAD) / RECORD), bad = -1;
	bool right;

	for (int64_t i = 0; i < total; i++) {
		const uint8_t *record;
		struct k_record r;

		if (load(j, i, err) < 0)
			return err->code;
		record = j->batch + (i - j->batch_at) * RECORD;
		if (is_right(i, record, &right, err) < 0)
			return err->code;
		if (!right) {
			bad = bad < 0 ? i : bad;
			continue;
		}
		if (bad >= 0)
			return k_err_set(err, K_ECHECK, "'%s': record %lld of the journal is damaged; remove the journal to begin again", j->path, (long long)bad);
		unpack(record, &r);
		if (j->ended)
			return k_err_set(err, K_ECHECK, "'%s': the journal goes on behind its end; remove it to begin again", j->path);
		j->ended = r.n[0] == 0;
		j->n = i + !j->ended;
	}
	return 0;
}

static int begin(struct k_journal *j, const struct k_journal_id *id, struct k_err *err)
{
	uint8_t head[HEAD];

	if (make_head(id, head, err) < 0 || k_place_size(j->file, 0, err) < 0)
		return err->code;
	return k_place_write(j->file, head, HEAD, 0, err);
}

static int take_head(struct k_journal *j, struct k_journal_id *id, struct k_err *err)
{
	uint8_t head[HEAD], want[HEAD];

	if (k_place_bytes(j->file) < HEAD)
		return k_err_set(err, K_ECHECK, "'%s' is no journal; remove it to begin again", j->path);
	if (k_place_read(j->file, head, HEAD, 0, err) < 0)
		return err->code;
	memcpy(id->key, head + 8, 32);
	memcpy(&id->part, head + 40, 4);
	memcpy(&id->n_parts, head + 44, 4);
	if (make_head(id, want, err) < 0)
		return err->code;
	return memcmp(head, want, HEAD) == 0 ? 0 : k_err_set(err, K_ECHECK, "'%s': the head of the journal is damaged; remove it to begin again", j->path);
}

static int continue_old(struct k_journal *j, const struct k_journal_id *id, struct k_err *err)
{
	struct k_journal_id old;
	int r = take_head(j, &old, err);

	if (r < 0)
		return r;
	if (memcmp(old.key, id->key, 32) != 0 || old.part != id->part || old.n_parts != id->n_parts)
		return k_err_set(err, K_ECHECK, "'%s' is the journal of another input or of other options; remove it to begin again", j->path);
	return count(j, err);
}

/* The file at path, locked against other processes; empty where there was none. */
static int open_file(struct k_journal **out, const char *path, struct k_err *err)
{
	struct k_journal *j = k_calloc(1, sizeof(*j));
	int r;

	*out = j;
	if (!j)
		return k_err_nomem(err, sizeof(*j), "a journal");
	j->path = k_strdup(path);
	r = j->path ? k_place_open(&j->file, path, path, K_PLACE_KEEP, err) : k_err_nomem(err, strlen(path), "a journal");
	return r < 0 ? r : k_place_lock(j->file, err);
}

static int opened(struct k_journal **out, struct k_journal *j, int r)
{
	*out = r < 0 ? NULL : j;
	if (r < 0)
		k_journal_close(j);
	return r;
}

int k_journal_open(struct k_journal **out, const char *path, const struct k_journal_id *id, bool keep, struct k_err *err)
{
	struct k_journal *j;
	int r = open_file(&j, path, err);

	/* A process that died before its first record was written left nothing. */
	if (r == 0)
		r = keep && k_place_bytes(j->file) > HEAD ? continue_old(j, id, err) : begin(j, id, err);
	return opened(out, j, r);
}

int k_journal_read(struct k_journal **out, const char *path, struct k_journal_id *id, struct k_err *err)
{
	struct k_journal *j;
	int r = open_file(&j, path, err);

	if (r == 0)
		r = take_head(j, id, err);
	if (r == 0)
		r = count(j, err);
	return opened(out, j, r);
}

void k_journal_close(struct k_journal *j)
{
	if (!j)
		return;
	k_place_close(j->file);
	k_free(j->path);
	k_free(j);
}

/* --- records ------------------------------------------------------------------------------------------------------------ */

int64_t k_journal_n(const struct k_journal *j) { return j->n; }
bool k_journal_ended(const struct k_journal *j) { return j->ended; }

int k_journal_get(struct k_journal *j, int64_t i, struct k_record *out, struct k_err *err)
{
	K_ASSERT(i >= 0 && i < j->n);
	if (load(j, i, err) < 0)
		return err->code;
	unpack(j->batch + (i - j->batch_at) * RECORD, out);
	return 0;
}

static int put(struct k_journal *j, const struct k_record *r, struct k_err *err)
{
	uint8_t record[RECORD];

	j->batch_n = 0;
	if (pack(j->n, r, record, err) < 0)
		return err->code;
	return k_place_write(j->file, record, RECORD, HEAD + (uint64_t)j->n * RECORD, err);
}

int k_journal_add(struct k_journal *j, const struct k_record *r, struct k_err *err)
{
	K_ASSERT(r->n[0] > 0);
	if (put(j, r, err) < 0)
		return err->code;
	j->n++;
	return 0;
}

int k_journal_end(struct k_journal *j, struct k_err *err)
{
	struct k_record none = { 0 };

	if (put(j, &none, err) < 0)
		return err->code;
	j->ended = true;
	return k_place_sync(j->file, err);
}

int k_journal_cut(struct k_journal *j, int64_t n, struct k_err *err)
{
	K_ASSERT(n <= j->n);
	j->n = n;
	j->ended = false;
	j->batch_n = 0;
	return k_place_size(j->file, HEAD + (uint64_t)n * RECORD, err);
}
