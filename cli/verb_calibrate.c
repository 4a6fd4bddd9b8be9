/* octavo calibrate: statistics of the inputs of linear layers, by running the model over text. */
#include "cli/opt.h"
#include "cli/out.h"
#include "cli/verbs.h"

#include "calibrate/actscale.h"
#include "calibrate/corpus.h"
#include "calibrate/dumps.h"
#include "calibrate/gather.h"
#include "calibrate/imatrix.h"
#include "calibrate/linalg.h"
#include "formats/io.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct choice {
    const char *tokens, *text, *tokenizer, *experts, *scales, *format;
    uint64_t length, limit, every, batch;
    bool merge, diagonal, spill, whole, dumps, imatrix, caches;
};

struct calibration {
    const char *input;
    const struct choice *w;
    const struct common *c;
    struct model m;
    struct net net;
    struct corpus text;
    struct gather_options how;
    struct net_options run;
    struct meter meter;
    struct progress shown;
    char name[32];
    struct meta kv[16];
    size_t nkv;
    struct arena mem;
};

/* ---- what a file says of itself ------------------------------------------------------ */
static int say(struct calibration *x, const char *key, const char *value, struct err *e)
{
    x->kv[x->nkv].key = key;
    x->kv[x->nkv].value = arena_strdup(&x->mem, value, e);
    return x->kv[x->nkv++].value ? 0 : -1;
}

static int say_number(struct calibration *x, const char *key, uint64_t value, struct err *e)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, value);
    return say(x, key, text, e);
}

static const char *last_part(const char *path)
{
    const char *p = strrchr(path, '/');
    return p && p[1] ? p + 1 : path;
}

static int provenance(struct calibration *x, struct err *e)
{
    uint8_t digest[32];
    char hex[65];
    struct sha256 s;
    sha256_init(&s);
    sha256_put(&s, x->text.id, x->text.tokens * sizeof *x->text.id);
    sha256_end(&s, digest);
    sha256_hex(digest, hex);
    return say(x, "octavo.calibration.model", last_part(x->input), e) || say(x, "octavo.calibration.model_type", x->net.type, e)
        || say(x, "octavo.calibration.text", last_part(x->w->text ? x->w->text : x->w->tokens), e) || say(x, "octavo.calibration.text_sha256", hex, e)
        || say_number(x, "octavo.calibration.tokens", x->text.tokens, e) || say_number(x, "octavo.calibration.sequences", x->text.n, e)
        || say_number(x, "octavo.calibration.holdout_every", x->w->every, e)
        || say(x, "octavo.calibration.products", la_name(), e) || say(x, "octavo.version", OCTAVO_VERSION, e) ? -1 : 0;
}

/* ---- what a file has that its reader should know ------------------------------------- */
enum { LOUD = 100 };                 /* times the mean energy */

static bool is_file(const char *path)
{
    struct stat s;
    return strcmp(path, "-") && !stat(path, &s) && S_ISREG(s.st_mode);
}

/* Massive activations: few channels that decide over everything. */
static int tell_loud(const char *path, const struct common *c, struct err *e)
{
    struct stats s;
    struct stats_loud one, most = {0};
    const char *worst = NULL;
    size_t points = 0;
    if (c->quiet || !(io_is_dir(path) || is_file(path))) /* a pipe is gone, null: was nothing */
        return 0;
    if (stats_open(&s, path, e))
        return -1;
    int r = 0;
    for (size_t i = 0; !r && i < s.n; i++) {
        r = stats_loud(&s, &s.point[i], LOUD, &one, e);
        points += one.n > 0;
        if (one.ratio > most.ratio) {
            most = one;
            worst = s.point[i].name;
        }
        if (!r && one.n && c->verbose)
            fprintf(stderr, "  '%s': %" PRIu64 " channels above %d times the mean energy, channel %" PRIu64 " has %.0f times\n", s.point[i].name, one.n,
                    LOUD, one.channel, one.ratio);
    }
    if (!r && points)
        fprintf(stderr, "  massive activations: %zu of %zu inputs have channels above %d times the mean energy; channel %" PRIu64 " of '%s' has %.0f times\n",
                points, s.n, LOUD, most.channel, worst, most.ratio);
    stats_close(&s);
    return r;
}

