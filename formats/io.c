#include "formats/io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* One system call moves at most this much: Linux stops a little below 2 GiB. */
enum { IO_STEP = 1 << 30 };

/* ---- full reads and writes ----------------------------------------------- */

/* True when the call that just failed can be repeated; waits on a descriptor
 * that somebody else made non-blocking. */
static bool try_again(int fd, short events)
{
    if (errno == EINTR)
        return true;
    if (errno != EAGAIN && errno != EWOULDBLOCK)
        return false;
    struct pollfd p = {.fd = fd, .events = events};
    return poll(&p, 1, -1) >= 0 || errno == EINTR;
}

int io_pread(int fd, const char *path, uint64_t off, void *p, size_t n, struct err *e)
{
    size_t done = 0;
    while (done < n) {
        size_t step = n - done < IO_STEP ? n - done : IO_STEP;
        ssize_t r = pread(fd, (char *)p + done, step, (off_t)(off + done));
        if (r < 0 && try_again(fd, POLLIN))
            continue;
        if (r < 0)
            return err_sys(e, "%s: cannot read %zu bytes at %" PRIu64, path, n, off);
        if (!r)
            return err_set(e, ERR_INPUT,
                           "%s: file ends at byte %" PRIu64 ", %zu bytes at %" PRIu64
                           " wanted: %zu are missing",
                           path, off + done, n, off, n - done);
        done += (size_t)r;
    }
    return 0;
}

int io_pwrite(int fd, const char *path, uint64_t off, const void *p, size_t n, struct err *e)
{
    size_t done = 0;
    while (done < n) {
        size_t step = n - done < IO_STEP ? n - done : IO_STEP;
        ssize_t r = pwrite(fd, (const char *)p + done, step, (off_t)(off + done));
        if (r < 0 && try_again(fd, POLLOUT))
            continue;
        if (r <= 0) {
            errno = r ? errno : ENOSPC;
            return err_sys(e, "%s: cannot write %zu bytes at %" PRIu64, path, n, off);
        }
        done += (size_t)r;
    }
    return 0;
}

int io_write(int fd, const char *path, const void *p, size_t n, struct err *e)
{
    size_t done = 0;
    while (done < n) {
        size_t step = n - done < IO_STEP ? n - done : IO_STEP;
        ssize_t r = write(fd, (const char *)p + done, step);
        if (r < 0 && try_again(fd, POLLOUT))
            continue;
        if (r <= 0) {
            errno = r ? errno : ENOSPC;
            return errno == EPIPE ? err_set(e, ERR_SYSTEM, "%s: the reader closed the pipe", path)
                                  : err_sys(e, "%s: cannot write", path);
        }
        done += (size_t)r;
    }
    return 0;
}

/* ---- opening ------------------------------------------------------------- */

/* A sharded model is hundreds of open files, and the usual soft limit is 1024.
 * True when another open() may work: another thread may have raised the limit
 * since this one's failed. */
static bool raise_open_files(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r))
        return false;
    if (r.rlim_cur >= r.rlim_max)
        return true;
    r.rlim_cur = r.rlim_max;
    return !setrlimit(RLIMIT_NOFILE, &r);
}

static int open_retry(const char *path, int flags)
{
    for (bool raised = false;;) {
        int fd = open(path, flags | O_CLOEXEC, 0666);
        if (fd >= 0)
            return fd;
        if (errno == EINTR)
            continue;
        if (errno != EMFILE || raised || !raise_open_files())
            return -1;
        raised = true;
    }
}

int io_open(const char *path, uint64_t *size, struct err *e)
{
    const int fd = open_retry(path, O_RDONLY);
    if (fd < 0) {
        /* A file that is not there is the user's mistake, not the machine's. */
        const bool missing = errno == ENOENT || errno == ENOTDIR;
        err_sys(e, "%s: cannot open", path);
        if (missing)
            e->kind = ERR_INPUT;
        return -1;
    }
    struct stat st;
    if (fstat(fd, &st)) {
        err_sys(e, "%s: cannot stat", path);
        close(fd);
        return -1;
    }
    if (S_ISDIR(st.st_mode)) {
        close(fd);
        return err_set(e, ERR_INPUT, "%s: is a directory", path);
    }
    if (size)
        *size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : UINT64_MAX;
    return fd;
}

