/* PyTorch checkpoints (.bin, .pt, .pth): what torch.save makes of a dict of
 * tensors, in its zip format and in the one before version 1.6.  Nothing of a
 * file is run (pickle.h), and every number in it is checked. */
#ifndef OCTAVO_TORCH_H
#define OCTAVO_TORCH_H

#include "formats/model.h"

/* True when the first n bytes of a file, 8 or more, are those of a checkpoint. */
bool torch_magic(const uint8_t *p, size_t n);

/* Appends the tensors of the checkpoint to t.
 *
 * Of a dict that has a dict of tensors under "state_dict", "model_state_dict",
 * "model" or "module", the first of these is taken in its place, again and
 * again.  Dicts, lists and tuples inside the result join their keys with dots.
 * Entries that hold no tensor become metadata, "torch.NAME"; the tensors that
 * were beside a dict that was taken are counted in "torch.left_out".  Any other
 * tensor that would be lost is an error.
 *
 * A tensor that is no row-major piece of its storage gets t->stride.  Streams
 * are refused. */
int torch_read(struct head *h, uint32_t file, struct arena *mem, struct table *t, struct err *e) MUST_USE;

#endif