/* ---- plan ------------------------------------------------------------------------------ */
enum { LIBRARIES = 24 << 20 };      /* what the program and OpenBLAS take whatever they do */
struct need {
    uint64_t file, memory;
    double flop, gram_flop;
};

static struct need needs(const struct calibration *x, const struct gather *g)
{
    const struct sequences s = corpus_sequences(&x->text);
    struct net_cost c;
    struct need n = {0};
    uint64_t sums;
    net_cost(&x->net, &s, &x->run, &c);
    gather_cost(g, &n.file, &sums);
    n.memory = c.weights + c.hidden + c.batch + sums + x->text.tokens * 4 + LIBRARIES;
    n.flop = c.flop;
    n.gram_flop = x->how.diagonal ? 0 : gather_flop(g) * (double)x->text.tokens;
    return n;
}

static size_t held_out(const struct corpus *c)
{
    size_t held = 0;
    for (size_t i = 0; i < c->n; i++)
        held += c->set[i] == STATS_HOLDOUT ? c->start[i + 1] - c->start[i] : 0;
    return held;
}

static void show_plan(const struct calibration *x, const struct need *n)
{
    char file[32], memory[32];
    const size_t held = held_out(&x->text);
    if (x->c->json) {
        printf("{\"verb\":\"calibrate\",\"input\":");
        out_json(stdout, x->input);
        printf(",\"model_type\":\"%s\",\"layers\":%" PRIu64 ",\"tokens\":%zu,\"holdout\":%zu,\"sequences\":%zu,\"bytes_out\":%" PRIu64
               ",\"memory\":%" PRIu64 ",\"forward_flop\":%.6g,\"moments_flop\":%.6g}\n", x->net.type, x->net.layers, x->text.tokens, held,
               x->text.n, n->file, n->memory, n->flop, n->gram_flop);
        return;
    }
    printf("%s, %" PRIu64 " layers, hidden size %" PRIu64 "\n%zu tokens in %zu sequences, %zu of them held out\n", x->net.type, x->net.layers,
           x->net.hidden, x->text.tokens, x->text.n, held);
    printf("%.1f TFLOP forward, %.1f TFLOP of second moments: %.1f min at 100 GFLOP/s (products: %s)\n", n->flop / 1e12, n->gram_flop / 1e12,
           (n->flop + n->gram_flop) / 6e12, la_name());
    printf("memory: %s; statistics: %s\n", out_bytes(n->memory, memory), out_bytes(n->file, file));
}

enum { SMALL = 128 };

static int check_memory(struct calibration *x, struct need *n, const struct gather *g, struct err *e)
{
    char a[32], b[32];
    *n = needs(x, g);
    if (n->memory > x->c->memory && !x->run.spill) { /* hidden states can go to the disk */
        x->run.spill = true;
        *n = needs(x, g);
    }
    for (; n->memory > x->c->memory && !x->w->batch && x->run.batch != SMALL; *n = needs(x, g)) /* and fewer tokens do */
        x->run.batch = x->run.batch ? x->run.batch / 2 : 512;
    if (n->memory <= x->c->memory)
        return 0;
    return err_set(e, ERR_INPUT, "%s: this needs %s of memory and the limit is %s (shorter sequences, --diagonal, or a larger -M)", x->input,
                   out_bytes(n->memory, a), out_bytes(x->c->memory, b));
}

/* ---- running ----------------------------------------------------------------------------- */
static void show(struct calibration *x, uint64_t layer)
{
    snprintf(x->name, sizeof x->name, "layer %" PRIu64 " of %" PRIu64, layer + 1, x->net.layers);
    x->shown = (struct progress){layer, x->net.layers, x->name};
    meter_show(&x->meter, &x->shown);
}

static int one_layer(struct calibration *x, struct gather *g, struct hidden *h, uint64_t layer, struct err *e)
{
    const struct sequences s = corpus_sequences(&x->text);
    x->run.tap = gather_tap(g);
    show(x, layer);
    return net_layer(&x->net, &s, &x->run, h, layer, e) || gather_layer(g, e) ? -1 : 0;
}

static struct sink_options sink_of(const struct common *c) { return (struct sink_options){.force = c->force, .sync = c->sync}; }

