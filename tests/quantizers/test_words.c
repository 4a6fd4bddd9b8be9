/* Codes in I32 words, as compressed-tensors packs them: every size from 2 to 8
 * bits, both ways to fill the words, scales of every type, zero points, and an
 * order of the columns.  Bits are put one by one here. */
#include "quantizers/plan.h"
#include "tests/flow.h"
#include "tests/mk.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state = 9;
static uint32_t next(void) { return (state = state * 1664525u + 1013904223u) >> 8; }

struct packed {
    unsigned bits;
    size_t n, k, group;             /* group 0: a scale per row */
    size_t groups;
    bool slots, points, order;
    const char *scale_type;
    int8_t *q, *z;                  /* codes, codes that stand for zero */
    int32_t *block;                 /* of a column */
    uint16_t *scale;                /* exponent and top bits of an F32, which every type holds */
};

static size_t words_of(const struct packed *p, size_t n)
{
    return p->slots ? (n + 32 / p->bits - 1) / (32 / p->bits) : (n * p->bits + 31) / 32;
}

/* Code i of a row of words `stride` words apart. */
static void put(const struct packed *p, uint32_t *words, size_t stride, size_t i, int code)
{
    const unsigned u = (unsigned)(code + (1 << (p->bits - 1)));
    const size_t per = 32 / p->bits, at = p->slots ? i / per * 32 + i % per * p->bits : i * p->bits;
    for (unsigned b = 0; b < p->bits; b++)
        words[(at + b) / 32 * stride] |= (u >> b & 1) << (at + b) % 32;
}

static void fill(struct packed *p)
{
    p->groups = p->group ? (p->k + p->group - 1) / p->group : 1;
    p->q = malloc(p->n * p->k);
    p->z = malloc(p->n * p->groups);
    p->block = malloc(p->k * 4);
    p->scale = malloc(p->n * p->groups * 2);
    const int span = 1 << p->bits, low = -(1 << (p->bits - 1));
    for (size_t i = 0; i < p->n * p->k; i++)
        p->q[i] = (int8_t)(low + (int)(next() % (unsigned)span));
    for (size_t i = 0; i < p->n * p->groups; i++) {
        p->z[i] = (int8_t)(p->points ? low + (int)(next() % (unsigned)span) : 0);
        p->scale[i] = (uint16_t)(0x3d00 + next() % 0x180); /* BF16 of 2^-5 .. 2^-3 */
    }
    for (size_t c = 0; c < p->k; c++)
        p->block[c] = (int32_t)(p->order ? (c * 7 + 3) % p->k / p->group : p->group ? c / p->group : 0);
}

static void drop(struct packed *p)
{
    free(p->q);
    free(p->z);
    free(p->block);
    free(p->scale);
}

static float scale_of(const struct packed *p, size_t i) { return f32_from((uint32_t)p->scale[i] << 16); }

/* damage: 1 a zero point tensor that is a row short, 2 a block number out of range, 3 no order (-1), 4 a
 * weight a word short, 5 no shape */
static struct buf image(const struct packed *p, unsigned damage, char config[640], const char *version)
{
    const size_t w = words_of(p, p->k), pw = words_of(p, p->n) - (damage == 1), ww = w - (damage == 4);
    uint32_t *words = calloc(p->n * w, 4), *points = calloc(p->n * p->groups + p->groups, 4);
    uint8_t *scale = calloc(p->n * p->groups, 4);
    int64_t shape[2] = {(int64_t)p->n, (int64_t)p->k};
    int32_t *block = malloc(p->k * 4);
    char text[5][48];
    for (size_t r = 0; r < p->n; r++)
        for (size_t c = 0; c < p->k; c++)
            put(p, words + r * w, 1, c, p->q[r * p->k + c]);
    for (size_t r = 0; r < p->n && damage != 1; r++)
        for (size_t g = 0; g < p->groups; g++)
            put(p, points + g, p->groups, r, p->z[r * p->groups + g]);
    const size_t size = !strcmp(p->scale_type, "F32") ? 4 : 2;
    for (size_t i = 0; i < p->n * p->groups; i++) {
        const float f = scale_of(p, i);
        const uint16_t h = !strcmp(p->scale_type, "F16") ? f16_encode(f) : p->scale[i];
        memcpy(scale + i * size, size == 4 ? (const void *)&f : &h, size);
    }
    memcpy(block, p->block, p->k * 4);
    if (damage == 2)
        block[p->k - 1] = (int32_t)p->groups;
    if (damage == 3)
        block[0] = -1;
    snprintf(text[0], 48, "[%zu,%zu]", p->n, ww);
    snprintf(text[1], 48, "[%zu,%zu]", p->n, p->groups);
    snprintf(text[2], 48, "[%zu,%zu]", pw, p->groups);
    snprintf(text[3], 48, "[%zu]", p->k);
    struct mk_tensor t[5] = {{"a.weight_packed", "I32", text[0], words, p->n * ww * 4},
                             {"a.weight_scale", p->scale_type, text[1], scale, p->n * p->groups * size}};
    size_t n = 2;
    if (damage != 5)
        t[n++] = (struct mk_tensor){"a.weight_shape", "I64", "[2]", shape, 16};
    if (p->points)
        t[n++] = (struct mk_tensor){"a.weight_zero_point", "I32", text[2], points, pw * p->groups * 4};
    if (p->order)
        t[n++] = (struct mk_tensor){"a.weight_g_idx", "I32", text[3], block, p->k * 4};
    struct buf out = mk_safetensors(t, n, NULL);
    snprintf(text[4], 48, "%zu", p->group);
    snprintf(
        config, 640,
        "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\",%s"
        "\"config_groups\":{\"group_0\":{\"targets\":[\"Linear\"],\"weights\":{\"num_bits\":%u,\"type\":"
        "\"int\","
        "\"strategy\":\"%s\",\"group_size\":%s,\"symmetric\":%s}}}}}",
        version, p->bits, p->group ? "group" : "channel", p->group ? text[4] : "null",
        p->points ? "false" : "true");
    free(words);
    free(points);
    free(scale);
    free(block);
    return out;
}

