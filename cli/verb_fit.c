/* octavo fit: does it fit, on how many cards, and how fast can it be at most? */
#include "cli/opt.h"
#include "cli/out.h"
#include "cli/verbs.h"

#include "formats/config_keys.h"
#include "formats/inventory.h"
#include "formats/io.h"
#include "formats/names.h"
#include "quantizers/fit.h"
#include "quantizers/presets.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NONE (-HUGE_VAL) /* an option that was not given */

struct choice {
    const char *target, *target_file, *form, *card, *kv;
    double context, batch, usable, overhead, memory, bandwidth, power, cards, tp;
    bool json;
};

struct fit {
    const struct choice *w;
    struct model m;
    struct grouping g;
    struct heads h;
    struct fit_options o;
    double elements;   /* of all weights */
    size_t shown;
};

/* ---- the model -------------------------------------------------------------------- */

/* A directory with config.json and nothing that holds weights. */
static bool only_config(const char *path)
{
    static const char *const weights[] = {".safetensors", ".gguf", ".octp", ".bin", ".pt", ".pth", ".index.json", NULL};
    DIR *d = opendir(path);
    bool config = false, other = false;
    for (const struct dirent *x; d && (x = readdir(d)) != NULL;) {
        config |= !strcmp(x->d_name, "config.json");
        for (int i = 0; weights[i]; i++)
            other |= ends_with(x->d_name, weights[i]);
    }
    if (d)
        closedir(d);
    return config && !other;
}

static int open_config(struct fit *f, const char *path, struct err *e)
{
    size_t n;
    char *text = io_read_file(path, 1 << 24, &n, e);
    int r = !text ? -1 : strlen(text) != n ? err_set(e, ERR_INPUT, "%s: has a NUL byte", path)
                                           : inventory_open(&f->m, path, text, e);
    free(text);
    return r;
}

/* The keys of a GGUF file say the same as a config.json. */
static int config_of_gguf(struct model *m, struct err *e)
{
    const char *text = NULL, *why = NULL;
    if (m->config || !m->naming || !m->naming->architecture || m->naming->from != NAMES_GGUF || m->naming->to != NAMES_HF)
        return 0;
    if (config_from_keys(m, "bfloat16", &text, &why, e))
        return -1;
    m->config = text;
    return text ? 0 : err_set(e, ERR_INPUT, "%s: %s", m->path, why);
}

static int open_model(struct fit *f, const char *path, struct err *e)
{
    const bool is_dir = io_is_dir(path) && only_config(path);
    const bool is_json = !io_is_dir(path) && ends_with(path, ".json") && !ends_with(path, ".index.json");
    char *inside = NULL;
    int r;
    if (is_dir && asprintf(&inside, "%s/config.json", path) < 0)
        return err_set(e, ERR_SYSTEM, "out of memory");
    r = is_dir || is_json ? open_config(f, inside ? inside : path, e) : model_open_headers(&f->m, path, e);
    free(inside);
    if (r)
        return -1;
    f->m.names = f->m.container == CONTAINER_GGUF ? NAMES_HF : NAMES_SOURCE;
    if (grouping_named(&f->m, false, &f->g, e) || config_of_gguf(&f->m, e) || heads_read(f->m.config, &f->h, e)
        || heads_layers(f->m.config, path, &f->h, e))
        return -1;
    for (size_t i = 0; i < f->m.n; i++) {
        const struct group *g = f->g.part[i] == PART_WEIGHT ? &f->g.g[f->g.group[i]] : NULL;
        const struct matrix m = g ? view_matrix(&g->view) : tensor_matrix(&f->m.t[i]);
        if (g || f->g.part[i] == PART_PLAIN)
            f->elements += (double)m.batch * (double)m.rows * (double)m.cols;
    }
    if (!f->h.layers || !f->h.attention || !f->h.kv_elements)
        return err_set(e, ERR_INPUT, "%s: no config.json says num_hidden_layers, num_attention_heads and the sizes of the KV "
                       "cache, without which nothing can be planned", path);
    return 0;
}

