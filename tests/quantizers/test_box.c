#include "quantizers/box.h"
#include "tests/mk.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- sizes ------------------------------------------------------------------------- */

Test(box, row_bytes)
{
    static const struct {
        enum dtype t;
        uint64_t cols, bytes;
    } row[] = {{DT_U8, 0, 0}, {DT_U8, 7, 7}, {DT_BF16, 7, 14},   {DT_F32, 7, 28},   {DT_F64, 7, 56},
               {DT_F4, 8, 4}, {DT_F4, 7, 4}, {DT_F6_E2M3, 8, 6}, {DT_Q8_0, 64, 68}, {DT_Q4_0, 64, 36}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        cr_assert_eq(row_bytes(row[i].t, row[i].cols), row[i].bytes, "%s", dtype_name(row[i].t));
}

Test(box, scratch_grows_and_is_aligned)
{
    struct scratch s = {0};
    struct err e = {0};
    for (size_t n = 0; n < 300000; n = n * 3 + 1) {
        uint8_t *const p = scratch_get(&s, n, &e);
        cr_assert(p && (n == 0 || (uintptr_t)p % 64 == 0));
        memset(p, 1, n);
        cr_assert_eq(scratch_get(&s, n / 2, &e), p, "it never shrinks");
    }
    scratch_free(&s);
    cr_assert(!s.p && !s.cap);
#ifndef MK_SANITIZED
    cr_assert(!scratch_get(&s, SIZE_MAX / 2, &e));
    cr_assert_eq(e.kind, ERR_SYSTEM);
    scratch_free(&s);
#endif
}

/* ---- one tensor in a file, or held ---------------------------------------------------- */

enum { PAD = 24 }; /* bytes before the tensor */

struct fixture {
    struct tensor t;
    struct model_file f;
    struct model m;
    char *dir, *path;
    uint8_t *plain; /* row-major */
    size_t esize;
    struct matrix x;
};

static void start(struct fixture *f, enum dtype t, uint64_t batch, uint64_t rows, uint64_t cols)
{
    uint64_t seed = rows * 131 + cols;
    *f = (struct fixture){.x = {batch, rows, cols}, .esize = row_bytes(t, 1)};
    f->t = (struct tensor){.name = "t", .dtype = t, .rank = 3, .dim = {batch, rows, cols}, .off = PAD};
    f->t.size = batch * rows * cols * f->esize;
    f->plain = malloc(f->t.size + 1);
    for (size_t i = 0; i < f->t.size; i++)
        f->plain[i] = (uint8_t)(1 + oracle_random(&seed) % 255); /* never the zero of padding */
    f->dir = mk_tmpdir();
    f->path = mk_path(f->dir, "t");
    f->f = (struct model_file){.path = f->path, .name = "t", .fd = -1};
    f->m = (struct model){.path = f->path, .t = &f->t, .n = 1, .f = &f->f, .nf = 1, .random = true};
}

static void end(struct fixture *f)
{
    if (f->f.fd >= 0)
        close(f->f.fd);
    free(f->plain);
    free(f->path);
    mk_rmdir(f->dir);
}

static void same_box(const struct fixture *f, const struct box *b, const uint8_t *got, size_t stride)
{
    for (uint64_t r = 0; r < b->rows; r++)
        cr_assert_eq(memcmp(got + r * stride,
                            f->plain + ((b->batch * f->x.rows + b->row + r) * f->x.cols + b->col) * f->esize,
                            b->cols * f->esize),
                     0, "batch %lu row %lu of [%lu+%lu,%lu+%lu]", b->batch, r, b->row, b->rows, b->col,
                     b->cols);
}

/* Random boxes whose corners are multiples of the tile, in rows with room between them. */
static void read_boxes(struct fixture *f, const uint8_t *held, uint64_t tr, uint64_t tc)
{
    uint64_t seed = oracle_seed();
    struct scratch tmp = {0};
    for (int i = 0; i < 60; i++) {
        struct box b = {.batch = oracle_random(&seed) % f->x.batch,
                        .row = oracle_random(&seed) % f->x.rows / tr * tr,
                        .col = oracle_random(&seed) % f->x.cols / tc * tc};
        b.rows = (1 + oracle_random(&seed) % f->x.rows + tr - 1) / tr * tr;
        b.cols = (1 + oracle_random(&seed) % f->x.cols + tc - 1) / tc * tc;
        b.rows = min_u64(b.rows, f->x.rows - b.row);
        b.cols = min_u64(b.cols, f->x.cols - b.col);
        if (i == 0)
            b = (struct box){0, 0, f->x.rows, 0, f->x.cols};
        const size_t stride = b.cols * f->esize + (size_t)(i % 3) * 5;
        uint8_t *const p = malloc(b.rows * stride);
        struct err e = {0};
        memset(p, 0, b.rows * stride);
        cr_assert_eq(box_read(&(struct source){&f->m, 0, held, NULL}, &b, p, stride, &tmp, &e), 0, "%s", e.msg);
        same_box(f, &b, p, stride);
        for (uint64_t r = 0; r < b.rows; r++)
            for (size_t k = b.cols * f->esize; k < stride; k++)
                cr_assert_eq(p[r * stride + k], 0, "between rows nothing is written");
        free(p);
    }
    const struct box none = {0, 0, 0, 0, f->x.cols};
    struct err e = {0};
    cr_assert_eq(box_read(&(struct source){&f->m, 0, held, NULL}, &none, NULL, 0, &tmp, &e), 0);
    scratch_free(&tmp);
}

/* Writes the tensor in boxes of br x bc, in a shuffled order, and opens the result for reading. */
static void write_boxes(struct fixture *f, const struct stored *stored, uint64_t size, uint64_t br,
                        uint64_t bc)
{
    const char zeros[PAD] = {0};
    const struct sink_file out = {.path = f->path, .head = zeros, .head_size = PAD, .size = PAD + size};
    const struct sink_slot slot = {0, PAD, size};
    const uint64_t nr = (f->x.rows + br - 1) / br, nc = (f->x.cols + bc - 1) / bc, n = f->x.batch * nr * nc;
    uint64_t *const order = malloc(n * sizeof *order), seed = 1;
    struct scratch tmp = {0};
    struct sink s;
    struct err e = {0};
    for (uint64_t i = 0; i < n; i++)
        order[i] = i;
    for (uint64_t i = n; i > 1; i--) {
        const uint64_t j = oracle_random(&seed) % i, x = order[j];
        order[j] = order[i - 1];
        order[i - 1] = x;
    }
    cr_assert_eq(sink_open(&s, &out, 1, &slot, 1, NULL, (struct sink_options){.force = true}, &e), 0, "%s",
                 e.msg);
    const struct drain d = {&s, 0, f->t.dtype, stored, f->x};
    for (uint64_t i = 0; i < n; i++) {
        struct box b = {order[i] / nc / nr, order[i] / nc % nr * br, br, order[i] % nc * bc, bc};
        b.rows = min_u64(br, f->x.rows - b.row);
        b.cols = min_u64(bc, f->x.cols - b.col);
        const size_t stride = b.cols * f->esize + 3;
        uint8_t *const p = malloc(b.rows * stride);
        for (uint64_t r = 0; r < b.rows; r++)
            memcpy(p + r * stride,
                   f->plain + ((b.batch * f->x.rows + b.row + r) * f->x.cols + b.col) * f->esize,
                   b.cols * f->esize);
        cr_assert_eq(box_write(&d, &b, p, stride, &tmp, &e), 0, "%s", e.msg);
        free(p);
    }
    cr_assert_eq(sink_commit(&s, &e), 0, "every byte is written, padding too: %s", e.msg);
    f->f.fd = open(f->path, O_RDONLY);
    cr_assert_geq(f->f.fd, 0);
    scratch_free(&tmp);
    free(order);
}

Test(box, plain)
{
    static const struct {
        enum dtype t;
        uint64_t batch, rows, cols, br, bc;
    } v[] = {{DT_U8, 1, 1, 1, 1, 1},
             {DT_BF16, 1, 13, 29, 5, 29},
             {DT_F32, 3, 7, 11, 3, 4},
             {DT_F64, 2, 5, 3, 5, 1}};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        struct fixture f;
        start(&f, v[i].t, v[i].batch, v[i].rows, v[i].cols);
        write_boxes(&f, NULL, f.t.size, v[i].br, v[i].bc);
        struct buf b = mk_read(f.path);
        cr_assert(b.n == PAD + f.t.size && !memcmp(b.s + PAD, f.plain, f.t.size));
        buf_free(&b);
        read_boxes(&f, NULL, 1, 1);
        read_boxes(&f, f.plain, 1, 1);
        end(&f);
    }
}

