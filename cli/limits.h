/* verify's limits: of the command line for all tensors, and of a file for those that match a pattern. */
#ifndef OCTAVO_CLI_LIMITS_H
#define OCTAVO_CLI_LIMITS_H

#include "calibrate/error.h"
#include "quantizers/rules.h"

struct limit_set {
    double max_rel, max_mse, max_abs, min_sqnr, min_cosine, max_saturated, max_flushed; /* NaN: none; flushed: a share of the elements */
    bool exact;
};
#define NO_LIMITS {NAN, NAN, NAN, NAN, NAN, NAN, NAN, false}
struct limits {
    struct limit_set all;
    bool strict, calibrated;         /* what a scheme should reach, see octavo-verify(1); output errors are looked at as well */
    struct rules patterns;           /* of the file, and the limits of each */
    struct limit_set *of;
    size_t n, cap;
};
/* Lines "PATTERN NAME=X ... [exact]", the first pattern that matches counts, # comments. ERR_USAGE naming file and line. */
int limits_file(struct limits *l, const char *path, struct err *e) MUST_USE;
/* Is tensor t within its limits? Else what it breaks, as "--max-rel: 0.04", into text [n]. */
bool limits_keep(const struct limits *l, const struct tensor_error *t, char *text, size_t n);
void limits_free(struct limits *l);

#endif