/* ---- results ------------------------------------------------------------------------ */
static void show_missing(const struct fit_options *o)
{
    if (!o->memory)
        printf("  the memory of a card is not known: --memory BYTES");
    else if (!o->bandwidth)
        printf("  bandwidth is not known: --bandwidth BYTES");
    else if (!o->power)
        printf("  power is not known: --power WATTS");
}

static void show_json(const struct fit *f, const struct target *t, const struct target_form *form, const struct target_card *c,
                      const struct fit_weights *w, const struct fit_options *o, const struct fit_result *r)
{
    printf("{\"target\":");
    out_json(stdout, t->id);
    printf(",\"card\":");
    out_json(stdout, c ? c->name : "");
    printf(",\"form\":");
    out_json(stdout, form->name);
    printf(",\"scheme\":\"%s\",\"elements\":%.0f,\"bytes\":%.0f,\"codes\":%.0f,\"scales\":%.0f,\"plain\":%.0f",
           form->scheme ? form->scheme->name : dtype_name(form->plain), f->elements, w->codes + w->scales + w->plain,
           w->codes, w->scales, w->plain);
    printf(",\"expert_bytes\":%.0f,\"cut_bytes\":%.0f,\"whole_bytes\":%.0f,\"context\":%.0f,\"batch\":%.0f", w->expert, w->cut,
           w->whole, o->context, o->batch);
    if (o->memory > 0) {
        printf(",\"fits\":%s,\"cards\":%u,\"tp\":%u,\"dp\":%u,\"weights_per_card\":%.0f,\"kv_per_token\":%.0f,\"kv_per_card\":%.0f,"
               "\"overhead\":%.0f,\"room\":%.0f,\"read_per_step\":%.0f", r->fits ? "true" : "false", r->cards, r->tp, r->dp,
               r->weights, r->kv_token, r->kv, r->overhead, r->room, r->read);
        if (r->state > 0)
            printf(",\"state_per_sequence\":%.0f", r->state);
        if (r->experts_most)
            printf(",\"experts_on_fullest_card\":%llu", (unsigned long long)r->experts_most);
        if (r->why || r->why_more)
            printf(",\"limit\":\"%s\"", r->why ? r->why : r->why_more);
    }
    static const char *const figure[] = {"memory", "bandwidth", "power"};
    const double known[] = {o->memory, o->bandwidth, o->power};
    const char *between = "";
    printf(",\"unknown\":[");
    for (int i = 0; i < 3; i++)
        if (!known[i]) {
            printf("%s\"%s\"", between, figure[i]);
            between = ",";
        }
    putchar(']');
    if (r->tokens > 0)
        printf(",\"tokens_per_second\":%.6g", r->tokens);
    if (r->per_joule > 0)
        printf(",\"tokens_per_joule\":%.6g", r->per_joule);
    printf("}\n");
}

static void show_line(const struct target *t, const struct target_form *form, const struct target_card *c,
                      const struct fit_weights *w, const struct fit_options *o, const struct fit_result *r)
{
    char bytes[32], card[32], room[32], split[32], tokens[32] = "-", joule[32] = "-";
    out_left(stdout, t->id, 20);
    out_left(stdout, c ? c->name : "-", 12);
    out_left(stdout, form->name, 16);
    printf("%10s ", out_bytes((uint64_t)(w->codes + w->scales + w->plain), bytes));
    if (o->memory <= 0) {
        printf("%6s", "-");
        show_missing(o);
        putchar('\n');
        return;
    }
    snprintf(split, sizeof split, "%u x %u", r->tp, r->dp);
    if (r->tokens > 0)
        snprintf(tokens, sizeof tokens, "%.1f", r->tokens);
    if (r->per_joule > 0)
        snprintf(joule, sizeof joule, "%.3g", r->per_joule);
    if (!r->cards) {
        printf("%6s  %s\n", "-", r->why);
        return;
    }
    printf("%6u  %-9s %10s of %-10s %10s %9s", r->cards, split, out_bytes((uint64_t)(r->weights + r->kv), card),
           out_bytes(r->room > 0 ? (uint64_t)r->room : 0, room), tokens, joule);
    if (!r->fits)
        printf("  does not fit: %s", r->why);
    else {
        if (r->experts_cut)
            printf("  each expert is cut");
        show_missing(o);
    }
    putchar('\n');
}

