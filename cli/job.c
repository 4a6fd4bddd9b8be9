#include "cli/job.h"

#include "formats/fused.h"
#include "formats/names.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int rules_from(struct rules *r, const struct common *c, enum action include, enum action exclude, bool schemes,
               struct err *e)
{
    bool only = false;
    for (size_t i = 0; i < c->rules.n; i++) {
        const struct opt_list_item *x = &c->rules.item[i];
        int bad = !strcmp(x->name, "rules") ? rules_file(r, x->value, schemes, e)
                : rules_add(r, x->value, !strcmp(x->name, "include") ? include : exclude,
                            !strcmp(x->name, "include") ? "--include" : "--exclude", e);
        if (bad)
            return -1;
        only |= !strcmp(x->name, "include");
    }
    /* Where an include takes tensors (and does not quantize them), it takes only those. */
    if (!only || include != ACTION_KEEP)
        return 0;
    if (rules_add(r, "*", ACTION_DROP, "--include", e))
        return -1;
    r->r[r->n - 1].why = "no --include takes it";
    return 0;
}

void rules_warn(struct rules *r, const char *verb, const struct common *c)
{
    for (size_t i = 0; i < r->n && !c->quiet; i++) {
        if (r->r[i].used)
            continue;
        fprintf(stderr, "octavo %s: warning: %s: no tensor matches '", verb, r->r[i].origin);
        out_text(stderr, r->r[i].pattern);
        fprintf(stderr, "'\n");
    }
}

/* Names as rules see them: a scale goes with its weight. */
static void warn_unused(struct job *j)
{
    const struct grouping *g = &j->plan.group;
    for (size_t i = 0; i < j->src.n && j->rules.n; i++)
        rules_note(&j->rules, grouping_has(g, i) && !grouping_cache(g, i) ? g->g[g->group[i]].name : j->src.t[i].name);
    rules_warn(&j->rules, j->verb, j->c);
}

int job_open(struct job *j, struct err *e)
{
    if (!j->c->output && !j->c->dry_run)
        return err_set(e, ERR_USAGE, "where to? -o FILE, -o DIR/, or -o - for a pipe");
    if (j->c->json && j->c->output && !strcmp(j->c->output, "-") && !j->c->dry_run)
        return err_set(e, ERR_USAGE, "--json and -o - both want standard output");
    enum action in = j->want.to ? ACTION_QUANTIZE : ACTION_KEEP, out = j->want.to ? ACTION_KEEP : ACTION_DROP;
    if (j->want.plain != DT_COUNT && !j->want.to) /* dequantize: exclude means leave quantized */
        out = ACTION_KEEP, in = ACTION_QUANTIZE;
    if ((!j->want.rules && rules_from(&j->rules, j->c, in, out, j->want.to != NULL, e))
        || (j->c->spool ? model_open_spooled : model_open)(&j->src, j->input, e)
        || names_parse(j->c->names, &j->src.names, e))
        return -1;
    j->want.rules = &j->rules;
    return 0;
}

/* Rules know a scale by the name of its weight; what they leave out is not put together with anything. */
static uint64_t rows_in_turn(const void *job, const char *name)
{
    const struct job *j = job;
    char weight[1024];
    const char *dot = strrchr(name, '.');
    snprintf(weight, sizeof weight, "%.*s.weight", (int)(dot ? dot - name : 0), name);
    const struct rule *r = rules_find(&j->rules, weight);
    return r && r->action == ACTION_DROP ? 0 : form_role(j->want.form, name)->interleave;
}

int job_fuse(struct job *j, struct err *e)
{
    const struct target_form *f = j->want.form;
    if (!f || (!f->role[ROLE_DENSE].interleave && !f->role[ROLE_EXPERT].interleave))
        return 0;
    const size_t n = j->src.n;
    struct tensor *t = arena_array(&j->mem, n, sizeof *t, e);
    if (!t)
        return -1;
    memcpy(t, j->src.t, n * sizeof *t);
    if (fused_make(&j->src, rows_in_turn, j, &j->was, e))
        return -1;
    if (j->was) {
        j->whole = j->src; /* the files are the same */
        j->whole.t = t;
        j->whole.n = n;
    }
    return 0;
}

static int by_name(const void *a, const void *b, void *plan)
{
    const struct output *out = ((const struct plan *)plan)->out;
    return strcmp(out[*(const size_t *)a].t.name, out[*(const size_t *)b].t.name);
}

/* Outputs in the order in which their ops run: what a pipe delivers. A packed
 * file that is no pipe has them by name, whatever order its source had. */
