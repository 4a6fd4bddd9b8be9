#include "formats/writer.h"
#include "tests/flow.h"
#include "tests/mk.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


static const char fp8[] =
    "{\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128]}}";
static const char fp8_meta[] =
    "{\"octavo.config\":\"{\\\"quantization_config\\\":{\\\"quant_method\\\":\\\"fp8\\\","
    "\\\"weight_block_size\\\":[128,128]}}\"}";

/* An opened image: a file with config.json beside it, or a gzip stream. */
struct source_model {
    char *dir;
    struct model m;
};
static void open_image(struct source_model *s, const struct buf *b, const char *config, bool stream)
{
    struct buf gz = stream ? mk_gzip(b->s, b->n) : (struct buf){0};
    struct err e = {0};
    s->dir = mk_tmpdir();
    char *const path = mk_path(s->dir, "in"), *const c = mk_path(s->dir, "config.json");
    mk_write(path, stream ? gz.s : b->s, stream ? gz.n : b->n);
    if (config)
        mk_write(c, config, strlen(config));
    cr_assert_eq(model_open(&s->m, path, &e), 0, "%s", e.msg);
    buf_free(&gz);
    free(path);
    free(c);
}
static void close_image(struct source_model *s)
{
    model_close(&s->m);
    mk_rmdir(s->dir);
}

static const struct output *output_of(const struct plan *p, const char *name)
{
    for (size_t i = 0; i < p->nout; i++)
        if (!strcmp(p->out[i].t.name, name))
            return &p->out[i];
    cr_assert_fail("no output %s", name);
    return NULL;
}

/* ---- outputs ------------------------------------------------------------------------------ */

Test(plan, outputs_of_a_quantization)
{
    const struct mk_tensor t[5] = {{"l.0.q.weight", "BF16", "[130,257]", NULL, 66820},
                                   {"norm.weight", "F32", "[4]", NULL, 16},
                                   {"l.0.q.bias", "BF16", "[3]", NULL, 6},
                                   {"lm_head.weight", "BF16", "[2,4]", NULL, 16},
                                   {"x.experts.up", "F32", "[2,3,128]", NULL, 3072}};
    struct buf b = mk_safetensors(t, 5, NULL);
    struct source_model s;
    struct encoding to;
    struct wanted w;
    struct plan p;
    struct err e = {0};
    open_image(&s, &b, NULL, false);
    flow_wanted(&w, &to, SCHEME_DEFAULT);
    cr_assert_eq(plan_make(&p, &s.m, &w, &e), 0, "%s", e.msg);
    static const struct {
        const char *name;
        enum dtype t;
        int rank;
        uint64_t dim[3], size;
        enum part part;
    } want[] = {{"l.0.q.weight", DT_F8_E4M3, 2, {130, 257}, 33410, PART_WEIGHT},
                {"l.0.q.weight_scale_inv", DT_F32, 2, {2, 3}, 24, PART_SCALE},
                {"norm.weight", DT_F32, 1, {4}, 16, PART_PLAIN},
                {"l.0.q.bias", DT_BF16, 1, {3}, 6, PART_PLAIN},
                {"lm_head.weight", DT_BF16, 2, {2, 4}, 16, PART_PLAIN},
                {"x.experts.up", DT_F8_E4M3, 3, {2, 3, 128}, 768, PART_WEIGHT},
                {"x.experts.up_scale_inv", DT_F32, 3, {2, 1, 1}, 8, PART_SCALE}};
    cr_assert_eq(p.nout, sizeof want / sizeof *want);
    uint64_t total = 0;
    for (size_t i = 0; i < p.nout; i++) {
        const struct output *const o = output_of(&p, want[i].name);
        cr_assert(o->t.dtype == want[i].t && o->t.rank == want[i].rank && o->t.size == want[i].size
                      && o->as.part == want[i].part,
                  "%s", want[i].name);
        cr_assert_eq(memcmp(o->t.dim, want[i].dim, o->t.rank * sizeof *o->t.dim), 0, "%s", want[i].name);
        const struct op *const by = &p.op[o->op];
        cr_assert(&p.out[by->out[0]] == o || (by->nout > 1 && &p.out[by->out[1]] == o));
        total += want[i].size;
    }
    cr_assert_eq(p.bytes_out, total);
    cr_assert_eq(p.bytes_in, 66820 + 16 + 6 + 16 + 3072);
    cr_assert_eq(p.held, 0);
    plan_free(&p);
    close_image(&s);
    buf_free(&b);
}

