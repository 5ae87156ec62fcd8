/* hf_test.c: folders that are read, written and read again; the shared set of damaged ones; links; what a failure leaves. */
#include "libcore/base.h"
#include "formats/st.h"
#include "formats/test/same.h"
#include "libcore/io_place.h"
#include <stdio.h>
#include <unistd.h>
#include <sys/stat.h>

static const struct k_ctx no_ctx;

static const char *in_dir(const char *name)
{
	static char paths[4][700];
	static int turn;
	char *p = paths[turn++ % 4];

	snprintf(p, sizeof(paths[0]), "%s/%s", k_test_dir(), name);
	return p;
}

/* --- the set of damaged files ------------------------------------------------------------------------------------------------- */

static bool may_be(const char *classes, int status)
{
	static const struct { const char *name; int status; } all[] = {
		{ "format", 3 }, { "shape", 3 }, { "missing", 3 }, { "unsupported", 4 }, { "ok", 0 },
	};

	for (size_t i = 0; i < K_LEN(all); i++)
		if (all[i].status == status && strstr(classes, all[i].name))
			return true;
	return false;
}

/* Links are made by a test of their own: not every checkout keeps them. */
static bool is_ours(const char *name)
{
	static const char *const folders[] = { "safetensors/", "hf/", "config/", "quant/", "tokenizer/" };

	if (strstr(name, "symlink") || strstr(name, "tokenizer/cfg_"))
		return false;
	for (size_t i = 0; i < K_LEN(folders); i++)
		if (strncmp(name, folders[i], strlen(folders[i])) == 0)
			return true;
	return false;
}

K_TEST(damaged_folders_and_files_end_in_their_class)
{
	FILE *f = fopen(k_test_data("bad/EXPECT.tsv"), "r");
	char line[1000], path[1100], *name, *classes;
	struct k_err err;
	int n = 0;

	K_CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		name = line;
		classes = strrchr(line, '\t');
		if (line[0] == '#' || !classes || !strchr(line, '\t'))
			continue;
		*strchr(line, '\t') = 0;
		if (!is_ours(name))
			continue;
		snprintf(path, sizeof(path), "bad/%s", name);
		err.msg[0] = 0;
		K_CHECK_MSG(may_be(classes, k_err_exit(k_same_verify(k_test_data(path), &err))), "%s, wanted %s: %s", name, classes, err.msg);
		n++;
	}
	fclose(f);
	K_CHECK_MSG(n > 250, "only %d cases", n);
}

/* --- links ---------------------------------------------------------------------------------------------------------------------- */

static void link_file(const char *folder, const char *name)
{
	char from[1200], to[1200], cwd[500];

	K_CHECK(getcwd(cwd, sizeof(cwd)));
	snprintf(from, sizeof(from), "%s%s%s/%s", k_test_data("")[0] == '/' ? "" : cwd, k_test_data("")[0] == '/' ? "" : "/", k_test_data(folder), name);
	snprintf(to, sizeof(to), "%s/m/%s", k_test_dir(), name);
	K_CHECK(symlink(from, to) == 0);
}

/* As in the hub's cache. */
K_TEST(folder_of_links_is_read_through_them)
{
	struct k_ckpt *a, *b;
	struct k_err err;

	K_CHECK(mkdir(in_dir("m"), 0700) == 0);
	link_file("bad/hf/ok_single", "config.json");
	K_CHECK(symlink("nowhere", in_dir("m/model.safetensors")) == 0);
	K_CHECK(k_format_open(&b, in_dir("m"), false, &no_ctx, &err) == K_ENOENT && strstr(err.msg, "nowhere"));
	unlink(in_dir("m/model.safetensors"));
	link_file("bad/hf/ok_single", "model.safetensors");
	a = k_same_open(k_test_data("bad/hf/ok_single"));
	b = k_same_open(in_dir("m"));
	k_same(a, b);
	k_ckpt_close(a);
	k_ckpt_close(b);
	unlink(in_dir("m/model.safetensors"));
	link_file("bad/hf/ok_sharded", "model.safetensors.index.json");
	link_file("bad/hf/ok_sharded", "model-00001-of-00002.safetensors");
	K_CHECK(symlink("model-00002-of-00002.safetensors", in_dir("m/model-00002-of-00002.safetensors")) == 0);
	K_CHECK(k_format_open(&b, in_dir("m"), false, &no_ctx, &err) == K_ENOENT && strstr(err.msg, "model-00002"));
}