static int run(const struct buf *in, const char *config, const char *scheme, struct buf *out, struct err *e)
{
    struct encoding enc;
    struct wanted w;
    flow_wanted(&w, &enc, NULL);
    *e = (struct err){0};
    if (!scheme)
        w.plain = DT_F32;
    else if (encoding_make(&enc, scheme_find(scheme), NULL, e))
        return -1;
    w.to = scheme ? &enc : NULL;
    w.convention = convention_find("compressed-tensors");
    return flow_run(in, config, &w, 2, false, false, out, e);
}

static void values_are(const struct packed *p, const struct buf *out, bool in_order)
{
    size_t n;
    const float *f = flow_tensor(out, "a.weight", &n);
    cr_assert_eq(n, p->n * p->k * 4);
    for (size_t r = 0; r < p->n; r++)
        for (size_t c = 0; c < p->k; c++) {
            const size_t g = r * p->groups + (in_order ? p->group ? c / p->group : 0 : (size_t)p->block[c]);
            const double want = ((double)p->q[r * p->k + c] - p->z[g]) * (double)scale_of(p, g);
            cr_assert((double)f[r * p->k + c] == want, "%u bits%s: [%zu,%zu] is %g, not %g", p->bits,
                      p->slots ? " in slots" : "", r, c, (double)f[r * p->k + c], want);
        }
}

static void same_tensors(const struct buf *a, const struct buf *b, const char *name)
{
    size_t n, k;
    const void *x = flow_tensor(a, name, &n), *y = flow_tensor(b, name, &k);
    cr_assert_eq(n, k, "%s", name);
    cr_assert_eq(memcmp(x, y, n), 0, "%s", name);
}

/* Reads p, and writes it again in words without gaps: the same bytes as if it had been packed so. */
static void there_and_back(struct packed *p)
{
    char config[640], name[48];
    struct err e;
    fill(p);
    struct buf in = image(p, 0, config, "\"version\":\"0.17.1\","), out;
    if (!p->slots) {
        buf_free(&in);
        in = image(p, 0, config, "\"version\":\"0.18.0\",");
    }
    cr_assert_eq(run(&in, config, NULL, &out, &e), 0, "%u bits: %s", p->bits, e.msg);
    values_are(p, &out, false);
    buf_free(&out);
    const bool f32 = !strcmp(p->scale_type, "F32");
    const bool plain = p->bits == 8 && !p->group && !p->points; /* is written as int-quantized */
    if (!p->order && !plain && (!p->group || p->k % p->group == 0)) {
        char group[24] = "channel";
        if (p->group)
            snprintf(group, sizeof group, "g%zu", p->group);
        snprintf(name, sizeof name, "int%u-%s%s%s", p->bits,
                 f32                       ? ""
                 : p->scale_type[0] == 'B' ? "bf16-"
                                           : "f16-",
                 group, p->points ? "-asym" : "");
        cr_assert_eq(run(&in, config, name, &out, &e), 0, "%s: %s", name, e.msg);
        p->slots = false;
        struct buf want = image(p, 0, config, "");
        same_tensors(&want, &out, "a.weight_packed");
        same_tensors(&want, &out, "a.weight_scale");
        same_tensors(&want, &out, "a.weight_shape");
        if (p->points)
            same_tensors(&want, &out, "a.weight_zero_point");
        buf_free(&want);
        buf_free(&out);
    }
    buf_free(&in);
    drop(p);
}

