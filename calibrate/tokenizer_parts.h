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
    double score;
};
/* A token that is looked for before anything else. */
struct added {
    const char *s;                   /* as the normalizer makes it, where it is looked for after that */
    uint32_t n, id;
    bool normalized;                 /* looked for after the normalizer, in what the others leave */
    bool lstrip, rstrip;             /* takes the white space on that side */
    bool single_word;                /* counts only where no word goes on beside it */
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
enum { CUTS = 8, LONGEST_PIECE = 4096 /* bytes of a piece of a unigram model */ };
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
    bool fuse;                       /* unknown characters side by side are one token */
    double least;                    /* unigram: the least score */
    const struct word **sorted;      /* unigram: words by their bytes, the shorter first */
    size_t sorteds;
    bool must_be_nfc;                /* the normalizer */
    const char *before;              /* it puts this before the text, or NULL */
    bool spaces;                     /* it makes " " the metaspace */
    const char *prefix;              /* the pre-tokenizer puts this before what does not begin so, or NULL */
    bool prefix_first;               /* only where the whole text begins */
    bool metaspace;                  /* it makes " " the metaspace */
    struct cut cut[CUTS];
    size_t cuts;
    struct added *added;             /* those that are looked for first, then the normalized; each in the order of their bytes */
    size_t addeds, addeds_plain, added_cap;
    uint8_t begins[256];             /* bytes that they begin with: 1, or 2 where normalized */
    size_t longest;                  /* bytes of the longest word */
    struct arena mem;
};

/* s is copied. */
int word_add(struct tokenizer *t, uint32_t id, const char *s, size_t n, double score, struct err *e) MUST_USE;
/* Also where no word has that id. An empty one is none. */
int added_add(struct tokenizer *t, struct added a, struct err *e) MUST_USE;
void added_sort(struct tokenizer *t); /* after the last one of these */
/* After the last one. */
int words_index(struct tokenizer *t, struct err *e) MUST_USE;
/* For piece_best(). */
int words_sort(struct tokenizer *t, struct err *e) MUST_USE;
uint32_t word_find(const struct tokenizer *t, const char *s, size_t n);
int merges_room(struct tokenizer *t, size_t n, struct err *e) MUST_USE;
void merge_add(struct tokenizer *t, uint32_t left, uint32_t right, uint32_t rank, uint32_t id);
const struct merge *merge_find(const struct tokenizer *t, uint32_t left, uint32_t right);

/* What the normalizer makes of *s; b is the memory of what changes (buf_free()). */
int normalize(const struct tokenizer *t, const char **s, size_t *n, struct buf *b, struct err *e) MUST_USE;

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