/* Two sentences, and where an element lies by their formula. */
static uint64_t nz_of_columns(uint64_t rows, uint64_t cols, uint64_t r, uint64_t c)
{
    (void)cols;
    return (c / 32 * ((rows + 15) / 16) + r / 16) * 512 + r % 16 * 32 + c % 32;
}
static uint64_t nz_of_rows(uint64_t rows, uint64_t cols, uint64_t r, uint64_t c)
{
    (void)rows;
    return (r / 32 * ((cols + 15) / 16) + c / 16) * 512 + c % 16 * 32 + r % 32;
}

Test(box, stored)
{
    static const struct {
        const char *sentence;
        uint64_t tr, tc;
        uint64_t (*at)(uint64_t, uint64_t, uint64_t, uint64_t);
    } layout[] = {{"c1 r1 r0 c0 | r0=16 c0=32", 16, 32, nz_of_columns},
                  {"r1 c1 c0 r0 | r0=32 c0=16", 32, 16, nz_of_rows}};
    static const struct {
        enum dtype t;
        uint64_t batch, rows, cols, br, bc;
    } v[] = {{DT_U8, 1, 1, 1, 32, 32},
             {DT_F8_E4M3, 1, 130, 71, 32, 32},
             {DT_BF16, 2, 64, 64, 64, 32},
             {DT_F32, 3, 33, 95, 32, 96}};
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
            struct fixture f;
            struct stored s = {.dtype = v[i].t,
                               .sentence = layout[k].sentence,
                               .batch = v[i].batch,
                               .rows = v[i].rows,
                               .cols = v[i].cols,
                               .repeat = {1, 1}};
            struct err e = {0};
            uint64_t bytes;
            start(&f, v[i].t, v[i].batch, v[i].rows, v[i].cols);
            cr_assert_eq(layout_parse(&s.layout, s.sentence, &e), 0, "%s", e.msg);
            cr_assert(stored_size(&s, &bytes));
            uint8_t *const want = calloc(bytes, 1);
            for (uint64_t b = 0; b < s.batch; b++)
                for (uint64_t r = 0; r < s.rows; r++)
                    for (uint64_t c = 0; c < s.cols; c++)
                        memcpy(want + b * s.batch_bytes + layout[k].at(s.rows, s.cols, r, c) * f.esize,
                               f.plain + ((b * s.rows + r) * s.cols + c) * f.esize, f.esize);
            write_boxes(&f, &s, bytes, v[i].br, v[i].bc);
            struct buf file = mk_read(f.path);
            cr_assert(file.n == PAD + bytes && !memcmp(file.s + PAD, want, bytes), "%s, type %zu", s.sentence,
                      i);
            buf_free(&file);
            f.t.stored = &s;
            f.t.size = bytes;
            read_boxes(&f, NULL, layout[k].tr, layout[k].tc);
            read_boxes(&f, want, layout[k].tr, layout[k].tc);
            free(want);
            end(&f);
        }
}

