/* Defects that are planted are named, with the tensor and the place; what is as it should be is said to be. */
#include "calibrate/audit.h"
#include "calibrate/signature.h"
#include "calibrate/signature_words.h"
#include "formats/jscan.h"
#include "tests/mk.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME "model.layers.0.mlp.up_proj.weight"
enum { N = 512, B = 128, G = N / B };

/* A file of E4M3 with 128 x 128 scales, and its original. */
struct made {
    uint16_t x[N * N];
    float w[N * N], amax[G * G], scale[G * G];
    uint8_t code[N * N];
};
static struct made *m;
static char *dir;

static double uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 40) / (1 << 24);
}

/* Sums of uniforms, each block of a size of its own. */
static void weights(void)
{
    uint64_t s = 77;
    double size[G * G];
    for (int b = 0; b < G * G; b++)
        size[b] = ldexp(0.02 + 0.01 * uniform(&s), b % 5 - b % 3 * 2);
    for (int i = 0; i < N * N; i++) {
        const int b = i / N / B * G + i % N / B;
        const double u = uniform(&s) + uniform(&s) + uniform(&s) + uniform(&s) - 2;
        m->x[i] = bf16_encode((float)(u * size[b]));
        m->w[i] = bf16_decode(m->x[i]);
        m->amax[b] = fmaxf(m->amax[b], fabsf(m->w[i]));
    }
}

/* Codes at scales[b], in a format. */
static void encode(const struct num *num)
{
    for (int i = 0; i < N * N; i++)
        m->code[i] = (uint8_t)num->encode(m->w[i] / m->scale[i / N / B * G + i % N / B], OVERFLOW_SATURATE);
}

static void scales_by(const char *rule)
{
    const struct scale_rule *pow2 = scale_rule_for(rule, DT_F8_E4M3);
    const struct scale_rule_f32 *f32 = pow2 ? NULL : scale_rule_f32_find(rule, DT_F8_E4M3);
    for (int b = 0; b < G * G; b++)
        m->scale[b] = pow2 ? ue8m0_decode(pow2->code(m->amax[b], &num_e4m3)) : f32->scale(m->amax[b]);
}

static void make(void)
{
    dir = mk_tmpdir();
    m = calloc(1, sizeof *m);
    weights();
}
static void drop(void)
{
    free(m);
    mk_rmdir(dir);
}
TestSuite(inspect, .init = make, .fini = drop);

static const char config[] = "{\"model_type\":\"llama\",\"quantization_config\":{\"quant_method\":\"fp8\",\"fmt\":\"e4m3\",\"activation_scheme\":\"dynamic\","
                             "\"weight_block_size\":[128,128],\"scale_fmt\":\"ue8m0\"}}";
static const char config_f32[] = "{\"model_type\":\"llama\",\"quantization_config\":{\"quant_method\":\"fp8\",\"fmt\":\"e4m3\",\"activation_scheme\":\"dynamic\","
                                 "\"weight_block_size\":[128,128]}}";

static void write_both(char *path[2], const char *conf)
{
    const struct mk_tensor a = {NAME, "BF16", "[512,512]", m->x, sizeof m->x};
    const struct mk_tensor b[] = {{NAME, "F8_E4M3", "[512,512]", m->code, sizeof m->code}, {NAME "_scale_inv", "F32", "[4,4]", m->scale, sizeof m->scale}};
    struct buf image[2] = {mk_safetensors(&a, 1, NULL), mk_safetensors(b, 2, NULL)};
    char *c = mk_path(dir, "config.json");
    path[0] = mk_path(dir, "original.safetensors");
    path[1] = mk_path(dir, "model.safetensors");
    mk_write(c, conf, strlen(conf));
    for (int i = 0; i < 2; i++) {
        mk_write(path[i], image[i].s, image[i].n);
        buf_free(&image[i]);
    }
    free(c);
}

/* The place that the last sentence was about. */
static struct place about;