static int into_file(struct calibration *x, struct gather *g, struct err *e)
{
    const struct sequences s = corpus_sequences(&x->text);
    struct hidden h;
    if (gather_create(g, x->c->output, x->kv, x->nkv, sink_of(x->c), e) || net_embed(&x->net, &s, &x->run, &h, e))
        return -1;
    int r = 0;
    for (uint64_t i = 0; !r && i < x->net.layers; i++)
        r = one_layer(x, g, &h, i, e);
    hidden_free(&h);
    return r ? -1 : gather_commit(g, e);
}

/* ---- a directory: a file a layer, and what is needed to go on ------------------------------ */
static int layer_path(char *path, size_t n, const struct calibration *x, const char *name, struct err *e)
{
    return snprintf(path, n, "%s/%s", x->c->output, name) < (int)n ? 0 : err_set(e, ERR_USAGE, "%s: is too long a name", x->c->output);
}

/* Where an earlier run with the same text, model and options has come to. */
static int read_state(const struct calibration *x, const char *mark, struct hidden *h, uint64_t *next, struct err *e)
{
    char path[4096], *text;
    size_t n;
    *next = 0;
    if (layer_path(path, sizeof path, x, "resume", e))
        return -1;
    if (!x->c->resume || !io_exists(path))
        return 0;
    if (!(text = io_read_file(path, 4096, &n, e)))
        return -1;
    const size_t length = strlen(mark);
    const bool same = !strncmp(text, mark, length) && text[length] == ' ';
    char *end = text;
    *next = same && text[length + 1] >= '0' && text[length + 1] <= '9' ? strtoull(text + length + 1, &end, 10) : 0;
    const bool whole = end > text && end == text + n - 1 && *end == '\n' && *next && *next <= x->net.layers;
    free(text);
    if (!same)
        return err_set(e, ERR_USAGE, "%s: was begun with another model, text or options; without --resume it begins anew", x->c->output);
    if (!whole)
        return err_set(e, ERR_INPUT, "%s: is damaged: no number from 1 to %" PRIu64 ", of layers that are done (without --resume it begins anew)", path,
                       x->net.layers);
    uint64_t size;
    if (layer_path(path, sizeof path, x, "hidden", e))
        return -1;
    const int fd = io_open(path, &size, e);
    if (fd < 0)
        return -1;
    float *row = mem_alloc(x->net.hidden, sizeof *row, e);
    int r = !row ? -1 : size != x->text.tokens * x->net.hidden * sizeof *row ? err_set(e, ERR_INPUT, "%s: has another size than it was given", path) : 0;
    for (size_t i = 0; !r && i < x->text.tokens; i++)
        r = io_pread(fd, path, i * x->net.hidden * sizeof *row, row, x->net.hidden * sizeof *row, e) || hidden_put(h, i, 1, row, e) ? -1 : 0;
    free(row);
    close(fd);
    return r;
}

static int write_state(const struct calibration *x, const char *mark, const struct hidden *h, uint64_t next, struct err *e)
{
    char path[4096], text[160];
    struct outfile f;
    float *row = mem_alloc(x->net.hidden, sizeof *row, e);
    int r = !row || layer_path(path, sizeof path, x, "hidden", e) || outfile_open(&f, path, true, false, e) ? -1 : 0;
    if (!r) {
        for (size_t i = 0; !r && i < x->text.tokens; i++)
            r = hidden_get(h, i, 1, row, e) || io_pwrite(f.fd, path, i * x->net.hidden * sizeof *row, row, x->net.hidden * sizeof *row, e) ? -1 : 0;
        if (r)
            outfile_abort(&f);
        else
            r = outfile_commit(&f, x->c->sync, e);
    }
    free(row);
    snprintf(text, sizeof text, "%s %" PRIu64 "\n", mark, next);
    return r || layer_path(path, sizeof path, x, "resume", e) || io_write_file(path, text, strlen(text), true, x->c->sync, e) ? -1 : 0;
}

