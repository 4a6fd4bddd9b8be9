/* A loop whose turns are shared out among threads. */
#ifndef OCTAVO_CALIBRATE_EACH_H
#define OCTAVO_CALIBRATE_EACH_H

#include <stddef.h>

/* Calls fn(ctx, i) once for every i below n, on up to `threads` threads (0 and 1: none but the
 * caller's), claimed in order. Turns must not depend on each other; then what is computed does not
 * depend on the number of threads. Where a thread cannot be started the others do its work. */
void each(unsigned threads, size_t n, void (*fn)(void *ctx, size_t i), void *ctx);

#endif