/* What comparing says, and the findings of both kinds. */
static enum signature look(const char *conf, char text[320], struct inspection *out)
{
    char *path[2], other[320];
    struct model a, b;
    struct error_report r, again;
    struct rules rules = {0};
    struct err e = {0};
    write_both(path, conf);
    cr_assert_eq(model_open(&a, path[0], &e), 0, "%s", e.msg);
    cr_assert_eq(model_open(&b, path[1], &e), 0, "%s", e.msg);
    cr_assert_eq(error_measure(&r, &a, &b, &rules, ERROR_INSPECT, &(struct run_options){.threads = 1}, &e), 0, "%s", e.msg);
    cr_assert(r.n == 1 && r.t[0].look);
    const enum signature s = signature_of(&r.t[0], false, text, 320, &about);
    *out = *r.t[0].look;
    /* Threads change nothing. */
    cr_assert_eq(error_measure(&again, &a, &b, &rules, ERROR_INSPECT, &(struct run_options){.threads = 3}, &e), 0, "%s", e.msg);
    cr_assert(signature_of(&again.t[0], false, other, sizeof other, &(struct place){0}) == s && !strcmp(text, other) && !memcmp(out, again.t[0].look, sizeof *out));
    error_free(&r);
    error_free(&again);
    model_close(&a);
    model_close(&b);
    free(path[0]);
    free(path[1]);
    return s;
}

static void expect(enum signature want, const char *says, const char *conf)
{
    char text[320];
    struct inspection l;
    const enum signature s = look(conf, text, &l);
    cr_expect(s == want && strstr(text, says), "signature %d: %s", (int)s, text);
}

/* Every rule that gives E4M3 scales, found among those that explain the file. */
Test(inspect, every_rule_is_found)
{
    const char *last = "", *name;
    bool bf16;
    for (size_t k = 0; (name = inspect_rule_name(DT_F8_E4M3, k, &bf16)); k++) {
        char text[320];
        struct inspection l;
        const struct scale_rule *pow2 = scale_rule_for(name, DT_F8_E4M3);
        const struct scale_rule_f32 *f32 = pow2 && strcmp(name, "te") ? NULL : scale_rule_f32_find(name, DT_F8_E4M3);
        if (bf16 || !strcmp(name, last) || (f32 && (f32->bf16 || f32->times)))
            continue; /* elements that are rounded otherwise */
        last = name;
        scales_by(name);
        encode(pow2 && pow2->num ? num_named(pow2->num) : &num_e4m3);
        const enum signature s = look(pow2 ? config : config_f32, text, &l);
        cr_expect(l.rules >> k & 1, "%s: %s", name, text);
        cr_expect(s == SIGN_GOOD || s == SIGN_ODD, "%s: %s", name, text);
        cr_expect_eq(l.steps[0], l.roundings & 1 ? (uint64_t)N * N : l.steps[0]);
    }
    cr_assert(*last);
}

Test(inspect, as_it_should_be)
{
    char text[320];
    struct inspection l;
    scales_by("smallest");
    encode(&num_e4m3);
    cr_expect_eq(look(config, text, &l), SIGN_GOOD);
    cr_expect(strstr(text, "rounded to nearest at the scales of smallest"), "%s", text);
    cr_expect(l.steps[0] == N * N && l.codes == N * N && l.blocks == G * G && !l.nan && !l.low_blocks && l.roundings == 1u << ROUND_EVEN);
    uint64_t zero = 0, largest = 0, exponents = 0;
    for (int i = 0; i < N * N; i++) {
        zero += !(m->code[i] & 127);
        largest += (m->code[i] & 127) == 126;
    }
    for (int i = 0; i < 256; i++)
        exponents += l.exponent[i];
    cr_expect(l.zero == zero && l.largest == largest && exponents == G * G);
}

