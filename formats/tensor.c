#include "formats/model.h"

#include <stdio.h>

struct matrix tensor_matrix(const struct tensor *t)
{
    struct matrix m = {1, 1, 1};
    if (t->rank)
        m.cols = t->dim[t->rank - 1];
    if (t->rank > 1)
        m.rows = t->dim[t->rank - 2];
    for (int i = 0; i + 2 < t->rank; i++)
        m.batch *= t->dim[i];
    return m;
}

uint64_t tensor_elems(const struct tensor *t)
{
    struct matrix m = tensor_matrix(t);
    return m.batch * m.rows * m.cols;
}

char *tensor_shape(const struct tensor *t, char *s)
{
    int n = sprintf(s, "[");
    for (int i = 0; i < t->rank; i++)
        n += sprintf(s + n, i ? ",%llu" : "%llu", (unsigned long long)t->dim[i]);
    sprintf(s + n, "]");
    return s;
}
