#include "quantizers/values.h"

#include "quantizers/blocks.h"

float scale_value(const uint8_t *p, enum dtype t, uint64_t i)
{
    uint16_t h;
    float f;
    switch (t) {
    case DT_F32: return memcpy(&f, p + 4 * i, 4), f;
    case DT_BF16: return memcpy(&h, p + 2 * i, 2), bf16_decode(h);
    case DT_F16: return memcpy(&h, p + 2 * i, 2), f16_decode(h);
    default: return ue8m0_decode(p[i]);
    }
}

/* A power of two for which every E4M3 code times it is a normal BF16 and FP32
 * number: 2^-9 * 2^-117 = 2^-126 and 448 * 2^118 < 2^127. */
static bool harmless(float scale)
{
    int code = ue8m0_exact(scale);
    return code >= 127 - 117 && code <= 127 + 118;
}

bool values_readable(enum dtype t, const struct scheme *s)
{
    return s || t == DT_F32 || t == DT_BF16 || t == DT_F16 || t == DT_F8_E4M3 || t == DT_F8_E5M2 || block_find(t);
}

bool values_scales(const struct values *v, uint64_t batch, uint64_t r, uint64_t col, uint64_t cols,
                   float *scale, size_t *block)
{
    const struct scheme *s = v->scheme;
    *block = cols;
    if (!s)
        return true;
    struct matrix m = tensor_matrix(v->t);
    uint64_t rows, width, first = s->block_cols ? col / s->block_cols : 0;
    scheme_scale_shape(s, m.rows, m.cols, &rows, &width);
    uint64_t row = s->block_rows ? r / s->block_rows : 0;
    size_t n = s->block_cols ? (size_t)ceil_div(cols, s->block_cols) : 1;
    bool clean = true;
    if (s->block_cols)
        *block = s->block_cols;
    for (size_t i = 0; i < n; i++) {
        scale[i] = scale_value(v->side, v->side_type, (batch * rows + row) * width + first + i);
        clean &= harmless(scale[i]);
    }
    return clean;
}

void values_row(const struct values *v, const struct kern *k, const uint8_t *in, size_t cols, const float *scale,
                size_t block, float *out)
{
    enum dtype t = v->t->dtype;
    const struct num *num;
    if (v->scheme && t == DT_I8)
        k->dec_int8((const int8_t *)in, cols, 1, cols, block, scale, out, cols * 4);
    else if (v->scheme)
        k->dec_e4m3(in, cols, 1, cols, block, scale, out, cols * 4);
    else if (t == DT_F32)
        memcpy(out, in, cols * 4);
    else if (t == DT_BF16)
        k->bf16_to_f32((const uint16_t *)(const void *)in, out, cols);
    else if (t == DT_F16)
        k->f16_to_f32((const uint16_t *)(const void *)in, out, cols);
    else if (block_find(t))
        block_find(t)->decode(in, out, cols);
    else if ((num = num_find(t)))
        for (size_t c = 0; c < cols; c++)
            out[c] = num->decode(in[c]);
}
