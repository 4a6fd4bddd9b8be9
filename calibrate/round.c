#include "calibrate/round.h"

#include "calibrate/each.h"
#include "calibrate/linalg.h"
#include "formats/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const double round_shrinks[6] = {0.05, 0.1, 0.2, 0.35, 0.5, 0.7};
enum { BAND = 64, BLOCK = 128, SAMPLE = 256 };

/* ---- grids --------------------------------------------------------------------------- */
void grid_init(struct grid *g, const struct num *num, bool symmetric)
{
    uint8_t all[256];
    float value[256];
    const size_t codes = (size_t)1 << num->bits;
    *g = (struct grid){0};
    for (size_t c = 0; c < 256; c++)
        all[c] = (uint8_t)c;
    num_decode_row(num, all, value, 256);
    float most = 0;
    for (size_t c = 0; c < codes; c++)
        most = isfinite(value[c]) && value[c] > most ? value[c] : most;
    for (size_t c = 0; c < codes; c++) {
        g->of[c] = isfinite(value[c]) ? (double)value[c] : 0;
        if (!isfinite(value[c]) || (symmetric && value[c] < -most))
            continue;
        if (value[c] == 0 && signbit(value[c])) {
            g->minus_zero = (uint8_t)c;
            continue;
        }
        size_t at = g->n++;
        for (; at && g->value[at - 1] > (double)value[c]; at--) {
            g->value[at] = g->value[at - 1];
            g->code[at] = g->code[at - 1];
        }
        g->value[at] = (double)value[c];
        g->code[at] = (uint8_t)c;
    }
    while (g->value[g->zero] != 0)
        g->zero++;
    bool has = false;
    for (size_t c = 0; c < codes; c++)
        has |= value[c] == 0 && signbit(value[c]);
    g->minus_zero = has ? g->minus_zero : g->code[g->zero];
}

/* The index of the value nearest to x / scale; of two the one nearer to zero. A block of scale 0 has nothing but zeros. */
static size_t nearest(const struct grid *g, double y, double scale)
{
    if (!(scale > 0))
        return g->zero;
    const double x = y / scale;
    size_t from = 0, to = g->n - 1;
    while (to - from > 1) {
        const size_t mid = (from + to) / 2;
        if (g->value[mid] <= x)
            from = mid;
        else
            to = mid;
    }
    const double down = x - g->value[from], up = g->value[to] - x;
    return down < up || (down == up && fabs(g->value[from]) <= fabs(g->value[to])) ? from : to;
}

/* ---- one band of rows ------------------------------------------------------------------ */
struct solver {
    const struct round_job *j;
    const double *r;                 /* factor of the shrunk and permuted H: process columns from the last one on; or NULL */
    const size_t *order;             /* permuted column i is column order[i] */
    double shrink;
    size_t step;                     /* rows of a sample are so far apart; 1: all */
    size_t rows;                     /* how many */
    double *energy;                  /* [bands][4]: hold nearest, hold chosen, fit nearest, fit chosen */
    uint64_t *changed;               /* per band */
    uint8_t *code;                   /* chosen, [rows, cols] of the sample; or NULL: not kept */
    bool failed;
};

static double scale_at(const struct round_job *j, size_t row, size_t col)
{
    const size_t across = ceil_div(j->cols, j->block_cols);
    return (double)j->scale[row / j->block_rows * across + col / j->block_cols];
}

/* e h e^T summed over rows; t has room for them. */
static double energy(size_t rows, size_t n, const double *e, const double *h, double *t)
{
    double sum = 0;
    la_dgemm(false, false, rows, n, n, 1, e, n, h, n, 0, t, n);
    for (size_t i = 0; i < rows * n; i++)
        sum += t[i] * e[i];
    return sum;
}