/* The index of ok_sharded with one line of it changed, or a line more. */
static void change_index(const char *line, const char *to)
{
	FILE *in = fopen(k_test_data("bad/hf/ok_sharded/model.safetensors.index.json"), "r"), *out = fopen(in_dir("m/model.safetensors.index.json"), "w");
	char text[300];
	int n = 0;

	K_CHECK(in && out);
	while (fgets(text, sizeof(text), in)) {
		bool here = strstr(text, line);

		K_CHECK(fputs(here ? to : text, out) >= 0);
		n += here;
	}
	K_CHECK(n == 1 && fclose(out) == 0);
	fclose(in);
}

K_TEST(index_and_shards_have_the_same_tensors)
{
#define NORM "  \"model.norm.weight\": \"model-00001-of-00002.safetensors\",\n"
	static const struct { const char *to; int code; const char *say; } all[] = {
		{ NORM, 0, "" },
		{ "", K_EFORMAT, "model.norm.weight is not in the index" },
		{ "  \"model.norm.weight\": \"model-00002-of-00002.safetensors\",\n", K_EFORMAT, "model.norm.weight should be in model-00002" },
		{ NORM "  \"model.no.weight\": \"model-00001-of-00002.safetensors\",\n", K_ENOENT, "model.no.weight is missing in model-00001" },
		{ NORM NORM, K_EFORMAT, "has model.norm.weight twice" },
		{ NORM "  \"model.norm.weight\": 1,\n", K_EFORMAT, "weight_map.model.norm.weight is an integer" },
	};
#undef NORM
	struct k_err err;

	K_CHECK(mkdir(in_dir("m"), 0700) == 0);
	link_file("bad/hf/ok_sharded", "config.json");
	link_file("bad/hf/ok_sharded", "model-00001-of-00002.safetensors");
	link_file("bad/hf/ok_sharded", "model-00002-of-00002.safetensors");
	for (size_t i = 0; i < K_LEN(all); i++) {
		struct k_ckpt *c = NULL;
		int r;

		err.msg[0] = 0;
		change_index("model.norm.weight", all[i].to);
		r = k_format_open(&c, in_dir("m"), false, &no_ctx, &err);
		K_CHECK_MSG(r == all[i].code && strstr(err.msg, all[i].say), "%zu: %d %s", i, r, err.msg);
		if (r == 0)
			k_ckpt_close(c);
	}
}

/* What is no file where a file would be read: it is no model without one. */
K_TEST(folder_holds_no_file_of_that_name)
{
	static const struct { const char *name, *say; bool folder; } all[] = {
		{ "config.json", "config.json is a folder", true }, { "tokenizer.json", "tokenizer.json is a folder", true },
		{ "tiktoken.model", "tiktoken.model is a device or a pipe", false }, { "config.json", "config.json is a device or a pipe", false },
		{ "model.safetensors.index.json", "index.json is a folder", true }, { "model.safetensors", "model.safetensors is a folder", true },
		{ "LICENSE", NULL, true }, { "onnx", NULL, true }, { "socket", NULL, false },
	};
	char path[100];
	struct k_ckpt *c;
	struct k_err err;

	for (size_t i = 0; i < K_LEN(all); i++) {
		int r, want = all[i].say ? 3 : 0;

		K_CHECK(mkdir(in_dir("m"), 0700) == 0);
		link_file("bad/hf/ok_single", "config.json");
		link_file("bad/hf/ok_single", "model.safetensors");
		snprintf(path, sizeof(path), "m/%s", all[i].name);
		unlink(in_dir(path));
		K_CHECK((all[i].folder ? mkdir(in_dir(path), 0700) : mkfifo(in_dir(path), 0600)) == 0);
		r = k_format_open(&c, in_dir("m"), false, &no_ctx, &err);
		K_CHECK_MSG(k_err_exit(r) == want, "%s: exit %d", all[i].name, k_err_exit(r));
		K_CHECK_MSG(!all[i].say || strstr(err.msg, all[i].say), "%s", err.msg);
		k_ckpt_close(c);
		K_CHECK((all[i].folder ? rmdir(in_dir(path)) : unlink(in_dir(path))) == 0);
		K_CHECK_OK(k_path_remove_dir(in_dir("m"), &err));
	}
}

