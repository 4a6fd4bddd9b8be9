/* llama2.c: the .bin files of karpathy/llama2.c, versions 0 (which has no magic number) and 1.
 *
 * Seven 32-bit numbers (dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len), then
 * F32 arrays in a fixed order, the same tensor of all layers together (export.py legacy_export,
 * version1_export).  In version 0 a negative vocab_size says that a classifier of its own is the
 * last array, and two tables of the rotary embedding stand before it: they follow from dim,
 * n_heads and seq_len, and are counted but not listed.  Version 1 begins with "24ka", has no such
 * tables, and 256 bytes before its arrays.  Version 2, which is quantized, is refused.
 *
 * Tensors get the names and the order of rows that Hugging Face's files have (names.h): rows of Q and
 * K lie in pairs, which is a layout.  config.json is made of the header, with the two constants of
 * run.c, rms_norm_eps 1e-5 and rope_theta 10000, as metadata octavo.config. */
#ifndef OCTAVO_LLAMA2C_H
#define OCTAVO_LLAMA2C_H

#include "formats/model.h"

enum { LLAMA2C_HEAD = 28 };
/* True when these n bytes, LLAMA2C_HEAD or more, begin a file of this kind: "24ka", or seven numbers that a model can
 * have.  No other container begins so: in safetensors bytes 4 to 7 are zero, and hidden_dim never is. */
bool llama2c_magic(const uint8_t *p, size_t n);
/* ERR_INPUT when the size of the file is not what its header says. */
int llama2c_read(struct head *h, uint32_t file, struct arena *mem, struct table *t, struct err *e) MUST_USE;

#endif
