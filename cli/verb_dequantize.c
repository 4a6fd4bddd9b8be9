/* octavo dequantize: codes and scales back to floating point. */
#include "cli/job.h"
#include "cli/verbs.h"

#include <string.h>

int verb_dequantize(int argc, char **argv, struct err *e)
{
    static const struct { const char *name; enum dtype t; } types[] = {
        {"bf16", DT_BF16}, {"f16", DT_F16}, {"f32", DT_F32}, {"BF16", DT_BF16}, {"F16", DT_F16}, {"F32", DT_F32},
        {"bfloat16", DT_BF16}, {"float16", DT_F16}, {"float32", DT_F32}};
    struct common c;
    const char *const *in = (const char *const *)argv;
    const char *dtype = NULL;
    size_t n;
    common_init(&c);
    const struct opt opt[] = {OPTS_OUTPUT(&c), {OPT_STRING, 0, "dtype", "TYPE", "bf16 (default), f16 or f32", &dtype},
                              OPTS_EXACT(&c), OPTS_GGUF(&c), OPTS_NAMES(&c), OPTS_SHARDS(&c), OPTS_RULES(&c), OPTS_WORK(&c), OPTS_TALK(&c), {0}};
    const struct usage u = {"dequantize", "MODEL", "Quantized weights back to floating point; all else stays.", opt, 1, 1};
    int r = opt_parse(&u, argc, argv, &n, e);
    if (r)
        return r > 0 ? 0 : -1;
    struct job j = {.verb = "dequantize", .input = in[0], .c = &c, .want = {.plain = DT_COUNT}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i].name, dtype ? dtype : "bf16"))
            j.want.plain = types[i].t;
    j.want.plain_all = dtype != NULL;
    if (j.want.plain == DT_COUNT)
        return err_set(e, ERR_USAGE, "--dtype takes bf16, f16 or f32, not '%s'", dtype);
    r = job_open(&j, e) || job_run(&j, e) ? -1 : 0;
    job_close(&j);
    return r;
}
