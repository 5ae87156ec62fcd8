/* oms_test.c: bundles by model-signing 1.1.1 (testdata/sign, made by its Python interface), and every bit of one of our own. */
#include "libcore/base.h"
#include "libcore/base64.h"
#include "libcore/io.h"
#include "libcore/oms.h"
#include "libcore/test.h"

static struct k_buf slurp(const char *rel)
{
	struct k_err err = { 0 };
	struct k_buf b;

	k_buf_init(&b, 0);
	K_CHECK_OK(k_read_file(k_test_data(rel), &b, 1 << 20, &err));
	return b;
}

static struct k_key *load(const char *pem, bool private)
{
	struct k_err err = { 0 };
	struct k_key *key;

	K_CHECK_OK((private ? k_key_private : k_key_public)(&key, pem, strlen(pem), "key", &err));
	return key;
}

/* Of this test alone. */
static const char private_pem[] =
	"-----BEGIN PRIVATE KEY-----\n"
	"MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgRfZBKcrHmV4pQJGn\n"
	"2MvpbK07i2Z7PFkZJzTkVGBN+zGhRANCAASNOPRcoF6vvlkhzTerdIze4m6byCeX\n"
	"PMvNFbQp+om83LuqSxJUDk0VGAJWMS8IJQGNDn3HezmeX3pNDs8EysIz\n"
	"-----END PRIVATE KEY-----\n";

K_TEST(base64_texts)
{
	static const struct { const char *text, *bytes; } good[] = {
		{ "", "" }, { "Zg==", "f" }, { "Zm8=", "fo" }, { "Zm9v", "foo" }, { "Zm9vYg==", "foob" }, { "Zm9vYmE=", "fooba" }, { "Zm9vYmFy", "foobar" },
		{ "+/+/", "\xfb\xff\xbf" }, { "-_-_", "\xfb\xff\xbf" },
	};
	static const char *const bad[] = { "Z", "Zg", "Zg=", "Zh==", "Zm9=", "Zm=v", "====", "Z===", "Zm9v\n", "Zm 9", "+/-_", "Zg==Zg==" };
	struct k_err err = { 0 };
	struct k_buf b;
	char plain[8];

	k_buf_init(&b, 0);
	for (size_t i = 0; i < K_LEN(good); i++) {
		k_buf_reset(&b);
		K_CHECK_OK(k_base64_get(&b, good[i].text, strlen(good[i].text), "text", &err));
		K_CHECK(b.len == strlen(good[i].bytes) && (b.len == 0 || memcmp(b.data, good[i].bytes, b.len) == 0));
		K_CHECK(k_base64_bytes(plain, good[i].text, strlen(good[i].text)) == (*good[i].text && *good[i].text != '-' ? (int64_t)b.len : -1));
		K_CHECK(!*good[i].text || *good[i].text == '-' || memcmp(plain, good[i].bytes, b.len) == 0);
		k_buf_reset(&b);
		k_base64_put(&b, good[i].bytes, strlen(good[i].bytes));
		K_CHECK(good[i].text[0] == '-' || b.len == strlen(good[i].text));
		K_CHECK(good[i].text[0] == '-' || b.len == 0 || strcmp(b.data, good[i].text) == 0);
	}
	for (size_t i = 0; i < K_LEN(bad); i++) {
		K_CHECK_MSG(k_base64_get(&b, bad[i], strlen(bad[i]), "text", &err) == K_EFORMAT, "'%s' is taken", bad[i]);
		K_CHECK_MSG(k_base64_bytes(plain, bad[i], strlen(bad[i])) < 0, "'%s' is taken", bad[i]);
	}
	k_buf_fini(&b);
}

K_TEST(oms_pae)
{
	struct k_buf b;

	k_buf_init(&b, 0);
	k_oms_pae(&b, "{}", 2);
	K_CHECK(strcmp(b.data, "DSSEv1 28 application/vnd.in-toto+json 2 {}") == 0);
	k_buf_fini(&b);
}

K_TEST(oms_shard_size)
{
	K_CHECK(k_oms_shard_size(0) == 64 << 10);
	K_CHECK(k_oms_shard_size((uint64_t)1 << 30) == 64 << 10);
	K_CHECK(k_oms_shard_size(600000000000) == 8 << 20);
	K_CHECK(k_oms_shard_size(1500000000000) == 16 << 20);
}

