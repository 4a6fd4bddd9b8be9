/* A strict JSON scanner for the large, simple objects of model files.
 *
 * A header of 92,000 tensors is 14 MB of JSON, and the index of a sharded model
 * is as long.  A tree of nodes for them takes longer to build than the file
 * takes to open, so the readers walk the text instead: each value is asked for
 * by the type it must have.  Strings are decoded in place (what an escape
 * stands for is never longer than the escape) and end in NUL.
 *
 * Every function returns 0, or -1 after one sentence in the struct err that
 * jscan_init was given. */
#ifndef OCTAVO_JSCAN_H
#define OCTAVO_JSCAN_H

#include "formats/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values that nobody asked for may nest this deep. */
enum { JSCAN_MAX_DEPTH = 64 };

struct jscan {
    uint8_t *p, *end;      /* next byte, and the one after the last */
    const uint8_t *start;
    const char *path;      /* of the file, for messages */
    const char *what;      /* "header": what the text is */
    const char *tensor;    /* the tensor whose entry this is, or NULL */
    struct err *e;
};

/* The first byte of text that is not UTF-8 (RFC 3629), or n. */
size_t utf8_check(const void *text, size_t n);

/* Checks that all of text is UTF-8.  The text is changed by scanning it. */
int jscan_init(struct jscan *j, const char *path, const char *what, void *text, size_t n,
               struct err *e) MUST_USE;
/* "path: tensor 'x': header byte 17: message".  Returns -1. */
int jscan_fail(const struct jscan *j, const char *message);

/* Steps over '{' or '['. */
int jscan_begin(struct jscan *j, char bracket) MUST_USE;
/* Steps to the next member: 1 and j at its key or value, 0 at the closing
 * bracket (which is stepped over), -1 on error.  *first is true before the first. */
int jscan_next(struct jscan *j, char bracket, bool *first) MUST_USE;
/* A string; *s lives in the text.  jscan_key also steps over the colon. */
int jscan_string(struct jscan *j, char **s, size_t *n) MUST_USE;
int jscan_key(struct jscan *j, char **s, size_t *n) MUST_USE;
/* A whole number 0 .. 2^64 - 1, without sign, fraction or exponent. */
int jscan_u64(struct jscan *j, uint64_t *x) MUST_USE;
/* Any value. */
int jscan_skip(struct jscan *j) MUST_USE;
/* Only white space is left. */
int jscan_end(struct jscan *j) MUST_USE;

#endif
