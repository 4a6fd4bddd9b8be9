/* octavo unpack: a packed file back to safetensors, byte for byte. */
#include "cli/job.h"
#include "cli/verbs.h"

#include "formats/io.h"

#include <dirent.h>
#include <stdio.h>
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

/* The files of a directory that are ranks' parts, sorted. */
static int find_ranks(const char *dir, char ***path, size_t *n, struct err *e)
{
    struct dirent **entry;
    const int found = scandir(dir, &entry, NULL, alphasort);
    int r = found < 0 ? err_sys(e, "%s: cannot be read", dir) : 0;
    *path = found > 0 ? mem_alloc((size_t)found, sizeof **path, e) : NULL;
    r = r || !*path ? -1 : 0;
    for (int i = 0; i < found; i++) {
        if (!r && ends_with(entry[i]->d_name, ".octp") && asprintf(&(*path)[(*n)++], "%s/%s", dir, entry[i]->d_name) < 0)
            r = err_set(e, ERR_SYSTEM, "out of memory");
        free(entry[i]);
    }
    if (found >= 0)
        free(entry);
    return r || *n ? r : err_set(e, ERR_INPUT, "%s is not a packed file, and no packed file (*.octp) is in it", dir);
}

/* All ranks of a model that was cut (octavo pack --tp). */
static int unpack_ranks(struct job *j, const char *const *path, size_t n, struct err *e)
{
    struct model *m = mem_alloc(n, sizeof *m, e);
    size_t open = 0;
    int r = m ? 0 : -1;
    if (!r && !j->c->output && !j->c->dry_run)
        r = err_set(e, ERR_USAGE, "where to? -o FILE or -o DIR/");
    if (!r && j->c->output && deliver_is_stream(j->c->output))
        r = err_set(e, ERR_USAGE, "-o %s: parts are written where they belong, which a pipe does not allow", j->c->output);
    if (!r && j->c->rules.n)
        r = err_set(e, ERR_USAGE, "--include, --exclude and --rules are for one file; unpack all of it, then octavo convert");
    for (; !r && open < n; open++) {
        r = model_open(&m[open], path[open], e);
        if (r)
            break;
        if (m[open].container != CONTAINER_PACKED || !m[open].random)
            r = err_set(e, ERR_INPUT, "%s is not a packed file that can be read at any offset", path[open]);
    }
    if (!r) {
        j->rank = m;
        j->nranks = n;
        j->src = m[0];
        j->want.rules = &j->rules;
        r = job_run(j, e);
        j->src = (struct model){0};
    }
    for (size_t i = 0; i < open; i++)
        model_close(&m[i]);
    free(m);
    return r;
}

int verb_unpack(int argc, char **argv, struct err *e)
{
    struct common c;
    const char *const *in = (const char *const *)argv;
    char **found = NULL;
    size_t n, nfound = 0;
    bool check = true;
    common_init(&c);
    const struct opt opt[] = {OPTS_OUTPUT(&c), {OPT_SIZE, 0, "shard-size", "SIZE", "cut a directory into files of at "
                              "most this size, such as 5GB", &c.shard_size},
                              {OPT_OFF, 0, "no-check", NULL, "do not check the SHA-256 of every tensor first", &check},
                              OPTS_RULES(&c), OPTS_WORK(&c), OPTS_TALK(&c), {0}};
    const struct usage u = {"unpack", "FILE.octp...", "A packed file back to safetensors, byte for byte; or all ranks' parts.",
                            opt, 1, SIZE_MAX};
    int r = opt_parse(&u, argc, argv, &n, e);
    if (r)
        return r > 0 ? 0 : -1;
    struct job j = {.verb = "unpack", .input = in[0], .c = &c, .want = {.plain = DT_COUNT}, .verify_packed = check};
    if (n > 1 || (strcmp(in[0], "-") && io_is_dir(in[0]))) {
        r = n > 1 ? 0 : find_ranks(in[0], &found, &nfound, e);
        r = r || unpack_ranks(&j, n > 1 ? in : (const char *const *)found, n > 1 ? n : nfound, e) ? -1 : 0;
    } else {
        r = job_open(&j, e);
        if (!r && j.src.container != CONTAINER_PACKED)
            r = err_set(e, ERR_INPUT, "%s is not a packed file (octavo convert reads the others)", in[0]);
        r = r || job_run(&j, e) || (check && !c.dry_run && j.src.random && check_source(&j, e)) ? -1 : 0;
    }
    job_close(&j);
    for (size_t i = 0; i < nfound; i++)
        free(found[i]);
    free(found);
    return r;
}
