#include "formats/model.h"

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

/* No printf: listings of 92,000 tensors spend their time here. */
static char *put_number(char *s, uint64_t v)
{
    char digit[20];
    int n = 0;
    do
        digit[n++] = (char)('0' + v % 10);
    while (v /= 10);
    while (n)
        *s++ = digit[--n];
    return s;
}

char *tensor_shape(const struct tensor *t, char *s)
{
    char *p = s;
    *p++ = '[';
    for (int i = 0; i < t->rank; i++) {
        if (i)
            *p++ = ',';
        p = put_number(p, t->dim[i]);
    }
    *p++ = ']';
    *p = 0;
    return s;
}
