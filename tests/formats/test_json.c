#include "formats/json.h"
#include "tests/mk.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static void spells(const char *s, const char *want)
{
    struct buf b = {0};
    struct err e = {0};
    cr_assert_eq(json_put_string(&b, s, &e), 0, "%s", e.msg);
    cr_assert_str_eq(b.s, want);
    cr_assert_eq(b.n, strlen(want));
    buf_free(&b);
}

Test(json, spelling)
{
    spells("", "\"\"");
    spells("model.layers.0.weight", "\"model.layers.0.weight\"");
    spells("a\"b\\c/d", "\"a\\\"b\\\\c/d\"");
    spells("\n\t\r\b\f\x01\x1f\x7f", "\"\\n\\t\\u000d\\u0008\\u000c\\u0001\\u001f\x7f\"");
    spells("\xc3\xa9\xe2\x82\xac", "\"\xc3\xa9\xe2\x82\xac\"");
}

/* What another parser makes of every byte, in front, amid and at the end. */
Test(json, every_byte_comes_back)
{
    for (int c = 1; c < 256; c++)
        for (int at = 0; at < 3; at++) {
            char s[8] = "abc";
            struct buf b = {0};
            struct err e = {0};
            json_error_t je;
            /* bytes above 0x7f only as UTF-8 */
            if (c < 0x80)
                s[at] = (char)c;
            else
                snprintf(s, sizeof s, "%.*s%c%c%s", at, "abc", 0xc0 | c >> 6, 0x80 | (c & 63), &"abc"[at]);
            mk_puts(&b, "kept: ");
            cr_assert_eq(json_put_string(&b, s, &e), 0, "%s", e.msg);
            cr_assert_eq(memcmp(b.s, "kept: ", 6), 0);
            json_t *const j = json_loadb(b.s + 6, b.n - 6, JSON_DECODE_ANY, &je);
            cr_assert(j, "byte %d: %s", c, je.text);
            cr_assert_str_eq(json_string_value(j), s, "byte %d", c);
            json_decref(j);
            buf_free(&b);
        }
}
