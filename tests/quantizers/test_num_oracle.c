/* Every number format of at most 8 bits against the oracle, and rows of codes
 * against the functions that they stand for.  `make prove` goes through all of
 * FP32; here it is all of BF16 and F16, and FP32 where formats round. */
#include "quantizers/num.h"
#include "tests/oracle.h"

#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

static struct oracle o;   /* of one format at a time */

/* All BF16 and F16; every value and every rounding boundary of every format with
 * the two FP32 on each side; a few mantissas of every binade; noise. */
enum { MAX_INPUTS = 400000, NOISE = 20000 };
static float input[MAX_INPUTS];
static size_t inputs;

static void add(uint32_t bits)
{
    cr_assert_lt(inputs, MAX_INPUTS);
    input[inputs++] = f32_from(bits);
}

static void add_around(double value)
{
    const float x = (float)value;

    cr_assert_eq((double)x, value);
    for (uint32_t step = 0; step < 5; step++)
        for (uint32_t sign = 0; sign < 2; sign++)
            add((f32_bits(x) + step - (f32_bits(x) > 2 ? 2 : 0)) | sign << 31);
}

static void fill_inputs(void)
{
    static const uint32_t mantissa[] = { 0, 1, 0x0fffff, 0x2aaaaa, 0x3fffff, 0x400000, 0x400001,
                                         0x600000, 0x7fffff };
    uint64_t seed = oracle_seed();

    for (uint32_t h = 0; h < 65536; h++) {
        add(h << 16);
        add(f32_bits(f16_decode((uint16_t)h)));
    }
    for (int i = 0; i < oracle_formats; i++) {
        oracle_init_format(&o, &oracle_format[i]);
        for (int rank = 0; rank <= o.max_code; rank++) {
            add_around(o.value[rank]);
            add_around(oracle_boundary(&o, rank));
        }
    }
    for (uint32_t e = 0; e < 512; e++)
        for (size_t i = 0; i < sizeof mantissa / sizeof *mantissa; i++)
            add(e << 23 | mantissa[i]);
    for (int i = 0; i < NOISE; i++)
        add((uint32_t)oracle_random(&seed));
}

/* Nothing is left out: the oracle knows each small format of num_table. */
Test(num_oracle, complete)
{
    int small = 0;

    for (size_t i = 0; num_table[i]; i++)
        small += num_table[i]->bits <= 8;
    cr_assert_eq(small, oracle_formats);
    for (int i = 0; i < oracle_formats; i++) {
        const struct num *const f = num_named(oracle_format[i].name);

        cr_assert_not_null(f, "%s", oracle_format[i].name);
        cr_assert_eq(f->bits, oracle_format[i].bits, "%s", f->name);
    }
}

Test(num_oracle, encode)
{
    fill_inputs();
    for (int i = 0; i < oracle_formats; i++) {
        const struct oracle_format *const format = &oracle_format[i];
        const struct num *const f = num_named(format->name);

        oracle_init_format(&o, format);
        for (size_t k = 0; k < inputs; k++) {
            cr_assert_eq(f->encode(input[k], OVERFLOW_SATURATE),
                         (uint32_t)oracle_encode(&o, format, input[k], true), "%s %a", f->name,
                         (double)input[k]);
            cr_assert_eq(f->encode(input[k], OVERFLOW_NAN),
                         (uint32_t)oracle_encode(&o, format, input[k], false), "%s %a to NaN",
                         f->name, (double)input[k]);
        }
    }
}

/* Values, and the numbers that struct num states about them. */
Test(num_oracle, decode)
{
    for (int i = 0; i < oracle_formats; i++) {
        const struct oracle_format *const format = &oracle_format[i];
        const struct num *const f = num_named(format->name);

        oracle_init_format(&o, format);
        for (int rank = 0; rank <= o.max_code; rank++) {
            const uint32_t c = o.code[rank];
            const bool integer = format->kind == INTEGER;

            if (rank <= format->max)
                cr_assert_eq((double)f->decode(c), o.value[rank], "%s %02x", f->name, c);
            if (rank == 0 || format->sign == NO_SIGN || format->sign == NO_NEGATIVE)
                continue;
            cr_assert_eq((double)f->decode(integer ? 0u - c : c | (uint32_t)o.sign_bit),
                         -o.value[rank], "%s -%02x", f->name, c);
        }
        cr_assert_eq((double)f->max, o.value[format->max], "%s", f->name);
        cr_assert_eq((double)f->min, o.value[format->kind == POWER ? 0 : 1], "%s", f->name);
        cr_assert_eq(f->emax, (int)floor(log2((double)f->max)), "%s", f->name);
        if (format->kind != FLOAT)
            continue;
        cr_assert_eq((double)f->min_normal, o.value[1 << format->mbits], "%s", f->name);
        cr_assert_eq(f->mbits, format->mbits, "%s", f->name);
    }
    cr_assert_eq((double)num_hif8.min_normal, 0x1p-15);
    cr_assert_eq(num_hif8.mbits, 3);
    cr_assert(signbit(num_e2m1.decode(8)) && signbit(num_e3m2.decode(0x20)));
}

