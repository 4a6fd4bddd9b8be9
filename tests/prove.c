/* Proves rounding over all 2^32 FP32 inputs, for `make prove`: of every format
 * of at most 8 bits, and of the E4M3 kernels.
 *
 * Magnitudes are walked in ascending order, so the oracle needs no search: the
 * expected code changes only where a rounding boundary is passed.  In the first
 * part each input goes through e4m3_encode in both overflow modes and, where the
 * CPU has it, through the AVX2 kernel with scale 1, whose counts are checked as
 * well.  In the second each goes through encode of every other format, saturating
 * and, from the largest finite value on, with OVERFLOW_NAN where that differs
 * (unit tests compare both modes below it); as E4M3 through num_encode_row, and as E2M1
 * through a kernel as well.
 * In the third every scale rule is compared with tests/scale_oracle.c: for E4M3, or
 * the one format that it is for, over all positive FP32; for other formats, where a
 * logarithm in FP32 is part of the rule, and for variants of one rule, next to every
 * step, and every 97th value in between.
 * The last line is "N passed, N failed"; the exit code is 0 or 1. */
#include "quantizers/kern.h"
#include "quantizers/num.h"
#include "quantizers/scale.h"
#include "tests/oracle.h"
#include "tests/scale_oracle.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { CHUNK = 1 << 14, THREADS = 2, MAX_REPORTS = 20 };
#define CHUNKS ((uint64_t)0x80000000 / CHUNK)   /* of magnitudes; both signs each */

static struct oracle oracle;
static const struct kern *avx2;
static atomic_uint_fast64_t next_chunk, next_part, next_rule, passed, failed;

static void report(const char *what, float x, unsigned got, unsigned want)
{
    if (atomic_fetch_add(&failed, 1) < MAX_REPORTS)
        printf("%s of %a (%08" PRIx32 "): %02x, not %02x\n", what, (double)x, f32_bits(x), got,
               want);
}

/* One stretch of magnitudes with one sign; *code is the oracle's position. */
static void chunk(uint32_t first, uint32_t sign, int *code)
{
    float x[CHUNK];
    uint8_t want[CHUNK], got[CHUNK];
    struct kern_count expect = { 0 }, count = { 0 };
    const uint8_t one = 127, minus = (uint8_t)(sign >> 24);
    uint64_t good = 0;

    for (uint32_t i = 0; i < CHUNK; i++) {
        const uint32_t mag = first + i;
        uint8_t sat, nan;

        x[i] = f32_from(mag | sign);
        if (mag > 0x7f800000) {
            sat = nan = minus | 0x7f;
            expect.inexact++;
        } else {
            const double v = (double)f32_from(mag);

            while (*code <= oracle.max_code) {
                const double edge = oracle_boundary(&oracle, *code);

                if (v < edge || (v == edge && *code % 2 == 0))
                    break;
                ++*code;
            }
            const bool over = *code > oracle.max_code;
            const int c = over ? oracle.max_code : *code;

            sat = (uint8_t)(minus | c);
            nan = (uint8_t)(minus | (over ? 0x7f : c));
            expect.inexact += oracle.value[c] != v;
            expect.flushed += c == 0 && v != 0;
            expect.saturated += over;
        }
        const uint8_t a = e4m3_encode(x[i], OVERFLOW_SATURATE), b = e4m3_encode(x[i], OVERFLOW_NAN);

        if (a != sat)
            report("e4m3_encode, saturating,", x[i], a, sat);
        if (b != nan)
            report("e4m3_encode, to NaN,", x[i], b, nan);
        good += (a == sat) + (b == nan);
        want[i] = sat;
    }
    if (avx2) {
        avx2->enc_e4m3_pow2[SRC_F32](x, 0, 1, CHUNK, CHUNK, &one, got, 0, &count);
        for (uint32_t i = 0; i < CHUNK; i++) {
            if (got[i] != want[i])
                report("avx2 enc_e4m3_pow2", x[i], got[i], want[i]);
            good += got[i] == want[i];
        }
        if (memcmp(&count, &expect, sizeof count) != 0)
            report("avx2 counts from", x[0], (unsigned)count.inexact, (unsigned)expect.inexact);
        else
            good++;
    }
    atomic_fetch_add(&passed, good);
}

