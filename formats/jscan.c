#include "formats/jscan.h"
#include "formats/mem.h"

#include <string.h>

/* ---- errors and white space ---------------------------------------------- */

int jscan_fail(const struct jscan *j, const char *message)
{
    const char *const quote = j->tensor ? "'" : "";
    return err_set(j->e, ERR_INPUT, "%s: %s%s%.300s%s%s%s byte %zu: %s", j->path,
                   j->tensor ? "tensor " : "", quote, j->tensor ? j->tensor : "", quote,
                   j->tensor ? ": " : "", j->what, (size_t)(j->p - j->start), message);
}

static void space(struct jscan *j)
{
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\n' || *j->p == '\t' || *j->p == '\r'))
        j->p++;
}

/* ---- UTF-8 --------------------------------------------------------------- */

/* The length of the character at p, 0 when it is no UTF-8: overlong forms,
 * surrogates and what lies beyond U+10FFFF are not (RFC 3629, section 4). */
static size_t utf8_length(const uint8_t *p, const uint8_t *end)
{
    const uint8_t a = p[0];
    size_t n;
    uint8_t low = 0x80, high = 0xbf;
    if (a < 0x80)
        return 1;
    if (a < 0xc2)
        return 0;
    if (a < 0xe0) {
        n = 2;
    } else if (a < 0xf0) {
        n = 3;
        if (a == 0xe0)
            low = 0xa0;
        if (a == 0xed)
            high = 0x9f;
    } else if (a < 0xf5) {
        n = 4;
        if (a == 0xf0)
            low = 0x90;
        if (a == 0xf4)
            high = 0x8f;
    } else {
        return 0;
    }
    if ((size_t)(end - p) < n || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

size_t utf8_check(const void *text, size_t n)
{
    const uint8_t *const p = text;
    size_t i = 0;
    while (i < n) {
        /* Names are nearly always ASCII: eight bytes in one look. */
        uint64_t eight;
        if (n - i >= 8) {
            memcpy(&eight, p + i, 8);
            if (!(eight & 0x8080808080808080u)) {
                i += 8;
                continue;
            }
        }
        const size_t some = utf8_length(p + i, p + n);
        if (!some)
            return i;
        i += some;
    }
    return n;
}

int jscan_init(struct jscan *j, const char *path, const char *what, void *text, size_t n,
               struct err *e)
{
    uint8_t *const p = text;
    *j = (struct jscan){.p = p, .end = p + n, .start = p, .path = path, .what = what, .e = e};
    const size_t good = utf8_check(text, n);
    if (good == n)
        return 0;
    j->p = p + good;
    return jscan_fail(j, "not UTF-8");
}

/* ---- brackets ------------------------------------------------------------ */

int jscan_begin(struct jscan *j, char bracket)
{
    space(j);
    if (j->p == j->end || *j->p != (uint8_t)bracket)
        return jscan_fail(j, bracket == '{' ? "'{' expected" : "'[' expected");
    j->p++;
    return 0;
}

int jscan_next(struct jscan *j, char bracket, bool *first)
{
    const uint8_t close = bracket == '{' ? '}' : ']';
    space(j);
    if (j->p < j->end && *j->p == close) {
        j->p++;
        return 0;
    }
    if (!*first) {
        if (j->p == j->end || *j->p != ',')
            return jscan_fail(j, bracket == '{' ? "',' or '}' expected" : "',' or ']' expected");
        j->p++;
        space(j);
    }
    *first = false;
    return 1;
}

int jscan_end(struct jscan *j)
{
    space(j);
    return j->p == j->end ? 0 : jscan_fail(j, "something follows the closing bracket");
}

/* ---- strings ------------------------------------------------------------- */

static int hex4(struct jscan *j, uint32_t *x)
{
    *x = 0;
    for (int i = 0; i < 4; i++, j->p++) {
        const uint8_t c = j->p < j->end ? *j->p : 0;
        uint32_t digit;
        if (c >= '0' && c <= '9')
            digit = c - '0';
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            digit = (c | 32) - 'a' + 10u;
        else
            return jscan_fail(j, "four hexadecimal digits expected after \\u");
        *x = *x << 4 | digit;
    }
    return 0;
}

static size_t put_utf8(uint8_t *q, uint32_t c)
{
    if (c < 0x80) {
        q[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        q[0] = (uint8_t)(0xc0 | c >> 6);
        q[1] = (uint8_t)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        q[0] = (uint8_t)(0xe0 | c >> 12);
        q[1] = (uint8_t)(0x80 | (c >> 6 & 63));
        q[2] = (uint8_t)(0x80 | (c & 63));
        return 3;
    }
    q[0] = (uint8_t)(0xf0 | c >> 18);
    q[1] = (uint8_t)(0x80 | (c >> 12 & 63));
    q[2] = (uint8_t)(0x80 | (c >> 6 & 63));
    q[3] = (uint8_t)(0x80 | (c & 63));
    return 4;
}

/* Decodes the escape at j->p (after the backslash) to q; returns its length, 0 on error. */
static size_t escape(struct jscan *j, uint8_t *q)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const uint8_t c = j->p < j->end ? *j->p : 0;
    const char *at = c ? strchr(from, c) : NULL;
    if (at) {
        j->p++;
        *q = (uint8_t)to[at - from];
        return 1;
    }
    if (c != 'u') {
        jscan_fail(j, "unknown escape in a string");
        return 0;
    }
    j->p++;
    uint32_t x, y;
    if (hex4(j, &x))
        return 0;
    if (x >= 0xd800 && x < 0xe000) {
        /* Characters above U+FFFF are written as a high and a low surrogate. */
        if (x >= 0xdc00 || j->end - j->p < 2 || j->p[0] != '\\' || j->p[1] != 'u') {
            jscan_fail(j, "half of a surrogate pair in a string");
            return 0;
        }
        j->p += 2;
        if (hex4(j, &y))
            return 0;
        if (y < 0xdc00 || y >= 0xe000) {
            jscan_fail(j, "half of a surrogate pair in a string");
            return 0;
        }
        x = 0x10000 + ((x - 0xd800) << 10) + (y - 0xdc00);
    }
    if (!x) {
        /* Strings end in NUL from here on; a name with one inside would be cut. */
        jscan_fail(j, "NUL (\\u0000) in a string");
        return 0;
    }
    return put_utf8(q, x);
}

/* Steps over bytes that stand for themselves: first eight at a time, while none
 * of them is a quote, a backslash or a control character. */
static uint8_t *plain(uint8_t *p, const uint8_t *end)
{
    const uint64_t ones = 0x0101010101010101u;
    for (; end - p >= 8; p += 8) {
        uint64_t x;
        memcpy(&x, p, 8);
        const uint64_t quote = x ^ ones * '"', backslash = x ^ ones * '\\';
        /* (v - n) & ~v has the top bit of some byte set exactly when a byte of v is
         * below n and n <= 128. */
        const uint64_t found = ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash)
                             | ((x - ones * 0x20) & ~x);
        if (found & ones * 0x80) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
            /* A borrow can set false bits only above a true one, so the lowest is true. */
            return p + __builtin_ctzll(found & ones * 0x80) / 8;
#else
            break;
#endif
        }
    }
    while (p < end && *p != '"' && *p != '\\' && *p >= 0x20)
        p++;
    return p;
}

