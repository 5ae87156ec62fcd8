/* schema_format.c: the formats as regular expressions: not all that a format allows, but nothing that a checker would refuse. */
#include "libcore/base.h"
#include "libcore/schema.h"

#define LEAP "(0[48]|[2468][048]|[13579][26])"
#define YEAR "(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
#define DATE "(" YEAR "-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))|" \
	"([0-9]{2}" LEAP "|" LEAP "00)-02-29)"
#define CLOCK "([01][0-9]|2[0-3]):[0-5][0-9]"
#define TIME CLOCK ":[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]" CLOCK ")"
#define LABEL "[A-Za-z][A-Za-z0-9]{0,20}(-[A-Za-z0-9]{1,20})?"
#define HOST LABEL "(\\." LABEL "){0,3}"
#define BYTE "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define H16 "[0-9a-fA-F]{1,4}"
#define MAIL "[A-Za-z0-9]+([._+-][A-Za-z0-9]+){0,4}@" LABEL "(\\." LABEL "){1,3}"
#define PATH "(/[A-Za-z0-9._~-]*)*(\\?[A-Za-z0-9._~=&-]*)?(#[A-Za-z0-9._~-]*)?"
#define URI "[a-z][a-z0-9+.-]{1,11}://" HOST "(:[1-9][0-9]{0,3})?" PATH

static const struct { const char *name, *regex; } formats[] = {
	{ "date", "^" DATE "$" },
	{ "time", "^" CLOCK ":[0-5][0-9]$" },
	{ "date-time", "^" DATE "T" TIME "$" },
	{ "duration", "^P([0-9]{1,4}W|[0-9]{1,4}D(T[0-9]{1,4}H)?|[0-9]{1,4}Y([0-9]{1,4}M([0-9]{1,4}D)?)?|[0-9]{1,4}M|"
		"T([0-9]{1,4}H([0-9]{1,4}M([0-9]{1,4}S)?)?|[0-9]{1,4}M([0-9]{1,4}S)?|[0-9]{1,4}S))$" },
	{ "email", "^" MAIL "$" },
	{ "idn-email", "^" MAIL "$" },
	{ "hostname", "^" HOST "$" },
	{ "idn-hostname", "^" HOST "$" },
	{ "ipv4", "^" BYTE "(\\." BYTE "){3}$" },
	{ "ipv6", "^(" H16 "(:" H16 "){7}|" H16 "(:" H16 "){0,2}::(" H16 "(:" H16 "){0,2})?|::(" H16 "(:" H16 "){0,5})?)$" },
	{ "uri", "^" URI "$" },
	{ "iri", "^" URI "$" },
	{ "uri-reference", "^(" URI "|" PATH ")$" },
	{ "iri-reference", "^(" URI "|" PATH ")$" },
	{ "uri-template", "^" URI "$" },
	{ "uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$" },
	{ "json-pointer", "^(/([A-Za-z0-9_.-]|~[01])*)*$" },
	{ "relative-json-pointer", "^(0|[1-9][0-9]{0,3})(#|(/([A-Za-z0-9_.-]|~[01])*)*)$" },
	{ "regex", "^[A-Za-z0-9 _-]*$" },
};

const char *k_schema_format(const char *name)
{
	for (size_t i = 0; i < K_LEN(formats); i++) {
		if (!strcmp(formats[i].name, name))
			return formats[i].regex;
	}
	return NULL;
}