Test(inspect, defects_are_named)
{
    scales_by("smallest");
    encode(&num_e4m3);
    for (int c = 0; c < G; c++) { /* a permuted row of scales */
        const float s = m->scale[1 * G + c];
        m->scale[1 * G + c] = m->scale[3 * G + c];
        m->scale[3 * G + c] = s;
    }
    expect(SIGN_BAD, "rows 1 and 3 of the scales are exchanged", config);

    scales_by("smallest");
    for (int r = 0; r < G; r++)
        for (int c = 0; c < r; c++) {
            const float s = m->scale[r * G + c];
            m->scale[r * G + c] = m->scale[c * G + r];
            m->scale[c * G + r] = s;
        }
    expect(SIGN_BAD, "the grid of scales is transposed", config);
    cr_assert(!place_is(&about));

    scales_by("smallest");
    m->code[200 * N + 300] ^= 8;
    expect(SIGN_BAD, "1 of 262144 codes are not the nearest, the first at [200,300], and all others are", config);
    cr_assert(about.row == 200 && about.col == 300);
    m->code[200 * N + 300] ^= 8;
    m->scale[2 * G + 1] *= 2;
    expect(SIGN_BAD, "1 of 16 scales are not those of smallest, the first at [2,1], off by 2^1", config);
    cr_assert(about.row == 2 * B && about.col == B);
    m->scale[2 * G + 1] /= 2;
    m->code[77 * N + 5] = 0x7f;
    m->code[78 * N + 1] = 0xff;
    expect(SIGN_BAD, "2 codes are NaN, the first at [77,5]", config);
    cr_assert(about.row == 77 && about.col == 5);
    m->code[77 * N + 5] = m->code[78 * N + 1] = 0;
    encode(&num_e4m3);
    m->scale[5] = 0;
    expect(SIGN_BAD, "1 scales are 0, negative or no numbers, the first at [1,1] is 0", config);

    scales_by("floor"); /* saturates */
    encode(&num_e4m3);
    expect(SIGN_ODD, "the largest values saturated, at the scales of floor", config);
    scales_by("smallest");
    encode(&num_e4m3_away);
    expect(SIGN_ODD, "rounded to nearest, ties away from zero at the scales of smallest", config);

    for (int b = 0; b < G * G; b++) /* FNUZ in a file that says E4M3 */
        m->scale[b] = ue8m0_decode(scale_smallest(m->amax[b], &num_e4m3fnuz));
    encode(&num_e4m3fnuz);
    expect(SIGN_BAD, "E4M3FNUZ codes declared as E4M3", config);

    scales_by("absmax"); /* scales that are rounded behind the back of the codes */
    encode(&num_e4m3);
    for (int b = 0; b < G * G; b++)
        m->scale[b] = bf16_decode(bf16_encode(m->scale[b]));
    expect(SIGN_BAD, "were rounded to BF16 after the codes were made", config_f32);
    scales_by("smallest");
    expect(SIGN_BAD, "after the codes were made: the largest code is in every block", config);
    scales_by("ceil"); /* no defect, but half of what there is */
    encode(&num_e4m3);
    expect(SIGN_GOOD, "at the scales of ceil", config);
}

/* Rounded twice; rounded at random; other weights. */
Test(inspect, roundings)
{
    scales_by("absmax");
    encode(&num_e4m3);
    float second[G * G];
    scales_by("smallest");
    memcpy(second, m->scale, sizeof second);
    scales_by("absmax");
    for (int i = 0; i < N * N; i++) {
        const int b = i / N / B * G + i % N / B;
        m->code[i] = e4m3_encode(e4m3_decode(m->code[i]) * m->scale[b] / second[b], OVERFLOW_SATURATE);
    }
    memcpy(m->scale, second, sizeof second);
    expect(SIGN_ODD, "or a second one", config);
    for (int i = 0; i < N * N; i++)
        m->code[i] = (uint8_t)(i * 37 % 120);
    char text[320];
    struct inspection l;
    cr_expect_eq(look(config, text, &l), SIGN_BAD, "%s", text);
    for (int i = 0; i < N * N; i++) { /* towards zero */
        const float z = m->w[i] / m->scale[i / N / B * G + i % N / B];
        uint8_t c = e4m3_encode(z, OVERFLOW_SATURATE);
        m->code[i] = fabsf(e4m3_decode(c)) > fabsf(z) ? (uint8_t)(c - 1) : c;
    }
    expect(SIGN_ODD, "rounded towards zero at the scales of smallest", config);
}

