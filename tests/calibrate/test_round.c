/* Output-aware rounding: against exhaustive search, on inputs that were not seen, and where it must not do anything. */
#include "calibrate/linalg.h"
#include "calibrate/round.h"
#include "formats/mem.h"
#include "quantizers/num.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;
static double uniform(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(state >> 11) + 0.5) / 9007199254740992.0;
}
static double normal(void) { return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform()); }

/* x [rows, n] = g M, M mixing channels so that the spectrum falls as k^-power. */
static float *mixing(size_t n, double power)
{
    float *m = malloc(n * n * sizeof *m);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            m[i * n + k] = (float)(normal() * pow((double)i + 1, -power / 2));
    return m;
}

/* The same for channels that follow three common causes: c of the energy of each is theirs. */
static float *common(size_t n, double c)
{
    float *m = calloc(n * n, sizeof *m);
    for (size_t k = 0; k < n; k++) {
        const double size = exp(0.5 * normal());
        for (size_t i = 0; i < 3; i++)
            m[i * n + k] = (float)(size * sqrt(c / 3) * normal());
        m[(k < 3 ? k + 3 : k) * n + k] += (float)(size * sqrt(1 - c));
    }
    return m;
}

static void gram(const float *m, size_t n, size_t rows, double *h)
{
    float *g = malloc(rows * n * sizeof *g), *x = malloc(rows * n * sizeof *x);
    for (size_t i = 0; i < rows * n; i++)
        g[i] = (float)normal();
    la_sgemm(false, false, rows, n, n, 1, g, n, m, n, 0, x, n);
    memset(h, 0, n * n * sizeof *h);
    la_gram(2, rows, n, x, n, h);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            h[i * n + k] = h[k * n + i];
    free(g);
    free(x);
}

/* One scale: the power of two with which the largest weight is within the format. */
static float scale_for(const float *w, size_t n, const struct grid *g)
{
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(w[i]));
    return exp2f(ceilf(log2f(most / (float)g->value[g->n - 1])));
}

static void nearest_codes(const struct grid *g, const float *w, size_t n, float scale, uint8_t *code)
{
    for (size_t i = 0; i < n; i++) {
        size_t best = 0;
        for (size_t k = 1; k < g->n; k++)
            if (fabs(g->value[k] * (double)scale - (double)w[i]) < fabs(g->value[best] * (double)scale - (double)w[i]))
                best = k;
        code[i] = g->code[best];
    }
}

static double error_of(const struct grid *g, const float *w, const uint8_t *code, float scale, size_t rows, size_t n, const double *h)
{
    double sum = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < n; k++)
                sum += ((double)w[r * n + i] - g->of[code[r * n + i]] * (double)scale) * h[i * n + k]
                     * ((double)w[r * n + k] - g->of[code[r * n + k]] * (double)scale);
    return sum;
}

Test(round, cholesky_is_a_factor)
{
    enum { N = 300 };
    static double a[N * N], r[N * N];
    state = 3;
    float *m = mixing(N, 1);
    gram(m, N, 3 * N, a);
    for (unsigned threads = 1; threads < 4; threads += 2) {
        memcpy(r, a, sizeof a);
        cr_assert_eq(cholesky(threads, N, r), N);
        for (size_t i = 0; i < N; i += 7)
            for (size_t k = i; k < N; k += 5) {
                double sum = 0;
                for (size_t p = 0; p <= i; p++)
                    sum += r[p * N + i] * r[p * N + k];
                cr_assert_float_eq(sum, a[i * N + k], 1e-9 * fabs(a[0]));
            }
    }
    a[200 * N + 200] = -1;
    memcpy(r, a, sizeof a);
    cr_assert_eq(cholesky(2, N, r), 200);
    free(m);
}

