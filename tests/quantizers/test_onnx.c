/* Known answers of ONNX's node tests: Cast, CastLike, QuantizeLinear and
 * DequantizeLinear.  A line is a name, an operator with its attributes, inputs and
 * an output, separated by tabs; a value is "name:TYPE:shape:bytes", the bytes in hex
 * or, of types below a byte outside of casts, as decimal numbers with commas.
 *
 * Casts are rounding (struct num). DequantizeLinear goes through model, plan and run:
 * FP8 and FP4 as they are, integers with zero points as compressed-tensors packs
 * them, which is unsigned as in ONNX: UINT8 and UINT4 are INT8 and INT4 less 128 and 8.
 * QuantizeLinear goes through the encoders with the scales of the line. */
#include "quantizers/encode.h"
#include "tests/flow.h"
#include "tests/mk.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* What is done with a line, by its name; a * stands for any more. The first that fits. */
enum way { CAST, WORDS_CAST, DEQUANTIZE, QUANTIZE, SKIP };
static const struct known { const char *name; enum way way; int lines; const char *why; } known[] = {
    { "test_cast_UINT4_to_FLOAT16", WORDS_CAST, 1, NULL },
    { "test_castlike_UINT4_to_FLOAT16", WORDS_CAST, 1, NULL },
    { "test_cast_*", CAST, 21, NULL },
    { "test_castlike_*", CAST, 19, NULL },
    { "test_dequantizelinear_uint16", SKIP, 1, "no scheme has elements of 16 bits" },
    { "test_dequantizelinear_*", DEQUANTIZE, 6, NULL },
    { "test_quantizelinear_blocked_asymmetric", SKIP, 1, "zero points are read and copied, not made" },
    { "test_quantizelinear_uint4", SKIP, 1, "zero points are read and copied, not made" },
    { "test_quantizelinear_int2", SKIP, 1, "INT2 is read and copied, not made" },
    { "test_quantizelinear_uint16", SKIP, 1, "no scheme has elements of 16 bits" },
    { "test_quantizelinear*", QUANTIZE, 3, NULL },
    { "test_dynamicquantizelinear_*", SKIP, 1, "zero points are read and copied, not made" },
    { "test_celu_*", SKIP, 1, "no quantization: an activation function in BF16" },
};
enum { LINES = 58, SKIPPED = 7 };

static const struct known *known_of(const char *name)
{
    for (size_t i = 0; i < COUNT(known); i++) {
        const size_t n = strcspn(known[i].name, "*");

        if (known[i].name[n] ? !strncmp(name, known[i].name, n) : !strcmp(name, known[i].name))
            return &known[i];
    }
    return NULL;
}

/* ---- lines ------------------------------------------------------------------------------ */

enum { MOST = 64 };
struct value {
    char type[16];
    size_t n, dims, dim[4];       /* a scalar has none */
    uint32_t code[MOST];
};
struct line { char name[64], op[64]; struct value in[3], out; size_t inputs; };

static const struct { const char *name; int bits; const struct num *num; } types[] = {
    { "FLOAT", 32, &num_f32 },          { "FLOAT16", 16, &num_f16 },         { "BFLOAT16", 16, &num_bf16 },
    { "F8E4M3FN", 8, &num_e4m3 },       { "F8E5M2", 8, &num_e5m2 },          { "F8E8M0", 8, &num_ue8m0 },
    { "F8E4M3FNUZ", 8, &num_e4m3fnuz }, { "F8E5M2FNUZ", 8, &num_e5m2fnuz },  { "F4E2M1", 4, &num_e2m1 },
    { "INT4", 4, &num_int4_full },      { "INT8", 8, &num_int8 },            { "UINT16", 16, NULL },
    { "UINT8", 8, NULL },               { "UINT4", 4, NULL },                { "INT2", 2, NULL },
};

static size_t type_of(const char *name)
{
    size_t i = 0;

    while (i < COUNT(types) && strcmp(types[i].name, name) != 0)
        i++;
    cr_assert_lt(i, COUNT(types), "%s", name);
    return i;
}

