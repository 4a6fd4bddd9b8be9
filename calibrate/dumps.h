/* Statistics from dumps of activations that hooks of other frameworks have made.
 *
 * A safetensors file (or any model file that Octavo reads) whose tensors are NAME or NAME.input, NAME being a linear layer without
 * ".weight": [rows, channels], or [sequences, rows, channels], in F32, F16 or BF16.  Or a NumPy file NAME.npy of float32 or
 * float16, or arrays NAME of a .npz that is not compressed.  What has no dump of its own shares that of q_proj (k_proj, v_proj), query (key, value), gate_proj (up_proj), w1 (w3) or q_a_proj
 * (kv_a_proj_with_mqa).  Of sequences, or of every `rows` rows where they are not told apart, each `every`-th is held out. */
#ifndef OCTAVO_CALIBRATE_DUMPS_H
#define OCTAVO_CALIBRATE_DUMPS_H

#include "calibrate/gather.h"

struct dump_options {
    struct gather_options how;
    size_t rows, every;              /* 0: nothing is held out */
    uint64_t memory;                 /* bytes that sums and rows may take; 0: any */
};
/* Each name in one file only. ERR_INPUT naming file and tensor: types, shapes, NaN and Inf, more channels than there is memory for. *n: the points. */
int dumps_gather(const char *const *path, size_t files, const char *output, const struct dump_options *o, const struct meta *kv, size_t nkv,
                 struct sink_options sink, size_t *n, struct err *e) MUST_USE;

#endif
