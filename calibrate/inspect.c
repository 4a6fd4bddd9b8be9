#include "calibrate/inspect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *rounding_name(enum round_mode r)
{
    static const char *const name[ROUNDINGS] = {"to nearest, ties to even", "to nearest, ties away from zero", "to nearest, ties towards zero",
                                                "towards zero"};
    return name[r];
}

/* ---- codes in the order of their values ----------------------------------------------------- */
static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void rank_codes(struct inspector *i, const float *value)
{
    const unsigned codes = i->num->bits < 8 ? 1u << i->num->bits : 256;
    double all[256];
    unsigned n = 0;
    for (unsigned c = 0; c < codes; c++)
        if (isfinite(value[c]))
            all[n++] = (double)value[c];
    qsort(all, n, sizeof *all, by_value);
    for (unsigned k = 0; k < n; k++)
        if (!k || all[k] > all[k - 1])
            i->value[i->ranks++] = all[k];
    for (unsigned c = 0; c < 256; c++) {
        const double x = (double)value[c];
        const double *at = isfinite(x) ? bsearch(&x, i->value, i->ranks, sizeof *i->value, by_value) : NULL;
        if (c < codes && !at)
            i->nan[i->nans++] = (uint8_t)c;
        i->rank[c] = at ? (uint16_t)(at - i->value) : INSPECT_NO_RANK;
    }
}

/* Magnitudes of codes in their order: 0 is that of 0, and of NaN and Inf. */
static void size_codes(struct inspector *i, const float *value)
{
    double all[256];
    unsigned n = 0;
    for (unsigned k = 0; k < i->ranks; k++)
        all[n++] = fabs(i->value[k]);
    qsort(all, n, sizeof *all, by_value);
    unsigned sizes = 0;
    for (unsigned k = 0; k < n; k++)
        if (!k || all[k] > all[sizes - 1])
            all[sizes++] = all[k];
    for (unsigned c = 0; c < 256; c++) {
        const double x = fabs((double)value[c]), *at = isfinite(x) ? bsearch(&x, all, sizes, sizeof *all, by_value) : NULL;
        i->size[c] = at ? (uint8_t)(at - all) : 0;
        if (at && x <= (double)i->num->max && i->size[c] > i->sizes)
            i->sizes = i->size[c];
    }
    for (unsigned k = 0; k < sizes; k++)
        i->size_value[k] = (float)all[k];
}

int inspect_open(struct inspector *i, struct inspection *to, const struct values *v, bool compared, struct err *e)
{
    const struct group *g = v->group;
    const struct matrix m = view_matrix(v->view);
    *i = (struct inspector){.num = num_find(v->view->elem)};
    if (i->num == &num_int8 || i->num == &num_int4) /* -128, which some make */
        i->num = i->num == &num_int8 ? &num_int8_full : &num_int4_full;
    if (!g || !i->num || i->num->bits > 8 || g->of[PART_POINT] != NO_TENSOR || g->of[PART_ORDER] != NO_TENSOR)
        return 0;
    i->block_rows = g->scheme->block_rows ? g->scheme->block_rows : m.rows;
    i->block_cols = g->scheme->block_cols ? g->scheme->block_cols : m.cols;
    uint64_t elems;
    if (!mul_u64(min_u64(i->block_rows, m.rows), min_u64(i->block_cols, m.cols), &elems) || elems > UINT32_MAX)
        return 0; /* struct block_seen counts in 32 bits */
    rank_codes(i, v->code);
    size_codes(i, v->code);
    i->batches = m.batch;
    scheme_scale_shape(g->scheme, m.rows, m.cols, &i->brows, &i->bcols);
    uint64_t n;
    if (!mul_u64(i->brows, i->bcols, &n) || !mul_u64(n, m.batch, &n))
        return 0;
    if (!(i->block = mem_alloc(n, sizeof *i->block, e)))
        return -1;
    pthread_mutex_init(&i->lock, NULL);
    *to = (struct inspection){.compared = compared, .roundings = (1u << ROUNDINGS) - 1, .first_nan = NO_PLACE, .first_full = NO_PLACE,
                              .first_low = NO_PLACE, .first_bad = NO_PLACE, .first_moved = NO_PLACE, .first_off = NO_PLACE, .first_lost = NO_PLACE,
                              .most = SIZE_MAX};
    i->to = to;
    return 0;
}

