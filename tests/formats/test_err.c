#include "formats/err.h"
#include "formats/jscan.h"

#include <criterion/criterion.h>
#include <string.h>

/* Characters of every length at every distance from the limit: a sentence that is too long ends with a whole one. */
Test(err, sentences_end_with_whole_characters)
{
    static const char *const character[] = {"x", "\xc3\xa9", "\xe5\xbc\xa0", "\xf0\x9f\x90\xa7"};
    for (size_t k = 0; k < 4; k++)
        for (size_t before = 0; before < 8; before++) {
            const size_t length = strlen(character[k]);
            struct err e, p = {ERR_INPUT, ""}, s;
            char text[2000] = "";
            memset(text, '.', before);
            for (size_t n = before; n + length < sizeof text; n += length)
                memcpy(text + n, character[k], length);
            cr_assert_eq(err_set(&e, ERR_INPUT, "%s", text), -1);
            memcpy(p.msg, e.msg, sizeof p.msg);
            cr_assert_eq(err_prefix(&p, "file"), -1);
            cr_assert_eq(err_sys(&s, "%s", text), -1);
            for (const char *const *m = (const char *const[]){e.msg, p.msg, s.msg, NULL}; *m; m++) {
                const size_t n = strlen(*m);
                cr_assert_eq(utf8_check(*m, n), n, "characters of %zu bytes, %zu before", length, before);
                cr_assert(n > sizeof e.msg - 1 - 4, "%zu bytes are left", n);
            }
        }
}

/* A short one, and one that is not UTF-8, stay as they are. */
Test(err, other_sentences_stay)
{
    struct err e;
    char text[1100];
    err_set(&e, ERR_INPUT, "%s", "caf\xc3");
    cr_assert_str_eq(e.msg, "caf\xc3");
    memset(text, 0x80, sizeof text);
    text[sizeof text - 1] = 0;
    err_set(&e, ERR_INPUT, "%s", text);
    cr_assert_eq(strlen(e.msg), sizeof e.msg - 1);
}
