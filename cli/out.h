/* What the user sees: sizes, times, the progress line. */
#ifndef OCTAVO_OUT_H
#define OCTAVO_OUT_H

#include "cli/opt.h"
#include "quantizers/run.h"

#include <stdio.h>

/* "1.86 GB" into s (at least 32 bytes); powers of 1000. Returns s. */
char *out_bytes(uint64_t n, char *s);
/* Text, control characters as '?': n bytes into memory, or to a file. */
void out_copy(char *to, const char *s, size_t n);
void out_text(FILE *f, const char *s);
/* s, then spaces up to width. */
void out_left(FILE *f, const char *s, int width);
/* A JSON string to f. */
void out_json(FILE *f, const char *s);

/* One line on standard error, redrawn; only on a terminal and unless -q. */
struct meter {
    const char *verb;
    bool on;
    double start;
};
void meter_start(struct meter *m, const char *verb, const struct common *c);
void meter_show(void *meter, const struct progress *p);
void meter_end(struct meter *m);
double seconds_now(void);

#endif
