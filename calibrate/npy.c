#include "calibrate/npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool npy_is(const uint8_t *p, size_t have) { return have > 6 && !memcmp(p, "\x93NUMPY", 6); }

/* "(3, 4)" behind the key. */
static int read_shape(struct npy *x, const char *path, const char *s, uint64_t size, struct err *e)
{
    s = s ? strchr(s, '(') : NULL;
    for (; s && s[1 + strspn(s + 1, " ")] != ')' && *s != ')'; x->rank++) {
        char *end;
        const unsigned long long n = strtoull(s + 1, &end, 10);
        if (end == s + 1 || x->rank == NPY_RANK || n > size)
            return err_set(e, ERR_INPUT, "%s: has a shape that is none of up to %d dimensions", path, NPY_RANK);
        x->dim[x->rank] = n;
        s = end + strspn(end, " ");
        if (*s != ',' && *s != ')')
            return err_set(e, ERR_INPUT, "%s: has a shape that is none of up to %d dimensions", path, NPY_RANK);
    }
    return s && x->rank ? 0 : err_set(e, ERR_INPUT, "%s: has a shape that is none of up to %d dimensions", path, NPY_RANK);
}

int npy_header(struct npy *x, const char *path, const uint8_t *p, size_t have, uint64_t size, struct err *e)
{
    const bool wide = have >= 12 && p[6] > 1;
    const size_t at = wide ? 12 : 10;
    const size_t n = have < at ? 0 : wide ? p[8] | (size_t)p[9] << 8 | (size_t)p[10] << 16 | (size_t)p[11] << 24 : p[8] | (size_t)p[9] << 8;
    if (have < at || n > have - at || n > 65536)
        return err_set(e, ERR_INPUT, "%s: the header of the .npy is cut", path);
    char *text = strndup((const char *)p + at, n);
    const char *descr = text ? strstr(text, "'descr':") : NULL, *shape = text ? strstr(text, "'shape':") : NULL;
    int bad = !text ? err_set(e, ERR_SYSTEM, "out of memory") : 0;
    *x = (struct npy){.data = at + n};
    if (text && !strstr(text, "'fortran_order': False"))
        bad = err_set(e, ERR_INPUT, strstr(text, "'fortran_order': True") ? "%s: is in Fortran's order; numpy.ascontiguousarray makes it C's"
                                                                          : "%s: its header does not say 'fortran_order': False", path);
    char order = 0, quote = 0;
    if (!bad && (!descr || sscanf(descr, "'descr': '%c%c%1u%c", &order, &x->kind, &x->item, &quote) != 4 || quote != '\''
                 || (order != '<' && (order != '|' || x->item != 1)) || (x->item != 1 && x->item != 2 && x->item != 4 && x->item != 8)))
        bad = err_set(e, ERR_INPUT, "%s: holds no little-endian numbers of up to 64 bits", path);
    bad = bad ? bad : read_shape(x, path, shape, size, e);
    uint64_t bytes = x->item;
    bool fits = true;
    for (unsigned i = 0; !bad && i < x->rank; i++)
        fits &= mul_u64(bytes, x->dim[i], &bytes);
    if (!bad && (!fits || bytes != size - x->data))
        bad = err_set(e, ERR_INPUT, "%s: has %llu bytes of elements, and its header says %llu", path, (unsigned long long)(size - x->data),
                      (unsigned long long)bytes);
    free(text);
    return bad;
}