/* ---- rules ---------------------------------------------------------------------------------- */

static int plan_with(const struct buf *b, const char *config, const char *scheme, const char *pattern,
                     enum action a, struct plan *p, struct source_model *s, struct err *e)
{
    static struct encoding to;
    static struct rules rules;
    static struct wanted w;
    *e = (struct err){0};
    rules_free(&rules);
    cr_assert_eq(rules_add(&rules, pattern, a, "--include", e), 0);
    open_image(s, b, config, false);
    flow_wanted(&w, &to, scheme);
    w.rules = &rules;
    const int r = plan_make(p, &s->m, &w, e);
    if (r)
        close_image(s);
    return r;
}

Test(plan, rules_choose)
{
    const struct mk_tensor t[3] = {{"a.weight", "BF16", "[4,4]", NULL, 32},
                                   {"lm_head.weight", "BF16", "[4,4]", NULL, 32},
                                   {"v.weight", "BF16", "[4]", NULL, 8}};
    struct buf b = mk_safetensors(t, 3, NULL);
    static const struct {
        const char *pattern;
        enum action a;
        size_t nout;
        const char *scale;
    } v[] = {{"nothing", ACTION_KEEP, 4, "a.weight_scale_inv"},
             {"lm_head*", ACTION_QUANTIZE, 5, "lm_head.weight_scale_inv"},
             {"a.*", ACTION_KEEP, 3, NULL},
             {"v.*", ACTION_DROP, 3, "a.weight_scale_inv"},
             {"a.*", ACTION_DROP, 2, NULL}};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        struct source_model s;
        struct plan p;
        struct err e;
        cr_assert_eq(plan_with(&b, NULL, SCHEME_DEFAULT, v[i].pattern, v[i].a, &p, &s, &e), 0, "%s", e.msg);
        cr_assert_eq(p.nout, v[i].nout, "%s", v[i].pattern);
        if (v[i].scale)
            cr_assert_eq(output_of(&p, v[i].scale)->as.part, PART_SCALE);
        cr_assert_eq(p.fates[FATE_DROPPED], v[i].a == ACTION_DROP);
        plan_free(&p);
        close_image(&s);
    }
    buf_free(&b);
}

/* A rule that cannot be followed says so, whatever the type or shape. */
Test(plan, what_cannot_be_quantized)
{
    static const struct {
        const char *dtype, *shape;
        size_t n;
    } v[] = {{"BF16", "[4]", 8},   {"F32", "[]", 4},        {"I32", "[2,2]", 16},
             {"F64", "[2,2]", 32}, {"BOOL", "[2,2]", 4},    {"F8_E8M0", "[2,2]", 4},
             {"F4", "[2,2]", 2},   {"F6_E2M3", "[2,2]", 3}, {"C64", "[2,2]", 32}};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        const struct mk_tensor t = {"x.weight", v[i].dtype, v[i].shape, NULL, v[i].n};
        struct buf b = mk_safetensors(&t, 1, NULL);
        struct source_model s;
        struct plan p;
        struct err e;
        cr_assert_eq(plan_with(&b, NULL, SCHEME_DEFAULT, "x.*", ACTION_QUANTIZE, &p, &s, &e), -1, "%s %s",
                     v[i].dtype, v[i].shape);
        cr_assert_eq(e.kind, ERR_INPUT);
        cr_assert(strstr(e.msg, "'x.weight'") && strstr(e.msg, v[i].dtype), "%s", e.msg);
        cr_assert_eq(plan_with(&b, NULL, SCHEME_DEFAULT, "none", ACTION_KEEP, &p, &s, &e), 0, "%s", e.msg);
        cr_assert(p.nout == 1 && p.op[0].x == &xform_copy, "without a rule it is kept: %s", v[i].dtype);
        plan_free(&p);
        close_image(&s);
        buf_free(&b);
    }
}