static void show_whole(const struct fit *f, const struct fit_weights *w, const struct fit_options *o, const struct fit_result *r)
{
    char a[32], b[32], c[32], d[32];
    printf("  weights   codes %s, scales %s, not quantized %s (%llu quantized, %llu kept)\n", out_bytes((uint64_t)w->codes, a),
           out_bytes((uint64_t)w->scales, b), out_bytes((uint64_t)w->plain, c), (unsigned long long)w->quantized,
           (unsigned long long)w->kept);
    printf("  shared    experts %s over all cards, %s cut by tensor parallelism, %s on every card\n",
           out_bytes((uint64_t)w->expert, a), out_bytes((uint64_t)w->cut, b), out_bytes((uint64_t)w->whole, c));
    printf("  KV cache  %.0f bytes per token%s; %.0f tokens x %.0f sequences\n", r->kv_token,
           f->h.latent ? ", on every card of a tensor-parallel group" : "", o->context, o->batch);
    if (f->h.windowed)
        printf("  window    %llu of %llu layers keep the last %llu tokens\n", (unsigned long long)f->h.windowed,
               (unsigned long long)f->h.layers, (unsigned long long)f->h.window);
    if (f->h.linear)
        printf("  state     %s per sequence: %llu of %llu layers keep no tokens\n", out_bytes((uint64_t)r->state, a),
               (unsigned long long)f->h.linear, (unsigned long long)f->h.layers);
    for (int i = 0; i < FIT_POWERS; i++)
        if (!w->cuts[i]) {
            printf("  at most   %u parts: '%s' cannot be cut into %u\n", 1u << (i - 1), w->uncut[i], 1u << i);
            break;
        }
    if (!r->cards)
        return;
    printf("  per card  weights %s, KV cache %s, server %s, left %s\n", out_bytes((uint64_t)r->weights, a),
           out_bytes((uint64_t)r->kv, b), out_bytes((uint64_t)r->overhead, c),
           out_bytes(r->fits ? (uint64_t)(r->room - r->weights - r->kv) : 0, d));
    if (r->experts_most)
        printf("  experts   at most %llu of %llu on a card: they do not divide among %u\n", (unsigned long long)r->experts_most,
               (unsigned long long)f->h.experts, r->cards);
    if (r->why_more && r->fewer_weights > 0)
        printf("  fewer     %u would need %s and %s a card, and have %s: %s\n", r->cards / 2,
               out_bytes((uint64_t)r->fewer_weights, a), out_bytes((uint64_t)r->fewer_kv, b),
               out_bytes(r->room > 0 ? (uint64_t)r->room : 0, c), r->why_more);
    else if (r->why_more)
        printf("  fewer     %u: %s\n", r->cards / 2, r->why_more);
    printf("  a step    reads %s on each card", out_bytes((uint64_t)r->read, a));
    if (o->bandwidth > 0)
        printf(": at %s/s at most %.1f tokens/s, %.1f per sequence", out_bytes((uint64_t)o->bandwidth, b), r->tokens,
               r->tokens / o->batch);
    if (r->per_joule > 0)
        printf(", %.3g tokens/J", r->per_joule);
    putchar('\n');
}

/* ---- targets ------------------------------------------------------------------------ */
static const struct target_form *form_of(const struct target *t, const char *name)
{
    for (size_t i = 0; i < t->nforms; i++)
        if (name ? !strcmp(t->form[i].name, name) : t->form[i].activation != ACTIVATION_STATIC || t->form[i].activation_given == false)
            return &t->form[i];
    return name ? NULL : &t->form[0];
}

