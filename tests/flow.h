/* Whole runs for tests: a model in memory goes through plan, sink and threads as a verb does it. */
#ifndef OCTAVO_TESTS_FLOW_H
#define OCTAVO_TESTS_FLOW_H

#include "quantizers/run.h"

/* Runs w over a safetensors (or GGUF) image, as a file or as a gzip stream, into a safetensors (or, w->gguf,
 * GGUF) file or a pipe; out is what was written.  -1 when the plan or the run failed: then nothing stays. */
int flow_run(const struct buf *image, const char *config, const struct wanted *w, unsigned threads,
             bool stream, bool pipe_, struct buf *out, struct err *e);
/* The bytes of a tensor of a safetensors image, found by searching its header's text. */
const void *flow_tensor(const struct buf *image, const char *name, size_t *n);
/* What quantize wants for a scheme (NULL: nothing) with its default rule and convention. */
void flow_wanted(struct wanted *w, struct encoding *to, const char *scheme);
/* The schemes with a byte per code and a weight under its own name, whose scales follow plainly: NULL-terminated. */
extern const char *const flow_plain[];

#endif