/* ---- scales that were repeated, or stored as another type ------------------------------- */

static void put_scale(uint8_t *p, enum dtype t, int code)
{
    const uint32_t f32 = (uint32_t)code << 23;
    const uint16_t bf16 = (uint16_t)(code << 7), f16 = (uint16_t)((code - 112) << 10);
    if (t == DT_F32)
        memcpy(p, &f32, 4);
    else if (t == DT_BF16 || t == DT_F16)
        memcpy(p, t == DT_F16 ? &f16 : &bf16, 2);
    else
        *p = (uint8_t)code;
}

/* Powers of two keep their value in every type that packed scales may come from and go to. */
Test(box, repeated_scales)
{
    static const enum dtype logical[] = {DT_F32, DT_F8_E8M0, DT_U8, DT_BF16, DT_F16},
                            stored[] = {DT_F8_E8M0, DT_F32};
    static const uint32_t repeat[][2] = {{1, 1}, {128, 4}, {1, 3}, {2, 1}};
    enum { ROWS = 3, COLS = 5, E = 2 };
    for (size_t k = 0; k < 40; k++) {
        const enum dtype t = logical[k % 5], st = stored[k / 5 % 2];
        const uint32_t *const rep = repeat[k / 10];
        struct stored s = {.dtype = st,
                           .sentence = "c1 r0 c0 | c0=2",
                           .batch = E,
                           .rows = ROWS * rep[0] - (rep[0] > 1),
                           .cols = COLS * rep[1] - (rep[1] > 1),
                           .repeat = {rep[0], rep[1]}};
        struct fixture f;
        struct err e = {0};
        uint64_t bytes;
        start(&f, t, E, ROWS, COLS);
        for (int i = 0; i < E * ROWS * COLS; i++)
            put_scale(f.plain + (size_t)i * f.esize, t, 114 + i % 27);
        cr_assert_eq(layout_parse(&s.layout, s.sentence, &e), 0);
        cr_assert(stored_size(&s, &bytes));
        uint8_t *const held = calloc(bytes, 1);
        for (uint64_t b = 0; b < E; b++)
            for (uint64_t r = 0; r < s.rows; r++)
                for (uint64_t c = 0; c < s.cols; c++) {
                    const uint64_t i = (b * ROWS + r / rep[0]) * COLS + c / rep[1];
                    put_scale(held + b * s.batch_bytes
                                  + ((c / 2 * s.rows + r) * 2 + c % 2) * row_bytes(st, 1),
                              st, 114 + (int)i % 27);
                }
        f.t.stored = &s;
        f.t.size = bytes;
        /* neither repeated nor another type: a layout as any, read in whole tiles */
        read_boxes(&f, held, 1, t == st && rep[0] * rep[1] == 1 ? 2 : 1);
        free(held);
        end(&f);
    }
}