/* q[i] (permuted columns) of each row, the last column first; d becomes w - q. */
static void nearest_plane(const struct solver *s, size_t rows, const size_t *row_of, const double *w, double *d, double *t)
{
    const struct round_job *j = s->j;
    const size_t n = j->cols;
    for (size_t end = n; end;) {
        const size_t from = end > BLOCK ? end - BLOCK : 0, k = end - from;
        /* What the columns behind this block have left over: t = d[:, end..n] R[from..end, end..n]^T */
        la_dgemm(false, true, rows, k, n - end, 1, d + end, n, s->r + from * n + end, n, 0, t, k);
        if (end == n)
            memset(t, 0, rows * k * sizeof *t);
        for (size_t i = end; i-- > from;) {
            const double *r = s->r + i * n;
            const size_t col = s->order[i];
            for (size_t b = 0; b < rows; b++) {
                double sum = t[b * k + i - from];
                const double *db = d + b * n;
                for (size_t c = i + 1; c < end; c++)
                    sum += r[c] * db[c];
                const double scale = scale_at(j, row_of[b], col), want = w[b * n + i] + sum / r[i];
                d[b * n + i] = w[b * n + i] - j->grid->value[nearest(j->grid, want, scale)] * scale;
            }
        }
        end = from;
    }
}

/* One pass over all columns: each becomes the best given the others. g = H d of the shrunk H is kept up to date, a block's
 * changes reaching the others by one product. */
static void descend(const struct solver *s, const double *h, size_t rows, const size_t *row_of, const double *w, double *d, double *g,
                    double *change)
{
    const struct round_job *j = s->j;
    const size_t n = j->cols;
    for (size_t from = 0; from < n; from += BLOCK) {
        const size_t k = min_u64(BLOCK, n - from);
        memset(change, 0, rows * k * sizeof *change);
        for (size_t b = 0; b < rows; b++) {
            double *db = d + b * n, *gb = g + b * n;
            for (size_t i = from; i < from + k; i++) {
                const double hii = h[i * n + i];
                if (!(hii > 0))
                    continue;
                const double scale = scale_at(j, row_of[b], s->order[i]), q = w[b * n + i] - db[i];
                const double to = j->grid->value[nearest(j->grid, q + gb[i] / hii, scale)] * scale, x = q - to;
                /* 2 x g + x^2 h < 0: it gets better, and not by rounding of the sum alone */
                if (x == 0 || x * (2 * gb[i] + x * hii) >= -1e-12 * hii * x * x)
                    continue;
                db[i] = w[b * n + i] - to;
                change[b * k + i - from] += x;
                for (size_t c = from; c < from + k; c++)
                    gb[c] += x * h[i * n + c];
            }
        }
        /* the other columns */
        if (from)
            la_dgemm(false, false, rows, from, k, 1, change, k, h + from * n, n, 1, g, n);
        if (from + k < n)
            la_dgemm(false, false, rows, n - from - k, k, 1, change, k, h + from * n + from + k, n, 1, g + from + k, n);
    }
}

struct shared {
    struct solver *s;
    const double *hp;                /* the shrunk H, permuted, symmetric */
};

static void solve_band(void *ctx, size_t band)
{
    const struct shared *x = ctx;
    struct solver *s = x->s;
    const struct round_job *j = s->j;
    const size_t n = j->cols, first = band * BAND, rows = min_u64(BAND, s->rows - first);
    double *w = malloc((5 * n + BLOCK) * rows * sizeof *w);
    if (!w) {
        __atomic_store_n(&s->failed, true, __ATOMIC_RELAXED);
        return;
    }
    double *d = w + rows * n, *t = d + rows * n, *near = t + rows * n, *own = near + rows * n, *change = own + rows * n;
    size_t row_of[BAND];
    for (size_t b = 0; b < rows; b++) {
        row_of[b] = (first + b) * s->step;
        for (size_t i = 0; i < n; i++) {
            const size_t at = row_of[b] * n + s->order[i];
            w[b * n + i] = (double)j->w[at];
            near[b * n + s->order[i]] = (double)j->w[at] - j->grid->of[j->code[at]] * scale_at(j, row_of[b], s->order[i]);
        }
    }
    nearest_plane(s, rows, row_of, w, d, t);
    if (j->passes) {
        la_dgemm(false, false, rows, n, n, 1, d, n, x->hp, n, 0, t, n);
        for (unsigned k = 0; k < j->passes; k++)
            descend(s, x->hp, rows, row_of, w, d, t, change);
    }
    for (size_t b = 0; b < rows; b++)
        for (size_t i = 0; i < n; i++)
            own[b * n + s->order[i]] = d[b * n + i];
    double *sum = s->energy + 4 * band;
    sum[0] = energy(rows, n, near, j->hold, t);
    sum[1] = energy(rows, n, own, j->hold, t);
    if (s->step == 1) {
        sum[2] = energy(rows, n, near, j->h, t);
        sum[3] = energy(rows, n, own, j->h, t);
    }
    for (size_t b = 0; s->code && b < rows; b++)
        for (size_t c = 0; c < n; c++) {
            const size_t at = row_of[b] * n + c;
            const size_t k = nearest(j->grid, (double)j->w[at] - own[b * n + c], scale_at(j, row_of[b], c));
            s->code[at] = j->grid->value[k] == 0 && signbit(j->w[at]) ? j->grid->minus_zero : j->grid->code[k];
            s->changed[band] += j->grid->of[s->code[at]] != j->grid->of[j->code[at]];
        }
    free(w);
}

