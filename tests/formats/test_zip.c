#include "formats/zip.h"
#include "tests/mk_torch.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- a zip file in memory, read through a file ----------------------------- */

struct opened {
    struct zip z;
    struct arena mem;
    int fd;
};

static int open_image(struct opened *o, const void *p, size_t n, bool deflate, struct err *e)
{
    char path[] = "/tmp/octavo-zip-XXXXXX";
    *o = (struct opened){.fd = mkstemp(path)};
    cr_assert_geq(o->fd, 0);
    unlink(path);
    cr_assert_eq(write(o->fd, p, n), (ssize_t)n);
    return zip_open(&o->z, o->fd, "test.zip", n, deflate, &o->mem, e);
}

static void close_image(struct opened *o)
{
    zip_close(&o->z);
    arena_free(&o->mem);
    close(o->fd);
}

static void refused(const struct buf *b, bool deflate, const char *text)
{
    struct opened o;
    struct err e = {0};
    cr_assert_eq(open_image(&o, b->s, b->n, deflate, &e), -1, "expected: %s", text);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, text) && strstr(e.msg, "test.zip"), "'%s' in: %s", text, e.msg);
    close_image(&o);
}

static struct buf two(unsigned flags, const char *comment)
{
    struct mk_zip z = {.flags = flags};
    mk_zip_add(&z, "a/one", "first contents", 14);
    mk_zip_add(&z, "a/two", "", 0);
    mk_zip_add(&z, "b", "x", 1);
    return mk_zip_end(&z, comment);
}

static size_t find(const struct buf *b, const char *magic, size_t from)
{
    const char *const p = memmem(b->s + from, b->n - from, magic, 4);
    cr_assert(p);
    return (size_t)(p - b->s);
}

/* ---- what is read ----------------------------------------------------------- */

Test(zip, writers_differ_and_members_do_not)
{
    static const unsigned flags[] = {0,
                                     MK_DESCRIPTOR,
                                     MK_ZIP64,
                                     MK_ZIP64 | MK_DESCRIPTOR,
                                     MK_ALIGN,
                                     MK_NO_CRC,
                                     MK_END64,
                                     MK_ZIP64 | MK_ALIGN,
                                     MK_END64 | MK_DESCRIPTOR | MK_ALIGN};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        struct buf b = two(flags[i], i % 2 ? "a comment" : "");
        struct opened o;
        struct err e = {0};
        cr_assert_eq(open_image(&o, b.s, b.n, false, &e), 0, "flags %u: %s", flags[i], e.msg);
        cr_assert_eq(o.z.n, 3);
        const struct zip_member *const m = zip_find(&o.z, "a/one");
        cr_assert(m && m->size == 14 && m->packed == 14 && m->method == ZIP_STORED);
        cr_assert_eq(memcmp(b.s + m->off, "first contents", 14), 0);
        if (flags[i] & MK_ALIGN)
            cr_assert_eq(m->off % 64, 0);
        char *const text = zip_read(&o.z, m, 14, &e);
        cr_assert_str_eq(text, "first contents", "it ends in NUL");
        free(text);
        cr_assert(zip_find(&o.z, "a/two")->size == 0 && zip_find(&o.z, "b")->size == 1);
        cr_assert_null(zip_find(&o.z, "a"));
        cr_assert_null(zip_read(&o.z, m, 13, &e));
        cr_assert(strstr(e.msg, "'a/one' has 14 bytes; the limit is 13"), "%s", e.msg);
        close_image(&o);
        buf_free(&b);
    }
    struct mk_zip none = {0};
    struct buf b = mk_zip_end(&none, "");
    struct opened o;
    struct err e = {0};
    cr_assert_eq(open_image(&o, b.s, b.n, false, &e), 0, "an empty zip file is one: %s", e.msg);
    cr_assert_eq(o.z.n, 0);
    close_image(&o);
    buf_free(&b);
}

