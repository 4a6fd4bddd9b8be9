/* Tokenizers against what tokenizers 0.23 and sentencepiece made of the same: pieces of pre-tokenizers, ids of real vocabularies,
 * and small ones written here. */
#include "calibrate/split.h"
#include "calibrate/tokenizer.h"
#include "tests/mk_gguf.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- pieces ------------------------------------------------------------------------------ */
static const char *const text[] = {
    "Hello world, I'm HERE\012\012  don't we'LL",
    "  spaces\011\011and\015\012\015\012 lines   \012",
    "\344\270\255\346\226\207\345\255\227\347\254\246\357\274\214123456 \343\203\206\343\202\271\343\203\210",
    "na\303\257ve caf\303\251 e\314\201x \302\252\302\272 \307\205",
    "x_y=f(1.5)+\"a\"#c\302\240d\343\200\200e",
    "\360\237\230\200\360\237\221\215\360\237\217\275 12a34\331\243\331\244\340\245\253",
};
enum { TEXTS = sizeof text / sizeof *text };
static const struct {
    const char *pattern, *pieces[TEXTS]; /* with bars between them */
} splits[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
     {"Hello| world|,| I|'m| HERE|\012\012 | don|'t| we|'|LL",
      " | spaces|\011|\011|and|\015\012\015\012| lines|   \012",
      "\344\270\255\346\226\207\345\255\227\347\254\246|\357\274\214|123456| \343\203\206\343\202\271\343\203\210",
      "na\303\257ve| caf\303\251| e|\314\201|x| \302\252\302\272| \307\205",
      "x|_|y|=|f|(|1|.|5|)+\"|a|\"#|c|\302\240|d|\343\200\200|e",
      "\360\237\230\200\360\237\221\215\360\237\217\275| 12|a|34\331\243\331\244\340\245\253"}},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     {"Hello| world|,| I|'m| HERE|\012\012| | don|'t| we|'LL",
      " | spaces|\011|\011and|\015\012\015\012| lines|   \012",
      "\344\270\255\346\226\207\345\255\227\347\254\246|\357\274\214|123|456| \343\203\206\343\202\271\343\203\210",
      "na\303\257ve| caf\303\251| e|\314\201x| \302\252\302\272| \307\205",
      "x|_y|=f|(|1|.|5|)+\"|a|\"#|c|\302\240d|\343\200\200e",
      "\360\237\230\200\360\237\221\215\360\237\217\275| |12|a|34\331\243|\331\244\340\245\253"}},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     {"Hello| world|,| I|'m| HERE|\012\012| | don|'t| we|'LL",
      " | spaces|\011|\011and|\015\012\015\012| lines|   \012",
      "\344\270\255\346\226\207\345\255\227\347\254\246|\357\274\214|1|2|3|4|5|6| \343\203\206\343\202\271\343\203\210",
      "na\303\257ve| caf\303\251| e|\314\201x| \302\252\302\272| \307\205",
      "x|_y|=f|(|1|.|5|)+\"|a|\"#|c|\302\240d|\343\200\200e",
      "\360\237\230\200\360\237\221\215\360\237\217\275| |1|2|a|3|4|\331\243|\331\244|\340\245\253"}},
    {"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     {"Hello| world|,| I|'m| HERE|\012\012| | don|'t| we|'LL",
      " | spaces|\011|\011and|\015\012\015\012| lines|   \012",
      "\344\270\255\346\226\207\345\255\227\347\254\246|\357\274\214|123456| \343\203\206\343\202\271\343\203\210",
      "na\303\257ve| caf\303\251| e\314\201x| \302\252\302\272| \307\205",
      "x|_y|=f|(|1|.|5|)+\"|a|\"#|c|\302\240d|\343\200\200e",
      "\360\237\230\200\360\237\221\215\360\237\217\275| |1|2a|34\331\243\331\244\340\245\253"}},
};

