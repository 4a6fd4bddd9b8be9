/* The rows behind names.h.  Only formats/names*.c include this. */
#ifndef OCTAVO_NAMES_TABLE_H
#define OCTAVO_NAMES_TABLE_H

#include <stdbool.h>
#include <stddef.h>

enum name_kind {
    NAME_SAME,     /* the same tensor on both sides */
    NAME_Q,        /* rows in the order of rotary embedding, where the architecture has it so: of all heads, */
    NAME_K,        /* of the key heads */
    NAME_EXPERTS,  /* one tensor per expert {E} here, a stack of them there */
    NAME_VECTOR,   /* [1, N] here, [N] there */
    NAME_DROPPED,  /* exists on one side only (the other name is NULL); why says why nothing is lost */
    NAME_REFUSED,  /* the other side has other values; why says which */
};
/* {L} is a layer and {E} an expert, in decimal. A name that ends in ".weight" or ".bias", or is marked whole, is
 * matched whole; else it is a module, and what follows it ("." and a part such as "weight") is kept. */
struct name_row {
    const char *gguf, *hf;
    enum name_kind kind;
    bool whole;
    const char *why;
};

enum { ARCH_TYPES = 4, ARCH_TABLES = 8 };
struct name_arch {
    const char *gguf;                            /* general.architecture */
    const char *model_type[ARCH_TYPES];          /* of config.json; the rest NULL */
    bool permutes;                               /* NAME_Q and NAME_K mean something */
    const struct name_row *table[ARCH_TABLES];   /* each ends with an empty row; the rest NULL */
};
extern const struct name_arch name_arch_table[];
extern const size_t name_arch_count;

/* Architectures whose tensors have other values in a GGUF: what is known of them is that. Globs of either name. */
struct name_refused {
    const char *pattern, *why;
};
extern const struct name_refused name_refused_table[];
extern const size_t name_refused_count;

#endif
