/* io_place.h: a file that is written and read at places, under a name that is not its last one. */
#ifndef K_IO_PLACE_H
#define K_IO_PLACE_H

#include "libcore/err.h"

struct k_place;

enum k_place_how {
	K_PLACE_TEMP,                   /* new; removed at close and by signal handlers, unless it was renamed */
	K_PLACE_FRESH,                  /* new or emptied; stays */
	K_PLACE_KEEP                    /* as it is, made when absent; stays */
};
/* show: the name in messages (what the user asked for). */
int k_place_open(struct k_place **out, const char *path, const char *show, enum k_place_how how, struct k_err *err) K_MUST_USE;
/* Makes it n bytes long, what is new being zeros, and reserves the disk for it where the file system can; K_EIO when the disk is
 * too small. */
int k_place_size(struct k_place *p, uint64_t n, struct k_err *err) K_MUST_USE;
uint64_t k_place_bytes(const struct k_place *p);        /* length at open, or as set */
/* What is wrong with it may be said by a later call, sync at the latest. */
int k_place_write(struct k_place *p, const void *data, size_t n, uint64_t off, struct k_err *err) K_MUST_USE;
/* Exactly n bytes, else K_ETRUNC. */
int k_place_read(struct k_place *p, void *data, size_t n, uint64_t off, struct k_err *err) K_MUST_USE;
int k_place_sync(struct k_place *p, struct k_err *err) K_MUST_USE;
/* K_EIO when another process holds it. Until close. */
int k_place_lock(struct k_place *p, struct k_err *err) K_MUST_USE;
/* Sync, close, rename to `to`, sync of the folder. Frees p, also on failure. */
int k_place_rename(struct k_place *p, const char *to, struct k_err *err) K_MUST_USE;
void k_place_close(struct k_place *p);                  /* takes NULL */

/* What is written where path is to be written: behind a symbolic link what it points to, be it there or not. */
int k_path_target(char **out, const char *path, struct k_err *err) K_MUST_USE;
/* The name of it until it is complete; NULL: no memory. */
char *k_path_temp(const char *path) K_MUST_USE;
/* Somebody writes it now. */
bool k_path_is_held(const char *temp);
/* Holds an unfinished folder (*fd -1: there is none), or file (made where there is none), until *fd is closed; K_EIO: another process does. */
int k_path_hold(int *fd, const char *temp, bool folder, const char *show, struct k_err *err) K_MUST_USE;
/* Syncs the folder that path is in: that files are there, and under which names. */
int k_path_sync(const char *path, struct k_err *err) K_MUST_USE;
/* Renames, and syncs the folder. */
int k_path_rename(const char *from, const char *to, struct k_err *err) K_MUST_USE;
/* Absent is fine. */
int k_path_remove(const char *path, struct k_err *err) K_MUST_USE;
/* A folder with files only, and the files; no symbolic link to one. Absent is fine. */
int k_path_remove_dir(const char *path, struct k_err *err) K_MUST_USE;

#endif