Test(tokenizer, pieces_are_those_of_the_patterns)
{
    for (size_t k = 0; k < sizeof splits / sizeof *splits; k++) {
        struct arena mem = {0};
        struct err e = {0};
        const struct pattern *p;
        cr_assert_eq(pattern_parse(&p, splits[k].pattern, &mem, &e), 0, "%s", e.msg);
        for (size_t i = 0; i < TEXTS; i++) {
            char got[512];
            size_t n = 0, at = 0, start, end;
            uint64_t tries = 10000;
            while (pattern_find(p, (const uint8_t *)text[i], strlen(text[i]), at, &start, &end, &tries)) {
                if (start > at) /* what lies between is a piece, too */
                    n += (size_t)snprintf(got + n, sizeof got - n, "%s%.*s", n ? "|" : "", (int)(start - at), text[i] + at);
                n += (size_t)snprintf(got + n, sizeof got - n, "%s%.*s", n ? "|" : "", (int)(end - start), text[i] + start);
                at = end;
            }
            if (text[i][at])
                snprintf(got + n, sizeof got - n, "|%s", text[i] + at);
            cr_assert_str_eq(got, splits[k].pieces[i], "pattern %zu", k);
        }
        arena_free(&mem);
    }
}

Test(tokenizer, patterns_that_are_not_known_are_named)
{
    static const char *const bad[] = {"a$", "^a", "(a)+", "\\p{Lu}+", "a*?", "[a&&b]", "(?<=a)b", "\\b", "a{2", "(a", "[a", "\\1", "a)b"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct arena mem = {0};
        struct err e = {0};
        const struct pattern *p;
        cr_assert_eq(pattern_parse(&p, bad[i], &mem, &e), -1, "%s", bad[i]);
        cr_assert(e.kind == ERR_INPUT && strstr(e.msg, "not known here"), "%s", e.msg);
        arena_free(&mem);
    }
}

/* ---- ids ----------------------------------------------------------------------------------- */
static void check_ids(const struct tokenizer *t, const char *s, const char *want)
{
    uint32_t *id;
    size_t n, k = 0;
    struct err e = {0};
    char got[1024] = "";
    cr_assert_eq(tokenizer_encode(t, s, strlen(s), &id, &n, &e), 0, "%s", e.msg);
    for (size_t i = 0; i < n; i++)
        k += (size_t)snprintf(got + k, sizeof got - k, "%s%u", i ? ", " : "", id[i]);
    cr_assert_str_eq(got, want, "'%s'", s);
    free(id);
}

static struct tokenizer *made(const char *json, struct err *e)
{
    char path[] = "/tmp/octavo-test-XXXXXX.json";
    struct tokenizer *t;
    const int fd = mkstemps(path, 5);
    cr_assert(fd >= 0);
    close(fd);
    mk_write(path, json, strlen(json));
    *e = (struct err){0};
    const int r = tokenizer_open(&t, path, e);
    unlink(path);
    cr_assert_eq(r == 0, t != NULL);
    return t;
}

Test(tokenizer, real_vocabularies)
{
    static const struct {
        const char *file, *text, *ids;
        uint32_t bos;
    } want[] = {
        {"gguf-vocab/ggml-vocab-gpt-2.gguf", "Hello world", "15496, 995", UINT32_MAX},
        {"gguf-vocab/ggml-vocab-gpt-2.gguf", "  def f(x):\012\011return x**2", "220, 825, 277, 7, 87, 2599, 198, 197, 7783, 2124, 1174, 17", UINT32_MAX},
        {"gguf-vocab/ggml-vocab-gpt-2.gguf", "I'm 123456 na\303\257ve \344\270\255\346\226\207 \360\237\230\200", "40, 1101, 17031, 29228, 41492, 220, 40792, 23877, 229, 30325, 222", UINT32_MAX},
        {"gguf-vocab/ggml-vocab-gpt-2.gguf", "\012\012   ", "628, 220, 220, 220", UINT32_MAX},
        {"gguf-vocab/ggml-vocab-deepseek-coder.gguf", "Hello world", "17535, 1835", 32013},
        {"gguf-vocab/ggml-vocab-deepseek-coder.gguf", "  def f(x):\012\011return x**2", "207, 972, 267, 7, 87, 1772, 185, 3404, 1371, 742, 17", 32013},
        {"gguf-vocab/ggml-vocab-deepseek-coder.gguf", "I'm 123456 na\303\257ve \344\270\255\346\226\207 \360\237\230\200", "40, 6, 76, 207, 16, 17, 18, 19, 20, 21, 10012, 2854, 312, 207, 759, 1919, 12394, 233, 209", 32013},
        {"gguf-vocab/ggml-vocab-deepseek-coder.gguf", "\012\012   ", "185, 185, 315", 32013},
        {"gguf-vocab/ggml-vocab-llama-spm.gguf", "Hello world", "15043, 3186", 1},
        {"gguf-vocab/ggml-vocab-llama-spm.gguf", "  def f(x):\012\011return x**2", "259, 822, 285, 29898, 29916, 1125, 13, 12, 2457, 921, 1068, 29906", 1},
        {"gguf-vocab/ggml-vocab-llama-spm.gguf", "I'm 123456 na\303\257ve \344\270\255\346\226\207 \360\237\230\200", "306, 29915, 29885, 29871, 29896, 29906, 29941, 29946, 29945, 29953, 1055, 30085, 345, 29871, 30275, 30333, 29871, 243, 162, 155, 131", 1},
        {"gguf-vocab/ggml-vocab-llama-spm.gguf", "\012\012   ", "29871, 13, 13, 1678", 1},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        char *path = mk_data(want[i].file);
        struct tokenizer *t;
        struct err e = {0};
        if (!path)
            return;
        cr_assert_eq(tokenizer_open(&t, path, &e), 0, "%s", e.msg);
        check_ids(t, want[i].text, want[i].ids);
        cr_assert_eq(tokenizer_bos(t), want[i].bos);
        tokenizer_close(t);
        free(path);
    }
    char *bert = mk_data("gguf-vocab/ggml-vocab-bert-bge.gguf");
    struct tokenizer *t;
    struct err e = {0};
    cr_assert_eq(tokenizer_open(&t, bert, &e), -1);
    cr_assert(strstr(e.msg, "'bert'"), "%s", e.msg);
    free(bert);
}

