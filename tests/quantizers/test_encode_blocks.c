/* The GGUF blocks that Octavo makes, against ggml's reference quantizers as their source says it: loops over one block
 * in FP32, candidates tried one by one. */
#include "quantizers/blocks.h"
#include "tests/flow.h"
#include "tests/mk_gguf.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 32 };
static struct err e;

/* ---- ggml's way ------------------------------------------------------------------------------ */

/* F32 to F16 by search among all of its values. */
static uint16_t nearest_f16(float x)
{
    static struct oracle o;
    if (!o.max_code)
        oracle_init(&o, oracle_f16[0], oracle_f16[1], oracle_f16[2]);
    return (uint16_t)oracle_nearest(&o, (double)x);
}

static void ggml_q8_0(const float *x, uint8_t *p)
{
    float amax = 0;
    for (int i = 0; i < BLOCK; i++)
        amax = fmaxf(amax, fabsf(x[i]));
    const float d = amax / 127.0f, id = d != 0 ? 1.0f / d : 0.0f;
    const uint16_t h = nearest_f16(d);
    p[0] = h & 255;
    p[1] = h >> 8;
    for (int i = 0; i < BLOCK; i++)
        p[2 + i] = (uint8_t)(int)roundf(x[i] * id);
}

static void ggml_mxfp4(const float *x, uint8_t *p)
{
    static const int doubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    float amax = 0;
    for (int i = 0; i < BLOCK; i++)
        amax = fmaxf(amax, fabsf(x[i]));
    const int scale = amax > 0 ? (int)(floorf(log2f(amax)) - 2 + 127) : 0;
    const float half = ldexpf(1, scale - 128);
    p[0] = (uint8_t)scale;
    memset(p + 1, 0, 16);
    for (int i = 0; i < BLOCK; i++) {
        int best = 0;
        for (int k = 1; k < 16; k++)
            if (fabsf((float)doubled[k] * half - x[i]) < fabsf((float)doubled[best] * half - x[i]))
                best = k;
        p[1 + i % 16] |= (uint8_t)(best << (i < 16 ? 0 : 4));
    }
}

/* ---- blocks ------------------------------------------------------------------------------------ */

/* Blocks of every size of numbers, with ties, zeros of both signs, powers of two and their neighbours. */
static void make_block(float *x, uint64_t *seed, int kind)
{
    const float unit = ldexpf(1, (int)(oracle_random(seed) % 120) - 60);
    for (int i = 0; i < BLOCK; i++) {
        const uint64_t u = oracle_random(seed);
        const float sign = u & 1 ? -1 : 1;
        switch (kind % 6) {
        case 0: x[i] = sign * ldexpf((float)(u >> 40), -24) * unit; break;
        case 1: x[i] = sign * (float)(u >> 8 & 511) / 2 * unit; break;               /* halves: ties of Q8_0 */
        case 2: x[i] = sign * (float)(u >> 8 & 63) / 8 * unit; break;                /* eighths: ties of E2M1 */
        case 3: x[i] = sign * ldexpf(1, (int)(u >> 8 & 7)) * unit; break;
        case 4: x[i] = nextafterf(sign * (float)(u >> 8 & 63) / 8 * unit, u & 2 ? INFINITY : -INFINITY); break;
        default: x[i] = u & 6 ? sign * 0.0f : sign * unit * (float)(u >> 8 & 3); break;
        }
    }
    if (kind % 6 == 1)
        x[oracle_random(seed) % BLOCK] = 127 * unit * (float)(1 + kind % 2); /* d is a power of two */
    if (kind % 7 == 3)
        x[0] = nextafterf(8 * unit, 0);
}

Test(encode_blocks, q8_0_is_that_of_ggml)
{
    uint64_t seed = oracle_seed();
    for (int n = 0; n < 60000; n++) {
        float x[BLOCK];
        uint8_t got[34], want[34];
        make_block(x, &seed, n);
        const bool fits = q8_0_encode(x, got);
        ggml_q8_0(x, want);
        cr_assert_eq(fits, (want[1] & 0x7c) != 0x7c);
        cr_assert(!memcmp(got, want, 34), "block %d, seed %lu", n, oracle_seed());
    }
}

