/* Scales as chips want them besides: values computed from a scale by a rule
 * that cannot always be undone (formats/target.h, enum extra_rule). */
#ifndef OCTAVO_CHIP_H
#define OCTAVO_CHIP_H

#include "formats/target.h"
#include "quantizers/plan.h"

/* One value of rule->dtype, little-endian, to y. ERR_INPUT when the type has no place for it: the sentence ends a
 * message that names the tensor. *inexact: it was rounded. */
int chip_value(enum extra_rule rule, float scale, uint8_t *y, bool *inexact, struct err *e) MUST_USE;

/* in[0]: a tensor of scales, held; op->ctx: the struct target_extra. */
extern const struct xform xform_chip;

#endif
