#include "tests/mk_torch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- pickles -------------------------------------------------------------- */

static bool legacy_ids;

void mk_pickle_legacy(bool legacy)
{
    legacy_ids = legacy;
}

static void put_int(struct buf *b, int x)
{
    mk_puts(b, "J");
    mk_le(b, (uint32_t)x, 4);
}

static void put_string(struct buf *b, const char *s)
{
    mk_puts(b, "X");
    mk_le(b, strlen(s), 4);
    mk_puts(b, s);
}

static void put_global(struct buf *b, const char *s)
{
    const char *const space = strchr(s, ' ');
    mk_puts(b, "c");
    mk_put(b, s, (size_t)(space - s));
    mk_puts(b, "\n");
    mk_puts(b, space + 1);
    mk_puts(b, "\n");
}

static void put_numbers(struct buf *b, const char *s)
{
    mk_puts(b, "(");
    for (char *end; *s; s = *end ? end + 1 : end)
        put_int(b, (int)strtol(s, &end, 10));
    mk_puts(b, "t");
}

static void put_view(struct buf *b, const struct mk_view *v)
{
    char class[64];
    snprintf(class, sizeof class, "torch %sStorage", v->type);
    mk_pickle(b, "%g((%s%g%s%s%i", "torch._utils _rebuild_tensor_v2", "storage", class, v->key, "cpu",
              v->numel);
    mk_pickle(b, legacy_ids ? "NtQ%i%v%v\x89%g)RtR" : "tQ%i%v%v\x89%g)RtR", v->offset, v->size, v->stride,
              "collections OrderedDict");
}

void mk_pickle(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    for (const char *s = fmt; *s; s++) {
        if (*s != '%') {
            mk_put(b, s, 1);
            continue;
        }
        switch (*++s) {
        case 's':
            put_string(b, va_arg(ap, const char *));
            break;
        case 'i':
            put_int(b, va_arg(ap, int));
            break;
        case 'l':
            mk_puts(b, "\x8a\x08");
            mk_le(b, (uint64_t)va_arg(ap, int64_t), 8);
            break;
        case 'g':
            put_global(b, va_arg(ap, const char *));
            break;
        case 'v':
            put_numbers(b, va_arg(ap, const char *));
            break;
        case 'f': {
            const double x = va_arg(ap, double);
            uint64_t bits;
            memcpy(&bits, &x, 8);
            mk_puts(b, "G");
            mk_le(b, __builtin_bswap64(bits), 8);
            break;
        }
        default: {
            const struct mk_view v = va_arg(ap, struct mk_view);
            put_view(b, &v);
        }
        }
    }
    va_end(ap);
}

/* ---- zip files ------------------------------------------------------------ */

static uint32_t crc_of(const uint8_t *p, size_t n)
{
    uint32_t c = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320 : 0);
    }
    return ~c;
}

void mk_zip_add(struct mk_zip *z, const char *name, const void *p, size_t n)
{
    const bool wide = z->flags & MK_ZIP64, later = z->flags & MK_DESCRIPTOR;
    const uint32_t crc = z->flags & MK_NO_CRC ? 0 : crc_of(p, n);
    const size_t header = z->out.n, length = strlen(name);
    size_t extra = wide && !later ? 20 : 0;
    if (z->flags & MK_ALIGN) { /* at least the four bytes that an extra field begins with */
        const size_t gap = (header + 30 + length + extra) % 64;
        extra += gap > 60 ? 128 - gap : 64 - gap;
    }
    mk_puts(&z->out, "PK\3\4");
    mk_le(&z->out, 0, 2);
    mk_le(&z->out, 0x800 | (later ? 8 : 0), 2);
    mk_le(&z->out, 0, 6);
    mk_le(&z->out, later ? 0 : crc, 4);
    mk_le(&z->out, later ? 0 : wide ? 0xffffffff : n, 4);
    mk_le(&z->out, later ? 0 : wide ? 0xffffffff : n, 4);
    mk_le(&z->out, length, 2);
    mk_le(&z->out, extra, 2);
    mk_puts(&z->out, name);
    if (wide && !later) {
        mk_le(&z->out, 1 | 16 << 16, 4);
        mk_le(&z->out, n, 8);
        mk_le(&z->out, n, 8);
        extra -= 20;
    }
    if (extra) {
        mk_puts(&z->out, "FB");
        mk_le(&z->out, extra - 4, 2);
        for (size_t i = 4; i < extra; i++)
            mk_puts(&z->out, "Z");
    }
    mk_put(&z->out, p, n);
    if (later) {
        mk_puts(&z->out, "PK\7\10");
        mk_le(&z->out, crc, 4);
        mk_le(&z->out, n, wide ? 8 : 4);
        mk_le(&z->out, n, wide ? 8 : 4);
    }
    mk_puts(&z->dir, "PK\1\2");
    mk_le(&z->dir, 0, 4);
    mk_le(&z->dir, 0x800 | (later ? 8 : 0), 2);
    mk_le(&z->dir, 0, 6);
    mk_le(&z->dir, crc, 4);
    mk_le(&z->dir, wide ? 0xffffffff : n, 4);
    mk_le(&z->dir, wide ? 0xffffffff : n, 4);
    mk_le(&z->dir, length, 2);
    mk_le(&z->dir, wide ? 28 : 0, 2);
    mk_le(&z->dir, 0, 6); /* no comment, first disk, a binary file */
    mk_le(&z->dir, 0, 4);
    mk_le(&z->dir, wide ? 0xffffffff : header, 4);
    mk_puts(&z->dir, name);
    if (wide) {
        mk_le(&z->dir, 1 | 24 << 16, 4);
        mk_le(&z->dir, n, 8);
        mk_le(&z->dir, n, 8);
        mk_le(&z->dir, header, 8);
    }
    z->n++;
}

