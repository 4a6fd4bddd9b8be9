#include "formats/sink.h"
#include "tests/mk.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* head, gap of 3, slot, empty slot, slot, gap of 7, slot, gap of 3, tail */
enum { NSLOTS = 5, SIZE = 700, TAIL = 5 };
static const struct sink_slot slots[NSLOTS] = {
    {0, 13, 300}, {0, 313, 0}, {0, 313, 50}, {0, 370, 322}, {0, 692, 0}};
static const char head[] = "ten bytes!";

static struct sink_file one(const char *path)
{
    return (struct sink_file){.path = path, .head = head, .head_size = 10, .size = SIZE, .tail_size = TAIL};
}

/* What the file must be, byte by byte. */
static void image(uint8_t p[SIZE])
{
    memset(p, 0, SIZE);
    memcpy(p, head, 10);
    for (size_t k = 0; k < NSLOTS; k++)
        for (size_t i = 0; i < slots[k].size; i++)
            p[slots[k].off + i] = (uint8_t)(1 + k * 50 + i);
    memset(p + SIZE - TAIL, '!', TAIL);
}

struct piece {
    size_t slot, off, n;
};

/* The slots in pieces of at most `most` bytes, shuffled when asked. */
static size_t pieces(struct piece *p, size_t most, bool shuffle, uint64_t *seed)
{
    size_t n = 0;
    for (size_t k = 0; k < NSLOTS; k++)
        for (size_t off = 0; off < slots[k].size; off += p[n++].n)
            p[n] = (struct piece){k, off, min_u64(most, slots[k].size - off)};
    for (size_t i = n; shuffle && i > 1; i--) {
        const size_t j = oracle_random(seed) % i;
        const struct piece x = p[j];
        p[j] = p[i - 1];
        p[i - 1] = x;
    }
    return n;
}

static int put_all(struct sink *s, size_t most, bool shuffle, uint64_t *seed, struct err *e)
{
    static struct piece p[SIZE];
    uint8_t want[SIZE];
    image(want);
    const size_t n = pieces(p, most, shuffle, seed);
    for (size_t i = 0; i < n; i++)
        if (sink_put(s, p[i].slot, p[i].off, want + slots[p[i].slot].off + p[i].off, p[i].n, e))
            return -1;
    return sink_tail(s, 0, "!!!!!", e);
}

static int open_one(struct sink *s, const struct sink_file *f, struct sink_options opt, struct err *e)
{
    return sink_open(s, f, 1, slots, NSLOTS, NULL, opt, e);
}

static int entries;
static int count_entry(const char *path, const struct stat *st, int flag, struct FTW *f)
{
    (void)path, (void)st, (void)f;
    entries += flag == FTW_F;
    return 0;
}
static int files_in(const char *dir)
{
    entries = 0;
    cr_assert_eq(nftw(dir, count_entry, 4, FTW_PHYS), 0);
    return entries;
}

static void same_file(const char *path)
{
    uint8_t want[SIZE];
    struct buf b = mk_read(path);
    image(want);
    cr_assert_eq(b.n, SIZE);
    for (size_t i = 0; i < SIZE; i++)
        cr_assert_eq((uint8_t)b.s[i], want[i], "byte %zu is %u, not %u", i, (uint8_t)b.s[i], want[i]);
    buf_free(&b);
}

/* Standard output becomes a file that is written in sequence. */
static int saved_stdout = -1;
static void stdout_to(const char *path)
{
    fflush(stdout);
    saved_stdout = dup(STDOUT_FILENO);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0666);
    cr_assert(fd >= 0 && dup2(fd, STDOUT_FILENO) >= 0);
    close(fd);
}
static void stdout_back(void)
{
    dup2(saved_stdout, STDOUT_FILENO);
    close(saved_stdout);
}

/* ---- files ----------------------------------------------------------------- */

Test(sink, file_takes_any_order)
{
    uint64_t seed = oracle_seed();
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "out");
    const struct sink_file f = one(path);
    static const size_t most[] = {1, 3, 64, SIZE};
    for (size_t i = 0; i < 8; i++) {
        struct sink s;
        struct err e = {0};
        cr_assert_eq(open_one(&s, &f, (struct sink_options){.force = true, .sync = i == 0}, &e), 0, "%s",
                     e.msg);
        cr_assert(!s.ordered);
        cr_assert_eq(put_all(&s, most[i % 4], i > 3, &seed, &e), 0, "%s", e.msg);
        cr_assert_eq(sink_commit(&s, &e), 0, "%s", e.msg);
        same_file(path);
        cr_assert_eq(files_in(dir), 1, "no temporary file stays");
    }
    free(path);
    mk_rmdir(dir);
}

