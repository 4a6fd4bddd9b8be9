/* How fast matrices are packed and unpacked, next to memcpy of the same bytes
 * in the same run.
 *
 *     layout                                    every sentence in use
 *     layout SENTENCE BITS ROWS COLS [pack|unpack]    one call, for callgrind:
 *         valgrind --tool=callgrind --toggle-collect=layout_pack ./layout ...
 *
 * Two sizes: a matrix much bigger than the caches, and stripes of 128 rows
 * that stay in them, which is how files are worked on. */
#include "formats/layout.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct { const char *sentence; unsigned bits; } known[] = {
    { "r0 c0", 8 },
    { "c0 r0", 8 },
    { "r1 c1 c0 r0 | r0=32 c0=16", 8 },
    { "c1 r1 r0 c0 | r0=16 c0=32", 8 },
    { "c1 r0 c0 | c0=2", 8 },
    { "c1 r1 r0 c0 | r0=4 c0=4", 8 },
    { "r2 c1 r0 r1 c0 | r0=32 r1=4 c0=4", 8 },
    { "c1 r2 r0 r1 c0 | r0=32 r1=4 c0=4", 8 },
    { "r1 c0 r0 | r0=16", 8 },
    { "c1 r0 c0 | c0=64", 8 },
    { "r1 c1 r0 c0 | r0=16 c0=16", 8 },
    { "c2 r1 c1 r0 c0 | r0=16 c0=16 c1=4", 8 },
    { "c3 r3 r0 c1 r2 r1 c0 c2 | c0=2 c1=4 c2=2 r0=8 r1=2 r2=4", 8 },
    { "r1 c4 r0 c3 c1 c0 c2 | c0=2 c1=4 c2=2 c3=4 r0=2", 8 },
    { "c0 r0", 16 },
    { "c0 r0", 32 },
    { "c1 r1 r0 c0 | r0=16 c0=16", 16 },
    { "c1 r1 r0 c0 | r0=16 c0=32", 4 },
    { "r1 c1 c0 r0 | r0=64 c0=16", 4 },
    { "r0 c2 c0 c1 | c0=16 c1=2", 4 },
    { "c2 c0 r0 c1 | c0=64 c1=2", 4 },
    { "r0 c1 -c0 | c0=2", 4 },
    { "c3 r1 c2 r0 c0 -c1 | c0=4 c1=2 c2=4 r0=64", 4 },
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct job {
    struct layout l;
    unsigned bits;
    uint64_t rows, cols;
    size_t stride, bytes;
    unsigned char *plain, *packed;
};

enum what { COPY, PACK, UNPACK };

static void once(const struct job *j, enum what what)
{
    if (what == PACK)
        layout_pack(&j->l, j->bits, j->rows, j->cols, j->plain, j->stride, j->packed);
    else if (what == UNPACK)
        layout_unpack(&j->l, j->bits, j->rows, j->cols, j->packed, j->plain, j->stride);
    else
        memcpy(j->packed, j->plain, j->bytes);
}

/* The best of several turns, in GB of matrix per second. */
static double rate(const struct job *j, enum what what, unsigned turns)
{
    double best = 1e9;
    const unsigned inner = j->bytes < 1 << 22 ? 8 : 1;
    for (unsigned i = 0; i < turns; i++) {
        const double t = now();
        for (unsigned k = 0; k < inner; k++)
            once(j, what);
        const double took = (now() - t) / inner;
        if (took < best)
            best = took;
    }
    return (double)j->bytes / best * 1e-9;
}

static int prepare(struct job *j, const char *sentence, unsigned bits, uint64_t rows,
                   uint64_t cols)
{
    struct err e;
    uint64_t n;
    *j = (struct job){ .bits = bits, .rows = rows, .cols = cols };
    if (layout_parse(&j->l, sentence, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return -1;
    }
    if (!layout_size(&j->l, rows, cols, &n))
        return -1;
    j->stride = bits == 4 ? (cols + 1) / 2 : cols * (bits / 8);
    j->bytes = j->stride * rows;
    j->plain = malloc(j->bytes);
    j->packed = malloc(bits == 4 ? (n + 1) / 2 : n * (bits / 8));
    if (!j->plain || !j->packed)
        return -1;
    for (size_t i = 0; i < j->bytes; i++)
        j->plain[i] = (unsigned char)(i * 2654435761u >> 13);
    once(j, PACK);
    return 0;
}

static void finish(struct job *j)
{
    free(j->plain);
    free(j->packed);
}

static int table(uint64_t rows, uint64_t row_bytes, unsigned turns)
{
    printf("%" PRIu64 " rows of %" PRIu64 " bytes, GB/s\n", rows, row_bytes);
    printf("%-60s %4s %7s %7s %7s  of memcpy\n", "sentence", "bits", "memcpy", "pack", "unpack");
    for (unsigned i = 0; i < sizeof known / sizeof known[0]; i++) {
        struct job j;
        const uint64_t cols = row_bytes * 8 / known[i].bits;
        if (prepare(&j, known[i].sentence, known[i].bits, rows, cols))
            return -1;
        double best[3] = { 0, 0, 0 };
        for (unsigned turn = 0; turn < turns; turn++) /* in turns: the machine drifts */
            for (unsigned what = COPY; what <= UNPACK; what++) {
                const double r = rate(&j, what, 2);
                if (r > best[what])
                    best[what] = r;
            }
        printf("%-60s %4u %7.2f %7.2f %7.2f  %4.2f %4.2f\n", known[i].sentence, known[i].bits,
               best[COPY], best[PACK], best[UNPACK], best[PACK] / best[COPY],
               best[UNPACK] / best[COPY]);
        fflush(stdout);
        finish(&j);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 4) {
        struct job j;
        if (prepare(&j, argv[1], (unsigned)atoi(argv[2]), strtoull(argv[3], NULL, 10),
                    strtoull(argv[4], NULL, 10)))
            return 1;
        once(&j, argc > 5 && strcmp(argv[5], "unpack") == 0 ? UNPACK : PACK);
        printf("%zu bytes\n", j.bytes);
        finish(&j);
        return 0;
    }
    return table(4096, 7168, 3) || table(4096, 8192, 3) || table(128, 7168, 40) ||
           table(128, 8192, 40);
}
