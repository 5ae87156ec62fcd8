/* schema_format.c: the formats as regular expressions: not all that a format allows, but nothing that a checker would refuse. */
#include "libcore/base.h"
#include "libcore/schema.h"

#define LEAP "(0[48]|[2468][048]|[13579][26])"
#define YEAR "(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
#define DATE "(" YEAR "-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))|" \
	"([0-9]{2}" LEAP "|" LEAP "00)-02-29)"
#define CLOCK "([01][0-9]|2[0-3]):[0-5][0-9]"
#define TIME CLOCK ":[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]" CLOCK ")"
#define DAYS "[0-9]{1,4}D"
#define MONTHS "[0-9]{1,4}M(" DAYS ")?"
#define YEARS "[0-9]{1,4}Y(" MONTHS ")?"
#define SECONDS "[0-9]{1,4}S"
#define MINUTES "[0-9]{1,4}M(" SECONDS ")?"
#define HOURS "T([0-9]{1,4}H(" MINUTES ")?|" MINUTES "|" SECONDS ")"
/* A name of letters and digits with single hyphens in between: "--" may be the begin of a code that a checker looks into. n: hyphens at most. */
#define LABEL(n) "[A-Za-z0-9](-?[A-Za-z0-9]){0," n "}"
#define LAST(n) "[A-Za-z](-?[A-Za-z0-9]){0," n "}"
#define HOST "((" LABEL("30") "\\.){0,3}" LAST("30") "|(" LABEL("19") "\\.){0,5}" LAST("19") ")"       /* up to 253 characters */
#define BYTE "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define IPV4 BYTE "(\\." BYTE "){3}"
#define HEX "[0-9a-fA-F]"
#define H16 HEX "{1,4}"
#define IPV6 "(" H16 "(:" H16 "){7}|" H16 "(:" H16 "){0,2}::(" H16 "(:" H16 "){0,2})?|::(" H16 "(:" H16 "){0,5})?)"
#define LOCAL "[A-Za-z0-9_]([._+-]?[A-Za-z0-9_]){0,31}"                                                /* up to 64 characters */
#define MAIL LOCAL "@((" LABEL("30") "\\.){1,2}|(" LABEL("19") "\\.){1,4})[A-Za-z]{2,24}"
/* RFC 3986, less what readers of URLs trip over: hosts that end in a number and are no address, ports beyond 65535. */
#define PERCENT "%" HEX "{2}"
#define UNIT "([A-Za-z0-9._~!$&'()*+,;=:@-]|" PERCENT ")"
#define PORT "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
#define USER "([A-Za-z0-9._~-]|" PERCENT ")+(:([A-Za-z0-9._~-]|" PERCENT ")*)?@"
#define PLACE "(([A-Za-z0-9]([_-]?[A-Za-z0-9])*\\.)*[A-Za-z]([_-]?[A-Za-z0-9])*|" IPV4 "|\\[" IPV6 "\\])"
#define QUERY "(\\?(" UNIT "|[/?])*)?(#(" UNIT "|[/?])*)?"
#define URI "([A-Za-z][A-Za-z0-9+.-]{0,30}://(" USER ")?" PLACE "(:" PORT ")?(/" UNIT "*)*|file:///([A-Za-z0-9._~-]|" PERCENT ")" UNIT "*(/" UNIT "*)*|" \
	"(mailto|urn|tel|data|about|news|doi|geo|magnet):([A-Za-z0-9+]|" PERCENT ")(" UNIT "|/)*)" QUERY
#define PATH "(/" UNIT "+)*/?" QUERY
#define TEMPLATE "[A-Za-z][A-Za-z0-9+.-]{0,30}://" PLACE "(:" PORT ")?(/([A-Za-z0-9._~-]|\\{[A-Za-z0-9_]+\\})*)*"

static const struct { const char *name, *regex; } formats[] = {
	{ "date", "^" DATE "$" },
	{ "time", "^" TIME "$" },
	{ "date-time", "^" DATE "T" TIME "$" },
	{ "duration", "^P((" DAYS "|" MONTHS "|" YEARS ")(" HOURS ")?|" HOURS "|[0-9]{1,4}W)$" },
	{ "email", "^" MAIL "$" },
	{ "idn-email", "^" MAIL "$" },
	{ "hostname", "^" HOST "$" },
	{ "idn-hostname", "^" HOST "$" },
	{ "ipv4", "^" IPV4 "$" },
	{ "ipv6", "^" IPV6 "$" },
	{ "uri", "^" URI "$" },
	{ "iri", "^" URI "$" },
	{ "uri-reference", "^(" URI "|" PATH ")$" },
	{ "iri-reference", "^(" URI "|" PATH ")$" },
	{ "uri-template", "^" TEMPLATE "$" },
	{ "uuid", "^" HEX "{8}-" HEX "{4}-" HEX "{4}-" HEX "{4}-" HEX "{12}$" },
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