static const char unigram[] =
    "{\"version\": \"1.0\", \"added_tokens\": [], \"normalizer\": null, \"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"\342\226\201\", \"prepend_scheme\": \"always\", \"split\": true}, \"post_processor\": null, \"decoder\": null, \"model\": {\"type\": \"Unigram\", \"unk_id\": 0, \"vocab\": [[\"<unk>\", 0.0], [\"\342\226\201\", -2.0], [\"a\", -3.0], [\"b\", -3.5], [\"ab\", -4.0], [\"\342\226\201ab\", -4.5], [\"ba\", -3.25], [\"abab\", -6.0], [\"c\", -5.0]], \"byte_fallback\": false}}";
static const char pieces[] =
    "{\"type\": \"BPE\", \"dropout\": null, \"unk_token\": \"<unk>\", \"fuse_unk\": true, \"byte_fallback\": true, \"ignore_merges\": false, \"vocab\": {\"<unk>\": 0, \"<s>\": 1, \"<0x0A>\": 2, \"<0xC3>\": 3, \"<0xA9>\": 4, \"\342\226\201\": 5, \"a\": 6, \"b\": 7, \"ab\": 8, \"\342\226\201ab\": 9, \"abab\": 10, \"\342\226\201\342\226\201\": 11, \"ba\": 12}, \"merges\": [\"\342\226\201 \342\226\201\", \"a b\", \"\342\226\201 ab\", \"ab ab\", \"b a\"]}";

Test(tokenizer, unigram_and_characters)
{
    static const char *const best[][2] = {{"ab ba abab", "5, 1, 6, 1, 7"}, {"aabbab c", "1, 2, 4, 6, 3, 1, 8"}, {"zzab qa", "1, 0, 4, 1, 0, 2"}, {"", ""}, {" a", "1, 2"}};
    static const char *const merged[][2] = {{"ab ba abab", "9, 5, 12, 9, 8"}, {"\012\303\251  a", "5, 2, 3, 4, 11, 6"}, {"zzab<s>ba", "5, 0, 8, 1, 5, 12"}, {"  ", "11, 5"}};
    struct err e;
    struct tokenizer *t = made(unigram, &e);
    cr_assert(t, "%s", e.msg);
    for (size_t i = 0; i < sizeof best / sizeof *best; i++)
        check_ids(t, best[i][0], best[i][1]);
    tokenizer_close(t);
    char json[2048];
    snprintf(json, sizeof json,
             "{\"added_tokens\":[{\"id\":1,\"content\":\"<s>\"}],\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\","
             "\"prepend\":\"\342\226\201\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\342\226\201\"}]},"
             "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},{\"Sequence\":"
             "{\"id\":\"A\"}}]},\"model\":%s}", pieces);
    cr_assert((t = made(json, &e)), "%s", e.msg);
    for (size_t i = 0; i < sizeof merged / sizeof *merged; i++)
        check_ids(t, merged[i][0], merged[i][1]);
    cr_assert_eq(tokenizer_bos(t), 1);
    tokenizer_close(t);
}