static const struct num *num_of(const struct value *v) { return types[type_of(v->type)].num; }

static void read_value(char *field, bool decimal, struct value *v)
{
    char *save = NULL;
    const char *const name = strtok_r(field, ":", &save), *const type = strtok_r(NULL, ":", &save);
    char *const shape = strtok_r(NULL, ":", &save);
    const char *text = strtok_r(NULL, ":", &save);
    uint8_t byte[4 * MOST];
    size_t bytes = 0;

    cr_assert(name && type && shape && strlen(type) < sizeof v->type, "%s", field);
    *v = (struct value){.n = 1};
    strcpy(v->type, type);
    for (char *p = shape; strcmp(shape, "scalar") != 0 && *p; p += *p == 'x')
        v->n *= v->dim[v->dims++] = strtoul(p, &p, 10);
    const int bits = types[type_of(type)].bits;
    cr_assert(v->n <= MOST, "%s", name);
    for (; text && *text && bytes < sizeof byte; bytes++)
        if (decimal && bits < 8) {
            char *end;
            byte[bytes] = (uint8_t)strtoul(text, &end, 10);
            text = end + (*end == ',');
        } else {
            byte[bytes] = (uint8_t)strtoul((const char[]){text[0], text[1], 0}, NULL, 16);
            text += 2;
        }
    cr_assert_eq(bytes, (v->n * (size_t)bits + 7) / 8, "%s:%s has %zu bytes", name, type, bytes);
    for (size_t i = 0; i < v->n; i++)
        for (int b = 0; b < bits; b++) {
            const size_t at = i * (size_t)bits + (size_t)b;
            v->code[i] |= (uint32_t)(byte[at / 8] >> at % 8 & 1) << b;
        }
}

static void read_line(char *text, struct line *l)
{
    char *save = NULL, *field;
    const char *const name = strtok_r(text, "\t\n", &save), *const op = strtok_r(NULL, "\t\n", &save);

    cr_assert(name && op && strlen(name) < sizeof l->name && strlen(op) < sizeof l->op, "%s", text);
    *l = (struct line){.inputs = 0};
    strcpy(l->name, name);
    strcpy(l->op, op);
    while ((field = strtok_r(NULL, "\t\n", &save)))
        if (!strncmp(field, "input_", 6))
            read_value(field, strncmp(op, "Cast", 4) != 0, &l->in[l->inputs++]);
        else if (!strncmp(field, "output_0", 8))
            read_value(field, strncmp(op, "Cast", 4) != 0, &l->out);
    cr_assert(l->inputs >= 1 && l->inputs <= 3 && l->out.n, "%s", name);
}

/* ---- ways -------------------------------------------------------------------------------- */

static void cast(const struct line *l)
{
    const struct num *const from = num_of(&l->in[0]), *const to = num_of(&l->out);
    const enum overflow o = strstr(l->op, "saturate=0") || to->bits >= 16 ? OVERFLOW_NAN : OVERFLOW_SATURATE;

    cr_assert_eq(l->in[0].n, l->out.n, "%s", l->name);
    for (size_t i = 0; i < l->out.n; i++) {
        const float x = from->decode(l->in[0].code[i]), want = to->decode(l->out.code[i]);
        const uint32_t got = to->encode(x, o);

        if (to == &num_int4_full && (x < -8 || x > 7))
            cr_expect_eq(to->decode(got), x < 0 ? -8.0f : 7.0f, "%s", l->name);   /* in ONNX it wraps round */
        else if (want != want)
            cr_expect(isnan(to->decode(got)), "%s %zu: NaN expected", l->name, i);
        else
            cr_expect_eq(got, l->out.code[i], "%s %zu: %x, not %x", l->name, i, got, l->out.code[i]);
    }
}

/* As many as there are scales: they go with the first axis that is longer than 1. */
static size_t rows_of(const struct line *l) { return l->inputs > 1 && l->in[1].dims && l->in[1].n ? l->in[1].n : 1; }