/* The package's own bundles: key, hint, signature, root, files. */
K_TEST(oms_of_the_package)
{
	static const struct { const char *sig; bool shards; int files; } cases[] = {
		{ "sign/file.sig", false, 1 }, { "sign/file-shards.sig", true, 1 }, { "sign/model.sig", false, 4 }, { "sign/model-shards.sig", true, 3 },
	};
	struct k_buf pem = slurp("sign/pub.pem");
	struct k_key *key = load(pem.data, false);
	struct k_err err = { 0 };

	for (size_t i = 0; i < K_LEN(cases); i++) {
		struct k_buf text = slurp(cases[i].sig);
		struct k_oms *o;

		K_CHECK_OK(k_oms_read(&o, text.data, text.len, key, cases[i].sig, &err));
		K_CHECK(o->by_shards == cases[i].shards && o->n_files == cases[i].files && !o->container && !o->links);
		K_CHECK(o->n_ignore == 4);
		if (cases[i].files == 4)
			K_CHECK(k_oms_find(o, "sub/b") && k_oms_find(o, "sub-c") && !k_oms_find(o, "sub"));
		if (cases[i].shards && cases[i].files == 1)
			K_CHECK(o->files[0].bytes == 2560 && o->files[0].n_shards == 3 && o->files[0].shard_size == 1000);
		k_oms_free(o);
		k_buf_fini(&text);
	}
	k_key_free(key);
	k_buf_fini(&pem);
}

static void sign_small(struct k_buf *b, const struct k_key *key, bool by_shards)
{
	struct k_err err = { 0 };
	struct k_oms o = { .subject = "m.kmf", .by_shards = by_shards, .n_files = 1 };
	struct k_oms_file f = { .name = ".", .bytes = 70000, .whole = !by_shards, .shard_size = 65536 };
	struct k_oms_entry e = { "model.norm.weight", 4096, 512, { 7 } };

	k_arena_init(&o.arena);
	K_CHECK_OK(k_oms_room(&o, &f, &err));
	memset(f.shards[0], 0x5a, 32);
	memset(f.shards[1], 0xa5, 32);
	o.files = &f;
	o.container = true;
	o.entries = &e;
	o.n_entries = 1;
	K_CHECK_OK(k_oms_write(&o, key, b, &err));
	k_arena_fini(&o.arena);
}

K_TEST(oms_round_trip_and_every_bit)
{
	struct k_key *private = load(private_pem, true);
	struct k_err err = { 0 };
	struct k_oms *o;
	struct k_buf b;

	for (int by_shards = 0; by_shards < 2; by_shards++) {
		k_buf_init(&b, 0);
		sign_small(&b, private, by_shards);
		K_CHECK_OK(k_oms_read(&o, b.data, b.len, private, "sig", &err));
		K_CHECK(o->by_shards == by_shards && o->files[0].bytes == 70000 && o->files[0].n_shards == 2 && o->files[0].shards[1][31] == 0xa5);
		K_CHECK(o->container && o->n_entries == 1 && o->entries[0].offset == 4096 && strcmp(o->entries[0].name, "model.norm.weight") == 0);
		k_oms_free(o);
		/* Every byte, one bit of it after the other: nothing else is accepted, and nothing else is said than "no" and "damaged". */
		for (size_t i = 0; i < b.len; i++) {
			b.data[i] ^= (char)(1 << i % 8);
			int r = k_oms_read(&o, b.data, b.len, private, "sig", &err);

			K_CHECK_MSG(r < 0 && (k_err_exit(r) == 1 || k_err_exit(r) == 3), "bit %zu of byte %zu: %d", i % 8, i, r);
			b.data[i] ^= (char)(1 << i % 8);
		}
		for (size_t n = 0; n < b.len; n += 7)
			K_CHECK(k_oms_read(&o, b.data, n, private, "sig", &err) < 0);
		k_buf_fini(&b);
	}
	k_key_free(private);
}

K_TEST(oms_names)
{
	static const char *const bad[] = { "", "/a", "a//b", "a/", "..", "a/../b", "./a", "a/.", "\xff" };

	for (size_t i = 0; i < K_LEN(bad); i++)
		K_CHECK_MSG(k_oms_refuses(bad[i], false), "'%s' is taken", bad[i]);
	K_CHECK(!k_oms_refuses(".", true) && !k_oms_refuses("a/b:c", false) && k_oms_refuses("a:b", true) && !k_oms_refuses("...", true));
}

K_TEST(key_kinds)
{
	static const char ed25519[] = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
	struct k_err err = { 0 };
	struct k_key *key;

	K_CHECK(k_key_public(&key, ed25519, strlen(ed25519), "key", &err) == K_EUNSUP && strstr(err.msg, "registry"));
	K_CHECK(k_key_public(&key, "", 0, "key", &err) == K_EFORMAT);
	K_CHECK(k_key_private(&key, ed25519, strlen(ed25519), "key", &err) == K_EFORMAT);
}
