/* Is one model sound? Findings, each with a severity, a tensor and a place.
 *
 * First what the tables say (names, types, shapes, config.json), then what the bytes say: one pass over all of them, and one
 * of SHA-256 for tensors that are there twice. */
#ifndef OCTAVO_CALIBRATE_AUDIT_H
#define OCTAVO_CALIBRATE_AUDIT_H

#include "calibrate/error.h"

enum severity { FINDING_NOTE, FINDING_WARNING, FINDING_ERROR };
const char *severity_name(enum severity s);

struct finding {
    enum severity severity;
    const char *rule;                /* "nan-codes": what is looked for, one word */
    const char *tensor;              /* NULL: the model */
    struct place at;                 /* NO_PLACE: none; of scales: in the tensor of scales */
    const char *says;                /* a sentence without a full stop */
};
struct audit {
    struct finding *f;
    size_t n, cap, count[FINDING_ERROR + 1];
    size_t tensors, quantized;
    const char *convention;          /* by which the quantized weights are named; NULL: none was recognised */
    uint64_t bytes;
    struct arena mem;
};
struct audit_options {
    struct run_options run;
    bool digests;                    /* look for tensors that are there twice */
};
/* m is open and random. What is wrong with it is a finding; ERR_INPUT and ERR_SYSTEM are for what cannot be read at all. */
int audit_model(struct audit *a, struct model *m, const struct audit_options *o, struct err *e) MUST_USE;
/* Findings of a comparison with the original (error_measure with ERROR_INSPECT). */
int audit_source(struct audit *a, const struct error_report *r, struct err *e) MUST_USE;
void audit_sort(struct audit *a);    /* the most severe first, then by tensor */
void audit_free(struct audit *a);

/* ---- for audit_*.c -------------------------------------------------------------------------- */
int audit_add(struct audit *a, enum severity s, const char *rule, const char *tensor, const struct place *at, struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 7, 8))) MUST_USE;
/* Names, config.json, layers, experts: no bytes of tensors but those of small ones. */
int audit_tables(struct audit *a, const struct model *m, const struct grouping *g, struct err *e) MUST_USE;

#endif
