#include "quantizers/strided.h"
#include "tests/flow.h"
#include "tests/mk_torch.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- boxes and ranges, against one element at a time ---------------------------------- */

enum { FILE_BYTES = 6 << 20, PAD = 40 };
static const enum dtype types[] = {DT_U8, DT_BF16, DT_F32, DT_F64};

struct fixture {
    char *dir, *path;
    uint8_t *bytes;
    uint64_t stride[TENSOR_MAX_RANK];
    struct tensor t;
    struct model_file f;
    struct model m;
    size_t item;
};

static void start(struct fixture *f)
{
    uint64_t seed = 7;
    *f = (struct fixture){.dir = mk_tmpdir(), .bytes = malloc(FILE_BYTES)};
    f->path = mk_path(f->dir, "t");
    for (size_t i = 0; i < FILE_BYTES; i++)
        f->bytes[i] = (uint8_t)oracle_random(&seed);
    mk_write(f->path, f->bytes, FILE_BYTES);
    f->f =
        (struct model_file){.path = f->path, .name = "t", .fd = open(f->path, O_RDONLY), .size = FILE_BYTES};
    cr_assert_geq(f->f.fd, 0);
    f->m = (struct model){.path = f->path, .t = &f->t, .n = 1, .f = &f->f, .nf = 1, .random = true};
}

static void end(struct fixture *f)
{
    close(f->f.fd);
    free(f->bytes);
    free(f->path);
    mk_rmdir(f->dir);
}

static void shape(struct fixture *f, enum dtype t, int rank, const uint64_t *dim, const uint64_t *stride)
{
    uint64_t last = 0;
    f->item = row_bytes(t, 1);
    f->t = (struct tensor){.name = "t", .dtype = t, .rank = (uint8_t)rank, .off = PAD, .stride = f->stride};
    memcpy(f->t.dim, dim, (size_t)rank * sizeof *dim);
    memcpy(f->stride, stride, (size_t)rank * sizeof *stride);
    f->t.size = tensor_elems(&f->t) * f->item;
    for (int i = 0; i < rank; i++)
        last += (dim[i] - 1) * stride[i];
    cr_assert_leq(PAD + (last + 1) * f->item, FILE_BYTES);
}

static const uint8_t *element(const struct fixture *f, uint64_t index)
{
    uint64_t at = 0;
    for (int i = f->t.rank - 1; i >= 0; index /= f->t.dim[i--])
        at += index % f->t.dim[i] * f->stride[i];
    return f->bytes + PAD + at * f->item;
}

static void check_box(const struct fixture *f, const struct box *b, size_t gap, struct scratch *tmp)
{
    const struct matrix x = tensor_matrix(&f->t);
    const size_t stride = b->cols * f->item + gap;
    uint8_t *const p = malloc(b->rows * stride);
    struct err e = {0};
    memset(p, 0x5a, b->rows * stride);
    cr_assert_eq(box_read(&(struct source){&f->m, 0, NULL, NULL}, b, p, stride, tmp, &e), 0, "%s", e.msg);
    for (uint64_t r = 0; r < b->rows; r++) {
        for (uint64_t c = 0; c < b->cols; c++)
            cr_assert_eq(memcmp(p + r * stride + c * f->item,
                                element(f, (b->batch * x.rows + b->row + r) * x.cols + b->col + c), f->item),
                         0, "batch %lu [%lu+%lu,%lu+%lu]", b->batch, b->row, r, b->col, c);
        for (size_t i = b->cols * f->item; i < stride; i++)
            cr_assert_eq(p[r * stride + i], 0x5a, "between rows nothing is written");
    }
    free(p);
}

static void check_range(const struct fixture *f, uint64_t first, uint64_t n, struct scratch *tmp)
{
    uint8_t *const p = malloc(n * f->item + 1);
    struct err e = {0};
    p[n * f->item] = 0x5a;
    cr_assert_eq(strided_range(&(struct source){&f->m, 0, NULL, NULL}, first, n, p, tmp, &e), 0, "%s", e.msg);
    for (uint64_t i = 0; i < n; i++)
        cr_assert_eq(memcmp(p + i * f->item, element(f, first + i), f->item), 0, "element %lu of %lu+%lu", i,
                     first, n);
    cr_assert_eq(p[n * f->item], 0x5a);
    free(p);
}