/* ---- audit: one model alone ---------------------------------------------------------------------- */
static struct audit audited(const struct mk_tensor *t, size_t n, const char *conf)
{
    struct buf image = mk_safetensors(t, n, NULL);
    char *path = mk_path(dir, "model.safetensors"), *c = mk_path(dir, "config.json");
    struct model x;
    struct audit a;
    struct err e = {0};
    mk_write(path, image.s, image.n);
    mk_write(c, conf, strlen(conf));
    cr_assert_eq(model_open(&x, path, &e), 0, "%s", e.msg);
    cr_assert_eq(audit_model(&a, &x, &(struct audit_options){{.threads = 2}, true}, &e), 0, "%s", e.msg);
    audit_sort(&a);
    model_close(&x);
    buf_free(&image);
    free(path);
    free(c);
    return a;
}

static void finds(const struct audit *a, enum severity s, const char *rule, const char *tensor, uint64_t row, uint64_t col)
{
    for (size_t i = 0; i < a->n; i++) {
        const struct finding *f = &a->f[i];
        if (f->severity == s && !strcmp(f->rule, rule) && (!tensor || (f->tensor && !strcmp(f->tensor, tensor)))
            && (row == UINT64_MAX || (f->at.row == row && f->at.col == col)))
            return;
    }
    for (size_t i = 0; i < a->n; i++)
        printf("%s %s %s: %s\n", severity_name(a->f[i].severity), a->f[i].rule, a->f[i].tensor ? a->f[i].tensor : "", a->f[i].says);
    cr_expect(false, "no %s of '%s' at [%d,%d]", rule, tensor ? tensor : "the model", (int)row, (int)col);
}

Test(inspect, audit_of_codes)
{
    const struct mk_tensor t[] = {{NAME, "F8_E4M3", "[512,512]", m->code, sizeof m->code}, {NAME "_scale_inv", "F32", "[4,4]", m->scale, sizeof m->scale}};
    scales_by("smallest");
    encode(&num_e4m3);
    struct audit a = audited(t, 2, config);
    cr_expect_eq(a.n, 0, "%s", a.n ? a.f[0].says : "");
    audit_free(&a);
    m->code[200 * N + 5] = 0xff;
    m->scale[G + 2] = NAN;
    m->scale[G + 3] = -1;
    for (int i = 0; i < B; i++)
        memset(m->code + i * N, 0, B); /* a dead block */
    for (int c = 0; c < N; c++)
        m->code[500 * N + c] = 0x38;
    a = audited(t, 2, config);
    finds(&a, FINDING_ERROR, "nan-code", NAME, 200, 5);
    finds(&a, FINDING_ERROR, "bad-scale", NAME, 1, 2);
    finds(&a, FINDING_NOTE, "zero-block", NAME, UINT64_MAX, 0);
    audit_free(&a);
    scales_by("smallest");
    encode(&num_e4m3);
    for (int b = 0; b < G * G; b++)
        m->scale[b] *= 1.25f; /* all the same factor */
    a = audited(t, 2, config);
    finds(&a, FINDING_ERROR, "odd-scale", NAME, UINT64_MAX, 0);
    cr_expect(a.n && strstr(a.f[0].says, "all of them 1.25 times one"), "%s", a.n ? a.f[0].says : "");
    audit_free(&a);
    scales_by("ceil");
    encode(&num_e4m3);
    a = audited(t, 2, config);
    finds(&a, FINDING_WARNING, "low-blocks", NAME, UINT64_MAX, 0);
    audit_free(&a);
    for (int b = 0; b < G * G; b++)
        m->scale[b] = ldexpf(1, -12);
    encode(&num_e4m3);
    a = audited(t, 2, config);
    finds(&a, FINDING_WARNING, "full-block", NAME, UINT64_MAX, 0);
    audit_free(&a);
    a = audited(t, 1, "{}"); /* codes without scales */
    finds(&a, FINDING_ERROR, "no-scale", NAME, UINT64_MAX, 0);
    finds(&a, FINDING_ERROR, "pairing", NULL, UINT64_MAX, 0);
    audit_free(&a);
    a = audited(t + 1, 1, config); /* and the other way round */
    finds(&a, FINDING_ERROR, "orphan", NAME "_scale_inv", UINT64_MAX, 0);
    audit_free(&a);
}