Test(plan, a_stack_has_no_single_scale)
{
    const struct mk_tensor t = {"x.experts.up", "BF16", "[2,4,4]", NULL, 64};
    struct buf b = mk_safetensors(&t, 1, NULL);
    struct source_model s;
    struct plan p;
    struct err e;
    cr_assert_eq(plan_with(&b, NULL, "fp8-tensor", "none", ACTION_KEEP, &p, &s, &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, "'x.experts.up'") && strstr(e.msg, "stack of 2"), "%s", e.msg);
    cr_assert_eq(plan_with(&b, NULL, "fp8-tensor", "x*", ACTION_KEEP, &p, &s, &e), 0, "%s", e.msg);
    plan_free(&p);
    close_image(&s);
    buf_free(&b);
}

/* Groups along a row must divide it, or readers refuse the weight; blocks may be partial.  What is quantized
 * already cannot be kept beside another scheme, so there it is an error. */
Test(plan, partial_groups_only_by_name)
{
    static const struct {
        const char *scheme, *dtype, *shape;
        size_t bytes;
        bool partial;
    } v[] = {{"mxfp8", "BF16", "[3,64]", 384, false},  {"mxfp8", "BF16", "[3,65]", 390, true},
             {"mxfp8", "BF16", "[3,31]", 186, true},   {"mxfp8", "BF16", "[2,3,33]", 396, true},
             {"fp8-tensor", "F16", "[3,33]", 198, false}, {"fp8-channel", "F32", "[1,3]", 12, false},
             {SCHEME_DEFAULT, "BF16", "[3,33]", 198, false}, {"int8-channel", "BF16", "[3,1]", 6, false},
             {"mxfp8", "F8_E4M3", "[3,64]", 192, false}, {"mxfp8", "F8_E4M3", "[3,65]", 195, true}};
    for (size_t i = 0; i < 2 * sizeof v / sizeof *v; i++) {
        const size_t k = i / 2;
        const bool codes = v[k].dtype[1] == '8', refused = v[k].partial && i % 2 == 0;
        const float one = 1;
        const struct mk_tensor t[2] = {{"x.experts.weight", v[k].dtype, v[k].shape, NULL, v[k].bytes},
                                       {"x.experts.weight_scale_inv", "F32", "[1,1]", &one, 4}};
        struct buf b = mk_safetensors(t, 1 + codes, NULL);
        struct source_model s;
        struct plan p;
        struct err e;
        const char *const pattern = i % 2 ? "x.*" : "none";
        const int r = plan_with(&b, codes ? fp8 : NULL, v[k].scheme, pattern, ACTION_QUANTIZE, &p, &s, &e);
        cr_assert_eq(r, refused && codes ? -1 : 0, "%s %s: %s", v[k].scheme, v[k].shape, e.msg);
        const char *said = r ? e.msg : p.nnotes ? p.note[0] : "";
        cr_assert_eq(refused, strstr(said, "x.experts.weight [3,") && strstr(said, "groups of 32 columns"), "%s", said);
        buf_free(&b);
        if (r)
            continue;
        cr_assert(codes || p.op[0].x == (refused ? &xform_copy : &xform_encode), "%s %s", v[k].scheme, v[k].shape);
        plan_free(&p);
        close_image(&s);
    }
}

Test(plan, dropping_a_weight_drops_its_scale)
{
    const struct mk_tensor t[3] = {{"a.weight_scale_inv", "F32", "[1,1]", NULL, 4},
                                   {"a.weight", "F8_E4M3", "[4,4]", NULL, 16},
                                   {"b", "U8", "[1]", NULL, 1}};
    struct buf b = mk_safetensors(t, 3, NULL);
    static const char *const scheme[] = {NULL, "fp8-f32-128x128"};
    for (int i = 0; i < 2; i++) {
        struct source_model s;
        struct plan p;
        struct err e;
        cr_assert_eq(plan_with(&b, fp8, scheme[i], "a.weight", ACTION_DROP, &p, &s, &e), 0, "%s", e.msg);
        cr_assert(p.nout == 1 && p.fates[FATE_DROPPED] == 2 && p.fates[FATE_COPIED] == 1);
        cr_assert_str_eq(p.out[0].t.name, "b");
        plan_free(&p);
        close_image(&s);
    }
    buf_free(&b);
}

