/* journal_test.c: journals that were torn or damaged, or are of something else; parts that are sealed, or refused. */
#include "libcore/base.h"
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "libcore/hash.h"
#include "libcore/io.h"
#include "libcore/kmf.h"
#include "libcore/out.h"
#include "libcore/seal.h"
#include "libcore/test.h"

enum { HEAD = 64, RECORD = 72 };
static const struct k_journal_id id = { { 7 }, 1, 1 };

static const char *write_three(void)
{
	static char path[300];
	struct k_journal *j;
	struct k_err err;

	snprintf(path, sizeof(path), "%s/j", k_test_dir());
	K_CHECK_OK(k_journal_open(&j, path, &id, false, &err));
	for (uint64_t i = 0; i < 3; i++)
		K_CHECK_OK(k_journal_add(j, &(struct k_record){ 0, { i }, { 1 }, { (uint8_t)i } }, &err));
	k_journal_close(j);
	return path;
}

static int reopen(const char *path, const struct k_journal_id *as, int64_t *n)
{
	struct k_journal *j;
	struct k_record r = { 0 };
	struct k_err err;
	int rc = k_journal_open(&j, path, as, true, &err);

	if (rc < 0)
		return rc;
	*n = k_journal_n(j);
	if (*n)
		K_CHECK_OK(k_journal_get(j, *n - 1, &r, &err));
	K_CHECK(*n == 0 || (r.at[0] == (uint64_t)*n - 1 && r.digest[0] == *n - 1));
	k_journal_close(j);
	return 0;
}

static void flip(const char *path, off_t at)
{
	int fd = open(path, O_RDWR);
	char c;

	K_CHECK(fd >= 0 && pread(fd, &c, 1, at) == 1);
	c ^= 1;
	K_CHECK(pwrite(fd, &c, 1, at) == 1 && close(fd) == 0);
}

K_TEST(journal_torn)
{
	const char *path = write_three();
	int64_t n;

	K_CHECK(reopen(path, &id, &n) == 0 && n == 3);
	K_CHECK(truncate(path, HEAD + 3 * RECORD - 1) == 0);
	K_CHECK(reopen(path, &id, &n) == 0 && n == 2);
	flip(path, HEAD + RECORD + 9);
	K_CHECK(reopen(path, &id, &n) == 0 && n == 1);
	K_CHECK(truncate(path, HEAD) == 0);
	K_CHECK(reopen(path, &id, &n) == 0 && n == 0);
}

K_TEST(journal_damaged)
{
	struct k_journal_id other = id;
	int64_t n;

	/* Of the head: magic, key, part, digest; of a record before a right one: file, check, at, digest. */
	for (size_t i = 0; i < 8; i++) {
		const char *path = write_three();

		flip(path, (const off_t[]){ 0, 8, 40, 63, HEAD, HEAD + 4, HEAD + 8, HEAD + RECORD + 71 }[i]);
		K_CHECK(reopen(path, &id, &n) == K_ECHECK);
	}
	other.key[31] = 1;
	K_CHECK(reopen(write_three(), &other, &n) == K_ECHECK);
	other = id;
	other.part = other.n_parts = 2;
	K_CHECK(reopen(write_three(), &other, &n) == K_ECHECK);
}

/* --- parts -------------------------------------------------------------------------------------------------------------- */

struct model { struct k_entry e[2]; struct k_kmf_plan *plan; struct k_out_const head; struct k_out_file file; };

static void plan_model(struct model *m, int n)
{
	struct k_kmf_head head = { .arch = "llama", .n_entries = n, .entries = m->e };
	struct k_err err;

	for (int i = 0; i < 2; i++) {
		m->e[i] = (struct k_entry){ .name = i ? "b" : "a", .role = "other", .type = k_qtype_find("u8", NULL), .ndim = 1, .shape = { 5 } };
		K_CHECK_OK(k_entry_size(&m->e[i], &err));
	}
	K_CHECK_OK(k_kmf_plan_new(&m->plan, &head, &err));
	m->head = (struct k_out_const){ 0, m->plan->head.data, m->plan->head.len };
	m->file = (struct k_out_file){ .bytes = m->plan->total, .consts = &m->head, .n_consts = 1 };
}

