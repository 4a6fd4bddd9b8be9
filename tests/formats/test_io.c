#include "formats/io.h"
#include "tests/mk.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool holds(const char *path, const char *text)
{
    struct buf b = mk_read(path);
    const bool same = b.n == strlen(text) && (!b.n || !memcmp(b.s, text, b.n));
    buf_free(&b);
    return same;
}

static size_t count_files(const char *dir)
{
    char *const pattern = mk_path(dir, "*");
    glob_t g;
    const size_t n = glob(pattern, 0, NULL, &g) ? 0 : g.gl_pathc;
    if (n)
        globfree(&g);
    free(pattern);
    return n;
}

Test(io, pread_is_whole_or_an_error_with_numbers)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "f");
    struct err e = {0};
    uint64_t size;
    char p[8];
    mk_write(path, "0123456789", 10);
    const int fd = io_open(path, &size, &e);
    cr_assert_geq(fd, 0);
    cr_assert_eq(size, 10);
    cr_assert_eq(io_pread(fd, path, 2, p, 8, &e), 0);
    cr_assert_eq(memcmp(p, "23456789", 8), 0);
    cr_assert_eq(io_pread(fd, path, 10, p, 0, &e), 0);
    cr_assert_eq(io_pread(fd, path, 7, p, 8, &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, path));
    cr_assert(strstr(e.msg, "5 are missing"), "%s", e.msg);
    close(fd);
    free(path);
    mk_rmdir(dir);
}

Test(io, open_says_what_is_wrong)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "none");
    struct err e = {0};
    uint64_t size;
    cr_assert_eq(io_open(path, &size, &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, "No such file"), "%s", e.msg);
    cr_assert_eq(io_open(dir, &size, &e), -1);
    cr_assert(strstr(e.msg, "directory"), "%s", e.msg);
    cr_assert(io_is_dir(dir) && !io_is_dir(path) && io_exists(dir) && !io_exists(path));
    const int fd = io_open("/dev/null", &size, &e);
    cr_assert_geq(fd, 0);
    cr_assert_eq(size, UINT64_MAX);
    close(fd);
    free(path);
    mk_rmdir(dir);
}

Test(io, read_file_ends_in_nul_and_keeps_the_limit)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "f");
    struct err e = {0};
    size_t n = 99;
    mk_write(path, "", 0);
    char *p = io_read_file(path, 0, &n, &e);
    cr_assert(p && n == 0 && !*p);
    free(p);
    mk_write(path, "abc", 3);
    p = io_read_file(path, 3, &n, &e);
    cr_assert(p && n == 3);
    cr_assert_str_eq(p, "abc");
    free(p);
    cr_assert_null(io_read_file(path, 2, &n, &e));
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, "limit of 2"), "%s", e.msg);
    free(path);
    mk_rmdir(dir);
}

Test(io, write_to_a_closed_pipe_is_an_error_not_a_death)
{
    int fd[2];
    struct err e = {0};
    signal(SIGPIPE, SIG_IGN);
    cr_assert_eq(pipe(fd), 0);
    close(fd[0]);
    cr_assert_eq(io_write(fd[1], "out", "x", 1, &e), -1);
    cr_assert_eq(e.kind, ERR_SYSTEM);
    cr_assert(strstr(e.msg, "out: the reader closed the pipe"), "%s", e.msg);
}

Test(io, full_disk_is_an_error)
{
    struct outfile f;
    struct err e = {0};
    if (access("/dev/full", W_OK))
        return;
    cr_assert_eq(outfile_open(&f, "/dev/full", false, false, &e), 0, "%s", e.msg);
    cr_assert_null(f.tmp);
    cr_assert_eq(outfile_reserve(&f, 1000, &e), 0);
    cr_assert_eq(io_write(f.fd, f.path, "x", 1, &e), -1);
    cr_assert_eq(e.kind, ERR_SYSTEM);
    cr_assert(strstr(e.msg, "No space left"), "%s", e.msg);
    outfile_abort(&f);
    cr_assert(io_exists("/dev/full"));
}

Test(io, outfile_appears_whole_or_not_at_all)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "f");
    struct outfile f;
    struct stat st;
    struct err e = {0};
    umask(027);
    cr_assert_eq(outfile_open(&f, path, false, false, &e), 0, "%s", e.msg);
    cr_assert_not(io_exists(path));
    cr_assert_eq(outfile_reserve(&f, 5, &e), 0);
    cr_assert_eq(io_pwrite(f.fd, path, 2, "cde", 3, &e), 0);
    cr_assert_eq(io_pwrite(f.fd, path, 0, "ab", 2, &e), 0);
    cr_assert_not(io_exists(path));
    cr_assert_eq(outfile_commit(&f, true, &e), 0, "%s", e.msg);
    cr_assert(holds(path, "abcde"));
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0640);

    cr_assert_eq(outfile_open(&f, path, true, false, &e), 0);
    cr_assert_eq(io_write(f.fd, path, "zzz", 3, &e), 0);
    outfile_abort(&f);
    cr_assert(holds(path, "abcde"));
    cr_assert_eq(count_files(dir), 1);
    free(path);
    mk_rmdir(dir);
}