int jscan_string(struct jscan *j, char **s, size_t *n)
{
    space(j);
    if (j->p == j->end || *j->p != '"')
        return jscan_fail(j, "a string was expected");
    uint8_t *const start = ++j->p;
    uint8_t *q = j->p = plain(j->p, j->end);
    for (;;) {
        if (j->p == j->end)
            return jscan_fail(j, "a string does not end");
        if (*j->p == '"')
            break;
        if (*j->p != '\\')
            return jscan_fail(j, "control character in a string");
        j->p++;
        const size_t some = escape(j, q);
        if (!some)
            return -1;
        q += some;
        uint8_t *const from = j->p;
        j->p = plain(from, j->end);
        memmove(q, from, (size_t)(j->p - from));
        q += j->p - from;
    }
    j->p++;
    *q = 0; /* the closing quote, or an escape before it */
    *s = (char *)start;
    *n = (size_t)(q - start);
    return 0;
}

int jscan_key(struct jscan *j, char **s, size_t *n)
{
    if (jscan_string(j, s, n))
        return -1;
    space(j);
    if (j->p == j->end || *j->p != ':')
        return jscan_fail(j, "':' expected");
    j->p++;
    return 0;
}

/* ---- numbers and the rest ------------------------------------------------ */

static bool digit(const struct jscan *j)
{
    return j->p < j->end && *j->p >= '0' && *j->p <= '9';
}

