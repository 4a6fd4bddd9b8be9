/* The values of a weight as FP32, whatever holds them: floating point, GGUF
 * blocks, or codes with scales, second-level scales and zero points. */
#ifndef OCTAVO_VALUES_H
#define OCTAVO_VALUES_H

#include "formats/convention.h"
#include "quantizers/kern.h"
#include "quantizers/num.h"

/* Whole tensors that belong to a quantized weight, row-major in memory. */
enum side { SIDE_SCALE, SIDE_GLOBAL, SIDE_POINT, SIDE_ORDER, SIDE_COUNT };
/* The part that side s is. */
enum part side_part(enum side s);

struct values {
    const struct view *view;
    const struct group *group;            /* NULL: not quantized */
    const struct model *model;
    const uint8_t *side[SIDE_COUNT];      /* NULL: there is none */
    float code[256];                      /* value of each code, NaN codes as they are; of a quantized weight */
};
/* side[] in the order of enum side; view and group are borrowed. */
void values_init(struct values *v, const struct model *m, const struct view *view, const struct group *g,
                 const uint8_t *const side[SIDE_COUNT]);

/* False for types that are not numbers one can average (BOOL, I64, F64 ...). */
bool values_readable(enum dtype elem, const struct group *g);

/* How the exact product of code and scales becomes FP32. */
enum values_round {
    VALUES_NEAREST, /* as a server's FP32 multiplication rounds it */
    VALUES_ODD      /* to odd: rounded once more, to fewer bits, it is as if it had been rounded once */
};
/* Memory for a row of at most cols columns, from p (VALUES_ROW_BYTES(cols) bytes, a multiple of 8; aligned to 8). */
struct values_row {
    double *wide;
    float *scale;
    uint8_t *code;
};
#define VALUES_ROW_BYTES(cols) ((((cols) + 8) * (8 + 4 + 1) + 7) / 8 * 8)
struct values_row values_row_memory(void *p, uint64_t cols);
/* cols values of row r of matrix `batch`, from column col on, whose raw bytes are at in. col is a multiple of
 * view_step and of the scheme's block_cols. *clean: every scale is a power of two with which no product is subnormal or
 * beyond BF16's range, so that the values are exact in FP32 and BF16. check: a scale that is NaN, infinite or negative
 * is ERR_INPUT. */
int values_row(const struct values *v, const struct kern *k, uint64_t batch, uint64_t r, uint64_t col, uint64_t cols,
               const uint8_t *in, enum values_round round, bool check, const struct values_row *w, float *out,
               bool *clean, struct err *e) MUST_USE;
/* Whether the row's values are FP32 products of E4M3 codes, a byte each, and one scale for each *block columns: then
 * w->scale has the scales, which *rows rows from r on share. col as above. */
bool values_e4m3(const struct values *v, uint64_t batch, uint64_t r, uint64_t col, uint64_t cols,
                 const struct values_row *w, size_t *block, uint64_t *rows);
/* The exact values of the same row in double precision (code and scale have at most 28 bits together). Quantized
 * weights only, after values_row. */
void values_exact(const struct values *v, uint64_t batch, uint64_t r, uint64_t col, uint64_t cols, const uint8_t *in,
                  const struct values_row *w, double *out);
/* The code that stands for zero in block (row, col) of the matrix of scales (the batch counted in its rows,
 * cols columns): a number like those of the weight's codes. 0 when there is none. */
int values_point(const struct values *v, uint64_t row, uint64_t col, uint64_t cols);
/* One byte per code: the codes of a row as they would be in a tensor of their own type. */
void values_codes(const struct view *view, const uint8_t *in, uint64_t cols, uint8_t *code);

/* Scale i of the tensor of scales (1 without one), and what it comes to with the second-level one of a batch. */
float values_scale(const struct values *v, uint64_t i);
float values_scale_used(const struct values *v, uint64_t batch, uint64_t i);
/* Value i of a scale tensor: F32, BF16, F16 values; the bits of an F32 in I64; U8 and F8_E8M0 codes of powers of two;
 * F8_E4M3. */
float scale_value(const uint8_t *p, enum dtype t, uint64_t i);
/* The type of a scale tensor with this dtype: U8 may hold codes of either kind. */
enum dtype scale_type(enum dtype t, const struct scheme *s);
/* A scale with the second-level one of its tensor, as it is used: the product or quotient in F32 (modelopt,
 * qtensor/nvfp4_tensor.py; compressed-tensors, quantization/lifecycle/forward_helpers.py). */
float scale_with_global(float scale, float global, bool divides);
/* The value x, rounded to odd. */
float round_to_odd(double x);

#endif
