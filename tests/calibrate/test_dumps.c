/* Dumps of inputs: the same statistics as those of the rows handed over one by one. */
#include "calibrate/dumps.h"
#include "tests/mk_torch.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char dir[] = "/tmp/octavo-test-dumps-XXXXXX";
static void make_dir(void) { cr_assert(mkdtemp(dir)); }
static void drop_dir(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    cr_assert_eq(system(command), 0);
}
TestSuite(dumps, .init = make_dir, .fini = drop_dir);

enum { SEQ = 7, ROWS = 30, N = 12 };
static float x[SEQ * ROWS * N];
static uint16_t half[SEQ * ROWS * N];

/* Small whole numbers, which F16 and BF16 have. */
static void fill(void)
{
    uint32_t state = 3;
    for (size_t i = 0; i < SEQ * ROWS * N; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)((int)(state >> 24) % 9 - 4);
        uint32_t bits;
        memcpy(&bits, &x[i], 4);
        half[i] = (uint16_t)(bits >> 16);
    }
}

static void check(const char *path, const char *name, size_t length, size_t every)
{
    struct stats s;
    struct err e = {0};
    double h[N * N], want[2][N * N] = {{0}};
    uint64_t tokens[2] = {0};
    for (size_t r = 0; r < SEQ * ROWS; r++) {
        const int set = every && r / length % every == every - 1;
        tokens[set]++;
        for (size_t i = 0; i < N; i++)
            for (size_t k = 0; k < N; k++)
                want[set][i * N + k] += (double)x[r * N + i] * (double)x[r * N + k];
    }
    cr_assert_eq(stats_open(&s, path, &e), 0, "%s", e.msg);
    const struct stats_point *p = stats_find(&s, name);
    cr_assert(p, "%s", name);
    for (unsigned set = 0; set < 2; set++) {
        cr_assert_eq(p->tokens[set], tokens[set]);
        cr_assert_eq(stats_gram(&s, p, set, h, &e), 0);
        for (size_t i = 0; i < N * N; i++)
            cr_assert_eq(h[i], want[set][i]);
    }
    stats_close(&s);
}

static int run(const char *const *in, size_t n, const char *out, size_t rows, size_t every, struct err *e)
{
    const struct dump_options o = {{false, false, 2, false}, rows, every, 0};
    size_t points;
    *e = (struct err){0};
    return dumps_gather(in, n, out, &o, NULL, 0, (struct sink_options){.force = true}, &points, e);
}

Test(dumps, every_form)
{
    char *st = mk_path(dir, "d.safetensors"), *npy = mk_path(dir, "m.o_proj.npy"), *out = mk_path(dir, "s.safetensors");
    struct err e;
    fill();
    const struct mk_tensor t[] = {{"m.q_proj.input", "F32", "[210,12]", x, sizeof x}, {"m.k_proj", "BF16", "[7,30,12]", half, sizeof half}};
    struct buf image = mk_safetensors(t, 2, NULL), b = {0};
    static const char header[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (7, 30, 12), }\n";
    const uint8_t length[2] = {sizeof header - 1, 0};
    mk_write(st, image.s, image.n);
    cr_assert(!buf_put(&b, "\x93NUMPY\x01\x00", 8, &e) && !buf_put(&b, length, 2, &e) && !buf_puts(&b, header, &e) && !buf_put(&b, x, sizeof x, &e));
    mk_write(npy, b.s, b.n);
    cr_assert_eq(run((const char *const[]){st, npy}, 2, out, 50, 3, &e), 0, "%s", e.msg);
    check(out, "m.q_proj", 50, 3);
    check(out, "m.k_proj.weight", ROWS, 3);
    check(out, "m.o_proj", ROWS, 3);
    check(out, "m.v_proj", 50, 3); /* has none of its own: that of q_proj */
    cr_assert_eq(run((const char *const[]){st}, 1, out, 64, 0, &e), 0, "%s", e.msg);
    check(out, "m.k_proj", ROWS, 0);
    /* The same array in a .npz. */
    char *npz = mk_path(dir, "d.npz");
    struct mk_zip z = {0};
    mk_zip_add(&z, "m.query.npy", b.s, b.n);
    mk_zip_add(&z, "m.o_proj.npy", b.s, b.n);
    struct buf zip = mk_zip_end(&z, "");
    mk_write(npz, zip.s, zip.n);
    cr_assert_eq(run((const char *const[]){npz}, 1, out, 50, 3, &e), 0, "%s", e.msg);
    check(out, "m.o_proj", ROWS, 3);
    check(out, "m.query", ROWS, 3);
    check(out, "m.value", ROWS, 3);
    buf_free(&zip);
    free(npz);
    buf_free(&image);
    buf_free(&b);
    free(st);
    free(npy);
    free(out);
}

