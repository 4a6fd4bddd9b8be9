#include "cli/out.h"

#include "formats/json.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

char *out_bytes(uint64_t n, char *s)
{
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    double v = (double)n;
    int u = 0;
    for (; v >= 999.5 && u < 5; u++)
        v /= 1000;
    snprintf(s, 32, u == 0 ? "%.0f %s" : v < 9.995 ? "%.2f %s" : v < 99.95 ? "%.1f %s" : "%.0f %s", v, unit[u]);
    return s;
}

/* Control characters must not reach the terminal. */
static char shown(char c) { return ((unsigned char)c < 0x20 || c == 0x7f) ? '?' : c; }

void out_copy(char *to, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = shown(s[i]);
}

void out_text(FILE *f, const char *s)
{
    for (; *s; s++)
        putc(shown(*s), f);
}

void out_left(FILE *f, const char *s, int width)
{
    out_text(f, s);
    fprintf(f, "%*s", width > (int)strlen(s) ? width - (int)strlen(s) : 0, "");
}

void out_json(FILE *f, const char *s)
{
    struct buf b = {0};
    struct err e;
    if (json_put_string(&b, s, &e) == 0)
        fputs(b.s, f);
    buf_free(&b);
}

double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void meter_start(struct meter *m, const char *verb, const struct common *c)
{
    *m = (struct meter){verb, c->progress && !c->quiet && isatty(STDERR_FILENO), seconds_now()};
}

void meter_show(void *meter, const struct progress *p)
{
    struct meter *m = meter;
    double t = seconds_now() - m->start;
    char rate[32];
    if (!m->on || t < 0.4 || !p->total)
        return;
    double part = (double)p->done / (double)p->total, left = part > 0 ? t / part - t : 0;
    out_bytes((uint64_t)((double)p->done / t), rate);
    fprintf(stderr, "\r\033[K%s  %3.0f %%  %s/s  %d:%02d left  %.40s", m->verb, 100 * part, rate, (int)left / 60,
            (int)left % 60, p->name);
    fflush(stderr);
}

void meter_end(struct meter *m)
{
    if (m->on)
        fputs("\r\033[K", stderr);
}
