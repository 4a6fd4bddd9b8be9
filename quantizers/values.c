#include "quantizers/values.h"

#include "quantizers/blocks.h"

#include <math.h>
#include <string.h>

enum part side_part(enum side s)
{
    static const enum part part[SIDE_COUNT] = {PART_SCALE, PART_GLOBAL, PART_POINT, PART_ORDER};
    return part[s];
}

float scale_value(const uint8_t *p, enum dtype t, uint64_t i)
{
    uint16_t h;
    float f;
    switch (t) {
    case DT_F32: return memcpy(&f, p + 4 * i, 4), f;
    case DT_I64: return memcpy(&f, p + 8 * i, 4), f;
    case DT_BF16: return memcpy(&h, p + 2 * i, 2), bf16_decode(h);
    case DT_F16: return memcpy(&h, p + 2 * i, 2), f16_decode(h);
    case DT_F8_E4M3: return e4m3_decode(p[i]);
    default: return ue8m0_decode(p[i]);
    }
}

enum dtype scale_type(enum dtype t, const struct scheme *s)
{
    return t == DT_U8 && s->scale == DT_F8_E4M3 ? DT_F8_E4M3 : t;
}

/* A power of two for which every E4M3 code times it is a normal BF16 and FP32
 * number: 2^-9 * 2^-117 = 2^-126 and 448 * 2^118 < 2^127. */
static bool harmless(float scale)
{
    int code = ue8m0_exact(scale);
    return code >= 127 - 117 && code <= 127 + 118;
}

float round_to_odd(double x)
{
    float f = (float)x;
    if ((double)f == x || isnan(x))
        return f;
    uint32_t u = f32_bits(f);
    if (isinf(f) || fabs((double)f) > fabs(x))
        u--; /* towards zero */
    return f32_from(u | 1);
}

/* ---- codes --------------------------------------------------------------------- */
static unsigned bits_at(const uint8_t *in, uint64_t bit, unsigned n)
{
    unsigned x = in[bit / 8] | (bit % 8 + n > 8 ? (unsigned)in[bit / 8 + 1] << 8 : 0);
    return x >> bit % 8 & ((1u << n) - 1);
}

void values_codes(const struct view *view, const uint8_t *in, uint64_t cols, uint8_t *code)
{
    if (view->packing == PACK_WORDS) {
        const unsigned middle = 1u << (view->bits - 1);
        for (uint64_t c = 0; c < cols; c++)
            code[c] = (uint8_t)(bits_at(in, c * view->bits, view->bits) - middle);
    } else if (view->packing == PACK_SLOTS) {
        const unsigned slots = 32 / view->bits, middle = 1u << (view->bits - 1);
        for (uint64_t c = 0; c < cols; c++)
            code[c] = (uint8_t)(bits_at(in, c / slots * 32 + c % slots * view->bits, view->bits) - middle);
    } else if (dtype_table[view->elem].block_elems == 2) {
        const unsigned high = view->packing == PACK_HIGH;
        for (uint64_t c = 0; c < cols; c++)
            code[c] = (in[c / 2] >> 4 * ((c + high) % 2)) & 15;
    } else {
        memcpy(code, in, cols);
    }
}

static bool is_bytes(const struct view *view)
{
    return view->packing == PACK_PLAIN && dtype_table[view->elem].block_elems == 1
        && dtype_table[view->elem].block_bytes == 1;
}

/* An order that has -1 anywhere was never filled in: columns are in their own order (compressed-tensors
 * forward.py). */
static bool no_order(const uint8_t *order, uint64_t cols)
{
    static const uint8_t none[4] = {255, 255, 255, 255};
    uint64_t c = 0;
    while (c < cols && memcmp(order + 4 * c, none, 4))
        c++;
    return c < cols;
}

