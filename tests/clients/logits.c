/* logits MODEL IDS LENGTH: runs the forward pass over sequences of LENGTH tokens each, ids being U32 in a file, and writes
 * their logits, F32 [tokens, vocabulary], to standard output: what forward.py compares with transformers. */
#include "calibrate/forward/net.h"

#include <stdio.h>
#include <stdlib.h>

static int say(const struct err *e)
{
    fprintf(stderr, "logits: %s\n", e->msg);
    return e->kind;
}

int main(int argc, char **argv)
{
    enum { MOST = 1 << 16 };
    static uint32_t id[MOST];
    static size_t start[MOST + 1];
    struct model m;
    struct net n;
    struct hidden h;
    struct err e = {0};
    FILE *f = argc == 4 ? fopen(argv[2], "rb") : NULL;
    const size_t length = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    if (!f || !length) {
        fprintf(stderr, "usage: logits MODEL IDS LENGTH\n");
        return 2;
    }
    const size_t tokens = fread(id, sizeof *id, MOST, f);
    fclose(f);
    struct sequences s = {.id = id, .start = start};
    for (; s.n * length < tokens; s.n++)
        start[s.n + 1] = (s.n + 1) * length < tokens ? (s.n + 1) * length : tokens;
    if (model_open(&m, argv[1], &e) || net_open(&n, &m, 2, &e))
        return say(&e);
    float *logits = malloc(n.vocab * sizeof *logits);
    if (!logits || net_run(&n, &s, &(struct net_options){.spill = tokens % 2, .batch = 16}, &h, &e))
        return say(&e);
    for (size_t i = 0; i < tokens; i++) {
        if (net_logits(&n, &h, i, 1, logits, &e))
            return say(&e);
        fwrite(logits, sizeof *logits, n.vocab, stdout);
    }
    free(logits);
    hidden_free(&h);
    net_close(&n);
    model_close(&m);
    return fflush(stdout) ? 4 : 0;
}
