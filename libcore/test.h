/* test.h: unit tests. `K_TEST(name) { ... K_CHECK(x); }` in any <folder>/test/x_test.c registers by existing: the macro puts a
 * row into the linker section "ktests", and ktest (libcore/test/ktest.c) runs them all, by name pattern, each in a child
 * process so that a crash fails one test. The last line it prints is "N passed, N failed, N skipped". */
#ifndef K_TEST_H
#define K_TEST_H

#include "libcore/base.h"

struct k_test { const char *name, *file; void (*run)(void); };

#define K_TEST(id) \
	static void test_##id(void); \
	static const struct k_test row_##id = { #id, __FILE__, test_##id }; \
	static const struct k_test *const ptr_##id __attribute__((used, section("ktests"))) = &row_##id; \
	static void test_##id(void)

void k_test_fail(const char *file, int line, const char *fmt, ...) K_PRINTF(3, 4) K_NORETURN;
void k_test_skip(const char *fmt, ...) K_PRINTF(1, 2) K_NORETURN;
#define K_CHECK(x) do { if (!(x)) k_test_fail(__FILE__, __LINE__, "%s", #x); } while (0)
#define K_CHECK_MSG(x, ...) do { if (!(x)) k_test_fail(__FILE__, __LINE__, __VA_ARGS__); } while (0)
/* 0 wanted; the error's sentence is printed otherwise. err must be named err. */
#define K_CHECK_OK(call) do { int r_ = (call); if (r_ < 0) k_test_fail(__FILE__, __LINE__, "%s: %s", #call, err.msg); } while (0)
/* Path under testdata/ (K_TESTDATA in the environment, else "testdata"); static storage, eight in turn. */
const char *k_test_data(const char *rel);
/* A fresh temporary folder, removed when the test ends. */
const char *k_test_dir(void);

#endif