/* One word for all that a run depends on. */
static void mark_of(const struct calibration *x, char hex[65])
{
    uint8_t digest[32];
    struct sha256 s;
    sha256_init(&s);
    sha256_put(&s, x->text.id, x->text.tokens * sizeof *x->text.id);
    sha256_put(&s, x->text.start, (x->text.n + 1) * sizeof *x->text.start);
    sha256_put(&s, x->text.set, x->text.n);
    for (size_t i = 0; i < x->m.nf; i++)
        sha256_put(&s, &x->m.f[i].size, sizeof x->m.f[i].size);
    if (x->m.config)
        sha256_put(&s, x->m.config, strlen(x->m.config));
    const uint8_t how[3] = {x->how.diagonal, x->how.each, x->how.caches};
    sha256_put(&s, how, sizeof how);
    sha256_end(&s, digest);
    sha256_hex(digest, hex);
}

static int into_directory(struct calibration *x, struct err *e)
{
    const struct sequences s = corpus_sequences(&x->text);
    struct hidden h;
    char mark[65], path[4096], name[40];
    uint64_t first;
    if (mkdir(x->c->output, 0777) && !io_is_dir(x->c->output))
        return err_sys(e, "%s: cannot make the directory", x->c->output);
    mark_of(x, mark);
    if (net_embed(&x->net, &s, &x->run, &h, e))
        return -1;
    int r = read_state(x, mark, &h, &first, e);
    for (uint64_t i = first; !r && i < x->net.layers; i++) {
        struct gather *g = NULL;
        struct sink_options o = sink_of(x->c);
        o.force |= x->c->resume; /* a layer that was not complete */
        snprintf(name, sizeof name, "layer-%05" PRIu64 ".safetensors", i);
        r = layer_path(path, sizeof path, x, name, e) || gather_plan(&g, &x->net, i, i + 1, x->how, e)
         || gather_create(g, path, x->kv, x->nkv, o, e) || one_layer(x, g, &h, i, e) || gather_commit(g, e)
         || write_state(x, mark, &h, i + 1, e) ? -1 : 0;
        gather_free(g);
    }
    hidden_free(&h);
    for (int i = 0; !r && i < 2; i++)
        if (!layer_path(path, sizeof path, x, i ? "hidden" : "resume", e))
            unlink(path);
    return r;
}

/* ---- the verb ------------------------------------------------------------------------------ */
static bool is_directory(const char *path) { return ends_with(path, "/") || io_is_dir(path); }

static int calibrate(struct calibration *x, struct err *e)
{
    const struct common *c = x->c;
    struct gather *g = NULL;
    struct need n;
    if ((c->spool ? model_open_spooled : model_open)(&x->m, x->input, e) || net_open(&x->net, &x->m, c->threads, e)
        || (x->w->text ? corpus_of_model(&x->text, x->w->text, x->w->tokenizer, &x->m, x->net.vocab, e) : corpus_read(&x->text, x->w->tokens, e))
        || corpus_cut(&x->text, x->w->length, x->w->limit, x->w->every, e)
        || (x->how.caches && x->net.mla.kv_rank && err_set(e, ERR_USAGE, "--kv-cache: %s has latent attention (MLA), whose cache has no scales of keys and values", x->input))
        || gather_plan(&g, &x->net, 0, x->net.layers, x->how, e))
        return -1;
    int r = check_memory(x, &n, g, e);
    if (c->dry_run) {
        show_plan(x, &n);
    } else if (!r) {
        meter_start(&x->meter, "calibrate", c);
        const double start = seconds_now();
        r = provenance(x, e) || (is_directory(c->output) ? into_directory(x, e) : into_file(x, g, e)) ? -1 : 0;
        meter_end(&x->meter);
        const double seconds = seconds_now() - start;
        char a[32];
        if (!r && c->json)
            printf("{\"verb\":\"calibrate\",\"tokens\":%zu,\"sequences\":%zu,\"layers\":%" PRIu64 ",\"bytes_out\":%" PRIu64
                   ",\"seconds\":%.3f,\"gflops\":%.1f}\n", x->text.tokens, x->text.n, x->net.layers, n.file, seconds,
                   (n.flop + n.gram_flop) / seconds / 1e9);
        if (!r && !c->quiet)
            fprintf(stderr, "octavo calibrate: %s -> %s\n  %zu tokens in %zu sequences through %" PRIu64 " layers of %s, %zu of them held out\n  %s of statistics in %.1f s (%.1f GFLOP/s, %s)\n", x->input, c->output, x->text.tokens, x->text.n,
                    x->net.layers, x->net.type, held_out(&x->text), out_bytes(n.file, a), seconds, (n.flop + n.gram_flop) / seconds / 1e9, la_name());
    }
    gather_free(g);
    return r || c->dry_run ? r : tell_loud(c->output, c, e);
}

