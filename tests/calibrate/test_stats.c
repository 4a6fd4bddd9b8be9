/* Statistics of inputs: sums against those written out in double, forms of a file, and what is refused. */
#include "calibrate/corpus.h"
#include "calibrate/gather.h"
#include "tests/mk.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[] = "/tmp/octavo-test-stats-XXXXXX";
static void make_dir(void) { cr_assert(mkdtemp(dir)); }
static void drop_dir(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    cr_assert_eq(system(command), 0);
}
TestSuite(stats, .init = make_dir, .fini = drop_dir);

static uint64_t state = 5;
static float next(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(int64_t)state / 9.3e18);
}

enum { N = 70, ROWS = 900 };
static float x[ROWS * N];
static const char *const names[] = {"a.q", "a.k", "a.v"};

/* Rows [0, fit) to fit to, the others held out, in pieces of `step`. */
static void write_stats(const char *path, bool diagonal, unsigned threads, size_t fit, size_t step)
{
    struct gather *g;
    struct err e = {0};
    const char *const point[TAP_NAMES] = {names[0], names[1], names[2]};
    const uint64_t width = N;
    cr_assert_eq(gather_plan_empty(&g, (struct gather_options){diagonal, false, threads, false}, &e), 0);
    cr_assert_eq(gather_plan_add(g, names, 3, N, &e), 0);
    cr_assert_eq(gather_create(g, path, NULL, 0, (struct sink_options){.force = true}, &e), 0, "%s", e.msg);
    const struct tap *t = gather_tap(g);
    cr_assert_eq(t->begin(t->ctx, point, &width, 1, &e), 0, "%s", e.msg);
    for (size_t r = 0; r < ROWS;) {
        const size_t end = r < fit ? fit : ROWS, n = r + step < end ? step : end - r;
        cr_assert_eq(t->rows(t->ctx, 0, x + r * N, n, N, r >= fit, &e), 0, "%s", e.msg);
        r += n;
    }
    cr_assert(t->end(t->ctx, &e) == 0 && gather_layer(g, &e) == 0 && gather_commit(g, &e) == 0, "%s", e.msg);
    gather_free(g);
}

static void check_sums(const struct stats *s, const struct stats_point *p, size_t from, size_t to, unsigned set, bool diagonal)
{
    static double h[N * N], d[N];
    struct err e = {0};
    cr_assert_eq(stats_diagonal(s, p, set, d, &e), 0, "%s", e.msg);
    if (diagonal)
        cr_assert(stats_gram(s, p, set, h, &e) == -1 && strstr(e.msg, "only a diagonal"), "%s", e.msg);
    else
        cr_assert_eq(stats_gram(s, p, set, h, &e), 0, "%s", e.msg);
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < N; k++) {
            double want = 0, size = 0;
            for (size_t r = from; r < to; r++) {
                want += (double)x[r * N + i] * (double)x[r * N + k];
                size += fabs((double)x[r * N + i] * (double)x[r * N + k]);
            }
            if (!diagonal)
                cr_assert_float_eq(h[i * N + k], want, 1e-6 * size);
            if (i == k)
                cr_assert_float_eq(d[i], want, 1e-6 * size);
        }
}

Test(stats, sums_are_the_sums)
{
    char *path = mk_path(dir, "s.safetensors"), *other = mk_path(dir, "t.safetensors");
    for (size_t i = 0; i < ROWS * N; i++)
        x[i] = next() * (float)(1 + i % N % 9) + (i % N == 4);
    for (int diagonal = 0; diagonal < 2; diagonal++) {
        struct stats s;
        struct err e = {0};
        write_stats(path, diagonal, 1, 700, 256);
        write_stats(other, diagonal, 3, 700, 256);
        struct buf a = mk_read(path), b = mk_read(other);
        cr_assert(a.n == b.n && !memcmp(a.s, b.s, a.n)); /* threads change nothing */
        buf_free(&a);
        buf_free(&b);
        cr_assert_eq(stats_open(&s, path, &e), 0, "%s", e.msg);
        const struct stats_point *p = stats_find(&s, "a.k.weight");
        cr_assert(p && p == stats_find(&s, "a.q") && p == stats_find(&s, "a.v") && !stats_find(&s, "a.o"));
        cr_assert(p->width == N && p->tokens[0] == 700 && p->tokens[1] == 200);
        check_sums(&s, p, 0, 700, STATS_FIT, diagonal);
        check_sums(&s, p, 700, ROWS, STATS_HOLDOUT, diagonal);
        float amax[N];
        static int64_t count[STATS_BINS], want[STATS_BINS];
        cr_assert_eq(stats_amax(&s, p, amax, &e), 0);
        cr_assert_eq(stats_histogram(&s, p, count, &e), 0);
        memset(want, 0, sizeof want);
        for (size_t c = 0; c < N; c++) {
            float most = 0;
            for (size_t r = 0; r < ROWS; r++) {
                uint32_t bits;
                most = fmaxf(most, fabsf(x[r * N + c]));
                memcpy(&bits, &x[r * N + c], 4);
                want[(bits & 0x7fffffff) >> 19]++;
            }
            cr_assert_eq(amax[c], most);
        }
        cr_assert_arr_eq(count, want, sizeof want);
        stats_close(&s);
    }
    free(path);
    free(other);
}