/* Ids of a, b and added tokens of every kind, as tokenizers 0.23.3 has them. */
#define AB_MODEL "\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"a\":1,\"b\":2,\" \":3,\"\342\226\201\":4,\"!\":5,\"[\":6,\"]\":7},\"merges\":[]}"
Test(tokenizer, added_tokens_take_white_space_and_come_in_two_passes)
{
    static const char *const plain[][2] = {
        {"a <l> b", "1, 8, 3, 2"},       /* lstrip */
        {"a <r> b", "1, 3, 9, 2"},       /* rstrip */
        {"a <x> b", "1, 10, 2"},          /* both */
        {" <l>  <x>\n<l>", "8, 10, 11, 8"}, /* what one has taken is not there for the next one */
        {"<r> \n b", "9, 11, 3, 2"},     /* "\n" is found in the white space that <r> takes */
        {"<r>\343\200\200\302\240a\302\240\342\200\203<l>", "9, 1, 8"},
        {"\302<l>", "0, 8"},
        {"[b]a", "6, 12, 1"},             /* "b]" is not normalized and goes before "[b", which is */
        {"[ba", "13, 1"},
        {"a <w> b", "1, 3, 14, 3, 2"},
        {"<w>", "14"},
        {"[<w>]", "6, 14, 7"},
    };
    static const struct {
        const char *text, *says;
    } bad[] = {{"a<w>", "U+0061"}, {"<w>_", "U+005F"}, {"\344\270\255<w>", "U+4E2D"}, {"<w>\342\200\277", "U+203F"}};
    struct err e;
    struct tokenizer *t = made("{\"added_tokens\":[{\"id\":8,\"content\":\"<l>\",\"lstrip\":true},{\"id\":9,\"content\":\"<r>\",\"rstrip\":true},"
                               "{\"id\":10,\"content\":\"<x>\",\"lstrip\":true,\"rstrip\":true},{\"id\":11,\"content\":\"\\n\"},{\"id\":12,\"content\":\"b]\","
                               "\"normalized\":false},{\"id\":13,\"content\":\"[b\",\"normalized\":true},{\"id\":14,\"content\":\"<w>\","
                               "\"single_word\":true}]," AB_MODEL "}", &e);
    uint32_t *id;
    size_t n;
    cr_assert(t, "%s", e.msg);
    cr_assert_eq(tokenizer_size(t), 15);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        check_ids(t, plain[i][0], plain[i][1]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_eq(tokenizer_encode(t, bad[i].text, strlen(bad[i].text), &id, &n, &e), -1, "%s", bad[i].text);
        cr_assert(e.kind == ERR_INPUT && strstr(e.msg, "'<w>' beside") && strstr(e.msg, bad[i].says), "%s", e.msg);
    }
    tokenizer_close(t);
}

/* A token that is normalized is looked for as the normalizer makes it, behind what that puts before a text. */
Test(tokenizer, normalized_tokens_are_those_of_the_normalizer)
{
    struct err e;
    struct tokenizer *t = made("{\"added_tokens\":[{\"id\":2,\"content\":\"b\",\"normalized\":true},{\"id\":8,\"content\":\"b b\",\"normalized\":true},"
                               "{\"id\":7,\"content\":\"]\"}],\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
                               "\"\342\226\201\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\342\226\201\"}]}," AB_MODEL "}", &e);
    cr_assert(t, "%s", e.msg);
    check_ids(t, "bab", "2, 1, 2");
    check_ids(t, "a b b b", "4, 1, 8, 2");
    check_ids(t, "a]b]ab", "4, 1, 7, 2, 7, 4, 1, 2");
    tokenizer_close(t);
    t = made("{\"added_tokens\":[{\"id\":2,\"content\":\"b\"},{\"id\":8,\"content\":\"e\314\201\",\"normalized\":true}],\"normalizer\":"
             "{\"type\":\"NFC\"}," AB_MODEL "}", &e);
    cr_assert_null(t);
    cr_assert(e.kind == ERR_INPUT && strstr(e.msg, "added token 1: ") && strstr(e.msg, "U+0301"), "%s", e.msg);
}