/* ---- streams: the order of ops, and what is held ------------------------------------------------- */

enum { W = 256 * 128, S = 8, N = 6 };

/* Three weights and their scales in the order given: a digit is weight 0, 1, 2; a letter its scale. */
static struct buf in_order(const char *order)
{
    struct mk_tensor t[N];
    char name[N][32];
    for (size_t i = 0; i < N; i++) {
        const bool w = order[i] < 'a';
        snprintf(name[i], sizeof *name, "l.%d.weight%s", order[i] - (w ? '0' : 'a'), w ? "" : "_scale_inv");
        t[i] = (struct mk_tensor){name[i], w ? "F8_E4M3" : "F32", w ? "[256,128]" : "[2,1]", NULL, w ? W : S};
    }
    return mk_safetensors(t, N, fp8_meta);
}

Test(plan, held_bytes_of_a_stream)
{
    static const struct {
        const char *order;
        uint64_t held;
    } v[] = {
        {"a0b1c2", S},             /* each scale just before its weight: only it is held */
        {"abc012", 3 * S},         /* all scales first */
        {"0a1b2c", W + S},         /* a scale after its weight: both */
        {"012abc", 3 * W + S},     /* all weights first: each is let go with its scale */
        {"a1b0c2", S + W + S},     /* 1 waits for b; a is there all the time */
        {"01a2bc", 2 * W + S + W}, /* 0 and a go before 2 comes, but 1, 2 and a were not there at once */
    };
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        struct buf b = in_order(v[i].order);
        struct source_model s;
        struct wanted w = {.plain = DT_BF16};
        struct plan p;
        struct err e = {0};
        uint64_t now = 0, peak = 0;
        bool have[2][3] = {{0}};
        open_image(&s, &b, NULL, true);
        cr_assert_eq(plan_make(&p, &s.m, &w, &e), 0, "%s", e.msg);
        /* What an honest bookkeeper would hold: a weight whose scale is there already is never held. */
        for (size_t k = 0; k < N; k++) {
            const bool weight = v[i].order[k] < 'a';
            const int g = v[i].order[k] - (weight ? '0' : 'a');
            have[weight][g] = true;
            const bool both = have[0][g] && have[1][g];
            now += weight ? (both ? 0 : W) : S;
            peak = max_u64(peak, now);
            if (both)
                now -= weight ? S : W + S;
        }
        cr_assert_eq(now, 0);
        cr_assert_eq(p.held, peak, "%s: %lu, not %lu", v[i].order, p.held, peak);
        cr_assert(i == 5 || p.held == v[i].held);
        for (size_t k = 1; k < p.nops; k++)
            cr_assert_geq(op_last(&p.op[k], p.src), op_last(&p.op[k - 1], p.src), "ops run as their inputs arrive");
        for (size_t k = 0; k < p.nops; k++)
            cr_assert_eq(op_streams(&p.op[k]), p.op[k].in[0] > p.op[k].in[1]);
        plan_free(&p);
        close_image(&s);

        open_image(&s, &b, NULL, false); /* a file holds nothing */
        cr_assert_eq(plan_make(&p, &s.m, &w, &e), 0, "%s", e.msg);
        cr_assert_eq(p.held, 0);
        plan_free(&p);
        close_image(&s);
        buf_free(&b);
    }
}

/* Two passes need the tensor twice, so a stream holds it. */
Test(plan, a_scale_of_the_whole_is_held)
{
    const struct mk_tensor t[2] = {{"a.weight", "BF16", "[64,64]", NULL, 8192},
                                   {"b.weight", "BF16", "[64,32]", NULL, 4096}};
    struct buf b = mk_safetensors(t, 2, NULL);
    struct source_model s;
    struct encoding to;
    struct wanted w;
    struct plan p;
    struct err e = {0};
    for (int i = 0; i < 2; i++) {
        open_image(&s, &b, NULL, true);
        flow_wanted(&w, &to, i ? "fp8-tensor" : SCHEME_DEFAULT);
        cr_assert_eq(plan_make(&p, &s.m, &w, &e), 0, "%s", e.msg);
        cr_assert_eq(p.held, i ? 8192 : 0);
        plan_free(&p);
        close_image(&s);
    }
    buf_free(&b);
}

