#include "quantizers/encode.h"

#include <math.h>
#include <string.h>

float encode_limit(const struct num *num, bool *itself)
{
    if (num->dtype == DT_I8 || num->dtype == DT_I4) {
        *itself = true; /* 127.5 goes to 128, 7.5 to 8 */
        return num->max + 0.5f;
    }
    /* Half a unit in the last place above the largest one. There a tie goes away from zero, as that between zero and
     * the smallest code shows, or down, as the next one shows; else to the even code, which is the one that is not
     * there when the largest one is odd. */
    const bool away = num->decode(num->encode(num->min / 2, OVERFLOW_SATURATE)) != 0;
    const bool down = num->decode(num->encode(num->min * 1.5f, OVERFLOW_SATURATE)) == num->min;
    *itself = away || (!down && num->encode(num->max, OVERFLOW_SATURATE) & 1);
    return num->dtype == DT_HIF8 ? 1.25f * num->max /* one bit of mantissa there */
                                 : num->max + ldexpf(1, num->emax - num->mbits - 1);
}

/* A row of the panel as FP32. */
static const float *row_of(const struct panel *p, size_t r, const struct kern *k, float *row)
{
    const uint8_t *x = p->x + r * p->stride;
    if (p->src == SRC_BF16)
        k->bf16_to_f32((const uint16_t *)(const void *)x, row, p->cols);
    else if (p->src == SRC_F16)
        k->f16_to_f32((const uint16_t *)(const void *)x, row, p->cols);
    else
        memcpy(row, x, p->cols * 4);
    return row;
}

/* Counts what a stretch of one row lost: codes q stand for x, y is x in units of the scale. */
static void count(const float *x, const float *y, const uint8_t *q, size_t n, const float *value, double scale,
                  float limit, bool itself, struct kern_count *to)
{
    uint64_t inexact = 0, flushed = 0, saturated = 0;
    for (size_t i = 0; i < n; i++) {
        const double back = (double)value[q[i]];
        const float a = fabsf(y[i]);
        inexact += back * scale != (double)x[i];
        flushed += (back == 0) & (x[i] != 0);
        saturated += (a > limit) | (itself & (a == limit));
    }
    to->inexact += inexact;
    to->flushed += flushed;
    to->saturated += saturated;
}

/* E2M1 by its kernel; false when a scale is too small for that. */
static bool encode_e2m1(const struct num *num, const struct panel *p, const struct scales *s, const struct kern *k,
                        uint8_t *q, size_t qstride, float *row, struct kern_count *n)
{
    const struct kern_e2m1 *const f = kern_e2m1_of(num);
    if (!f || s->times || s->bf16)
        return false;
    for (size_t b = 0; s->value && b < ceil_div(p->cols, p->block); b++)
        if (!(s->value[b] >= 0x1p-124f))
            return false;
    for (size_t r = 0; r < p->rows; r++, q += qstride)
        k->enc_e2m1(row_of(p, r, k, row), p->cols, p->block, s->code, s->value, f, q, n);
    return true;
}

