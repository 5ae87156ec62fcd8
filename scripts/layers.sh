#!/bin/sh
# layers.sh: who may include whom, and the one includer of each foreign library. Prints each breach; status 1 when there is one.
bad=0
complain() { echo "layers: $1"; bad=1; }

# folder: folders whose headers it may include
while read -r folder allowed; do
	test -d "$folder" || continue
	pattern=$(echo "$allowed" | sed 's/ /|/g')
	out=$(grep -rnE '^[ 	]*#[ 	]*include[ 	]*"(libcore|kernels|formats|evals|cmd)/' --include='*.[ch]' --include='*.cu' --include='*.def' "$folder" |
		grep -vE "#[ 	]*include[ 	]*\"($pattern)/")
	test -z "$out" || complain "$folder may include $allowed only:
$out"
done <<END
libcore libcore
kernels libcore kernels
formats libcore formats
evals libcore formats evals
END

# header pattern: the files that may include it
while read -r header owners; do
	out=$(grep -rlE "^[ 	]*#[ 	]*include[ 	]*<$header" --include='*.[ch]' --include='*.cu' libcore kernels formats evals cmd 2>/dev/null)
	for f in $out; do
		case " $owners " in
		*" $f "*) ;;
		*) complain "$f includes <$header...>, which is for $owners" ;;
		esac
	done
done <<END
openssl/ libcore/hash.c cmd/kserve/tls.c
jansson libcore/json.c
pcre2 libcore/rx.c
zlib libcore/gz.c
archive formats/archive_lib.h
event2/ cmd/kserve/net.c
liburing libcore/io_uring.c
histedit cmd/kserve/lines_edit.c
curl/ evals/client.c
cuda_runtime kernels/cuda/so/cuda_runtime.cu kernels/cuda/so/products.h
cublas kernels/cuda/so/products.cu
END

# A name in a stack trace is an address.
out=$(find libcore kernels formats evals cmd -name '*.c' -o -name '*.cu' 2>/dev/null | sed 's,.*/,,' | grep -v '^level_' | sort | uniq -d)
test -z "$out" || complain "file names that are not unique: $(echo "$out" | tr '\n' ' ')"

# Outside cmd/ nothing prints to standard output or exits (tests, kcheck and fuzzers are programs).
out=$(grep -rnE '(^|[^a-z_])(printf|puts|putchar|exit|abort)[ ]*\(' --include='*.c' --include='*.cu' libcore formats evals kernels 2>/dev/null |
	grep -vE '^[a-z]+/([a-z0-9]+/)?(test|check|fuzz)/' | grep -vE '^[^:]*:[0-9]*:[ 	]*(/?\*|//)')
test -z "$out" || complain "a library prints or exits:
$out"
exit $bad
