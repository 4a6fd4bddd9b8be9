/* What tensors are called: Hugging Face's names and llama.cpp's, which GGUF files have.
 *
 *     model.layers.3.self_attn.q_proj.weight      blk.3.attn_q.weight
 *
 * Going from one to the other is more than spelling.  llama.cpp keeps the rows of Q and K of
 * some architectures in another order (pairs of rotary embedding side by side, where Hugging
 * Face has the halves of a head), and all experts of a layer in one tensor.  The order of rows
 * becomes a layout (tensor.stored), a stack of experts is cut where it lies, and experts that are
 * to be stacked become a tensor that is put together as it is read: nobody who reads the model
 * afterwards can tell.
 *
 * Sources: ggml-org/llama.cpp gguf-py/gguf/constants.py and tensor_mapping.py (names),
 * convert_hf_to_gguf.py LlamaModel.permute (rows): with n heads of d rows each,
 *     GGUF row h*d + 2*i + j  is  Hugging Face row h*d + j*(d/2) + i      (j in {0,1}, i < d/2). */
#ifndef OCTAVO_NAMES_H
#define OCTAVO_NAMES_H

#include "formats/convention.h"

/* "hf" or "gguf"; anything else is ERR_USAGE. NULL is NAMES_SOURCE. */
int names_parse(const char *word, enum name_style *to, struct err *e) MUST_USE;
/* Whose names the tensors of m have: NAMES_GGUF when one of them is llama.cpp's token_embd.weight
 * or blk.N..., else NAMES_HF. */
enum name_style names_of(const struct model *m);

/* For a comparison: --names WORD for both; without one Hugging Face's where one has llama.cpp's names and the other has not. */
int names_agree(const char *word, struct model *a, struct model *b, struct err *e) MUST_USE;

/* Has m Hugging Face's names and config.json, and is there a table for its architecture? */
int names_known(const struct model *m, bool *known, struct err *e) MUST_USE;

/* grouping_read() of a model whose tensors get the names that m->names asks for; m->naming tells
 * what was done.  Weights and scales are paired first, so that both get their names together.  ERR_INPUT naming a tensor that nothing in the table maps, an
 * architecture that is not known or has other values in GGUF, rows or experts that do not fit. */
int grouping_named(struct model *m, bool strict, struct grouping *g, struct err *e) MUST_USE;

/* llama.cpp's name of a module that Hugging Face's files call `hf` (without ".weight"), whatever the architecture, into out [n]; an
 * expert of a stack is the stack's name and ".E". False: none is known, or it is too long. */
bool names_in_gguf(const char *hf, char *out, size_t n);

/* How t, rows of heads of 2 * half rows in Hugging Face's order, lies when memory has them in pairs; in the arena. */
const struct stored *names_pairs(const struct tensor *t, uint64_t half, struct arena *mem, struct err *e);

#endif
