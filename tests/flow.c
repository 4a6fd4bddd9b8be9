#include "tests/flow.h"

#include "formats/writer.h"
#include "tests/mk.h"

#include <criterion/criterion.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const flow_plain[] = {"fp8-ue8m0-128x128", "fp8-f32-128x128", "mxfp8", "fp8-channel", "fp8-tensor",
                                  "int8-channel", NULL};

static int fill(struct plan *p, bool gguf, const char *path, const char *real, unsigned threads, struct err *e)
{
    struct tensor *const t = calloc(p->nout + 1, sizeof *t);
    size_t *const slot = calloc(p->nout + 1, sizeof *slot), *const order = calloc(p->nout + 1, sizeof *order),
                  k = 0;
    uint32_t *const shard = calloc(p->nout + 1, sizeof *shard);
    const bool pipe_ = !strcmp(path, "-");
    const struct run_options opt = {.threads = threads};
    struct writer w;
    struct sink s;
    int saved = -1;
    for (size_t i = 0; i < p->nops; i++)
        for (unsigned o = 0; o < p->op[i].nout; o++, k++) {
            order[k] = p->op[i].out[o];
            t[k] = p->out[order[k]].t;
        }
    cr_assert_eq(k, p->nout);
    cr_assert_eq(gguf ? writer_gguf(&w, t, k, path, &(struct gguf_keys){0}, e)
                      : writer_safetensors(&w, t, k, shard, &path, 1, NULL, 0, pipe_, e), 0, "%s", e->msg);
    for (size_t i = 0; i < k; i++)
        slot[order[i]] = w.slot_of[i];
    if (pipe_) { /* standard output becomes a file that can only be appended to */
        fflush(stdout);
        saved = dup(STDOUT_FILENO);
        const int fd = open(real, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0666);
        dup2(fd, STDOUT_FILENO);
        close(fd);
    }
    int r = sink_open(&s, w.file, w.nfiles, w.slot, w.nslots, NULL, (struct sink_options){0}, e);
    r = r || run_plan(p, &s, slot, &opt, NULL, e) || sink_commit(&s, e) ? -1 : 0;
    if (r)
        sink_abort(&s);
    if (pipe_) {
        dup2(saved, STDOUT_FILENO);
        close(saved);
    }
    writer_free(&w);
    free(t);
    free(slot);
    free(order);
    free(shard);
    return r;
}

int flow_run(const struct buf *image, const char *config, const struct wanted *w, unsigned threads,
             bool stream, bool pipe_, struct buf *out, struct err *e)
{
    char *const dir = mk_tmpdir(), *const in = mk_path(dir, "in"), *const to = mk_path(dir, "out");
    struct buf gz = stream ? mk_gzip(image->s, image->n) : (struct buf){0};
    struct model m;
    struct plan p;
    mk_write(in, stream ? gz.s : image->s, stream ? gz.n : image->n);
    buf_free(&gz);
    if (config) {
        char *const path = mk_path(dir, "config.json");
        mk_write(path, config, strlen(config));
        free(path);
    }
    *out = (struct buf){0};
    int r = model_open(&m, in, e);
    cr_assert_eq(r, 0, "%s", e->msg);
    cr_assert_eq(m.random, !stream);
    r = plan_make(&p, &m, w, e);
    if (!r) {
        r = fill(&p, w->gguf, pipe_ ? "-" : to, to, threads, e);
        if (!r)
            *out = mk_read(to);
        plan_free(&p);
    }
    model_close(&m);
    cr_assert_eq(mk_files_in(dir), 1 + (config != NULL) + (r == 0 || (pipe_ && !access(to, F_OK))),
                 "files stay: %s", e->msg);
    free(in);
    free(to);
    mk_rmdir(dir);
    return r;
}

const void *flow_tensor(const struct buf *image, const char *name, size_t *n)
{
    char key[256];
    uint64_t head = 0, from, to;
    for (int i = 0; i < 8; i++)
        head |= (uint64_t)(uint8_t)image->s[i] << 8 * i;
    snprintf(key, sizeof key, "\"%s\":{", name);
    const char *p = memmem(image->s + 8, head, key, strlen(key));
    cr_assert(p, "no tensor %s", name);
    p = strstr(p, "\"data_offsets\":[");
    cr_assert_eq(sscanf(p, "\"data_offsets\":[%lu,%lu]", &from, &to), 2);
    cr_assert_leq(8 + head + to, image->n);
    *n = to - from;
    return image->s + 8 + head + from;
}

void flow_wanted(struct wanted *w, struct encoding *to, const char *scheme)
{
    *w = (struct wanted){.plain = DT_COUNT};
    if (!scheme)
        return;
    cr_assert(scheme_find(scheme), "%s", scheme);
    *to = encoding_of(scheme_find(scheme));
    w->to = to;
    w->convention = convention_default(to->scheme);
    /* By default a row that ends in a partial group is kept; the arithmetic is for every shape. */
    static struct rules by_name;
    struct err e;
    if (!by_name.n)
        cr_assert_eq(rules_add(&by_name, "re:experts|[qkvx][.]weight$", ACTION_QUANTIZE, "test", &e), 0);
    w->rules = &by_name;
}
