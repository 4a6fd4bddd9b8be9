/* The table of number formats; F32, which needs no file of its own; and rows of
 * small formats by table. */
#include "quantizers/num.h"

#include <pthread.h>
#include <stdatomic.h>

static uint32_t encode(float x, enum overflow o)
{
    const uint32_t u = f32_bits(x);

    return o == OVERFLOW_SATURATE && (u & 0x7fffffff) == 0x7f800000 ? u - 1 : u;
}

static float decode(uint32_t code)
{
    return f32_from(code);
}

const struct num num_f32 = {
    .name = "f32", .dtype = DT_F32, .bits = 32,
    .max = 0x1.fffffep127f, .min_normal = 0x1p-126f, .min = 0x1p-149f, .emax = 127, .mbits = 23,
    .encode = encode, .decode = decode,
};

/* The plain format of a storage type before its variants: num_find. */
const struct num *const num_table[] = {
    &num_e4m3, &num_e5m2, &num_ue8m0, &num_bf16, &num_f16, &num_f32, &num_int8,
    &num_e4m3fnuz, &num_e5m2fnuz, &num_hif8, &num_ue4m3,
    &num_e2m1, &num_e2m1_down, &num_e2m1_modelopt, &num_e1m2, &num_e2m3, &num_e3m2,
    &num_e4m3_away, &num_e5m2_away, &num_e2m1_away,
    &num_int4, &num_int4_full, &num_int8_full, NULL,
};

enum { NUMS = sizeof num_table / sizeof *num_table - 1 };

const struct num *num_find(enum dtype t)
{
    for (size_t i = 0; num_table[i]; i++)
        if (num_table[i]->dtype == t)
            return num_table[i];
    return NULL;
}

const struct num *num_named(const char *name)
{
    for (size_t i = 0; num_table[i]; i++)
        if (strcmp(num_table[i]->name, name) == 0)
            return num_table[i];
    return NULL;
}

/* ---- rows ---------------------------------------------------------------------
 *
 * One table of 65536 codes, indexed by a BF16, encodes any FP32, when FP32 goes
 * to BF16 by rounding to odd: what BF16 does not hold becomes the neighbour whose
 * last bit is 1.  An odd pattern then stands for the whole open interval between
 * the two even ones beside it, and the code of that interval is one and the same
 * as long as every boundary of the format's rounding is an even BF16, that is, has
 * at most 7 significant bits.  Boundaries are midpoints of codes, with two bits
 * more than the mbits behind the point: mbits + 2 <= 7.  (UE8M0's boundaries are
 * powers of two.)  INT8, with mbits 6, is the format of 8 bits that is left out:
 * 64.5 is an odd BF16, and what is just above it must not be rounded like it. */
enum { TABLE_MBITS = 5 };

struct rows {
    atomic_bool ready[3];        /* code[0], code[1], value */
    uint8_t code[2][65536];      /* by enum overflow */
    float value[256];
};
static struct rows table[NUMS];  /* zero pages until a format is used */
static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;

static void make(const struct num *f, struct rows *t, int which)
{
    if (which == 2)
        for (uint32_t c = 0; c < 256; c++)
            t->value[c] = f->decode(c);
    else
        for (uint32_t h = 0; h < 65536; h++)
            t->code[which][h] = (uint8_t)f->encode(bf16_decode((uint16_t)h), (enum overflow)which);
}

/* NULL for a format that is not in num_table. */
static const struct rows *rows_of(const struct num *f, int which)
{
    size_t i = 0;

    while (i < NUMS && num_table[i] != f)
        i++;
    if (i == NUMS)
        return NULL;
    struct rows *t = &table[i];
    if (!atomic_load_explicit(&t->ready[which], memory_order_acquire)) {
        pthread_mutex_lock(&making);
        if (!atomic_load_explicit(&t->ready[which], memory_order_relaxed)) {
            make(f, t, which);
            atomic_store_explicit(&t->ready[which], true, memory_order_release);
        }
        pthread_mutex_unlock(&making);
    }
    return t;
}

void num_encode_row(const struct num *f, const float *x, uint8_t *codes, size_t n, enum overflow o)
{
    const struct rows *t = f->mbits <= TABLE_MBITS ? rows_of(f, (int)o) : NULL;

    if (!t) {
        for (size_t i = 0; i < n; i++)
            codes[i] = (uint8_t)f->encode(x[i], o);
        return;
    }
    const uint8_t *const code = t->code[o];
    for (size_t i = 0; i < n; i++) {
        const uint32_t u = f32_bits(x[i]);

        codes[i] = code[u >> 16 | ((u & 0xffff) != 0)];
    }
}

void num_decode_row(const struct num *f, const uint8_t *codes, float *x, size_t n)
{
    const struct rows *t = rows_of(f, 2);

    for (size_t i = 0; i < n; i++)
        x[i] = t ? t->value[codes[i]] : f->decode(codes[i]);
}
