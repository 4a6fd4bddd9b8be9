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

static void spaces(FILE *f, int n)
{
    static const char blank[] = "                                                                ";
    for (; n > 0; n -= (int)sizeof blank - 1)
        fwrite_unlocked(blank, 1, n < (int)sizeof blank - 1 ? (size_t)n : sizeof blank - 1, f);
}

/* Control characters of a name must not reach the terminal. */
void out_text(FILE *f, const char *s)
{
    const char *run = s;
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) {
            fwrite_unlocked(run, 1, (size_t)(s - run), f);
            putc_unlocked('?', f);
            run = s + 1;
        }
    fwrite_unlocked(run, 1, (size_t)(s - run), f);
}

void out_left(FILE *f, const char *s, int width)
{
    out_text(f, s);
    spaces(f, width - (int)strlen(s));
}

void out_right(FILE *f, uint64_t v, int width)
{
    char digit[20];
    int n = sizeof digit;
    do
        digit[--n] = (char)('0' + v % 10);
    while (v /= 10);
    spaces(f, width - ((int)sizeof digit - n));
    fwrite_unlocked(digit + n, 1, sizeof digit - (size_t)n, f);
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