void values_init(struct values *v, const struct model *m, const struct view *view, const struct group *g,
                 const uint8_t *const side[SIDE_COUNT])
{
    v->view = view;
    v->group = g;
    v->model = m;
    for (int s = 0; s < SIDE_COUNT; s++)
        v->side[s] = g && g->of[side_part((enum side)s)] != NO_TENSOR ? side[s] : NULL;
    if (v->side[SIDE_ORDER] && no_order(v->side[SIDE_ORDER], view_matrix(view).cols))
        v->side[SIDE_ORDER] = NULL;
    uint8_t q[256];
    for (int i = 0; i < 256; i++)
        q[i] = (uint8_t)i;
    if (g)
        num_decode_row(num_find(view->elem), q, v->code, 256);
}

bool values_readable(enum dtype elem, const struct group *g)
{
    return g || elem == DT_F32 || elem == DT_BF16 || elem == DT_F16 || elem == DT_F8_E4M3 || elem == DT_F8_E5M2
        || block_find(elem);
}

/* ---- scales ---------------------------------------------------------------------- */
struct stretch {
    uint64_t first;        /* index of the scale of the first column */
    uint64_t row, cols;    /* of the matrix of scales, the batch counted in: row; cols */
    size_t block, n;       /* columns per scale, scales of this stretch */
};

static struct stretch stretch_of(const struct values *v, uint64_t batch, uint64_t r, uint64_t col, uint64_t cols)
{
    const struct scheme *s = v->group->scheme;
    struct matrix m = view_matrix(v->view);
    struct stretch p = {.block = s->block_cols ? s->block_cols : cols};
    uint64_t rows, first = s->block_cols ? col / s->block_cols : 0;
    scheme_scale_shape(s, m.rows, m.cols, &rows, &p.cols);
    p.row = batch * rows + (s->block_rows ? r / s->block_rows : 0);
    p.first = p.row * p.cols + first;
    p.n = s->block_cols ? (size_t)ceil_div(cols, s->block_cols) : 1;
    return p;
}

static float global_of(const struct values *v, uint64_t batch)
{
    if (!v->side[SIDE_GLOBAL])
        return v->group->constant != 0 ? v->group->constant : 1;
    const struct tensor *t = &v->model->t[v->group->of[PART_GLOBAL]];
    return scale_value(v->side[SIDE_GLOBAL], t->dtype, tensor_elems(t) == 1 ? 0 : batch);
}

static float scale_at(const struct values *v, uint64_t i)
{
    if (!v->side[SIDE_SCALE])
        return 1;
    return scale_value(v->side[SIDE_SCALE], scale_type(v->model->t[v->group->of[PART_SCALE]].dtype, v->group->scheme), i);
}

float scale_with_global(float scale, float global, bool divides)
{
    return divides ? scale / global : scale * global;
}

float values_scale(const struct values *v, uint64_t i) { return scale_at(v, i); }

float values_scale_used(const struct values *v, uint64_t batch, uint64_t i)
{
    return scale_with_global(scale_at(v, i), global_of(v, batch), v->group->global_divides);
}

static double used(const struct values *v, float scale, float global)
{
    return (double)scale_with_global(scale, global, v->group->global_divides);
}

int values_point(const struct values *v, uint64_t row, uint64_t col, uint64_t cols)
{
    if (!v->side[SIDE_POINT])
        return 0;
    const struct tensor *t = &v->model->t[v->group->of[PART_POINT]];
    const uint8_t *z = v->side[SIDE_POINT];
    const unsigned bits = v->group->scheme->bits;
    if (t->dtype == DT_I32) {
        /* packed along the rows: code r of a column is bits r * b .. of a stream of the words of that column */
        const unsigned slots = 32 / bits;
        uint64_t bit = v->view->packing == PACK_SLOTS ? row / slots * 32 + row % slots * bits : row * bits,
                 word = bit / 32;
        uint32_t lo, hi = 0;
        memcpy(&lo, z + 4 * (word * cols + col), 4);
        if (bit % 32 + bits > 32)
            memcpy(&hi, z + 4 * ((word + 1) * cols + col), 4);
        uint64_t both = (uint64_t)hi << 32 | lo;
        return (int)(both >> bit % 32 & ((1u << bits) - 1)) - (1 << (bits - 1));
    }
    uint64_t at = row * cols + col;
    if (t->dtype == DT_F32) { /* small integers: who pairs them has looked */
        const float x = scale_value(z, DT_F32, at);
        return x >= -0x1p16f && x <= 0x1p16f ? (int)x : 0;
    }
    return t->dtype == DT_U8 ? z[at] : (int8_t)z[at];
}