/* max, mse, or a percentage such as 99.9 */
static int scales(const char *input, const struct choice *w, const struct common *c, struct err *e)
{
    const struct num *num = num_named(w->format ? w->format : "e4m3");
    char *end;
    const double share = strtod(w->scales, &end) / 100;
    const bool max = !strcmp(w->scales, "max"), mse = !strcmp(w->scales, "mse");
    struct stats s;
    if (!num || !(num == num_named("e4m3") || num == num_named("int8") || num == num_named("e5m2")))
        return err_set(e, ERR_USAGE, "--format takes e4m3, e5m2 or int8, not '%s'", w->format);
    if (!max && !mse && (*end || end == w->scales || !(share > 0) || share > 1))
        return err_set(e, ERR_USAGE, "--activation-scales takes max, mse or a percentage such as 99.9, not '%s'", w->scales);
    if (stats_open(&s, input, e))
        return -1;
    const int r = actscale_write(&s, max ? ACTSCALE_MAX : mse ? ACTSCALE_MSE : ACTSCALE_PERCENTILE, share, num, c->output, sink_of(c), e);
    stats_close(&s);
    return r;
}

/* Inputs that hooks of another framework have dumped. */
static int dumps(const char *const *in, size_t n, const struct choice *w, const struct common *c, struct err *e)
{
    const struct dump_options o = {{w->diagonal, false, c->threads, false}, w->length ? w->length : 512, w->every, c->memory};
    const struct meta kv[] = {{"octavo.calibration.text", "dumps"}, {"octavo.calibration.products", la_name()}, {"octavo.version", OCTAVO_VERSION}};
    size_t points;
    if (dumps_gather(in, n, c->output, &o, kv, sizeof kv / sizeof *kv, sink_of(c), &points, e))
        return -1;
    if (!c->quiet)
        fprintf(stderr, "octavo calibrate: inputs of %zu layers -> %s\n", points, c->output);
    return tell_loud(c->output, c, e);
}

/* llama.cpp's importance matrix. */
static int imatrix(const char *input, const struct common *c, struct err *e)
{
    const struct meta kv[] = {{"octavo.calibration.text", "imatrix"}, {"octavo.calibration.imatrix", last_part(input)}, {"octavo.version", OCTAVO_VERSION}};
    struct imatrix x;
    if (imatrix_import(&x, input, c->output, kv, sizeof kv / sizeof *kv, sink_of(c), e))
        return -1;
    if (!c->quiet)
        fprintf(stderr, "octavo calibrate: mean squares of %zu inputs -> %s\n", x.points, c->output);
    if (!c->quiet && x.unseen)
        fprintf(stderr, "  %zu experts had no token, and are left out\n", x.unseen);
    return tell_loud(c->output, c, e);
}

static int check(const struct choice *w, const struct common *c, size_t n, struct err *e)
{
    if (!c->output && !c->dry_run)
        return err_set(e, ERR_USAGE, "where to? -o FILE, or -o DIR/ for a file a layer");
    if (w->merge)
        return n >= 2 ? 0 : err_set(e, ERR_USAGE, "--merge adds up two files or more");
    if (w->dumps)
        return c->output && !w->text && !w->tokens ? 0 : err_set(e, ERR_USAGE, "--dumps takes files of inputs and -o FILE, no text");
    if (w->imatrix)
        return c->output && n == 1 && !w->text && !w->tokens ? 0 : err_set(e, ERR_USAGE, "--imatrix takes one file and -o FILE, no text");
    if (n != 1)
        return err_set(e, ERR_USAGE, "which model? (--merge takes files of statistics)");
    if (w->scales)
        return c->output ? 0 : err_set(e, ERR_USAGE, "where to? -o FILE");
    if (w->format)
        return err_set(e, ERR_USAGE, "--format goes with --activation-scales");
    if (!w->tokens == !w->text)
        return err_set(e, ERR_USAGE, "over which text? --text FILE, or --tokens FILE");
    if (w->tokenizer && !w->text)
        return err_set(e, ERR_USAGE, "--tokenizer goes with --text");
    if (w->experts && strcmp(w->experts, "pooled") && strcmp(w->experts, "each"))
        return err_set(e, ERR_USAGE, "--experts takes pooled or each, not '%s'", w->experts);
    if (w->every == 1)
        return err_set(e, ERR_USAGE, "--holdout-every 1 leaves nothing to fit to");
    return !c->resume || (c->output && is_directory(c->output)) ? 0 : err_set(e, ERR_USAGE, "--resume needs a directory: -o DIR/");
}

