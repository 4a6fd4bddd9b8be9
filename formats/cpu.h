/* What this CPU can do, lowered by OCTAVO_CPU (c or avx2). */
#ifndef OCTAVO_CPU_H
#define OCTAVO_CPU_H

#include "formats/err.h"

enum {
    CPU_AVX2 = 1,   /* AVX2, FMA, F16C as one bundle, and the OS saves YMM */
    CPU_SHA = 2     /* SHA-NI and SSE4.1 */
};

/* The hardware's flags, whatever OCTAVO_CPU says. */
unsigned cpu_flags(void);
/* 0 and *flags after OCTAVO_CPU: "c" clears all, "avx2", empty or unset keeps
 * what is there; another word, or avx2 on a CPU without it, is ERR_USAGE. */
int cpu_allowed(unsigned *flags, struct err *e) MUST_USE;

#endif
