/* Proves E4M3 rounding over all 2^32 FP32 inputs, for `make prove`.
 *
 * Magnitudes are walked in ascending order, so the oracle needs no search: the
 * expected code moves up by one whenever a rounding boundary is passed.  Each
 * input goes through e4m3_encode in both overflow modes and, where the CPU has
 * it, through the AVX2 kernel with scale 1, whose counts are checked as well.
 * The last line is "N passed, N failed"; the exit code is 0 or 1. */
#include "quantizers/kern.h"
#include "quantizers/num.h"
#include "tests/oracle.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { CHUNK = 1 << 14, THREADS = 2, MAX_REPORTS = 20 };
#define CHUNKS ((uint64_t)0x80000000 / CHUNK)   /* of magnitudes; both signs each */

static struct oracle oracle;
static const struct kern *avx2;
static atomic_uint_fast64_t next_chunk, passed, failed;

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

static void *work(void *unused)
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

int main(void)
{
    pthread_t thread[THREADS];

    oracle_init(&oracle, oracle_e4m3[0], oracle_e4m3[1], oracle_e4m3[2]);
    avx2 = kern_level("avx2");
    if (!avx2)
        printf("no AVX2 here: its kernel is not run\n");
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&thread[i], NULL, work, NULL)) {
            fprintf(stderr, "prove: cannot start a thread\n");
            return 4;
        }
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    printf("%" PRIuFAST64 " passed, %" PRIuFAST64 " failed\n", atomic_load(&passed),
           atomic_load(&failed));
    return atomic_load(&failed) != 0;
}
