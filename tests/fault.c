/* Memory that runs out: the N-th allocation fails, for every N until a whole run needs no more.
 * Each time there is a sentence, nothing crashes, and no output stays. */
#include "calibrate/error.h"
#include "formats/writer.h"
#include "quantizers/run.h"
#include "tests/mk_torch.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The sanitizers have an allocator of their own, and other C libraries no way to reach theirs. */
#if defined __GLIBC__ && !defined MK_SANITIZED && !defined __SANITIZE_THREAD__

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);

static atomic_long left = -1; /* allocations that still succeed; negative: all */
static atomic_bool hit;

static bool fails(void)
{
    long n = atomic_load(&left);
    while (n >= 0 && !atomic_compare_exchange_weak(&left, &n, n - 1))
        ;
    if (n != 0)
        return false;
    atomic_store(&hit, true);
    errno = ENOMEM;
    return true;
}

void *malloc(size_t n) { return fails() ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return fails() ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return fails() ? NULL : __libc_realloc(p, n); }

/* ---- runs ------------------------------------------------------------------------------- */

struct scene {
    const char *in, *out, *other;
    const char *scheme; /* NULL: decode to BF16 */
    bool gguf;
};

/* The keys of a file. What comes from JSON is short: where memory is out, jansson loses characters of words of more
 * than 14 without a word about it. */
static int write_head(struct writer *w, const struct tensor *t, size_t n, const char *out, struct err *e)
{
    struct gguf_keys k = {0}, all = {0};
    const int r = gguf_keys_json(&k, "{\"a\":[\"x\",\"y\"],\"b\":[1,2.5]}", "json", e)
               || gguf_keys_u32(&k, "general.file_type", 7, e) || gguf_keys_strs(&k, "a", (const char *const[]){"z"}, 1, e)
               || gguf_keys_u32(&k, "general.file_type", 8, e)
               || gguf_keys_carry(&all, (const uint8_t *)k.bytes.s, k.bytes.n, k.count, e)
               || writer_gguf(w, t, n, out, &all, e) ? -1 : 0;
    gguf_keys_free(&k);
    gguf_keys_free(&all);
    return r;
}

static int write_plan(struct plan *p, bool gguf, const char *out, struct err *e)
{
    struct tensor t[16];
    uint32_t shard[16] = {0};
    struct writer w = {0};
    struct sink s = {0};
    const struct run_options opt = {.threads = 2};
    for (size_t i = 0; i < p->nout; i++)
        t[i] = p->out[i].t;
    int r = gguf ? write_head(&w, t, p->nout, out, e)
                 : writer_safetensors(&w, t, p->nout, shard, &out, 1, NULL, 0, false, e);
    if (r)
        return -1;
    r = sink_open(&s, w.file, w.nfiles, w.slot, w.nslots, NULL, (struct sink_options){0}, e)
        || run_plan(p, &s, w.slot_of, &opt, NULL, e) || sink_commit(&s, e);
    if (r)
        sink_abort(&s);
    writer_free(&w);
    return r ? -1 : 0;
}

static int convert(const struct scene *c, struct err *e)
{
    struct encoding to;
    struct wanted w = {.plain = c->scheme ? DT_COUNT : DT_BF16, .gguf = c->gguf};
    struct rules rules = {0};
    struct model m;
    struct plan p;
    if (c->scheme) {
        to = encoding_of(scheme_find(c->scheme));
        w.to = &to;
        w.convention = c->gguf ? convention_find("gguf") : convention_default(to.scheme);
    }
    /* no expression: glibc's regexec calls it no match when memory is out */
    int r = rules_add(&rules, "keep*", ACTION_KEEP, "--exclude", e);
    w.rules = &rules;
    if (!r && !(r = model_open(&m, c->in, e))) {
        if (!(r = plan_make(&p, &m, &w, e))) {
            r = write_plan(&p, c->gguf, c->out, e);
            plan_free(&p);
        }
        model_close(&m);
    }
    rules_free(&rules);
    return r;
}

static int compare(const struct scene *c, struct err *e)
{
    struct model a, b;
    struct error_report report;
    const struct run_options opt = {.threads = 2};
    if (model_open(&a, c->in, e))
        return -1;
    int r = model_open(&b, c->other, e);
    if (!r) {
        r = error_measure(&report, &a, &b, NULL, false, &opt, e);
        if (!r)
            error_free(&report);
        model_close(&b);
    }
    model_close(&a);
    return r;
}

/* ---- every N -------------------------------------------------------------------------------- */

static void exhaust(int (*run)(const struct scene *, struct err *), const struct scene *c, const char *dir)
{
    const int before = mk_files_in(dir);
    struct buf want = {0}, got;
    struct err first = {0};
    cr_assert_eq(run(c, &first), 0, "%s", first.msg);
    if (run == convert) {
        want = mk_read(c->out);
        cr_assert_eq(remove(c->out), 0);
    }
    for (long n = 0;; n++) {
        struct err e = {0};
        atomic_store(&hit, false);
        atomic_store(&left, n);
        const int r = run(c, &e);
        atomic_store(&left, -1);
        if (!r && run == convert) {
            got = mk_read(c->out);
            cr_assert(got.n == want.n && !memcmp(got.s, want.s, got.n), "allocation %ld: another output", n);
            buf_free(&got);
            cr_assert_eq(remove(c->out), 0);
        }
        cr_assert_eq(mk_files_in(dir), before, "allocation %ld: files stay", n);
        if (!atomic_load(&hit)) {
            cr_assert_eq(r, 0, "%s", e.msg);
            cr_assert_gt(n, 30, "there was something to fail");
            buf_free(&want);
            return;
        }
        /* A thread that cannot start or a buffer that is only for speed may be done without. */
        cr_assert(!r || *e.msg, "allocation %ld: no sentence", n);
        /* jansson does not tell a text that is no JSON from memory that is not there. */
        cr_assert(!r || e.kind == ERR_SYSTEM || strcasestr(e.msg, "memory") || strstr(e.msg, "json"),
                  "allocation %ld: %s", n, e.msg);
    }
}

