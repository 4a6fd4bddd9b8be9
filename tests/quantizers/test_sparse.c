/* Weights that are kept in pieces: what the pieces are, is put together again, and
 * pieces that do not fit each other are refused.  The packers here go the other
 * way than the readers and share no line with them; their bytes are those of
 * compressed-tensors 0.12.2 for the same weights (golden). */
#include "formats/sha256.h"
#include "quantizers/plan.h"
#include "tests/flow.h"
#include "tests/mk.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state;
static uint32_t next(void) { return state = state * 1664525u + 1013904223u; }

static const uint8_t pair[6][2] = {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}};

/* Codes of which two of four are not zero, and positive F16 scales. */
static void weights(unsigned bits, size_t n, size_t k, size_t groups, int8_t *q, uint16_t *scale)
{
    state = 1;
    memset(q, 0, n * k);
    for (size_t i = 0; i < n * k; i += 4) {
        const uint32_t x = next();
        const uint8_t *p = pair[(x >> 24) % 6];
        q[i + p[0]] = (int8_t)(1 + (x >> 8) % ((1u << (bits - 1)) - 1));
        q[i + p[1]] = (int8_t)(-1 - (int)((x >> 16) % (1u << (bits - 1))));
    }
    for (size_t i = 0; i < n * groups; i++)
        scale[i] = (uint16_t)(0x2c00 + i % 512);
}

/* ---- marlin-24 ----------------------------------------------------------------------- */
struct marlin {
    uint8_t *packed, *scale, *meta;
    size_t size[3];
};

/* The order of codes in a tile of 16 x 64. */
static void make_order(unsigned bits, uint16_t order[1024])
{
    static const uint8_t four[8] = {0, 2, 4, 6, 1, 3, 5, 7}, eight[8] = {0, 2, 1, 3, 4, 6, 5, 7};
    uint16_t plain[1024];
    size_t n = 0;
    for (unsigned i = 0; i < 32; i++)
        for (unsigned j = 0; j < 4; j++)
            for (unsigned block = 0; block < 2; block++)
                for (unsigned r = 0; r < 4; r++) {
                    const unsigned row[4] = {2 * (i % 4), 2 * (i % 4) + 1, 2 * (i % 4 + 4),
                                             2 * (i % 4 + 4) + 1};
                    plain[n++] = (uint16_t)(16 * row[r] + i / 8 * 256 + 8 * (i / 4 % 2) + 4 * block + j);
                }
    for (size_t i = 0; i < 1024; i++)
        order[i] = plain[i / 8 * 8 + (bits == 4 ? four : eight)[i % 8]];
}

