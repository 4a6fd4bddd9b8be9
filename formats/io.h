/* Full reads and writes, and output files that appear whole or not at all. */
#ifndef OCTAVO_IO_H
#define OCTAVO_IO_H

#include "formats/err.h"
#include "formats/mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads exactly n bytes at off of fd; a short file is ERR_INPUT naming path,
 * off and how many bytes were missing. */
int io_pread(int fd, const char *path, uint64_t off, void *p, size_t n, struct err *e) MUST_USE;
/* Writes all n bytes at off. */
int io_pwrite(int fd, const char *path, uint64_t off, const void *p, size_t n, struct err *e) MUST_USE;
/* Writes all n bytes to a stream (pipe, terminal). A closed pipe is ERR_SYSTEM with errno EPIPE. */
int io_write(int fd, const char *path, const void *p, size_t n, struct err *e) MUST_USE;
/* The whole file as a NUL-terminated buffer (free()); refuses above limit bytes. */
char *io_read_file(const char *path, size_t limit, size_t *n, struct err *e) MUST_USE;
/* Opens for reading, O_CLOEXEC; directories are refused. Returns fd or -1.
 * *size is UINT64_MAX when path is no regular file (a pipe, a device).  When
 * descriptors run out the soft limit is raised to the hard one. */
int io_open(const char *path, uint64_t *size, struct err *e) MUST_USE;
bool io_is_dir(const char *path);
bool io_exists(const char *path);

/* One output file.  It is written under a temporary name beside its place,
 * then fsynced and renamed; abort unlinks it.  in_place instead overwrites the
 * file that is there (its pages are reused; no atomicity): abort removes it. */
struct outfile {
    char *path, *tmp; /* owned; tmp is NULL when in place or when path is not a regular file */
    int fd;           /* -1 when closed */
    int slot;         /* in the list that outfile_abort_all removes; -1: in none */
    bool force, in_place, reserved;
    uint64_t size;    /* what outfile_reserve was told */
};
/* An existing path without force is ERR_USAGE, and so is a directory.  Pipes
 * and character devices are written directly: there is nothing to replace.  A
 * symbolic link is followed, so that what it points to is replaced. On failure f needs no abort. */
int outfile_open(struct outfile *f, const char *path, bool force, bool in_place, struct err *e) MUST_USE;
/* Sets the size, allocating blocks where the file system can. */
int outfile_reserve(struct outfile *f, uint64_t size, struct err *e) MUST_USE;
int outfile_commit(struct outfile *f, bool sync, struct err *e) MUST_USE;
void outfile_abort(struct outfile *f);
/* Removes every unfinished file: async-signal-safe, for SIGINT.  Only before _exit(). */
void outfile_abort_all(void);
/* Writes a small whole file atomically. */
int io_write_file(const char *path, const void *p, size_t n, bool force, bool sync, struct err *e) MUST_USE;

#endif