Test(io, outfile_refuses_what_is_there)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "f");
    struct outfile f;
    struct err e = {0};
    mk_write(path, "old", 3);
    cr_assert_eq(outfile_open(&f, path, false, false, &e), -1);
    cr_assert_eq(e.kind, ERR_USAGE);
    cr_assert(strstr(e.msg, "exists; use -f to overwrite"), "%s", e.msg);
    outfile_abort(&f); /* must be harmless */
    cr_assert_eq(outfile_open(&f, path, false, true, &e), -1);
    cr_assert_eq(outfile_open(&f, dir, true, false, &e), -1);
    cr_assert_eq(e.kind, ERR_USAGE);
    cr_assert_eq(outfile_open(&f, path, true, false, &e), 0);
    cr_assert_eq(outfile_commit(&f, false, &e), 0);
    cr_assert(holds(path, ""));

    /* something comes to be there while we write */
    char *const other = mk_path(dir, "g");
    cr_assert_eq(outfile_open(&f, other, false, false, &e), 0);
    mk_write(other, "theirs", 6);
    cr_assert_eq(outfile_commit(&f, false, &e), -1);
    cr_assert_eq(e.kind, ERR_USAGE);
    cr_assert(holds(other, "theirs"));
    cr_assert_eq(count_files(dir), 2);

    char *const nowhere = mk_path(dir, "no/such/place");
    cr_assert_eq(outfile_open(&f, nowhere, false, false, &e), -1);
    cr_assert_eq(e.kind, ERR_SYSTEM);
    free(nowhere);
    free(other);
    free(path);
    mk_rmdir(dir);
}

Test(io, in_place_keeps_the_inode_and_cuts_to_the_size)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "f");
    struct outfile f;
    struct stat before, after;
    struct err e = {0};
    mk_write(path, "0123456789", 10);
    cr_assert_eq(stat(path, &before), 0);
    cr_assert_eq(outfile_open(&f, path, true, true, &e), 0, "%s", e.msg);
    cr_assert_eq(outfile_reserve(&f, 4, &e), 0);
    cr_assert_eq(io_pwrite(f.fd, path, 0, "abcd", 4, &e), 0);
    cr_assert_eq(outfile_commit(&f, false, &e), 0, "%s", e.msg);
    cr_assert_eq(stat(path, &after), 0);
    cr_assert_eq(before.st_ino, after.st_ino);
    cr_assert(holds(path, "abcd"));
    cr_assert_eq(outfile_open(&f, path, true, true, &e), 0);
    outfile_abort(&f);
    cr_assert_not(io_exists(path));
    cr_assert_eq(outfile_open(&f, path, false, true, &e), 0);
    cr_assert_eq(outfile_reserve(&f, 3, &e), 0);
    cr_assert_eq(outfile_commit(&f, false, &e), 0);
    struct buf b = mk_read(path);
    cr_assert_eq(b.n, 3);
    buf_free(&b);
    free(path);
    mk_rmdir(dir);
}

Test(io, symbolic_link_is_followed)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "f"), *const link = mk_path(dir, "l");
    struct stat st;
    struct err e = {0};
    mk_write(path, "old", 3);
    cr_assert_eq(symlink("f", link), 0);
    cr_assert_eq(io_write_file(link, "new", 3, false, false, &e), -1);
    cr_assert_eq(io_write_file(link, "new", 3, true, false, &e), 0, "%s", e.msg);
    cr_assert_eq(lstat(link, &st), 0);
    cr_assert(S_ISLNK(st.st_mode));
    cr_assert(holds(path, "new"));
    free(link);
    free(path);
    mk_rmdir(dir);
}

Test(io, abort_all_removes_every_unfinished_file)
{
    enum { N = 300 };
    static struct outfile f[N];
    char *const dir = mk_tmpdir();
    struct err e = {0};
    char name[16];
    for (int i = 0; i < N; i++) {
        sprintf(name, "f%d", i);
        char *const path = mk_path(dir, name);
        cr_assert_eq(outfile_open(&f[i], path, false, i % 2, &e), 0, "%s", e.msg);
        free(path);
    }
    cr_assert_eq(outfile_commit(&f[0], false, &e), 0);
    cr_assert_eq(outfile_commit(&f[1], false, &e), 0);
    outfile_abort(&f[2]);
    outfile_abort_all();
    cr_assert_eq(count_files(dir), 2);
    for (int i = 3; i < N; i++)
        outfile_abort(&f[i]); /* must not free a name twice */
    mk_rmdir(dir);
}

Test(io, size_beyond_any_disk_is_an_error)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "f");
    struct outfile f;
    struct err e = {0};
    cr_assert_eq(outfile_open(&f, path, false, false, &e), 0);
    cr_assert_eq(outfile_reserve(&f, UINT64_MAX, &e), -1);
    cr_assert_eq(e.kind, ERR_SYSTEM);
    cr_assert_eq(outfile_reserve(&f, INT64_MAX, &e), -1);
    cr_assert(strstr(e.msg, "9223372036854775807"), "%s", e.msg);
    cr_assert_eq(outfile_reserve(&f, 0, &e), 0);
    outfile_abort(&f);
    cr_assert_eq(count_files(dir), 0);
    free(path);
    mk_rmdir(dir);
}

Test(io, write_file)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "f");
    struct err e = {0};
    cr_assert_eq(io_write_file(path, "hello", 5, false, true, &e), 0, "%s", e.msg);
    cr_assert(holds(path, "hello"));
    cr_assert_eq(io_write_file(path, "bye", 3, false, true, &e), -1);
    cr_assert(holds(path, "hello"));
    cr_assert_eq(io_write_file("/dev/null", "bye", 3, false, true, &e), 0, "%s", e.msg);
    free(path);
    mk_rmdir(dir);
}