Test(tokenizer, what_comes_before_a_text_and_what_is_unknown_in_it)
{
    static const struct {
        const char *scheme, *ids[3];
    } want[] = {{"always", {"4, 1, 10, 4, 2", "4, 1, 10, 4, 2", "10, 4, 1"}},
                {"first", {"4, 1, 10, 2", "4, 1, 10, 4, 2", "10, 1"}},
                {"never", {"1, 10, 2", "4, 1, 10, 4, 2", "10, 1"}}};
    struct err e;
    for (int i = 0; i < 3; i++) {
        char json[1024];
        snprintf(json, sizeof json, "{\"added_tokens\":[{\"id\":10,\"content\":\"<s>\"}],\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":"
                 "\"\342\226\201\",\"prepend_scheme\":\"%s\"}," AB_MODEL "}", want[i].scheme);
        struct tokenizer *t = made(json, &e);
        cr_assert(t, "%s", e.msg);
        check_ids(t, "a<s>b", want[i].ids[0]);
        check_ids(t, " a<s> b", want[i].ids[1]);
        check_ids(t, "<s>a", want[i].ids[2]);
        tokenizer_close(t);
    }
    struct tokenizer *t = made("{" AB_MODEL "}", &e);
    cr_assert(t, "%s", e.msg);
    check_ids(t, "xya", "0, 0, 1"); /* fuse_unk is false where it is not said */
    tokenizer_close(t);
    t = made("{\"pre_tokenizer\":{\"type\":\"Digits\"},\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"fuse_unk\":true,\"vocab\":{\"?\":0}}}", &e);
    cr_assert(t, "%s", e.msg);
    check_ids(t, "xy12", "0, 0"); /* one of each piece */
    tokenizer_close(t);
}

/* Pieces of the longest length, and texts that nearly have them everywhere, cost little. */
Test(tokenizer, long_pieces_of_a_unigram_model, .timeout = 20)
{
    enum { LONGEST = 4096, TEXT = 400000 };
    struct err e;
    char *json = malloc(2 * LONGEST + 400), *line = malloc(TEXT + 1);
    for (size_t n = LONGEST; n <= LONGEST + 1; n++) {
        size_t k = (size_t)sprintf(json, "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"?\",-9.0],[\"a\",-1.0],[\"");
        memset(json + k, 'a', n);
        strcpy(json + k + n, "\",-2.0],[\"aa\",-5.0],[\"aa\",-1.5]]}}");
        struct tokenizer *t = made(json, &e);
        if (n > LONGEST) {
            cr_assert_null(t);
            cr_assert(e.kind == ERR_INPUT && strstr(e.msg, "piece 2 has 4097 bytes"), "%s", e.msg);
            break;
        }
        uint32_t *id;
        size_t count;
        cr_assert(t, "%s", e.msg);
        check_ids(t, "aaaba", "1, 4, 0, 1"); /* of equal pieces the last one counts; of equal ways the first one found */
        memset(line, 'a', TEXT);
        line[TEXT - 1] = 'b';
        cr_assert_eq(tokenizer_encode(t, line, TEXT, &id, &count, &e), 0, "%s", e.msg);
        size_t long_ones = 0;
        for (size_t i = 0; i < count; i++)
            long_ones += id[i] == 2;
        cr_assert_eq(long_ones, (TEXT - 1) / LONGEST);
        free(id);
        tokenizer_close(t);
    }
    free(line);
    free(json);
}