Test(encode_blocks, q8_0_by_hand)
{
    float x[BLOCK] = {127, 0.5f, 1.5f, 2.5f, -0.5f, -2.5f, 126.5f, -126.49999f, 0.49999997f, -127, -0.0f};
    static const int8_t q[11] = {127, 1, 2, 3, -1, -3, 127, -126, 0, -127, 0};
    uint8_t p[34];
    cr_assert(q8_0_encode(x, p));
    cr_assert(p[0] == 0 && p[1] == 0x3c);
    for (int i = 0; i < BLOCK; i++)
        cr_assert_eq((int8_t)p[2 + i], i < 11 ? q[i] : 0, "%d", i);
    memset(x, 0, sizeof x);
    cr_assert(q8_0_encode(x, p));
    for (int i = 0; i < 34; i++)
        cr_assert_eq(p[i], 0);
    x[3] = 0x1p-149f; /* its inverse is Inf */
    cr_assert(q8_0_encode(x, p));
    for (int i = 0; i < 34; i++)
        cr_assert_eq(p[i], 0);
    x[3] = 65504 * 127.0f;
    cr_assert(q8_0_encode(x, p));
    x[3] = 65536 * 127.0f;
    cr_assert(!q8_0_encode(x, p));
}

/* ---- whole runs ---------------------------------------------------------------------------------- */

static void gguf_wanted(struct wanted *w, struct encoding *to, const char *scheme)
{
    flow_wanted(w, to, scheme);
    w->gguf = true;
    w->convention = convention_find("gguf");
}

/* The bytes of a tensor of a GGUF image; free(). */
static uint8_t *gguf_bytes(const struct buf *image, const char *name, enum dtype t, size_t n)
{
    char *const dir = mk_tmpdir(), *const path = mk_path(dir, "m.gguf");
    struct model m;
    size_t i;
    mk_write(path, image->s, image->n);
    cr_assert_eq(model_open(&m, path, &e), 0, "%s", e.msg);
    cr_assert(map_find(&m.by_name, name, &i));
    cr_assert_eq(m.t[i].dtype, t);
    cr_assert_eq(m.t[i].size, n);
    uint8_t *const p = malloc(n);
    cr_assert_eq(model_read(&m, i, 0, p, n, &e), 0, "%s", e.msg);
    model_close(&m);
    free(path);
    mk_rmdir(dir);
    return p;
}

enum { ROWS = 70, COLS = 96 };

static void blocks_of(const char *dtype, const void *data, size_t n, const float *x, const char *scheme)
{
    struct buf image = mk_safetensors(&(struct mk_tensor){"x.weight", dtype, "[2,35,96]", data, n}, 1, NULL), first = {0};
    const bool q8 = !strcmp(scheme, "q8_0");
    const size_t size = q8 ? 34 : 17, bytes = ROWS * COLS / BLOCK * size;
    for (int way = 0; way < 6; way++) {
        struct encoding to;
        struct wanted w;
        struct buf out;
        gguf_wanted(&w, &to, scheme);
        cr_assert_eq(flow_run(&image, NULL, &w, 1 + way % 3, way & 2, way & 4, &out, &e), 0, "%s", e.msg);
        uint8_t want[34], *const p = gguf_bytes(&out, "x.weight", q8 ? DT_Q8_0 : DT_MXFP4, bytes);
        for (size_t i = 0; i < ROWS * COLS / BLOCK; i++) {
            (q8 ? ggml_q8_0 : ggml_mxfp4)(x + i * BLOCK, want);
            cr_assert(!memcmp(p + i * size, want, size), "%s %s: block %zu", dtype, scheme, i);
        }
        if (!way)
            first = out;
        else
            cr_assert(out.n == first.n && !memcmp(out.s, first.s, out.n));
        if (way)
            buf_free(&out);
        free(p);
    }
    buf_free(&first);
    buf_free(&image);
}

Test(encode_blocks, runs_give_the_blocks_of_ggml)
{
    static float x[ROWS * COLS];
    static uint16_t h[ROWS * COLS];
    uint64_t seed = oracle_seed();
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < ROWS * COLS / BLOCK; i++)
            make_block(x + i * BLOCK, &seed, i + round);
        blocks_of("F32", x, sizeof x, x, "mxfp4");
        for (int i = 0; i < ROWS * COLS; i++)
            x[i] = fmaxf(fminf(x[i], 1e6f), -1e6f);
        blocks_of("F32", x, sizeof x, x, "q8_0");
        for (int i = 0; i < ROWS * COLS; i++) {
            uint32_t u;
            memcpy(&u, &x[i], 4);
            h[i] = (uint16_t)(u >> 16);
            u &= 0xffff0000;
            memcpy(&x[i], &u, 4);
        }
        blocks_of("BF16", h, sizeof h, x, "q8_0");
        blocks_of("BF16", h, sizeof h, x, "mxfp4");
    }
}

