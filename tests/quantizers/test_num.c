/* Number formats: published tables, the oracle, and vectors of other programs. */
#include "quantizers/num.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static unsigned long crc(const void *p, size_t n)
{
    return crc32(0, p, (unsigned)n);
}

static unsigned long decode_crc(const struct num *f)
{
    const uint32_t codes = 1u << f->bits;
    uint32_t table[256];

    for (uint32_t c = 0; c < codes; c++) {
        const float x = f->decode(c);

        table[c] = x == x ? f32_bits(x) : 0x7fc00000;
    }
    return crc(table, codes * sizeof *table);
}

/* CRCs over whole decode tables, little-endian FP32 in code order. */
Test(num, decode_tables)
{
    cr_expect_eq(decode_crc(&num_e4m3), 0x2FDEE9AC);
    cr_expect_eq(decode_crc(&num_e5m2), 0x3D83FD11);
    cr_expect_eq(decode_crc(&num_e4m3fnuz), 0xF2DFA052);
    cr_expect_eq(decode_crc(&num_e5m2fnuz), 0x09C70B84);
    cr_expect_eq(decode_crc(&num_e2m1), 0x866770B6);
    cr_expect_eq(decode_crc(&num_e2m1_down), 0x866770B6);
    cr_expect_eq(decode_crc(&num_e2m3), 0x50F19834);
    cr_expect_eq(decode_crc(&num_e3m2), 0xCE26BB00);
    cr_expect_eq(decode_crc(&num_ue8m0), 0x719979BA);
    cr_expect_eq(decode_crc(&num_hif8), 0x5CAE4276);
}

static unsigned long encode_crc(const struct num *f, enum overflow o)
{
    static uint8_t out[65536];

    for (uint32_t h = 0; h < 65536; h++)
        out[h] = (uint8_t)f->encode(bf16_decode((uint16_t)h), o);
    return crc(out, sizeof out);
}

/* CRCs over the codes of all BF16 patterns. */
Test(num, encode_all_bf16)
{
    cr_expect_eq(encode_crc(&num_e4m3, OVERFLOW_NAN), 0xCBF713FE);
    cr_expect_eq(encode_crc(&num_e4m3, OVERFLOW_SATURATE), 0xB4CA6F38);
    cr_expect_eq(encode_crc(&num_e5m2, OVERFLOW_NAN), 0xAB11F833);
    cr_expect_eq(encode_crc(&num_e5m2, OVERFLOW_SATURATE), 0x93272B82);
    cr_expect_eq(encode_crc(&num_e4m3fnuz, OVERFLOW_NAN), 0x1307319F);
    cr_expect_eq(encode_crc(&num_e4m3fnuz, OVERFLOW_SATURATE), 0xDFF880EC);
    cr_expect_eq(encode_crc(&num_e5m2fnuz, OVERFLOW_NAN), 0xF55FB73C);
    cr_expect_eq(encode_crc(&num_e5m2fnuz, OVERFLOW_SATURATE), 0x93263DF3);
    cr_expect_eq(encode_crc(&num_e2m1, OVERFLOW_SATURATE), 0x198B253C);
    cr_expect_eq(encode_crc(&num_e2m1_down, OVERFLOW_SATURATE), 0x59D76602);
    cr_expect_eq(encode_crc(&num_e2m3, OVERFLOW_SATURATE), 0xF698AA17);
    cr_expect_eq(encode_crc(&num_e3m2, OVERFLOW_SATURATE), 0x9B27D165);
    cr_expect_eq(encode_crc(&num_hif8, OVERFLOW_NAN), 0x8AD58D05);
    cr_expect_eq(encode_crc(&num_hif8, OVERFLOW_SATURATE), 0x49B66694);
}