static void *prove_e4m3(void *unused)
{
    enum { BATCH = 256 };
    uint64_t c;

    (void)unused;
    while ((c = atomic_fetch_add(&next_chunk, BATCH)) < CHUNKS)
        for (uint32_t s = 0; s < 2; s++) {
            const float start = f32_from((uint32_t)(c * CHUNK));
            int code = start == start ? oracle_nearest(&oracle, (double)start) : 0;

            for (uint64_t i = c; i < c + BATCH; i++)
                chunk((uint32_t)(i * CHUNK), s << 31, &code);
        }
    return NULL;
}

/* ---- all small formats ---------------------------------------------------------- */

enum { ROW = 4096 };

/* What n inputs must all become in one overflow mode. */
static void same(const struct num *f, const float *x, uint32_t n, enum overflow o, int want)
{
    uint64_t bad = 0;

    for (uint32_t i = 0; i < n; i++) {
        const uint32_t code = f->encode(x[i], o);

        if (code != (uint32_t)want) {
            report(f->name, x[i], code, (unsigned)want);
            bad++;
        }
    }
    atomic_fetch_add(&passed, n - bad);
}

/* The same by table.  What is to be proved is the index into it, which all formats
 * share; that their boundaries allow such a table is checked by the unit tests. */
static void same_row(const struct num *f, const float *x, uint32_t n, int want)
{
    uint8_t code[ROW] = { 0 };
    uint64_t bad = 0;

    num_encode_row(f, x, code, n, OVERFLOW_SATURATE);
    for (uint32_t i = 0; i < n; i++)
        if (code[i] != want) {
            report("num_encode_row", x[i], code[i], (unsigned)want);
            bad++;
        }
    atomic_fetch_add(&passed, n - bad);
}

/* And as E2M1 by a kernel, with scale 1; the one in plain C is made of the same text. */
static void same_e2m1(const struct num *f, const float *x, uint32_t n, int want)
{
    static const uint8_t one = 127;
    const struct kern *const k = avx2 ? avx2 : kern_level("c");
    uint8_t code[ROW] = { 0 };
    struct kern_count count = { 0 };
    uint64_t bad = 0;

    if (x[0] != x[0])
        return;
    k->enc_e2m1(x, n, n, &one, NULL, kern_e2m1_of(f), code, &count);
    for (uint32_t i = 0; i < n; i++)
        if (code[i] != want) {
            report("enc_e2m1", x[i], code[i], (unsigned)want);
            bad++;
        }
    atomic_fetch_add(&passed, n - bad);
}

/* The last magnitude, as bits, of those that have the rank of mag. */
static uint32_t last_like(const struct oracle *o, uint32_t mag)
{
    if (mag == 0)
        return mag;   /* can have a code of its own */
    if (mag >= 0x7f800000)
        return mag == 0x7f800000 ? mag : 0x7fffffff;
    const int rank = oracle_nearest(o, (double)f32_from(mag));

    if (rank > o->max_code)
        return 0x7f7fffff;
    return f32_bits((float)oracle_boundary(o, rank)) - !oracle_stays(o, rank);
}

static struct oracle small[32];   /* of oracle_format */

static void *prove_formats(void *unused)
{
    enum { PART_BITS = 22, PARTS = 1 << (31 - PART_BITS) };   /* of the magnitudes of one format */
    uint64_t k;

    (void)unused;
    while ((k = atomic_fetch_add(&next_part, 1)) < (uint64_t)oracle_formats * PARTS) {
        const struct oracle_format *const format = &oracle_format[k / PARTS];
        const struct oracle *const o = &small[k / PARTS];
        const struct num *const f = num_named(format->name);
        const uint32_t top = f32_bits((float)o->value[o->max_code]);
        uint32_t mag = (uint32_t)(k % PARTS) << PART_BITS, left = (uint32_t)1 << PART_BITS;

        while (left) {
            const uint32_t like = last_like(o, mag) - mag + 1;
            uint32_t n = like < left ? like : left;

            n = n < ROW ? n : ROW;
            for (uint32_t s = 0; s < 2; s++) {
                float x[ROW];

                for (uint32_t i = 0; i < n; i++)
                    x[i] = f32_from((mag + i) | s << 31);
                const int want = oracle_encode(o, format, x[0], true);

                if (f == &num_e4m3) {   /* encode: see above */
                    same_row(f, x, n, want);
                    continue;
                }
                same(f, x, n, OVERFLOW_SATURATE, want);
                if (kern_e2m1_of(f))
                    same_e2m1(f, x, n, want);
                if (format->over >= 0 && mag + n > top)
                    same(f, x, n, OVERFLOW_NAN, oracle_encode(o, format, x[0], false));
            }
            mag += n;
            left -= n;
        }
    }
    return NULL;
}