static struct buf words_image(const struct line *l, const float *scale, const uint32_t *point, char config[512])
{
    const unsigned bits = (unsigned)types[type_of(l->in[0].type)].bits, turn = l->in[0].type[0] == 'U' ? 0 : 1u << (bits - 1);
    const size_t rows = rows_of(l), cols = l->in[0].n / rows, words = (cols * bits + 31) / 32;
    uint32_t q[MOST] = {0}, z[4] = {0};
    const int64_t shape[2] = {(int64_t)rows, (int64_t)cols};
    char text[3][48];

    for (size_t i = 0; i < l->in[0].n; i++)
        q[i / cols * words + i % cols * bits / 32] |= (l->in[0].code[i] ^ turn) << i % cols * bits % 32;
    for (size_t r = 0; r < rows; r++)
        z[r * bits / 32] |= (point[r] ^ turn) << r * bits % 32;
    snprintf(text[0], 48, "[%zu,%zu]", rows, words);
    snprintf(text[1], 48, "[%zu,1]", rows);
    snprintf(text[2], 48, "[%zu,1]", (rows * bits + 31) / 32);
    const struct mk_tensor t[] = {{"a.weight_packed", "I32", text[0], q, rows * words * 4},
                                  {"a.weight_scale", "F32", text[1], scale, rows * 4},
                                  {"a.weight_shape", "I64", "[2]", shape, 16},
                                  {"a.weight_zero_point", "I32", text[2], z, (rows * bits + 31) / 32 * 4}};
    snprintf(config, 512,
             "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\","
             "\"config_groups\":{\"group_0\":{\"targets\":[\"Linear\"],\"weights\":{\"num_bits\":%u,\"type\":\"int\","
             "\"strategy\":\"channel\",\"group_size\":null,\"symmetric\":false}}}}}", bits);
    return mk_safetensors(t, COUNT(t), NULL);
}

static struct buf float_image(const struct line *l, const float *scale)
{
    const bool fp4 = !strcmp(l->in[0].type, "F4E2M1");
    const size_t n = fp4 ? (l->in[0].n + 1) / 2 : l->in[0].n;
    uint8_t q[MOST] = {0};
    char shape[32];

    cr_assert(rows_of(l) == 1 && (fp4 || !strcmp(l->in[0].type, "F8E4M3FN")), "%s", l->name);
    for (size_t i = 0; i < l->in[0].n; i++)
        q[fp4 ? i / 2 : i] |= (uint8_t)(l->in[0].code[i] << (fp4 && i % 2 ? 4 : 0));
    snprintf(shape, 32, "[1,%zu]", n);
    const struct mk_tensor t[] = {{"a.weight", fp4 ? "U8" : "F8_E4M3", shape, q, n},
                                  {"a.weight_scale", "F32", "[1]", scale, 4}};
    return mk_safetensors(t, COUNT(t), fp4 ? "{\"octavo.convention\":\"octavo\",\"octavo.description\":\"{\\\"a.weight\\\": \\\"fp4-tensor\\\"}\"}"
                                           : "{\"octavo.convention\":\"octavo\",\"octavo.description\":\"{\\\"a.weight\\\": \\\"fp8-tensor\\\"}\"}");
}

static void dequantize(const struct line *l, enum dtype to)
{
    const bool words = !num_of(&l->in[0]);
    struct wanted w = {.plain = to};
    struct err e = {0};
    struct buf out;
    char config[512];
    float scale[4] = {1, 1, 1, 1};
    uint32_t point[4] = {0};
    size_t n;

    for (size_t i = 0; l->inputs > 1 && to == DT_F32 && i < l->in[1].n; i++)
        scale[i] = f32_from(l->in[1].code[i]);
    for (size_t i = 0; l->inputs > 2 && i < l->in[2].n; i++)
        point[i] = l->in[2].code[i];
    cr_assert(words || point[0] == 0, "%s", l->name);
    struct buf in = words ? words_image(l, scale, point, config) : float_image(l, scale);
    cr_assert_eq(flow_run(&in, words ? config : NULL, &w, 1, false, false, &out, &e), 0, "%s: %s", l->name, e.msg);
    const uint8_t *const p = flow_tensor(&out, "a.weight", &n);
    const size_t size = (size_t)types[type_of(l->out.type)].bits / 8;
    cr_assert(n / size - l->out.n <= 1, "%s", l->name);
    for (size_t i = 0; i < l->out.n; i++) {
        uint32_t got = 0;
        memcpy(&got, p + size * i, size);
        cr_expect_eq(got, l->out.code[i], "%s %zu: %x, not %x", l->name, i, got, l->out.code[i]);
    }
    buf_free(&in);
    buf_free(&out);
}