/* ---- boxes ------------------------------------------------------------------------------------- */

/* Boxes cover the matrix in multiples of the grain and of the layouts' tiles, a few MiB each. */
Test(plan, cuts)
{
    static const char *const sentence[] = {NULL, "c1 r1 r0 c0 | r0=16 c0=32", "c1 r0 c0 | c0=2",
                                           "r1 c1 c0 r0 | r0=32 c0=16"};
    static const uint64_t extent[] = {1, 7, 128, 129, 4096, 100003, 3000000};
    static const struct {
        uint64_t rows, cols;
    } grain[] = {{1, 1}, {128, 128}, {1, 32}, {1, 0}};
    const struct tensor t = {.name = "t", .dtype = DT_F8_E4M3, .rank = 2};
    const struct model m = {.t = (struct tensor *)&t, .n = 1, .random = true};
    for (size_t l = 0; l < 4; l++)
        for (size_t g = 0; g < 4; g++)
            for (size_t k = 0; k < 49 * 4; k++) {
                const uint64_t rows = extent[k % 7], cols = extent[k / 7 % 7];
                static const enum dtype in[] = {DT_F8_E4M3, DT_BF16};
                struct stored st = {
                    .dtype = DT_F8_E4M3, .batch = 1, .rows = rows, .cols = cols, .repeat = {1, 1}};
                struct grain x = {grain[g].rows, grain[g].cols, {.elem = in[k / 49 % 2]}, NULL, NULL, k / 98};
                struct op op = {.x = &xform_copy, .src = &m, .m = {1, rows, cols}};
                struct err e = {0};
                uint64_t tr = 1, tc = 1;
                if (rows * cols > 1u << 31)
                    continue;
                if (sentence[l]) {
                    cr_assert_eq(layout_parse(&st.layout, sentence[l], &e), 0);
                    tr = st.layout.tile[0];
                    tc = st.layout.tile[1];
                    x.to = &st;
                }
                cr_assert_eq(op_cut(&op, &x, &e), 0, "%s", e.msg);
                cr_assert(op.box_rows >= 1 && op.box_rows <= rows && op.box_cols >= 1 && op.box_cols <= cols);
                cr_assert_eq(op.boxes, (rows + op.box_rows - 1) / op.box_rows
                                           * ((cols + op.box_cols - 1) / op.box_cols));
                cr_assert(op.box_rows == rows || (op.box_rows % grain[g].rows == 0 && op.box_rows % tr == 0));
                cr_assert(op.box_cols == cols
                          || (grain[g].cols && op.box_cols % grain[g].cols == 0 && op.box_cols % tc == 0));
                if (x.stream)
                    cr_assert(op.box_cols == cols || rows == 1, "a stream has whole rows");
                else if (grain[g].cols)
                    cr_assert_leq(op.box_rows * view_row_bytes(&x.in, op.box_cols), 5u << 20,
                                  "%lu x %lu: %lu x %lu", rows, cols, op.box_rows, op.box_cols);
            }
}

/* ---- packing: layouts, and the same digest from every container --------------------------------- */

static void line_digest(const struct buf *lines, uint8_t d[32])
{
    struct sha256 s;
    sha256_init(&s);
    sha256_put(&s, lines->s, lines->n);
    sha256_end(&s, d);
}

static void expect_digest(struct model *m, const uint8_t want[32], const char *what)
{
    uint8_t(*const d)[32] = calloc(m->n, 32), got[32];
    struct err e = {0};
    cr_assert_eq(run_digest(m, 3, d, &e), 0, "%s: %s", what, e.msg);
    cr_assert_eq(model_digest(m, (const uint8_t(*)[32])d, NULL, got, &e), 0, "%s", e.msg);
    cr_assert_eq(memcmp(got, want, 32), 0, "%s", what);
    free(d);
}

