/* fuzz_archive.c: any bytes are an archive of a model or an error, from a file and from a pipe alike.
 *
 * A change of a header breaks its checksum, and nothing behind that would be tried: so an input is tried as it is, then with the
 * checksums that fit. */
#include "libcore/base.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "formats/fuzz/fuzz_read.h"

enum { BLOCK = 512, PIPE_MOST = 1 << 16, MAX_MEMORY = 64 << 20 };

static int read_source(struct k_source *src)
{
	const struct k_format *f = k_format_find("tar");
	const struct k_ctx ctx = { .max_memory = MAX_MEMORY };
	struct k_format_in in = { .path = "input", .ctx = &ctx, .src = src };
	struct k_err err = { 0 };
	struct k_ckpt *c;
	const void *head;
	size_t n;
	int r;

	if (k_source_peek(src, &head, 4096, &n, &err) < 0 || f->taste(&in, head, n) == 0) {
		k_source_close(src);
		return -1;
	}
	if (f->open(&c, &in, &err) < 0)
		return 1;
	r = fuzz_read_all(c, &err);
	k_ckpt_close(c);
	return r == 0 ? 0 : 1;
}

static int read_file(const uint8_t *p, size_t n)
{
	struct k_err err = { 0 };
	struct k_source *src;

	return k_source_mem(&src, p, n, false, "input", &err) < 0 ? -1 : read_source(src);
}

static int read_pipe(const uint8_t *p, size_t n)
{
	struct k_err err = { 0 };
	struct k_source *src;
	char name[64];
	int fds[2], r = -1;

	if (n > PIPE_MOST || pipe(fds) < 0)
		return -1;
	if (write(fds[1], p, n) != (ssize_t)n)
		abort();
	close(fds[1]);
	snprintf(name, sizeof(name), "/dev/fd/%d", fds[0]);
	if (k_source_open(&src, name, &err) == 0)
		r = read_source(src);
	close(fds[0]);
	return r;
}

static int try_archive(const uint8_t *p, size_t n)
{
	int file = read_file(p, n), pipe = read_pipe(p, n);

	/* What a file holds a pipe brings. */
	if (file == 0 && n <= PIPE_MOST && pipe != 0)
		abort();
	return file;
}

/* Headers follow each other by the sizes that they have. */
static void mend(uint8_t *p, size_t n)
{
	for (size_t at = 0; at + BLOCK <= n; ) {
		uint64_t size = 0;
		unsigned sum = 0;

		memset(p + at + 148, ' ', 8);
		for (int i = 0; i < BLOCK; i++)
			sum += p[at + (size_t)i];
		snprintf((char *)p + at + 148, 8, "%06o", sum);
		for (int i = 124; i < 135 && p[at + (size_t)i] >= '0' && p[at + (size_t)i] <= '7'; i++)
			size = 8 * size + p[at + (size_t)i] - '0';
		at += BLOCK + K_MIN(k_align_up(size, BLOCK), (uint64_t)n);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;
	int r;

	unsetenv("TMPDIR");
	if (size < BLOCK)
		return try_archive(data, size) < 0 ? -1 : 0;
	copy = malloc(size);
	if (!copy)
		abort();
	memcpy(copy, data, size);
	r = try_archive(data, size);
	mend(copy, size);
	r = K_MAX(r, try_archive(copy, size));
	free(copy);
	return r < 0 ? -1 : 0;
}
