/* What the files of the tokenizer share. */
#ifndef OCTAVO_CALIBRATE_TOKENIZER_PARTS_H
#define OCTAVO_CALIBRATE_TOKENIZER_PARTS_H

#include "calibrate/split.h"
#include "calibrate/tokenizer.h"

#define NO_ID UINT32_MAX
#define METASPACE "\xe2\x96\x81"

enum model_kind { MODEL_BYTES, MODEL_BPE, MODEL_SCORES /* SentencePiece's BPE: of pairs the one with the best score */, MODEL_UNIGRAM };
struct word {
    const char *s;
    uint32_t n;
    float score;
};
struct special {
    const char *s;                   /* n bytes: not 0 */
    uint32_t n, id;
};
struct merge {
    uint64_t pair;                   /* left << 32 | right; UINT64_MAX: nothing */
    uint32_t rank, id;
};
/* One step that cuts pieces up: matches of a pattern are pieces of their own, and so is what lies between. */
struct cut {
    const struct pattern *pattern;   /* NULL: before each metaspace */
    bool matches_only;               /* what lies between is left out */
};
enum { CUTS = 8 };
struct tokenizer {
    enum model_kind kind;
    struct word *word;               /* by id; s NULL: no such token */
    size_t n, cap;
    uint32_t *slot;                  /* hash of words: id + 1 */
    size_t slots;
    struct merge *merge;             /* hash of pairs */
    size_t merges;                   /* its size */
    uint32_t byte[256];              /* the token of each byte, or NO_ID */
    bool byte_level;                 /* every byte is a token: words are bytes as they are */
    bool whole_first;                /* a piece that is a word is that word, whatever merges say */
    uint32_t unknown, bos;
    float least;                     /* unigram: the least score */
    bool must_be_nfc;
    const char *before;              /* put before the text, or NULL */
    bool before_once;                /* only where the text itself does not begin so */
    bool spaces;                     /* " " becomes the metaspace */
    struct cut cut[CUTS];
    size_t cuts;
    struct special *special;         /* tokens that are looked for before anything else, in the order of their bytes */
    size_t specials, special_cap;
    size_t longest;                  /* bytes of the longest word */
    struct arena mem;
};

/* s is copied. */
int word_add(struct tokenizer *t, uint32_t id, const char *s, size_t n, float score, struct err *e) MUST_USE;
/* After the last one. */
int words_index(struct tokenizer *t, struct err *e) MUST_USE;
uint32_t word_find(const struct tokenizer *t, const char *s, size_t n);
/* The same for n = 1, 2, 3 ... one after the other, with what *grown is left with by the one before: no byte is read twice. */
uint32_t word_longer(const struct tokenizer *t, const char *s, size_t n, uint64_t *grown);
int merges_room(struct tokenizer *t, size_t n, struct err *e) MUST_USE;
void merge_add(struct tokenizer *t, uint32_t left, uint32_t right, uint32_t rank, uint32_t id);
const struct merge *merge_find(const struct tokenizer *t, uint32_t left, uint32_t right);

int tokenizer_read(struct tokenizer *t, const char *path, struct err *e) MUST_USE;

struct ids {
    uint32_t *id;
    size_t n, cap;
    uint64_t tries;                  /* that patterns may still make */
};
int ids_add(struct ids *x, uint32_t id, struct err *e) MUST_USE;
/* A piece to ids: merges, or the best path. */
int piece_merge(const struct tokenizer *t, const char *s, size_t n, struct ids *out, struct err *e) MUST_USE;
int piece_best(const struct tokenizer *t, const char *s, size_t n, struct ids *out, struct err *e) MUST_USE;

#endif