Test(zip, crc_of_the_contents)
{
    for (int none = 0; none < 2; none++) {
        struct buf b = two(none ? MK_NO_CRC : 0, "");
        struct opened o;
        struct err e = {0};
        b.s[30 + 5] ^= 1; /* the first byte of a/one */
        cr_assert_eq(open_image(&o, b.s, b.n, false, &e), 0);
        char *const text = zip_read(&o.z, zip_find(&o.z, "a/one"), 100, &e);
        cr_assert_eq(!!text, none);
        if (!none)
            cr_assert(strstr(e.msg, "'a/one' is damaged: its CRC-32 is not"), "%s", e.msg);
        free(text);
        close_image(&o);
        buf_free(&b);
    }
}

/* ---- what is refused --------------------------------------------------------- */

enum { LOCAL, ENTRY, END, END64, LOCATOR };

/* Bytes of the first record of a kind, and the sentence they earn. */
static const struct damage {
    unsigned flags;
    int record;
    size_t at;
    uint64_t value;
    unsigned bytes;
    const char *text;
} damages[] = {
    {0, ENTRY, 0, 0x1234, 2, "a directory that is cut or damaged"},
    {0, ENTRY, 8, 1, 2, "is encrypted"},
    {0, ENTRY, 8, 1 << 6, 2, "is encrypted"},
    {0, ENTRY, 8, 1 << 13, 2, "is encrypted"},
    {0, ENTRY, 8, 1 << 5, 2, "is a patch"},
    {0, ENTRY, 10, 8, 2, "is compressed (method 8)"},
    {0, ENTRY, 10, 14, 2, "is compressed (method 14)"},
    {0, ENTRY, 16, 1, 4, "another local header"},
    {0, ENTRY, 20, 13, 4, "is stored, but has two sizes"},
    {0, ENTRY, 24, 13, 4, "is stored, but has two sizes"},
    {0, ENTRY, 20, 13 | (uint64_t)13 << 32, 8, "another local header"},
    {0, ENTRY, 20, 0xffffffff, 4, "damaged extra fields"},
    {0, ENTRY, 28, 0, 2, "a name that is empty"},
    {0, ENTRY, 28, 0xffff, 2, "a directory that is cut or damaged"},
    {0, ENTRY, 30, 0xffff, 2, "a directory that is cut or damaged"},
    {0, ENTRY, 32, 0xffff, 2, "a directory that is cut or damaged"},
    {0, ENTRY, 34, 1, 2, "is on another disk"},
    {0, ENTRY, 42, 1, 4, "another local header"},
    {0, ENTRY, 42, 1000000, 4, "begins past the end"},
    {0, ENTRY, 46, '/', 1, "leaves its directory"},
    {0, ENTRY, 46, 0, 1, "leaves its directory"},
    {0, ENTRY, 46, 0xff, 1, "leaves its directory"},
    {0, ENTRY, 46, '.' | '.' << 8 | '/' << 16, 3, "leaves its directory"},
    {0, ENTRY, 46, 'c', 1, "another local header"},
    {0, LOCAL, 0, 0, 4, "another local header"},
    {0, LOCAL, 6, 1, 2, "another local header"},
    {0, LOCAL, 8, 8, 2, "another local header"},
    {0, LOCAL, 14, 1, 4, "another local header"},
    {0, LOCAL, 18, 13, 4, "another local header"},
    {0, LOCAL, 22, 15, 4, "another local header"},
    {0, LOCAL, 26, 4, 2, "another local header"},
    {0, LOCAL, 28, 0xfff0, 2, "runs past the end"},
    {0, LOCAL, 28, 20, 2, "overlaps"},
    {MK_DESCRIPTOR, LOCAL, 18, 13, 4, "another local header"},
    {MK_ZIP64, LOCAL, 39, 13, 8, "another local header"},
    {MK_ZIP64, LOCAL, 35, 2, 2, "another local header"},
    {MK_ZIP64, LOCAL, 37, 15, 2, "another local header"},
    {MK_ZIP64, ENTRY, 51, 2, 2, "damaged extra fields"},
    {MK_ZIP64, ENTRY, 53, 29, 2, "damaged extra fields"},
    {MK_ZIP64, ENTRY, 55, UINT64_MAX, 8, "is stored, but has two sizes"},
    {MK_ZIP64, ENTRY, 71, UINT64_MAX, 8, "begins past the end"},
    {0, END, 0, 0, 4, "no end record"},
    {0, END, 4, 1, 2, "several disks"},
    {0, END, 6, 1, 2, "several disks"},
    {0, END, 8, 2, 2, "several disks"},
    {0, END, 8, 2 | 2 << 16, 4, "more than its entries"},
    {0, END, 8, 4 | 4 << 16, 4, "too small for its entries"},
    {0, END, 8, 9 | 9 << 16, 4, "too small for its entries"},
    {0, END, 12, 1, 4, "does not end where"},
    {0, END, 16, 1, 4, "does not end where"},
    {0, END, 16, 0xffffffff, 4, "does not end where"},
    {0, END, 20, 1, 2, "no end record"},
    {MK_END64, END, 8, 2, 2, "several disks"},
    {MK_END64, END, 10, 2, 2, "contradict each other"},
    {MK_END64, END, 12, 1, 4, "contradict each other"},
    {MK_END64, END, 16, 1, 4, "contradict each other"},
    {MK_END64, LOCATOR, 4, 1, 4, "several disks"},
    {MK_END64, LOCATOR, 16, 2, 4, "several disks"},
    {MK_END64, LOCATOR, 8, 0, 8, "points to no record"},
    {MK_END64, LOCATOR, 8, UINT64_MAX, 8, "points to no record"},
    {MK_END64, END64, 0, 0, 4, "points to no record"},
    {MK_END64, END64, 4, 45, 8, "points to no record"},
    {MK_END64, END64, 16, 1, 4, "several disks"},
    {MK_END64, END64, 20, 1, 4, "several disks"},
    {MK_END64, END64, 24, 9, 8, "several disks"},
    {MK_ZIP64, END64, 40, UINT64_MAX, 8, "does not end where"},
    {MK_ZIP64, END64, 48, UINT64_MAX, 8, "does not end where"},
};

