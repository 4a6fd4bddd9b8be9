/* The fast copies against layout_offset(), element by element, over random
 * sentences and ragged matrices; every buffer ends or starts at a page that
 * faults.  Then boxes: packed alone and placed by their runs they must make
 * the whole packed form, every element once. */
#include "formats/layout.h"
#include "formats/mem.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- random ------------------------------------------------------------- */

static uint64_t state;

static uint64_t rnd(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 16) % below;
}

#define PICK(a) ((a)[rnd(sizeof(a) / sizeof(a)[0])])

static void random_sentence(char *s, uint64_t tile_limit)
{
    static const unsigned sizes[] = { 1, 2, 2, 2, 3, 4, 4, 5, 7, 8, 8, 16, 16, 32, 64 };
    char sizes_text[256] = "";
    struct { char axis; unsigned index; bool reversed; } d[LAYOUT_MAX_DIGITS];
    unsigned n = 0;
    for (unsigned axis = 0; axis < 2; axis++) {
        const unsigned count = 1 + (unsigned)rnd(rnd(8) ? 4 : 8);
        uint64_t tile = 1;
        for (unsigned i = 0; i < count; i++, n++) {
            const bool top = i == count - 1;
            d[n].axis = "rc"[axis];
            d[n].index = i;
            d[n].reversed = !top && rnd(8) == 0;
            if (top)
                continue;
            unsigned size = PICK(sizes);
            if (tile * size > tile_limit)
                size = 1;
            tile *= size;
            sprintf(sizes_text + strlen(sizes_text), " %c%u=%u", d[n].axis, i, size);
        }
    }
    for (unsigned i = n; i-- > 1;) {
        const unsigned j = (unsigned)rnd(i + 1);
        const __typeof__(d[0]) t = d[i];
        d[i] = d[j];
        d[j] = t;
    }
    *s = 0;
    for (unsigned i = 0; i < n; i++)
        sprintf(s + strlen(s), "%s%s%c%u", i ? " " : "", d[i].reversed ? "-" : "", d[i].axis,
                d[i].index);
    if (*sizes_text)
        sprintf(s + strlen(s), " |%s", sizes_text);
}

/* ---- fenced buffers ----------------------------------------------------- */

struct fenced {
    unsigned char *map, *p;
    size_t n, mapped;
};

/* n bytes of which the first or the last touches a page that faults. */
static struct fenced fenced(size_t n, bool at_end)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), body = round_up(n + 1, page);
    struct fenced f = { .n = n, .mapped = body + 2 * page };
    f.map = mmap(NULL, f.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (f.map == MAP_FAILED || mprotect(f.map + page, body, PROT_READ | PROT_WRITE))
        abort();
    memset(f.map + page, 0xa5, body);
    f.p = at_end ? f.map + page + body - n : f.map + page;
    return f;
}

/* Frees; true when nothing around the n bytes was written. */
static bool unfence(struct fenced *f)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    bool clean = true;
    for (const unsigned char *q = f->map + page; q < f->map + f->mapped - page; q++)
        if ((q < f->p || q >= f->p + f->n) && *q != 0xa5)
            clean = false;
    munmap(f->map, f->mapped);
    return clean;
}

/* ---- the definition, element by element --------------------------------- */

static uint64_t get(const unsigned char *p, unsigned bits, uint64_t i)
{
    uint64_t v = 0;
    if (bits == 4)
        return p[i / 2] >> i % 2 * 4 & 15;
    memcpy(&v, p + i * (bits / 8), bits / 8);
    return v;
}

static void put(unsigned char *p, unsigned bits, uint64_t i, uint64_t v)
{
    if (bits == 4)
        p[i / 2] = (unsigned char)((p[i / 2] & ~(15u << i % 2 * 4)) | v << i % 2 * 4);
    else
        memcpy(p + i * (bits / 8), &v, bits / 8);
}

static size_t bytes(uint64_t n, unsigned bits)
{
    return (size_t)(n * bits / 8 + (n * bits % 8 != 0));
}

