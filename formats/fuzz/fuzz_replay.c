/* fuzz_replay.c: main for a fuzz target where there is no libFuzzer.
 *
 *   fuzz_X FILE|FOLDER...              runs the target once over each file
 *   fuzz_X --mutate SECONDS FOLDER     changes files that the target takes (returns 0 for), and its own seeds, until the time is over
 *
 * The target runs in a child whose input lies in shared memory, so whatever ends it (a sanitizer, a signal, the alarm after a minute)
 * leaves the input behind: it is written to crash-TARGET. The changes come from a fixed seed: a second run does the same. */
#include "libcore/base.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Texts that a target begins with beside the files; it may have none. */
extern const char *const fuzz_seeds[] __attribute__((weak));

enum { INPUT_MAX = 16 << 20, SEED_MAX = 256 << 10, SEEDS_MAX = 4096, SECONDS_AN_INPUT = 60 };

struct shared { uint64_t runs; size_t size; char name[512]; uint8_t data[INPUT_MAX]; };
struct seed { uint8_t *data; size_t size; };
struct run { struct shared *now; struct seed seeds[SEEDS_MAX]; int n_seeds; uint64_t random; };

/* An allocation of a gigabyte follows from a number in the file and not from its length. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "max_allocation_size_mb=1024"; }

/* Runs the input that lies in shared memory. A copy of just its size shows a read behind its end. */
static int try_it(struct shared *now)
{
	uint8_t *copy = malloc(now->size ? now->size : 1);
	int taken;

	if (!copy)
		return -1;
	memcpy(copy, now->data, now->size);
	alarm(SECONDS_AN_INPUT);
	taken = LLVMFuzzerTestOneInput(copy, now->size);
	alarm(0);
	free(copy);
	now->runs++;
	return taken;
}

/* --- files -------------------------------------------------------------------------------------------------------------- */

static bool load(struct shared *now, const char *path, size_t max)
{
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!f)
		return false;
	n = fread(now->data, 1, max, f);
	/* A file that is too long is left out. */
	if (getc(f) != EOF || ferror(f))
		n = 0;
	fclose(f);
	now->size = n;
	snprintf(now->name, sizeof(now->name), "%s", path);
	return n > 0;
}

/* Calls fn for each file under path, in order of names. */
static void each_file(struct run *r, const char *path, void (*fn)(struct run *, const char *))
{
	struct dirent **names;
	struct stat st;
	char child[4096];
	int n;

	if (stat(path, &st) < 0) {
		perror(path);
		exit(5);
	}
	if (S_ISREG(st.st_mode))
		fn(r, path);
	if (!S_ISDIR(st.st_mode) || (n = scandir(path, &names, NULL, alphasort)) < 0)
		return;
	for (int i = 0; i < n; i++) {
		bool fits = snprintf(child, sizeof(child), "%s/%s", path, names[i]->d_name) < (int)sizeof(child);

		if (names[i]->d_name[0] != '.' && fits && lstat(child, &st) == 0 && !S_ISLNK(st.st_mode))
			each_file(r, child, fn);
		free(names[i]);
	}
	free(names);
}

static void replay(struct run *r, const char *path)
{
	if (load(r->now, path, INPUT_MAX))
		try_it(r->now);
}

/* --- mutation ----------------------------------------------------------------------------------------------------------- */

static uint64_t next(struct run *r)
{
	r->random ^= r->random >> 12;
	r->random ^= r->random << 25;
	r->random ^= r->random >> 27;
	return r->random * 0x2545f4914f6cdd1d;
}
static size_t below(struct run *r, size_t n) { return n ? (size_t)(next(r) >> 11) % n : 0; }
/* 1 .. 2^log2, small numbers more often, but not more than most. */
static size_t length(struct run *r, size_t log2, size_t most)
{
	size_t n = 1 + below(r, (size_t)1 << below(r, log2 + 1));

	return K_MIN(n, most);
}

static void keep_seed(struct run *r)
{
	struct seed *s = &r->seeds[r->n_seeds];

	if (r->n_seeds == SEEDS_MAX || try_it(r->now) != 0)
		return;
	s->data = malloc(r->now->size + 1);
	if (!s->data)
		return;
	memcpy(s->data, r->now->data, r->now->size);
	s->size = r->now->size;
	r->n_seeds++;
}

static void offer(struct run *r, const char *path)
{
	if (load(r->now, path, SEED_MAX))
		keep_seed(r);
}

static void offer_own(struct run *r)
{
	for (const char *const *s = fuzz_seeds; s && *s; s++) {
		r->now->size = strlen(*s);
		memcpy(r->now->data, *s, r->now->size);
		snprintf(r->now->name, sizeof(r->now->name), "own seed %d", (int)(s - fuzz_seeds));
		keep_seed(r);
	}
}

/* Replaces `old` bytes at `at` by `size` new ones. */
static void splice(struct shared *now, size_t at, size_t old, const void *p, size_t size)
{
	if (now->size - old + size > SEED_MAX * 2)
		return;
	memmove(now->data + at + size, now->data + at + old, now->size - at - old);
	memcpy(now->data + at, p, size);
	now->size += size - old;
}

static void change_byte(struct run *r, size_t at)
{
	static const uint8_t bytes[] = { 0, 1, 0x7f, 0x80, 0xff, '"', '{', '}', '[', ']', ',', ':', '\\', '-', '/', '*', '.', ' ', '\n',
		0xc3, 0xed };

	if (at < r->now->size)
		r->now->data[at] = next(r) & 1 ? r->now->data[at] ^ (uint8_t)(1 << below(r, 8)) : bytes[below(r, K_LEN(bytes))];
}