int jscan_u64(struct jscan *j, uint64_t *x)
{
    space(j);
    if (j->p < j->end && *j->p == '-')
        return jscan_fail(j, "a number is negative");
    if (!digit(j))
        return jscan_fail(j, "a number was expected");
    const uint8_t *const start = j->p;
    uint64_t value = 0;
    for (; digit(j); j->p++) {
        const unsigned d = *j->p - '0';
        /* Nineteen digits always fit. */
        if (j->p - start < 19)
            value = value * 10 + d;
        else if (!mul_u64(value, 10, &value) || !add_u64(value, d, &value))
            return jscan_fail(j, "a number is larger than 2^64 - 1");
    }
    *x = value;
    if (*start == '0' && j->p - start > 1)
        return jscan_fail(j, "a number has leading zeros");
    if (j->p < j->end && (*j->p == '.' || (*j->p | 32) == 'e'))
        return jscan_fail(j, "a whole number was expected");
    return 0;
}

static int skip_number(struct jscan *j)
{
    if (*j->p == '-')
        j->p++;
    if (!digit(j))
        return jscan_fail(j, "a value was expected");
    if (*j->p == '0')
        j->p++;
    else
        while (digit(j))
            j->p++;
    if (j->p < j->end && *j->p == '.') {
        j->p++;
        if (!digit(j))
            return jscan_fail(j, "a digit was expected");
        while (digit(j))
            j->p++;
    }
    if (j->p < j->end && (*j->p | 32) == 'e') {
        j->p++;
        if (j->p < j->end && (*j->p == '+' || *j->p == '-'))
            j->p++;
        if (!digit(j))
            return jscan_fail(j, "a digit was expected");
        while (digit(j))
            j->p++;
    }
    return 0;
}

static int skip_value(struct jscan *j, int depth)
{
    static const char *const word[] = {"true", "false", "null"};
    char *s;
    size_t n;
    space(j);
    if (j->p == j->end)
        return jscan_fail(j, "a value was expected");
    const char c = (char)*j->p;
    if (c == '"')
        return jscan_string(j, &s, &n);
    if (c == '{' || c == '[') {
        if (depth == JSCAN_MAX_DEPTH)
            return jscan_fail(j, "brackets nest more than 64 deep");
        j->p++;
        bool first = true;
        int more;
        while ((more = jscan_next(j, c, &first)) > 0)
            if ((c == '{' && jscan_key(j, &s, &n)) || skip_value(j, depth + 1))
                return -1;
        return more;
    }
    for (size_t i = 0; i < sizeof word / sizeof *word; i++) {
        n = strlen(word[i]);
        if ((size_t)(j->end - j->p) >= n && !memcmp(j->p, word[i], n)) {
            j->p += n;
            return 0;
        }
    }
    return skip_number(j);
}

int jscan_skip(struct jscan *j)
{
    return skip_value(j, 0);
}
