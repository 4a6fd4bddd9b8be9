/* Asks the processor, once per call: nothing here is worth caching. */
#include "formats/cpu.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdint.h>

/* Which register files the operating system saves and restores: bit 1 is XMM,
 * bit 2 the upper halves of YMM.  The processor having AVX is not enough. */
static uint32_t os_saved_state(void)
{
    uint32_t lo, hi;

    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return lo;
}

unsigned cpu_flags(void)
{
    const unsigned need1 = bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C | bit_POPCNT;
    unsigned a, b, c, d, b7 = 0, flags = 0;

    if (!__get_cpuid(1, &a, &b, &c, &d))
        return 0;
    const unsigned c1 = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d))
        b7 = b;
    if ((c1 & need1) == need1 && (b7 & bit_AVX2) && (os_saved_state() & 6) == 6)
        flags |= CPU_AVX2;
    if ((b7 & bit_SHA) && (c1 & bit_SSE4_1) && (c1 & bit_SSSE3))
        flags |= CPU_SHA;
    return flags;
}
#else
unsigned cpu_flags(void)
{
    return 0;
}
#endif

int cpu_allowed(unsigned *flags, struct err *e)
{
    const char *const word = getenv("OCTAVO_CPU");
    const unsigned have = cpu_flags();

    if (!word || !*word) {
        *flags = have;
        return 0;
    }
    if (strcmp(word, "c") == 0) {
        *flags = 0;
        return 0;
    }
    if (strcmp(word, "avx2") == 0) {
        if (!(have & CPU_AVX2))
            return err_set(e, ERR_USAGE,
                           "OCTAVO_CPU=avx2, but this CPU lacks AVX2, FMA or F16C");
        *flags = have;
        return 0;
    }
    return err_set(e, ERR_USAGE, "OCTAVO_CPU=%s: unknown level; use c or avx2", word);
}
