/* What stories compare with other software, to standard output:
 *
 *     logits MODEL IDS LENGTH   of sequences of LENGTH tokens each, ids being U32 in a file: F32 [tokens, vocabulary] (forward.py)
 *     logits TOKENIZER TEXTS    of texts that end with a zero byte each: how many ids, and these, all U32 (tokenizer.py) */
#include "calibrate/forward/net.h"
#include "calibrate/tokenizer.h"
#include "formats/io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int say(const struct err *e)
{
    fprintf(stderr, "logits: %s\n", e->msg);
    return e->kind;
}

static int ids(const char *tokenizer, const char *texts)
{
    struct tokenizer *t;
    struct err e = {0};
    size_t n, count, step;
    char *text = io_read_file(texts, (size_t)1 << 30, &n, &e);
    if (!text || tokenizer_open(&t, tokenizer, &e))
        return say(&e);
    for (size_t i = 0; i < n; i += step + 1) {
        uint32_t *id;
        step = strlen(text + i);
        if (tokenizer_encode(t, text + i, step, &id, &count, &e))
            return say(&e);
        fwrite(&(uint32_t){(uint32_t)count}, sizeof *id, 1, stdout);
        if (count)
            fwrite(id, sizeof *id, count, stdout);
        free(id);
    }
    tokenizer_close(t);
    free(text);
    return fflush(stdout) ? 4 : 0;
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
    if (argc == 3)
        return ids(argv[1], argv[2]);
    FILE *f = argc == 4 ? fopen(argv[2], "rb") : NULL;
    const size_t length = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    if (!f || !length) {
        fprintf(stderr, "usage: logits MODEL IDS LENGTH | logits TOKENIZER TEXTS\n");
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