static void check_all(const struct fixture *f, uint64_t *seed)
{
    const struct matrix x = tensor_matrix(&f->t);
    const uint64_t elems = tensor_elems(&f->t);
    struct scratch tmp = {0};
    for (int i = 0; i < 6; i++) {
        struct box b = {.batch = oracle_random(seed) % x.batch,
                        .row = oracle_random(seed) % x.rows,
                        .col = oracle_random(seed) % x.cols};
        b.rows = 1 + oracle_random(seed) % (x.rows - b.row);
        b.cols = 1 + oracle_random(seed) % (x.cols - b.col);
        if (i == 0)
            b = (struct box){x.batch - 1, 0, x.rows, 0, x.cols};
        check_box(f, &b, (size_t)(i % 3) * 5, &tmp);
        const uint64_t first = oracle_random(seed) % elems;
        check_range(f, first, oracle_random(seed) % (elems - first + 1), &tmp);
    }
    check_range(f, 0, elems, &tmp);
    scratch_free(&tmp);
}

/* Views that programs make: permutations, slices and expansions of row-major tensors. */
Test(strided, permuted_sliced_expanded)
{
    struct fixture f;
    uint64_t seed = oracle_seed();
    start(&f);
    for (int i = 0; i < 400; i++) {
        const int rank = 1 + (int)(oracle_random(&seed) % 5);
        uint64_t full[5], stride[5], dim[5], pd[5], ps[5], step = 1;
        int order[5];
        for (int k = rank - 1; k >= 0; k--) {
            full[k] = 1 + oracle_random(&seed) % (rank == 1 ? 60000 : rank == 2 ? 300 : 12);
            stride[k] = step;
            step *= full[k];
            order[k] = k;
        }
        for (int k = rank; k > 1; k--) {
            const int j = (int)(oracle_random(&seed) % (uint64_t)k), x = order[j];
            order[j] = order[k - 1];
            order[k - 1] = x;
        }
        for (int k = 0; k < rank; k++) {
            const uint64_t what = oracle_random(&seed) % 6;
            pd[k] = dim[k] = full[order[k]];
            ps[k] = stride[order[k]];
            if (what == 0 && dim[k] > 3) { /* every third */
                pd[k] = (dim[k] + 2) / 3;
                ps[k] *= 3;
            } else if (what == 1) { /* one, repeated */
                pd[k] = 1 + oracle_random(&seed) % 9;
                ps[k] = 0;
            } else if (what == 2) {
                pd[k] = 1 + oracle_random(&seed) % dim[k];
            }
        }
        shape(&f, types[i % 4], rank, pd, ps);
        check_all(&f, &seed);
    }
    end(&f);
}

/* Any numbers, overlapping ones too. */
Test(strided, any_strides)
{
    struct fixture f;
    uint64_t seed = oracle_seed();
    start(&f);
    for (int i = 0; i < 400; i++) {
        const int rank = 1 + (int)(oracle_random(&seed) % 4);
        uint64_t dim[4], stride[4], room = (FILE_BYTES - PAD) / 8 - 1;
        for (int k = 0; k < rank; k++) {
            dim[k] = 1 + oracle_random(&seed) % (rank < 3 ? 90 : 14);
            stride[k] = oracle_random(&seed) % (1 + (oracle_random(&seed) % 2 ? 40 : room / dim[k]));
            room -= (dim[k] - 1) * stride[k];
        }
        shape(&f, types[i % 4], rank, dim, stride);
        check_all(&f, &seed);
    }
    end(&f);
}