Test(inspect, audit_of_tables)
{
    struct mk_tensor t[24];
    char name[24][64];
    size_t n = 0;
    float row[12 * 64];
    for (int i = 0; i < 12 * 64; i++)
        row[i] = (float)(i % 13) - 6;
    for (int l = 0; l < 11; l++)
        for (int k = 0; k < 2; k++) {
            if (l == 4 && k)
                continue; /* one that the others have */
            snprintf(name[n], sizeof name[n], "model.layers.%d.%s.weight", l, k ? "o_proj" : "q_proj");
            t[n] = (struct mk_tensor){name[n], "F32", "[3,64]", row + (k ? 7 : 64), 3 * 64 * 4};
            n++;
        }
    t[n] = (struct mk_tensor){"model.embed_tokens.weight", "F32", "[12,64]", row, sizeof row};
    n++;
    struct audit a = audited(t, n, "{\"num_hidden_layers\":11,\"num_nextn_predict_layers\":1,\"vocab_size\":13,\"hidden_size\":64}");
    finds(&a, FINDING_ERROR, "missing", NULL, UINT64_MAX, 0);
    finds(&a, FINDING_WARNING, "mtp", NULL, UINT64_MAX, 0);
    finds(&a, FINDING_ERROR, "shape", "model.embed_tokens.weight", UINT64_MAX, 0);
    cr_expect(strstr(a.f[0].says, "model.layers.4.o_proj.weight"), "%s", a.f[0].says);
    audit_free(&a);
    a = audited(t, n, "{\"num_hidden_layers\":12,\"hidden_size\":64}");
    finds(&a, FINDING_ERROR, "layers", NULL, UINT64_MAX, 0);
    audit_free(&a);
    /* Values of plain tensors. */
    float x[64 * 64] = {0};
    for (int i = 0; i < 64 * 64; i++)
        x[i] = i / 64 == 9 ? 0.5f : (float)(i % 17) * 0.01f;
    x[40 * 64 + 3] = INFINITY;
    x[40 * 64 + 4] = NAN;
    x[2 * 64 + 1] = 900;
    float same[64 * 64];
    memcpy(same, x, sizeof x);
    static const float none[64 * 64];
    const struct mk_tensor v[] = {{"a.weight", "F32", "[64,64]", x, sizeof x}, {"b.weight", "F32", "[64,64]", same, sizeof same}, {"c.weight", "F32", "[64,64]", none, sizeof none}};
    a = audited(v, 3, "{}");
    finds(&a, FINDING_ERROR, "nan-value", "a.weight", 40, 3);
    finds(&a, FINDING_WARNING, "equal-row", "a.weight", 9, 0);
    finds(&a, FINDING_NOTE, "twin", NULL, UINT64_MAX, 0);
    finds(&a, FINDING_WARNING, "all-zero", "c.weight", UINT64_MAX, 0);
    audit_free(&a);
    float wide[64 * 1024] = {0};
    for (int i = 0; i < 64 * 1024; i++)
        wide[i] = (float)(i % 7) * 1e-3f;
    wide[5 * 1024 + 100] = 900;
    const struct mk_tensor w = {"d.weight", "F32", "[64,1024]", wide, sizeof wide};
    a = audited(&w, 1, "{}");
    cr_expect_eq(a.n, 0); /* one element of 65,536: not yet 1000 times the mean */
    wide[5 * 1024 + 100] = 0;
    audit_free(&a);
}

