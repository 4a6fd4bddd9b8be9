/* How everything below cli/ says that something went wrong.
 *
 * A fallible function returns 0 or -1 (or a pointer or NULL) and leaves one
 * full sentence in a struct err: it names the file, the tensor and the number.
 * Nobody below cli/ prints or exits.  The kind is also the exit code. */
#ifndef OCTAVO_ERR_H
#define OCTAVO_ERR_H

#define MUST_USE __attribute__((warn_unused_result))

enum err_kind {
    ERR_NONE = 0,
    ERR_NO = 1,      /* a check failed: the answer is no */
    ERR_USAGE = 2,   /* the command line makes no sense */
    ERR_INPUT = 3,   /* the input is bad */
    ERR_SYSTEM = 4   /* I/O, memory, threads */
};

struct err {
    enum err_kind kind;
    char msg[1024];
};

/* Always returns -1, so that making and returning an error is one statement. */
int err_set(struct err *e, enum err_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* ERR_SYSTEM with ": strerror(errno)" after the sentence.  Returns -1. */
int err_sys(struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Puts "text: " before the sentence already in e.  Returns -1. */
int err_prefix(struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