Test(num, e4m3_single_values)
{
    static const struct { float x; uint8_t code; } row[] = {
        { 448, 0x7e }, { 464, 0x7e }, { 465, 0x7f }, { 480, 0x7f }, { 0x1p-10f, 0x00 },
        { 0x1.000002p-10f, 0x01 }, { 0x1.8p-9f, 0x02 }, { 0x1p-6f, 0x08 },
        { 0.0146484375f, 0x08 }, { 0.3f, 0x2a }, { -0.3f, 0xaa }, { 1.0625f, 0x38 },
        { 1.1875f, 0x3a }, { 17, 0x58 }, { 19, 0x5a }, { 240, 0x77 }, { 0, 0 }, { -0.0f, 0x80 },
        { INFINITY, 0x7f }, { -INFINITY, 0xff }, { NAN, 0x7f },
    };

    for (size_t i = 0; i < COUNT(row); i++)
        cr_expect_eq(e4m3_encode(row[i].x, OVERFLOW_NAN), row[i].code, "%a", (double)row[i].x);
    cr_expect_eq(e4m3_encode(465, OVERFLOW_SATURATE), 0x7e);
    cr_expect_eq(e4m3_encode(-INFINITY, OVERFLOW_SATURATE), 0xfe);
    cr_expect_eq(e4m3_encode(f32_from(0xffc00000), OVERFLOW_SATURATE), 0xff);
}

/* The edges that num.h states, and values that their makers publish. */
Test(num, edges)
{
    static const struct { const struct num *f; float x; uint8_t sat, nan; } row[] = {
        { &num_e4m3fnuz, 0x1.effffep7f, 0x7f, 0x7f }, { &num_e4m3fnuz, 248, 0x7f, 0x80 },
        { &num_e4m3fnuz, -248, 0xff, 0x80 }, { &num_e4m3fnuz, -INFINITY, 0xff, 0x80 },
        { &num_e4m3fnuz, NAN, 0x80, 0x80 }, { &num_e4m3fnuz, -0.0f, 0, 0 },
        { &num_e4m3fnuz, -0x1p-11f, 0, 0 }, { &num_e4m3fnuz, -0x1.000002p-11f, 0x81, 0x81 },
        { &num_e5m2fnuz, 0x1.dffffep15f, 0x7f, 0x7f }, { &num_e5m2fnuz, 61440, 0x7f, 0x80 },
        { &num_e5m2fnuz, NAN, 0x80, 0x80 }, { &num_e5m2fnuz, -0x1p-18f, 0, 0 },
        { &num_e2m1, 0.25f, 0, 0 }, { &num_e2m1, -0.25f, 8, 8 }, { &num_e2m1, 0.75f, 2, 2 },
        { &num_e2m1, 1.25f, 2, 2 }, { &num_e2m1, 1.75f, 4, 4 }, { &num_e2m1, 2.5f, 4, 4 },
        { &num_e2m1, 3.5f, 6, 6 }, { &num_e2m1, -5, 14, 14 }, { &num_e2m1, INFINITY, 7, 7 },
        { &num_e2m1, NAN, 0, 0 }, { &num_e2m1, -1e30f, 15, 15 },
        { &num_e2m1_down, -0.0f, 0, 0 }, { &num_e2m1_down, -0.25f, 0, 0 },
        { &num_e2m1_down, 0.75f, 1, 1 }, { &num_e2m1_down, 1.75f, 3, 3 },
        { &num_e2m1_down, -3.5f, 13, 13 }, { &num_e2m1_down, 5, 6, 6 },
        { &num_e2m1_down, 0x1.400002p2f, 7, 7 }, { &num_e2m1_down, -INFINITY, 15, 15 },
        { &num_e2m1_down, NAN, 0, 0 },
        { &num_e2m1_modelopt, 0, 8, 8 }, { &num_e2m1_modelopt, -0.0f, 8, 8 },
        { &num_e2m1_modelopt, 0.25f, 0, 0 }, { &num_e2m1_modelopt, -0.25f, 8, 8 },
        { &num_e2m1_modelopt, 0.75f, 1, 1 }, { &num_e2m1_modelopt, -3.5f, 13, 13 },
        { &num_e2m1_modelopt, INFINITY, 7, 7 }, { &num_e2m1_modelopt, NAN, 0, 0 },
        { &num_e2m1_away, 0.25f, 1, 1 }, { &num_e2m1_away, -2.5f, 13, 13 }, { &num_e2m1_away, -0.2f, 8, 8 },
        { &num_e2m1_away, 5, 7, 7 }, { &num_e2m1_away, NAN, 0, 0 },
        { &num_e4m3_away, 0x1p-10f, 1, 1 }, { &num_e4m3_away, 0x1.fffffep-11f, 0, 0 },
        { &num_e4m3_away, 1.0625f, 0x39, 0x39 }, { &num_e4m3_away, -1.1875f, 0xba, 0xba },
        { &num_e4m3_away, 464, 0x7e, 0x7f }, { &num_e4m3_away, 0x1.cffffep8f, 0x7e, 0x7e },
        { &num_e4m3_away, -INFINITY, 0xfe, 0xff }, { &num_e5m2_away, 1.125f, 0x3d, 0x3d },
        { &num_e5m2_away, 61440, 0x7b, 0x7c },
        { &num_e1m2, 0.125f, 0, 0 }, { &num_e1m2, 0.375f, 2, 2 }, { &num_e1m2, -1.875f, 15, 15 },
        { &num_e2m3, 7.75f, 0x1f, 0x1f }, { &num_e2m3, -INFINITY, 0x3f, 0x3f },
        { &num_e2m3, NAN, 0, 0 }, { &num_e3m2, 30, 0x1f, 0x1f }, { &num_e3m2, -0.03125f, 0x20, 0x20 },
        { &num_ue4m3, 448, 0x7e, 0x7e }, { &num_ue4m3, 465, 0x7e, 0x7f },
        { &num_ue4m3, INFINITY, 0x7e, 0x7f }, { &num_ue4m3, -1, 0, 0 }, { &num_ue4m3, -0.0f, 0, 0 },
        { &num_ue4m3, -INFINITY, 0, 0 }, { &num_ue4m3, NAN, 0x7f, 0x7f },
        { &num_int4, 2.5f, 2, 2 }, { &num_int4, -3.5f, 12, 12 }, { &num_int4, 7.5f, 7, 7 },
        { &num_int4, -7.5f, 9, 9 }, { &num_int4, -INFINITY, 9, 9 }, { &num_int4, NAN, 0, 0 },
        { &num_int4_full, 7.5f, 7, 7 }, { &num_int4_full, -7.5f, 8, 8 },
        { &num_int4_full, -7.4f, 9, 9 }, { &num_int4_full, -100, 8, 8 },
        { &num_hif8, 1, 0x08, 0x08 }, { &num_hif8, 1.125f, 0x09, 0x09 }, { &num_hif8, -2.25f, 0x91, 0x91 },
        { &num_hif8, 448, 0x62, 0x62 }, { &num_hif8, 0.3f, 0x32, 0x32 }, { &num_hif8, 16, 0x40, 0x40 },
        { &num_hif8, 0x1.fffffep-24f, 0, 0 }, { &num_hif8, -0x1p-23f, 0x81, 0x81 },
        { &num_hif8, 0x1.3ffffep15f, 0x6e, 0x6e }, { &num_hif8, 40960, 0x6e, 0x6f },
        { &num_hif8, -INFINITY, 0xee, 0xef }, { &num_hif8, NAN, 0, 0x80 }, { &num_hif8, -0.0f, 0, 0 },
    };

    for (size_t i = 0; i < COUNT(row); i++) {
        const struct num *const f = row[i].f;

        cr_expect_eq(f->encode(row[i].x, OVERFLOW_SATURATE), row[i].sat, "%s %a", f->name,
                     (double)row[i].x);
        cr_expect_eq(f->encode(row[i].x, OVERFLOW_NAN), row[i].nan, "%s %a to NaN", f->name,
                     (double)row[i].x);
    }
}