/* Two halves added up are the whole, in either order. */
Test(stats, files_add_up)
{
    char *path[3];
    struct stats s, t;
    struct err e = {0};
    static double h[2][N * N];
    for (int i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "%d.safetensors", i);
        path[i] = mk_path(dir, name);
    }
    for (size_t i = 0; i < ROWS * N; i++)
        x[i] = next();
    write_stats(path[0], false, 2, 500, 100);
    for (size_t i = 0; i < ROWS * N; i++)
        x[i] = 2 * next();
    write_stats(path[1], false, 2, 300, 100);
    cr_assert_eq(stats_merge((const char *const[]){path[0], path[1]}, 2, path[2], (struct sink_options){0}, &e), 0, "%s", e.msg);
    cr_assert_eq(stats_open(&t, path[2], &e), 0, "%s", e.msg);
    const struct stats_point *p = stats_find(&t, "a.v");
    cr_assert(p && p->tokens[0] == 800 && p->tokens[1] == 1000);
    for (unsigned set = 0; set < 2; set++) {
        memset(h[0], 0, sizeof h[0]);
        for (int i = 0; i < 2; i++) {
            cr_assert_eq(stats_open(&s, path[i], &e), 0, "%s", e.msg);
            cr_assert_eq(stats_gram(&s, stats_find(&s, "a.q"), set, h[1], &e), 0);
            for (size_t k = 0; k < N * N; k++)
                h[0][k] += h[1][k];
            stats_close(&s);
        }
        cr_assert_eq(stats_gram(&t, p, set, h[1], &e), 0);
        for (size_t k = 0; k < N * N; k++)
            cr_assert_eq(h[1][k], (double)(float)h[0][k]);
    }
    stats_close(&t);
    struct buf a = mk_read(path[2]);
    cr_assert_eq(stats_merge((const char *const[]){path[1], path[0]}, 2, path[2], (struct sink_options){.force = true}, &e), 0, "%s", e.msg);
    struct buf b = mk_read(path[2]);
    cr_assert(a.n == b.n && !memcmp(a.s, b.s, a.n));
    buf_free(&a);
    buf_free(&b);
    for (int i = 0; i < 3; i++)
        free(path[i]);
}

static float two[3] = {4, 1, 9}, square[4] = {4, 1, 1, 9};
static int64_t tokens[2] = {7, 3}, minus[2] = {7, -3};

static int open_made(const struct mk_tensor *t, size_t n, const char *meta, struct stats *s, struct err *e)
{
    char *path = mk_path(dir, "m.safetensors");
    struct buf image = mk_safetensors(t, n, meta);
    mk_write(path, image.s, image.n);
    *e = (struct err){0};
    const int r = stats_open(s, path, e);
    buf_free(&image);
    free(path);
    return r;
}

#define META "{\"octavo.calibration\":\"1\"}"

/* What other programs write: a square, and nothing but what is needed. */
Test(stats, forms_of_others)
{
    struct stats s;
    struct err e;
    double h[4];
    const struct mk_tensor t[] = {{"a.xtx", "F32", "[2,2]", square, 16}, {"b.xtx", "F32", "[3]", two, 12}, {"a.tokens", "I64", "[2]", tokens, 16}};
    cr_assert_eq(open_made(t, 3, "{\"octavo.calibration\":\"1\",\"octavo.calibration.shared\":\"{\\\"c\\\":\\\"a\\\"}\"}", &s, &e), 0, "%s", e.msg);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(stats_gram(&s, stats_find(&s, i ? "b" : "c.weight"), 0, h, &e), 0, "%s", e.msg);
        cr_assert(h[0] == 4 && h[1] == 1 && h[2] == 1 && h[3] == 9);
    }
    stats_close(&s);
}