/* ---- a layer ----------------------------------------------------------------------------- */
struct columns {
    size_t *order;
    const double *h;
    size_t n;
};

static int by_diagonal(const void *a, const void *b, void *columns)
{
    const struct columns *c = columns;
    const size_t i = *(const size_t *)a, k = *(const size_t *)b;
    const double x = c->h[i * c->n + i], y = c->h[k * c->n + k];
    return x < y ? -1 : x > y ? 1 : i < k ? -1 : i > k;
}

struct spread {
    const struct round_job *j;
    const size_t *order;
    double a, floor, *hp, *r;
};

static void spread_row(void *ctx, size_t i)
{
    const struct spread *x = ctx;
    const size_t n = x->j->cols, row = x->order[i];
    const double *h = x->j->h + row * n;
    for (size_t k = 0; k < n; k++) {
        const size_t col = x->order[k];
        const double v = k == i ? h[row] + x->floor : (1 - x->a) * h[col];
        x->hp[i * n + k] = x->r[i * n + k] = v;
    }
}

/* Codes and energies with one shrinkage. Where H is not positive definite by a hair more is added to its diagonal. */
static int try_shrink(const struct round_job *j, struct solver *s, double a, double *hp, double *r, struct err *e)
{
    double more = 0, mean = 0;
    for (size_t i = 0; i < j->cols; i++)
        mean += j->h[i * j->cols + i] / (double)j->cols;
    for (int k = 0; k < 8; k++, more = more > 0 ? more * 10 : 1e-10) {
        struct spread x = {j, s->order, a, ROUND_FLOOR * mean, hp, r};
        each(j->threads, j->cols, spread_row, &x);
        for (size_t i = 0; i < j->cols; i++)
            r[i * j->cols + i] += more * mean;
        if (cholesky(j->threads, j->cols, r) < j->cols)
            continue;
        s->r = r;
        s->shrink = a;
        struct shared both = {s, hp};
        each(j->threads, ceil_div(s->rows, BAND), solve_band, &both);
        return s->failed ? err_set(e, ERR_SYSTEM, "out of memory for rows of %zu columns", j->cols) : 0;
    }
    return err_set(e, ERR_INPUT, "second moments of %zu channels are not those of any inputs: their matrix is not positive", j->cols);
}

static double total(const struct solver *s, int which)
{
    double sum = 0;
    for (size_t i = 0; i < ceil_div(s->rows, BAND); i++)
        sum += s->energy[4 * i + (size_t)which];
    return sum;
}

/* Of all rows that are as far apart as a sample of them wants. */
static int choose_shrink(const struct round_job *j, struct solver *s, double *hp, double *r, double *best, struct err *e)
{
    double least = INFINITY;
    s->step = j->rows > SAMPLE ? j->rows / SAMPLE : 1;
    s->rows = min_u64(j->rows, SAMPLE);
    for (size_t i = 0; i < sizeof round_shrinks / sizeof *round_shrinks; i++) {
        if (try_shrink(j, s, round_shrinks[i], hp, r, e))
            return -1;
        if (total(s, 1) < least) {
            least = total(s, 1);
            *best = round_shrinks[i];
        }
    }
    return 0;
}

struct energies {
    const float *a, *b;
    const double *h;
    double *sum;
    size_t rows, n;
    bool failed;
};

