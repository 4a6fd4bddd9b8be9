/* GGUF: codes and scales of a weight in one tensor of a block type, under its own
 * name.  There is nothing to recognise: to a reader these are plain tensors, and
 * what describes the model are the file's keys. */
#include "formats/conventions/parts.h"

#include <string.h>

static const struct { const char *scheme; enum dtype t; } blocks[] = {{"q8_0", DT_Q8_0}, {"mxfp4", DT_MXFP4}};
enum { BLOCKS = sizeof blocks / sizeof *blocks };

static bool detect(const struct model *m, const void *config)
{
    (void)m, (void)config;
    return false;
}

static int pair(struct model *m, const void *config, size_t i, struct group *g, struct err *e)
{
    (void)m, (void)config, (void)i, (void)g, (void)e;
    return 0;
}

static enum dtype block_of(const struct scheme *s)
{
    for (int i = 0; i < BLOCKS; i++)
        if (!strcmp(s->name, blocks[i].scheme))
            return blocks[i].t;
    return DT_COUNT;
}

static bool accepts(const struct scheme *s, enum activation a)
{
    return a == ACTIVATION_NONE && block_of(s) != DT_COUNT;
}

static int outputs(const struct weight *w, struct arena *mem, struct out_tensor out[OUT_PARTS], size_t *n,
                   struct err *e)
{
    struct outputs o = {w, mem, out, n, e};
    const enum dtype t = block_of(w->scheme);
    const uint64_t cols = w->dim[w->rank - 1];
    if (cols % dtype_table[t].block_elems)
        return err_set(e, ERR_INPUT, "tensor '%s' has %llu columns, which %s blocks of %u do not divide (exclude it)", w->name,
                       (unsigned long long)cols, dtype_name(t), dtype_table[t].block_elems);
    if (put_weight(&o, NULL, PACK_PLAIN, t))
        return -1;
    out->view.elem = t;
    return 0;
}

static int config(void *root, const struct out_tensor *t, size_t n, struct err *e)
{
    (void)root, (void)t, (void)n, (void)e; /* there is no config.json */
    return 0;
}

const struct convention convention_gguf = {
    .name = "gguf",
    .title = "GGUF output: blocks of codes and scales in one tensor (llama.cpp)",
    .stem = "model",
    .detect = detect,
    .pair = pair,
    .accepts = accepts,
    .outputs = outputs,
    .config = config,
};
