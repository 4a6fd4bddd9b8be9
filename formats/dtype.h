/* Storage types: how many bytes elements take, never what they mean. */
#ifndef OCTAVO_DTYPE_H
#define OCTAVO_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype {
#define DT(id, name, elems, bytes, fl) DT_##id,
#include "formats/dtype.def"
#undef DT
    DT_COUNT
};

struct dtype_info {
    const char *name;      /* as safetensors or ggml spells it */
    uint32_t block_elems;  /* elements per block */
    uint32_t block_bytes;  /* bytes per block */
    bool is_float;
};
extern const struct dtype_info dtype_table[DT_COUNT];

static inline const char *dtype_name(enum dtype t) { return dtype_table[t].name; }
/* DT_COUNT when there is no such type; name need not end in NUL. */
enum dtype dtype_find(const char *name, size_t n);
/* Only safetensors types can be written to safetensors. */
static inline bool dtype_is_safetensors(enum dtype t) { return t < DT_I4; }
/* Block types of GGUF: values in groups with their scales between them. */
static inline bool dtype_is_block(enum dtype t) { return t >= DT_Q8_0; }
/* False when elems is no whole number of blocks or the size overflows. */
bool dtype_size(enum dtype t, uint64_t elems, uint64_t *bytes);

#endif
