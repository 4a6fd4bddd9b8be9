/* Tensors of a packed file for check.cu, read with the loader of samples/. */
#define main load_packed_main
#include "../../samples/load_packed.c"
#undef main
#include "packed.h"

const void *packed_bytes(const char *path, const char *name, uint64_t shape[2], uint64_t *size, char layout[64])
{
    struct packed p;
    struct packed_tensor t;
    const char *wrong = packed_open(&p, path);
    if (!wrong)
        wrong = packed_find(&p, name, &t);
    if (!wrong && (t.rank < 1 || t.rank > 2 || t.layout.n > 63))
        wrong = "has a tensor that is no matrix";
    if (wrong) {
        fprintf(stderr, "check-gpu: %s %s: %s\n", path, name, wrong);
        return NULL;
    }
    shape[0] = t.dim[0];
    shape[1] = t.rank > 1 ? t.dim[1] : 1;
    *size = t.size;
    memcpy(layout, t.layout.s, t.layout.n);
    layout[t.layout.n] = '\0';
    return t.data; /* stays mapped until the program ends */
}