Test(zip, damage)
{
    static const char *const magic[] = {"PK\3\4", "PK\1\2", "PK\5\6", "PK\6\6", "PK\6\7"};
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        const struct damage *const d = &damages[i];
        struct buf b = two(d->flags, "");
        const size_t at = find(&b, magic[d->record], 0) + d->at;
        for (unsigned k = 0; k < d->bytes; k++)
            b.s[at + k] = (char)(d->value >> 8 * k);
        refused(&b, false, d->text);
        buf_free(&b);
    }
}

Test(zip, names)
{
    static const struct {
        const char *name, *text;
    } row[] = {{"", "a name that is empty"},
               {"/etc/x", "leaves"},
               {"..", "leaves"},
               {"a/..", "leaves"},
               {"a/../b", "leaves"},
               {"a\xff", "leaves"},
               {"a/one", "is there twice"},
               {"a/..b", NULL},
               {"a/.../b", NULL},
               {"dir/", NULL}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct mk_zip z = {0};
        mk_zip_add(&z, "a/one", "1", 1);
        mk_zip_add(&z, row[i].name, "2", 1);
        struct buf b = mk_zip_end(&z, "");
        struct opened o;
        struct err e = {0};
        if (row[i].text) {
            refused(&b, false, row[i].text);
        } else {
            cr_assert_eq(open_image(&o, b.s, b.n, false, &e), 0, "%s", e.msg);
            cr_assert(zip_find(&o.z, row[i].name));
            close_image(&o);
        }
        buf_free(&b);
    }
}

/* A member inside another one, with a local header that is in order. */
Test(zip, overlap)
{
    struct mk_zip inner = {0}, z = {0};
    mk_zip_add(&inner, "inner", "hidden", 6);
    struct buf entry = {0};
    mk_put(&entry, inner.dir.s, inner.dir.n);
    mk_zip_add(&z, "outer", inner.out.s, inner.out.n);
    entry.s[42] = 35; /* where it lies: after the outer local header */
    mk_put(&z.dir, entry.s, entry.n);
    z.n++;
    struct buf b = mk_zip_end(&z, "");
    refused(&b, false, "member 'inner' overlaps 'outer'");
    buf_free(&b);
    buf_free(&entry);
    buf_free(&inner.out);
    buf_free(&inner.dir);
}