/* Many merges in one long piece, against merging the first pair of the lowest rank over and over. */
Test(tokenizer, merges_in_order_of_rank)
{
    enum { LETTERS = 4, MERGES = 60, LENGTH = 3000 };
    char word[LETTERS + MERGES][64], json[16384], line[LENGTH + 1];
    size_t left[MERGES], right[MERGES], n = 0, at, count = LENGTH;
    uint32_t state = 17, want[LENGTH];
    for (int i = 0; i < LETTERS; i++)
        snprintf(word[i], sizeof word[i], "%c", 'a' + i);
    for (int m = 0; m < MERGES;) {
        bool is_new = true;
        state = state * 1664525u + 1013904223u;
        left[m] = (state >> 8) % (size_t)(LETTERS + m);
        right[m] = (state >> 18) % (size_t)(LETTERS + m);
        char both[64];
        snprintf(both, sizeof both, "%.30s%.30s", word[left[m]], word[right[m]]);
        strcpy(word[LETTERS + m], both);
        for (int i = 0; i < LETTERS + m; i++)
            is_new &= strcmp(word[i], word[LETTERS + m]) != 0;
        m += is_new && strlen(word[LETTERS + m]) == strlen(word[left[m]]) + strlen(word[right[m]]);
    }
    n += (size_t)snprintf(json + n, sizeof json - n, "{\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (int i = 0; i < LETTERS + MERGES; i++)
        n += (size_t)snprintf(json + n, sizeof json - n, "%s\"%s\":%d", i ? "," : "", word[i], i);
    n += (size_t)snprintf(json + n, sizeof json - n, "},\"merges\":[");
    for (int m = 0; m < MERGES; m++)
        n += (size_t)snprintf(json + n, sizeof json - n, "%s[\"%s\",\"%s\"]", m ? "," : "", word[left[m]], word[right[m]]);
    snprintf(json + n, sizeof json - n, "]}}");
    for (int i = 0; i < LENGTH; i++) {
        state = state * 1664525u + 1013904223u;
        want[i] = state >> 30;
        line[i] = (char)('a' + want[i]);
    }
    line[LENGTH] = 0;
    for (;;) {
        size_t best = MERGES;
        for (size_t i = 0; i + 1 < count; i++)
            for (size_t m = 0; m < best; m++)
                if (want[i] == left[m] && want[i + 1] == right[m]) {
                    best = m;
                    at = i;
                }
        if (best == MERGES)
            break;
        want[at] = (uint32_t)(LETTERS + best);
        memmove(want + at + 1, want + at + 2, (count - at - 2) * sizeof *want);
        count--;
    }
    struct err e;
    struct tokenizer *t = made(json, &e);
    uint32_t *id;
    size_t got;
    cr_assert(t, "%s", e.msg);
    cr_assert_eq(tokenizer_encode(t, line, LENGTH, &id, &got, &e), 0, "%s", e.msg);
    cr_assert_eq(got, count);
    cr_assert_arr_eq(id, want, count * sizeof *id);
    free(id);
    tokenizer_close(t);
}

Test(tokenizer, what_is_refused)
{
    static const struct {
        const char *json, *says;
    } bad[] = {
        {"[1]", "vocabulary"},
        {"{\"model\":", "line 1"},
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0}}}", "'WordPiece'"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{}}}", "no vocabulary"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1}}}", "'a' has no id"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":99999999999}}}", "'a' has no id"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}", "merge 0"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[7]}}", "merge 0"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", "piece 0"},
        {"{\"normalizer\":{\"type\":\"NFKC\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", "'NFKC'"},
        {"{\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", "'BertPreTokenizer'"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a$\"},\"behavior\":\"Isolated\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", "'$'"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"end_of_word_suffix\":\"</w>\"}}", "end_of_word_suffix '</w>'"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"continuing_subword_prefix\":\"##\"}}", "continuing_subword_prefix '##'"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0}}}", "'a' and 'b' both have the id 0"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":[[\"a\",0]]}}", "a list"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":{\"a\":0}}}", "no list"},
        {"{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",-1e300]]}}", "piece 0 has the score -1e+300"},
        {"{\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}}]},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", "begin with '<s>'"},
        {"{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a{-1}\"},\"behavior\":\"Isolated\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", "'{-1}'"},
        {"{\"added_tokens\":[{\"id\":\"x\"}],\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", "added token 0"},
        {"{\"added_tokens\":[{\"id\":1,\"content\":\"b\"}]," AB_MODEL "}", "'b', has id 1, and 2 in the vocabulary"},
        {"{\"added_tokens\":[{\"id\":1,\"content\":\"b\"}],\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"b\",-1.0]]}}", "'b', has id 1, and 0 in the vocabulary"},
        {"{\"added_tokens\":{}," AB_MODEL "}", "added_tokens is no array"},
        {"{\"added_tokens\":[{\"id\":1,\"content\":\"c\",\"lstrip\":\"yes\"}]," AB_MODEL "}", "lstrip of added token 0"},
        {"{\"normalizer\":\"NFC\"," AB_MODEL "}", "normalizer is no object"},
        {"{\"normalizer\":false," AB_MODEL "}", "normalizer is no object"},
        {"{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[null]}," AB_MODEL "}", "normalizer is no object"},
        {"{\"normalizer\":{\"type\":\"Sequence\"}," AB_MODEL "}", "'Sequence'"},
        {"{\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\" \"}," AB_MODEL "}", "Prepend"},
        {"{\"pre_tokenizer\":[{\"type\":\"ByteLevel\"}]," AB_MODEL "}", "pre_tokenizer is no object"},
        {"{\"pre_tokenizer\":0," AB_MODEL "}", "pre_tokenizer is no object"},
        {"{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":{}}," AB_MODEL "}", "'Sequence'"},
        {"{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"prepend_scheme\":\"last\"}," AB_MODEL "}", "prepend_scheme 'last'"},
        {"{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"ByteLevel\"},{\"type\":\"Digits\"}]}," AB_MODEL "}", "'Digits' after another"},
        {"{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"},{\"type\":\"Metaspace\"}]}," AB_MODEL "}", "'Metaspace' after another"},
        {"{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":true}]}," AB_MODEL "}",
         "'ByteLevel' after another"}};
    struct err e;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_null(made(bad[i].json, &e), "%zu", i);
        cr_assert(e.kind == ERR_INPUT && strstr(e.msg, bad[i].says), "%zu: %s", i, e.msg);
    }
    struct tokenizer *t = made("{\"normalizer\":{\"type\":\"NFC\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", &e);
    uint32_t *id;
    size_t n;
    cr_assert(t, "%s", e.msg);
    cr_assert_eq(tokenizer_encode(t, "ab", 2, &id, &n, &e), -1);
    cr_assert(strstr(e.msg, "no token for 'b'"), "%s", e.msg);
    cr_assert_eq(tokenizer_encode(t, "e\314\201", 3, &id, &n, &e), -1);
    cr_assert(strstr(e.msg, "U+0301 at byte 1"), "%s", e.msg);
    tokenizer_close(t);
}