/* A narrow float against the oracle: every value, every midpoint, both with
 * their FP32 neighbours, and what is far away. */
static void against_oracle(const struct num *f, const int *shape, uint32_t inf_or_nan)
{
    static struct oracle o;

    oracle_init(&o, shape[0], shape[1], shape[2]);
    for (int c = 0; c <= o.max_code; c++) {
        cr_assert_eq((double)f->decode((uint32_t)c), o.value[c], "%s %d", f->name, c);
        cr_assert_eq((double)f->decode((uint32_t)(c | o.sign_bit)), -o.value[c]);
        const float at[2] = { (float)o.value[c], (float)oracle_boundary(&o, c) };

        for (int i = 0; i < 2; i++)
            for (int step = -1; step <= 1; step++) {
                const uint32_t u = f32_bits(at[i]) + (uint32_t)(step < 0 && at[i] == 0 ? 0 : step);
                const uint32_t want = (uint32_t)oracle_nearest(&o, (double)f32_from(u));
                const bool over = want > (uint32_t)o.max_code;
                const uint32_t sat = over ? (uint32_t)o.max_code : want;
                const uint32_t nan = over ? inf_or_nan : want;

                for (uint32_t s = 0; s < 2; s++) {
                    const float x = f32_from(u | s << 31);
                    const uint32_t sign = s * (uint32_t)o.sign_bit;

                    cr_assert_eq(f->encode(x, OVERFLOW_SATURATE), sign | sat, "%s %a", f->name,
                                 (double)x);
                    cr_assert_eq(f->encode(x, OVERFLOW_NAN), sign | nan, "%s %a", f->name,
                                 (double)x);
                }
            }
    }
    cr_assert_eq((double)f->max, o.value[o.max_code]);
    cr_assert_eq((double)f->min, o.value[1]);
    cr_assert_eq((double)f->min_normal, o.value[1 << shape[1]]);
    cr_assert_eq(f->emax, (int)floor(log2((double)f->max)));
    cr_assert_eq(f->mbits, shape[1]);
}

