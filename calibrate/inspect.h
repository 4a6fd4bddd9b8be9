/* What a quantized tensor tells about itself, and beside its original about how it was made.
 *
 * Filled by error_measure() (beside an original) and by audit (alone).  All counts are whole numbers and all places the first
 * ones: the same for any number of threads. */
#ifndef OCTAVO_CALIBRATE_INSPECT_H
#define OCTAVO_CALIBRATE_INSPECT_H

#include "quantizers/box.h"
#include "quantizers/scale.h"
#include "quantizers/values.h"

#include <pthread.h>

struct place {
    uint64_t batch, row, col;
};
#define NO_PLACE ((struct place){UINT64_MAX, UINT64_MAX, UINT64_MAX})
static inline bool place_is(const struct place *p) { return p->batch != UINT64_MAX; }

/* Ways to round an element: to nearest with ties to even, away from zero or towards it; or always towards zero. */
enum round_mode { ROUND_EVEN, ROUND_AWAY, ROUND_DOWN, ROUND_TRUNCATE, ROUNDINGS };
const char *rounding_name(enum round_mode r);

/* What is wrong with the grid of scales as a whole, where every scale is the right one for another block. */
enum grid_fault { GRID_RIGHT, GRID_TRANSPOSED, GRID_ROWS /* rows of scales exchanged */ };

enum { INSPECT_STEPS = 5, INSPECT_BINADES = 32 };
struct inspection {
    enum dtype elem;
    /* codes */
    uint64_t codes, zero, subnormal, largest; /* 0; subnormal; the largest magnitude there is */
    uint64_t nan;                    /* NaN and Inf codes, the first of them: */
    struct place first_nan;
    uint64_t binade[INSPECT_BINADES];/* nonzero codes by floor(log2 |value|), 0 being that of the smallest code */
    unsigned binades;                /* how many the format has */
    /* blocks: elements that share a scale; places are those of the tensor of scales */
    uint64_t blocks, zero_blocks;    /* all codes are 0 */
    uint64_t full_blocks;            /* more than a quarter of the codes are the largest */
    struct place first_full;
    uint64_t low_blocks;             /* the largest code is below half of the largest there is: half the scale would have done */
    struct place first_low;
    uint64_t top_blocks;             /* some code is the largest there is */
    /* scales */
    uint64_t exponent[256];          /* by the exponent field of the F32: 127 is 2^0 */
    uint64_t bad_scales;             /* 0 (of a block that is not all 0), NaN, Inf or negative */
    struct place first_bad;
    float bad;                       /* what is there */
    uint64_t odd_scales;             /* no powers of two */
    float factor;                    /* mantissa in (1, 2) that all odd ones have, else 0 */

    /* beside the original: */
    bool compared;
    uint64_t steps[INSPECT_STEPS];   /* codes that are 0, 1, 2, 3 and more codes away from the nearest at their scale; where either is NaN: none */
    uint64_t other_f32;              /* codes next to the nearest, of what lies between both as nearly as FP32 can tell: operations in another
                                      * order */
    uint64_t other_bf16;             /* codes that are the nearest of x / scale in BF16 */
    uint64_t doubled;                /* codes exactly one exponent above the nearest */
    struct place first_moved;          /* the first that is not the nearest */
    uint32_t roundings;              /* bits: which of enum round_mode explain every code */
    uint64_t over_nan;               /* elements beyond the largest code that became NaN */
    bool ruled;                      /* scales were compared with rules: */
    uint64_t rules;                  /* bits: those of inspect_rule_name() that explain every scale */
    size_t most;                     /* when there are none: the one that explains most of them (three quarters and more), or SIZE_MAX; */
    uint64_t off_blocks;             /* the scales that it does not explain, */
    struct place first_off;          /* the first of them, */
    int off_by;                      /* and by how many exponents that is too large */
    enum grid_fault grid;
    uint64_t swapped[2];             /* of GRID_ROWS: two of them */
    uint64_t lost_blocks;            /* all codes 0 and the original is not */
    struct place first_lost;
};

/* Rules by which scales for elements of a type are found: those of powers of two, those of F32, and these again with their scales rounded to BF16 (*bf16).
 * NULL: there are no more. At most 64. */
const char *inspect_rule_name(enum dtype elem, size_t k, bool *bf16);

/* Does one of the rules that explain the scales round ties like that, too? */
bool inspect_rule_ties(const struct inspection *l, enum round_mode mode);

/* ---- filling it ------------------------------------------------------------------------------ */
struct block_seen {
    uint32_t amax;                   /* bits of the largest |x| */
    uint8_t top;                     /* the largest magnitude of its codes, as a number of inspector.size_value */
    uint32_t largest, n;
};
struct inspector {
    struct inspection *to;           /* NULL: nothing is looked at */
    const struct num *num;
    uint16_t rank[256];              /* of each code in the order of values; INSPECT_NO_RANK: NaN and Inf */
    double value[257];               /* by rank */
    uint8_t size[256], sizes;        /* the magnitude of each code in their order; the largest of them */
    float size_value[256];
    unsigned ranks, nans;            /* how many */
    uint8_t nan[256];                /* the codes that are NaN or Inf */
    struct block_seen *block;        /* of the whole tensor */
    uint64_t brows, bcols, batches;  /* of the tensor of scales */
    uint64_t block_rows, block_cols;
    uint64_t count[256];             /* of codes */
    pthread_mutex_t lock;
};
enum { INSPECT_NO_RANK = 0xffff };
enum { INSPECT_LANES = 4 };
/* What one box adds. */
struct inspect_part {
    uint32_t count[INSPECT_LANES][256]; /* of codes: neighbours are counted apart, so that equal ones need not wait for each other */
    uint64_t steps[INSPECT_STEPS], other_f32, other_bf16, doubled, over_nan;
    uint32_t roundings;
    struct place first_nan, first_moved;
    struct block_seen *seen;         /* of the row of blocks that is being read */
    uint64_t brow;                   /* which one; UINT64_MAX: none yet */
    float *z;
    uint8_t *nearest;
};
/* v: of the tensor, or only its view and group. i->to stays NULL, and that is no error, for codes of more than 8 bits and what has no
 * block of scales that can be told from another. */
int inspect_open(struct inspector *i, struct inspection *to, const struct values *v, bool compared, struct err *e) MUST_USE;
/* memory: INSPECT_MEMORY(columns of the box) bytes, aligned to 8. */
#define INSPECT_MEMORY(cols) (21 * ((cols) + 16))
void inspect_begin(struct inspect_part *p, struct inspector *i, const struct box *b, void *memory);
/* Row r of the matrix, columns of box b, a byte per code; x: the original, or NULL. */
void inspect_row(struct inspector *i, struct inspect_part *p, const struct values *v, const struct box *b, uint64_t r, const uint8_t *code,
                 const float *x);
void inspect_end(struct inspector *i, struct inspect_part *p, const struct box *b);
/* After the last box: looks at the scales. */
void inspect_finish(struct inspector *i, const struct values *v);
void inspect_free(struct inspector *i); /* whatever was done before */

#endif
