/* Words of two models against sums written out here, and rounded inputs against a search over all codes. */
#include "calibrate/compare.h"
#include "quantizers/num.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { IDS = 60, VOCAB = 256 };
static uint32_t id[IDS];
static size_t start[] = {0, 25, IDS};
static uint8_t set[2];

static float *logits_with(struct net *n, void (*inputs)(float *, size_t, uint64_t))
{
    struct hidden h;
    struct err e = {0};
    const struct sequences s = {id, start, NULL, 2};
    float *logits = malloc(IDS * VOCAB * sizeof *logits);
    cr_assert_eq(net_run(n, &s, &(struct net_options){.inputs = inputs}, &h, &e), 0, "%s", e.msg);
    cr_assert_eq(net_logits(n, &h, 0, IDS, logits, &e), 0, "%s", e.msg);
    hidden_free(&h);
    return logits;
}

static double p_of(const float *logits, uint32_t k)
{
    double sum = 0;
    for (size_t i = 0; i < VOCAB; i++)
        sum += exp((double)logits[i] - (double)logits[k]);
    return 1 / sum;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

Test(compare, words_are_those_of_the_definition)
{
    struct model m[2];
    struct net n[2];
    struct err e = {0};
    struct words w, same, one;
    for (size_t i = 0; i < IDS; i++)
        id[i] = (uint32_t)(97 + i * i % 23);
    for (int k = 0; k < 2; k++) {
        cr_assert_eq(model_open(&m[k], "samples/model", &e), 0, "%s", e.msg);
        cr_assert_eq(net_open(&n[k], &m[k], 2, &e), 0, "%s", e.msg);
    }
    const struct corpus c = {.id = id, .tokens = IDS, .start = start, .set = set, .n = 2};
    cr_assert_eq(words_compare(&same, &n[0], &n[1], &c, &(struct words_options){.greedy = 3}, &e), 0, "%s", e.msg);
    cr_assert(same.kl == 0 && same.kl_max == 0 && same.same_top == 1 && same.nll[0] == same.nll[1] && same.diverged == 0 && same.until == 3);
    cr_assert_eq(words_compare(&w, &n[0], &n[1], &c, &(struct words_options){.inputs = inputs_e4m3}, &e), 0, "%s", e.msg);
    n[0].w.threads = n[1].w.threads = 1;
    cr_assert_eq(words_compare(&one, &n[0], &n[1], &c, &(struct words_options){.inputs = inputs_e4m3}, &e), 0, "%s", e.msg);
    cr_assert_eq(memcmp(&w, &one, sizeof w), 0);

    float *a = logits_with(&n[0], NULL), *b = logits_with(&n[0], inputs_e4m3);
    double nll[2] = {0}, all = 0, each[IDS];
    size_t predicted = 0, top = 0;
    for (size_t i = 0; i < IDS; i++) {
        uint32_t best[2] = {0};
        each[i] = 0;
        for (uint32_t k = 0; k < VOCAB; k++) {
            each[i] += p_of(a + i * VOCAB, k) * log(p_of(a + i * VOCAB, k) / p_of(b + i * VOCAB, k));
            best[0] = a[i * VOCAB + k] > a[i * VOCAB + best[0]] ? k : best[0];
            best[1] = b[i * VOCAB + k] > b[i * VOCAB + best[1]] ? k : best[1];
        }
        top += best[0] == best[1];
        all += each[i];
        if (i == 24 || i == IDS - 1)
            continue;
        predicted++;
        nll[0] -= log(p_of(a + i * VOCAB, id[i + 1]));
        nll[1] -= log(p_of(b + i * VOCAB, id[i + 1]));
    }
    qsort(each, IDS, sizeof *each, by_size);
    cr_assert_eq(w.predicted, predicted);
    for (int k = 0; k < 2; k++)
        cr_assert_float_eq(w.nll[k], nll[k] / (double)predicted, 1e-9);
    cr_assert_float_eq(w.kl, all / IDS, 1e-9);
    cr_assert_float_eq(w.kl_max, each[IDS - 1], 1e-9);
    cr_assert_float_eq(w.kl99, each[(size_t)(0.99 * (IDS - 1))], 1e-9);
    cr_assert_float_eq(w.same_top, (double)top / IDS, 1e-12);
    cr_assert(w.kl > 1e-6 && w.kl < 0.1);
    free(a);
    free(b);
    for (int k = 0; k < 2; k++) {
        net_close(&n[k]);
        model_close(&m[k]);
    }
}

/* Each block of 128 has the smallest power of two with which nothing is beyond 448, and each value the nearest code. */
Test(compare, inputs_are_rounded_to_e4m3)
{
    enum { WIDTH = 300, ROWS = 3 };
    static float x[ROWS * WIDTH], y[ROWS * WIDTH];
    uint32_t state = 9;
    for (size_t i = 0; i < ROWS * WIDTH; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = i % WIDTH >= 128 && i % WIDTH < 256 ? 0 : (float)((int32_t)state >> 8) * (i % 7 ? 1e-6f : 1e-3f);
    }
    x[5] = 448, x[6] = -448.0f;
    memcpy(y, x, sizeof x);
    inputs_e4m3(y, ROWS, WIDTH);
    float value[256];
    uint8_t code[256];
    for (int k = 0; k < 256; k++)
        code[k] = (uint8_t)k;
    num_decode_row(num_named("e4m3"), code, value, 256);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t c = 0; c < WIDTH; c += 128) {
            const size_t end = c + 128 < WIDTH ? c + 128 : WIDTH;
            float most = 0, scale = 0x1p-60f;
            for (size_t i = c; i < end; i++)
                most = fmaxf(most, fabsf(x[r * WIDTH + i]));
            while (most > 448 * scale)
                scale *= 2;
            for (size_t i = c; i < end; i++) {
                double least = INFINITY;
                for (int k = 0; k < 256; k++)
                    if (!isnan(value[k]))
                        least = fmin(least, fabs((double)value[k] * (double)scale - (double)x[r * WIDTH + i]));
                cr_assert_eq(fabs((double)y[r * WIDTH + i] - (double)x[r * WIDTH + i]), most > 0 ? least : 0, "%zu %zu", r, i);
            }
        }
}