void inspect_free(struct inspector *i)
{
    if (i->to)
        pthread_mutex_destroy(&i->lock);
    free(i->block);
    i->block = NULL;
    i->to = NULL;
}

/* ---- boxes ------------------------------------------------------------------------------------- */
static bool before(const struct place *a, const struct place *b)
{
    return a->batch != b->batch ? a->batch < b->batch : a->row != b->row ? a->row < b->row : a->col < b->col;
}

static void earlier(struct place *to, const struct place *p)
{
    if (before(p, to))
        *to = *p;
}

static uint64_t counted(const struct inspect_part *p, unsigned code)
{
    uint64_t n = 0;
    for (unsigned k = 0; k < INSPECT_LANES; k++)
        n += p->count[k][code];
    return n;
}

void inspect_begin(struct inspect_part *p, struct inspector *i, const struct box *b, void *memory)
{
    *p = (struct inspect_part){.first_nan = NO_PLACE, .first_moved = NO_PLACE, .brow = UINT64_MAX};
    pthread_mutex_lock(&i->lock);
    p->roundings = i->to->roundings; /* what other boxes have ruled out already need not be judged here */
    pthread_mutex_unlock(&i->lock);
    p->seen = memory;
    p->z = (float *)(void *)(p->seen + ceil_div(b->cols, i->block_cols) + 1);
    p->nearest = (uint8_t *)(p->z + b->cols);
}

/* A row of blocks of a box, or a part of it, is complete. */
static void flush(struct inspector *i, struct inspect_part *p, const struct box *b)
{
    const uint64_t first = (b->batch * i->brows + p->brow) * i->bcols + b->col / i->block_cols, n = ceil_div(b->cols, i->block_cols);
    if (p->brow == UINT64_MAX)
        return;
    pthread_mutex_lock(&i->lock);
    for (uint64_t k = 0; k < n; k++) {
        struct block_seen *to = &i->block[first + k];
        to->amax = p->seen[k].amax > to->amax ? p->seen[k].amax : to->amax;
        to->top = p->seen[k].top > to->top ? p->seen[k].top : to->top;
        to->largest += p->seen[k].largest;
        to->n += p->seen[k].n;
    }
    pthread_mutex_unlock(&i->lock);
}

void inspect_end(struct inspector *i, struct inspect_part *p, const struct box *b)
{
    struct inspection *to = i->to;
    flush(i, p, b);
    pthread_mutex_lock(&i->lock);
    for (int c = 0; c < 256; c++)
        i->count[c] += counted(p, c);
    for (int k = 0; k < INSPECT_STEPS; k++)
        to->steps[k] += p->steps[k];
    to->other_f32 += p->other_f32;
    to->other_bf16 += p->other_bf16;
    to->doubled += p->doubled;
    to->over_nan += p->over_nan;
    to->roundings &= p->roundings;
    earlier(&to->first_nan, &p->first_nan);
    earlier(&to->first_moved, &p->first_moved);
    pthread_mutex_unlock(&i->lock);
}

/* What of the roundings would have given this code for z: clears the bits of the others. nearest is the rank with ties to even. */
static void judge(const struct inspector *i, uint32_t *roundings, double z, unsigned nearest, unsigned rank)
{
    const double v = i->value[nearest];
    unsigned low = nearest, high = nearest; /* in magnitude */
    if (v != z) {
        const int away = z > 0 ? 1 : -1;
        if (fabs(v) > fabs(z))
            low = (unsigned)((int)nearest - away);
        else
            high = (int)nearest + away < 0 || (int)nearest + away >= (int)i->ranks ? nearest : (unsigned)((int)nearest + away);
    }
    const bool tie = low != high && i->value[low] + i->value[high] == 2 * z;
    const unsigned want[ROUNDINGS] = {nearest, tie ? high : nearest, tie ? low : nearest, low};
    for (int k = 0; k < ROUNDINGS; k++)
        if (want[k] != rank)
            *roundings &= ~(1u << k);
}