/* UINT8 with zero point 128 is INT8 with -128. */
static void quantize(const struct line *l)
{
    const bool uint8 = !strcmp(l->out.type, "UINT8");
    const struct num *const num = uint8 ? &num_int8_full : num_of(&l->out);
    const size_t rows = rows_of(l), cols = l->out.n / rows;
    float x[MOST], y[2 * MOST];
    uint8_t q[MOST];
    struct kern_count n = {0};

    for (size_t i = 0; l->inputs > 2 && i < l->in[2].n; i++)
        cr_assert_eq(l->in[2].code[i], uint8 ? 128u : 0u, "%s", l->name);
    for (size_t i = 0; i < l->out.n; i++)
        x[i] = f32_from(l->in[0].code[i]);
    for (size_t r = 0; r < rows; r++) {
        float scale = f32_from(l->in[1].code[r]);
        const struct panel p = {SRC_F32, (const uint8_t *)(x + r * cols), cols * 4, 1, cols, cols, 1};
        const struct scales s = {.value = &scale};

        encode_any(num, &p, &s, kern_level("c"), q + r * cols, cols, y, &n);
    }
    for (size_t i = 0; i < l->out.n && l->inputs > 2; i++)
        if (x[i] == 0)   /* adding a zero point of 0 takes the sign away (struct scale_rule.zero_point) */
            q[i] = 0;
    for (size_t i = 0; i < l->out.n; i++)
        cr_expect_eq(uint8 ? q[i] ^ 0x80u : q[i], l->out.code[i], "%s %zu: %02x, not %02x", l->name, i, q[i],
                     l->out.code[i]);
    if (num == &num_e4m3) {   /* and the kernels of this machine */
        const float scale = f32_from(l->in[1].code[0]);
        struct err e = {0};
        const struct kern *const k = kern_get(&e);

        cr_assert_not_null(k, "%s", e.msg);
        k->enc_e4m3_f32[SRC_F32]((const uint8_t *)x, cols * 4, 1, cols, cols, &scale, q, cols, &n);
        for (size_t i = 0; i < cols; i++)
            cr_expect_eq(q[i], l->out.code[i], "%s %zu", l->name, i);
    }
}

static void answer(const struct line *l, enum way way)
{
    if (way == CAST)
        cast(l);
    else if (way == WORDS_CAST)
        dequantize(l, DT_F16);
    else if (way == DEQUANTIZE)
        dequantize(l, DT_F32);
    else if (way == QUANTIZE)
        quantize(l);
}

Test(onnx, known_answers)
{
    const char *const path = oracle_data("onnx-node/known-answers.tsv");
    int lines[COUNT(known)] = {0}, all = 0, skipped = 0;
    char text[8192];

    if (!path)
        return;
    FILE *const in = fopen(path, "r");
    cr_assert_not_null(in);
    while (fgets(text, sizeof text, in)) {
        struct line l;

        text[strcspn(text, "\n")] = 0;
        const struct known *const k = known_of(strndupa(text, strcspn(text, "\t")));
        cr_assert_not_null(k, "%.40s is not in the table", text);
        lines[k - known]++;
        all++;
        skipped += k->way == SKIP;
        if (k->way == SKIP) {
            cr_assert_not_null(k->why);
            continue;
        }
        read_line(text, &l);
        answer(&l, k->way);
    }
    fclose(in);
    for (size_t i = 0; i < COUNT(known); i++)
        cr_expect_eq(lines[i], known[i].lines, "%s: %d lines, not %d", known[i].name, lines[i], known[i].lines);
    cr_assert_eq(all, LINES);
    cr_assert_eq(skipped, SKIPPED);
}