/* ---- rows ------------------------------------------------------------------------ */

/* An odd BF16 stands for all between the two even ones beside it.  That is sound
 * when no boundary of rounding lies there: each is an even BF16.  mbits tells. */
Test(num_oracle, boundaries_are_even_bf16)
{
    for (int i = 0; i < oracle_formats; i++) {
        const struct num *const f = num_named(oracle_format[i].name);
        int others = 0;

        oracle_init_format(&o, &oracle_format[i]);
        for (int rank = 0; rank <= o.max_code; rank++)
            others += (f32_bits((float)oracle_boundary(&o, rank)) & 0x1ffff) != 0;
        if (f->mbits <= 5)
            cr_assert_eq(others, 0, "%s", f->name);
        else
            cr_assert_gt(others, 0, "%s", f->name);
    }
}

Test(num_oracle, rows)
{
    static uint8_t code[MAX_INPUTS];
    static float value[256];
    uint8_t every[256];

    fill_inputs();
    for (int c = 0; c < 256; c++)
        every[c] = (uint8_t)c;
    for (size_t i = 0; num_table[i]; i++) {
        const struct num *const f = num_table[i];

        if (f->bits > 8)
            continue;
        for (int mode = 0; mode < 2; mode++) {
            num_encode_row(f, input, code, inputs, (enum overflow)mode);
            for (size_t k = 0; k < inputs; k++)
                cr_assert_eq(code[k], f->encode(input[k], (enum overflow)mode), "%s %d %a", f->name,
                             mode, (double)input[k]);
        }
        num_decode_row(f, every, value, 256);
        for (uint32_t c = 0; c < 256; c++)
            cr_assert_eq(f32_bits(value[c]), f32_bits(f->decode(c)), "%s %02x", f->name, c);
    }
    /* INT8 is the one that such a table would break. */
    num_encode_row(&num_int8, (const float[]) { 0x1.020002p6f }, code, 1, OVERFLOW_SATURATE);
    cr_assert_eq(code[0], 65);
}

/* A format that is not in the table is encoded all the same, nothing is touched
 * beyond the row, and no elements are no work. */
Test(num_oracle, row_edges)
{
    struct num other = num_e2m1;
    const float x[3] = { 1, -6, 0.75f };
    uint8_t code[4] = { 9, 9, 9, 9 };
    float back[4] = { 9, 9, 9, 9 };

    num_encode_row(&other, x, code, 3, OVERFLOW_SATURATE);
    cr_assert(code[0] == 2 && code[1] == 15 && code[2] == 2 && code[3] == 9);
    num_decode_row(&other, code, back, 3);
    cr_assert(back[0] == 1 && back[1] == -6 && back[2] == 1 && back[3] == 9);
    num_encode_row(&num_e2m1, x, code + 3, 0, OVERFLOW_SATURATE);
    num_decode_row(&num_e2m1, code, back + 3, 0);
    cr_assert(code[3] == 9 && back[3] == 9);
    num_encode_row(&num_e2m1_down, x, code, 3, OVERFLOW_SATURATE);
    cr_assert(code[0] == 2 && code[1] == 15 && code[2] == 1 && code[3] == 9);
}

enum { THREADS = 8 };
static pthread_barrier_t start;
static uint8_t by_thread[THREADS][65536];

static void *encode_at_once(void *to)
{
    static const float step = 0x1p-10f;
    float x[256];

    pthread_barrier_wait(&start);
    for (int i = 0; i < 256; i++) {
        for (int k = 0; k < 256; k++)
            x[k] = (float)(i * 256 + k - 32768) * step;
        num_encode_row(&num_hif8, x, (uint8_t *)to + i * 256, 256, OVERFLOW_NAN);
    }
    return NULL;
}

/* The first use of a table by all threads at the same time. */
Test(num_oracle, row_threads)
{
    pthread_t thread[THREADS];

    pthread_barrier_init(&start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&thread[i], NULL, encode_at_once, by_thread[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    for (int k = 0; k < 65536; k++) {
        const uint32_t want = num_hif8.encode((float)(k - 32768) * 0x1p-10f, OVERFLOW_NAN);

        for (int i = 0; i < THREADS; i++)
            cr_assert_eq(by_thread[i][k], want, "thread %d, %d", i, k);
    }
}