/* Packs an image with sentences; the packed file. */
static struct buf pack(const struct buf *b, const char *weight, const char *scale, uint8_t want[32])
{
    struct layout wl, sl;
    struct wanted w = {.plain = DT_COUNT,
                       .weight_sentence = weight,
                       .scale_sentence = scale,
                       .weight_layout = &wl,
                       .scale_layout = &sl};
    struct source_model s;
    struct plan p;
    struct writer out;
    struct sink sink;
    struct err e = {0};
    cr_assert(!layout_parse(&wl, weight, &e) && !layout_parse(&sl, scale, &e), "%s", e.msg);
    open_image(&s, b, NULL, false);
    cr_assert_eq(plan_make(&p, &s.m, &w, &e), 0, "%s", e.msg);
    struct tensor t[16];
    uint8_t d[16][32], tail[18 * 32];
    char *const path = mk_path(s.dir, "out");
    for (size_t i = 0; i < p.nout; i++)
        t[i] = p.out[i].t;
    cr_assert_eq(writer_packed(&out, t, p.nout, path,
                               &(struct packed_info){.align = 64, .kv = s.m.kv, .nkv = s.m.nkv}, &e),
                 0);
    cr_assert(!sink_open(&sink, out.file, 1, out.slot, out.nslots, NULL, (struct sink_options){0}, &e)
                  && !run_plan(&p, &sink, out.slot_of, &(struct run_options){.threads = 3}, NULL, &e)
                  && !run_sink_digest(&sink, 2, NULL, d, &e),
              "%s", e.msg);
    packed_trailer((const uint8_t(*)[32])d, p.nout, want, tail);
    cr_assert(!sink_tail(&sink, 0, tail, &e) && !sink_commit(&sink, &e), "%s", e.msg);
    struct buf file = mk_read(path);
    plan_free(&p);
    writer_free(&out);
    close_image(&s);
    free(path);
    return file;
}

