/* octavo unpack: a packed file back to safetensors, byte for byte. */
#include "cli/job.h"
#include "cli/verbs.h"

#include <stdlib.h>
#include <string.h>

/* The tensors that were unpacked must be those that were packed. */
static int check_source(struct job *j, struct err *e)
{
    uint8_t now[32];
    uint8_t (*digest)[32] = mem_alloc(j->src.n, sizeof *digest, e);
    int r = digest ? run_digest(&j->src, j->c->threads, digest, e) || model_digest(&j->src, (const uint8_t (*)[32])digest, NULL, now, e) : -1;
    free(digest);
    if (!r && memcmp(now, j->source_digest, 32))
        return err_set(e, ERR_INPUT, "%s: what was unpacked is not what was packed (SHA-256 of the source)", j->input);
    return r ? -1 : 0;
}

int verb_unpack(int argc, char **argv, struct err *e)
{
    struct common c;
    const char *const *in = (const char *const *)argv;
    size_t n;
    bool check = true;
    common_init(&c);
    const struct opt opt[] = {OPTS_OUTPUT(&c), {OPT_SIZE, 0, "shard-size", "SIZE", "cut a directory into files of at "
                              "most this size, such as 5GB", &c.shard_size},
                              {OPT_OFF, 0, "no-check", NULL, "do not check the SHA-256 of every tensor first", &check},
                              OPTS_RULES(&c), OPTS_WORK(&c), OPTS_TALK(&c), {0}};
    const struct usage u = {"unpack", "FILE.octp", "A packed file back to safetensors, byte for byte.", opt, 1, 1};
    int r = opt_parse(&u, argc, argv, &n, e);
    if (r)
        return r > 0 ? 0 : -1;
    struct job j = {.verb = "unpack", .input = in[0], .c = &c, .want = {.plain = DT_COUNT}, .verify_packed = check};
    r = job_open(&j, e);
    if (!r && j.src.container != CONTAINER_PACKED)
        r = err_set(e, ERR_INPUT, "%s is not a packed file (octavo convert reads the others)", in[0]);
    r = r || job_run(&j, e) || (check && !c.dry_run && j.src.random && check_source(&j, e)) ? -1 : 0;
    job_close(&j);
    return r;
}