Test(round, grids_have_every_value_once)
{
    static const struct {
        const char *name;
        size_t n;
        double most;
    } want[] = {{"e4m3", 253, 448}, {"e5m2", 247, 57344}, {"e2m1", 15, 6}, {"int8", 255, 127}, {"int4", 15, 7}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct grid g;
        const struct num *num = num_named(want[i].name);
        cr_assert(num, "%s", want[i].name);
        grid_init(&g, num, true);
        cr_assert_eq(g.n, want[i].n, "%s has %zu", want[i].name, g.n);
        cr_assert_eq(g.value[g.n - 1], want[i].most);
        for (size_t k = 1; k < g.n; k++)
            cr_assert_lt(g.value[k - 1], g.value[k]);
        for (size_t k = 0; k < g.n; k++)
            cr_assert_eq(g.of[g.code[k]], g.value[k]);
    }
}

/* ---- the best there is -------------------------------------------------------------------- */
enum { FEW = 10 };
struct search {
    const struct grid *g;
    double r[FEW * FEW], w[FEW], scale, best;
    double d[FEW];
    bool four;                       /* only the four nearest codes of each weight */
};

/* Every code of every weight, the last weight first, the codes nearest to what is best given the later ones first: a branch is left
 * when it is worse than the best so far, so that nothing is missed. */
static void search(struct search *s, int i, double so_far)
{
    if (i < 0) {
        s->best = so_far;
        return;
    }
    double behind = 0;
    for (int p = i + 1; p < FEW; p++)
        behind += s->r[i * FEW + p] * s->d[p];
    const double rii = s->r[i * FEW + i], want = s->w[i] + behind / rii;
    size_t up = 0;
    while (up < s->g->n && s->g->value[up] * s->scale < want)
        up++;
    size_t first = 0, last = s->g->n; /* codes [first, last) */
    if (s->four) {
        while (first + 2 < s->g->n && s->g->value[first + 2] * s->scale <= s->w[i])
            first++;
        last = min_u64(first + 4, s->g->n);
        up = up < first ? first : up > last ? last : up;
    }
    for (size_t down = up; down > first || up < last;) {
        const double above = up < last ? s->g->value[up] * s->scale - want : INFINITY;
        const double below = down > first ? want - s->g->value[down - 1] * s->scale : INFINITY;
        const double q = above < below ? s->g->value[up++] * s->scale : s->g->value[--down] * s->scale;
        const double sum = so_far + rii * rii * (want - q) * (want - q);
        if (sum >= s->best)
            return;
        s->d[i] = s->w[i] - q;
        search(s, i - 1, sum);
    }
}

Test(round, is_near_the_exhaustive_optimum)
{
    enum { ROWS = 12, SETS = 3 };
    struct grid g;
    grid_init(&g, num_named("e4m3"), true);
    state = 11;
    for (int set = 0; set < SETS; set++) {
        double h[FEW * FEW], best[2] = {0};
        float *m = common(FEW, 0.2 + 0.1 * set), w[ROWS * FEW];
        gram(m, FEW, 4000, h);
        for (size_t i = 0; i < ROWS * FEW; i++)
            w[i] = (float)(0.02 * normal());
        const float scale = scale_for(w, ROWS * FEW, &g);
        uint8_t code[ROWS * FEW], first[ROWS * FEW];
        nearest_codes(&g, w, ROWS * FEW, scale, code);
        memcpy(first, code, sizeof code);
        struct round_job j = {&g, ROWS, FEW, w, &scale, ROWS, FEW, code, h, h, 1, 1e-9, 4};
        struct round_result res;
        struct err e = {0};
        cr_assert_eq(round_layer(&j, &res, &e), 0, "%s", e.msg);
        cr_assert(res.kept);
        struct search s = {.g = &g, .scale = (double)scale};
        memcpy(s.r, h, sizeof h);
        cr_assert_eq(cholesky(1, FEW, s.r), FEW);
        for (size_t r = 0; r < ROWS; r++) {
            for (size_t i = 0; i < FEW; i++)
                s.w[i] = (double)w[r * FEW + i];
            for (int four = 0; four < 2; four++) {
                s.four = four;
                s.best = INFINITY;
                search(&s, FEW - 1, 0);
                best[four] += s.best;
            }
        }
        const double ours = error_of(&g, w, code, scale, ROWS, FEW, h), near = error_of(&g, w, first, scale, ROWS, FEW, h);
        fprintf(stderr, "round: set %d: nearest %.2f dB above the best of the four nearest codes, ours %.2f dB (of all codes: %.2f, %.2f)\n", set,
                10 * log10(near / best[1]), 10 * log10(ours / best[1]), 10 * log10(near / best[0]), 10 * log10(ours / best[0]));
        cr_assert_leq(10 * log10(ours / best[1]), 0.35);
        cr_assert_leq(best[0], ours * (1 + 1e-9));
        cr_assert_gt(near, ours);
        free(m);
    }
}

