/* octavo digest: one number for the contents of a model. */
#include "cli/manifest.h"
#include "cli/out.h"
#include "cli/verbs.h"

#include "formats/names.h"
#include "quantizers/run.h"

#include <stdlib.h>

static int digest_one(const char *path, const struct common *c, bool tensors, struct err *e)
{
    struct model m;
    struct grouping g;
    uint8_t whole[32];
    char hex[65], shape[256];
    if (model_open(&m, path, e))
        return -1;
    if (names_parse(c->names, &m.names, e) || (m.names != NAMES_SOURCE && grouping_named(&m, false, &g, e))) {
        model_close(&m);
        return -1;
    }
    uint8_t (*d)[32];
    const int r = run_model_digest(&m, c->threads, &d, whole, e);
    for (size_t i = 0; !r && tensors && i < m.n; i++) {
        sha256_hex(d[i], hex);
        if (c->json) {
            printf("{\"sha256\":\"%s\",\"name\":", hex);
            out_json(stdout, m.t[i].name);
            printf(",\"dtype\":\"%s\",\"shape\":%s}\n", dtype_name(m.t[i].dtype), tensor_shape(&m.t[i], shape));
        } else {
            printf("%s  ", hex);
            out_text(stdout, m.t[i].name);
            printf(" %s %s\n", dtype_name(m.t[i].dtype), tensor_shape(&m.t[i], shape));
        }
    }
    if (!r) {
        sha256_hex(whole, hex);
        if (c->json) {
            printf("{\"sha256\":\"%s\",\"model\":", hex);
            out_json(stdout, path);
            printf(",\"tensors\":%zu}\n", m.n);
        } else {
            printf("%s  %s\n", hex, path);
        }
    }
    free(d);
    model_close(&m);
    return r;
}

int verb_digest(int argc, char **argv, struct err *e)
{
    struct common c;
    const char *const *in = (const char *const *)argv;
    size_t n;
    bool tensors = false, manifest = false;
    const char *source = NULL;
    common_init(&c);
    const struct opt opt[] = {
        {OPT_FLAG, 0, "tensors", NULL, "also a line per tensor: SHA-256 of its bytes, name, type, shape", &tensors},
        {OPT_FLAG, 0, "manifest", NULL, "a manifest instead, which verify --manifest checks", &manifest},
        {OPT_STRING, 0, "source", "MODEL", "what the model was made of: its digest goes into the manifest", &source},
        OPTS_NAMES(&c),
        {OPT_THREADS, 'T', "threads", "N", "threads; 0 means one per processor (default)", &c.threads},
        {OPT_FLAG, 0, "json", NULL, "one JSON object per line", &c.json}, {0}};
    const struct usage u = {"digest", "MODEL...", "One number for the contents: the same for file, shards, pipe and packed file.",
                            opt, 1, SIZE_MAX};
    int r = opt_parse(&u, argc, argv, &n, e);
    if (r)
        return r > 0 ? 0 : -1;
    if (manifest && n != 1)
        return err_set(e, ERR_USAGE, "--manifest is of one model");
    if (source && !manifest)
        return err_set(e, ERR_USAGE, "--source goes with --manifest");
    if (manifest)
        return manifest_print(in[0], source, &c, e);
    for (size_t i = 0; i < n; i++)
        if (digest_one(in[i], &c, tensors, e))
            return -1;
    return 0;
}
