/* archive_test.c: a model in a tar archive is the model in the folder, whatever the order of the members, from a file and from a
 * pipe, plain and packed; names, links and sizes that are hostile are refused. The archives are put together here, header by
 * header. */
#include "libcore/base.h"
#include "formats/test/same.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const files[] = { "config.json", "model-00002-of-00002.safetensors", "tiktoken.model", "model-00001-of-00002.safetensors",
	"tokenizer_config.json", "generation_config.json", "model.safetensors.index.json" };
#define MODEL "tiny/kimi-k2-tiny-int4"

static const char *in_dir(const char *name)
{
	static char paths[4][700];
	static int turn;
	char *p = paths[turn++ % 4];

	snprintf(p, sizeof(paths[0]), "%s/%s", k_test_dir(), name);
	return p;
}

static void header(struct k_buf *b, const char *name, char type, uint64_t size, const char *link)
{
	unsigned char h[512] = { 0 };
	unsigned sum = 0;

	K_CHECK(strlen(name) < 100 && strlen(link) < 100);
	memcpy(h, name, strlen(name));
	memcpy(h + 100, "0000644\0000000000\0000000000", 23);
	sprintf((char *)h + 124, "%011llo", (unsigned long long)size);
	memcpy(h + 136, "00000000000", 11);
	memset(h + 148, ' ', 8);
	h[156] = (unsigned char)type;
	memcpy(h + 157, link, strlen(link));
	memcpy(h + 257, "ustar\00000", 8);
	for (int i = 0; i < 512; i++)
		sum += h[i];
	sprintf((char *)h + 148, "%06o", sum);
	k_buf_put(b, h, 512);
}

static void member(struct k_buf *b, const char *name, const void *p, size_t n)
{
	header(b, name, '0', n, "");
	k_buf_put(b, p, n);
	while (b->len % 512)
		k_buf_putc(b, 0);
}

/* The model's files under a folder, in the order of `files` or the other way round. */
static void model(struct k_buf *b, const char *folder, bool backwards)
{
	char name[200], path[200];
	struct k_err err;
	struct k_buf f;

	for (size_t i = 0; i < K_LEN(files); i++) {
		const char *file = files[backwards ? K_LEN(files) - 1 - i : i];

		snprintf(name, sizeof(name), "%s%s", folder, file);
		snprintf(path, sizeof(path), MODEL "/%s", file);
		k_buf_init(&f, 0);
		K_CHECK_OK(k_read_file(k_test_data(path), &f, 1 << 26, &err));
		member(b, name, f.data, f.len);
		k_buf_fini(&f);
	}
}

static void end(struct k_buf *b) { k_buf_put(b, (char[1024]){ 0 }, 1024); }

static void put(const char *path, const struct k_buf *b)
{
	FILE *f = fopen(path, "wb");

	K_CHECK(f && fwrite(b->data, 1, b->len, f) == b->len && !fclose(f));
}

/* Opens what `path` holds through a pipe, which a child fills. */
static int open_pipe(struct k_ckpt **c, const char *path, const struct k_ctx *ctx, struct k_err *err)
{
	char fifo[700];
	pid_t child;
	int r, status;

	snprintf(fifo, sizeof(fifo), "%s/fifo", k_test_dir());
	unlink(fifo);
	K_CHECK(mkfifo(fifo, 0600) == 0);
	child = fork();
	if (child == 0) {
		K_CHECK(dup2(open(fifo, O_WRONLY), 1) == 1);
		execlp("cat", "cat", path, (char *)NULL);
		_exit(1);
	}
	r = k_format_open(c, fifo, false, ctx, err);
	kill(child, SIGTERM);
	waitpid(child, &status, 0);
	return r;
}

static void check_same(const char *name, struct k_ckpt *want)
{
	/* A ceiling so low that shards go to disk; and none. */
	struct k_ctx small = { .max_memory = 100000, .spool = k_test_dir() }, none = { 0 };
	struct k_ckpt *c;
	struct k_err err;
	char path[700];

	snprintf(path, sizeof(path), "%s/%s", k_test_dir(), name);
	c = k_same_open(path);
	k_same(want, c);
	k_ckpt_close(c);
	K_CHECK_OK(open_pipe(&c, path, &none, &err));
	k_same(want, c);
	k_ckpt_close(c);
	K_CHECK_OK(open_pipe(&c, path, &small, &err));
	k_same(want, c);
	k_ckpt_close(c);
}

K_TEST(model_in_an_archive_is_the_model)
{
	static const char *const folders[] = { "", "./", "model/", "./a/b/" };
	struct k_ckpt *want = k_same_open(k_test_data(MODEL));
	struct k_buf b;

	for (size_t i = 0; i < K_LEN(folders); i++)
		for (int back = 0; back < 2; back++) {
			k_buf_init(&b, 0);
			if (folders[i][0])
				header(&b, folders[i], '5', 0, "");
			model(&b, folders[i], back);
			end(&b);
			put(in_dir("tar"), &b);
			check_same("tar", want);
			k_buf_fini(&b);
		}
	k_ckpt_close(want);
}