Test(num, narrow_floats_against_oracle)
{
    against_oracle(&num_e4m3, oracle_e4m3, 0x7f);
    against_oracle(&num_e5m2, oracle_e5m2, 0x7c);
    against_oracle(&num_f16, oracle_f16, 0x7c00);
}

/* Every code of every format survives decoding and encoding, but for those that
 * encode never makes. */
Test(num, round_trip_all_codes)
{
    for (size_t i = 0; num_table[i]; i++) {
        const struct num *const f = num_table[i];
        const uint32_t codes = f->bits < 16 ? 1u << f->bits : 65536;
        uint32_t lost = 0;

        cr_assert_eq(f->encode(0, OVERFLOW_SATURATE), f == &num_e2m1_modelopt ? 8u : 0u, "%s", f->name);
        for (uint32_t k = 0; k < codes; k++) {
            const uint32_t c = f == &num_f32 ? k * 65537 : k;
            const float x = f->decode(c);

            if (x != x)
                cr_assert(isnan(f->decode(f->encode(x, OVERFLOW_NAN))), "%s %x", f->name, c);
            else if (f->encode(x, isinf(x) ? OVERFLOW_NAN : OVERFLOW_SATURATE) != c)
                lost = lost * 65536 + c;
            if (f->bits < 32)
                cr_assert_eq(f32_bits(f->decode(c | 1u << f->bits)), f32_bits(x), "%s %x", f->name, c);
        }
        /* The lowest integers; the -0 of E2M1 with ties down. */
        cr_assert_eq(lost, f == &num_int8 ? 0x80 : f == &num_int4 || f == &num_e2m1_down ? 8 : 0,
                     "%s %x", f->name, lost);
    }
}

Test(num, find)
{
    static const struct num *const plain[] = {
        &num_e4m3, &num_e5m2, &num_ue8m0, &num_bf16, &num_f16, &num_f32, &num_int8, &num_e4m3fnuz,
        &num_e5m2fnuz, &num_hif8, &num_e2m1, &num_e2m3, &num_e3m2, &num_int4,
    };
    static const enum dtype none[] = { DT_BOOL, DT_U8, DT_I64, DT_F64, DT_Q8_0 };

    for (size_t i = 0; i < COUNT(plain); i++)
        cr_expect_eq(num_find(plain[i]->dtype), plain[i], "%s", plain[i]->name);
    for (size_t i = 0; i < COUNT(none); i++)
        cr_expect_null(num_find(none[i]));
    for (size_t i = 0; num_table[i]; i++)
        cr_expect_eq(num_named(num_table[i]->name), num_table[i], "%s", num_table[i]->name);
    cr_expect_null(num_named(""));
    cr_expect_null(num_named("e4m3fn"));
}

Test(num, bf16_rounding)
{
    static const uint32_t low[] = { 0, 1, 0x7fff, 0x8000, 0x8001, 0xffff };

    for (uint32_t hi = 0; hi < 65536; hi++)
        for (size_t i = 0; i < COUNT(low); i++) {
            const uint32_t u = hi << 16 | low[i], mag = u & 0x7fffffff;
            uint32_t want;

            if (mag > 0x7f800000) {
                want = hi | 0x40;
            } else {
                /* Distances on the bits are exact: the bits are equally spaced
                 * between neighbouring BF16 values, in the top binade as well. */
                want = low[i] > 0x8000 || (low[i] == 0x8000 && hi % 2) ? hi + 1 : hi;
            }
            cr_assert_eq(bf16_encode(f32_from(u)), want, "%08x", u);
        }
    cr_assert_eq(num_bf16.encode(FLT_MAX, OVERFLOW_SATURATE), 0x7f7f);
    cr_assert_eq(num_bf16.encode(-INFINITY, OVERFLOW_NAN), 0xff80);
}

