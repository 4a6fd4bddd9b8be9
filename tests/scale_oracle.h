/* The tests' own idea of the scale rules: one table of numbers, worked out in
 * double and long double arithmetic.  It shares no line with quantizers/. */
#ifndef OCTAVO_SCALE_ORACLE_H
#define OCTAVO_SCALE_ORACLE_H

#include "formats/dtype.h"

#include <stddef.h>

/* An element format: its largest value, floor(log2) of that, bits of mantissa. */
struct scale_elem {
    enum dtype t;
    const char *num;   /* as in struct num */
    double max;
    int emax, mbits;
};
extern const struct scale_elem scale_elems[];
extern const size_t scale_elem_count;

/* A rule of the table, NULL when it is not there (struct scale_rule has the names). */
struct scale_formula;
const struct scale_formula *scale_formula_of(const char *rule);
extern const size_t scale_formula_count;
/* Is it defined through a logarithm in FP32?  Its steps are where an exact one has them, but for a few values. */
int scale_formula_log(const struct scale_formula *f);
/* The code for a finite amax >= 0. It grows with amax from the smallest positive one on. */
int scale_formula_code(const struct scale_formula *f, const struct scale_elem *e, float amax);

/* What an F32 rule makes of a finite amax; what it multiplies with, or 0; -1: it is not in the table. */
double scale_value_oracle(const char *rule, enum dtype t, float amax, double *times);

#endif