/* What a run counts is what decoding the result shows. */
Test(encode_blocks, refusals_and_policies)
{
    static float x[2 * BLOCK];
    struct buf out, image;
    struct encoding to;
    struct wanted w;
    for (int k = 0; k < 6; k++) {
        static const struct { const char *scheme, *says; float value; bool saturate; } rows[] = {
            {"q8_0", "element [1,3] is NaN", NAN, false},
            {"mxfp4", "element [1,3] is -Inf", -INFINITY, false},
            {"q8_0", "element [1,3] is NaN", NAN, true},
            {"mxfp4", "element [1,3] is Inf", INFINITY, true}, /* nothing finite to take its place */
            {"q8_0", "beyond the range of F16", 1e9f, true},
            {"q8_0", NULL, INFINITY, true}};
        memset(x, 0, sizeof x);
        x[BLOCK + 3] = rows[k].value;
        x[BLOCK + 4] = rows[k].says ? 0 : -127;
        image = mk_safetensors(&(struct mk_tensor){"x.weight", "F32", "[2,32]", x, sizeof x}, 1, NULL);
        gguf_wanted(&w, &to, rows[k].scheme);
        to.saturate_nonfinite = rows[k].saturate;
        const int r = flow_run(&image, NULL, &w, 2, false, false, &out, &e);
        buf_free(&image);
        if (rows[k].says) {
            cr_assert_eq(r, -1);
            cr_assert(e.kind == ERR_INPUT && strstr(e.msg, "x.weight") && strstr(e.msg, rows[k].says), "%s", e.msg);
            continue;
        }
        cr_assert_eq(r, 0, "%s", e.msg);
        uint8_t *const p = gguf_bytes(&out, "x.weight", DT_Q8_0, 68);
        cr_assert(p[34] == 0 && p[35] == 0x3c && p[36 + 3] == 127 && (int8_t)p[36 + 4] == -127);
        free(p);
        buf_free(&out);
    }
}

/* ---- what has such codes already ------------------------------------------------------------------- */

/* compressed-tensors' mxfp4, a stack: each code and each scale is in the block where it belongs, the unusual
 * codes (-0) and scales (0, 254) as well. */
Test(encode_blocks, mxfp4_codes_are_carried)
{
    static uint8_t code[ROWS * COLS / 2], scale[ROWS * COLS / BLOCK];
    uint64_t seed = oracle_seed();
    for (size_t i = 0; i < sizeof code; i++)
        code[i] = (uint8_t)oracle_random(&seed);
    for (size_t i = 0; i < sizeof scale; i++)
        scale[i] = (uint8_t)(oracle_random(&seed) % 255);
    scale[0] = 0;
    scale[1] = 254;
    const struct mk_tensor t[2] = {{"l.q.weight_packed", "U8", "[70,48]", code, sizeof code},
                                   {"l.q.weight_scale", "U8", "[70,3]", scale, sizeof scale}};
    static const char config[] = "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":"
        "\"mxfp4-pack-quantized\",\"quantization_status\":\"compressed\",\"config_groups\":{\"group_0\":{\"targets\":"
        "[\"Linear\"],\"weights\":{\"num_bits\":4,\"type\":\"float\",\"strategy\":\"group\",\"group_size\":32,"
        "\"symmetric\":true,\"dynamic\":false,\"scale_dtype\":\"torch.uint8\"}}}}}";
    struct buf image = mk_safetensors(t, 2, NULL), out;
    for (int way = 0; way < 6; way++) {
        struct encoding to;
        struct wanted w;
        gguf_wanted(&w, &to, way & 1 ? "mxfp4" : NULL); /* quantize says it, and convert does it by itself */
        w.convention = convention_find("gguf");
        cr_assert_eq(flow_run(&image, config, &w, 1 + way % 3, way & 2, way & 4, &out, &e), 0, "%s", e.msg);
        uint8_t *const p = gguf_bytes(&out, "l.q.weight", DT_MXFP4, sizeof scale * 17);
        for (size_t i = 0; i < sizeof scale; i++) {
            cr_assert_eq(p[17 * i], scale[i]);
            for (size_t c = 0; c < BLOCK; c++) {
                const uint8_t was = code[i * 16 + c / 2] >> 4 * (c % 2) & 15;
                cr_assert_eq(p[17 * i + 1 + c % 16] >> (c < 16 ? 0 : 4) & 15, was, "block %zu, code %zu", i, c);
            }
        }
        free(p);
        buf_free(&out);
    }
    scale[5] = 255; /* NaN to OCP MX, 2^128 to ggml */
    buf_free(&image);
    image = mk_safetensors(t, 2, NULL);
    struct encoding to;
    struct wanted w;
    gguf_wanted(&w, &to, "mxfp4");
    cr_assert_eq(flow_run(&image, config, &w, 2, false, false, &out, &e), -1);
    cr_assert(strstr(e.msg, "l.q.weight_scale") && strstr(e.msg, "[1,2]"), "%s", e.msg);
    buf_free(&image);
}

