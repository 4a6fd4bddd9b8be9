/* octavo convert: from one container to another, losing nothing. */
#include "cli/job.h"
#include "cli/verbs.h"

int verb_convert(int argc, char **argv, struct err *e)
{
    struct common c;
    const char *const *in = (const char *const *)argv;
    size_t n;
    common_init(&c);
    const struct opt opt[] = {OPTS_OUTPUT(&c), OPTS_GGUF(&c), OPTS_NAMES(&c), OPTS_SHARDS(&c), OPTS_RULES(&c), OPTS_WORK(&c), OPTS_TALK(&c), {0}};
    const struct usage u = {"convert", "MODEL", "From safetensors, shards, GGUF, llama2.c, packed files and pipes to safetensors, shards, GGUF and pipes.",
                            opt, 1, 1};
    int r = opt_parse(&u, argc, argv, &n, e);
    if (r)
        return r > 0 ? 0 : -1;
    struct job j = {.verb = "convert", .input = in[0], .c = &c, .want = {.plain = DT_COUNT}};
    r = job_open(&j, e) || job_run(&j, e) ? -1 : 0;
    job_close(&j);
    return r;
}