/* Many layers that lack the same: one finding. A high layer number: no memory for those below it. */
Test(inspect, audit_of_many_layers)
{
    enum { HAVE = 40 };
    struct mk_tensor t[2 * HAVE];
    char name[2 * HAVE][80];
    const float x[4] = {1, 2, 3, 4};
    size_t n = 0;
    for (int l = 0; l < HAVE; l++)
        for (int k = 0; k < 2; k++) {
            if (k && (l == 7 || l == 9 || l == 20))
                continue;
            snprintf(name[n], sizeof name[n], "model.layers.%d.%s.weight", l, k ? "o_proj" : "q_proj");
            t[n] = (struct mk_tensor){name[n], "F32", "[2,2]", x, sizeof x};
            n++;
        }
    struct audit a = audited(t, n, "{}");
    size_t missing = 0;
    for (size_t i = 0; i < a.n; i++)
        missing += !strcmp(a.f[i].rule, "missing");
    cr_expect(missing == 1 && strstr(a.f[0].says, "model.layers.7.o_proj.weight") && strstr(a.f[0].says, "2 more layers"), "%zu: %s", missing, a.n ? a.f[0].says : "");
    audit_free(&a);
}

/* Experts that are fewer in one layer. */
Test(inspect, audit_of_experts)
{
    struct mk_tensor t[16];
    char name[16][80];
    const float x[4] = {1, 2, 3, 4};
    size_t n = 0;
    for (int l = 1; l < 4; l++)
        for (int k = 0; k < 4; k++) {
            if (l == 2 && k == 3)
                continue;
            snprintf(name[n], sizeof name[n], "model.layers.%d.mlp.experts.%d.up_proj.weight", l, k);
            t[n] = (struct mk_tensor){name[n], "F32", "[2,2]", x, sizeof x};
            n++;
        }
    struct audit a = audited(t, n, "{\"n_routed_experts\":8}");
    finds(&a, FINDING_ERROR, "missing", NULL, UINT64_MAX, 0);
    finds(&a, FINDING_ERROR, "experts", NULL, UINT64_MAX, 0);
    audit_free(&a);
}

/* Blocks are counted in 32 bits: one of more elements is not looked at. */
Test(inspect, blocks_of_more_than_can_be_counted)
{
    struct group g = {.scheme = scheme_find("fp8-f32-tensor")};
    for (int p = 0; p < PART_COUNT; p++)
        g.of[p] = NO_TENSOR;
    cr_assert(g.scheme && !g.scheme->block_rows && !g.scheme->block_cols);
    for (uint64_t cols = 65535; cols <= 65536; cols++) {
        const struct view view = {.elem = DT_F8_E4M3, .rank = 2, .dim = {65536, cols}};
        struct values v;
        struct inspector i;
        struct inspection to;
        struct err e;
        values_init(&v, NULL, &view, &g, (const uint8_t *const[SIDE_COUNT]){0});
        cr_assert_eq(inspect_open(&i, &to, &v, true, &e), 0);
        cr_assert_eq(i.to != NULL, cols == 65535);
        inspect_free(&i);
    }
}

/* ---- languages -------------------------------------------------------------------------------------- */

/* The conversions of a format, and nothing else. */
static void conversions(const char *format, char out[64])
{
    size_t n = 0;
    for (const char *p = format; *p; p++)
        if (*p == '%')
            for (size_t k = strcspn(p, "dusgf") + 1; k-- && n < 63; p += k > 0)
                out[n++] = *p;
    out[n] = 0;
}

/* Both languages take the same arguments in the same order, and no sentence is left out or the same. */
Test(inspect, sentences_in_both_languages)
{
    for (int s = 0; s < SENTENCES; s++) {
        const char *en = signature_sentence((enum sentence)s, false), *zh = signature_sentence((enum sentence)s, true);
        char a[64], b[64];
        cr_assert(en && zh && strcmp(en, zh), "sentence %d", s);
        conversions(en, a);
        conversions(zh, b);
        cr_assert_str_eq(a, b, "%s / %s", en, zh);
        cr_assert_eq(utf8_check(zh, strlen(zh)), strlen(zh));
    }
    for (int r = 0; r < ROUNDINGS; r++)
        cr_assert(strcmp(signature_rounding((enum round_mode)r, false), signature_rounding((enum round_mode)r, true)));
}