static void change_number(struct run *r, size_t at)
{
	static const uint64_t numbers[] = { 0, 1, 2, 31, 32, 64, 255, 256, 4095, 4096, 65535, 65536, 0x7fffffff, 0x80000000, 0xffffffff,
		0x100000000, (uint64_t)1 << 40, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX, UINT64_MAX - 7 };
	uint64_t v = numbers[below(r, K_LEN(numbers))] + below(r, 3) - 1;
	size_t n = (size_t)1 << (1 + below(r, 3));

	if (n <= r->now->size && at <= r->now->size - n)
		memcpy(r->now->data + at, &v, n);
}

/* The next number in digits becomes another one. */
static void change_digits(struct run *r, size_t at)
{
	static const char *const texts[] = { "0", "1", "-1", "2", "16", "32", "64", "128", "255", "65536", "2147483648", "4294967296",
		"1099511627776", "4611686018427387904", "9223372036854775807", "9223372036854775808", "18446744073709551616", "1e400", "1.5", "00", "null",
		"[]", "{}", "\"\"" };
	struct shared *now = r->now;
	const char *text = texts[below(r, K_LEN(texts))];
	size_t end;

	while (at < now->size && (now->data[at] < '0' || now->data[at] > '9'))
		at++;
	for (end = at; end < now->size && now->data[end] >= '0' && now->data[end] <= '9'; )
		end++;
	if (end > at)
		splice(now, at, end - at, text, strlen(text));
}

static void copy_part(struct run *r, size_t at)
{
	const struct seed *s = &r->seeds[below(r, (size_t)r->n_seeds)];
	size_t from = below(r, s->size), n = length(r, 11, s->size - from);
	size_t old = next(r) & 1 ? K_MIN(n, r->now->size - at) : 0;

	splice(r->now, at, old, s->data + from, n);
}

static void remove_part(struct run *r, size_t at)
{
	splice(r->now, at, length(r, 9, r->now->size - at), "", 0);
}

static void cut(struct run *r, size_t at) { r->now->size = at; }

/* Heads are short and matter most: half of all changes are made there. */
static size_t somewhere(struct run *r)
{
	size_t n = r->now->size;

	return next(r) & 1 || n == 0 ? below(r, n) : length(r, 12, n) - 1;
}

static void mutate(struct run *r)
{
	static void (*const changes[])(struct run *, size_t) = { change_byte, change_byte, change_byte, change_number, change_number,
		change_digits, change_digits, change_digits, copy_part, copy_part, remove_part, remove_part, cut };
	const struct seed *s = &r->seeds[below(r, (size_t)r->n_seeds)];
	const struct seed *other = &r->seeds[below(r, (size_t)r->n_seeds)];

	/* Small ones are quick; large ones get their turn all the same. */
	if (next(r) % 4 && other->size < s->size)
		s = other;
	memcpy(r->now->data, s->data, s->size);
	r->now->size = s->size;
	for (size_t n = length(r, 3, 8); n > 0; n--)
		changes[below(r, K_LEN(changes))](r, somewhere(r));
	snprintf(r->now->name, sizeof(r->now->name), "mutation %llu", (unsigned long long)r->now->runs);
	try_it(r->now);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int mutate_for(struct run *r, double seconds, const char *folder)
{
	double end = now_s() + seconds;

	r->random = 0x9e3779b97f4a7c15;
	each_file(r, folder, offer);
	offer_own(r);
	if (r->n_seeds == 0) {
		fprintf(stderr, "no file under %s is taken\n", folder);
		return 2;
	}
	fprintf(stderr, "%d seeds\n", r->n_seeds);
	while (now_s() < end)
		for (int i = 0; i < 64; i++)
			mutate(r);
	return 0;
}

/* --- parent and child --------------------------------------------------------------------------------------------------- */

static int child(struct run *r, int argc, char **argv)
{
	char *end;

	if (strcmp(argv[1], "--mutate") == 0) {
		double seconds = argc == 4 ? strtod(argv[2], &end) : -1;

		if (seconds < 0 || *end) {
			fprintf(stderr, "%s: wanted --mutate SECONDS FOLDER\n", argv[0]);
			return 2;
		}
		return mutate_for(r, seconds, argv[3]);
	}
	for (int i = 1; i < argc; i++)
		each_file(r, argv[i], replay);
	return 0;
}

static int report(const struct shared *now, const char *target, int status)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "crash-%s", target);
	fprintf(stderr, "%s: %s %d on %s (%zu bytes), kept as %s\n", target, WIFSIGNALED(status) ? "signal" : "status",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), now->name, now->size, path);
	f = fopen(path, "wb");
	if (f) {
		fwrite(now->data, 1, now->size, f);
		fclose(f);
	}
	return 1;
}

int main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/'), *target = slash ? slash + 1 : argv[0];
	static struct run r;
	int status;
	pid_t pid;

	if (argc < 2) {
		fprintf(stderr, "usage: %s FILE|FOLDER... or %s --mutate SECONDS FOLDER\n", target, target);
		return 2;
	}
	r.now = mmap(NULL, sizeof(*r.now), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r.now == MAP_FAILED) {
		perror("mmap");
		return 6;
	}
	pid = fork();
	if (pid == 0)
		exit(child(&r, argc, argv));
	if (pid < 0 || waitpid(pid, &status, 0) < 0) {
		perror("fork");
		return 6;
	}
	if (WIFEXITED(status) && (WEXITSTATUS(status) == 2 || WEXITSTATUS(status) == 5))
		return WEXITSTATUS(status);
	if (status != 0)
		return report(r.now, target, status);
	printf("%s: %llu inputs\n", target, (unsigned long long)r.now->runs);
	return 0;
}
