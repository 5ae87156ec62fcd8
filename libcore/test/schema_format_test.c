/* schema_format_test.c: what people write must be among what a format takes, and nothing that RFC 3986, 3339, 1123 or 6570 refuses. */
#include "libcore/test/schema_text.h"

static const struct { const char *format, *yes[16], *no[16]; } rows[] = {
	{ "time", { "12:00:00Z", "08:30:06-08:00", "23:20:50.52Z" }, { "12:00:00", "08:30", "24:00:00Z", "12:00:00+24:00" } },
	{ "date-time", { "2024-02-29T12:00:00Z", "1990-12-31T15:59:59.123-08:00" }, { "2024-02-29T12:00:00", "2023-02-29T12:00:00Z", "2024-02-29 12:00:00Z" } },
	{ "duration", { "P1Y2M3DT4H5M6S", "P4DT12H30M5S", "P1M2D", "PT36H", "P1D", "P2W" }, { "P", "PT", "P1S", "PT1D", "P1DT", "P1W2D", "P2D1Y", "1D" } },
	{ "email", { "zhang@163.com", "12345@qq.com", "a.b+c@mail.cs.tsinghua.edu.cn", "x_y-z@my-cool-app.example.com", "_a@b.co" },
		{ "a@b", "@b.com", "a@", ".a@b.com", "a.@b.com", "a..b@c.com", "a@-b.com", "a@b-.com", "a@b..com", "a b@c.com", "a@b.c1" } },
	{ "hostname", { "localhost", "126.com", "raw.githubusercontent.com", "bucket.s3.us-east-1.amazonaws.com", "a-b-c-d.example" },
		{ "", "-a", "a-", "a..b", "a.", ".a", "a_b", "xn--X", "a b" } },
	{ "uri", { "https://example.com/a%20b/c,d(1)?e=f&g=%E5%8C%97#h", "http://192.168.0.1:11434/api/tags", "http://localhost:8080", "http://[::1]:50051/x", "https://youtube.com/@user",
			"https://s3.us-east-1.amazonaws.com/my-cool-bucket/", "https://my_bucket.example.com", "https://en.wikipedia.org/wiki/Moore's_law", "https://user:pa%20ss@host.example/",
			"postgres://u:p@db.internal:5432/x?sslmode=disable", "file:///etc/hosts", "mailto:a@163.com", "urn:isbn:0451450523", "data:text/plain;base64,QQ==" },
		{ "", "//a.com", "abc", "/abc", "http:", "http://", "https://a b", "http://a:65536/", "http://999.1.1.1/", "http://a..b/", "http://-a.com", "https://a/%zz", "https://a/\xe5\x8c\x97",
			"https://a/{b}", "http://[::1/" } },
	{ "uri-reference", { "", "/a/b?c=d", "/a%20b", "?x", "#f", "https://x.org/" }, { "a b", "/%zz", "/a\\\\b" } },
	{ "uri-template", { "https://api.example.com/users/{id}/x", "https://a.b:8080/c" }, { "https://a/{", "https://a/b'c", "https://a/{}" } },
	{ "uuid", { "2eb8aa08-aa98-11ea-b4aa-73b441d16380", "2EB8AA08-AA98-11EA-B4AA-73B441D16380" }, { "2eb8aa08aa9811eab4aa73b441d16380", "2eb8aa08-aa98-11ea-b4aa-73b441d1638g" } },
	{ "ipv4", { "127.0.0.1", "255.255.255.255" }, { "256.1.1.1", "1.1.1", "01.1.1.1" } },
	{ "ipv6", { "::1", "2001:db8::1", "::", "1:2:3:4:5:6:7:8" }, { "1:2:3", "1::2::3", "12345::", ":1" } },
};

static bool takes_value(const char *format, const char *value)
{
	char schema[96], text[512];

	snprintf(schema, sizeof(schema), "{\"type\":\"string\",\"format\":\"%s\",\"maxLength\":2083}", format);     /* as pydantic has it of a URL */
	snprintf(text, sizeof(text), "\"%s\"", value);
	return takes(schema, text);
}

K_TEST(schema_formats)
{
	for (size_t i = 0; i < K_LEN(rows); i++) {
		for (int k = 0; k < 16 && rows[i].yes[k]; k++)
			K_CHECK_MSG(takes_value(rows[i].format, rows[i].yes[k]), "%s does not take '%s'", rows[i].format, rows[i].yes[k]);
		for (int k = 0; k < 16 && rows[i].no[k]; k++)
			K_CHECK_MSG(!takes_value(rows[i].format, rows[i].no[k]), "%s takes '%s'", rows[i].format, rows[i].no[k]);
	}
}

/* A label has 63 characters at most and a name 253: no way through the expression is longer. */
K_TEST(schema_formats_of_names_are_bounded)
{
	char label[80], name[400] = "";

	for (int n = 1; n < 70; n++) {
		memset(label, 'a', (size_t)n);
		for (int k = 1; k + 1 < n; k += 2)
			label[k] = '-';
		label[n] = '\0';
		if (n > 63)
			K_CHECK_MSG(!takes_value("hostname", label), "a label of %d", n);
	}
	for (int n = 0; strlen(name) < 320; n++) {
		if (strlen(name) > 253)
			K_CHECK_MSG(!takes_value("hostname", name), "a name of %zu", strlen(name));
		snprintf(name + strlen(name), sizeof(name) - strlen(name), "%sa-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a", n ? "." : "");
	}
}