static int fit_card(struct fit *f, const struct target *t, const struct target_form *form, const struct target_card *c,
                    const struct fit_weights *w, bool whole)
{
    const struct choice *x = f->w;
    struct fit_options o = f->o;
    struct fit_result r = {0};
    o.memory = x->memory > 0 ? x->memory : c ? c->memory_bytes : 0;
    o.bandwidth = x->bandwidth > 0 ? x->bandwidth : c ? c->bandwidth : 0;
    o.power = x->power > 0 ? x->power : c ? c->power : 0;
    if (o.memory > 0)
        fit_solve(w, &f->h, &o, form->tp_max, &r);
    f->shown++;
    if (x->json) {
        show_json(f, t, form, c, w, &o, &r);
        return 0;
    }
    if (f->shown == 1)
        printf("%-20s%-12s%-16s%10s %6s  %-9s %10s of %-10s %10s %9s\n", "target", "card", "form", "weights", "cards",
               "tp x dp", "a card", "room", "tokens/s", "tokens/J");
    show_line(t, form, c, w, &o, &r);
    if (whole && o.memory > 0)
        show_whole(f, w, &o, &r);
    return 0;
}

static int fit_target(struct fit *f, const struct target *t, bool whole, struct err *e)
{
    const struct choice *x = f->w;
    const struct target_form *form = form_of(t, x->form);
    if (!form && !whole)
        return 0;
    struct rules rules = {0};
    struct fit_weights w;
    bool any = false;
    if (!form)
        return err_set(e, ERR_USAGE, "%s has no form '%s' (octavo targets %s lists them)", t->id, x->form, t->id);
    int r = preset_add(&rules, preset_of(f->m.config), e) || preset_add_target(&rules, t, form, false, e)
         || rules_add_default(&rules, "*", ACTION_QUANTIZE, "default", NULL, e)
         || fit_measure(&f->m, &f->g, &rules, form, &f->h, &w, e) ? -1 : 0;
    for (size_t i = 0; !r && i < t->ncards; i++)
        if (x->card ? !strcmp(t->card[i].name, x->card) : whole || i == 0) {
            r = fit_card(f, t, form, &t->card[i], &w, whole);
            any = true;
        }
    if (!r && !any && !x->card)
        r = fit_card(f, t, form, NULL, &w, whole);
    else if (!r && !any && whole)
        r = err_set(e, ERR_USAGE, "%s has no card '%s' (octavo targets %s lists them)", t->id, x->card, t->id);
    rules_free(&rules);
    return r;
}

static int fit_all(struct fit *f, struct err *e)
{
    const struct choice *x = f->w;
    const bool all = !x->target && !x->target_file ? true : x->target && !strcmp(x->target, "all");
    struct target t;
    if (!all) {
        if (x->target_file ? target_load(&t, x->target_file, e) : target_find(&t, x->target, e))
            return -1;
        int r = fit_target(f, &t, true, e);
        target_free(&t);
        return r;
    }
    for (size_t i = 0; i < target_count(); i++) {
        if (target_find(&t, target_id(i), e))
            return -1;
        int r = fit_target(f, &t, false, e);
        target_free(&t);
        if (r)
            return -1;
    }
    if (!f->shown)
        return err_set(e, ERR_USAGE, "no target has %s '%s' (octavo targets lists them)", x->card ? "a card" : "a form",
                       x->card ? x->card : x->form);
    return 0;
}

