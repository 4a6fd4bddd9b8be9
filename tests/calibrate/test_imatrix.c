/* Importance matrices of both forms become diagonals; what is no importance matrix is refused by name. */
#include "calibrate/imatrix.h"
#include "formats/names.h"
#include "tests/mk_gguf.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *dir;
static void make_dir(void) { dir = mk_tmpdir(); }
static void drop_dir(void) { mk_rmdir(dir); }
TestSuite(imatrix, .init = make_dir, .fini = drop_dir);

enum { N = 4, E = 3, SEEN = 10 };
/* A value of weight w, channel c: no two are equal. */
static float value(int w, int c) { return (float)(1 + 16 * w + c) * 0.5f; }

static void entry(struct buf *b, const char *name, int chunks, int w, int n)
{
    mk_le(b, strlen(name), 4);
    mk_puts(b, name);
    mk_le(b, (uint64_t)chunks, 4);
    mk_le(b, (uint64_t)n, 4);
    for (int c = 0; c < n; c++) {
        const float x = value(w, c);
        mk_put(b, &x, 4);
    }
}

/* Attention, a router, and stacks of E experts, of which the down projections are narrower. */
static struct buf dat(void)
{
    struct buf b = {0};
    mk_le(&b, 4, 4);
    entry(&b, "blk.0.ffn_down_exps.weight", SEEN, 3, E * 2);
    entry(&b, "blk.0.attn_q.weight", SEEN, 0, N);
    entry(&b, "blk.0.ffn_gate_exps.weight", SEEN, 2, E * N);
    entry(&b, "blk.0.ffn_gate_inp.weight", SEEN, 1, N);
    mk_le(&b, 99, 4); /* what newer ones have behind: the last chunk and a name */
    mk_le(&b, 4, 4);
    mk_puts(&b, "text");
    return b;
}

/* The same; expert 1 of the down projections was never hit. */
static struct buf gguf(float seen)
{
    static const struct {
        const char *name;
        uint64_t n, experts;
        int w;
    } t[] = {{"blk.0.ffn_down_exps.weight", 2, E, 3}, {"blk.0.attn_q.weight", N, 1, 0}, {"blk.0.ffn_gate_exps.weight", N, E, 2}, {"blk.0.ffn_gate_inp.weight", N, 1, 1}};
    struct buf b = gg_head(3, 8, 1), data = {0};
    char name[64];
    gg_key(&b, "general.type", 8);
    gg_str(&b, "imatrix");
    for (size_t i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s.in_sum2", t[i].name);
        gg_tensor(&b, name, 2, (const uint64_t[]){t[i].n, t[i].experts}, 0, data.n);
        for (int c = 0; c < (int)(t[i].n * t[i].experts); c++) {
            const float x = value(t[i].w, c);
            mk_put(&data, &x, 4);
        }
        gg_pad(&data, 32);
        snprintf(name, sizeof name, "%s.counts", t[i].name);
        gg_tensor(&b, name, 2, (const uint64_t[]){1, t[i].experts}, 0, data.n);
        for (uint64_t k = 0; k < t[i].experts; k++) {
            const float x = i == 0 && k == 1 ? 0 : seen;
            mk_put(&data, &x, 4);
        }
        gg_pad(&data, 32);
    }
    gg_pad(&b, 32);
    mk_put(&b, data.s, data.n);
    buf_free(&data);
    return b;
}

static int import(struct imatrix *x, const struct buf *image, char **out, struct err *e)
{
    char *path = mk_path(dir, "m.imatrix");
    *e = (struct err){0};
    *out = mk_path(dir, "s.safetensors");
    mk_write(path, image->s, image->n);
    const int r = imatrix_import(x, path, *out, NULL, 0, (struct sink_options){.force = true}, e);
    free(path);
    return r;
}

