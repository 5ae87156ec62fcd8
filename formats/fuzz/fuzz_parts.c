/* fuzz_parts.c: any journal and any unfinished file are an output or an error; what is sealed is a container that verifies.
 *
 * An input is the length of a journal (u32), the journal of part 1 of 1, and the file of the parts. Each is tried as it is, then with
 * the checks that fit: of the journal's head, of its records, and of the blocks that the records name. */
#include "libcore/base.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "formats/fuzz/fuzz_read.h"
#include "libcore/hash.h"
#include "libcore/journal.h"
#include "libcore/kmf.h"
#include "libcore/seal.h"

enum { HEAD = 64, RECORD = 72, PATH = 256 };

static void must(int r) { if (r < 0) abort(); }

static uint64_t get(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	memcpy(&v, p, n);
	return v;
}

static void put_file(const char *path, const uint8_t *p, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, p, n) != (ssize_t)n)
		abort();
	close(fd);
}

/* Checks as journal.h says. */
static void mend(uint8_t *j, size_t n, const uint8_t *file, size_t size)
{
	uint8_t digest[32], text[8 + RECORD];
	struct k_err err = { 0 };

	if (n < HEAD)
		return;
	must(k_sha256_once(j, 48, digest, &err));
	memcpy(j + 48, digest, 16);
	for (size_t i = 0; HEAD + (i + 1) * RECORD <= n; i++) {
		uint8_t *r = j + HEAD + i * RECORD;
		uint64_t at = get(r + 8, 8), len = get(r + 24, 8), at2 = get(r + 16, 8), len2 = get(r + 32, 8), number = i;

		if (len2 == 0 && at2 == 0 && len > 0 && at <= size && len <= size - at)
			must(k_sha256_once(file + at, (size_t)len, r + 40, &err));
		memcpy(text, &number, 8);
		memcpy(text + 8, r, RECORD);
		memset(text + 12, 0, 4);
		must(k_sha256_once(text, sizeof(text), digest, &err));
		memcpy(r + 4, digest, 4);
	}
}

static void read_journal(const char *path)
{
	struct k_journal_id id;
	struct k_journal *j;
	struct k_record record;
	struct k_err err = { 0 };
	int64_t n;

	if (k_journal_read(&j, path, &id, &err) < 0)
		return;
	n = k_journal_n(j);
	for (int64_t i = 0; i < n; i++)
		must(k_journal_get(j, i, &record, &err));
	k_journal_close(j);
	/* Goes on where it ended: one record more, and the others are still there. */
	must(k_journal_open(&j, path, &id, true, &err));
	record = (struct k_record){ .at = { 1, 0 }, .n = { 1, 0 } };
	if (!k_journal_ended(j))
		must(k_journal_add(j, &record, &err));
	k_journal_close(j);
	must(k_journal_read(&j, path, &id, &err));
	if (k_journal_n(j) < n)
		abort();
	k_journal_close(j);
}

static int try_parts(const char *dir, const uint8_t *journal, size_t n, const uint8_t *file, size_t size)
{
	char part[PATH], parts[PATH], out[PATH];
	const struct k_ctx ctx = { 0 };
	struct k_err err = { 0 };
	struct k_source *src;
	struct k_ckpt *c;
	int r;

	snprintf(out, sizeof(out), "%s/o", dir);
	snprintf(part, sizeof(part), "%s/o.part-1-of-1", dir);
	snprintf(parts, sizeof(parts), "%s/o.parts", dir);
	put_file(part, journal, n);
	read_journal(part);
	put_file(part, journal, n);
	put_file(parts, file, size);
	r = k_seal(out, &ctx, &err);
	if (r == 0 && size >= 8 && memcmp(file, K_KMF_MAGIC, 8) == 0) {
		must(k_source_open(&src, out, &err));
		must(k_kmf_open(&c, src, false, NULL, &err));
		k_ckpt_close(c);
	}
	unlink(out);
	unlink(part);
	unlink(parts);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char dir[] = "/dev/shm/fuzz_parts.XXXXXX";      /* where writing through costs nothing */
	uint8_t *journal;
	size_t n;
	int r;

	if (size < 4 || (n = (size_t)get(data, 4)) > size - 4 || !mkdtemp(dir))
		return -1;
	r = try_parts(dir, data + 4, n, data + 4 + n, size - 4 - n);
	journal = malloc(n + 1);
	if (!journal)
		abort();
	memcpy(journal, data + 4, n);
	mend(journal, n, data + 4 + n, size - 4 - n);
	r = K_MAX(r, try_parts(dir, journal, n, data + 4 + n, size - 4 - n));
	free(journal);
	rmdir(dir);
	return r < 0 ? -1 : 0;
}