/* The same without the collection: values of our own, worked out by hand. */
Test(onnx, own_answers)
{
    static const struct { enum way way; const char *text; } own[] = {
        { CAST, "own_cast\tCast(to=17)\tinput_0:FLOAT:5:0000c0be0000803f0000e8430000e943000080ff\t"
                "output_0:F8E4M3FN:5:ac387e7efe" },
        { CAST, "own_no_saturate\tCast(saturate=0,to=17)\tinput_0:FLOAT:3:0000e8430000e943000080ff\t"
                "output_0:F8E4M3FN:3:7e7fff" },
        { CAST, "own_castlike\tCastLike()\tinput_0:F4E2M1:4:7a5c\tinput_1:FLOAT16:0:\t"
                "output_0:FLOAT16:4:00bc004600c00042" },
        { CAST, "own_int4\tCast(to=22)\tinput_0:FLOAT:4:000000c1000020c0000060400000e040\toutput_0:INT4:4:e874" },
        { WORDS_CAST, "own_uint4\tCast(to=10)\tinput_0:UINT4:3:9f00\toutput_0:FLOAT16:3:804b80480000" },
        { DEQUANTIZE, "own_uint8\tDequantizeLinear()\tinput_0:UINT8:1x2x2x2:0001807fff640a00\t"
                      "input_1:FLOAT:2:0000003f00008040\tinput_2:UINT8:2:8001\t"
                      "output_0:FLOAT:1x2x2x2:000080c200007ec200000000000000bf00007e440000c64300001042000080c0" },
        { DEQUANTIZE, "own_int2\tDequantizeLinear(axis=0)\tinput_0:INT2:4:27\tinput_1:FLOAT:scalar:0000803f\t"
                      "input_2:INT2:1:3\toutput_0:FLOAT:4:00000000000080bf000000400000803f" },
        { DEQUANTIZE, "own_e4m3\tDequantizeLinear(axis=0)\tinput_0:F8E4M3FN:3:38fe01\tinput_1:FLOAT:scalar:00004040\t"
                      "output_0:FLOAT:3:000040400000a8c40000c03b" },
        { DEQUANTIZE, "own_fp4\tDequantizeLinear(axis=0)\tinput_0:F4E2M1:4:114,205\tinput_1:FLOAT:scalar:0000003f\t"
                      "output_0:FLOAT:4:0000003f000040400000c0bf000080bf" },
        { QUANTIZE, "own_uint8\tQuantizeLinear()\tinput_0:FLOAT:4:0000a040000020400000fac4000000bf\t"
                    "input_1:FLOAT:scalar:00008040\tinput_2:UINT8:scalar:80\toutput_0:UINT8:4:81810080" },
        { QUANTIZE, "own_e4m3\tQuantizeLinear()\tinput_0:FLOAT:3:0000404000c07a45000020c1\tinput_1:FLOAT:scalar:0000c040\t"
                    "output_0:F8E4M3FN:3:307ebd" },
        { QUANTIZE, "own_fp4\tQuantizeLinear(axis=0)\tinput_0:FLOAT:2x2:000020400000e0c00000403f000000bf\t"
                    "input_1:FLOAT:2:0000803f0000003f\tinput_2:F4E2M1:2:0\toutput_0:F4E2M1:2x2:244,163" },
    };

    for (size_t i = 0; i < COUNT(own); i++) {
        char text[1024];
        struct line l;

        snprintf(text, sizeof text, "%s", own[i].text);
        read_line(text, &l);
        answer(&l, own[i].way);
    }
    int lines = 0, skipped = 0;
    for (size_t i = 0; i < COUNT(known); i++) {
        lines += known[i].lines;
        skipped += known[i].way == SKIP ? known[i].lines : 0;
        cr_assert_eq(known[i].way == SKIP, known[i].why != NULL, "%s", known[i].name);
    }
    cr_assert_eq(lines, LINES);
    cr_assert_eq(skipped, SKIPPED);
}
