/* fuzz_oms.c: any bytes are a bundle of signatures or an error; what is read and written again is read as the same.
 *
 * Nothing behind a signature would ever be tried, so an input is tried as it is, and then as a payload that is signed here. */
#include "libcore/base.h"
#include <stdlib.h>
#include "libcore/base64.h"
#include "libcore/oms.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
/* The roots are right: SHA-256 of the one or two digests. */
const char *const fuzz_seeds[] = {
	"{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[{\"name\":\"m\",\"digest\":{\"sha256\":\"23c5dc6f5df536cef09057936c0410fd3e16c07a46baf094fe0e1f9bb4512c56\"}}],"
	"\"predicateType\":\"https://model_signing/signature/v1.0\",\"predicate\":{\"serialization\":{\"method\":\"files\","
	"\"hash_type\":\"sha256\",\"allow_symlinks\":false,\"ignore_paths\":[\".git\"]},\"resources\":[{\"name\":\"a\","
	"\"algorithm\":\"sha256\",\"digest\":\"" HEX
	"\"},{\"name\":\"b/c\",\"algorithm\":\"sha256\",\"digest\":\"" HEX
	"\"}],\"ktools\":{\"format\":1,\"files\":[{\"name\":\"a\",\"bytes\":5,\"shard_size\":4,\"shards\":[\"" HEX
	"\",\"" HEX
	"\"]},{\"name\":\"b/c\",\"bytes\":0,\"shard_size\":4,\"shards\":[]}],\"container\":{\"identity\":\"" HEX
	"\",\"entries\":[{\"name\":\"x\",\"offset\":0,\"bytes\":2,\"sha256\":\"" HEX
	"\"},{\"name\":\"y\",\"offset\":2,\"bytes\":3,\"sha256\":\"" HEX
	"\"}]}}}}",
	"{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[{\"name\":\"m\",\"digest\":{\"sha256\":\"23c5dc6f5df536cef09057936c0410fd3e16c07a46baf094fe0e1f9bb4512c56\"}}],"
	"\"predicateType\":\"https://model_signing/signature/v1.0\",\"predicate\":{\"serialization\":{\"method\":\"shards\","
	"\"hash_type\":\"sha256\",\"shard_size\":1000.0,\"allow_symlinks\":true},\"resources\":[{\"name\":\".:0:1000\","
	"\"algorithm\":\"sha256-sharded-1000\",\"digest\":\"" HEX
	"\"},{\"name\":\".:1000:1001\",\"algorithm\":\"sha256-sharded-1000\",\"digest\":\"" HEX
	"\"}]}}",
	NULL
};

/* Of this test alone. */
static const char pem[] =
	"-----BEGIN PRIVATE KEY-----\n"
	"MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgRfZBKcrHmV4pQJGn\n"
	"2MvpbK07i2Z7PFkZJzTkVGBN+zGhRANCAASNOPRcoF6vvlkhzTerdIze4m6byCeX\n"
	"PMvNFbQp+om83LuqSxJUDk0VGAJWMS8IJQGNDn3HezmeX3pNDs8EysIz\n"
	"-----END PRIVATE KEY-----\n";

static void must(int r) { if (r < 0) abort(); }

static int read_and_write(const char *text, size_t n, const struct k_key *key)
{
	struct k_err err = { 0 };
	struct k_oms *o, *again;
	struct k_buf b;

	if (k_oms_read(&o, text, n, key, "input", &err) < 0)
		return -1;
	k_buf_init(&b, 0);
	for (int i = 0; i < o->n_files; i++)
		if (k_oms_refuses(o->files[i].name, false) || k_oms_find(o, o->files[i].name) != &o->files[i])
			abort();
	/* What others sign may be more than we would: names with colons, files without shards. */
	if (k_oms_write(o, key, &b, &err) == 0 && o->files[0].shard_size) {
		must(k_oms_read(&again, b.data, b.len, key, "written", &err));
		if (again->n_files != o->n_files || again->n_entries != o->n_entries || again->by_shards != o->by_shards)
			abort();
		k_oms_free(again);
	}
	k_buf_fini(&b);
	k_oms_free(o);
	return 0;
}

static void sign(struct k_buf *b, const struct k_key *key, const uint8_t *data, size_t size)
{
	struct k_err err = { 0 };
	uint8_t sig[K_SIGNATURE_MAX];
	struct k_buf pae;
	size_t n;

	k_buf_init(&pae, 0);
	k_oms_pae(&pae, data, size);
	must(k_key_sign(key, pae.data, pae.len, sig, &n, &err));
	k_buf_puts(b, "{\"mediaType\":\"application/vnd.dev.sigstore.bundle.v0.3+json\",\"verificationMaterial\":{\"publicKey\":{},"
		"\"tlogEntries\":[]},\"dsseEnvelope\":{\"payload\":\"");
	k_base64_put(b, data, size);
	k_buf_puts(b, "\",\"payloadType\":\"application/vnd.in-toto+json\",\"signatures\":[{\"sig\":\"");
	k_base64_put(b, sig, n);
	k_buf_puts(b, "\",\"keyid\":\"\"}]}}");
	must(k_buf_ok(b, "a bundle", &err));
	k_buf_fini(&pae);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct k_err err = { 0 };
	struct k_key *key;
	struct k_buf b;
	int plain, sealed;

	must(k_key_private(&key, pem, sizeof(pem) - 1, "key", &err));
	k_buf_init(&b, 0);
	sign(&b, key, data, size);
	plain = read_and_write((const char *)data, size, key);
	sealed = read_and_write(b.data, b.len, key);
	k_buf_fini(&b);
	k_key_free(key);
	return plain == 0 || sealed == 0 ? 0 : -1;
}