/* ---- what was not seen ---------------------------------------------------------------------- */
struct layer {
    size_t rows, n;
    float *w, scale;
    uint8_t *near, *code;
    double *h, *hold, *report;
};

static struct layer make_layer(const struct grid *g, size_t rows, size_t n, double power, size_t tokens)
{
    struct layer l = {rows, n, malloc(rows * n * sizeof *l.w), 0, malloc(rows * n), malloc(rows * n), malloc(n * n * sizeof *l.h),
                      malloc(n * n * sizeof *l.h), malloc(n * n * sizeof *l.h)};
    float *m = mixing(n, power);
    for (size_t i = 0; i < rows * n; i++)
        l.w[i] = (float)(0.02 * normal());
    gram(m, n, tokens, l.h);
    gram(m, n, tokens / 4 + 1, l.hold);
    gram(m, n, 8 * n, l.report);
    l.scale = scale_for(l.w, rows * n, g);
    nearest_codes(g, l.w, rows * n, l.scale, l.near);
    memcpy(l.code, l.near, rows * n);
    free(m);
    return l;
}

static void free_layer(struct layer *l)
{
    free(l->w);
    free(l->near);
    free(l->code);
    free(l->h);
    free(l->hold);
    free(l->report);
}

static struct round_result solve(const struct grid *g, struct layer *l, unsigned threads, unsigned passes)
{
    struct round_job j = {g, l->rows, l->n, l->w, &l->scale, l->rows, l->n, l->code, l->h, l->hold, threads, 0, passes};
    struct round_result r;
    struct err e = {0};
    memcpy(l->code, l->near, l->rows * l->n);
    cr_assert_eq(round_layer(&j, &r, &e), 0, "%s", e.msg);
    return r;
}

/* dB of the report's error below that of the nearest codes. */
static double gain(const struct grid *g, const struct layer *l)
{
    return 10 * log10(error_of(g, l->w, l->near, l->scale, l->rows, l->n, l->report)
                      / error_of(g, l->w, l->code, l->scale, l->rows, l->n, l->report));
}

Test(round, gains_on_inputs_that_were_not_seen)
{
    static const char *const format[] = {"e4m3", "int8", "e2m1"};
    for (size_t i = 0; i < 3; i++) {
        struct grid g;
        grid_init(&g, num_named(format[i]), true);
        state = 21;
        struct layer l = make_layer(&g, 70, 160, 1, 8 * 160);
        struct round_result plane = solve(&g, &l, 1, 0);
        const double first = gain(&g, &l);
        struct round_result r = solve(&g, &l, 3, 2);
        const double both = gain(&g, &l);
        fprintf(stderr, "round: %s: nearest plane %.2f dB, with descent %.2f dB better than nearest, a = %g\n", format[i], first, both, r.shrink);
        cr_assert(plane.kept && r.kept && r.changed > 0);
        cr_assert_gt(both, 2.5);
        cr_assert_gt(both, first - 0.05);
        /* What it says of the text to choose by is so. */
        const double near = error_of(&g, l.w, l.near, l.scale, l.rows, l.n, l.hold), ours = error_of(&g, l.w, l.code, l.scale, l.rows, l.n, l.hold);
        cr_assert_float_eq(r.nearest / r.chosen, near / ours, 1e-6 * near / ours);
        uint64_t changed = 0;
        for (size_t k = 0; k < l.rows * l.n; k++)
            changed += g.of[l.code[k]] != g.of[l.near[k]];
        cr_assert_eq(changed, r.changed);
        /* Threads change nothing. */
        uint8_t *one = malloc(l.rows * l.n);
        memcpy(one, l.code, l.rows * l.n);
        solve(&g, &l, 1, 2);
        cr_assert_arr_eq(one, l.code, l.rows * l.n);
        free(one);
        free_layer(&l);
    }
}