/* Part `part` of n with a block of 5 bytes at `at` of the data; at < 0: an empty one. */
static void make_part(const struct model *m, const char *path, int part, int n, int64_t at, uint8_t key)
{
	struct k_out_opts o = { .path = path, .part = part, .n_parts = n, .key = { key } };
	struct k_record r = { .at = { m->plan->start + (uint64_t)at }, .n = { 5 } };
	struct k_out *out;
	struct k_err err;

	K_CHECK_OK(k_out_open(&out, &o, &m->file, 1, &err));
	if (at >= 0) {
		K_CHECK_OK(k_out_put(out, 0, r.at[0], "bytes", 5, false, &err));
		K_CHECK_OK(k_sha256_once("bytes", 5, r.digest, &err));
		K_CHECK_OK(k_out_record(out, &r, &err));
	}
	K_CHECK_OK(k_out_commit(out, &err));
	k_out_close(out);
}

static int seal(const char *path, const char *word)
{
	struct k_ctx ctx = { 0 };
	struct k_err err;
	int r = k_seal(path, &ctx, &err);

	K_CHECK_MSG(r == 0 || strstr(err.msg, word), "%s", err.msg);
	return r;
}

K_TEST(seal_parts)
{
	char path[300], name[320];
	struct model m;
	struct k_source *s;
	struct k_ckpt *c;
	struct k_err err;
	uint8_t digest[32];

	snprintf(path, sizeof(path), "%s/m.kmf", k_test_dir());
	plan_model(&m, 2);
	K_CHECK(seal(path, "no parts") == K_ENOENT);
	make_part(&m, path, 1, 3, 0, 1);
	make_part(&m, path, 3, 3, -1, 1);
	K_CHECK(seal(path, "part 2 of 3 is missing") == K_ENOENT);
	make_part(&m, path, 2, 3, 64, 2);
	K_CHECK(seal(path, "part 2 was made from another input") == K_ECHECK);
	/* As many bytes as there should be, but not the right ones. */
	make_part(&m, path, 2, 3, 0, 1);
	K_CHECK(seal(path, "no part has all bytes of b") == K_ECHECK);
	make_part(&m, path, 2, 3, 64, 1);
	snprintf(name, sizeof(name), "%s.parts", path);
	flip(name, (off_t)m.plan->start + 66);
	K_CHECK(seal(path, "make that part again") == K_ECHECK);
	flip(name, (off_t)m.plan->start + 66);
	flip(name, (off_t)m.plan->start + 20);
	K_CHECK(seal(path, "padding") == K_EFORMAT);
	flip(name, (off_t)m.plan->start + 20);
	K_CHECK(seal(path, "") == 0);
	K_CHECK_OK(k_source_open(&s, path, &err));
	K_CHECK_OK(k_kmf_open(&c, s, false, NULL, &err));
	K_CHECK_OK(k_sha256_once("bytes", 5, digest, &err));
	K_CHECK(memcmp(k_kmf_digests(c) + 32, digest, 32) == 0);
	k_ckpt_close(c);
	k_kmf_plan_free(m.plan);
}

/* Parts go where a link leads; so their name is that which they were made under. */
K_TEST(seal_through_a_link)
{
	char link[300], path[300];
	struct model m;

	snprintf(link, sizeof(link), "%s/link", k_test_dir());
	snprintf(path, sizeof(path), "%s/m.kmf", k_test_dir());
	K_CHECK(!symlink("m.kmf", link));
	plan_model(&m, 1);
	make_part(&m, link, 1, 1, 0, 1);
	K_CHECK(seal(link, "") == 0);
	K_CHECK(k_path_exists(path) && unlink(link) == 0);
	k_kmf_plan_free(m.plan);
}

K_TEST(seal_hostile)
{
	char path[300];
	struct model m;

	snprintf(path, sizeof(path), "%s/m.kmf", k_test_dir());
	plan_model(&m, 0);
	make_part(&m, path, 1, 1, 0, 1);
	K_CHECK(seal(path, "bytes that no tensor has") == K_ECHECK);
	k_kmf_plan_free(m.plan);
	plan_model(&m, 2);
	for (int64_t at = 1; at < 200; at += 66) {
		make_part(&m, path, 1, 1, at, 1);
		K_CHECK(seal(path, "bytes that no tensor has") == K_ECHECK);
	}
	k_kmf_plan_free(m.plan);
}