Test(tokenizer, ids_that_are_none_and_tokens_that_are_empty, .timeout = 20)
{
    struct err e;
    uint32_t *id;
    size_t n;
    struct tokenizer *t = made("{\"model\":{\"type\":\"Unigram\",\"unk_id\":-2,\"vocab\":[[\"a\",-1.0]]}}", &e);
    cr_assert(t, "%s", e.msg);
    cr_assert_eq(tokenizer_encode(t, "ab", 2, &id, &n, &e), -1);
    cr_assert(strstr(e.msg, "no token for 'b'"), "%s", e.msg);
    tokenizer_close(t);
    t = made("{\"added_tokens\":[{\"id\":1,\"content\":\"b\"},{\"id\":1,\"content\":\"\"}],\"model\":{\"type\":\"BPE\",\"unk_token\":\"a\",\"vocab\":{\"a\":0}}}", &e);
    cr_assert(t, "%s", e.msg);
    cr_assert_eq(tokenizer_encode(t, "\0", 1, &id, &n, &e), 0, "%s", e.msg);
    cr_assert(n == 1 && id[0] == 0);
    free(id);
    tokenizer_close(t);
}

/* What a file may ask for that takes for ever: it is refused, or done in time. */
Test(tokenizer, work_has_a_bound, .timeout = 60)
{
    enum { TEXT = 1 << 17, MANY = 100000 };
    static const struct {
        const char *regex;
        char c;
    } slow[] = {{"\\\\s*\\\\s*\\\\s*\\\\s*\\\\s*\\\\s*x", ' '}, {"(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)(a|a)b", 'a'}};
    char *line = malloc(TEXT), json[1024];
    struct err e = {0};
    uint32_t *id;
    size_t n;
    for (size_t i = 0; i < 2; i++) {
        snprintf(json, sizeof json, "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"%s\"},\"behavior\":\"Isolated\"},"
                 "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\" \":1}}}", slow[i].regex);
        struct tokenizer *t = made(json, &e);
        cr_assert(t, "%s", e.msg);
        memset(line, slow[i].c, TEXT);
        cr_assert_eq(tokenizer_encode(t, line, TEXT, &id, &n, &e), -1);
        cr_assert(e.kind == ERR_INPUT && strstr(e.msg, "takes too long"), "%s", e.msg);
        tokenizer_close(t);
    }
    /* More alternatives than anybody writes, and a piece that would be looked for at each place. */
    struct buf b = {0};
    cr_assert_eq(buf_puts(&b, "{\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"", &e), 0);
    for (size_t i = 0; i < MANY; i++)
        cr_assert_eq(buf_puts(&b, "a|", &e), 0);
    cr_assert_eq(buf_puts(&b, "b\"},\"behavior\":\"Isolated\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", &e), 0);
    cr_assert_null(made(b.s, &e));
    cr_assert(strstr(e.msg, "not known here"), "%s", e.msg);
    b.n = 0;
    cr_assert_eq(buf_puts(&b, "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",-1.0],[\"", &e), 0);
    for (size_t i = 0; i < 5000; i++)
        cr_assert_eq(buf_puts(&b, "bbbb", &e), 0);
    cr_assert_eq(buf_puts(&b, "\",-2.0]]}}", &e), 0);
    cr_assert_null(made(b.s, &e));
    cr_assert(strstr(e.msg, "20000 bytes"), "%s", e.msg);
    /* Many special tokens that begin with the same byte: the longest that is there is found, not the first. */
    b.n = 0;
    cr_assert_eq(buf_puts(&b, "{\"added_tokens\":[{\"id\":1,\"content\":\"<\"}", &e), 0);
    for (int i = 2; i < MANY; i++)
        cr_assert_eq(buf_printf(&b, &e, ",{\"id\":%d,\"content\":\"<%d\"}", i, i), 0);
    cr_assert_eq(buf_puts(&b, "],\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", &e), 0);
    struct tokenizer *t = made(b.s, &e);
    cr_assert(t, "%s", e.msg);
    check_ids(t, "<a<7<77<777<77777<77777a", "1, 0, 7, 77, 777, 77777, 77777, 0");
    memset(line, '<', TEXT);
    cr_assert_eq(tokenizer_encode(t, line, TEXT, &id, &n, &e), 0, "%s", e.msg);
    cr_assert(n == TEXT && id[0] == 1 && id[TEXT - 1] == 1);
    free(id);
    tokenizer_close(t);
    buf_free(&b);
    free(line);
}

/* Lists of a GGUF that are shorter than that of the tokens, or of another kind, and ids of no token. */
static int of_gguf(uint64_t scores, uint64_t types, float first, uint32_t bos, struct err *e)
{
    char path[] = "/tmp/octavo-test-XXXXXX.gguf";
    struct tokenizer *t;
    struct buf b = gg_head(3, 0, 5);
    const int fd = mkstemps(path, 5);
    cr_assert(fd >= 0);
    close(fd);
    gg_key(&b, "tokenizer.ggml.model", 8);
    gg_str(&b, "llama");
    gg_key(&b, "tokenizer.ggml.tokens", 9);
    mk_le(&b, 8, 4);
    mk_le(&b, 2, 8);
    gg_str(&b, "a");
    gg_str(&b, "<s>");
    gg_key(&b, "tokenizer.ggml.scores", 9);
    mk_le(&b, 6, 4);
    mk_le(&b, scores, 8);
    for (uint64_t i = 0; i < scores; i++) {
        uint32_t bits;
        memcpy(&bits, &first, 4);
        mk_le(&b, i ? 0 : bits, 4);
    }
    gg_key(&b, "tokenizer.ggml.token_type", 9);
    mk_le(&b, 5, 4);
    mk_le(&b, types, 8);
    for (uint64_t i = 0; i < types; i++)
        mk_le(&b, i ? 3 : 1, 4);
    gg_key(&b, "tokenizer.ggml.bos_token_id", 4);
    mk_le(&b, bos, 4);
    mk_write(path, b.s, b.n);
    *e = (struct err){0};
    const int r = tokenizer_open(&t, path, e);
    tokenizer_close(t);
    unlink(path);
    buf_free(&b);
    return r;
}

Test(tokenizer, lists_of_a_gguf_belong_together)
{
    struct err e;
    cr_assert_eq(of_gguf(2, 2, -1, 1, &e), 0, "%s", e.msg);
    cr_assert(of_gguf(1, 2, -1, 1, &e) == -1 && e.kind == ERR_INPUT && strstr(e.msg, "scores has no number for token 1"), "%s", e.msg);
    cr_assert(of_gguf(2, 1, -1, 1, &e) == -1 && e.kind == ERR_INPUT && strstr(e.msg, "token_type has no number for token 1"), "%s", e.msg);
    cr_assert(of_gguf(2, 2, NAN, 1, &e) == -1 && e.kind == ERR_INPUT && strstr(e.msg, "scores has no number for token 0"), "%s", e.msg);
    cr_assert(of_gguf(2, 2, -1, 2, &e) == -1 && e.kind == ERR_INPUT && strstr(e.msg, "bos_token_id is none of 2 tokens"), "%s", e.msg);
}