int verb_calibrate(int argc, char **argv, struct err *e)
{
    struct common c;
    struct choice w = {.every = 5};
    const char *const *in = (const char *const *)argv;
    size_t n;
    common_init(&c);
    const struct opt opt[] = {
        OPTS_OUTPUT(&c),
        {OPT_STRING, 0, "text", "FILE", "text in UTF-8, which the model's tokenizer makes ids of", &w.text},
        {OPT_STRING, 0, "tokenizer", "PATH", "another tokenizer.json, model or GGUF for that, or the word bytes", &w.tokenizer},
        {OPT_STRING, 0, "tokens", "FILE", "token ids: U32 little-endian, or .npy; a table's rows are sequences", &w.tokens},
        {OPT_SIZE, 0, "length", "N", "tokens of a sequence (default 512, or the rows of the table)", &w.length},
        {OPT_SIZE, 0, "limit", "N", "only the first N tokens", &w.limit},
        {OPT_SIZE, 0, "holdout-every", "N", "of every N sequences one is kept apart for choosing (default 5)", &w.every},
        {OPT_FLAG, 0, "no-holdout", NULL, "keep none apart: for verify and for merging, not for rounding", &w.whole},
        {OPT_SIZE, 0, "batch", "N", "tokens that are worked on together (default 1024)", &w.batch},
        {OPT_STRING, 0, "experts", "HOW", "down projections of experts: pooled (default), or each one's moments beside", &w.experts},
        {OPT_FLAG, 0, "diagonal", NULL, "sums of squares alone: small, for reports, not for rounding", &w.diagonal},
        {OPT_FLAG, 0, "kv-cache", NULL, "keys and values, too, for the scales of a cache in FP8", &w.caches},
        {OPT_FLAG, 0, "spill", NULL, "hidden states in a temporary file ($TMPDIR); done by itself when -M asks for it", &w.spill},
        {OPT_FLAG, 0, "dumps", NULL, "the operands are inputs that another framework has dumped: safetensors, .npy or .npz", &w.dumps},
        {OPT_FLAG, 0, "imatrix", NULL, "the operand is llama.cpp's importance matrix, GGUF or .dat: for reports, not for rounding", &w.imatrix},
        {OPT_FLAG, 0, "merge", NULL, "add up files of statistics instead", &w.merge},
        {OPT_STRING, 0, "activation-scales", "RULE", "fixed scales from a file of statistics instead: max, mse, or a percentage", &w.scales},
        {OPT_STRING, 0, "format", "NAME", "what those are for: e4m3 (default), e5m2 or int8", &w.format},
        {OPT_FLAG, 0, "resume", NULL, "go on with a directory where an earlier run has stopped", &c.resume},
        OPTS_WORK(&c), OPTS_TALK(&c), {0}};
    const struct usage u = {"calibrate", "MODEL", "Statistics of the inputs of linear layers, for quantize --calibration.", opt, 1, SIZE_MAX};
    int r = opt_parse(&u, argc, argv, &n, e);
    if (r)
        return r > 0 ? 0 : -1;
    if (check(&w, &c, n, e))
        return -1;
    w.every = w.whole ? 0 : w.every;
    if (w.scales)
        return scales(in[0], &w, &c, e);
    if (w.dumps)
        return dumps(in, n, &w, &c, e);
    if (w.imatrix)
        return imatrix(in[0], &c, e);
    if (w.merge)
        return stats_merge(in, n, c.output, sink_of(&c), e);
    struct calibration x = {.input = in[0], .w = &w, .c = &c, .how = {w.diagonal, w.experts && !strcmp(w.experts, "each"), c.threads, w.caches},
                            .run = {.batch = w.batch, .spill = w.spill}};
    r = calibrate(&x, e);
    corpus_free(&x.text);
    net_close(&x.net);
    model_close(&x.m);
    arena_free(&x.mem);
    return r;
}