Test(sink, file_that_exists)
{
    uint64_t seed = 1;
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "out");
    const struct sink_file f = one(path);
    struct sink s;
    struct err e = {0};
    mk_write(path, "old", 3);
    cr_assert_eq(open_one(&s, &f, (struct sink_options){0}, &e), -1);
    cr_assert_eq(e.kind, ERR_USAGE);
    cr_assert(strstr(e.msg, path), "%s", e.msg);
    sink_abort(&s); /* harmless after a failed open */
    cr_assert_eq(files_in(dir), 1);

    cr_assert_eq(open_one(&s, &f, (struct sink_options){.force = true}, &e), 0, "%s", e.msg);
    cr_assert_eq(put_all(&s, 64, false, &seed, &e), 0);
    struct buf b = mk_read(path);
    cr_assert(b.n == 3 && !memcmp(b.s, "old", 3), "the old file stays until the commit");
    buf_free(&b);
    sink_abort(&s);
    b = mk_read(path);
    cr_assert(b.n == 3 && !memcmp(b.s, "old", 3), "and after an abort");
    buf_free(&b);
    cr_assert_eq(files_in(dir), 1);
    free(path);
    mk_rmdir(dir);
}

Test(sink, abort_leaves_nothing)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "out"),
                *const gone = mk_path(dir, "no/such/dir");
    const struct sink_file f = one(path);
    struct sink s;
    struct err e = {0};
    cr_assert_eq(open_one(&s, &f, (struct sink_options){0}, &e), 0);
    cr_assert_eq(sink_put(&s, 0, 0, "x", 1, &e), 0);
    cr_assert_eq(files_in(dir), 1, "under another name");
    cr_assert_neq(access(path, F_OK), 0);
    sink_abort(&s);
    cr_assert_eq(files_in(dir), 0);
    sink_abort(&s);

    /* The second file cannot be opened: the first goes too. */
    const struct sink_file two[2] = {one(path), {.path = gone, .head = head, .head_size = 10, .size = 10}};
    cr_assert_eq(sink_open(&s, two, 2, slots, NSLOTS, NULL, (struct sink_options){0}, &e), -1);
    cr_assert_eq(e.kind, ERR_SYSTEM);
    cr_assert_eq(files_in(dir), 0);
    free(gone);
    free(path);
    mk_rmdir(dir);
}

Test(sink, commit_finds_every_missing_byte)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "out");
    const struct sink_file f = one(path);
    uint8_t want[SIZE];
    image(want);
    for (size_t k = 0; k < NSLOTS; k++) {
        if (!slots[k].size)
            continue;
        struct sink s;
        struct err e = {0};
        cr_assert_eq(open_one(&s, &f, (struct sink_options){0}, &e), 0);
        for (size_t i = 0; i < NSLOTS; i++)
            cr_assert_eq(
                sink_put(&s, i, i == k, want + slots[i].off + (i == k), slots[i].size - (i == k), &e), 0);
        cr_assert_eq(sink_tail(&s, 0, "!!!!!", &e), 0);
        cr_assert_eq(sink_commit(&s, &e), -1);
        cr_assert(strstr(e.msg, path) && strstr(e.msg, " 1 "), "%s", e.msg);
        sink_abort(&s);
        cr_assert_eq(files_in(dir), 0);
    }
    free(path);
    mk_rmdir(dir);
}

Test(sink, commit_finds_a_missing_tail)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "out");
    const struct sink_file f = one(path);
    uint8_t want[SIZE];
    image(want);
    struct sink s;
    struct err e = {0};
    cr_assert_eq(open_one(&s, &f, (struct sink_options){0}, &e), 0);
    for (size_t i = 0; i < NSLOTS; i++)
        cr_assert_eq(sink_put(&s, i, 0, want + slots[i].off, slots[i].size, &e), 0);
    cr_assert_eq(sink_commit(&s, &e), -1);
    sink_abort(&s);
    cr_assert_eq(files_in(dir), 0);
    free(path);
    mk_rmdir(dir);
}