Test(num, f16_nan)
{
    cr_assert_eq(f16_encode(f32_from(0x7f800001)), 0x7e00);
    cr_assert_eq(f16_encode(f32_from(0xffffe000)), 0xffff);
    cr_assert_eq(f32_bits(f16_decode(0x7c01)), 0x7fc02000);
    cr_assert_eq(f32_bits(f16_decode(0xfe00)), 0xffc00000);
}

Test(num, ue8m0)
{
    static const struct { uint32_t bits; uint8_t sat, nan; } row[] = {
        { 0, 0, 0 }, { 1, 0, 0 }, { 0x400000, 0, 0 }, { 0x400001, 1, 1 }, { 0x7fffff, 1, 1 },
        { 0x800000, 1, 1 }, { 0x800001, 2, 2 }, { 0x3f800000, 127, 127 }, { 0x3f800001, 128, 128 },
        { 0x7f000000, 254, 254 }, { 0x7f000001, 254, 255 }, { 0x7f800000, 254, 255 },
        { 0x7f800001, 255, 255 },
    };

    for (size_t i = 0; i < COUNT(row); i++)
        for (uint32_t sign = 0; sign < 2; sign++) {
            const float x = f32_from(row[i].bits | sign << 31);

            cr_expect_eq(num_ue8m0.encode(x, OVERFLOW_SATURATE), row[i].sat, "%08x", row[i].bits);
            cr_expect_eq(num_ue8m0.encode(x, OVERFLOW_NAN), row[i].nan, "%08x", row[i].bits);
        }
    for (int code = 0; code < 255; code++) {
        cr_assert_eq((double)ue8m0_decode((uint8_t)code), ldexp(1, code - 127));
        cr_assert_eq(ue8m0_exact(ue8m0_decode((uint8_t)code)), code);
        cr_assert_eq(ue8m0_exact(-ue8m0_decode((uint8_t)code)), -1);
    }
    static const uint32_t none[] = { 0, 1, 0x3fffff, 0x400001, 0x200000, 0x3f800001, 0x7f800000,
                                     0x7fc00000, 0x80000000, 0xff800000 };
    for (size_t i = 0; i < COUNT(none); i++)
        cr_expect_eq(ue8m0_exact(f32_from(none[i])), -1, "%08x", none[i]);
}

Test(num, int8)
{
    for (int k = -140 * 256; k <= 140 * 256; k++) {
        const double x = k / 256.0, near = floor(x + 0.5);
        const double even = near - x == 0.5 && fmod(near, 2) != 0 ? near - 1 : near;
        const int want = even > 127 ? 127 : even < -127 ? -127 : (int)even;

        cr_assert_eq((int8_t)num_int8.encode((float)x, OVERFLOW_SATURATE), want, "%g", x);
    }
    cr_assert_eq(num_int8.encode(NAN, OVERFLOW_SATURATE), 0);
    cr_assert_eq((int8_t)num_int8.encode(-INFINITY, OVERFLOW_SATURATE), -127);
    cr_assert_eq((double)num_int8.decode(0x80), -128.0);
}

/* ---- vectors made by other programs ------------------------------------ */

static bool read_file(const char *name, void *to, size_t n)
{
    const char *const path = oracle_data(name);
    FILE *f;

    if (!path)
        return false;
    f = fopen(path, "rb");
    cr_assert_not_null(f, "%s", path);
    cr_assert_eq(fread(to, 1, n, f), n, "%s is short", path);
    fclose(f);
    return true;
}

static void golden_decode(const char *name, const struct num *f)
{
    const char *const path = oracle_data(name);
    char line[256];
    int rows = 0;

    if (!path)
        return;
    FILE *const in = fopen(path, "r");
    cr_assert_not_null(in);
    while (fgets(line, sizeof line, in)) {
        unsigned code, bits;

        cr_assert_eq(sscanf(line, "%x %x", &code, &bits), 2, "%s", line);
        const float want = f32_from(bits), got = f->decode(code);

        cr_assert(want != want ? got != got : f32_bits(got) == bits, "%s %02x", f->name, code);
        rows++;
    }
    fclose(in);
    cr_assert_eq(rows, 1 << f->bits, "%s", f->name);
}