static int list_outputs(struct job *j, struct err *e)
{
    size_t n = j->plan.nout, k = 0;
    struct map seen = {0};
    int r = 0;
    j->t = arena_array(&j->mem, n, sizeof *j->t, e);
    j->order = arena_array(&j->mem, n, sizeof *j->order, e);
    j->as = arena_array(&j->mem, n, sizeof *j->as, e);
    j->shard = arena_array(&j->mem, n, sizeof *j->shard, e);
    if (!j->t || !j->order || !j->as || !j->shard)
        return -1;
    for (size_t i = 0; i < j->plan.nops; i++)
        for (unsigned o = 0; o < j->plan.op[i].nout; o++)
            j->order[k++] = j->plan.op[i].out[o];
    if (j->pack && !(j->c->output && deliver_is_stream(j->c->output)))
        qsort_r(j->order, n, sizeof *j->order, by_name, &j->plan);
    for (k = 0; !r && k < n; k++) {
        const struct output *x = &j->plan.out[j->order[k]];
        j->t[k] = x->t;
        j->as[k] = x->as;
        size_t from;
        if (j->pack && map_find(&j->src.by_name, x->t.name, &from))
            j->t[k].slice = j->src.t[from].slice, j->t[k].fused = j->src.t[from].fused;
        r = map_add(&seen, x->t.name, k, e);
        if (r > 0)
            (void)err_set(e, ERR_INPUT, "%s: two output tensors would be named '%s'", j->input, x->t.name);
    }
    map_free(&seen);
    return r ? -1 : 0;
}

/* With a calibration one worker asks it for codes, and all threads are for that. */
static unsigned workers(const struct job *j) { return j->calibrated ? 1 : j->c->threads; }

uint64_t job_memory(const struct job *j)
{
    return j->plan.held + j->plan.box_bytes * workers(j) + (j->calibrated ? calibrated_memory(j->calibrated) : 0);
}

static int check_memory(const struct job *j, struct err *e)
{
    uint64_t need = job_memory(j) + ((uint64_t)workers(j) << 20);
    char a[32], b[32];
    if (need <= j->c->memory)
        return 0;
    return err_set(e, ERR_INPUT, "%s: this needs %s of memory and the limit is %s (%s)", j->input,
                   out_bytes(need, a), out_bytes(j->c->memory, b),
                   j->plan.held ? "a pipe must be held until scale and weight are there: --spool, a file, or a larger -M"
                                : "fewer threads, or a larger -M");
}

static int check_exact(const struct job *j, bool before, struct err *e)
{
    for (size_t i = 0; j->c->require_exact && i < j->plan.nops; i++) {
        const struct op *op = &j->plan.op[i];
        if (before ? op->exact : outcome_verdict(&op->done) == VERDICT_EXACT)
            continue;
        const char *name = op->src->t[op->in[0]].name;
        return before ? err_set(e, ERR_NO, "tensor '%s' would be rounded, and --require-exact was given", name)
                      : err_set(e, ERR_NO, "tensor '%s': %llu of %llu values would change, and --require-exact was "
                                "given", name, (unsigned long long)op->done.n.inexact,
                                (unsigned long long)op->done.elems);
    }
    return 0;
}