static void compare(const struct inspector *i, struct inspect_part *p, const struct box *b, uint64_t r, uint64_t from, uint64_t to,
                    const uint8_t *code, const float *x, float scale)
{
    const double most = i->value[i->ranks - 1], least = i->value[0];
    for (uint64_t c = from; c < to; c++)
        p->z[c] = x[c] / scale;
    num_encode_row(i->num, p->z + from, p->nearest + from, to - from, OVERFLOW_SATURATE);
    uint64_t equal = 0;
    if (!(p->roundings & ~(1u << ROUND_EVEN))) { /* only codes that differ are looked at */
        for (uint64_t c = from; c < to; c++)
            equal += (p->nearest[c] == code[c]) & (p->z[c] == p->z[c]);
        p->steps[0] += equal;
        if (equal == to - from)
            return;
    }
    const bool all = p->roundings & ~(1u << ROUND_EVEN);
    for (uint64_t c = from; c < to; c++) {
        if (!all && p->nearest[c] == code[c])
            continue;
        const unsigned want = i->rank[p->nearest[c]], have = i->rank[code[c]];
        const bool over = (double)p->z[c] > most || (double)p->z[c] < least;
        if (want == INSPECT_NO_RANK || isnan(p->z[c]))
            continue;
        p->over_nan += over && have == INSPECT_NO_RANK;
        if (have == INSPECT_NO_RANK)
            continue;
        const unsigned step = want > have ? want - have : have - want;
        p->steps[step < INSPECT_STEPS ? step : INSPECT_STEPS - 1]++;
        p->doubled += step == 1u << i->num->mbits && fabs(i->value[have]) > fabs(i->value[want]);
        if (step == 1 && !over) {
            const double middle = (i->value[have] + i->value[want]) / 2, off = fabs((double)p->z[c] - middle), z = fabs(middle);
            p->other_f32 += off <= z * 0x1p-21;
            p->other_bf16 += have == i->rank[i->num->encode(bf16_decode(bf16_encode(p->z[c])), OVERFLOW_SATURATE) & 255];
        }
        if (step)
            earlier(&p->first_moved, &(struct place){b->batch, r, b->col + c});
        if (!over)
            judge(i, &p->roundings, (double)p->z[c], want, have);
    }
}

static void see_codes(const struct inspector *i, struct inspect_part *p, struct block_seen *seen, const uint8_t *code, uint64_t from, uint64_t to)
{
    const uint8_t most = i->sizes;
    uint8_t tops[INSPECT_LANES] = {0}, top = 0;
    uint64_t c = from;
    for (; to - c >= INSPECT_LANES; c += INSPECT_LANES)
        for (unsigned k = 0; k < INSPECT_LANES; k++) {
            const uint8_t size = i->size[code[c + k]];
            p->count[k][code[c + k]]++;
            tops[k] = size > tops[k] ? size : tops[k];
        }
    for (; c < to; c++) {
        p->count[0][code[c]]++;
        tops[0] = i->size[code[c]] > tops[0] ? i->size[code[c]] : tops[0];
    }
    for (unsigned k = 0; k < INSPECT_LANES; k++)
        top = tops[k] > top ? tops[k] : top;
    seen->top = top > seen->top ? top : seen->top;
    for (c = from; top == most && c < to; c++)
        seen->largest += i->size[code[c]] == most;
    seen->n += (uint32_t)(to - from);
}

void inspect_row(struct inspector *i, struct inspect_part *p, const struct values *v, const struct box *b, uint64_t r, const uint8_t *code,
                 const float *x)
{
    const uint64_t brow = r / i->block_rows, first = b->col / i->block_cols, blocks = ceil_div(b->cols, i->block_cols);
    if (brow != p->brow) {
        flush(i, p, b);
        memset(p->seen, 0, blocks * sizeof *p->seen);
        p->brow = brow;
    }
    for (uint64_t k = 0; k < blocks; k++) {
        const uint64_t from = k * i->block_cols, to = min_u64(from + i->block_cols, b->cols);
        struct block_seen *seen = &p->seen[k];
        see_codes(i, p, seen, code, from, to);
        if (!x)
            continue;
        uint32_t amax = seen->amax;
        for (uint64_t c = from; c < to; c++) {
            const uint32_t bits = f32_bits(x[c]) & 0x7fffffff;
            amax = bits > amax ? bits : amax;
        }
        seen->amax = amax;
        const float scale = values_scale_used(v, b->batch, (b->batch * i->brows + brow) * i->bcols + first + k);
        if (scale > 0 && isfinite(scale))
            compare(i, p, b, r, from, to, code, x, scale);
    }
    uint64_t nan = 0;
    for (unsigned k = 0; k < i->nans; k++)
        nan += counted(p, i->nan[k]);
    for (uint64_t c = 0; nan && !place_is(&p->first_nan) && c < b->cols; c++)
        if (i->rank[code[c]] == INSPECT_NO_RANK)
            p->first_nan = (struct place){b->batch, r, b->col + c};
}