static struct marlin pack_marlin(unsigned bits, size_t n, size_t k, size_t groups, const int8_t *q,
                                 const uint16_t *scale)
{
    struct marlin m = {.size = {n * k / 2 * bits / 8, n * groups * 2, n * k / 8}};
    m.packed = calloc(m.size[0], 1);
    m.scale = calloc(m.size[1], 1);
    m.meta = calloc(m.size[2], 1);
    uint8_t *kept = malloc(n * k / 2); /* [k / 2][n] */
    uint16_t order[1024];
    make_order(bits, order);
    for (size_t r = 0; r < n; r++)
        for (size_t c = 0; c < k; c += 4) {
            unsigned at = 0, bit = 0;
            for (unsigned i = 0; i < 4; i++)
                if (q[r * k + c + i]) {
                    kept[(c / 2 + at++) * n + r] = (uint8_t)(q[r * k + c + i] + (1 << (bits - 1)));
                    bit |= i << 2 * (at - 1);
                }
            /* where CUTLASS wants the 16 bits of 16 columns */
            size_t row = r / 64 * 64 + r % 2 * 2 + r % 8 / 4 + r % 32 % 4 / 2 * 32 + r % 64 / 8 * 4,
                   col = c / 16;
            if (row % 2 == 0 && col % 2 == 1)
                row++, col--;
            else if (row % 2 == 1 && col % 2 == 0)
                row--, col++;
            const size_t to = col / 2 * n * 2 + row * 2 + col % 2;
            m.meta[2 * to + c % 16 / 8] |= (uint8_t)(bit << 4 * (c % 8 / 4));
        }
    for (size_t t = 0; t < k / 32; t++)
        for (size_t j = 0; j < n * 16; j++) {
            const unsigned p = order[j % 1024];
            const size_t col = j / 1024 * 64 + p / 256 * 16 + p % 16, row = t * 16 + p / 16 % 16;
            const size_t at = (t * n * 16 + j) * bits;
            m.packed[at / 8] |= (uint8_t)(kept[row * n + col] << at % 8);
        }
    static const uint8_t among[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    for (size_t g = 0; g < groups; g++)
        for (size_t r = 0; r < n; r++) {
            const size_t from = groups > 2 ? r / 8 * 8 + among[r % 8] : r;
            memcpy(m.scale + 2 * (g * n + r), &scale[from * groups + g], 2);
        }
    free(kept);
    return m;
}

static void drop_marlin(struct marlin *m)
{
    free(m->packed);
    free(m->scale);
    free(m->meta);
}

static const char marlin_config[] =
    "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"format\":\"marlin-24\",\"config_"
    "groups\":"
    "{\"group_0\":{\"targets\":[\"Linear\"],\"weights\":{\"num_bits\":%u,\"type\":\"int\",\"symmetric\":true,"
    "\"strategy\":\"%s\",\"group_size\":%s}}}}}";

static void marlin_image(const struct marlin *m, unsigned bits, size_t n, size_t k, size_t groups,
                         struct buf *image, char config[512])
{
    char shape[3][48];
    snprintf(shape[0], 48, "[%zu,%zu]", k / 32, n * bits / 2);
    snprintf(shape[1], 48, "[%zu,%zu]", groups, n);
    snprintf(shape[2], 48, "[%zu,%zu]", k / 32, 2 * n);
    const struct mk_tensor t[3] = {{"a.weight_packed", "I32", shape[0], m->packed, m->size[0]},
                                   {"a.scale_packed", "F16", shape[1], m->scale, m->size[1]},
                                   {"a.meta", "I16", shape[2], m->meta, m->size[2]}};
    *image = mk_safetensors(t, 3, NULL);
    snprintf(config, 512, marlin_config, bits, groups > 1 ? "group" : "channel", groups > 1 ? "128" : "null");
}

static int to_f32(const struct buf *image, const char *config, unsigned threads, bool stream, struct buf *out,
                  struct err *e)
{
    struct encoding enc;
    struct wanted w;
    flow_wanted(&w, &enc, NULL);
    w.plain = DT_F32;
    *e = (struct err){0};
    return flow_run(image, config, &w, threads, stream, false, out, e);
}

static const struct { unsigned bits; size_t n, k, groups; const char *golden; } marlin[] = {
    {4, 64, 64, 1, "f8bfa8ab41b04374"}, {8, 64, 64, 1, "e97622080bacced0"},
    {4, 128, 256, 2, "1100eef6d7f74220"}, {4, 192, 512, 4, "6e5a46929afa0eeb"},
    {8, 64, 384, 3, "f5ae02b1e8a60131"},
};

Test(sparse, marlin)
{
    for (size_t i = 0; i < sizeof marlin / sizeof *marlin; i++) {
        const size_t n = marlin[i].n, k = marlin[i].k, groups = marlin[i].groups;
        int8_t *q = malloc(n * k);
        uint16_t *scale = malloc(n * groups * 2);
        struct sha256 s;
        uint8_t digest[32];
        char hex[17], config[512];
        struct buf in, out;
        struct err e;
        size_t size;
        weights(marlin[i].bits, n, k, groups, q, scale);
        struct marlin m = pack_marlin(marlin[i].bits, n, k, groups, q, scale);
        sha256_init(&s);
        sha256_put(&s, m.packed, m.size[0]);
        sha256_put(&s, m.scale, m.size[1]);
        sha256_put(&s, m.meta, m.size[2]);
        sha256_end(&s, digest);
        for (int b = 0; b < 8; b++)
            snprintf(hex + 2 * b, 3, "%02x", digest[b]);
        cr_expect_str_eq(hex, marlin[i].golden, "row %zu", i);

        marlin_image(&m, marlin[i].bits, n, k, groups, &in, config);
        for (unsigned threads = 1; threads <= 3; threads += 2) {
            cr_assert_eq(to_f32(&in, config, threads, false, &out, &e), 0, "%s", e.msg);
            const float *f = flow_tensor(&out, "a.weight", &size);
            cr_assert_eq(size, n * k * 4);
            for (size_t r = 0; r < n; r++)
                for (size_t c = 0; c < k; c++) {
                    const float want = (float)q[r * k + c] * f16_decode(scale[r * groups + c / (k / groups)]);
                    cr_assert(f[r * k + c] == want, "row %zu: [%zu,%zu] is %g, not %g", i, r, c,
                              (double)f[r * k + c], (double)want);
                }
            buf_free(&out);
        }
        cr_assert_eq(to_f32(&in, config, 1, true, &out, &e), -1);
        cr_assert(strstr(e.msg, "--spool"), "%s", e.msg);
        buf_free(&in);
        drop_marlin(&m);
        free(q);
        free(scale);
    }
}

Test(sparse, marlin_that_does_not_fit)
{
    enum { N = 64, K = 64 };
    int8_t q[N * K];
    uint16_t scale[N];
    weights(4, N, K, 1, q, scale);
    static const struct { const char *name, *dtype, *shape; size_t n; const char *word; } bad[] = {
        {"a.meta", "I16", "[2,128]", 512, NULL},          {"a.meta", "I16", "[2,126]", 504, "'a.meta'"},
        {"a.meta", "U16", "[2,128]", 512, "'a.meta'"},    {"a.meta", "I16", "[256]", 512, "'a.meta'"},
        {"a.meta", "I16", "[4,128]", 1024, "'a.weight_packed'"}, {"a.scale_packed", "F16", "[2,64]", 256, "'a.weight_scale'"},
        {"a.scale_packed", "BF16", "[1,64]", 128, "'a.scale_packed'"}, {"b.meta", "I16", "[2,128]", 512, "'a.meta' is missing"},
        {"a.weight_packed", "I32", "[2,64]", 512, "'a.weight_packed'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct marlin m = pack_marlin(4, N, K, 1, q, scale);
        char config[512];
        struct buf in, out;
        struct err e;
        marlin_image(&m, 4, N, K, 1, &in, config);
        buf_free(&in);
        struct mk_tensor t[3] = {{"a.weight_packed", "I32", "[2,128]", m.packed, m.size[0]},
                                 {"a.scale_packed", "F16", "[1,64]", m.scale, m.size[1]},
                                 {"a.meta", "I16", "[2,128]", m.meta, m.size[2]}};
        for (int k = 0; k < 3; k++)
            if (!strcmp(t[k].name + 1, bad[i].name + 1)) {
                const struct mk_tensor was = t[k];
                t[k] = (struct mk_tensor){bad[i].name, bad[i].dtype, bad[i].shape,
                                          bad[i].n == was.n ? was.data : NULL, bad[i].n};
            }
        in = mk_safetensors(t, 3, NULL);
        const int r = to_f32(&in, config, 2, false, &out, &e);
        cr_assert_eq(r, bad[i].word ? -1 : 0, "row %zu: %s", i, e.msg);
        if (bad[i].word)
            cr_assert(e.kind == ERR_INPUT && strstr(e.msg, bad[i].word), "row %zu: %s", i, e.msg);
        else
            buf_free(&out);
        buf_free(&in);
        /* columns that are no two of four */
        m.meta[5] = 0x44 + 1;
        marlin_image(&m, 4, N, K, 1, &in, config);
        cr_assert_eq(to_f32(&in, config, 2, false, &out, &e), -1);
        cr_assert(strstr(e.msg, "no two of four"), "%s", e.msg);
        buf_free(&in);
        drop_marlin(&m);
    }
}

/* ---- bit masks ------------------------------------------------------------------------- */
enum { R = 9, C = 44, MASK = 6 };
static const char mask_config[] =
    "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"sparsity_config\":"
    "{\"format\":\"%s\",\"targets\":[\"Linear\"]}%s}}";
static const char fp8_group[] =
    ",\"format\":\"float-quantized\",\"config_groups\":{\"group_0\":{\"targets\":[\"Linear\"],"
    "\"weights\":{\"num_bits\":8,\"type\":\"float\",\"strategy\":\"channel\",\"symmetric\":true}}}";

struct masked {
    uint8_t value[R * C * 4], mask[R * MASK];
    int64_t first[R], shape[2];
    size_t n;                /* values */
};

/* Elements of `size` bytes; zero bytes are no values, but for two_of_four, which keeps two of four whatever
 * they are. */
static void mask_values(const uint8_t *x, size_t size, bool two_of_four, struct masked *m)
{
    *m = (struct masked){.shape = {R, C}};
    for (size_t r = 0; r < R; r++) {
        m->first[r] = (int64_t)m->n;
        for (size_t c = 0; c < C; c++) {
            static const uint8_t zero[4];
            const uint8_t *p = x + (r * C + c) * size;
            if (two_of_four ? c % 4 != 1 && c % 4 != 2 : !memcmp(p, zero, size))
                continue;
            memcpy(m->value + m->n++ * size, p, size);
            m->mask[r * MASK + c / 8] |= (uint8_t)(1 << c % 8);
        }
    }
}

static struct buf mask_image(struct masked *m, const char *stem, const char *dtype, size_t size,
                             bool two_of_four, bool scale, unsigned damage)
{
    static float s[R];
    char name[5][40], n[24];
    for (int i = 0; i < R; i++)
        s[i] = (float)(i + 1);
    static const char *const part[] = {"compressed", "bitmask", "shape", "row_offsets"};
    for (int k = 0; k < 4; k++)
        snprintf(name[k], 40, "%s.%s", stem, part[k]);
    snprintf(name[4], 40, "%s.weight_scale", stem);
    snprintf(n, sizeof n, two_of_four ? "[9,%zu]" : "[%zu]", two_of_four ? (size_t)C / 2 : m->n);
    if (damage == 1)
        m->mask[7] ^= 4;
    if (damage == 2)
        m->first[3]++;
    if (damage == 3)
        m->first[8] = (int64_t)m->n + 1;
    if (damage == 4)
        m->shape[1] = C + 8;
    if (damage == 5)
        m->shape[0] = -1;
    if (damage == 6)
        m->shape[0] = INT64_MAX;
    struct mk_tensor t[5] = {{name[0], dtype, n, m->value, m->n * size},
                             {name[1], "U8", "[9,6]", m->mask, sizeof m->mask},
                             {name[2], "I64", two_of_four ? "[2,1]" : "[2]", m->shape, 16}};
    size_t k = 3;
    if (!two_of_four)
        t[k++] = (struct mk_tensor){name[3], "I64", "[9]", m->first, sizeof m->first};
    if (scale)
        t[k++] = (struct mk_tensor){name[4], "F32", "[9,1]", s, sizeof s};
    return mk_safetensors(t, k, NULL);
}

static void bitmask(const char *format, bool two_of_four, const char *dtype, size_t size, bool scale)
{
    uint8_t x[R * C * 4] = {0};
    struct masked m;
    char config[512];
    struct buf out;
    struct err e;
    size_t n;
    state = 5;
    for (size_t i = 0; i < R * C; i++)
        if (two_of_four ? i % C % 4 == 1 || i % C % 4 == 2 : i / C != 2 && next() >> 30)
            for (size_t b = 0; b < size; b++)
                x[i * size + b] =
                    (uint8_t)(0x30 + (next() >> 28)); /* positive normal numbers in every type */
    mask_values(x, size, two_of_four, &m);
    snprintf(config, sizeof config, mask_config, format, scale ? fp8_group : "");
    struct buf in = mask_image(&m, "b.a", dtype, size, two_of_four, scale, 0);
    cr_assert_eq(to_f32(&in, config, 2, false, &out, &e), 0, "%s %s: %s", format, dtype, e.msg);
    const float *f = flow_tensor(&out, "b.a.weight", &n);
    cr_assert_eq(n, R * C * (scale ? 4 : size)); /* what is no code keeps its type */
    if (!scale)
        cr_assert_eq(memcmp(f, x, n), 0, "%s %s", format, dtype);
    for (size_t i = 0; scale && i < R * C; i++)
        cr_assert(f[i] == e4m3_decode(x[i]) * (float)(i / C + 1), "%s: %zu is %g", format, i, (double)f[i]);
    buf_free(&out);
    cr_assert_eq(to_f32(&in, config, 1, true, &out, &e), -1);
    cr_assert(strstr(e.msg, "--spool"), "%s", e.msg);
    buf_free(&in);
    for (unsigned damage = 1; damage <= 6; damage++) {
        if (two_of_four && (damage == 2 || damage == 3))
            continue;
        mask_values(x, size, two_of_four, &m);
        in = mask_image(&m, "b.a", dtype, size, two_of_four, scale, damage);
        cr_assert_eq(to_f32(&in, config, 2, false, &out, &e), -1, "%s, damage %u", format, damage);
        cr_assert(e.kind == ERR_INPUT && strstr(e.msg, "'b.a."), "%s, damage %u: %s", format, damage, e.msg);
        buf_free(&in);
    }
}

Test(sparse, bit_masks)
{
    for (int k = 0; k < 2; k++) {
        const char *format = k ? "sparse-24-bitmask" : "sparse-bitmask";
        bitmask(format, k, "F32", 4, false);
        bitmask(format, k, "BF16", 2, false);
        bitmask(format, k, "F16", 2, false);
        bitmask(format, k, "F8_E4M3", 1, true);
    }
}

/* Before 0.9 the stem was the whole name, of tensors of any kind; and a name that is there already is
 * refused. */
Test(sparse, old_names)
{
    uint8_t x[R * C * 4] = {0};
    struct masked m;
    char config[512];
    struct buf out;
    struct err e;
    size_t n;
    x[17] = 0x40;
    for (int k = 0; k < 3; k++) {
        mask_values(x, 4, false, &m);
        snprintf(config, sizeof config, mask_config, "sparse-bitmask",
                 k == 2 ? ",\"version\":\"0.8.1\"" : "");
        struct buf in = mask_image(&m,
                                   k == 0   ? "a.weight"
                                   : k == 1 ? "a.bias"
                                            : "a.table",
                                   "F32", 4, false, false, 0);
        cr_assert_eq(to_f32(&in, config, 1, false, &out, &e), 0, "%s", e.msg);
        const void *f = flow_tensor(&out, k == 0 ? "a.weight" : k == 1 ? "a.bias" : "a.table", &n);
        cr_assert_eq(memcmp(f, x, sizeof x), 0);
        buf_free(&out);
        buf_free(&in);
    }
    mask_values(x, 4, false, &m);
    const struct mk_tensor t[] = {{"a.compressed", "F32", "[1]", m.value, 4},
                                  {"a.bitmask", "U8", "[9,6]", m.mask, 54},
                                  {"a.shape", "I64", "[2]", m.shape, 16},
                                  {"a.row_offsets", "I64", "[9]", m.first, 72},
                                  {"a.weight", "F32", "[9,44]", NULL, 1584}};
    struct buf in = mk_safetensors(t, 5, NULL);
    snprintf(config, sizeof config, mask_config, "sparse-bitmask", "");
    cr_assert_eq(to_f32(&in, config, 1, false, &out, &e), -1);
    cr_assert(strstr(e.msg, "'a.weight' is there"), "%s", e.msg);
    buf_free(&in);
}