static struct buf plain(void)
{
    static uint16_t x[130 * 140];
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        x[i] = (uint16_t)(0x3f00 + i % 500);
    const struct mk_tensor t[3] = {{"l.0.q.weight", "BF16", "[130,140]", x, sizeof x},
                                   {"l.1.k.weight", "BF16", "[2,64]", x, 256},
                                   {"keep.weight", "BF16", "[2,64]", x, 256}};
    return mk_safetensors(t, 3, "{\"format\":\"pt\"}");
}

static void file_and_stream(const char *scheme)
{
    for (int stream = 0; stream < 2; stream++) {
        char *const dir = mk_tmpdir(), *const in = mk_path(dir, "in"), *const out = mk_path(dir, "out");
        struct buf b = plain(), gz = mk_gzip(b.s, b.n);
        mk_write(in, stream ? gz.s : b.s, stream ? gz.n : b.n);
        exhaust(convert, &(struct scene){.in = in, .out = out, .scheme = scheme}, dir);
        buf_free(&b);
        buf_free(&gz);
        free(in);
        free(out);
        mk_rmdir(dir);
    }
}

Test(fault, quantize) { file_and_stream("fp8-ue8m0-128x128"); }
Test(fault, gguf)
{
    static float x[4 * 64];
    const struct mk_tensor t[2] = {{"l.0.q.weight", "F32", "[4,64]", x, sizeof x}, {"norm", "BF16", "[8]", x, 16}};
    struct buf b = mk_safetensors(t, 2, NULL);
    for (int mx = 0; mx < 2; mx++) {
        char *const dir = mk_tmpdir(), *const in = mk_path(dir, "in"), *const out = mk_path(dir, "out");
        mk_write(in, b.s, b.n);
        exhaust(convert, &(struct scene){.in = in, .out = out, .scheme = mx ? "mxfp4" : "q8_0", .gguf = true}, dir);
        free(in);
        free(out);
        mk_rmdir(dir);
    }
    buf_free(&b);
}
Test(fault, quantize_in_two_passes) { file_and_stream("fp8-tensor"); }

/* Checkpoints in both formats, with a transposed tensor, metadata and what is left out. */
Test(fault, checkpoints)
{
    static uint8_t data[2 * 130 * 140];
    const struct mk_storage s = {"0", data, sizeof data, 130 * 140};
    for (int legacy = 0; legacy < 2; legacy++) {
        char *const dir = mk_tmpdir(), *const in = mk_path(dir, "in"), *const out = mk_path(dir, "out");
        const struct mk_view turned = {"BFloat16", "0", 130 * 140, 0, "140,130", "1,140"},
                             flat = {"BFloat16", "0", 130 * 140, 5, "2,64", "64,1"};
        struct buf p = {0};
        mk_pickle_legacy(legacy);
        mk_pickle(&p, "}(%s%i%s}%s%ts%s%g)R(%s%t%s](%teuu", "epoch", 3, "optimizer", "x", flat, "model",
                  "collections OrderedDict", "l.0.q.weight", turned, "keep", flat);
        struct buf b = mk_checkpoint(legacy, &p, &s, 1);
        mk_write(in, b.s, b.n);
        exhaust(convert, &(struct scene){.in = in, .out = out, .scheme = "fp8-ue8m0-128x128"}, dir);
        buf_free(&b);
        buf_free(&p);
        free(in);
        free(out);
        mk_rmdir(dir);
    }
}

Test(fault, dequantize_and_compare)
{
    static const char config[] = "{\"quantization_config\":{\"quant_method\":\"fp8\",\"scale_fmt\":\"ue8m0\","
                                 "\"weight_block_size\":[128,128]}}";
    char *const dir = mk_tmpdir(), *const in = mk_path(dir, "in"), *const q = mk_path(dir, "q");
    char *const out = mk_path(dir, "out"), *const json = mk_path(dir, "config.json");
    struct buf b = plain();
    struct err e = {0};
    mk_write(in, b.s, b.n);
    cr_assert_eq(convert(&(struct scene){.in = in, .out = q, .scheme = "fp8-ue8m0-128x128"}, &e), 0, "%s",
                 e.msg);
    mk_write(json, config, sizeof config - 1);
    exhaust(convert, &(struct scene){.in = q, .out = out}, dir);
    exhaust(compare, &(struct scene){.in = q, .other = in}, dir);
    exhaust(compare, &(struct scene){.in = in, .other = q}, dir);
    buf_free(&b);
    free(in);
    free(q);
    free(out);
    free(json);
    mk_rmdir(dir);
}

#endif
