#include "formats/io.h"
#include "formats/stream.h"
#include "tests/mk.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Half a megabyte that compresses a little: beyond every buffer inside. */
enum { N = 600001 };

static uint8_t *sample(void)
{
    static uint8_t p[N];
    uint32_t x = 1;
    for (size_t i = 0; i < N; i++) {
        x = x * 1664525 + 1013904223;
        p[i] = (uint8_t)(x >> 28);
    }
    return p;
}

/* Reads a whole image in pieces of step bytes; 0 or -1, *n bytes in out. */
static int read_all(const void *image, size_t size, size_t step, uint8_t *out, size_t room,
                    size_t *n, bool *compressed, struct err *e)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "f");
    mk_write(path, image, size);
    const int fd = io_open(path, NULL, e);
    struct stream *const s = stream_open(fd, path, e);
    cr_assert(s, "%s", e->msg);
    *compressed = stream_is_compressed(s);
    *n = 0;
    int rc = 0;
    for (size_t got = step; !rc && got == step;) {
        cr_assert_leq(*n + step, room);
        rc = stream_read(s, out + *n, step, &got, e);
        *n += got;
    }
    stream_close(s);
    free(path);
    mk_rmdir(dir);
    return rc;
}

static void same(const struct buf *image, const uint8_t *want, size_t size, bool is_compressed)
{
    static const size_t step[] = {1000, 4097, 65536, 300000, 1 << 20};
    uint8_t *const out = malloc(4 << 20);
    for (size_t i = 0; i < sizeof step / sizeof *step; i++) {
        struct err e = {0};
        size_t n;
        bool compressed;
        cr_assert_eq(read_all(image->s, image->n, step[i], out, 4 << 20, &n, &compressed, &e), 0,
                     "%s", e.msg);
        cr_assert_eq(n, size);
        cr_assert_eq(memcmp(out, want, size), 0);
        cr_assert_eq(compressed, is_compressed);
    }
    free(out);
}

Test(stream, plain_gzip_and_zstd_give_the_same_bytes)
{
    const uint8_t *const p = sample();
    struct buf plain = {0}, gz = mk_gzip(p, N), zst = mk_zstd(p, N);
    mk_put(&plain, p, N);
    same(&plain, p, N, false);
    same(&gz, p, N, true);
    same(&zst, p, N, true);
    buf_free(&plain);
    buf_free(&gz);
    buf_free(&zst);
}

Test(stream, members_and_frames_follow_each_other)
{
    const uint8_t *const p = sample();
    enum { CUT = 70000 };
    for (int zstd = 0; zstd < 2; zstd++) {
        struct buf (*const make)(const void *, size_t) = zstd ? mk_zstd : mk_gzip;
        struct buf a = make(p, CUT), b = make(p + CUT, N - CUT), none = make(p, 0), all = {0};
        mk_put(&all, a.s, a.n);
        mk_put(&all, none.s, none.n);
        mk_put(&all, b.s, b.n);
        if (zstd) /* a skippable frame of 5 bytes */
            mk_put(&all, "\x50\x2a\x4d\x18\5\0\0\0hello", 13);
        same(&all, p, N, true);
        buf_free(&a);
        buf_free(&b);
        buf_free(&none);
        buf_free(&all);
    }
}

Test(stream, empty_input)
{
    struct buf none = {0}, gz = mk_gzip("", 0), zst = mk_zstd("", 0);
    mk_put(&none, "", 0);
    same(&none, (const uint8_t *)"", 0, false);
    same(&gz, (const uint8_t *)"", 0, true);
    same(&zst, (const uint8_t *)"", 0, true);
    buf_free(&none);
    buf_free(&gz);
    buf_free(&zst);
}

Test(stream, every_truncation_is_an_error)
{
    static const char text[] = "a small text that is compressed and then cut at every byte of it";
    uint8_t *const out = malloc(1 << 16);
    for (int zstd = 0; zstd < 2; zstd++) {
        struct buf b = zstd ? mk_zstd(text, sizeof text) : mk_gzip(text, sizeof text);
        for (size_t cut = zstd ? 4 : 10; cut < b.n; cut++) {
            struct err e = {0};
            size_t n;
            bool compressed;
            cr_assert_eq(read_all(b.s, cut, 1000, out, 1 << 16, &n, &compressed, &e), -1,
                         "cut at %zu", cut);
            cr_assert_eq(e.kind, ERR_INPUT);
            cr_assert(strstr(e.msg, "ends early"), "%s", e.msg);
        }
        buf_free(&b);
    }
    free(out);
}

Test(stream, corruption_and_trailing_garbage_are_errors)
{
    const uint8_t *const p = sample();
    uint8_t *const out = malloc(4 << 20);
    for (int zstd = 0; zstd < 2; zstd++) {
        struct err e = {0};
        size_t n;
        bool compressed;
        struct buf b = zstd ? mk_zstd(p, N) : mk_gzip(p, N);
        mk_puts(&b, "and this is something else entirely");
        cr_assert_eq(read_all(b.s, b.n, 4096, out, 4 << 20, &n, &compressed, &e), -1);
        cr_assert_eq(n, N);
        cr_assert_eq(e.kind, ERR_INPUT);
        cr_assert(strstr(e.msg, "follows"), "%s", e.msg);
        /* gzip has a checksum; a zstd frame made in one call has none, so break a block header */
        b.n = b.n - 35;
        b.s[zstd ? 9 : b.n / 2] ^= 0x77;
        cr_assert_eq(read_all(b.s, b.n, 4096, out, 4 << 20, &n, &compressed, &e), -1);
        cr_assert_eq(e.kind, ERR_INPUT);
        buf_free(&b);
    }
    free(out);
}

Test(stream, a_safetensors_length_is_not_taken_for_gzip)
{
    /* 0x088b1f = 559,903: the length of a header, then its brace */
    const uint8_t length[18] = "\x1f\x8b\x08\0\0\0\0\0{\"a\":{\"dt";
    cr_assert_not(stream_magic(length, 18));
    struct buf gz = mk_gzip("x", 1), zst = mk_zstd("x", 1);
    cr_assert(stream_magic((const uint8_t *)gz.s, 18));
    cr_assert(stream_magic((const uint8_t *)zst.s, zst.n));
    cr_assert_not(stream_magic((const uint8_t *)gz.s, 2));
    cr_assert_not(stream_magic((const uint8_t *)"", 0));
    buf_free(&gz);
    buf_free(&zst);
}

Test(stream, pipe_delivers_in_small_pieces)
{
    const uint8_t *const p = sample();
    uint8_t *const out = malloc(N + 10);
    struct err e = {0};
    size_t got;
    mk_stdin(p, N);
    struct stream *const s = stream_open(0, "standard input", &e);
    cr_assert(s);
    cr_assert_eq(stream_read(s, out, 10, &got, &e), 0);
    cr_assert_eq(got, 10);
    cr_assert_eq(stream_read(s, out + 10, N, &got, &e), 0);
    cr_assert_eq(got, N - 10);
    cr_assert_eq(memcmp(out, p, N), 0);
    cr_assert_eq(stream_read(s, out, 1, &got, &e), 0);
    cr_assert_eq(got, 0);
    stream_close(s);
    cr_assert_geq(dup(0), 0, "standard input is not the stream's to close");
    free(out);
}
