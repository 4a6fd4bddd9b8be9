/* octavo pack: a chip's own memory layout in one self-describing file. */
#include "cli/job.h"
#include "cli/verbs.h"

#include "formats/frames.h"
#include "formats/io.h"
#include "formats/names.h"
#include "quantizers/split.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct choice {
    const char *target, *target_file, *form, *layout, *scale_layout, *rank, *compress;
    uint64_t align, tp, ep;
    int level;               /* of compression; 0: none */
};

/* A form is right when every quantized weight is in its scheme, or becomes so exactly. */
static bool form_fits(const struct model *m, const struct grouping *g, const struct target_form *f)
{
    for (size_t i = 0; i < g->n; i++)
        if (!plan_takes_form(&g->g[i], f))
            return false;
    return g->n || plan_takes_model(m, f);
}

static int choose_form(const struct choice *w, const struct target *t, struct model *m, const struct target_form **form,
                       struct err *e)
{
    struct grouping g;
    *form = NULL;
    if (!w->form && (grouping_expand(m, e) || grouping_read(m, true, &g, e)))
        return -1; /* the model itself is not sound */
    for (size_t i = 0; i < t->nforms && !*form; i++)
        if (w->form ? !strcmp(w->form, t->form[i].name) : form_fits(m, &g, &t->form[i]))
            *form = &t->form[i];
    if (*form)
        return 0;
    if (w->form)
        return err_set(e, ERR_USAGE, "%s has no form '%s' (octavo targets %s lists them)", t->id, w->form, t->id);
    *form = &t->form[0]; /* plan_make says which tensor does not fit, and what to do */
    return 0;
}

static int choose(const struct choice *w, struct job *j, struct target *t, struct layout l[2], struct packed_info *info,
                  struct err *e)
{
    const char *sentence[2] = {w->layout, w->scale_layout};
    info->align = w->align ? (uint32_t)w->align : t->id ? t->align : 4096;
    if (info->align < PACKED_ALIGN_MIN || (info->align & (info->align - 1)) || w->align > 1 << 30)
        return err_set(e, ERR_USAGE, "--align takes a power of two from %d up", PACKED_ALIGN_MIN);
    for (int k = 0; k < 2; k++)
        if (sentence[k] && layout_parse(&l[k], sentence[k], e))
            return err_prefix(e, k ? "--scale-layout" : "--layout");
    if (w->layout || w->scale_layout) {
        j->want.weight_layout = w->layout ? &l[0] : NULL;
        j->want.scale_layout = w->scale_layout ? &l[1] : NULL;
        j->want.weight_sentence = w->layout;
        j->want.scale_sentence = w->scale_layout;
        info->target = t->id;
        return 0;
    }
    if (choose_form(w, t, &j->src, &j->want.form, e))
        return -1;
    j->want.target = t;
    info->target = t->id;
    info->form = j->want.form->name;
    info->scheme = j->want.form->scheme ? j->want.form->scheme->name : dtype_name(j->want.form->plain);
    return 0;
}

/* One file: the whole model, or what one rank has of it. shown: what the account calls it, when that is not output. */
static int pack_plain(const struct choice *w, const struct common *c, const char *input, const char *output, const char *shown,
                      struct target *target, const struct split *s, struct err *e)
{
    struct common own = *c;
    struct layout l[2];
    struct packed_info info = {0};
    own.output = output;
    struct job j = {.verb = "pack", .input = input, .shown = shown, .c = &own, .want = {.plain = DT_COUNT}, .pack = &info};
    int r = job_open(&j, e) || choose(w, &j, target, l, &info, e) ? -1 : 0;
    if (!r && s) {
        struct grouping g;
        struct heads h;
        info.tp = s->tp;
        info.ep = s->ep;
        info.ranks = s->ranks;
        info.rank = s->rank;
        r = grouping_expand(&j.src, e) || grouping_named(&j.src, true, &g, e) || heads_read(j.src.config, &h, e)
         || split_check(&j.src, &g, &h, j.want.form, s, e) || split_model(&j.src, &g, &h, s, e) ? -1 : 0;
    }
    r = r || job_fuse(&j, e) || job_run(&j, e) ? -1 : 0;
    job_close(&j);
    return r;
}