Test(stats, what_is_refused)
{
    struct stats s;
    struct err e;
    double h[9];
    float odd[3] = {4, NAN, 9}, negative[3] = {-4, 1, 9};
    static const struct {
        struct mk_tensor t;
        const char *meta, *says;
    } bad[] = {{{"a.xtx", "F32", "[3]", two, 12}, NULL, "version 1"},
               {{"a.xtx", "F32", "[3]", two, 12}, "{\"octavo.calibration\":\"2\"}", "version 1"},
               {{"a.weight", "F32", "[3]", two, 12}, META, "'a.weight'"},
               {{"a.xtx", "I32", "[3]", two, 12}, META, "I32"},
               {{"a.xtx", "F32", "[2]", two, 8}, META, "triangle"},
               {{"a.xtx", "F32", "[1,2]", two, 8}, META, "triangle"},
               {{"a.histogram", "I64", "[2]", tokens, 16}, META, "[4096]"},
               {{"a.tokens", "I64", "[2]", minus, 16}, META, "negative"},
               {{"a.tokens", "I64", "[2]", tokens, 16}, META, "'a' has counts, and no sums"},
               {{"a.hits", "I64", "[0,2]", tokens, 0}, META, "[E,2]"},
               {{"a.xtx", "F32", "[3]", two, 12}, "{\"octavo.calibration\":\"1\",\"octavo.calibration.shared\":\"{\\\"c\\\":\\\"b\\\"}\"}", "'b'"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_eq(open_made(&bad[i].t, 1, bad[i].meta, &s, &e), -1, "%zu", i);
        cr_assert(e.kind == ERR_INPUT && strstr(e.msg, bad[i].says), "%zu: %s", i, e.msg);
    }
    const struct mk_tensor wide[] = {{"a.xtx", "F32", "[3]", two, 12}, {"a.amax", "F32", "[3]", two, 12}};
    cr_assert_eq(open_made(wide, 2, META, &s, &e), -1);
    cr_assert(strstr(e.msg, "channels"), "%s", e.msg);
    for (int i = 0; i < 2; i++) {
        const struct mk_tensor t = {"a.xtx", "F32", "[3]", i ? negative : odd, 12};
        cr_assert_eq(open_made(&t, 1, META, &s, &e), 0, "%s", e.msg);
        cr_assert_eq(stats_gram(&s, stats_find(&s, "a"), 0, h, &e), -1);
        cr_assert(strstr(e.msg, i ? "element 0 is -4" : "element 1 is nan"), "%s", e.msg);
        cr_assert_eq(stats_gram(&s, stats_find(&s, "a"), 1, h, &e), -1);
        stats_close(&s);
    }
}

/* Files that are each what they say, and do not add up: what says so names a file and the point. */
static int64_t counts[STATS_BINS];
static void merge_refused(const struct mk_tensor *a, size_t na, const struct mk_tensor *b, size_t nb, const char *says)
{
    char *path[3] = {mk_path(dir, "a.safetensors"), mk_path(dir, "b.safetensors"), mk_path(dir, "sum.safetensors")};
    struct buf image[2] = {mk_safetensors(a, na, META), mk_safetensors(b, nb, META)};
    struct err e = {0};
    for (int i = 0; i < 2; i++)
        mk_write(path[i], image[i].s, image[i].n);
    cr_assert_eq(stats_merge((const char *const[]){path[0], path[1]}, 2, path[2], (struct sink_options){0}, &e), -1, "%s", says);
    cr_assert(e.kind == ERR_INPUT && strstr(e.msg, says) && strstr(e.msg, "'a"), "%s: %s", says, e.msg);
    cr_assert_neq(access(path[2], F_OK), 0);
    for (int i = 0; i < 3; i++)
        free(path[i]);
    buf_free(&image[0]);
    buf_free(&image[1]);
}

Test(stats, counts_that_do_not_add_up)
{
    struct stats s;
    struct err e;
    int64_t many[2] = {INT64_MAX, 0}, hits[4] = {1, 2, 3, 4}, odd[4] = {1, 2, -3, 4};
    uint64_t got[2];
    struct mk_tensor full[] = {{"a.xtx", "F32", "[3]", two, 12},    {"a.xtx_holdout", "F32", "[3]", two, 12},           {"a.amax", "F32", "[2]", two, 8},
                               {"a.tokens", "I64", "[2]", tokens, 16}, {"a.histogram", "I64", "[4096]", counts, sizeof counts}, {"a.hits", "I64", "[2,2]", hits, 32}};
    struct mk_tensor bare[] = {{"a.xx", "F32", "[3]", two, 12}, {"a.tokens", "I64", "[2]", tokens, 16}, {"a.hits", "I64", "[2,2]", hits, 32}};
    /* One more than I64 holds, in each that is counted. */
    full[3].data = many;
    merge_refused(full, 6, full, 6, "64 bits");
    full[3].data = tokens;
    counts[77] = INT64_MAX;
    merge_refused(full, 6, full, 6, "64 bits");
    counts[77] = 0;
    hits[3] = INT64_MAX;
    merge_refused(full, 6, full, 6, "64 bits");
    hits[3] = 4;
    /* Experts of one file alone, and of another number; none of a mere diagonal. */
    merge_refused(full, 6, full, 5, "over 0 in");
    merge_refused(full, 5, full, 6, "over 2 in");
    struct mk_tensor fewer[6];
    memcpy(fewer, full, sizeof fewer);
    fewer[5] = (struct mk_tensor){"a.hits", "I64", "[1,2]", hits, 16};
    merge_refused(full, 6, fewer, 6, "over 1 in");
    merge_refused(bare, 3, bare, 3, "not complete");
    full[5].data = odd;
    merge_refused(full, 6, full, 6, "expert 1 was chosen -3 times");
    cr_assert_eq(open_made(full, 6, META, &s, &e), 0, "%s", e.msg);
    cr_assert_eq(stats_hits(&s, stats_find(&s, "a"), 0, got, &e), 0);
    cr_assert_eq(stats_hits(&s, stats_find(&s, "a"), 1, got, &e), -1);
    stats_close(&s);
}

/* Names and provenance that are no text never get into a file that nobody can read. */
Test(stats, names_that_are_no_text)
{
    static const char *const odd[] = {"", "m.\xff", "m.\xc3"};
    char *path = mk_path(dir, "n.safetensors");
    for (size_t i = 0; i < 4; i++) {
        struct stats_writer *w;
        struct err e = {0};
        const struct stats_shape p = {.name = i < 3 ? odd[i] : "m", .width = 2, .bare = true};
        const struct meta kv = {"octavo.calibration.text", i < 3 ? "text" : "\xff.txt"};
        cr_assert_eq(stats_create(&w, path, &p, 1, NULL, NULL, 0, &kv, 1, (struct sink_options){0}, &e), -1, "%zu", i);
        cr_assert(e.kind == ERR_INPUT && strstr(e.msg, "UTF-8"), "%zu: %s", i, e.msg);
        cr_assert_eq(access(path, F_OK), -1);
    }
    free(path);
}

/* NaN and Inf in what goes in. */
Test(stats, inputs_that_are_no_numbers)
{
    for (int i = 0; i < 2; i++) {
        struct gather *g;
        struct err e = {0};
        float bad[2 * N] = {0};
        char *path = mk_path(dir, "n.safetensors");
        const char *const point[TAP_NAMES] = {names[0]};
        const uint64_t width = N;
        bad[N + 7] = i ? INFINITY : NAN;
        cr_assert(!gather_plan_empty(&g, (struct gather_options){0}, &e) && !gather_plan_add(g, names, 1, N, &e));
        cr_assert_eq(gather_create(g, path, NULL, 0, (struct sink_options){0}, &e), 0);
        const struct tap *t = gather_tap(g);
        cr_assert_eq(t->begin(t->ctx, point, &width, 1, &e), 0);
        cr_assert_eq(t->rows(t->ctx, 0, bad, 2, N, 0, &e), -1);
        cr_assert(strstr(e.msg, "'a.q'") && strstr(e.msg, "channel 7 of row 1"), "%s", e.msg);
        gather_free(g);
        cr_assert_eq(access(path, F_OK), -1);
        free(path);
    }
}

/* ---- ids --------------------------------------------------------------------------------- */
static void npy(const char *path, const char *header, const void *data, size_t n)
{
    struct buf b = {0};
    struct err e;
    const uint8_t length[2] = {(uint8_t)strlen(header), 0};
    cr_assert(!buf_put(&b, "\x93NUMPY\x01\x00", 8, &e) && !buf_put(&b, length, 2, &e) && !buf_puts(&b, header, &e) && !buf_put(&b, data, n, &e));
    mk_write(path, b.s, b.n);
    buf_free(&b);
}

Test(stats, ids_of_every_form)
{
    char *path = mk_path(dir, "ids");
    struct corpus c;
    struct err e = {0};
    const uint32_t raw[6] = {1, 2, 3, 4, 5, 70000};
    const int64_t wide[6] = {1, 2, 3, 4, 5, 70000}, minus64[2] = {1, -1};
    const uint16_t narrow[6] = {1, 2, 3, 4, 5, 65535};
    mk_write(path, raw, sizeof raw);
    cr_assert_eq(corpus_read(&c, path, &e), 0, "%s", e.msg);
    cr_assert(c.tokens == 6 && c.id[5] == 70000 && !c.length);
    cr_assert_eq(corpus_cut(&c, 2, 5, 3, &e), 0, "%s", e.msg); /* 1 2 | 3 4 | 5, the third held out */
    cr_assert(c.n == 3 && c.tokens == 5 && c.start[1] == 2 && c.start[3] == 5 && c.set[0] == 0 && c.set[1] == 0 && c.set[2] == 1 && c.id[4] == 5);
    corpus_free(&c);
    npy(path, "{'descr': '<i8', 'fortran_order': False, 'shape': (3, 2), }\n", wide, sizeof wide);
    cr_assert_eq(corpus_read(&c, path, &e), 0, "%s", e.msg);
    cr_assert(c.tokens == 6 && c.length == 2 && c.id[5] == 70000);
    cr_assert_eq(corpus_cut(&c, 0, 0, 2, &e), 0, "%s", e.msg); /* the second row is held out: it comes last */
    cr_assert(c.id[2] == 5 && c.id[4] == 3 && c.set[2] == 1);
    corpus_free(&c);
    npy(path, "{'descr': '<u2', 'fortran_order': False, 'shape': (6,), }\n", narrow, sizeof narrow);
    cr_assert_eq(corpus_read(&c, path, &e), 0, "%s", e.msg);
    cr_assert(c.tokens == 6 && c.id[5] == 65535);
    cr_assert_eq(corpus_cut(&c, 6, 0, 2, &e), -1);
    cr_assert(strstr(e.msg, "held out"), "%s", e.msg);
    corpus_free(&c);
    static const struct {
        const char *header, *says;
        size_t n;
    } bad[] = {{"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", "no integers", 8},
               {"{'descr': '>i4', 'fortran_order': False, 'shape': (2,), }\n", "little-endian", 8},
               {"{'descr': '<i4', 'fortran_order': True, 'shape': (2,), }\n", "Fortran", 8},
               {"{'descr': '<i4', 'shape': (2,), }\n", "'fortran_order': False", 8},
               {"{'descr': '<i4x', 'fortran_order': False, 'shape': (2,), }\n", "little-endian", 8},
               {"{'descr': '|i4', 'fortran_order': False, 'shape': (2,), }\n", "little-endian", 8},
               {"{'descr': '<i4', 'fortran_order': False, 'shape': (-1,), }\n", "shape", 8},
               {"{'descr': '<i4', 'fortran_order': False, 'shape': (3,), }\n", "8 bytes of elements", 8},
               {"{'descr': '<i4', 'fortran_order': False, 'shape': (), }\n", "shape", 8},
               {"{'descr': '<i4', 'fortran_order': False, 'shape': (18446744073709551615,), }\n", "shape", 8},
               {"{'descr': '<i4', 'fortran_order': False, 'shape': (0,), }\n", "no ids", 0},
               {"{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }\n", "id 1 is -1", 16}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        npy(path, bad[i].header, minus64, bad[i].n);
        cr_assert_eq(corpus_read(&c, path, &e), -1, "%zu", i);
        cr_assert(e.kind == ERR_INPUT && strstr(e.msg, bad[i].says), "%zu: %s", i, e.msg);
    }
    mk_write(path, "\x93NUMPY\x01\x00\xff", 9);
    cr_assert_eq(corpus_read(&c, path, &e), -1);
    cr_assert(strstr(e.msg, "cut"), "%s", e.msg);
    free(path);
}