/* --- writing -------------------------------------------------------------------------------------------------------------------- */

static void write_hf(struct k_ckpt *c, const char *path, const struct k_write_opts *o)
{
	struct k_err err;

	K_CHECK_OK(k_same_write("hf", c, path, o, &err));
}

K_TEST(folders_are_written_as_they_were)
{
	static const char *const models[] = {
		"tiny/kimi-k2-tiny", "tiny/kimi-k2-tiny-fp8", "tiny/kimi-k2-tiny-int4", "tiny/kimi-linear-tiny-int4", "tiny/llama-tiny",
	};
	struct k_write_opts one = { .shard_size = UINT64_C(5) << 30 }, many = { .shard_size = 200000 };
	struct k_ckpt *a, *b;
	char name[100];

	for (size_t i = 0; i < K_LEN(models); i++)
		for (int k = 0; k < 2; k++) {
			snprintf(name, sizeof(name), "new/%s.%d", strrchr(models[i], '/') + 1, k);
			a = k_same_open(k_test_data(models[i]));
			write_hf(a, in_dir(name), k ? &many : &one);
			b = k_same_open(in_dir(name));
			k_same(a, b);
			k_ckpt_close(a);
			k_ckpt_close(b);
			snprintf(name, sizeof(name), "new/%s.%d/model.safetensors%s", strrchr(models[i], '/') + 1, k, k ? ".index.json" : "");
			K_CHECK_MSG(k_path_exists(in_dir(name)), "no %s", name);
		}
}

static struct k_json *config_of(const char *path)
{
	struct k_json *v;
	struct k_err err;
	struct k_buf b;

	k_buf_init(&b, 0);
	K_CHECK_OK(k_read_file(path, &b, 1 << 20, &err));
	K_CHECK_OK(k_json_parse(&v, b.data, b.len, 0, path, &err));
	k_buf_fini(&b);
	return v;
}

K_TEST(config_says_what_the_weights_are)
{
	struct k_write_opts plain = { .shard_size = UINT64_C(1) << 40, .dequant = true, .dtype = "f32" }, keep = { .shard_size = UINT64_C(1) << 40 };
	struct k_ckpt *c = k_same_open(k_test_data("tiny/kimi-linear-tiny-int4"));
	const struct k_json *q, *list;
	struct k_json *v;
	struct k_err err;
	const char *was;
	char *text;
	size_t len;
	bool head = false;

	write_hf(c, in_dir("plain"), &plain);
	v = config_of(in_dir("plain/config.json"));
	K_CHECK(!k_json_find(v, "quantization_config") && !strcmp(k_json_string(k_json_find(v, "dtype")), "float32"));
	K_CHECK(k_json_int(k_json_find(v, "num_experts")) == 8);
	k_json_free(v);
	K_CHECK_OK(k_same_verify(in_dir("plain"), &err));
	/* The same weights with a config that does not know of INT4, as kquant hands them on. */
	was = strstr(c->config, "\"quantization_config\"");
	K_CHECK(was);
	len = c->config_len;
	text = k_strndup(c->config, len);
	memcpy(text + (was - c->config), "\"quantization_zonfig\"", strlen("\"quantization_zonfig\""));
	was = c->config;
	c->config = text;
	write_hf(c, in_dir("packed"), &keep);
	c->config = was;
	k_free(text);
	k_ckpt_close(c);
	v = config_of(in_dir("packed/config.json"));
	q = k_json_find(v, "quantization_config");
	K_CHECK(q && !strcmp(k_json_string(k_json_find(q, "format")), "pack-quantized"));
	list = k_json_find(q, "ignore");
	for (size_t i = 0; i < k_json_len(list); i++) {
		head |= !strcmp(k_json_string(k_json_at(list, i)), "lm_head");
		K_CHECK(!strstr(k_json_string(k_json_at(list, i)), ".experts."));
	}
	K_CHECK(head);
	k_json_free(v);
	K_CHECK_OK(k_same_verify(in_dir("packed"), &err));
}

