/* What the tensors of a model are for, by their names: their layer, and their role in it. */
#ifndef OCTAVO_CLI_ROLES_H
#define OCTAVO_CLI_ROLES_H

#include "calibrate/error.h"

enum { ROLE = 40 };                  /* bytes of a role's name */
/* The layer's number and the role: what is left of the name behind it, without ".weight", all experts being one. False: the name
 * has no layer. */
bool role_of(const char *name, size_t *layer, char role[ROLE]);

struct role_sums {
    char name[ROLE];
    struct error_sums sums;
    size_t n;                        /* quantized tensors */
};
/* Quantized tensors by their role, in the order of the model; free(*role). */
int roles_of(const struct error_report *r, struct role_sums **role, size_t *n, struct err *e) MUST_USE;

#endif
