#include "formats/json.h"

int json_put_string(struct buf *b, const char *s, struct err *e)
{
    if (buf_puts(b, "\"", e))
        return -1;
    for (const char *run = s;; s++) {
        unsigned char c = (unsigned char)*s;
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        if (buf_put(b, run, (size_t)(s - run), e))
            return -1;
        if (!c)
            return buf_puts(b, "\"", e);
        int r = c == '"' || c == '\\' ? buf_printf(b, e, "\\%c", c)
              : c == '\n'             ? buf_puts(b, "\\n", e)
              : c == '\t'             ? buf_puts(b, "\\t", e)
                                      : buf_printf(b, e, "\\u%04x", c);
        if (r)
            return -1;
        run = s + 1;
    }
}