static void expect(const struct stats *s, const char *linear, int w, int first, uint64_t n)
{
    double d[N];
    struct err e = {0};
    const struct stats_point *p = stats_find(s, linear);
    cr_assert(p, "%s", linear);
    cr_assert(p->width == n && p->tokens[STATS_FIT] == SEEN && !p->tokens[STATS_HOLDOUT]);
    cr_assert_eq(stats_diagonal(s, p, STATS_FIT, d, &e), 0, "%s", e.msg);
    for (uint64_t c = 0; c < n; c++)
        cr_assert_eq(d[c], (double)value(w, first + (int)c), "%s, channel %d", linear, (int)c);
    cr_assert_eq(stats_gram(s, p, STATS_FIT, d, &e), -1);
}

Test(imatrix, both_forms)
{
    for (int form = 0; form < 2; form++) {
        struct buf image = form ? gguf(SEEN) : dat();
        struct imatrix x;
        struct err e;
        struct stats s;
        char *out;
        cr_assert_eq(import(&x, &image, &out, &e), 0, "%s", e.msg);
        cr_assert(x.points == (form ? 7u : 8u) && x.unseen == (size_t)form);
        cr_assert_eq(stats_open(&s, out, &e), 0, "%s", e.msg);
        expect(&s, "model.layers.0.self_attn.q_proj.weight", 0, 0, N);
        expect(&s, "model.layers.0.mlp.gate", 1, 0, N);
        expect(&s, "model.layers.0.mlp.experts.1.gate_proj", 2, N, N);
        expect(&s, "model.layers.0.block_sparse_moe.experts.2.w1.weight", 2, 2 * N, N);
        expect(&s, "model.layers.0.mlp.experts.2.down_proj.weight", 3, 4, 2);
        cr_assert(!form == (stats_find(&s, "model.layers.0.mlp.experts.1.down_proj") != NULL));
        cr_assert(!stats_find(&s, "model.layers.1.self_attn.q_proj") && !stats_find(&s, "model.layers.0.mlp.experts.3.gate_proj"));
        stats_close(&s);
        /* Twice the same text: twice the sums. */
        char *sum = mk_path(dir, "sum.safetensors");
        cr_assert_eq(stats_merge((const char *const[]){out, out}, 2, sum, (struct sink_options){0}, &e), 0, "%s", e.msg);
        cr_assert_eq(stats_open(&s, sum, &e), 0, "%s", e.msg);
        const struct stats_point *p = stats_find(&s, "model.layers.0.self_attn.q_proj");
        double d[N];
        cr_assert(p && p->tokens[0] == 2 * SEEN && !stats_diagonal(&s, p, 0, d, &e) && d[3] == 2 * (double)value(0, 3));
        stats_close(&s);
        cr_assert_eq(remove(sum), 0);
        buf_free(&image);
        free(sum);
        free(out);
    }
}

Test(imatrix, what_is_refused)
{
    struct imatrix x;
    struct err e;
    char *out;
    /* Cut anywhere before the last value. */
    struct buf image = dat();
    const size_t values = image.n - 12;
    for (size_t n = 0; n < values; n++) {
        const struct buf cut = {.s = image.s, .n = n};
        cr_assert_eq(import(&x, &cut, &out, &e), -1, "%zu bytes", n);
        cr_assert(e.kind == ERR_INPUT && strstr(e.msg, "m.imatrix"), "%s", e.msg);
        free(out);
    }
    const float odd[] = {NAN, INFINITY, -1};
    for (size_t i = 0; i < 3; i++) {
        memcpy(image.s + values - 4, &odd[i], 4);
        cr_assert_eq(import(&x, &image, &out, &e), -1);
        cr_assert(e.kind == ERR_INPUT && strstr(e.msg, "'blk.0.ffn_gate_inp': value 3"), "%s", e.msg);
        free(out);
    }
    buf_free(&image);
    /* A stack without a router, an entry that is there twice, a count that is none. */
    struct buf b = {0};
    mk_le(&b, 1, 4);
    entry(&b, "blk.0.ffn_gate_exps.weight", 1, 0, 8);
    cr_assert_eq(import(&x, &b, &out, &e), -1);
    cr_assert(strstr(e.msg, "stack of experts"), "%s", e.msg);
    free(out);
    b.n = 0;
    mk_le(&b, 2, 4);
    entry(&b, "a", 1, 0, 8);
    entry(&b, "a.weight", 1, 0, 8);
    cr_assert_eq(import(&x, &b, &out, &e), -1);
    cr_assert(strstr(e.msg, "'a' is there twice"), "%s", e.msg);
    free(out);
    buf_free(&b);
    b = (struct buf){0};
    mk_le(&b, 1, 4);
    entry(&b, "blk.\xff.weight", 1, 0, 8);
    cr_assert_eq(import(&x, &b, &out, &e), -1);
    cr_assert(e.kind == ERR_INPUT && strstr(e.msg, "UTF-8") && strstr(e.msg, "m.imatrix"), "%s", e.msg);
    free(out);
    buf_free(&b);
    b = gguf(NAN);
    cr_assert_eq(import(&x, &b, &out, &e), -1);
    cr_assert(strstr(e.msg, "counted nan times"), "%s", e.msg);
    free(out);
    buf_free(&b);
    cr_assert_eq(mk_files_in(dir), 1); /* nothing but the input */
}