/* Returns what is wrong, or NULL. */
static const char *check(const struct layout *l, unsigned bits, uint64_t rows, uint64_t cols,
                         size_t gap, bool at_end)
{
    const char *wrong = NULL;
    const size_t row = bytes(cols, bits), stride = row + gap;
    const size_t plain = rows ? (rows - 1) * stride + row : 0;
    uint64_t n = 0;
    if (!layout_size(l, rows, cols, &n))
        return "size";
    struct fenced src = fenced(plain, at_end), dst = fenced(bytes(n, bits), at_end);
    struct fenced back = fenced(plain, at_end);
    for (size_t i = 0; i < plain; i++)
        src.p[i] = (unsigned char)rnd(256);
    unsigned char *want = calloc(1, bytes(n, bits) + 1), *seen = calloc(1, n + 1);
    if (!want || !seen)
        abort();
    for (uint64_t r = 0; r < rows && !wrong; r++)
        for (uint64_t c = 0; c < cols; c++) {
            const uint64_t at = layout_offset(l, rows, cols, r, c);
            if (at >= n || seen[at]++)
                wrong = "not a bijection";
            else
                put(want, bits, at, get(src.p + r * stride, bits, c));
        }
    layout_pack(l, bits, rows, cols, src.p, stride, dst.p);
    if (!wrong && memcmp(dst.p, want, bytes(n, bits)))
        wrong = "pack";
    if (!wrong && layout_padding_nonzero(l, bits, rows, cols, dst.p) != UINT64_MAX)
        wrong = "padding";
    /* Garbage in the padding must not matter to unpack, and must be found. */
    uint64_t dirty = UINT64_MAX;
    for (uint64_t i = n; i-- > 0;)
        if (!seen[i] && rnd(3) == 0) {
            put(dst.p, bits, i, 1 + rnd(15));
            dirty = i;
        }
    if (!wrong && layout_padding_nonzero(l, bits, rows, cols, dst.p) != dirty)
        wrong = "dirty padding";
    layout_unpack(l, bits, rows, cols, dst.p, back.p, stride);
    for (uint64_t r = 0; r < rows && !wrong; r++) {
        if (bits == 4 && cols % 2) {
            src.p[r * stride + row - 1] &= 15;
        }
        if (memcmp(src.p + r * stride, back.p + r * stride, row))
            wrong = "unpack";
        for (size_t i = row; i < stride && r + 1 < rows; i++)
            if (back.p[r * stride + i] != 0xa5)
                wrong = "unpack wrote between rows";
    }
    free(want);
    free(seen);
    const bool s = unfence(&src), d = unfence(&dst), b = unfence(&back);
    return wrong ? wrong : s && d && b ? NULL : "wrote outside";
}

static const unsigned all_bits[] = { 4, 8, 16, 32, 64 };
static const unsigned extents[] = { 0, 1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 24, 31, 32, 33, 61, 64, 65,
                                    96, 97, 127, 128, 129, 131, 160, 192, 255, 257 };

static void check_random(uint64_t seed, unsigned iterations, uint64_t tile)
{
    state = seed;
    for (unsigned i = 0; i < iterations; i++) {
        char s[512], spelled[256];
        struct err e;
        struct layout l, again;
        random_sentence(s, tile);
        if (layout_parse(&l, s, &e))
            cr_assert(false, "seed %llu, '%s': %s", (unsigned long long)seed, s, e.msg);
        layout_print(&l, spelled);
        if (layout_parse(&again, spelled, &e) || memcmp(&l, &again, sizeof l))
            cr_assert(false, "'%s' printed as '%s'", s, spelled);
        const unsigned bits = PICK(all_bits);
        const uint64_t rows = PICK(extents), cols = PICK(extents);
        const size_t gap = rnd(3) ? 0 : rnd(40);
        const char *wrong = check(&l, bits, rows, cols, gap, rnd(4) > 0);
        if (wrong)
            cr_assert(false, "%s: seed %llu, iteration %u, '%s', %u bits, %llu x %llu, gap %zu",
                      wrong, (unsigned long long)seed, i, s, bits, (unsigned long long)rows,
                      (unsigned long long)cols, gap);
    }
}

Test(layout_copy, random_sentences_small_tiles)
{
    check_random(1, 6000, 16);
}

Test(layout_copy, random_sentences)
{
    check_random(2, 4000, 128);
}

Test(layout_copy, random_sentences_wide_tiles)
{
    check_random(3, 400, 1024);
}