static void energy_band(void *ctx, size_t band)
{
    struct energies *x = ctx;
    const size_t first = band * BAND, rows = min_u64(BAND, x->rows - first), n = x->n;
    double *d = malloc(2 * rows * n * sizeof *d);
    if (!d) {
        __atomic_store_n(&x->failed, true, __ATOMIC_RELAXED);
        return;
    }
    for (size_t i = 0; i < rows * n; i++)
        d[i] = (double)x->a[first * n + i] - (x->b ? (double)x->b[first * n + i] : 0);
    x->sum[band] = energy(rows, n, d, x->h, d + rows * n);
    free(d);
}

int round_energy(size_t rows, size_t cols, const float *a, const float *b, const double *h, unsigned threads, double *out, struct err *e)
{
    const size_t bands = ceil_div(rows, BAND);
    struct energies x = {a, b, h, mem_alloc(bands + 1, sizeof *x.sum, e), rows, cols, false};
    if (!x.sum)
        return -1;
    each(threads, bands, energy_band, &x);
    *out = 0;
    for (size_t i = 0; i < bands; i++)
        *out += x.sum[i];
    free(x.sum);
    return x.failed ? err_set(e, ERR_SYSTEM, "out of memory for rows of %zu columns", cols) : 0;
}

static int check_diagonals(const struct round_job *j, struct err *e)
{
    for (size_t i = 0; i < j->cols; i++) {
        const double a = j->h[i * j->cols + i], b = j->hold[i * j->cols + i];
        if (!(a >= 0) || !(b >= 0) || isinf(a) || isinf(b))
            return err_set(e, ERR_INPUT, "second moment %zu is %g to fit to and %g to choose by, which are no sums of squares", i, a, b);
    }
    return 0;
}

int round_layer(const struct round_job *j, struct round_result *out, struct err *e)
{
    const size_t n = j->cols, bands = ceil_div(j->rows, BAND);
    *out = (struct round_result){0};
    double most = 0;
    if (check_diagonals(j, e))
        return -1;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, j->h[i * n + i]);
    if (most == 0)
        return 0; /* nothing but zeros came in */
    struct solver s = {.j = j, .step = 1, .rows = j->rows};
    struct columns c = {mem_alloc(n + 1, sizeof *c.order, e), j->h, n};
    double *hp = mem_alloc(n, n * sizeof *hp, e), *r = hp ? mem_alloc(n, n * sizeof *r, e) : NULL, outputs[2];
    s.energy = r ? mem_alloc(bands + 1, 4 * sizeof *s.energy, e) : NULL;
    s.changed = s.energy ? mem_alloc(bands + 1, sizeof *s.changed, e) : NULL;
    uint8_t *code = s.changed ? mem_alloc(j->rows, n, e) : NULL;
    int bad = !c.order || !code ? -1 : 0;
    if (!bad) {
        for (size_t i = 0; i < n; i++)
            c.order[i] = i;
        qsort_r(c.order, n, sizeof *c.order, by_diagonal, &c);
        s.order = c.order;
        out->shrink = j->shrink;
        bad = !(j->shrink > 0) && choose_shrink(j, &s, hp, r, &out->shrink, e) ? -1 : 0;
    }
    if (!bad) {
        s.step = 1;
        s.rows = j->rows;
        s.code = code;
        bad = try_shrink(j, &s, out->shrink, hp, r, e) || round_energy(j->rows, n, j->w, NULL, j->hold, j->threads, &outputs[0], e)
           || round_energy(j->rows, n, j->w, NULL, j->h, j->threads, &outputs[1], e) ? -1 : 0;
    }
    if (!bad) {
        out->nearest = outputs[0] > 0 ? total(&s, 0) / outputs[0] : 0;
        out->chosen = outputs[0] > 0 ? total(&s, 1) / outputs[0] : 0;
        out->fit_nearest = outputs[1] > 0 ? total(&s, 2) / outputs[1] : 0;
        out->fit_chosen = outputs[1] > 0 ? total(&s, 3) / outputs[1] : 0;
        for (size_t i = 0; i < bands; i++)
            out->changed += s.changed[i];
        out->kept = out->chosen < out->nearest;
        if (out->kept)
            memcpy(j->code, code, j->rows * n);
    }
    free(code);
    free(s.changed);
    free(s.energy);
    free(r);
    free(hp);
    free(c.order);
    return bad;
}