Test(words, every_size_and_shape)
{
    static const char *const type[] = {"BF16", "F16", "F32"};
    static const struct {
        size_t n, k, group;
    } shape[] = {{5, 96, 32}, {33, 70, 0}, {8, 128, 16}, {3, 41, 0}, {12, 90, 30}, {4, 100, 32}};
    for (unsigned bits = 2; bits <= 8; bits++)
        for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
            for (int points = 0; points < 2; points++)
                for (int slots = 0; slots < 2; slots++) {
                    struct packed p = {bits,
                                       shape[i].n,
                                       shape[i].k,
                                       shape[i].group,
                                       .slots = slots,
                                       .points = points,
                                       .scale_type = type[(i + bits) % 3]};
                    there_and_back(&p);
                }
}

Test(words, columns_in_another_order)
{
    char config[640];
    struct err e;
    struct buf out;
    for (unsigned bits = 2; bits <= 8; bits++)
        for (int points = 0; points < 2; points++) {
            struct packed p = {bits, 6, 96, 32, .points = points, .order = true, .scale_type = "F32"};
            there_and_back(&p);
        }
    struct packed p = {4, 6, 96, 32, .order = true, .scale_type = "F32"};
    fill(&p);
    struct buf in = image(&p, 2, config, "");
    cr_assert_eq(run(&in, config, NULL, &out, &e), -1);
    cr_assert(e.kind == ERR_INPUT && strstr(e.msg, "'a.weight_g_idx'") && strstr(e.msg, "block 3 of 3"), "%s",
              e.msg);
    buf_free(&in);
    in = image(&p, 3, config, ""); /* never filled in */
    cr_assert_eq(run(&in, config, NULL, &out, &e), 0, "%s", e.msg);
    values_are(&p, &out, true);
    buf_free(&out);
    cr_assert_eq(run(&in, config, "int4-g32", &out, &e), -1); /* an order is no way to copy codes */
    cr_assert(strstr(e.msg, "no exact way"), "%s", e.msg);
    buf_free(&in);
    drop(&p);
}

Test(words, what_does_not_fit)
{
    static const struct { unsigned damage; const char *word;
    } bad[] = {{1, "'a.weight_zero_point' is [0,3]"},
               {4, "'a.weight_packed' is [6,11]"},
               {5, "'a.weight_shape' is missing"}};
    char config[640];
    struct err e;
    struct buf out;
    struct packed p = {4, 6, 96, 32, .points = true, .scale_type = "BF16"};
    fill(&p);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf in = image(&p, bad[i].damage, config, "");
        cr_assert_eq(run(&in, config, NULL, &out, &e), -1, "damage %u", bad[i].damage);
        cr_assert(e.kind == ERR_INPUT && strstr(e.msg, bad[i].word), "%s", e.msg);
        buf_free(&in);
    }
    drop(&p);
    /* Of 3 bits 14 codes take two words either way: who wrote them decides, and somebody must say who. */
    for (int slots = 0; slots < 2; slots++) {
        p = (struct packed){3, 2, 14, 0, .slots = slots, .scale_type = "F32"};
        fill(&p);
        struct buf in = image(&p, 0, config, slots ? "\"version\":\"0.9.2\"," : "\"version\":\"0.20.0\",");
        cr_assert_eq(run(&in, config, NULL, &out, &e), 0, "%s", e.msg);
        values_are(&p, &out, true);
        buf_free(&out);
        buf_free(&in);
        in = image(&p, 0, config, "");
        cr_assert_eq(run(&in, config, NULL, &out, &e), -1);
        cr_assert(strstr(e.msg, "14 codes of 3 bits") && strstr(e.msg, "\"version\""), "%s", e.msg);
        buf_free(&in);
        drop(&p);
    }
}

/* Codes with zero points and of odd sizes are copied, and nothing else makes them. */
Test(words, copied_never_made)
{
    struct err e;
    struct buf out;
    float w[4 * 64] = {1, 2};
    const struct mk_tensor t[] = {{"a.weight", "F32", "[4,64]", w, sizeof w}};
    struct buf in = mk_safetensors(t, 1, NULL);
    static const char *const scheme[] = {"int4-g32-asym", "int3-g32", "int8-channel-asym"};
    for (size_t i = 0; i < 3; i++) {
        size_t n;
        cr_assert_eq(run(&in, "{}", scheme[i], &out, &e), 0, "%s", e.msg); /* kept, with a note */
        cr_assert_eq(memcmp(flow_tensor(&out, "a.weight", &n), w, sizeof w), 0);
        buf_free(&out);
        struct encoding enc;
        cr_assert_eq(encoding_make(&enc, scheme_find(scheme[i]), "absmax", &e), -1);
        cr_assert_eq(e.kind, ERR_USAGE);
    }
    buf_free(&in);
}