/* ---- the command line ------------------------------------------------------------------ */
static int check(struct fit *f, struct err *e)
{
    static const struct { const char *name; double bytes; } kv[] = {{"bf16", 2}, {"f16", 2}, {"fp8", 1}, {"int8", 1}};
    const struct choice *x = f->w;
    f->o = (struct fit_options){.context = x->context, .batch = x->batch, .overhead = x->overhead, .usable = x->usable};
    for (size_t i = 0; i < sizeof kv / sizeof *kv; i++)
        if (!strcmp(kv[i].name, x->kv))
            f->o.kv_bytes = kv[i].bytes;
    if (!f->o.kv_bytes)
        return err_set(e, ERR_USAGE, "--kv-dtype takes bf16, f16, fp8 or int8, not '%s'", x->kv);
    if (!(x->context >= 0 && x->context <= 1e9) || floor(x->context) != x->context)
        return err_set(e, ERR_USAGE, "--context takes a number of tokens from 0 to 1e9, not %g", x->context);
    if (!(x->batch >= 1 && x->batch <= 1e6) || floor(x->batch) != x->batch)
        return err_set(e, ERR_USAGE, "--batch takes a number of sequences from 1 to 1e6, not %g", x->batch);
    if (!(x->usable > 0 && x->usable <= 1))
        return err_set(e, ERR_USAGE, "--usable takes a share of the memory, more than 0 and at most 1");
    if (x->cards != NONE && (!(x->cards >= 1 && x->cards <= 1024) || floor(x->cards) != x->cards))
        return err_set(e, ERR_USAGE, "--cards takes a number from 1 to 1024, not %g", x->cards);
    if (x->tp != NONE && (!(x->tp >= 1 && x->tp <= 1024) || exp2(floor(log2(x->tp))) != x->tp))
        return err_set(e, ERR_USAGE, "--tp takes a power of two from 1 to 1024, not %g", x->tp);
    f->o.cards = x->cards == NONE ? 0 : (uint32_t)x->cards;
    f->o.tp = x->tp == NONE ? 0 : (uint32_t)x->tp;
    if (!(x->overhead >= 0))
        return err_set(e, ERR_USAGE, "--overhead takes bytes from 0, not %g", x->overhead);
    const struct { const char *name; double x; } positive[] = {{"memory", x->memory}, {"bandwidth", x->bandwidth},
                                                               {"power", x->power}};
    for (size_t i = 0; i < sizeof positive / sizeof *positive; i++)
        if (positive[i].x != NONE && !(positive[i].x > 0))
            return err_set(e, ERR_USAGE, "--%s takes more than 0, not %g", positive[i].name, positive[i].x);
    return 0;
}

int verb_fit(int argc, char **argv, struct err *e)
{
    struct choice w = {.kv = "bf16", .context = 4096, .batch = 1, .usable = 0.9, .overhead = 4e9,
                       .cards = NONE, .tp = NONE, .memory = NONE, .bandwidth = NONE, .power = NONE};
    const char *const *in = (const char *const *)argv;
    size_t n;
    const struct opt opt[] = {
        {OPT_STRING, 't', "target", "CHIP", "one chip, with all its cards; all (default): a line for each", &w.target},
        {OPT_STRING, 0, "target-file", "FILE", "the same from a target description of your own", &w.target_file},
        {OPT_STRING, 0, "form", "NAME", "one of several forms of a target (default: the first)", &w.form},
        {OPT_STRING, 0, "card", "NAME", "one of several cards of a target", &w.card},
        {OPT_REAL, 0, "context", "TOKENS", "of each sequence (4096)", &w.context},
        {OPT_REAL, 0, "batch", "N", "sequences at a time (1)", &w.batch},
        {OPT_STRING, 0, "kv-dtype", "TYPE", "of the KV cache: bf16 (default), f16, fp8 or int8", &w.kv},
        {OPT_REAL, 0, "cards", "N", "this many cards (default: as few as possible of 1, 2, 4, 8 ...)", &w.cards},
        {OPT_REAL, 0, "tp", "N", "tensor parallelism, a power of two (default: the fastest)", &w.tp},
        {OPT_REAL, 0, "usable", "SHARE", "of a card's memory (0.9)", &w.usable},
        {OPT_REAL, 0, "overhead", "BYTES", "that the server takes on each card (4e9)", &w.overhead},
        {OPT_REAL, 0, "memory", "BYTES", "of a card, instead of what the target says", &w.memory},
        {OPT_REAL, 0, "bandwidth", "BYTES", "per second, of a card, instead of what the target says", &w.bandwidth},
        {OPT_REAL, 0, "power", "WATTS", "of a card, instead of what the target says", &w.power},
        {OPT_FLAG, 0, "json", NULL, "a JSON object per line", &w.json},
        {0}};
    const struct usage u = {"fit", "MODEL", "Does it fit, on how many cards, and how fast can it be at most?", opt, 1, 1};
    int r = opt_parse(&u, argc, argv, &n, e);
    if (r)
        return r > 0 ? 0 : -1;
    struct fit f = {.w = &w};
    r = check(&f, e) || open_model(&f, in[0], e) || fit_all(&f, e) ? -1 : 0;
    model_close(&f.m);
    return r;
}
