#include "tests/mk.h"

#include "formats/io.h"

#include <ftw.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

static void check(bool good, const char *what)
{
    if (good)
        return;
    perror(what);
    abort();
}

void mk_put(struct buf *b, const void *p, size_t n)
{
    struct err e;
    check(!buf_put(b, p, n, &e), "mk_put");
}

void mk_puts(struct buf *b, const char *s)
{
    mk_put(b, s, strlen(s));
}

void mk_le(struct buf *b, uint64_t x, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        mk_put(b, &(uint8_t){(uint8_t)(x >> 8 * i)}, 1);
}

static void put_pattern(struct buf *b, size_t n)
{
    for (size_t i = 1; i <= n; i++)
        mk_put(b, &(uint8_t){(uint8_t)i}, 1);
}

struct buf mk_header(const char *json, size_t n)
{
    struct buf b = {0};
    mk_le(&b, strlen(json), 8);
    mk_puts(&b, json);
    put_pattern(&b, n);
    return b;
}

struct buf mk_safetensors(const struct mk_tensor *t, size_t n, const char *metadata)
{
    struct buf json = {0}, b = {0};
    struct err e;
    size_t at = 0;
    mk_puts(&json, "{");
    if (metadata)
        check(!buf_printf(&json, &e, "\"__metadata__\":%s%s", metadata, n ? "," : ""), "mk");
    for (size_t i = 0; i < n; at += t[i++].n)
        check(!buf_printf(&json, &e,
                          "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}",
                          i ? "," : "", t[i].name, t[i].dtype, t[i].shape, at, at + t[i].n),
              "mk");
    mk_puts(&json, "}");
    while (json.n % 8)
        mk_puts(&json, " ");
    mk_le(&b, json.n, 8);
    mk_put(&b, json.s, json.n);
    for (size_t i = 0; i < n; i++) {
        if (t[i].data)
            mk_put(&b, t[i].data, t[i].n);
        else
            put_pattern(&b, t[i].n);
    }
    buf_free(&json);
    return b;
}

struct buf mk_gzip(const void *p, size_t n)
{
    struct buf b = {0};
    struct err e;
    z_stream z = {0};
    check(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK, "deflateInit2");
    const size_t room = deflateBound(&z, n) + 64;
    check(!mem_grow((void **)&b.s, &b.cap, room, 1, &e), "mk_gzip");
    z.next_in = (Bytef *)(uintptr_t)p;
    z.avail_in = (uInt)n;
    z.next_out = (Bytef *)b.s;
    z.avail_out = (uInt)room;
    check(deflate(&z, Z_FINISH) == Z_STREAM_END, "deflate");
    b.n = room - z.avail_out;
    deflateEnd(&z);
    return b;
}

struct buf mk_zstd(const void *p, size_t n)
{
    struct buf b = {0};
    struct err e;
    check(!mem_grow((void **)&b.s, &b.cap, ZSTD_compressBound(n) + 1, 1, &e), "mk_zstd");
    b.n = ZSTD_compress(b.s, b.cap, p, n, 3);
    check(!ZSTD_isError(b.n), "ZSTD_compress");
    return b;
}

/* ---- files --------------------------------------------------------------- */

char *mk_tmpdir(void)
{
    const char *const base = getenv("TMPDIR");
    char *dir = NULL;
    check(asprintf(&dir, "%s/octavo-test-XXXXXX", base && *base ? base : "/tmp") >= 0, "asprintf");
    check(mkdtemp(dir), dir);
    return dir;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
    (void)st, (void)flag, (void)f;
    return remove(path);
}

void mk_rmdir(char *dir)
{
    check(!nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), dir);
    free(dir);
}

int mk_files_in(const char *dir)
{
    int n = 0;
    DIR *const d = opendir(dir);
    for (struct dirent *x; d && (x = readdir(d));)
        n += *x->d_name != '.';
    closedir(d);
    return n;
}

char *mk_path(const char *dir, const char *name)
{
    char *path = NULL;
    check(asprintf(&path, "%s/%s", dir, name) >= 0, "asprintf");
    return path;
}

void mk_write(const char *path, const void *p, size_t n)
{
    FILE *const f = fopen(path, "wb");
    check(f, path);
    check(fwrite(p, 1, n, f) == n, path);
    check(!fclose(f), path);
}

struct buf mk_read(const char *path)
{
    struct buf b = {0};
    char part[65536];
    size_t n;
    FILE *const f = fopen(path, "rb");
    check(f, path);
    while ((n = fread(part, 1, sizeof part, f)))
        mk_put(&b, part, n);
    fclose(f);
    return b;
}

void mk_stdin(const void *p, size_t n)
{
    int fd[2];
    check(!pipe(fd), "pipe");
    const pid_t child = fork();
    check(child >= 0, "fork");
    if (!child) {
        struct err e;
        close(fd[0]);
        _exit(io_write(fd[1], "pipe", p, n, &e) ? 1 : 0);
    }
    close(fd[1]);
    check(dup2(fd[0], 0) == 0, "dup2");
    close(fd[0]);
}

char *mk_data(const char *name)
{
    static bool told;
    const char *const base = getenv("OCTAVO_DATA");
    char *path = NULL;
    check(asprintf(&path, "%s/%s", base && *base ? base : "../shared/data", name) >= 0, "asprintf");
    if (!access(path, R_OK))
        return path;
    if (!told)
        fprintf(stderr, "note: %s is not there, tests that need it pass unrun\n", path);
    told = true;
    free(path);
    return NULL;
}