Test(num, golden_decode)
{
    golden_decode("golden/ml_dtypes_decode_e4m3fn.tsv", &num_e4m3);
    golden_decode("golden/ml_dtypes_decode_e5m2.tsv", &num_e5m2);
    golden_decode("golden/ml_dtypes_decode_e8m0fnu.tsv", &num_ue8m0);
    golden_decode("golden/ml_dtypes_decode_e4m3fnuz.tsv", &num_e4m3fnuz);
    golden_decode("golden/ml_dtypes_decode_e5m2fnuz.tsv", &num_e5m2fnuz);
    golden_decode("golden/ml_dtypes_decode_e2m1fn.tsv", &num_e2m1);
    golden_decode("golden/ml_dtypes_decode_e2m3fn.tsv", &num_e2m3);
    golden_decode("golden/ml_dtypes_decode_e3m2fn.tsv", &num_e3m2);
}

/* ddddwee1/HiFloat8 rounds values; every F16 through it. */
Test(num, golden_hif8)
{
    static float want[65536];

    if (!read_file("golden/hif8_round_f16.f32", want, sizeof want))
        return;
    for (uint32_t h = 0; h < 65536; h++) {
        const float x = f16_decode((uint16_t)h);
        const float got = num_hif8.decode(num_hif8.encode(x, OVERFLOW_NAN));

        cr_expect(want[h] != want[h] ? got != got : got == want[h], "%a: %a, not %a", (double)x,
                  (double)got, (double)want[h]);
    }
}

/* ml_dtypes turns Inf into NaN even when it saturates, and has another NaN
 * code for E5M2: for those inputs only the class is compared, or nothing. */
static void golden_code(const struct num *f, enum overflow o, float x, uint8_t want)
{
    const uint32_t got = f->encode(x, o);

    if (x != x)
        cr_assert(isnan(f->decode(got)) && isnan(f->decode(want)), "%s NaN", f->name);
    else if (!isinf(x) || o == OVERFLOW_NAN)
        cr_assert_eq(got, want, "%s %a", f->name, (double)x);
}

Test(num, golden_encode)
{
    static const struct { const char *part; const struct num *f; enum overflow o; } row[] = {
        { "e4m3fn_nosat", &num_e4m3, OVERFLOW_NAN }, { "e4m3fn_sat", &num_e4m3, OVERFLOW_SATURATE },
        { "e5m2_nosat", &num_e5m2, OVERFLOW_NAN }, { "e5m2_sat", &num_e5m2, OVERFLOW_SATURATE },
    };
    enum { HARD = 9180 };
    static uint8_t code[65536];
    static uint32_t hard[HARD];
    char name[128];

    if (!read_file("golden/f32_hard.u32", hard, sizeof hard))
        return;
    for (size_t i = 0; i < COUNT(row); i++) {
        snprintf(name, sizeof name, "golden/ml_dtypes_f32_hard_%s.u8", row[i].part);
        cr_assert(read_file(name, code, HARD));
        for (int k = 0; k < HARD; k++)
            golden_code(row[i].f, row[i].o, f32_from(hard[k]), code[k]);
        if (row[i].f == &num_e5m2 && row[i].o == OVERFLOW_NAN)
            continue;   /* not in the collection */
        snprintf(name, sizeof name, "golden/ml_dtypes_bf16_%s.u8", row[i].part);
        cr_assert(read_file(name, code, sizeof code));
        for (uint32_t h = 0; h < 65536; h++)
            golden_code(row[i].f, row[i].o, bf16_decode((uint16_t)h), code[h]);
    }
}

/* ml_dtypes rounds E8M0 to nearest with ties up, where it rounds up here: powers of two leave no choice, and
 * another value has that code, or the next. Zero is 0 when it saturates there, else NaN; negative is neither. */