Test(zip, two_ends)
{
    struct mk_zip none = {0};
    struct buf end = mk_zip_end(&none, "");
    struct buf b = two(0, "1234567890123456789012");
    memcpy(b.s + b.n - 22, end.s, 22);
    refused(&b, false, "two end records");
    /* One that does not reach the end of the file is a comment like others. */
    b.s[b.n - 2] = 1;
    struct opened o;
    struct err e = {0};
    cr_assert_eq(open_image(&o, b.s, b.n, false, &e), 0, "%s", e.msg);
    close_image(&o);
    buf_free(&b);
    buf_free(&end);
}

/* Deflated members are listed for a caller that can inflate them; stored ones are read here. */
Test(zip, deflate_when_the_caller_allows_it)
{
    struct buf b = two(0, "");
    struct opened o;
    struct err e = {0};
    b.s[8] = 8;
    b.s[find(&b, "PK\1\2", 0) + 10] = 8;
    b.s[22] = 99; /* and their sizes can differ */
    b.s[find(&b, "PK\1\2", 0) + 24] = 99;
    refused(&b, false, "only stored ones are read");
    cr_assert_eq(open_image(&o, b.s, b.n, true, &e), 0, "%s", e.msg);
    const struct zip_member *const m = zip_find(&o.z, "a/one");
    cr_assert(m->method == ZIP_DEFLATED && m->packed == 14 && m->size == 99);
    cr_assert_null(zip_read(&o.z, m, 1000, &e));
    cr_assert(strstr(e.msg, "is compressed"), "%s", e.msg);
    close_image(&o);
    buf_free(&b);
}

Test(zip, cut_or_longer)
{
    static const unsigned flags[] = {0, MK_ZIP64, MK_END64 | MK_DESCRIPTOR | MK_ALIGN};
    for (size_t i = 0; i < 3; i++) {
        struct buf b = two(flags[i], "");
        for (size_t n = 0; n < b.n; n++) {
            const struct buf cut = {b.s, n, n};
            refused(&cut, false, "no end record");
        }
        mk_puts(&b, "x");
        refused(&b, false, "no end record");
        buf_free(&b);
        /* Bytes before the first member: offsets no longer fit. */
        b = two(flags[i], "");
        struct buf more = {0};
        mk_puts(&more, "#!");
        mk_put(&more, b.s, b.n);
        refused(&more, false, flags[i] ? "points to no record" : "does not end where");
        buf_free(&more);
        buf_free(&b);
    }
}

/* Every bit: it is an error, or what is read stays the same, contents included. */
Test(zip, flipped_bits)
{
    static const unsigned flags[] = {0, MK_ZIP64, MK_END64 | MK_DESCRIPTOR | MK_ALIGN};
    size_t accepted = 0, all = 0;
    for (size_t f = 0; f < 3; f++) {
        struct buf b = two(flags[f], "");
        for (size_t bit = 0; bit < 8 * b.n; bit++, all++) {
            struct opened o;
            struct err e = {0};
            b.s[bit / 8] ^= (char)(1 << bit % 8);
            if (!open_image(&o, b.s, b.n, false, &e)) {
                cr_assert_eq(o.z.n, 3);
                const struct zip_member *const m = zip_find(&o.z, "a/one");
                cr_assert(m && zip_find(&o.z, "a/two") && zip_find(&o.z, "b"), "bit %zu", bit);
                char *const text = zip_read(&o.z, m, 100, &e);
                if (text) {
                    cr_assert_str_eq(text, "first contents");
                    accepted++;
                }
                free(text);
            }
            cr_assert(!e.kind || e.kind == ERR_INPUT, "bit %zu: %s", bit, e.msg);
            close_image(&o);
            b.s[bit / 8] ^= (char)(1 << bit % 8);
        }
        buf_free(&b);
    }
    /* Times, versions, attributes, padding and descriptors say nothing. */
    cr_assert(accepted > 0 && accepted < all * 2 / 3, "%zu of %zu", accepted, all);
}