struct buf mk_zip_end(struct mk_zip *z, const char *comment)
{
    const size_t at = z->out.n, size = z->dir.n;
    const bool wide = z->flags & MK_ZIP64;
    mk_put(&z->out, z->dir.s ? z->dir.s : "", size);
    if (z->flags & (MK_ZIP64 | MK_END64)) {
        const size_t end = z->out.n;
        mk_puts(&z->out, "PK\6\6");
        mk_le(&z->out, 44, 8);
        mk_le(&z->out, 45 | 45 << 16, 4);
        mk_le(&z->out, 0, 8);
        mk_le(&z->out, z->n, 8);
        mk_le(&z->out, z->n, 8);
        mk_le(&z->out, size, 8);
        mk_le(&z->out, at, 8);
        mk_puts(&z->out, "PK\6\7");
        mk_le(&z->out, 0, 4);
        mk_le(&z->out, end, 8);
        mk_le(&z->out, 1, 4);
    }
    mk_puts(&z->out, "PK\5\6");
    mk_le(&z->out, 0, 4);
    mk_le(&z->out, wide ? 0xffff : z->n, 2);
    mk_le(&z->out, wide ? 0xffff : z->n, 2);
    mk_le(&z->out, wide ? 0xffffffff : size, 4);
    mk_le(&z->out, wide ? 0xffffffff : at, 4);
    mk_le(&z->out, strlen(comment), 2);
    mk_puts(&z->out, comment);
    buf_free(&z->dir);
    const struct buf out = z->out;
    *z = (struct mk_zip){0};
    return out;
}

/* ---- checkpoints ---------------------------------------------------------- */

struct buf mk_torch(const struct buf *pickle, const struct mk_storage *s, size_t n, unsigned flags)
{
    struct mk_zip z = {.flags = flags};
    struct buf b = {0};
    char name[300];
    mk_puts(&b, "\x80\x02");
    mk_put(&b, pickle->s, pickle->n);
    mk_puts(&b, ".");
    mk_zip_add(&z, "x/data.pkl", b.s, b.n);
    mk_zip_add(&z, "x/byteorder", "little", 6);
    for (size_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "x/data/%s", s[i].key);
        mk_zip_add(&z, name, s[i].p, s[i].n);
    }
    mk_zip_add(&z, "x/version", "3\n", 2);
    buf_free(&b);
    return mk_zip_end(&z, "");
}

struct buf mk_torch_legacy(const struct buf *pickle, const struct mk_storage *s, size_t n)
{
    struct buf b = {0};
    mk_put(&b, "\x80\2\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.", 15);
    mk_puts(&b, "\x80\2M\xe9\3.");
    mk_puts(&b, "\x80\2}(");
    mk_pickle(&b, "%s%i%s\x88u.", "protocol_version", 1001, "little_endian");
    mk_puts(&b, "\x80\2");
    mk_put(&b, pickle->s, pickle->n);
    mk_puts(&b, ".\x80\2](");
    for (size_t i = 0; i < n; i++)
        mk_pickle(&b, "%s", s[i].key);
    mk_puts(&b, "e.");
    for (size_t i = 0; i < n; i++) {
        mk_le(&b, s[i].numel, 8);
        mk_put(&b, s[i].p, s[i].n);
    }
    return b;
}

const uint8_t mk_bytes[96] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
                              21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
                              41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60,
                              61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80,
                              81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92, 93, 94, 95, 96};
const struct mk_storage mk_two[2] = {{"0", mk_bytes, 96, 24}, {"1", mk_bytes, 32, 8}};

struct buf mk_checkpoint(bool legacy, const struct buf *pickle, const struct mk_storage *s, size_t n)
{
    return legacy ? mk_torch_legacy(pickle, s, n)
                  : mk_torch(pickle, s, n, MK_DESCRIPTOR | MK_ALIGN | MK_END64);
}

struct buf mk_two_tensors(bool legacy)
{
    struct buf p = {0};
    mk_pickle_legacy(legacy);
    mk_pickle(&p, "%g)R(%s%t%s%tu", "collections OrderedDict", "a",
              (struct mk_view){"Float", "0", 24, 0, "4,6", "6,1"}, "b",
              (struct mk_view){"Float", "1", 8, 0, "8", "1"});
    const struct buf b = mk_checkpoint(legacy, &p, mk_two, 2);
    buf_free(&p);
    return b;
}

int mk_open(struct mk_model *f, const void *p, size_t n)
{
    if (!f->dir) {
        f->dir = mk_tmpdir();
        f->path = mk_path(f->dir, "m.pt");
    }
    mk_write(f->path, p, n);
    f->e = (struct err){0};
    return model_open(&f->m, f->path, &f->e);
}

int mk_open_pickle(struct mk_model *f, struct buf *pickle)
{
    struct buf b = mk_torch(pickle, mk_two, 2, 0);
    const int rc = mk_open(f, b.s, b.n);
    buf_free(&b);
    buf_free(pickle);
    return rc;
}

void mk_close_dir(struct mk_model *f)
{
    free(f->path);
    if (f->dir)
        mk_rmdir(f->dir);
    *f = (struct mk_model){0};
}