/* Lines longer than what is read at once, in both directions, dense and with gaps. */
Test(strided, large)
{
    static const struct {
        enum dtype t;
        uint64_t dim[3], stride[3];
    } row[] = {
        {DT_U8, {1, 5, 1000000}, {0, 1000003, 1}}, {DT_U8, {1, 1000000, 5}, {0, 1, 1000003}},
        {DT_F32, {1, 300, 3000}, {0, 4000, 1}},    {DT_F32, {1, 3000, 300}, {0, 1, 4000}},
        {DT_F64, {1, 7, 90000}, {0, 1, 7}},        {DT_F64, {1, 90000, 7}, {0, 7, 1}},
        {DT_BF16, {1, 1000, 1000}, {0, 2, 2000}},  {DT_BF16, {1, 3, 1000000}, {0, 5, 3}},
        {DT_BF16, {300, 40, 50}, {1, 15000, 300}}, {DT_U8, {1, 1, 1500000}, {0, 0, 4}},
        {DT_F32, {1, 500000, 2}, {0, 3, 1}},       {DT_F32, {2, 300, 500}, {1, 2, 600}},
        {DT_U8, {1, 2000, 2000}, {0, 0, 0}},       {DT_F64, {1, 800, 800}, {0, 1, 1}},
        {DT_F64, {1, 1000, 700}, {0, 0, 1}},       {DT_F64, {1, 1000, 700}, {0, 1, 0}},
    };
    struct fixture f;
    struct scratch tmp = {0};
    start(&f);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        shape(&f, row[i].t, 3, row[i].dim, row[i].stride);
        const struct matrix x = tensor_matrix(&f.t);
        check_box(&f, &(struct box){0, 0, x.rows, 0, x.cols}, 3, &tmp);
        check_box(
            &f, &(struct box){x.batch - 1, x.rows / 3, x.rows - x.rows / 3, x.cols / 2, x.cols - x.cols / 2},
            0, &tmp);
        check_range(&f, 1, tensor_elems(&f.t) - 2, &tmp);
        cr_assert_lt(tmp.cap, 1 << 19, "memory does not grow with the box");
    }
    scratch_free(&tmp);
    end(&f);
}

/* Rows of another kind than the tensor's own: 4-bit codes in its bytes, words of
 * bits, and other dimensions, all of them its bytes in row-major order. */
Test(strided, views)
{
    static const struct {
        enum dtype t;
        uint64_t dim[2], stride[2];
        struct view v;
    } row[] = {
        {DT_U8, {40, 30}, {1, 40}, {DT_F8_E4M3, PACK_PLAIN, 0, 2, {40, 30}, false}},
        {DT_U8, {40, 30}, {1, 40}, {DT_F4, PACK_BYTES, 0, 2, {40, 60}, false}},
        {DT_U8, {40, 30}, {3, 200}, {DT_F4, PACK_BYTES, 0, 3, {5, 8, 60}, false}},
        {DT_U8, {40, 32}, {1, 40}, {DT_F4, PACK_BYTES, 0, 2, {20, 128}, false}},
        {DT_I32, {40, 30}, {1, 40}, {DT_I4, PACK_WORDS, 4, 2, {40, 240}, false}},
    };
    struct fixture f;
    struct scratch tmp = {0};
    struct err e = {0};
    start(&f);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        shape(&f, row[i].t, 2, row[i].dim, row[i].stride);
        const struct view *const v = &row[i].v;
        const struct matrix m = view_matrix(v);
        const size_t pitch = view_row_bytes(v, m.cols), step = view_step(v);
        uint8_t *const plain = malloc(f.t.size), *const p = malloc(f.t.size + 100 * m.rows);
        cr_assert_eq(m.batch * m.rows * pitch, f.t.size);
        for (uint64_t k = 0; k < tensor_elems(&f.t); k++)
            memcpy(plain + k * f.item, element(&f, k), f.item);
        for (uint64_t batch = 0; batch < m.batch; batch++)
            for (int half = 0; half < 3; half++) {
                const uint64_t from = half == 2 ? m.cols / 2 / step * step : 0,
                               to = half == 1 ? m.cols / 2 / step * step : m.cols;
                const struct box b = {batch, 2, m.rows - 3, from, to - from};
                const size_t width = view_row_bytes(v, b.cols), stride = width + (size_t)half * 7;
                cr_assert_eq(box_read(&(struct source){&f.m, 0, NULL, v}, &b, p, stride, &tmp, &e), 0, "%s", e.msg);
                for (uint64_t r = 0; r < b.rows; r++)
                    cr_assert_eq(memcmp(p + r * stride,
                                        plain + (batch * m.rows + 2 + r) * pitch + view_row_bytes(v, from), width),
                                 0, "view %zu, row %lu", i, r);
            }
        free(plain);
        free(p);
    }
    scratch_free(&tmp);
    end(&f);
}