/* The sentences in use, each at every element width, on ragged and exact matrices. */
static const char *const known[] = {
    "r0 c0",
    "c0 r0",
    "r1 c1 c0 r0 | r0=32 c0=16",
    "c1 r1 r0 c0 | r0=16 c0=32",
    "c1 r0 c0 | c0=2",
    "c1 r1 r0 c0 | r0=4 c0=4",
    "r2 c1 r0 r1 c0 | r0=32 r1=4 c0=4",
    "c1 r2 r0 r1 c0 | r0=32 r1=4 c0=4",
    "r0 c1 c0 | c0=4",
    "r1 c0 r0 | r0=16",
    "c1 r0 c0 | c0=64",
    "r1 c1 r0 c0 | r0=16 c0=16",
    "c2 r1 c1 r0 c0 | r0=16 c0=16 c1=4",
    "c3 r3 r0 c1 r2 r1 c0 c2 | c0=2 c1=4 c2=2 r0=8 r1=2 r2=4",
    "r1 c4 r0 c3 c1 c0 c2 | c0=2 c1=4 c2=2 c3=4 r0=2",
    "r0 c2 c0 c1 | c0=16 c1=2",
    "c2 c0 r0 c1 | c0=64 c1=2",
    "r0 c1 -c0 | c0=2",
    "c3 r1 c2 r0 c0 -c1 | c0=4 c1=2 c2=4 r0=64",
};

Test(layout_copy, known_sentences)
{
    static const unsigned sizes[][2] = { { 128, 256 }, { 256, 512 }, { 129, 255 }, { 77, 331 },
                                         { 1, 1 },     { 1, 640 },   { 513, 1 },   { 0, 5 },
                                         { 5, 0 },     { 64, 768 },  { 200, 1100 } };
    state = 77;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        struct layout l;
        struct err e;
        cr_assert_eq(layout_parse(&l, known[i], &e), 0);
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
            for (size_t b = 0; b < 5; b++) {
                const char *wrong = check(&l, all_bits[b], sizes[k][0], sizes[k][1], k % 3 * 5,
                                          k % 2);
                if (wrong)
                    cr_assert(false, "%s: '%s', %u bits, %u x %u", wrong, known[i], all_bits[b],
                             sizes[k][0], sizes[k][1]);
            }
    }
}

/* ---- boxes -------------------------------------------------------------- */

struct place {
    const unsigned char *box;
    unsigned char *whole, *seen;
    unsigned bits;
    bool as_bytes;
    uint64_t next_global, next_local, calls, total;
    const char *wrong;
};

static int place(void *ctx, uint64_t global, uint64_t local, uint64_t n)
{
    struct place *p = ctx;
    if (p->calls && global <= p->next_global)
        p->wrong = "runs that are not ascending or not merged";
    if (local != p->next_local || n == 0)
        p->wrong = "local has gaps";
    p->next_global = global + n;
    p->next_local += n;
    p->calls++;
    for (uint64_t i = 0; i < n; i++)
        if (p->seen[global + i]++)
            p->wrong = "an element twice";
    if (!p->as_bytes) {
        for (uint64_t i = 0; i < n; i++)
            put(p->whole, p->bits, global + i, get(p->box, p->bits, local + i));
        return 0;
    }
    if (p->bits == 4 && (global % 2 || local % 2 || (n % 2 && global + n != p->total)))
        p->wrong = "a half byte in a box that has whole bytes";
    memcpy(p->whole + global * p->bits / 8, p->box + local * p->bits / 8, bytes(n, p->bits));
    return 0;
}

static const char *check_boxes(const struct layout *l, unsigned bits, uint64_t rows, uint64_t cols,
                               uint64_t br, uint64_t bc)
{
    uint64_t n = 0, m = 0;
    if (!layout_size(l, rows, cols, &n))
        return "size";
    const size_t row = bytes(cols, bits);
    unsigned char *src = malloc(rows * row + 1), *want = malloc(bytes(n, bits) + 1);
    unsigned char *seen = calloc(1, n + 1), *got = malloc(bytes(n, bits) + 1);
    unsigned char *box = malloc(bytes(n, bits) + 1);
    if (!src || !want || !seen || !got || !box)
        abort();
    for (size_t i = 0; i < rows * row; i++)
        src[i] = (unsigned char)rnd(256);
    memset(got, 0xee, bytes(n, bits) + 1);
    if (n % 2 && bits == 4)
        got[n / 2] = 0;
    layout_pack(l, bits, rows, cols, src, row, want);
    const char *wrong = NULL;
    for (uint64_t r = 0; r < rows && !wrong; r += br)
        for (uint64_t c = 0; c < cols && !wrong; c += bc) {
            const uint64_t nr = min_u64(br, rows - r), nc = min_u64(bc, cols - c);
            if (bits == 4 && c % 2) { /* no pointer there: pack a copy */
                const size_t r2 = bytes(nc, 4);
                unsigned char *copy = calloc(1, nr * r2 + 1);
                for (uint64_t i = 0; copy && i < nr; i++)
                    for (uint64_t j = 0; j < nc; j++)
                        put(copy + i * r2, 4, j, get(src + (r + i) * row, 4, c + j));
                layout_pack(l, bits, nr, nc, copy, r2, box);
                free(copy);
            } else {
                layout_pack(l, bits, nr, nc, src + r * row + c * bits / 8, row, box);
            }
            struct place p = { box, got, seen, bits, false, 0, 0, 0, n, NULL };
            p.as_bytes = layout_box_whole_bytes(l, bits, rows, cols, r, nr, c, nc);
            if (layout_runs(l, rows, cols, r, nr, c, nc, place, &p))
                wrong = "layout_runs failed";
            if (p.calls != layout_run_count(l, rows, cols, r, nr, c, nc))
                wrong = "layout_run_count";
            if (!layout_size(l, nr, nc, &m) || m != p.next_local)
                wrong = "size of the box";
            if (p.wrong)
                wrong = p.wrong;
        }
    for (uint64_t i = 0; i < n && !wrong; i++)
        if (!seen[i])
            wrong = "an element not covered";
    if (!wrong && memcmp(got, want, bytes(n, bits)))
        wrong = "boxes do not make the whole";
    free(src);
    free(want);
    free(seen);
    free(got);
    free(box);
    return wrong;
}