/* ---- the number of pieces ------------------------------------------------------------------ */

Test(box, pieces)
{
    const struct matrix m = {1, 100, 64};
    struct stored s = {.dtype = DT_U8, .rows = 100, .cols = 64, .repeat = {1, 1}};
    struct err e = {0};
    cr_assert_eq(box_pieces(NULL, &m, &(struct box){0, 0, 100, 0, 64}), 1);
    cr_assert_eq(box_pieces(NULL, &m, &(struct box){0, 10, 20, 0, 64}), 1);
    cr_assert_eq(box_pieces(NULL, &m, &(struct box){0, 10, 20, 0, 32}), 20);
    cr_assert_eq(layout_parse(&s.layout, "c1 r1 r0 c0 | r0=16 c0=32", &e), 0);
    cr_assert_eq(box_pieces(&s, &m, &(struct box){0, 0, 100, 0, 64}), 1);
    cr_assert_eq(box_pieces(&s, &m, &(struct box){0, 16, 32, 0, 64}), 2, "a run in each column of tiles");
    cr_assert_eq(box_pieces(&s, &m, &(struct box){0, 16, 32, 32, 32}), 1);
}

Test(box, a_file_that_ends_early)
{
    struct fixture f;
    struct scratch tmp = {0};
    struct err e = {0};
    uint8_t p[64];
    start(&f, DT_U8, 1, 8, 8);
    mk_write(f.path, f.plain, 64); /* 24 bytes too short */
    f.f.fd = open(f.path, O_RDONLY);
    cr_assert_eq(box_read(&(struct source){&f.m, 0, NULL, NULL}, &(struct box){0, 0, 5, 0, 8}, p, 8, &tmp, &e), 0);
    cr_assert_eq(box_read(&(struct source){&f.m, 0, NULL, NULL}, &(struct box){0, 0, 6, 0, 8}, p, 8, &tmp, &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, "'t'") && strstr(e.msg, f.path), "%s", e.msg);
    scratch_free(&tmp);
    end(&f);
}
