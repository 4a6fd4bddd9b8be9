/* verify --inspect: how the tensors of a model were made, in words and in JSON. */
#ifndef OCTAVO_CLI_VERIFY_LOOK_H
#define OCTAVO_CLI_VERIFY_LOOK_H

#include "calibrate/signature.h"

enum { LOOK_SENTENCE = 320 };
struct look_line {
    enum signature s;
    char text[LOOK_SENTENCE];
    const char *first;               /* a tensor of which it is true */
    size_t n;                        /* how many there are */
};
/* What is to be said, the worst first; free(*line). */
int look_lines(const struct error_report *r, bool zh, struct look_line **line, size_t *n, struct err *e) MUST_USE;
/* One line for all tensors of which the same is to be said, the worst first. */
int look_print(const struct error_report *r, struct err *e) MUST_USE;
/* Members of a tensor, each with a comma before it. */
void look_json(const struct tensor_error *t);

#endif