/* INT8 in groups of 32: with F16 scales always, with F32 ones when each is a power of two that F16 has. */
Test(encode_blocks, int8_codes_are_carried)
{
    static int8_t code[4 * 64];
    uint64_t seed = oracle_seed();
    uint16_t half[8];
    float full[8];
    for (size_t i = 0; i < sizeof code; i++)
        code[i] = (int8_t)oracle_random(&seed);
    for (int i = 0; i < 8; i++) {
        half[i] = (uint16_t)(0x1400 + i * 77);
        full[i] = ldexpf(1, i - 4);
    }
    for (int f32 = 0; f32 < 2; f32++) {
        const struct mk_tensor t[2] = {{"l.q.weight", "I8", "[4,64]", code, sizeof code},
                                       {"l.q.weight_scale", f32 ? "F32" : "F16", "[4,2]", f32 ? (void *)full : half,
                                        f32 ? sizeof full : sizeof half}};
        struct buf image = mk_safetensors(t, 2, f32 ? "{\"octavo.convention\":\"octavo\",\"octavo.description\":"
                                                      "\"{\\\"l.q.weight\\\":\\\"int8-g32\\\"}\"}"
                                                    : "{\"octavo.convention\":\"octavo\",\"octavo.description\":"
                                                      "\"{\\\"l.q.weight\\\":\\\"q8_0\\\"}\"}"), out;
        struct encoding to;
        struct wanted w;
        gguf_wanted(&w, &to, "q8_0");
        cr_assert_eq(flow_run(&image, NULL, &w, 2, false, false, &out, &e), 0, "%s", e.msg);
        uint8_t *const p = gguf_bytes(&out, "l.q.weight", DT_Q8_0, 8 * 34);
        for (int i = 0; i < 8; i++) {
            const unsigned h = f32 ? 15u + (unsigned)i - 4 : 0;
            cr_assert_eq(p[34 * i] | p[34 * i + 1] << 8, f32 ? (int)(h << 10) : half[i]);
            cr_assert(!memcmp(p + 34 * i + 2, code + BLOCK * i, BLOCK));
        }
        free(p);
        buf_free(&out);
        buf_free(&image);
    }
}

/* Blocks of a GGUF source stay when they are what is asked for; others are made anew. */
Test(encode_blocks, blocks_of_the_same_type_stay)
{
    struct buf image = gg_head(3, 2, 0), out;
    gg_tensor(&image, "l.q.weight", 2, (uint64_t[]){64, 3}, 8, 0);
    gg_tensor(&image, "l.k.weight", 2, (uint64_t[]){64, 3}, 2, 224);
    gg_pad(&image, 32);
    const size_t data = image.n;
    uint64_t seed = oracle_seed();
    for (int i = 0; i < 224 + 108; i++)
        mk_le(&image, i % 34 == 1 && i < 204 ? 0x30 : i >= 224 && (i - 224) % 18 == 1 ? 0x31 : oracle_random(&seed), 1);
    struct encoding to;
    struct wanted w;
    gguf_wanted(&w, &to, "q8_0");
    cr_assert_eq(flow_run(&image, NULL, &w, 2, false, false, &out, &e), 0, "%s", e.msg);
    uint8_t *const q = gguf_bytes(&out, "l.q.weight", DT_Q8_0, 204), *const k = gguf_bytes(&out, "l.k.weight", DT_Q8_0, 204);
    cr_assert(!memcmp(q, image.s + data, 204));
    float x[192];
    uint8_t want[34];
    q4_0_decode((const uint8_t *)image.s + data + 224, x, 192);
    for (int i = 0; i < 6; i++) {
        ggml_q8_0(x + BLOCK * i, want);
        cr_assert(!memcmp(k + 34 * i, want, 34));
    }
    free(q);
    free(k);
    buf_free(&out);
    buf_free(&image);
}