Test(plan, one_digest_for_every_container)
{
    static const uint8_t hello[3] = {1, 2, 3}; /* what mk writes into a tensor of three bytes */
    enum { ROWS = 300, COLS = 200 };
    static uint8_t q[ROWS * COLS];
    uint64_t seed = 2;
    for (size_t i = 0; i < sizeof q; i++)
        q[i] = (uint8_t)oracle_random(&seed);
    float scale[6] = {1, 2, 4, 8, 0.5f, 0.25f};
    const struct mk_tensor t[5] = {{"zz", "U8", "[3]", NULL, 3},
                                   {"q.weight", "F8_E4M3", "[300,200]", q, sizeof q},
                                   {"none", "I64", "[0,3]", NULL, 0},
                                   {"q.weight_scale_inv", "F32", "[3,2]", scale, sizeof scale},
                                   {"a", "F64", "[]", "12345678", 8}};
    const struct mk_tensor back[5] = {t[4], t[3], t[1], t[0], t[2]};
    static const char *const line[5] = {"zz U8 [3]", "q.weight F8_E4M3 [300,200]", "none I64 [0,3]",
                                        "q.weight_scale_inv F32 [3,2]", "a F64 []"};
    char text[5][128], *sorted[5];
    struct buf lines = {0};
    uint8_t want[32];
    for (size_t i = 0; i < 5; i++) {
        struct sha256 s;
        uint8_t d[32];
        char hex[65];
        sha256_init(&s);
        sha256_put(&s, i == 0 ? hello : t[i].n ? t[i].data : "", t[i].n);
        sha256_end(&s, d);
        sha256_hex(d, hex);
        snprintf(text[i], sizeof *text, "%s  %s\n", hex, line[i]);
        size_t k = i;
        for (; k && strcmp(sorted[k - 1], text[i]) > 0; k--)
            sorted[k] = sorted[k - 1];
        sorted[k] = text[i];
    }
    for (size_t i = 0; i < 5; i++)
        mk_puts(&lines, sorted[i]);
    line_digest(&lines, want);
    buf_free(&lines);

    struct buf a = mk_safetensors(t, 5, fp8_meta), b = mk_safetensors(back, 5, NULL), s1, s2;
    struct buf packed[2] = {pack(&a, "c1 r1 r0 c0 | r0=16 c0=32", "c0 r0", want),
                            pack(&a, "r1 c1 c0 r0 | r0=32 c0=16", "r1 c0 r0 | r0=16", want)};
    const struct buf *const image[] = {&a, &b, &packed[0], &packed[1]};
    for (size_t i = 0; i < 4; i++)
        for (int stream = 0; stream < 2; stream++) {
            struct source_model s;
            char what[32];
            open_image(&s, image[i], NULL, stream);
            snprintf(what, sizeof what, "image %zu, stream %d", i, stream);
            expect_digest(&s.m, want, what);
            close_image(&s);

            /* and in passing, while a plan runs over a stream, which reads no config beside it */
            for (int k = 0; k < 2 && stream && i != 1; k++) {
                struct wanted w = {.plain = k ? DT_BF16 : DT_COUNT};
                struct plan p;
                struct err e = {0};
                uint8_t d[5][32], got[32];
                open_image(&s, image[i], NULL, true);
                cr_assert_eq(plan_make(&p, &s.m, &w, &e), 0, "%s", e.msg);
                const struct run_options opt = {.threads = 2};
                cr_assert_eq(run_plan(&p, NULL, NULL, &opt, d, &e), 0, "%s", e.msg);
                if (i > 1) /* the bytes as they lie, which the trailer knows */
                    cr_assert(!packed_check(&s.m, d, got, &e) && !model_finish(&s.m, &e), "%s: %s", what,
                              e.msg);
                else
                    cr_assert_eq(model_digest(&s.m, (const uint8_t(*)[32])d, NULL, got, &e), 0, "%s",
                                 e.msg);
                cr_assert_eq(memcmp(got, want, 32), 0, "%s, %s in passing", what, k ? "decoded" : "copied");
                plan_free(&p);
                close_image(&s);
            }
        }
    /* shards */
    char *const dir = mk_tmpdir(), *const f1 = mk_path(dir, "s-00001-of-00002.safetensors");
    char *const f2 = mk_path(dir, "s-00002-of-00002.safetensors");
    char *const index = mk_path(dir, "model.safetensors.index.json");
    static const char map[] =
        "{\"metadata\":{},\"weight_map\":{\"zz\":\"s-00002-of-00002.safetensors\",\"q.weight\":"
        "\"s-00002-of-00002.safetensors\",\"none\":\"s-00001-of-00002.safetensors\",\"q.weight_scale_inv\":"
        "\"s-00001-of-00002.safetensors\",\"a\":\"s-00001-of-00002.safetensors\"}}";
    struct model m;
    struct err e = {0};
    s1 = mk_safetensors(t + 2, 3, NULL);
    s2 = mk_safetensors(t, 2, NULL);
    mk_write(f1, s1.s, s1.n);
    mk_write(f2, s2.s, s2.n);
    mk_write(index, map, sizeof map - 1);
    cr_assert_eq(model_open(&m, dir, &e), 0, "%s", e.msg);
    expect_digest(&m, want, "shards");
    model_close(&m);
    struct buf *const all[] = {&a, &b, &s1, &s2, &packed[0], &packed[1]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_free(all[i]);
    free(f1);
    free(f2);
    free(index);
    mk_rmdir(dir);
}

Test(plan, nothing_to_pack)
{
    const struct mk_tensor t = {"a.weight", "BF16", "[4,4]", NULL, 32};
    struct buf b = mk_safetensors(&t, 1, NULL);
    struct layout l;
    struct source_model s;
    struct plan p;
    struct err e = {0};
    cr_assert_eq(layout_parse(&l, "r0 c0", &e), 0);
    struct wanted w = {.plain = DT_COUNT, .weight_layout = &l, .weight_sentence = "r0 c0"};
    open_image(&s, &b, NULL, false);
    cr_assert_eq(plan_make(&p, &s.m, &w, &e), -1);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, "nothing"), "%s", e.msg);
    close_image(&s);
    buf_free(&b);
}

Test(plan, what_happened)
{
    struct outcome o = {.elems = 5};
    cr_assert_eq(outcome_verdict(&o), VERDICT_EXACT);
    o.n.inexact = 1;
    cr_assert_eq(outcome_verdict(&o), VERDICT_ROUNDED);
    o.n.saturated = 1;
    cr_assert_eq(outcome_verdict(&o), VERDICT_SATURATED);
    cr_assert_str_eq(verdict_name(VERDICT_EXACT), "exact");
    cr_assert_str_eq(verdict_name(VERDICT_ROUNDED), "rounded");
    cr_assert_str_eq(verdict_name(VERDICT_SATURATED), "saturated");
}