Test(layout_copy, boxes_make_the_whole)
{
    state = 5;
    for (unsigned i = 0; i < 3000; i++) {
        char s[512];
        struct err e;
        struct layout l;
        random_sentence(s, 16);
        if (layout_parse(&l, s, &e))
            cr_assert(false, "'%s': %s", s, e.msg);
        const unsigned bits = PICK(all_bits);
        const uint64_t rows = PICK(extents), cols = PICK(extents);
        const uint64_t br = l.tile[0] * (1 + rnd(8)), bc = l.tile[1] * (1 + rnd(8));
        const char *wrong = check_boxes(&l, bits, rows, cols, rnd(3) ? br : round_up(rows + 1, br),
                                        rnd(3) ? bc : round_up(cols + 1, bc));
        if (wrong)
            cr_assert(false, "%s: iteration %u, '%s', %u bits, %llu x %llu", wrong, i, s, bits,
                     (unsigned long long)rows, (unsigned long long)cols);
    }
}

Test(layout_copy, boxes_of_known_sentences)
{
    state = 6;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        struct layout l;
        struct err e;
        cr_assert_eq(layout_parse(&l, known[i], &e), 0);
        for (unsigned b = 0; b < 5; b++)
            for (unsigned k = 1; k < 4; k++) {
                const char *wrong = check_boxes(&l, all_bits[b], 300, 520, k * l.tile[0],
                                                (4 - k) * l.tile[1]);
                if (wrong)
                    cr_assert(false, "%s: '%s'", wrong, known[i]);
            }
    }
}

static int stop_at_third(void *ctx, uint64_t global, uint64_t local, uint64_t n)
{
    (void)global, (void)local, (void)n;
    return ++*(int *)ctx == 3 ? -1 : 0;
}

Test(layout_copy, runs_stop_when_told)
{
    struct layout l;
    struct err e;
    int calls = 0;
    cr_assert_eq(layout_parse(&l, "c0 r0", &e), 0);
    cr_assert_eq(layout_runs(&l, 10, 10, 2, 3, 0, 10, stop_at_third, &calls), -1);
    cr_assert_eq(calls, 3);
    cr_assert_eq(layout_run_count(&l, 10, 10, 2, 3, 0, 10), 10);
    cr_assert_eq(layout_run_count(&l, 10, 10, 0, 10, 2, 3), 1);
    cr_assert_eq(layout_run_count(&l, 10, 10, 0, 0, 0, 10), 0);
}

Test(layout_copy, half_bytes_are_reported)
{
    struct layout l;
    struct err e;
    cr_assert_eq(layout_parse(&l, "r0 c0", &e), 0);
    cr_assert(layout_box_whole_bytes(&l, 8, 5, 5, 1, 3, 0, 5));
    cr_assert(layout_box_whole_bytes(&l, 4, 5, 4, 1, 3, 0, 4));
    cr_assert_not(layout_box_whole_bytes(&l, 4, 5, 5, 1, 3, 0, 5));
    cr_assert(layout_box_whole_bytes(&l, 4, 5, 5, 2, 3, 0, 5)); /* up to the end */
    cr_assert_not(layout_box_whole_bytes(&l, 4, 5, 5, 0, 3, 0, 5));
    cr_assert(layout_box_whole_bytes(&l, 4, 5, 5, 0, 0, 0, 5));
}
