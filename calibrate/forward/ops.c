#include "calibrate/forward/parts.h"

#include "calibrate/each.h"
#include "calibrate/linalg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void rms_norm(const float *x, size_t ldx, size_t rows, uint64_t n, const float *w, double eps, float *y, size_t ldy)
{
    for (size_t r = 0; r < rows; r++, x += ldx, y += ldy) {
        double sum = 0;
        for (uint64_t i = 0; i < n; i++)
            sum += (double)x[i] * (double)x[i];
        const float f = (float)(1 / sqrt(sum / (double)n + eps));
        for (uint64_t i = 0; i < n; i++)
            y[i] = x[i] * f * w[i];
    }
}

enum { PIECE = 1 << 14 };
struct silu {
    float *gate;
    const float *up;
    size_t n;
};

static void silu_piece(void *ctx, size_t i)
{
    const struct silu *s = ctx;
    for (size_t k = i * PIECE; k < s->n && k < (i + 1) * PIECE; k++)
        s->gate[k] = s->gate[k] / (1 + expf(-s->gate[k])) * s->up[k];
}

void silu_times(unsigned threads, float *gate, const float *up, size_t n)
{
    struct silu s = {gate, up, n};
    each(threads, (n + PIECE - 1) / PIECE, silu_piece, &s);
}

void add_bias(float *x, size_t rows, uint64_t n, const float *bias)
{
    for (size_t r = 0; bias && r < rows; r++, x += n)
        for (uint64_t i = 0; i < n; i++)
            x[i] += bias[i];
}

/* ---- attention ---------------------------------------------------------------------- */
enum { QUERIES = 256 };           /* of one head that are worked on together */
struct attending {
    const struct attend *a;
    size_t across;                /* pieces of a head */
    bool failed;
};

/* Scores of a row become weights: [from, to) take part. */
static void softmax_row(float *s, size_t from, size_t to, size_t end)
{
    float most = -INFINITY;
    double sum = 0;
    for (size_t i = from; i < to; i++)
        most = s[i] > most ? s[i] : most;
    for (size_t i = from; i < to; i++) {
        s[i] = expf(s[i] - most);
        sum += (double)s[i];
    }
    const float f = (float)(1 / sum);
    for (size_t i = from; i < to; i++)
        s[i] *= f;
    memset(s, 0, from * sizeof *s);
    memset(s + to, 0, (end - to) * sizeof *s);
}

static void attend_piece(void *ctx, size_t i)
{
    struct attending *x = ctx;
    const struct attend *a = x->a;
    const size_t h = i / x->across, r = i % x->across * QUERIES, n = min_u64(QUERIES, a->rows - r), end = r + n;
    const size_t kv = h / (a->heads / a->kv_heads);
    float *s = malloc(n * end * sizeof *s);
    if (!s) {
        __atomic_store_n(&x->failed, true, __ATOMIC_RELAXED);
        return;
    }
    la_sgemm(false, true, n, end, a->dq, (float)a->scale, a->q + r * a->ldq + h * a->dq, a->ldq, a->k + kv * a->dq, a->ldk, 0, s, end);
    for (size_t k = 0; k < n; k++) {
        const size_t to = r + k + 1;
        softmax_row(s + k * end, a->window && to > a->window ? to - a->window : 0, to, end);
    }
    la_sgemm(false, false, n, a->dv, end, 1, s, end, a->v + kv * a->dv, a->ldv, 0, a->out + r * a->ldo + h * a->dv, a->ldo);
    free(s);
}

int attend(unsigned threads, const struct attend *a, struct err *e)
{
    struct attending x = {a, ceil_div(a->rows, QUERIES), false};
    each(threads, x.across * a->heads, attend_piece, &x);
    return x.failed ? err_set(e, ERR_SYSTEM, "out of memory for attention over %zu tokens", a->rows) : 0;
}
