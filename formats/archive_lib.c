/* archive_lib.c: see archive_lib.h. */
#include "libcore/base.h"
#include "formats/archive_lib.h"
#include <dlfcn.h>
#include <stddef.h>

/* The name of version 3's interface, whatever the release. */
#define LIBRARY "libarchive.so.13"

static const struct { const char *name; size_t at; } calls[] = {
#define K_CALL(name) { #name, offsetof(struct k_archive_lib, name) },
	K_ARCHIVE_CALLS(K_CALL)
#undef K_CALL
};

int k_archive_lib_open(struct k_archive_lib *lib, struct k_err *err)
{
	*lib = (struct k_archive_lib){ .handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL) };
	if (!lib->handle)
		return k_err_set(err, K_EUNSUP, "reading an archive wants libarchive, and %s", dlerror());
	for (size_t i = 0; i < K_LEN(calls); i++) {
		void *call = dlsym(lib->handle, calls[i].name);

		if (!call) {
			k_archive_lib_close(lib);
			return k_err_set(err, K_EUNSUP, "reading an archive wants %s, which %s lacks", calls[i].name, LIBRARY);
		}
		memcpy((char *)lib + calls[i].at, &call, sizeof call);
	}
	return 0;
}

void k_archive_lib_close(struct k_archive_lib *lib)
{
	if (lib->handle)
		dlclose(lib->handle);
	lib->handle = NULL;
}