Test(sink, too_many_bytes_are_refused)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "out");
    const struct sink_file f = one(path);
    uint8_t p[400] = {0};
    struct sink s;
    struct err e = {0};
    cr_assert_eq(open_one(&s, &f, (struct sink_options){0}, &e), 0);
    cr_assert_eq(sink_put(&s, 0, 0, p, 301, &e), -1);
    cr_assert_eq(sink_put(&s, 0, 300, p, 1, &e), -1);
    cr_assert_eq(sink_put(&s, 0, UINT64_MAX, p, 2, &e), -1, "no overflow");
    cr_assert_eq(sink_put(&s, 1, 0, p, 1, &e), -1);
    cr_assert_eq(sink_put(&s, 0, 300, p, 0, &e), 0);
    cr_assert_eq(sink_put(&s, 0, 0, p, 300, &e), 0);
    cr_assert_eq(sink_put(&s, 0, 0, p, 300, &e), 0, "counted, not tracked");
    cr_assert_eq(sink_put(&s, 0, 0, p, 300, &e), -1, "more than the file has");
    sink_abort(&s);
    free(path);
    mk_rmdir(dir);
}

Test(sink, in_place_keeps_the_file_and_clears_its_gaps)
{
    uint64_t seed = 2;
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "out");
    const struct sink_file f = one(path);
    uint8_t ff[SIZE + 100];
    struct stat a, b;
    memset(ff, 0xff, sizeof ff);
    for (int shorter = 0; shorter < 2; shorter++) {
        struct sink s;
        struct err e = {0};
        mk_write(path, ff, shorter ? 40 : sizeof ff);
        cr_assert_eq(stat(path, &a), 0);
        cr_assert_eq(open_one(&s, &f, (struct sink_options){.force = true, .in_place = true}, &e), 0, "%s",
                     e.msg);
        cr_assert_eq(put_all(&s, 64, true, &seed, &e), 0, "%s", e.msg);
        cr_assert_eq(sink_commit(&s, &e), 0, "%s", e.msg);
        cr_assert_eq(stat(path, &b), 0);
        cr_assert(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
        same_file(path);
    }
    free(path);
    mk_rmdir(dir);
}

Test(sink, full_disk)
{
    const struct sink_file f = one("/dev/full");
    struct sink s;
    struct err e = {0};
    int r = open_one(&s, &f, (struct sink_options){.force = true}, &e); /* the head does not fit */
    cr_assert_eq(r, -1);
    cr_assert_eq(e.kind, ERR_SYSTEM);
    cr_assert(strstr(e.msg, "/dev/full") && strstr(e.msg, "No space"), "%s", e.msg);
}

/* ---- several files ----------------------------------------------------------- */

static const struct sink_slot pair[3] = {{0, 4, 6}, {1, 4, 3}, {1, 7, 3}};
struct told {
    int calls;
    size_t file;
    const char *path;
};
static int note(void *ctx, size_t file, struct err *e)
{
    struct told *const t = ctx;
    (void)e;
    t->calls++;
    t->file = file;
    cr_assert_eq(access(t->path, F_OK), 0, "it is there when it is published");
    return 0;
}

Test(sink, published_files_survive_an_abort)
{
    char *const dir = mk_tmpdir(), *const a = mk_path(dir, "a"), *const b = mk_path(dir, "b");
    const struct sink_file f[2] = {{a, "head", 4, 10, 0}, {b, "head", 4, 10, 0}};
    struct told told = {0, 9, b};
    struct sink s;
    struct err e = {0};
    cr_assert_eq(sink_open(&s, f, 2, pair, 3, NULL, (struct sink_options){.publish = true}, &e), 0);
    s.published = note;
    s.published_ctx = &told;
    cr_assert_eq(sink_put(&s, 2, 0, "xyz", 3, &e), 0);
    cr_assert_eq(sink_put(&s, 0, 0, "abc", 3, &e), 0);
    cr_assert_eq(told.calls, 0);
    cr_assert_eq(sink_put(&s, 1, 0, "uvw", 3, &e), 0, "%s", e.msg);
    cr_assert(told.calls == 1 && told.file == 1);
    sink_abort(&s);
    struct buf x = mk_read(b);
    cr_assert(x.n == 10 && !memcmp(x.s, "headuvwxyz", 10));
    buf_free(&x);
    cr_assert_eq(files_in(dir), 1);

    /* Going on: that file is skipped, and stays as it is. */
    const bool skip[2] = {false, true};
    mk_write(b, "as it was", 9);
    cr_assert_eq(sink_open(&s, f, 2, pair, 3, skip, (struct sink_options){.publish = true}, &e), 0, "%s",
                 e.msg);
    cr_assert_eq(sink_put(&s, 1, 0, "uvw", 3, &e), 0);
    cr_assert_eq(sink_put(&s, 0, 0, "abcdef", 6, &e), 0);
    cr_assert_eq(sink_commit(&s, &e), 0, "%s", e.msg);
    x = mk_read(b);
    cr_assert(x.n == 9 && !memcmp(x.s, "as it was", 9));
    buf_free(&x);
    cr_assert_eq(files_in(dir), 2);
    free(a);
    free(b);
    mk_rmdir(dir);
}