/* The same through zstd: what is packed goes into a pipe, in order, and frames of it to the output. */
static int pack_one(const struct choice *w, const struct common *c, const char *input, const char *output,
                    struct target *target, const struct split *s, struct err *e)
{
    struct outfile file;
    struct frames f;
    char path[32], a[32], b[32];
    const bool pipe_ = output && !strcmp(output, "-");
    if (!w->level || c->dry_run || (output && !strcmp(output, "null:")))
        return pack_plain(w, c, input, output, NULL, target, s, e);
    if (!output)
        return err_set(e, ERR_USAGE, "where to? -o FILE, or -o - for a pipe");
    if (c->json && pipe_)
        return err_set(e, ERR_USAGE, "--json and -o - both want standard output");
    if (io_is_dir(output) || ends_with(output, "/"))
        return err_set(e, ERR_USAGE, "a packed model is one file: -o FILE.octp");
    if (!pipe_ && outfile_open(&file, output, c->force, c->in_place, e))
        return -1;
    int r = frames_start(&f, pipe_ ? 1 : file.fd, output, w->level, c->threads, e);
    if (!r) {
        struct err late;
        snprintf(path, sizeof path, "/dev/fd/%d", f.in);
        r = pack_plain(w, c, input, path, output, target, s, e);
        close(f.in);
        if (frames_finish(&f, &late)) {
            if (!r || e->kind == ERR_SYSTEM)
                *e = late;
            r = -1;
        }
    }
    if (!pipe_ && (r || outfile_commit(&file, c->sync, e))) {
        outfile_abort(&file);
        r = -1;
    }
    if (!r && !c->quiet)
        fprintf(stderr, "  compressed: %s -> %s (%.1f %%)\n", out_bytes(f.content, a), out_bytes(f.size, b),
                f.content ? 100.0 * (double)f.size / (double)f.content : 0);
    return r;
}

/* A file per rank in a directory; a failure leaves none of them. */
static int pack_all(const struct choice *w, const struct common *c, const char *input, struct target *target, struct split *s,
                    struct err *e)
{
    const char *const dir = c->output ? c->output : "null:";
    const bool null = !strcmp(dir, "null:");
    const int digits = s->ranks > 1000 ? 4 : s->ranks > 100 ? 3 : 2;
    char **path = mem_alloc(s->ranks, sizeof *path, e);
    int r = !path ? -1 : null || c->dry_run || !mkdir(dir, 0777) || errno == EEXIST ? 0 : err_sys(e, "%s: cannot make it", dir);
    const bool made = !r && !null && !c->dry_run && errno != EEXIST;
    if (!r && !null && !c->dry_run && !io_is_dir(dir))
        r = err_set(e, ERR_USAGE, "%s is no directory, and --rank all writes a file per rank: -o DIR, or --rank R", dir);
    uint32_t done = 0;
    for (; !r && done < s->ranks; done++) {
        s->rank = done;
        if (!null && asprintf(&path[done], "%s/rank-%0*u-of-%u.octp", dir, digits, done, s->ranks) < 0)
            r = err_set(e, ERR_SYSTEM, "out of memory");
        else if (pack_one(w, c, input, null ? dir : path[done], target, s, e))
            r = -1;
        if (r)
            break;
    }
    for (uint32_t i = 0; path && i < s->ranks && !null; i++) {
        if (r && i < done && !c->dry_run)
            unlink(path[i]);
        free(path[i]);
    }
    free(path);
    if (r && made)
        rmdir(dir);
    return r;
}

