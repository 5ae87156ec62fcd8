#!/bin/sh
# steady.sh: a decode step that needs no new page allocates nothing and makes no system call. Two runs that differ by 32 tokens in each of two
# repetitions make as many calls: of the allocator with one thread and two, of the kernel with one thread (two threads that find nothing to do
# for long sleep, by futex, as they should). On one CPU, so that nothing depends on where threads are.
. "$(dirname "$0")/lib.sh"
command -v taskset > /dev/null || { echo "skipped: no taskset"; exit 77; }
cpu=$(taskset -cp $$ | sed 's/.*: *\([0-9]*\).*/\1/')
cc=${CC:-cc}

cat > "$T/count.c" <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
static long calls;
#define COUNT __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED)
void *malloc(size_t n) { COUNT; return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { COUNT; return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { COUNT; return __libc_realloc(p, n); }
int posix_memalign(void **p, size_t a, size_t n) { COUNT; return (*p = __libc_memalign(a, n)) ? 0 : 12; }
__attribute__((destructor)) static void tell(void)
{
	char s[32];
	int n = snprintf(s, sizeof(s), "%ld\n", calls), fd = open(getenv("COUNT_TO"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, s, n) != n)
		_exit(1);
}
C
# run TOKENS MODEL THREADS COMMAND...: the command runs kbench
run() {
	tokens=$1 model=$2 threads=$3; shift 3
	taskset -c "$cpu" "$@" "$BIN/kbench" decode --synthetic "$model" --tokens "$tokens" --reps 1 -j "$threads" --json > /dev/null 2> "$T/.err"
}
allocations() { COUNT_TO=$T/calls run "$@" env LD_PRELOAD="$T/count.so" && cat "$T/calls"; }
calls() { run "$@" strace -f -c -o "$T/calls" && awk '$NF == "total" { print $(NF - 1) == "total" ? $3 : $4 }' "$T/calls"; }

for model in kimi-linear:nano kimi-k2:tiny; do
	if $cc -shared -fPIC -o "$T/count.so" "$T/count.c" 2> "$T/.err" && [ "$(COUNT_TO=$T/calls LD_PRELOAD=$T/count.so "$BIN/kls" --version > /dev/null 2>&1; cat "$T/calls")" -gt 0 ] 2> /dev/null; then
		for threads in 1 2; do
			few=$(allocations 8 $model $threads) many=$(allocations 40 $model $threads)
			[ -n "$few" ] && [ "$few" = "$many" ] && ok "$model, $threads threads: no allocation" ||
				fail "$model, $threads threads: allocations" "${few:-none} with 8 tokens, ${many:-none} with 40: $(tail -n 1 "$T/.err")"
		done
	else
		skip "$model: allocations" "no library can be laid over this C library's allocator"
	fi
	if strace -f -c -o "$T/calls" true 2> /dev/null; then
		few=$(calls 8 $model 1) many=$(calls 40 $model 1)
		# A call more or less is the heap's, which begins at a random place: a call in each step would be 64.
		[ -n "$few" ] && [ $((many - few)) -lt 8 ] && ok "$model: no system call" || fail "$model: system calls" "${few:-none} with 8 tokens, ${many:-none} with 40"
	else
		skip "$model: system calls" "no strace, or it may not trace"
	fi
done
finish
