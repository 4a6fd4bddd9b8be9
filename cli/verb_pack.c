/* octavo pack: a chip's own memory layout in one self-describing file. */
#include "cli/job.h"
#include "cli/verbs.h"

#include <string.h>

struct choice {
    const char *target, *target_file, *form, *layout, *scale_layout;
    uint64_t align;
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

int verb_pack(int argc, char **argv, struct err *e)
{
    struct common c;
    struct choice w = {0};
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
        OPTS_RULES(&c), OPTS_WORK(&c), OPTS_TALK(&c), {0}};
    const struct usage u = {"pack", "MODEL", "A chip's own memory layout in one self-describing file.", opt, 1, 1};
    int r = opt_parse(&u, argc, argv, &n, e);
    if (r)
        return r > 0 ? 0 : -1;
    if (!w.target && !w.target_file && !w.layout && !w.scale_layout)
        return err_set(e, ERR_USAGE, "for which chip? --target CHIP (octavo targets lists them), or --layout SENTENCE");
    struct target target = {0};
    struct layout l[2];
    struct packed_info info = {0};
    struct job j = {.verb = "pack", .input = in[0], .c = &c, .want = {.plain = DT_COUNT}, .pack = &info};
    r = (w.target_file ? target_load(&target, w.target_file, e) : w.target ? target_find(&target, w.target, e) : 0)
     || job_open(&j, e) || choose(&w, &j, &target, l, &info, e) || job_run(&j, e) ? -1 : 0;
    job_close(&j);
    target_free(&target);
    return r;
}
