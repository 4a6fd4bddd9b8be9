/* Picks the kernels once: C first, then every level this CPU may use writes
 * its pointers over it. */
#include "quantizers/kern.h"

#include "formats/cpu.h"

#include <pthread.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct kern level_c, level_avx2;
static const struct kern *best;   /* NULL: OCTAVO_CPU is wrong, refusal says how */
static struct err refusal;

static void fill(void)
{
    unsigned allowed;

    kern_fill_c(&level_c);
    if (cpu_flags() & CPU_AVX2) {
        kern_fill_c(&level_avx2);
        kern_fill_avx2(&level_avx2);
    }
    if (cpu_allowed(&allowed, &refusal))
        return;
    best = allowed & CPU_AVX2 ? &level_avx2 : &level_c;
}

const struct kern *kern_get(struct err *e)
{
    pthread_once(&once, fill);
    if (!best)
        *e = refusal;
    return best;
}

const struct kern *kern_level(const char *name)
{
    pthread_once(&once, fill);
    if (strcmp(name, "c") == 0)
        return &level_c;
    if (strcmp(name, "avx2") == 0 && level_avx2.name)
        return &level_avx2;
    return NULL;
}