/* The output must not be what is being read. */
static int check_not_source(const struct job *j, struct err *e)
{
    struct stat a, b;
    for (size_t k = 0; j->c->output && k < j->npaths; k++)
        for (size_t i = 0; i < j->src.nf; i++)
            if (!stat(j->path[k], &a) && !fstat(j->src.f[i].fd, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino
                && S_ISREG(a.st_mode))
                return err_set(e, ERR_USAGE, "%s is the input; write elsewhere", j->path[k]);
    return 0;
}

/* The digests of what was written: those of tensors that were copied as they are were taken from the source. */
static int write_tail(struct job *j, struct sink *s, const size_t *slot, const uint8_t (*digest)[32], struct err *e)
{
    const size_t n = j->w.nslots;
    uint8_t *tail = mem_alloc(j->w.file[0].tail_size, 1, e), (*slots)[32] = mem_alloc(n, sizeof *slots, e);
    bool *known = mem_alloc(n, sizeof *known, e);
    int r = tail && slots && known ? 0 : -1;
    for (size_t i = 0; !r && j->src.random && i < j->plan.nout; i++) {
        const struct output *o = &j->plan.out[i];
        const struct op *op = &j->plan.op[o->op];
        if (op->x != &xform_copy || o->t.stored || o->written || op->src != &j->src || j->src.t[op->in[0]].fused)
            continue;
        known[slot[i]] = true;
        memcpy(slots[slot[i]], digest[op->in[0]], 32);
    }
    if (!r && !run_sink_digest(s, j->c->threads, known, slots, e))
        packed_trailer((const uint8_t (*)[32])slots, n, j->source_digest, tail);
    else
        r = -1;
    r = r || sink_tail(s, 0, tail, e) ? -1 : 0;
    free(known);
    free(slots);
    free(tail);
    return r;
}

/* The source's digests, taken while it is packed: hashing and copying wait for different things. */
struct hashing {
    struct model *m;
    uint8_t (*digest)[32];
    int result;
    struct err err;
};

static void *hash_source(void *arg)
{
    struct hashing *h = arg;
    h->result = run_digest(h->m, 1, h->digest, &h->err);
    return NULL;
}

/* The digest of what was packed, of digest[i] of tensor i of m: tensors that a rule dropped do not count. */
static int digest_of_packed(struct job *j, const struct model *m, const uint8_t (*digest)[32], struct err *e)
{
    bool *used = mem_alloc(j->src.n, sizeof *used, e), *counts = mem_alloc(m->n, sizeof *counts, e);
    int r = used && counts ? 0 : -1;
    for (size_t i = 0; !r && i < j->plan.nops; i++)
        used[j->plan.op[i].place] |= j->plan.op[i].nout > 0;
    for (size_t i = 0; !r && i < m->n; i++)
        counts[i] = used[j->was ? j->was[i] : i];
    r = r ? -1 : model_digest(m, digest, counts, j->source_digest, e);
    free(used);
    free(counts);
    return r;
}

/* What is written behind the payload: all digests. Those of the source's tensors are known, in `of`'s order. */
static int finish_packed(struct job *j, struct sink *s, const size_t *slot, const struct model *of, uint8_t (*digest)[32],
                         uint8_t (*own)[32], struct err *e)
{
    for (size_t i = 0; own != digest && i < of->n; i++)
        memcpy(own[j->was[i]], digest[i], 32);
    return digest_of_packed(j, of, (const uint8_t (*)[32])digest, e)
        || write_tail(j, s, slot, (const uint8_t (*)[32])own, e) ? -1 : 0;
}

static int fill(struct job *j, struct sink *s, const size_t *slot, const bool *skip_op, struct err *e)
{
    struct meter meter;
    bool check = j->verify_packed && !j->src.random && !j->rank;
    size_t n = max_u64(j->src.n, j->plan.nout);
    uint8_t (*digest)[32] = j->pack || check ? mem_alloc(n, sizeof *digest, e) : NULL;
    if ((j->pack || check) && !digest)
        return -1;
    meter_start(&meter, j->verb, j->c);
    struct run_options opt = {workers(j), skip_op, meter_show, &meter};
    int r = 0;
    struct model *const of = j->was ? &j->whole : &j->src;
    uint8_t (*sums)[32] = j->was ? mem_alloc(of->n, sizeof *sums, e) : digest;
    if (j->was && !sums) {
        free(digest);
        return -1;
    }
    struct hashing h = {of, sums, 0, {0}};
    pthread_t thread;
    const bool hashed = j->pack && j->src.random;
    const bool apart = hashed && j->c->threads > 1 && !pthread_create(&thread, NULL, hash_source, &h);
    if (hashed && !apart)
        r = run_digest(of, j->c->threads, sums, e);
    r = r || run_plan(&j->plan, s, slot, &opt, digest, e) ? -1 : 0;
    if (apart) {
        pthread_join(thread, NULL);
        if (!r && h.result)
            *e = h.err;
        r = r || h.result ? -1 : 0;
    }
    meter_end(&meter);
    if (!r && j->pack)
        r = finish_packed(j, s, slot, of, sums, digest, e);
    if (!r && check)
        r = packed_check(&j->src, digest, j->source_digest, e) || model_finish(&j->src, e) ? -1 : 0;
    if (sums != digest)
        free(sums);
    free(digest);
    return r;
}

static int check_packed_file(struct job *j, struct err *e)
{
    uint8_t (*digest)[32] = mem_alloc(j->src.n, sizeof *digest, e);
    int r = digest ? packed_check(&j->src, digest, j->source_digest, e) : -1;
    free(digest);
    return r;
}

static int job_write(struct job *j, struct err *e)
{
    struct journal q = {0};
    struct sink s = {0};
    struct sink_options opt = {j->c->force, j->c->in_place, j->c->sync, j->pack != NULL, false};
    size_t *slot = arena_array(&j->mem, j->plan.nout, sizeof *slot, e);
    bool *skip_op = arena_array(&j->mem, j->plan.nops, sizeof *skip_op, e);
    if (!slot || !skip_op || (j->kind == OUT_DIR && deliver_mkdir(j, e)))
        return -1;
    if (j->c->resume && journal_open(&q, j, e)) {
        journal_close(&q, false);
        deliver_undo(j);
        return -1;
    }
    if (q.path) {
        opt.publish = true;
        opt.force = true;
    }
    for (size_t i = 0; i < j->plan.nout; i++)
        slot[j->order[i]] = j->w.slot_of[i];
    for (size_t i = 0; q.skip && i < j->plan.nops; i++) {
        skip_op[i] = j->plan.op[i].nout > 0;
        for (unsigned k = 0; k < j->plan.op[i].nout; k++)
            skip_op[i] &= q.skip[j->w.slot[slot[j->plan.op[i].out[k]]].file];
    }
    double start = seconds_now();
    int r = sink_open(&s, j->w.file, j->w.nfiles, j->w.slot, j->w.nslots, q.skip, opt, e);
    s.published = q.path ? journal_published : NULL;
    s.published_ctx = &q;
    if (!r)
        r = fill(j, &s, slot, skip_op, e) || check_exact(j, false, e)
         || (j->kind == OUT_DIR && deliver_directory(j, e)) || sink_commit(&s, e) ? -1 : 0;
    if (r) {
        sink_abort(&s);
        deliver_undo(j);
    } else if (j->kind == OUT_DIR && j->c->force) {
        r = deliver_remove_stale(j, e);
    }
    journal_close(&q, !r);
    j->seconds = seconds_now() - start;
    return r;
}

/* The plan of all ranks, whose files are checked first. */
static int join(struct job *j, struct err *e)
{
    uint8_t (**digest)[32] = mem_alloc(j->nranks, sizeof *digest, e), source[32];
    int r = digest ? 0 : -1;
    for (size_t i = 0; !r && j->verify_packed && i < j->nranks; i++)
        r = (digest[i] = mem_alloc(j->rank[i].n + 1, sizeof **digest, e)) ? packed_check(&j->rank[i], digest[i], source, e) : -1;
    r = r || plan_join(&j->plan, j->rank, j->nranks, j->verify_packed ? digest : NULL, e) ? -1 : 0;
    for (size_t i = 0; digest && i < j->nranks; i++)
        free(digest[i]);
    free(digest);
    return r;
}

int job_run(struct job *j, struct err *e)
{
    if (j->pack && j->src.container == CONTAINER_PACKED && !j->src.random)
        return err_set(e, ERR_INPUT, "%s is packed already, and a pipe (octavo unpack - -o - | octavo pack -, or --spool)",
                       j->input);
    if (j->verify_packed && !j->rank && j->src.random && check_packed_file(j, e))
        return -1;
    if (gguf_choose(j, e) || names_choose(j, e) || (j->rank ? join(j, e) : plan_make(&j->plan, &j->src, &j->want, e))
        || list_outputs(j, e)
        || names_config_json(j, e) || deliver_paths(j, e)
        || (j->want.gguf ? gguf_check(j, e) || gguf_metadata(j, e) : deliver_metadata(j, e)))
        return -1;
    if (j->pack) {
        j->pack->kv = j->kv;
        j->pack->nkv = j->nkv;
    }
    if (j->want.gguf ? writer_gguf(&j->w, j->t, j->plan.nout, j->path[0], &j->keys, e)
        : j->pack ? writer_packed(&j->w, j->t, j->plan.nout, j->path[0], j->pack, e)
                : writer_safetensors(&j->w, j->t, j->plan.nout, j->shard, j->path, j->npaths, j->kv, j->nkv,
                                     j->kind == OUT_PIPE, e))
        return -1;
    warn_unused(j);
    if (check_memory(j, e) || ((j->c->dry_run || j->kind == OUT_PIPE) && check_exact(j, true, e)))
        return -1;
    if (j->c->dry_run) {
        report_plan(j);
        return 0;
    }
    if (check_not_source(j, e) || job_write(j, e))
        return -1;
    report_done(j);
    return 0;
}

void job_close(struct job *j)
{
    writer_free(&j->w);
    plan_free(&j->plan);
    rules_free(&j->rules);
    model_close(&j->src);
    gguf_keys_free(&j->keys);
    free(j->config);
    free(j->made);
    buf_free(&j->description);
    arena_free(&j->mem);
}
