/* Cholesky, by panels: the rows of a panel are factored, the rest is updated by products. */
#include "calibrate/round.h"

#include "calibrate/each.h"
#include "calibrate/linalg.h"

#include <math.h>

enum { PANEL = 128, TILE = 512 };

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* The diagonal block of a panel: A = R^T R in place. */
static size_t factor_block(size_t k, size_t n, double *a)
{
    for (size_t i = 0; i < k; i++) {
        double *row = a + i * n;
        for (size_t p = 0; p < i; p++) {
            const double f = a[p * n + i];
            for (size_t c = i; c < k; c++)
                row[c] -= f * a[p * n + c];
        }
        if (!(row[i] > 0) || isinf(row[i]))
            return i;
        const double d = sqrt(row[i]);
        for (size_t c = i; c < k; c++)
            row[c] /= d;
    }
    return k;
}

struct update {
    size_t n, at, k, across;
    double *a;
};

/* Columns right of the block: R12 = R11^-T A12. */
static void solve_piece(void *ctx, size_t i)
{
    const struct update *u = ctx;
    const size_t from = u->at + u->k + i * TILE, cols = least(TILE, u->n - from);
    double *const a = u->a + u->at * u->n;
    for (size_t r = 0; r < u->k; r++) {
        double *row = a + r * u->n + from;
        for (size_t p = 0; p < r; p++) {
            const double f = a[p * u->n + u->at + r];
            const double *other = a + p * u->n + from;
            for (size_t c = 0; c < cols; c++)
                row[c] -= f * other[c];
        }
        const double d = a[r * u->n + u->at + r];
        for (size_t c = 0; c < cols; c++)
            row[c] /= d;
    }
}

/* A22 -= R12^T R12, a tile of the upper triangle. */
static void update_piece(void *ctx, size_t t)
{
    const struct update *u = ctx;
    size_t i = 0;
    for (; t >= u->across - i; i++)
        t -= u->across - i;
    const size_t first = u->at + u->k, r = first + i * TILE, c = first + (i + t) * TILE;
    const double *const p = u->a + u->at * u->n;
    la_dgemm(true, false, least(TILE, u->n - r), least(TILE, u->n - c), u->k, -1, p + r, u->n, p + c, u->n, 1, u->a + r * u->n + c, u->n);
}

size_t cholesky(unsigned threads, size_t n, double *a)
{
    for (size_t at = 0; at < n; at += PANEL) {
        struct update u = {n, at, least(PANEL, n - at), 0, a};
        const size_t done = factor_block(u.k, n, a + at * n + at);
        if (done < u.k)
            return at + done;
        u.across = (n - at - u.k + TILE - 1) / TILE;
        each(threads, u.across, solve_piece, &u);
        each(threads, u.across * (u.across + 1) / 2, update_piece, &u);
    }
    return n;
}