static int bad_scale(const struct values *v, uint64_t r, uint64_t i, double scale, struct err *e)
{
    const struct tensor *t = &v->model->t[v->group->of[PART_SCALE]];
    return err_set(e, ERR_INPUT, "%s: tensor '%s': the scale of row %llu, block %llu is %g", v->model->f[t->file].path,
                   t->name, (unsigned long long)r, (unsigned long long)i, scale);
}

/* ---- rows --------------------------------------------------------------------- */
static void plain_row(const struct view *view, const struct kern *k, const uint8_t *in, size_t cols, float *out)
{
    const struct num *num;
    if (view->elem == DT_F32)
        memcpy(out, in, cols * 4);
    else if (view->elem == DT_BF16)
        k->bf16_to_f32((const uint16_t *)(const void *)in, out, cols);
    else if (view->elem == DT_F16)
        k->f16_to_f32((const uint16_t *)(const void *)in, out, cols);
    else if (block_find(view->elem))
        block_find(view->elem)->decode(in, out, cols);
    else if ((num = num_find(view->elem)))
        for (size_t c = 0; c < cols; c++)
            out[c] = num->decode(in[c]);
}

static const uint8_t *codes_of(const struct values *v, const uint8_t *in, uint64_t cols, const struct values_row *w)
{
    if (is_bytes(v->view))
        return in;
    values_codes(v->view, in, cols, w->code);
    return w->code;
}

static int32_t order_at(const struct values *v, uint64_t c)
{
    int32_t x;
    memcpy(&x, v->side[SIDE_ORDER] + 4 * c, 4);
    return x;
}

/* Columns [col, col + cols) of codes q; each column's block is looked up when an order says which it is. */
static void exact_run(const struct values *v, const struct stretch *p, float global, uint64_t col, uint64_t cols,
                      const uint8_t *q, const struct values_row *w, double *out)
{
    const uint64_t base = p->row * p->cols;
    for (uint64_t c = 0; v->side[SIDE_ORDER] && c < cols; c++) {
        const uint64_t i = (uint64_t)order_at(v, col + c);
        out[c] = ((double)v->code[q[c]] - values_point(v, p->row, i, p->cols))
                 * used(v, scale_at(v, base + i), global);
    }
    for (uint64_t c = 0, b = 0; !v->side[SIDE_ORDER] && c < cols; b++) {
        const double scale = used(v, w->scale[b], global);
        const int point = values_point(v, p->row, p->first - base + b, p->cols);
        for (uint64_t end = min_u64(c + p->block, cols); c < end; c++)
            out[c] = ((double)v->code[q[c]] - point) * scale;
    }
}

struct values_row values_row_memory(void *p, uint64_t cols)
{
    struct values_row w = {.wide = p};
    w.scale = (float *)(w.wide + cols + 8);
    w.code = (uint8_t *)(w.scale + cols + 8);
    return w;
}

void values_exact(const struct values *v, uint64_t batch, uint64_t r, uint64_t col, uint64_t cols, const uint8_t *in,
                  const struct values_row *w, double *out)
{
    const struct stretch p = stretch_of(v, batch, r, col, cols);
    exact_run(v, &p, global_of(v, batch), col, cols, codes_of(v, in, cols, w), w, out);
}

