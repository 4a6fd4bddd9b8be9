#include "formats/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A sentence that was too long ends with a whole character of UTF-8. */
static int cut(struct err *e)
{
    const size_t n = strlen(e->msg);
    size_t tail = 0;
    while (tail < n && tail < 3 && ((unsigned char)e->msg[n - 1 - tail] & 0xc0) == 0x80)
        tail++;
    if (n + 1 < sizeof e->msg || tail == n)
        return -1;
    const unsigned char lead = (unsigned char)e->msg[n - 1 - tail];
    if (lead >= 0xc0 && tail + 1 < (lead >= 0xf0 ? 4u : lead >= 0xe0 ? 3u : 2u))
        e->msg[n - 1 - tail] = 0;
    return -1;
}

int err_set(struct err *e, enum err_kind kind, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    e->kind = kind;
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    return cut(e);
}

int err_sys(struct err *e, const char *fmt, ...)
{
    int saved = errno;
    va_list ap;
    va_start(ap, fmt);
    e->kind = ERR_SYSTEM;
    int n = vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof e->msg)
        snprintf(e->msg + n, sizeof e->msg - (size_t)n, ": %s", strerror(saved));
    return cut(e);
}

int err_prefix(struct err *e, const char *fmt, ...)
{
    char old[sizeof e->msg];
    memcpy(old, e->msg, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof e->msg)
        snprintf(e->msg + n, sizeof e->msg - (size_t)n, ": %.*s", (int)(sizeof old) - n - 3, old);
    return cut(e);
}