/* ---- scale rules ------------------------------------------------------------------ */

enum { RULE_PARTS = 64, NEAR = 4096, STRIDE = 97 };

/* The last amax, as bits and below `end`, that has the code of `mag`: codes grow with amax. */
static uint32_t last_of_code(const struct scale_formula *f, const struct scale_elem *e, uint32_t mag, uint32_t end)
{
    const int code = scale_formula_code(f, e, f32_from(mag));
    uint32_t lo = mag, hi = end;

    while (hi - lo > 1) {
        const uint32_t mid = lo + (hi - lo) / 2;

        if (scale_formula_code(f, e, f32_from(mid)) == code)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* A stretch of amax, [mag, end), by one rule for one format. */
static void prove_rule(const struct scale_rule *r, const struct scale_elem *e, uint32_t mag, uint32_t end)
{
    const struct scale_formula *const f = scale_formula_of(r->name);
    const struct num *const num = r->num ? num_named(r->num) : num_find(e->t);
    const bool all = !scale_formula_log(f) && strncmp(r->name, "asc2-", 5) != 0
                     && (e->t == DT_F8_E4M3 || r->elem == e->t);
    uint64_t good = 0;

    while (mag < end) {
        const uint32_t last = last_of_code(f, e, mag, end), first = mag;
        const int want = scale_formula_code(f, e, f32_from(mag));

        for (; mag <= last; mag += all || mag - first < NEAR || last - mag < NEAR + STRIDE ? 1 : STRIDE) {
            const int got = r->code(f32_from(mag), num);

            if (got != want)
                report(r->name, f32_from(mag), (unsigned)got, (unsigned)want);
            good += got == want;
        }
        mag = last + 1;
    }
    atomic_fetch_add(&passed, good);
}

static void *prove_rules(void *unused)
{
    uint64_t k;

    (void)unused;
    while ((k = atomic_fetch_add(&next_rule, 1)) < (uint64_t)scale_rule_count * scale_elem_count * RULE_PARTS) {
        const struct scale_elem *const e = &scale_elems[k / RULE_PARTS % scale_elem_count];
        const struct scale_rule *const r = &scale_rules[k / RULE_PARTS / scale_elem_count];
        const uint32_t part = 0x7f800000 / RULE_PARTS, from = (uint32_t)(k % RULE_PARTS) * part;

        if (scale_rule_for(r->name, e->t) == r)   /* a zero has a code of its own */
            prove_rule(r, e, from ? from : 1, from + part);
    }
    return NULL;
}

static void in_threads(void *(*work)(void *))
{
    pthread_t thread[THREADS];

    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&thread[i], NULL, work, NULL)) {
            fprintf(stderr, "prove: cannot start a thread\n");
            exit(4);
        }
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
}

int main(void)
{
    oracle_init(&oracle, oracle_e4m3[0], oracle_e4m3[1], oracle_e4m3[2]);
    for (int i = 0; i < oracle_formats; i++)
        oracle_init_format(&small[i], &oracle_format[i]);
    avx2 = kern_level("avx2");
    if (!avx2)
        printf("no AVX2 here: its kernel is not run\n");
    in_threads(prove_e4m3);
    in_threads(prove_formats);
    in_threads(prove_rules);
    printf("%" PRIuFAST64 " passed, %" PRIuFAST64 " failed\n", atomic_load(&passed),
           atomic_load(&failed));
    return atomic_load(&failed) != 0;
}