Test(dumps, what_is_refused)
{
    char *st = mk_path(dir, "d.safetensors"), *again = mk_path(dir, "e.safetensors"), *out = mk_path(dir, "s.safetensors");
    struct err e;
    fill();
    static const struct {
        const char *dtype, *shape, *says;
        size_t n;
    } bad[] = {{"I32", "[210,12]", "I32", sizeof x}, {"F32", "[2520]", "[2520]", sizeof x}, {"F32", "[0,12]", "no rows", 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct mk_tensor t = {"m.q", bad[i].dtype, bad[i].shape, x, bad[i].n};
        struct buf image = mk_safetensors(&t, 1, NULL);
        mk_write(st, image.s, image.n);
        cr_assert_eq(run((const char *const[]){st}, 1, out, 64, 5, &e), -1);
        cr_assert(e.kind == ERR_INPUT && strstr(e.msg, bad[i].says) && strstr(e.msg, "'m.q'"), "%s", e.msg);
        buf_free(&image);
    }
    const struct mk_tensor t = {"m.q", "F32", "[210,12]", x, sizeof x};
    x[100 * N + 3] = NAN;
    struct buf image = mk_safetensors(&t, 1, NULL);
    mk_write(st, image.s, image.n);
    mk_write(again, image.s, image.n);
    cr_assert_eq(run((const char *const[]){st}, 1, out, 64, 0, &e), -1);
    cr_assert(strstr(e.msg, "'m.q'") && strstr(e.msg, "channel 3 of row 100"), "%s", e.msg);
    cr_assert_eq(run((const char *const[]){st, again}, 2, out, 64, 0, &e), -1);
    cr_assert(strstr(e.msg, "both have inputs of 'm.q'"), "%s", e.msg);
    buf_free(&image);
    free(st);
    free(again);
    free(out);
}

/* A routed expert's dump has a point of its own: there is no router, and nothing is summed over experts. */
Test(dumps, experts_are_like_all_others)
{
    char *st = mk_path(dir, "d.safetensors"), *out = mk_path(dir, "s.safetensors");
    struct err e;
    fill();
    const struct mk_tensor t[] = {{"m.experts.0.down_proj", "F32", "[210,12]", x, sizeof x},
                                  {"m.experts.99999999999999999999.w2", "F32", "[210,12]", x, sizeof x},
                                  {"m.experts.3.gate_proj.input", "F32", "[210,12]", x, sizeof x}};
    struct buf image = mk_safetensors(t, 3, NULL);
    mk_write(st, image.s, image.n);
    cr_assert_eq(run((const char *const[]){st}, 1, out, 50, 3, &e), 0, "%s", e.msg);
    check(out, "m.experts.0.down_proj", 50, 3);
    check(out, "m.experts.99999999999999999999.w2", 50, 3);
    check(out, "m.experts.3.up_proj", 50, 3);
    buf_free(&image);
    free(st);
    free(out);
}

Test(dumps, channels_that_there_is_no_memory_for)
{
    char *st = mk_path(dir, "d.safetensors"), *out = mk_path(dir, "s.safetensors");
    struct err e = {0};
    size_t points;
    struct dump_options o = {{false, false, 2, false}, 8, 0, 64 << 20};
    float *row = calloc(1 << 16, sizeof *row);
    const struct mk_tensor t = {"m.q", "F32", "[1,65536]", row, (1 << 16) * sizeof *row};
    struct buf image = mk_safetensors(&t, 1, NULL);
    mk_write(st, image.s, image.n);
    cr_assert_eq(dumps_gather((const char *const[]){st}, 1, out, &o, NULL, 0, (struct sink_options){0}, &points, &e), -1);
    cr_assert(e.kind == ERR_INPUT && strstr(e.msg, "'m.q'") && strstr(e.msg, "65536 channels") && strstr(e.msg, "--diagonal"), "%s", e.msg);
    cr_assert_eq(mk_files_in(dir), 1);
    o.how.diagonal = true;
    o.memory *= 2;
    cr_assert_eq(dumps_gather((const char *const[]){st}, 1, out, &o, NULL, 0, (struct sink_options){0}, &points, &e), 0, "%s", e.msg);
    buf_free(&image);
    free(row);
    free(st);
    free(out);
}

Test(dumps, names_that_are_no_text)
{
    char *npy = mk_path(dir, "\xff.npy"), *out = mk_path(dir, "s.safetensors");
    static const char image[] = "\x93NUMPY\x01\x00\x40\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }    \n\0\0\0\0\0\0\0";
    struct err e;
    cr_assert_eq(sizeof image, 10 + 64 + 8);
    mk_write(npy, image, sizeof image);
    cr_assert_eq(run((const char *const[]){npy}, 1, out, 50, 0, &e), -1);
    cr_assert(e.kind == ERR_INPUT && strstr(e.msg, "UTF-8"), "%s", e.msg);
    free(npy);
    free(out);
}