/* White and diagonal moments say nothing about rounding: nothing changes. */
Test(round, does_nothing_where_there_is_nothing_to_gain)
{
    struct grid g;
    grid_init(&g, num_named("e4m3"), true);
    state = 31;
    struct layer l = make_layer(&g, 20, 96, 1, 400);
    for (int diagonal = 0; diagonal < 2; diagonal++) {
        for (size_t i = 0; i < l.n; i++)
            for (size_t k = 0; k < l.n; k++)
                l.h[i * l.n + k] = l.hold[i * l.n + k] = i != k ? 0 : diagonal ? (double)(i % 7) : 1;
        struct round_result r = solve(&g, &l, 2, 2);
        cr_assert(!r.kept);
        cr_assert_arr_eq(l.code, l.near, l.rows * l.n);
    }
    free_layer(&l);
}

/* Little is known: 64 tokens, white noise, one hot channel, no token at all. What is kept is better on the text to choose by. */
Test(round, the_gate_holds)
{
    struct grid g;
    grid_init(&g, num_named("e4m3"), true);
    state = 41;
    for (int kind = 0; kind < 4; kind++) {
        struct layer l = make_layer(&g, 40, 128, kind == 1 ? 0 : 1, kind == 0 ? 64 : 256);
        if (kind == 2)
            for (size_t i = 0; i < l.n; i++)
                for (int k = 0; k < 2; k++) {
                    double *h = k ? l.hold : l.h;
                    h[5 * l.n + i] *= 300;
                    h[i * l.n + 5] *= 300;
                }
        if (kind == 3)
            memset(l.h, 0, l.n * l.n * sizeof *l.h);
        struct round_result r = solve(&g, &l, 2, 2);
        const double near = error_of(&g, l.w, l.near, l.scale, l.rows, l.n, l.hold), ours = error_of(&g, l.w, l.code, l.scale, l.rows, l.n, l.hold);
        cr_assert(r.kept ? ours < near : ours == near, "kind %d", kind);
        cr_assert(r.kept || !memcmp(l.code, l.near, l.rows * l.n));
        if (kind == 3)
            cr_assert(!r.kept);
        free_layer(&l);
    }
}

Test(round, moments_of_nothing_are_refused)
{
    struct grid g;
    grid_init(&g, num_named("e4m3"), true);
    state = 51;
    struct layer l = make_layer(&g, 4, 16, 1, 64);
    struct round_job j = {&g, l.rows, l.n, l.w, &l.scale, l.rows, l.n, l.code, l.h, l.hold, 1, 0, 2};
    struct round_result r;
    struct err e = {0};
    const double was = l.h[3 * l.n + 3], bad[] = {NAN, -1, INFINITY};
    for (int i = 0; i < 3; i++) {
        l.h[3 * l.n + 3] = bad[i];
        cr_assert_eq(round_layer(&j, &r, &e), -1);
        cr_assert(e.kind == ERR_INPUT && strstr(e.msg, "second moment 3"), "%s", e.msg);
    }
    l.h[3 * l.n + 3] = was;
    l.h[2 * l.n + 3] = l.h[3 * l.n + 2] = 1e6 * was; /* far from positive */
    cr_assert_eq(round_layer(&j, &r, &e), -1);
    cr_assert(strstr(e.msg, "not positive"), "%s", e.msg);
    free_layer(&l);
}