Test(num, golden_e8m0)
{
    static const char *const file[] = { "golden/ml_dtypes_bf16_e8m0_sat.u8", "golden/ml_dtypes_bf16_e8m0_nosat.u8" };
    static uint8_t code[65536];

    for (int nan = 0; nan < 2; nan++) {
        if (!read_file(file[nan], code, sizeof code))
            return;
        cr_assert_eq(code[0], nan ? 255 : 0);
        for (uint32_t h = 1; h < 65536; h++) {
            const float x = bf16_decode((uint16_t)h);
            const uint32_t got = num_ue8m0.encode(x, nan ? OVERFLOW_NAN : OVERFLOW_SATURATE);

            if (h == 0x7f80 || x != x)
                cr_assert_eq(code[h], 255, "%04x", h);
            else if (ue8m0_exact(x) >= 0)
                cr_assert_eq(got, code[h], "%04x", h);
            else if (h < 0x7f80)
                cr_assert_eq(got, code[h] + (h >= 0x80 && h < 0x7f00u + 0x80u * (unsigned)nan && (h & 0x7f) < 0x40), "%04x", h);
        }
    }
}

/* Formats that nothing is stored in: what they test is the oracle. */
static void golden_oracle(const char *name, int exponent_bits, int mantissa_bits)
{
    const char *const path = oracle_data(name);
    static struct oracle o;
    char line[256];
    int rows = 0;

    if (!path)
        return;
    oracle_init(&o, exponent_bits, mantissa_bits, ((1 << exponent_bits) - 1) * (1 << mantissa_bits) - 1);
    FILE *const in = fopen(path, "r");
    cr_assert_not_null(in);
    while (fgets(line, sizeof line, in)) {
        unsigned code, bits;

        cr_assert_eq(sscanf(line, "%x %x", &code, &bits), 2, "%s", line);
        const int mag = (int)(code & 0x7f);
        const double v = code & 0x80 ? -1.0 : 1.0;

        if (mag > o.max_code)
            cr_assert(mag == o.max_code + 1 ? isinf(f32_from(bits)) : isnan(f32_from(bits)), "%s", line);
        else
            cr_assert_eq(v * o.value[mag], (double)f32_from(bits), "%s", line);
        rows++;
    }
    fclose(in);
    cr_assert_eq(rows, 256);
}

Test(num, golden_oracle)
{
    golden_oracle("golden/ml_dtypes_decode_e3m4.tsv", 3, 4);
    golden_oracle("golden/ml_dtypes_decode_e4m3.tsv", 4, 3);
}

/* Every file of that folder is used by a test above, whose names are these. */
Test(num, golden_files)
{
    static const char *const used[] = {
        "README.md", "f32_hard.u32", "hif8_round_f16.f32", "ml_dtypes_bf16_e4m3fn_nosat.u8",
        "ml_dtypes_bf16_e4m3fn_sat.u8", "ml_dtypes_bf16_e5m2_sat.u8", "ml_dtypes_bf16_e8m0_nosat.u8",
        "ml_dtypes_bf16_e8m0_sat.u8", "ml_dtypes_decode_e2m1fn.tsv", "ml_dtypes_decode_e2m3fn.tsv",
        "ml_dtypes_decode_e3m2fn.tsv", "ml_dtypes_decode_e3m4.tsv", "ml_dtypes_decode_e4m3.tsv",
        "ml_dtypes_decode_e4m3fn.tsv", "ml_dtypes_decode_e4m3fnuz.tsv", "ml_dtypes_decode_e5m2.tsv",
        "ml_dtypes_decode_e5m2fnuz.tsv", "ml_dtypes_decode_e8m0fnu.tsv", "ml_dtypes_f32_hard_e4m3fn_nosat.u8",
        "ml_dtypes_f32_hard_e4m3fn_sat.u8", "ml_dtypes_f32_hard_e5m2_nosat.u8", "ml_dtypes_f32_hard_e5m2_sat.u8",
    };
    const char *const path = oracle_data("golden");
    size_t found = 0;

    if (!path)
        return;
    DIR *const dir = opendir(path);
    cr_assert_not_null(dir);
    for (const struct dirent *d; (d = readdir(dir));) {
        size_t i = 0;

        while (i < COUNT(used) && strcmp(used[i], d->d_name) != 0)
            i++;
        cr_assert(i < COUNT(used) || d->d_name[0] == '.', "golden/%s is used by no test", d->d_name);
        found += d->d_name[0] != '.';
    }
    closedir(dir);
    cr_assert_eq(found, COUNT(used));
}
