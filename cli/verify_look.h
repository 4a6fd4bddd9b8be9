/* verify --inspect: how the tensors of a model were made, in words and in JSON. */
#ifndef OCTAVO_CLI_VERIFY_LOOK_H
#define OCTAVO_CLI_VERIFY_LOOK_H

#include "calibrate/error.h"

/* One line for all tensors of which the same is to be said, the worst first. */
int look_print(const struct error_report *r, struct err *e) MUST_USE;
/* Members of a tensor, each with a comma before it. */
void look_json(const struct tensor_error *t);

#endif