Test(strided, what_lies_together)
{
    static const struct {
        int rank;
        uint64_t dim[4], stride[4];
        enum strided_run run;
    } row[] = {
        {1, {9}, {2}, RUN_ROWS},
        {2, {4, 6}, {12, 1}, RUN_ROWS},
        {2, {4, 6}, {1, 4}, RUN_COLUMNS},
        {2, {4, 6}, {0, 1}, RUN_COLUMNS},
        {2, {4, 6}, {1, 0}, RUN_ROWS},
        {3, {8, 4, 6}, {24, 1, 4}, RUN_COLUMNS},
        {3, {8, 4, 6}, {1, 8, 32}, RUN_BATCH},
        {3, {8, 4, 1}, {1, 8, 1}, RUN_BATCH},
        {3, {1, 4, 6}, {1, 6, 1}, RUN_ROWS},
        {3, {1, 4, 6}, {0, 12, 1}, RUN_ROWS},
        {4, {5, 16, 3, 3}, {144, 1, 48, 16}, RUN_BATCH}, /* a convolution, channels last */
    };
    struct tensor t = {.dim = {4, 6}, .rank = 2};
    cr_assert_eq(strided_run(&t), RUN_ROWS);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        t = (struct tensor){.rank = (uint8_t)row[i].rank, .stride = row[i].stride};
        memcpy(t.dim, row[i].dim, sizeof row[i].dim);
        cr_assert_eq(strided_run(&t), row[i].run, "row %zu", i);
    }
}

Test(strided, a_file_that_shrank)
{
    struct fixture f;
    struct scratch tmp = {0};
    struct err e = {0};
    uint8_t p[64];
    start(&f);
    shape(&f, DT_U8, 2, (uint64_t[]){8, 8}, (uint64_t[]){1, 500000});
    cr_assert_eq(truncate(f.path, FILE_BYTES / 2), 0);
    cr_assert_eq(box_read(&(struct source){&f.m, 0, NULL, NULL}, &(struct box){0, 0, 8, 0, 8}, p, 8, &tmp, &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, "tensor 't'"), "%s", e.msg);
    cr_assert_eq(strided_range(&(struct source){&f.m, 0, NULL, NULL}, 0, 64, p, &tmp, &e), -1);
    scratch_free(&tmp);
    end(&f);
}

/* ---- whole runs: a checkpoint of views, and the same tensors row-major ------------------- */

enum { ELEMS = 400 * 700 };

static const struct piece {
    const char *name, *size, *stride;
    int offset;
} views[] = {
    {"t.weight", "700,400", "1,700", 0}, /* transposed */
    {"slice.weight", "200,350", "1400,2", 1},
    {"stack.experts.weight", "5,350,160", "56000,1,350", 0},
    {"conv", "30,20,3,3", "180,1,60,20", 5}, /* channels last */
    {"batch", "70,20,30", "1,70,1400", 0},
    {"expanded", "5,1000", "0,1", 3},
    {"vector", "1000", "7", 9},
    {"scalar", "", "", 77},
    {"tied.weight", "400,700", "700,1", 0},
};
enum { VIEWS = sizeof views / sizeof *views };

/* The numbers of "2,3"; how many there are. */
static int numbers(const char *s, uint64_t *x)
{
    int n = 0;
    for (char *at; *s; s = *at ? at + 1 : at)
        x[n++] = strtoul(s, &at, 10);
    return n;
}

