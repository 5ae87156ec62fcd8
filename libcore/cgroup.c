/* cgroup.c: see cgroup.h.
 *
 *   /proc/self/cgroup   0::/a/b             ->  /sys/fs/cgroup/a/b  /sys/fs/cgroup/a  /sys/fs/cgroup
 *                       4:cpu,cpuacct:/c    ->  /sys/fs/cgroup/cpu/c  /sys/fs/cgroup/cpu */
#include "libcore/base.h"
#include "libcore/cgroup.h"
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

bool k_small_file(const char *path, char *buf, size_t n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return false;
	got = read(fd, buf, n - 1);
	close(fd);
	if (got <= 0)
		return false;
	buf[got] = 0;
	return true;
}

/* Is it in a list with commas? */
static bool is_listed(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (const char *at = list; at; at = strchr(at, ','), at += at != NULL)
		if (!strncmp(at, name, n) && (at[n] == ',' || !at[n]))
			return true;
	return false;
}

void k_cgroup_each(const char *controller, void (*fn)(const char *folder, void *arg), void *arg)
{
	char groups[4096], folder[512], *line, *save = NULL;

	if (!k_small_file("/proc/self/cgroup", groups, sizeof groups))
		return;
	for (line = strtok_r(groups, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *controllers = strchr(line, ':'),
		     *path = controllers ? strchr(controllers + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = 0;
		controllers++;
		if (*controllers && !is_listed(controllers, controller))
			continue;
		/* In a container the path may name what only the host sees; then the root is ours. */
		for (char *end = path + strlen(path); ; *end = 0) {
			snprintf(folder, sizeof folder, "/sys/fs/cgroup%s%s%s", *controllers ? "/" : "", *controllers ? controller : "", path);
			fn(folder, arg);
			end = strrchr(path, '/');
			if (!end)
				break;
		}
	}
}
