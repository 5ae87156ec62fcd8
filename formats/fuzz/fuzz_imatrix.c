/* fuzz_imatrix.c: any bytes are activation statistics or an error; what was read gives sums for a weight, or the error that it does
 * not fit. */
#include "libcore/base.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "formats/imatrix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void add(const struct k_imatrix *m, const char *name, int64_t cols)
{
	struct k_entry e = { .name = name, .source = "blk.0.ffn_up.weight", .ndim = 3, .shape = { 2, 2, cols } };
	double sums[32] = { 0 }, count = 0;
	struct k_err err = { 0 };

	e.type = k_qtype_find("f32", NULL);
	for (int64_t i = 0; i < 2; i++)
		if (k_imatrix_add(m, NULL, &e, i, sums, &count, &err) == 0 && !(count >= 0 && sums[0] >= 0))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct k_err err = { 0 };
	struct k_imatrix *m;
	char path[64];
	int fd = memfd_create("imatrix", 0), r;

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = k_imatrix_open(&m, path, NULL, &err);
	if (r == 0) {
		add(m, "a", 4);
		add(m, "blk.0.ffn_up.weight", 32);
		k_imatrix_close(m);
	}
	close(fd);
	return r == 0 ? 0 : -1;
}