Test(imatrix, loud_channels)
{
    enum { WIDE = 400 };
    struct buf b = {0};
    struct imatrix x;
    struct err e;
    struct stats s;
    struct stats_loud loud;
    char *out;
    mk_le(&b, 1, 4);
    entry(&b, "blk.0.ffn_down.weight", 1, 0, WIDE);
    for (int c = 0; c < WIDE; c++) {
        const float v = c == 77 ? 601 : c == 5 ? 399 - 397 : 0.5f; /* in all 1000 + a little */
        memcpy(b.s + b.n - 4 * WIDE + 4 * c, &v, 4);
    }
    cr_assert_eq(import(&x, &b, &out, &e), 0, "%s", e.msg);
    cr_assert_eq(stats_open(&s, out, &e), 0);
    cr_assert_eq(stats_loud(&s, &s.point[0], 100, &loud, &e), 0);
    cr_assert(loud.n == 1 && loud.channel == 77);
    cr_assert_float_eq(loud.ratio, 601.0 / ((601 + 2 + 398 * 0.5) / WIDE), 1e-9);
    stats_close(&s);
    buf_free(&b);
    free(out);
}

/* A file of an LLM (shared/data/imatrix): every entry, and its massive activations. */
Test(imatrix, real)
{
    char *path = mk_data("imatrix/qwen2.5-3b-shape-36x2048.imatrix.dat"), *out = mk_path(dir, "s.safetensors");
    struct imatrix x;
    struct err e = {0};
    struct stats s;
    struct stats_loud loud;
    if (path) {
        cr_assert_eq(imatrix_import(&x, path, out, NULL, 0, (struct sink_options){0}, &e), 0, "%s", e.msg);
        cr_assert(x.points == 252 && !x.unseen);
        cr_assert_eq(stats_open(&s, out, &e), 0, "%s", e.msg);
        const struct stats_point *p = stats_find(&s, "model.layers.2.mlp.down_proj.weight");
        cr_assert(p && p->width == 11008 && p->tokens[0] == 318);
        cr_assert_eq(stats_loud(&s, p, 100, &loud, &e), 0);
        cr_assert(loud.channel == 3189 && loud.ratio > 10990 && loud.ratio < 10995, "%g", loud.ratio);
        stats_close(&s);
    }
    free(path);
    free(out);
}

Test(imatrix, names)
{
    static const char *const pairs[][2] = {
        {"model.layers.12.self_attn.o_proj", "blk.12.attn_output"}, {"model.layers.3.mlp.experts.17.up_proj", "blk.3.ffn_up_exps.17"},
        {"lm_head", "output"}, {"model.layers.1.self_attn.kv_a_proj_with_mqa", "blk.1.attn_kv_a_mqa"}, {"model.layers.1.self_attn.none", NULL}};
    char out[64];
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        cr_assert_eq(names_in_gguf(pairs[i][0], out, sizeof out), pairs[i][1] != NULL, "%s", pairs[i][0]);
        if (pairs[i][1])
            cr_assert_str_eq(out, pairs[i][1]);
    }
    for (size_t n = 0; n <= strlen(pairs[1][1]); n++)
        cr_assert(!names_in_gguf(pairs[1][0], out, n));
}
