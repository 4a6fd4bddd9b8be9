/* How weights are encoded: a scheme and the rule that finds its scales. */
#ifndef OCTAVO_ENCODING_H
#define OCTAVO_ENCODING_H

#include "formats/err.h"
#include "formats/scheme.h"
#include "quantizers/scale.h"

struct encoding {
    const struct scheme *scheme;
    const struct scale_rule *rule;          /* scheme->scale is F8_E8M0 */
    const struct scale_rule_f32 *rule_f32;  /* it is F32, BF16 or F16 */
    const struct scale_rule_e4m3 *rule_e4m3; /* it is E4M3, of two levels */
    bool usual;                             /* nobody named a rule: where the output has one of its own (GGUF), that counts */
    bool copies;                            /* its codes are copied from what has them, never made here */
    bool saturate_nonfinite;                /* else NaN or Inf in a weight is an error */
};

/* The default rules of a scheme. */
struct encoding encoding_of(const struct scheme *s);
/* The same with a rule by name (NULL: the default); ERR_USAGE lists those that there are. Zero points and
 * integers of odd sizes are only copied. */
int encoding_make(struct encoding *to, const struct scheme *s, const char *rule, struct err *e) MUST_USE;
/* The name of its rule, "" when it has none. */
const char *encoding_rule(const struct encoding *to);
/* The same, when encoding_make would take it: "" for a scheme that knows one rule only. */
const char *encoding_word(const struct encoding *to);
/* The number format of its elements. */
const struct num *encoding_num(const struct encoding *to);

#endif