/* ---- pipes -------------------------------------------------------------------- */

Test(sink, pipe_writes_in_turn)
{
    uint64_t seed = oracle_seed();
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "out");
    const struct sink_file f = one("-");
    for (int i = 0; i < 40; i++) {
        struct sink s;
        struct err e = {0};
        const bool shuffle = i > 3;
        stdout_to(path);
        int r = open_one(&s, &f, (struct sink_options){.digest = true}, &e);
        const bool ordered = s.ordered;
        r = r || put_all(&s, 1 + i * i, shuffle, &seed, &e);
        const uint64_t held = s.held, peak = s.held_peak;
        r = r || sink_commit(&s, &e);
        stdout_back();
        cr_assert_eq(r, 0, "%s", e.msg);
        cr_assert(ordered);
        cr_assert_eq(held, 0, "nothing is held once everything came");
        cr_assert(shuffle || peak == 0, "what comes in order is not held");
        cr_assert(peak <= 300 + 50 + 322);
        same_file(path);
    }
    free(path);
    mk_rmdir(dir);
}

Test(sink, pipe_holds_what_came_too_early)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "out");
    const struct sink_file f = one("-");
    uint8_t want[SIZE];
    struct sink s;
    struct err e = {0};
    uint64_t held[5];
    image(want);
    stdout_to(path);
    int r = open_one(&s, &f, (struct sink_options){0}, &e) || sink_put(&s, 2, 0, want + 313, 50, &e);
    held[0] = s.held;
    r = r || sink_put(&s, 0, 0, want + 13, 100, &e);
    held[1] = s.held; /* in turn */
    r = r || sink_put(&s, 0, 200, want + 213, 100, &e);
    held[2] = s.held; /* the whole slot */
    r = r || sink_put(&s, 0, 100, want + 113, 100, &e);
    held[3] = s.held;
    r = r || sink_put(&s, 3, 0, want + 370, 322, &e) || sink_tail(&s, 0, "!!!!!", &e);
    held[4] = s.held_peak;
    r = r || sink_commit(&s, &e);
    stdout_back();
    cr_assert_eq(r, 0, "%s", e.msg);
    cr_assert(held[0] == 50 && held[1] == 50 && held[2] == 350 && held[3] == 0 && held[4] == 350);
    same_file(path);
    free(path);
    mk_rmdir(dir);
}

Test(sink, pipe_with_a_missing_byte)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "out");
    const struct sink_file f = one("-");
    uint8_t want[SIZE];
    struct sink s;
    struct err e = {0};
    image(want);
    stdout_to(path);
    int r = open_one(&s, &f, (struct sink_options){0}, &e) || sink_put(&s, 0, 0, want + 13, 299, &e)
            || sink_put(&s, 2, 0, want + 313, 50, &e) || sink_put(&s, 3, 0, want + 370, 322, &e);
    const int commit = sink_commit(&s, &e);
    sink_abort(&s);
    stdout_back();
    cr_assert_eq(r, 0);
    cr_assert_eq(commit, -1);
    free(path);
    mk_rmdir(dir);
}

/* ---- digests, copies, nowhere ------------------------------------------------- */