/* "zstd" or "zstd:LEVEL". */
static int compress_level(const char *how, int *level, struct err *e)
{
    char *end = NULL;
    *level = FRAME_LEVEL;
    if (!strcmp(how, "zstd"))
        return 0;
    const long x = strncmp(how, "zstd:", 5) ? 0 : strtol(how + 5, &end, 10);
    *level = (int)x;
    return x >= 1 && x <= FRAME_LEVEL_MAX && !*end ? 0
         : err_set(e, ERR_USAGE, "--compress takes zstd or zstd:LEVEL with a level from 1 to %d, not '%s'", FRAME_LEVEL_MAX, how);
}

int verb_pack(int argc, char **argv, struct err *e)
{
    struct common c;
    struct choice w = {.rank = "all"};
    const char *const *in = (const char *const *)argv;
    size_t n;
    common_init(&c);
    const struct opt opt[] = {
        OPTS_OUTPUT(&c),
        {OPT_STRING, 't', "target", "CHIP", "whose memory layout; octavo targets lists them", &w.target},
        {OPT_STRING, 0, "target-file", "FILE", "the same from a target description of your own", &w.target_file},
        {OPT_STRING, 0, "form", "NAME", "one of several layouts of a target (default: the first that fits exactly)", &w.form},
        {OPT_STRING, 0, "layout", "SENTENCE", "any layout for the weights, octavo-layout(7)", &w.layout},
        {OPT_STRING, 0, "scale-layout", "SENTENCE", "any layout for the scales", &w.scale_layout},
        {OPT_SIZE, 0, "align", "BYTES", "where tensors start (default: what the target asks)", &w.align},
        {OPT_SIZE, 0, "tp", "N", "cut weights into N parts, a file per rank (tensor parallel)", &w.tp},
        {OPT_SIZE, 0, "ep", "M", "deal routed experts to M groups of ranks (expert parallel)", &w.ep},
        {OPT_STRING, 0, "rank", "R", "one rank, to -o FILE; or all (default), to -o DIR", &w.rank},
        {OPT_STRING, 0, "compress", "HOW", "zstd, or zstd:LEVEL from 1 to 19, in frames of 4 MiB (default: not)", &w.compress},
        OPTS_RULES(&c), OPTS_WORK(&c), OPTS_TALK(&c), {0}};
    const struct usage u = {"pack", "MODEL", "A chip's own memory layout in one self-describing file.", opt, 1, 1};
    int r = opt_parse(&u, argc, argv, &n, e);
    if (r)
        return r > 0 ? 0 : -1;
    if (!w.target && !w.target_file && !w.layout && !w.scale_layout)
        return err_set(e, ERR_USAGE, "for which chip? --target CHIP (octavo targets lists them), or --layout SENTENCE");
    if (w.compress && compress_level(w.compress, &w.level, e))
        return -1;
    struct target target = {0};
    struct split s = {.tp = w.tp ? (uint32_t)min_u64(w.tp, 65536) : 1, .ep = w.ep ? (uint32_t)min_u64(w.ep, 65536) : 1};
    const bool cut = w.tp || w.ep, all = !strcmp(w.rank, "all");
    char *end = NULL;
    if (cut && split_ranks(&s, e))
        return -1;
    const unsigned long rank = all ? 0 : strtoul(w.rank, &end, 10);
    if (!all && (!cut || *end || end == w.rank || rank >= s.ranks))
        return err_set(e, ERR_USAGE, cut ? "--rank takes all, or a number below %u, not '%s'"
                                         : "--rank is for --tp %u and --ep, not '%s'", s.ranks, w.rank);
    s.rank = (uint32_t)rank;
    r = w.target_file ? target_load(&target, w.target_file, e) : w.target ? target_find(&target, w.target, e) : 0;
    if (!r)
        r = cut && all ? pack_all(&w, &c, in[0], &target, &s, e) : pack_one(&w, &c, in[0], c.output, &target, cut ? &s : NULL, e);
    target_free(&target);
    return r;
}