/* The usual case: a byte per code and a scale per stretch of columns. */
static void simple_row(const struct values *v, const struct kern *k, const struct stretch *p, const uint8_t *q,
                       uint64_t cols, const float *scale, enum values_round round, bool clean, float *out)
{
    const bool exact = clean || round == VALUES_NEAREST;
    if (exact && v->view->elem == DT_F8_E4M3)
        k->dec_e4m3(q, cols, 1, cols, p->block, scale, out, cols * 4);
    else if (exact && v->view->elem == DT_I8)
        k->dec_int8((const int8_t *)q, cols, 1, cols, p->block, scale, out, cols * 4);
    else
        for (uint64_t c = 0, b = 0; c < cols; b++)
            for (uint64_t end = min_u64(c + p->block, cols); c < end; c++) {
                const double x = (double)v->code[q[c]] * (double)scale[b];
                out[c] = round == VALUES_ODD ? round_to_odd(x) : (float)x;
            }
}

static int check_order(const struct values *v, const struct stretch *p, uint64_t col, uint64_t cols, struct err *e)
{
    for (uint64_t c = 0; v->side[SIDE_ORDER] && c < cols; c++) {
        const int32_t x = order_at(v, col + c);
        if (x < 0 || (uint64_t)x >= p->cols)
            return err_set(e, ERR_INPUT, "tensor '%s': column %llu belongs to block %d of %llu",
                           v->model->t[v->group->of[PART_ORDER]].name, (unsigned long long)(col + c), x,
                           (unsigned long long)p->cols);
    }
    return 0;
}

/* Codes times one scale: nothing of a second level, no zero points, columns in their own order. */
static bool is_simple(const struct values *v)
{
    return !v->side[SIDE_GLOBAL] && v->group->constant == 0 && !v->side[SIDE_POINT] && !v->side[SIDE_ORDER];
}

bool values_e4m3(const struct values *v, uint64_t batch, uint64_t r, uint64_t col, uint64_t cols,
                 const struct values_row *w, size_t *block, uint64_t *rows)
{
    if (!v->group || !is_simple(v) || v->view->elem != DT_F8_E4M3 || !is_bytes(v->view))
        return false;
    const struct stretch p = stretch_of(v, batch, r, col, cols);
    for (size_t i = 0; i < p.n; i++)
        w->scale[i] = scale_at(v, p.first + i);
    *block = p.block;
    *rows = v->group->scheme->block_rows ? v->group->scheme->block_rows - r % v->group->scheme->block_rows : UINT64_MAX;
    return true;
}

int values_row(const struct values *v, const struct kern *k, uint64_t batch, uint64_t r, uint64_t col, uint64_t cols,
               const uint8_t *in, enum values_round round, bool check, const struct values_row *w, float *out,
               bool *clean, struct err *e)
{
    *clean = true;
    if (!v->group) {
        plain_row(v->view, k, in, cols, out);
        return 0;
    }
    const struct stretch p = stretch_of(v, batch, r, col, cols);
    const bool simple = is_simple(v);
    for (size_t i = 0; i < p.n; i++) {
        w->scale[i] = scale_at(v, p.first + i);
        *clean &= harmless(w->scale[i]);
        if (check && !*clean && (!(w->scale[i] >= 0) || isinf(w->scale[i])))
            return bad_scale(v, r, p.first + i - p.row * p.cols, (double)w->scale[i], e);
    }
    *clean &= simple;
    if (simple) {
        simple_row(v, k, &p, codes_of(v, in, cols, w), cols, w->scale, round, *clean, out);
        return 0;
    }
    if (check_order(v, &p, col, cols, e))
        return -1;
    values_exact(v, batch, r, col, cols, in, w, w->wide);
    for (uint64_t c = 0; c < cols; c++)
        out[c] = round == VALUES_ODD ? round_to_odd(w->wide[c]) : (float)w->wide[c];
    return 0;
}