K_TEST(only_the_folder_nearest_to_the_top_counts)
{
	struct k_ckpt *want = k_same_open(k_test_data(MODEL));
	struct k_buf b;

	k_buf_init(&b, 0);
	member(&b, "pictures/a.safetensors", "x", 1);
	member(&b, "more/b.safetensors", "x", 1);
	member(&b, ".git/config", "x", 1);
	model(&b, "", false);
	member(&b, "original/config.json", "x", 1);
	end(&b);
	put(in_dir("tar"), &b);
	check_same("tar", want);
	k_buf_fini(&b);
	k_ckpt_close(want);
}

K_TEST(archive_packed_with_gzip_xz_and_zstd)
{
	static const char *const tools[] = { "gzip -c", "xz -0 -c", "zstd -qc" };
	struct k_ckpt *want = k_same_open(k_test_data(MODEL));
	char command[1600];
	struct k_buf b;
	int n = 0;

	k_buf_init(&b, 0);
	model(&b, "m/", false);
	end(&b);
	put(in_dir("tar"), &b);
	for (size_t i = 0; i < K_LEN(tools); i++) {
		snprintf(command, sizeof(command), "%s < '%s' > '%s' 2> /dev/null", tools[i], in_dir("tar"), in_dir("packed"));
		if (system(command) != 0)
			continue;
		check_same("packed", want);
		n++;
	}
	k_buf_fini(&b);
	k_ckpt_close(want);
	if (n == 0)
		k_test_skip("no program packs here");
}

static bool run(const char *format, const char *from, const char *to)
{
	char command[2000];

	snprintf(command, sizeof(command), format, from, from, to);
	return system(command) == 0;
}

/* Zeros may stand behind; members one behind the other are one stream. */
K_TEST(archive_packed_with_gzip_in_pieces)
{
	struct k_ckpt *want = k_same_open(k_test_data(MODEL));
	struct k_buf b;

	k_buf_init(&b, 0);
	model(&b, "m/", false);
	end(&b);
	put(in_dir("tar"), &b);
	k_buf_fini(&b);
	if (!run("(head -c 3000 '%s' | gzip -c; tail -c +3001 '%s' | gzip -c; head -c 700 /dev/zero) > '%s' 2> /dev/null", in_dir("tar"),
		in_dir("packed"))) {
		k_ckpt_close(want);
		k_test_skip("no gzip here");
	}
	check_same("packed", want);
	k_ckpt_close(want);
}

/* A wrong bit, also in the checksum that stands behind tar's end; an end that is missing; something behind it. */
K_TEST(archive_packed_with_gzip_and_damaged)
{
	static const struct { int bit_at, add; const char *say; } all[] = { { 5000, 0, "" }, { -4000, 0, "" }, { -8, 0, "damaged" },
		{ -1, 0, "damaged" }, { 0, -1, "ends early" }, { 0, -9, "ends early" }, { 0, 40, "behind its end" } };
	struct k_ckpt *c;
	struct k_err err;
	struct k_buf b, z;

	k_buf_init(&b, 0);
	k_buf_init(&z, 0);
	model(&b, "m/", false);
	end(&b);
	put(in_dir("tar"), &b);
	if (!run("test -e '%s' && gzip -nc '%s' > '%s' 2> /dev/null", in_dir("tar"), in_dir("packed"))) {
		k_buf_fini(&b);
		k_test_skip("no gzip here");
	}
	K_CHECK_OK(k_read_file(in_dir("packed"), &z, 1 << 26, &err));
	for (size_t i = 0; i < K_LEN(all); i++) {
		k_buf_reset(&b);
		k_buf_put(&b, z.data, z.len - (size_t)K_MAX(-all[i].add, 0));
		for (int k = 0; k < all[i].add; k++)
			k_buf_putc(&b, 'x');
		if (all[i].bit_at)
			b.data[all[i].bit_at + (all[i].bit_at < 0 ? (int64_t)b.len : 0)] ^= 4;
		put(in_dir("bad"), &b);
		K_CHECK(k_err_exit(k_format_open(&c, in_dir("bad"), false, &(struct k_ctx){ 0 }, &err)) == 3);
		K_CHECK_MSG(strstr(err.msg, all[i].say), "%s", err.msg);
		K_CHECK(k_err_exit(open_pipe(&c, in_dir("bad"), &(struct k_ctx){ 0 }, &err)) == 3);
	}
	k_buf_fini(&z);
	k_buf_fini(&b);
}