/* --- failures ------------------------------------------------------------------------------------------------------------------- */

static int reads_left;

static int read_some(struct k_ckpt *c, int i, uint64_t off K_UNUSED, void *dst, size_t n, struct k_err *err)
{
	memset(dst, 0, n);
	return reads_left-- > 0 ? 0 : k_err_set(err, K_ETRUNC, "%s ends", c->entries[i].name);
}

K_TEST(folder_that_fails_leaves_nothing)
{
	static const struct k_ckpt_ops ops = { .read = read_some };
	struct k_entry e[3] = { { .name = "a" }, { .name = "b" }, { .name = "c" } };
	struct k_ckpt c = { .path = "x", .config = "{}", .config_len = 2, .n_entries = 3, .entries = e, .ops = &ops };
	struct k_write_opts o = { .shard_size = 100 };
	struct k_err err;

	for (int i = 0; i < 3; i++) {
		e[i].role = "other";
		e[i].type = k_qtype_find("f32", NULL);
		e[i].ndim = 1;
		e[i].shape[0] = 25;
		K_CHECK_OK(k_entry_size(&e[i], &err));
	}
	reads_left = 2;
	K_CHECK(k_same_write("hf", &c, in_dir("out"), &o, &err) == K_ETRUNC);
	K_CHECK(!k_path_exists(in_dir("out")));
	K_CHECK(mkdir(in_dir("out"), 0700) == 0);
	reads_left = 2;
	K_CHECK(k_same_write("hf", &c, in_dir("out"), &o, &err) == K_ETRUNC);
	K_CHECK(rmdir(in_dir("out")) == 0);
	reads_left = 3;
	K_CHECK_OK(k_same_write("hf", &c, in_dir("out"), &o, &err));
	K_CHECK(k_path_exists(in_dir("out/model-00003-of-00003.safetensors")));
	reads_left = 3;
	K_CHECK(k_same_write("hf", &c, in_dir("out"), &o, &err) == K_EUSAGE);
	K_CHECK(k_path_exists(in_dir("out/config.json")));
	K_CHECK(k_same_write("hf", &c, "-", &o, &err) == K_EUSAGE);
	k_files_fini(c.files);
	k_free(c.files);
}

K_TEST(tokenizer_alone_is_a_checkpoint)
{
	struct k_ckpt *c = k_same_open(k_test_data("bad/tokenizer/ok.tiktoken"));
	struct k_err err;

	K_CHECK(c->n_entries == 1 && !strcmp(c->entries[0].name, "tiktoken.model") && !c->arch);
	k_ckpt_close(c);
	c = k_same_open(k_test_data("bad/tokenizer/ok_pairs.tokenizer.json"));
	K_CHECK(c->n_entries == 1 && !strcmp(c->entries[0].name, "tokenizer.json"));
	k_ckpt_close(c);
	c = k_same_open(k_test_data("bad/tokenizer/cfg_ok"));
	K_CHECK(c->n_entries == 2);
	k_ckpt_close(c);
	K_CHECK(k_format_open(&c, k_test_data("bad/tokenizer/cfg_content_dup"), false, &no_ctx, &err) == K_EFORMAT);
	K_CHECK(k_format_open(&c, k_test_data("nowhere"), false, &no_ctx, &err) == K_EIO);
}
