/* NumPy's .npy: "\x93NUMPY", a version, the length of the header, a Python dict, then the elements (numpy/lib/format.py). */
#ifndef OCTAVO_CALIBRATE_NPY_H
#define OCTAVO_CALIBRATE_NPY_H

#include "formats/mem.h"

enum { NPY_RANK = 3 };
struct npy {
    size_t data;                     /* where the elements begin */
    char kind;                       /* 'i', 'u', 'f' */
    unsigned item;                   /* bytes of an element */
    unsigned rank;
    size_t dim[NPY_RANK];
};
bool npy_is(const uint8_t *p, size_t have);
/* p: the first `have` bytes, at least the header, of a file of `size`. ERR_INPUT, naming path: big-endian or Fortran's order,
 * more dimensions, a size that is not that of the file. */
int npy_header(struct npy *x, const char *path, const uint8_t *p, size_t have, uint64_t size, struct err *e) MUST_USE;

#endif