void encode_any(const struct num *num, const struct panel *p, const struct scales *s, const struct kern *k, uint8_t *q,
                size_t qstride, float *row, struct kern_count *n)
{
    bool itself;
    float value[256];
    uint8_t all[256];
    if (encode_e2m1(num, p, s, k, q, qstride, row, n))
        return;
    const float limit = encode_limit(num, &itself);
    for (int i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    num_decode_row(num, all, value, 256);
    for (size_t r = 0; r < p->rows; r++, q += qstride) {
        const float *x = row_of(p, r, k, row);
        float *y = row + p->cols;
        for (size_t c = 0, b = 0; c < p->cols; c += p->block, b++) {
            const size_t end = min_u64(c + p->block, p->cols);
            const float scale = s->code ? ue8m0_decode(s->code[b]) : s->value[b];
            const float times = s->code ? ue8m0_decode((uint8_t)(254 - s->code[b])) : s->times ? s->times[b] : 0;
            const bool divide = !s->code && !s->times;
            for (size_t i = c; i < end; i++)
                y[i] = divide ? x[i] / scale : x[i] * times;
        }
        /* + 0: a zero point of 0 is added there, which takes the sign of zeros away */
        for (size_t i = 0; s->bf16 && i < p->cols; i++)
            y[i] = bf16_decode(bf16_encode(y[i])) + 0.0f;
        num_encode_row(num, y, q, p->cols, OVERFLOW_SATURATE);
        for (size_t c = 0, b = 0; c < p->cols; c += p->block, b++)
            count(x + c, y + c, q + c, min_u64(p->block, p->cols - c), value,
                  (double)(s->code ? ue8m0_decode(s->code[b]) : s->value[b]), limit, itself, n);
    }
}

static void swap_halves(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(p[i] << 4 | p[i] >> 4);
}

void encode_pack(const struct view *view, const uint8_t *code, size_t cols, uint8_t *to)
{
    if (view->packing == PACK_WORDS) {
        const unsigned middle = 1u << (view->bits - 1), mask = 2 * middle - 1;
        memset(to, 0, view_row_bytes(view, cols));
        for (size_t c = 0; c < cols; c++) {
            const unsigned x = (code[c] + middle) & mask, at = (unsigned)(c * view->bits % 8);
            uint8_t *p = to + c * view->bits / 8;
            p[0] |= (uint8_t)(x << at);
            if (at + view->bits > 8)
                p[1] |= (uint8_t)(x >> (8 - at));
        }
    } else if (dtype_table[view->elem].block_elems == 2) {
        size_t c = 0;
        for (; c + 8 <= cols; c += 8) { /* the first code is in the lowest byte */
            uint64_t x;
            memcpy(&x, code + c, 8);
            x &= 0x0f0f0f0f0f0f0f0f;
            x = (x | x >> 4) & 0x00ff00ff00ff00ff;
            x = (x | x >> 8) & 0x0000ffff0000ffff;
            x |= x >> 16;
            memcpy(to + c / 2, &x, 4);
        }
        for (; c + 1 < cols; c += 2)
            to[c / 2] = (uint8_t)((code[c] & 15) | code[c + 1] << 4);
        if (cols % 2)
            to[cols / 2] = code[cols - 1] & 15;
        if (view->packing == PACK_HIGH)
            swap_halves(to, (cols + 1) / 2);
    } else {
        memcpy(to, code, cols);
    }
}

void encode_pack_rows(const struct view *view, const uint8_t *code, size_t stride, size_t count, size_t cols, uint8_t *to)
{
    const size_t width = view_row_bytes(view, cols);
    if (view->packing != PACK_ROWS) {
        for (size_t r = 0; r < count; r++)
            encode_pack(view, code + r * stride, cols, to + r * width);
        return;
    }
    for (size_t r = 0; r < count; r += 2, to += width)
        for (size_t c = 0; c < cols; c++)
            to[c] = (uint8_t)((code[r * stride + c] & 15) | code[(r + 1) * stride + c] << 4);
}

struct box encode_packed_box(const struct view *view, const struct box *b, size_t unit)
{
    struct box at = *b;
    at.col = view_row_bytes(view, b->col) / unit;
    at.cols = view_row_bytes(view, b->cols) / unit;
    if (view->packing == PACK_ROWS) {
        at.row /= 2;
        at.rows /= 2;
    }
    return at;
}

void encode_bias(const uint8_t *code, size_t cols, float scale, size_t parts, float *bias)
{
    for (size_t i = 0; i < parts; i++) {
        int64_t sum = 0;
        for (size_t c = cols / parts * i; c < cols / parts * (i + 1); c++)
            sum += (code[c] & 15) - 2 * (code[c] & 8);
        bias[i] = (float)(8.0 * (double)sum * (double)scale);
    }
}