K_TEST(archive_that_does_not_fit_says_so)
{
	struct k_ctx small = { .max_memory = 100000 };
	struct k_ckpt *c;
	struct k_err err;
	struct k_buf b;

	unsetenv("TMPDIR");
	k_buf_init(&b, 0);
	model(&b, "", false);
	end(&b);
	put(in_dir("tar"), &b);
	K_CHECK(open_pipe(&c, in_dir("tar"), &small, &err) == K_ENOMEM && strstr(err.msg, "--spool"));
	k_buf_fini(&b);
}

K_TEST(archive_of_one_file)
{
	struct k_ckpt *c, *want = k_same_open(k_test_data("bad/safetensors/ok_two.safetensors"));
	struct k_err err;
	struct k_buf b, f;

	k_buf_init(&b, 0);
	k_buf_init(&f, 0);
	K_CHECK_OK(k_read_file(k_test_data("bad/safetensors/ok_two.safetensors"), &f, 1 << 20, &err));
	member(&b, "d/any.name", f.data, f.len);
	member(&b, "d/README.md", "# it", 4);
	end(&b);
	put(in_dir("tar"), &b);
	check_same("tar", want);
	k_ckpt_close(want);
	/* An archive in an archive is not opened. */
	k_buf_reset(&f);
	member(&f, "a.tar", b.data, b.len);
	end(&f);
	put(in_dir("tar"), &f);
	K_CHECK(k_format_open(&c, in_dir("tar"), false, &(struct k_ctx){ 0 }, &err) == K_EUNSUP);
	k_buf_fini(&b);
	k_buf_fini(&f);
}

K_TEST(hostile_archives_are_refused)
{
	static const struct { const char *name; char type; const char *link; int exit; const char *say; } all[] = {
		{ "../x", '0', "", 3, "'..'" }, { "a/../../x", '0', "", 3, "'..'" }, { "/etc/x", '0', "", 3, "relative" }, { "a\\x", '0', "", 3, "relative" },
		{ "a//x", '0', "", 3, "empty" }, { "c:x", '0', "", 3, "relative" }, { "a/./x", '0', "", 3, "'.'" }, { "\xff", '0', "", 3, "UTF-8" },
		{ "1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7", '0', "", 3, "deep" }, { "config.json", '0', "", 3, "two files" }, { "Config.JSON", '0', "", 3, "two files" },
		{ "x", '2', "/etc/passwd", 4, "link" }, { "x", '1', "config.json", 4, "link" }, { "x", '3', "", 4, "neither" }, { "x", '6', "", 4, "neither" },
	};
	struct k_ckpt *c;
	struct k_err err;
	struct k_buf b;

	for (size_t i = 0; i < K_LEN(all); i++) {
		k_buf_init(&b, 0);
		model(&b, "", false);
		header(&b, all[i].name, all[i].type, 0, all[i].link);
		end(&b);
		put(in_dir("tar"), &b);
		K_CHECK_MSG(k_err_exit(k_format_open(&c, in_dir("tar"), false, &(struct k_ctx){ 0 }, &err)) == all[i].exit, "%s: exit %d", all[i].name,
			k_err_exit(err.code));
		K_CHECK_MSG(strstr(err.msg, all[i].say), "%s", err.msg);
		K_CHECK(k_err_exit(open_pipe(&c, in_dir("tar"), &(struct k_ctx){ 0 }, &err)) == all[i].exit);
		k_buf_fini(&b);
	}
}

K_TEST(archive_that_promises_more_than_it_has)
{
	static const uint64_t sizes[] = { 10000, 100u << 20, UINT64_C(8) << 30 };
	struct k_ckpt *c;
	struct k_err err;
	struct k_buf b;

	unsetenv("TMPDIR");
	for (size_t i = 0; i < K_LEN(sizes); i++) {
		k_buf_init(&b, 0);
		header(&b, "model.safetensors", '0', sizes[i], "");
		k_buf_put(&b, (char[512]){ 0 }, 512);
		put(in_dir("tar"), &b);
		K_CHECK(k_err_exit(k_format_open(&c, in_dir("tar"), false, &(struct k_ctx){ 0 }, &err)) == 3);
		K_CHECK(k_err_exit(open_pipe(&c, in_dir("tar"), &(struct k_ctx){ 0 }, &err)) == (i == 2 ? 6 : 3));
		k_buf_fini(&b);
	}
}

K_TEST(archive_cut_anywhere_is_no_model)
{
	struct k_ckpt *c;
	struct k_err err;
	struct k_buf b;
	size_t all;

	k_buf_init(&b, 0);
	model(&b, "", true);
	all = b.len;
	for (size_t n = 0; n < all; n += 511 + n / 16) {
		b.len = n;
		put(in_dir("tar"), &b);
		K_CHECK_MSG(k_err_exit(k_format_open(&c, in_dir("tar"), false, &(struct k_ctx){ 0 }, &err)) == 3, "%zu bytes", n);
	}
	k_buf_fini(&b);
}