static void images(struct buf *torch, struct buf *plain)
{
    static uint16_t data[ELEMS];
    struct mk_tensor t[VIEWS];
    char shapes[VIEWS][64];
    uint64_t seed = 3;
    struct buf p = {0};
    for (size_t i = 0; i < ELEMS; i++) /* BF16 of both signs, from 2^-16 to 2^16 */
        data[i] = (uint16_t)((oracle_random(&seed) & 0x8fff) + 0x3800);
    mk_pickle_legacy(false);
    mk_puts(&p, "}(");
    for (size_t i = 0; i < VIEWS; i++) {
        uint64_t dim[8], stride[8], elems = 1;
        const int rank = numbers(views[i].size, dim);
        (void)numbers(views[i].stride, stride);
        for (int k = 0; k < rank; k++)
            elems *= dim[k];
        uint16_t *const x = malloc(elems * 2);
        for (uint64_t e = 0; e < elems; e++) {
            uint64_t at = (uint64_t)views[i].offset, index = e;
            for (int k = rank - 1; k >= 0; index /= dim[k--])
                at += index % dim[k] * stride[k];
            x[e] = data[at];
        }
        snprintf(shapes[i], sizeof shapes[i], "[%s]", views[i].size);
        t[i] = (struct mk_tensor){views[i].name, "BF16", shapes[i], x, elems * 2};
        mk_pickle(&p, "%s%t", views[i].name,
                  (struct mk_view){"BFloat16", "0", ELEMS, views[i].offset, views[i].size, views[i].stride});
    }
    mk_puts(&p, "u");
    *torch = mk_torch(&p, &(struct mk_storage){"0", data, sizeof data, 0}, 1, MK_ALIGN | MK_DESCRIPTOR);
    *plain = mk_safetensors(t, VIEWS, NULL);
    for (size_t i = 0; i < VIEWS; i++)
        free((void *)(uintptr_t)t[i].data);
    buf_free(&p);
}

Test(strided, runs_write_the_same_files)
{
    static const char *const scheme[] = {NULL,          "fp8-ue8m0-128x128", "mxfp8",
                                         "fp8-channel", "fp8-tensor",        "int8-channel"};
    struct buf torch, plain;
    images(&torch, &plain);
    for (size_t i = 0; i < sizeof scheme / sizeof *scheme; i++)
        for (unsigned threads = 1; threads < 4; threads += 2)
            for (int pipe_ = 0; pipe_ < 2; pipe_++) {
                struct encoding to;
                struct wanted w;
                struct err e = {0};
                struct buf a, b;
                if (pipe_ && threads > 1)
                    continue;
                flow_wanted(&w, &to, scheme[i]);
                struct rules rules = {0};
                if (scheme[i] && !strcmp(scheme[i], "fp8-tensor")) /* stacks have no single scale */
                    cr_assert_eq(rules_add(&rules, "stack*", ACTION_KEEP, "test", &e), 0);
                w.rules = &rules;
                cr_assert_eq(flow_run(&torch, NULL, &w, threads, false, pipe_, &a, &e), 0, "%s", e.msg);
                cr_assert_eq(flow_run(&plain, NULL, &w, threads, false, pipe_, &b, &e), 0, "%s", e.msg);
                if (!pipe_) { /* a pipe has them in the order in which they came */
                    cr_assert_eq(a.n, b.n);
                    cr_assert_eq(memcmp(a.s, b.s, a.n), 0, "%s", scheme[i] ? scheme[i] : "copy");
                }
                for (size_t k = 0; k < VIEWS; k++) {
                    struct buf *const out[2] = {&a, &b};
                    size_t n[2] = {0};
                    const void *p[2];
                    for (int s = 0; s < 2; s++)
                        p[s] = flow_tensor(out[s], views[k].name, &n[s]);
                    cr_assert(n[0] == n[1] && !memcmp(p[0], p[1], n[0]), "%s", views[k].name);
                }
                rules_free(&rules);
                buf_free(&a);
                buf_free(&b);
            }
    buf_free(&torch);
    buf_free(&plain);
}

Test(strided, digests_are_equal)
{
    struct buf image[2];
    uint8_t whole[2][32];
    images(&image[0], &image[1]);
    for (int i = 0; i < 2; i++)
        for (unsigned threads = 1; threads < 4; threads += 2) {
            struct mk_model f = {0};
            uint8_t digest[VIEWS][32], again[32];
            cr_assert_eq(mk_open(&f, image[i].s, image[i].n), 0, "%s", f.e.msg);
            cr_assert_eq(f.m.n, VIEWS);
            cr_assert_eq(run_digest(&f.m, threads, digest, &f.e), 0, "%s", f.e.msg);
            cr_assert_eq(model_digest(&f.m, (const uint8_t(*)[32])digest, NULL, again, &f.e), 0);
            memcpy(whole[i], again, 32);
            cr_assert(!i || !memcmp(whole[0], whole[1], 32));
            model_close(&f.m);
            mk_close_dir(&f);
        }
    buf_free(&image[0]);
    buf_free(&image[1]);
}
