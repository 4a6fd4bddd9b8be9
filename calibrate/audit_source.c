/* Findings of a comparison with the original. */
#include "calibrate/audit.h"
#include "calibrate/signature.h"

#include <inttypes.h>

static int one_tensor(struct audit *a, const struct tensor_error *t, struct err *e)
{
    static const enum severity by_sign[] = {[SIGN_NONE] = FINDING_NOTE, [SIGN_GOOD] = FINDING_NOTE, [SIGN_ODD] = FINDING_WARNING, [SIGN_BAD] = FINDING_ERROR};
    const struct inspection *l = t->look;
    char text[320];
    struct place at;
    const enum signature s = signature_of(t, false, text, sizeof text, &at);
    if (t->bytes || !t->scheme)
        return t->sums.m.equal == t->sums.n ? 0 : audit_add(a, FINDING_ERROR, "changed", t->name, t->bytes ? NULL : &at, e, "%" PRIu64 " of %" PRIu64
                 " %s differ from the original's, and it is not quantized", t->sums.n - t->sums.m.equal, t->sums.n, t->bytes ? "bytes" : "values");
    if (s != SIGN_NONE && audit_add(a, by_sign[s], "made", t->name, s == SIGN_BAD ? &at : NULL, e, "%s", text))
        return -1;
    if (l && l->lost_blocks
        && audit_add(a, FINDING_ERROR, "lost-block", t->name, &l->first_lost, e, "%" PRIu64 " of %" PRIu64 " blocks have codes of 0 alone, and the original has other values there",
                     l->lost_blocks, l->blocks))
        return -1;
    return l && l->over_nan ? audit_add(a, FINDING_ERROR, "over-nan", t->name, NULL, e, "%" PRIu64 " values beyond the largest code became NaN", l->over_nan) : 0;
}

int audit_source(struct audit *a, const struct error_report *r, struct err *e)
{
    for (size_t i = 0; i < r->nonly_a; i++)
        if (audit_add(a, FINDING_ERROR, "lost", r->only_a[i], NULL, e, "is in the original and not here"))
            return -1;
    for (size_t i = 0; i < r->nonly_b; i++)
        if (audit_add(a, FINDING_NOTE, "extra", r->only_b[i], NULL, e, "is not in the original"))
            return -1;
    for (size_t i = 0; i < r->n; i++)
        if (one_tensor(a, &r->t[i], e))
            return -1;
    return 0;
}