bool io_is_dir(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

bool io_exists(const char *path)
{
    struct stat st;
    return !lstat(path, &st);
}

char *io_read_file(const char *path, size_t limit, size_t *n, struct err *e)
{
    uint64_t size;
    const int fd = io_open(path, &size, e);
    if (fd < 0)
        return NULL;
    char *p = NULL;
    size_t cap = 0, done = 0;
    /* One byte more than the file has, so that its end is seen without growing. */
    size_t want = size < limit ? (size_t)size + 1 : 4096;
    for (;;) {
        /* and one for the NUL */
        if (mem_grow((void **)&p, &cap, want + 1, 1, e))
            goto fail;
        ssize_t r = read(fd, p + done, cap - 1 - done < IO_STEP ? cap - 1 - done : IO_STEP);
        if (r < 0 && try_again(fd, POLLIN))
            continue;
        if (r < 0) {
            err_sys(e, "%s: cannot read", path);
            goto fail;
        }
        if (!r)
            break;
        done += (size_t)r;
        if (done > limit) {
            err_set(e, ERR_INPUT, "%s: larger than the limit of %zu bytes", path, limit);
            goto fail;
        }
        want = done + 1;
    }
    close(fd);
    p[done] = 0;
    if (n)
        *n = done;
    return p;
fail:
    free(p);
    close(fd);
    return NULL;
}

/* ---- output files -------------------------------------------------------- */

/* Names to remove if a signal ends the program.  Whoever takes a name out of
 * its slot owns it, so a handler can run at any moment, in any thread. */
enum { OUTFILE_MAX = 4096 };
static _Atomic(char *) unfinished[OUTFILE_MAX];

static int unfinished_add(const char *path, struct err *e)
{
    char *copy = strdup(path);
    if (!copy)
        return err_set(e, ERR_SYSTEM, "out of memory");
    for (int i = 0; i < OUTFILE_MAX; i++) {
        char *none = NULL;
        if (atomic_compare_exchange_strong(&unfinished[i], &none, copy))
            return i;
    }
    free(copy);
    return err_set(e, ERR_SYSTEM, "%s: more than %d output files at once", path, OUTFILE_MAX);
}

static void unfinished_drop(int slot)
{
    if (slot >= 0)
        free(atomic_exchange(&unfinished[slot], NULL));
}

void outfile_abort_all(void)
{
    for (int i = 0; i < OUTFILE_MAX; i++) {
        char *const path = atomic_exchange(&unfinished[i], NULL);
        if (!path)
            continue;
        unlink(path);
        /* free() is not safe in a handler: back it goes for its owner to free. */
        atomic_store(&unfinished[i], path);
    }
}

static void random_letters(char *s, size_t n)
{
    static const char letter[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    uint8_t r[16] = {0};
    if (getrandom(r, n, 0) < 0)
        for (size_t i = 0; i < n; i++)
            r[i] = (uint8_t)(rand() >> 4);
    for (size_t i = 0; i < n; i++)
        s[i] = letter[r[i] % (sizeof letter - 1)];
}

/* Creates f->tmp.  mkstemp would make it mode 0600, and the umask cannot be
 * asked for without changing it under other threads; open() applies it. */
static int open_temporary(struct outfile *f, struct err *e)
{
    const size_t n = strlen(f->path);
    f->tmp = mem_alloc(n + sizeof ".octavo-xxxxxx", 1, e);
    if (!f->tmp)
        return -1;
    memcpy(f->tmp, f->path, n);
    memcpy(f->tmp + n, ".octavo-", 8);
    for (int tries = 0; tries < 100; tries++) {
        random_letters(f->tmp + n + 8, 6);
        f->fd = open_retry(f->tmp, O_RDWR | O_CREAT | O_EXCL);
        if (f->fd >= 0)
            return 0;
        if (errno != EEXIST)
            break;
    }
    return err_sys(e, "%s: cannot create", f->path);
}

static void outfile_release(struct outfile *f)
{
    free(f->path);
    free(f->tmp);
    f->path = f->tmp = NULL;
    f->fd = f->slot = -1;
}

static int open_registered(struct outfile *f, const char *path, bool force, bool in_place, struct err *e)
{
    *f = (struct outfile){.fd = -1, .slot = -1, .force = force, .in_place = in_place};
    struct stat st;
    const bool exists = !lstat(path, &st);
    /* A dangling link stays what lstat says it is and is replaced itself. */
    char *target = exists && S_ISLNK(st.st_mode) ? realpath(path, NULL) : NULL;
    f->path = target ? target : strdup(path);
    if (!f->path)
        return err_set(e, ERR_SYSTEM, "out of memory");
    if (target && stat(target, &st)) {
        err_sys(e, "%s: cannot stat", path);
        goto fail;
    }
    if (exists && S_ISDIR(st.st_mode)) {
        err_set(e, ERR_USAGE, "%s is a directory", path);
        goto fail;
    }
    struct stat end; /* of a link such as /dev/fd/63, which realpath cannot follow */
    if (!stat(path, &end) && (S_ISCHR(end.st_mode) || S_ISFIFO(end.st_mode))) {
        f->in_place = false;
        f->fd = open_retry(path, O_WRONLY);
        if (f->fd < 0) {
            err_sys(e, "%s: cannot open for writing", path);
            goto fail;
        }
        return 0;
    }
    if (exists && !force) {
        err_set(e, ERR_USAGE, "%s exists; use -f to overwrite", path);
        goto fail;
    }
    if (in_place) {
        f->fd = open_retry(f->path, O_RDWR | O_CREAT);
        if (f->fd < 0) {
            err_sys(e, "%s: cannot open for writing", path);
            goto fail;
        }
    } else if (open_temporary(f, e)) {
        goto fail;
    }
    f->slot = unfinished_add(in_place ? f->path : f->tmp, e);
    if (f->slot < 0) {
        close(f->fd);
        if (f->tmp)
            unlink(f->tmp);
        goto fail;
    }
    return 0;
fail:
    outfile_release(f);
    return -1;
}

/* Between a file's creation and its place in the list of unfinished files no
 * signal may come, or its name would be lost.  Files are opened before workers
 * start, so blocking this thread is enough. */
int outfile_open(struct outfile *f, const char *path, bool force, bool in_place, struct err *e)
{
    sigset_t fatal, before;
    sigemptyset(&fatal);
    sigaddset(&fatal, SIGINT);
    sigaddset(&fatal, SIGTERM);
    sigaddset(&fatal, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &fatal, &before);
    const int r = open_registered(f, path, force, in_place, e);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

int outfile_reserve(struct outfile *f, uint64_t size, struct err *e)
{
    if (!f->tmp && !f->in_place)
        return 0; /* a pipe or a device has no size */
    if (size > INT64_MAX)
        return err_set(e, ERR_SYSTEM, "%s: %" PRIu64 " bytes are more than a file can have",
                       f->path, size);
    f->reserved = true;
    f->size = size;
    int rc;
    do {
        /* fallocate and not posix_fallocate, which would write to every block
         * where the file system cannot allocate. */
        rc = size ? fallocate(f->fd, 0, 0, (off_t)size) : ftruncate(f->fd, 0);
    } while (rc && errno == EINTR);
    if (rc && (errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS))
        rc = ftruncate(f->fd, (off_t)size);
    if (rc)
        return err_sys(e, "%s: cannot reserve %" PRIu64 " bytes", f->path, size);
    return 0;
}

/* The directory entry is on disk only after its directory was synced. */
static int sync_directory(const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    if (!dir)
        return err_set(e, ERR_SYSTEM, "out of memory");
    const int fd = open_retry(dir, O_RDONLY | O_DIRECTORY);
    int rc = 0;
    /* Some file systems cannot sync a directory, and that is not our failure. */
    if (fd >= 0 && fsync(fd) && errno != EINVAL && errno != EROFS)
        rc = err_sys(e, "%s: cannot sync", dir);
    if (fd >= 0)
        close(fd);
    free(dir);
    return rc;
}

/* Puts the temporary file in its place; without force only if nothing has
 * come to be there since the file was opened. */
static int put_in_place(struct outfile *f, struct err *e)
{
    if (!f->force) {
        if (!renameat2(AT_FDCWD, f->tmp, AT_FDCWD, f->path, RENAME_NOREPLACE))
            return 0;
        if (errno != EINVAL && errno != ENOSYS) {
            if (errno == EEXIST)
                return err_set(e, ERR_USAGE, "%s exists; use -f to overwrite", f->path);
            return err_sys(e, "%s: cannot rename %s", f->path, f->tmp);
        }
        if (io_exists(f->path))
            return err_set(e, ERR_USAGE, "%s exists; use -f to overwrite", f->path);
    }
    return rename(f->tmp, f->path) ? err_sys(e, "%s: cannot rename %s", f->path, f->tmp) : 0;
}

int outfile_commit(struct outfile *f, bool sync, struct err *e)
{
    const bool regular = f->tmp || f->in_place;
    if (f->in_place && f->reserved && ftruncate(f->fd, (off_t)f->size)) {
        err_sys(e, "%s: cannot set the size %" PRIu64, f->path, f->size);
        goto fail;
    }
    if (regular && sync && fsync(f->fd)) {
        err_sys(e, "%s: cannot sync", f->path);
        goto fail;
    }
    /* NFS and quotas report a failed write here. */
    const int rc = close(f->fd);
    f->fd = -1;
    if (rc && errno != EINTR) {
        err_sys(e, "%s: cannot close", f->path);
        goto fail;
    }
    if (f->tmp && put_in_place(f, e))
        goto fail;
    unfinished_drop(f->slot);
    f->slot = -1;
    const int done = regular && sync ? sync_directory(f->path, e) : 0;
    outfile_release(f);
    return done;
fail:
    outfile_abort(f);
    return -1;
}

void outfile_abort(struct outfile *f)
{
    if (!f->path)
        return;
    if (f->fd >= 0)
        close(f->fd);
    if (f->tmp)
        unlink(f->tmp);
    else if (f->in_place)
        unlink(f->path);
    unfinished_drop(f->slot);
    outfile_release(f);
}

int io_write_file(const char *path, const void *p, size_t n, bool force, bool sync, struct err *e)
{
    struct outfile f;
    if (outfile_open(&f, path, force, false, e))
        return -1;
    if (io_write(f.fd, path, p, n, e)) {
        outfile_abort(&f);
        return -1;
    }
    return outfile_commit(&f, sync, e);
}
