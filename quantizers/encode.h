/* The halves of encoding: encode.c turns boxes into blocks with scales,
 * encode_any.c turns blocks into codes of any element format. */
#ifndef OCTAVO_ENCODE_H
#define OCTAVO_ENCODE_H

#include "quantizers/plan.h"

/* One panel of one block row, converted to something the kernels take. */
struct panel {
    enum src src;
    const uint8_t *x;
    size_t stride, rows, cols, block, blocks;
};

/* Scales of the blocks of a panel: codes of powers of two, or values; and what is stored, where that is neither. */
struct scales {
    uint8_t *code;     /* NULL when the scales are no UE8M0 */
    float *value;      /* NULL when they are */
    uint8_t *stored;   /* NVFP4: E4M3 codes */
    float *times;      /* what x is multiplied with instead of being divided by value, or NULL (encode_any) */
    bool bf16;         /* x / scale is rounded to BF16 first (encode_any) */
};

/* Codes of a panel in any format of at most 8 bits, a byte per code, q rows qstride bytes apart. y = x / scale in FP32,
 * or x times the inverse where that is a power of two or the rule multiplies, then rounded once to the format. row has room for 2 * cols
 * floats. What is counted is what kern.h says of struct kern_count; x is compared with code times scale exactly. */
void encode_any(const struct num *num, const struct panel *p, const struct scales *s, const struct kern *k, uint8_t *q,
                size_t qstride, float *row, struct kern_count *n);
/* Codes, a byte each, as the view wants them; to has view_row_bytes(view, cols) bytes. */
void encode_pack(const struct view *view, const uint8_t *code, size_t cols, uint8_t *to);
/* The same for the rows of a box, count of them, stride bytes apart: to has count * view_row_bytes(view, cols)
 * bytes (PACK_ROWS: half of that; count is even). */
void encode_pack_rows(const struct view *view, const uint8_t *code, size_t stride, size_t count, size_t cols, uint8_t *to);
/* Where packed codes of box b lie in their tensor, in units of `unit` bytes. */
struct box encode_packed_box(const struct view *view, const struct box *b, size_t unit);
/* PART_BIAS of one row of 4-bit codes: bias[i] = 8 * scale * (sum of the codes of the i-th of `parts` equal parts), rounded
 * once (msmodelslim: what the low half of an INT8 activation, less 8, lacks). */
void encode_bias(const uint8_t *code, size_t cols, float scale, size_t parts, float *bias);
/* The first magnitude that rounds beyond the largest one of the format; *itself: does that one, too? */
float encode_limit(const struct num *num, bool *itself);

#endif