static void digests_are_right(const char *path, bool pipe_, const char *out)
{
    uint64_t seed = 3;
    const struct sink_file f = one(path);
    uint8_t want[SIZE], d[NSLOTS][32], x[32];
    struct sink s;
    struct err e = {0};
    image(want);
    if (pipe_)
        stdout_to(out);
    int r = open_one(&s, &f, (struct sink_options){.digest = true}, &e) || put_all(&s, 17, true, &seed, &e);
    for (size_t i = 0; i < NSLOTS; i++)
        r = r || sink_digest(&s, i, d[i], &e);
    r = r || sink_commit(&s, &e);
    if (pipe_)
        stdout_back();
    cr_assert_eq(r, 0, "%s", e.msg);
    for (size_t i = 0; i < NSLOTS; i++) {
        struct sha256 h;
        sha256_init(&h);
        sha256_put(&h, want + slots[i].off, slots[i].size);
        sha256_end(&h, x);
        cr_assert_eq(memcmp(x, d[i], 32), 0, "slot %zu", i);
    }
    same_file(out);
}

Test(sink, digests_in_passing_and_read_back)
{
    char *const dir = mk_tmpdir(), *const a = mk_path(dir, "a"), *const b = mk_path(dir, "b");
    digests_are_right(a, false, a);
    digests_are_right("-", true, b);
    free(a);
    free(b);
    mk_rmdir(dir);
}

Test(sink, copies_from_a_file)
{
    char *const dir = mk_tmpdir(), *const from = mk_path(dir, "from"), *const out = mk_path(dir, "out");
    uint8_t want[SIZE];
    image(want);
    mk_write(from, want, SIZE);
    const char *const path[3] = {out, "-", "null:"};
    for (int i = 0; i < 3; i++) {
        const struct sink_file f = one(path[i]);
        const int fd = open(from, O_RDONLY);
        struct sink s;
        struct err e = {0};
        remove(out);
        if (i == 1)
            stdout_to(out);
        int r = open_one(&s, &f, (struct sink_options){0}, &e);
        for (size_t k = 0; k < NSLOTS; k++) /* in two pieces */
            r = r || sink_copy(&s, k, 0, fd, from, slots[k].off, slots[k].size / 2, &e)
                || sink_copy(&s, k, slots[k].size / 2, fd, from, slots[k].off + slots[k].size / 2,
                             slots[k].size - slots[k].size / 2, &e);
        r = r || sink_tail(&s, 0, "!!!!!", &e) || sink_commit(&s, &e);
        if (i == 1)
            stdout_back();
        close(fd);
        cr_assert_eq(r, 0, "%s", e.msg);
        if (i < 2)
            same_file(out);
        else
            cr_assert_neq(access(out, F_OK), 0);
    }
    free(from);
    free(out);
    mk_rmdir(dir);
}

Test(sink, copy_of_a_file_that_is_too_short)
{
    char *const dir = mk_tmpdir(), *const from = mk_path(dir, "from"), *const out = mk_path(dir, "out");
    const struct sink_file f = one(out);
    struct sink s;
    struct err e = {0};
    mk_write(from, "short", 5);
    const int fd = open(from, O_RDONLY);
    cr_assert_eq(open_one(&s, &f, (struct sink_options){0}, &e), 0);
    cr_assert_eq(sink_copy(&s, 0, 0, fd, from, 0, 300, &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, from), "%s", e.msg);
    sink_abort(&s);
    close(fd);
    free(from);
    free(out);
    mk_rmdir(dir);
}

Test(sink, nowhere)
{
    uint64_t seed = 4;
    char *const dir = mk_tmpdir();
    const struct sink_file f = one("null:");
    struct sink s;
    struct err e = {0};
    cr_assert_eq(chdir(dir), 0);
    cr_assert_eq(open_one(&s, &f, (struct sink_options){0}, &e), 0);
    cr_assert_eq(put_all(&s, 9, true, &seed, &e), 0);
    cr_assert_eq(sink_commit(&s, &e), 0, "%s", e.msg);
    cr_assert_eq(open_one(&s, &f, (struct sink_options){0}, &e), 0);
    cr_assert_eq(sink_put(&s, 0, 0, "x", 1, &e), 0);
    cr_assert_eq(sink_commit(&s, &e), -1, "a missing byte is found here too");
    sink_abort(&s);
    cr_assert_eq(files_in("."), 0);
    cr_assert_eq(chdir("/"), 0);
    mk_rmdir(dir);
}
