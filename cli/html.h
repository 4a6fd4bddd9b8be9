/* verify --html: one self-contained page, without scripts and without anything from a network. */
#ifndef OCTAVO_CLI_HTML_H
#define OCTAVO_CLI_HTML_H

#include "calibrate/error.h"
#include "cli/verify_more.h"

#include <stdio.h>

struct html_page {
    const char *lang;                /* "en" or "zh" */
    const char *reference, *model, *command;
    const struct error_report *r;    /* with inspections */
    const struct error_report *maps; /* of the worst tensors, with maps; or NULL */
    const struct error_sums *all, *quantized;
    const struct more *more;
    const char *failed;              /* the sentence, or NULL: nothing failed */
    char digest[2][65];              /* of reference and model; "" for pipes */
    char *text;                      /* while it is written */
    size_t length;
};
enum { HTML_WORST = 8 };
/* ERR_USAGE for a language that is not known. */
int html_check(const char *lang, struct err *e) MUST_USE;
/* The page as text (free()). */
int html_text(const struct html_page *p, char **text, size_t *n, struct err *e) MUST_USE;

/* Writes it to path. Both models are opened once more for the maps of the worst tensors, where neither is a pipe. */
int html_write(struct html_page *p, const char *path, bool force, const struct common *c, struct err *e) MUST_USE;

/* ---- html_svg.c, html_words.c -------------------------------------------------------------- */
enum word {
    W_TITLE, W_AGAINST, W_PASSED, W_FAILED, W_MEASURED, W_TENSORS, W_QUANTIZED, W_EQUAL, W_SQNR, W_REL, W_EXACT, W_SATURATED, W_FLUSHED, W_OUTPUTS,
    W_OUTPUTS_NOTE, W_WORDS, W_PERPLEXITY, W_KL, W_KL99, W_KLMAX, W_TOP1, W_MADE, W_MADE_NOTE, W_GOOD, W_ODD, W_BAD, W_HEAT, W_HEAT_NOTE, W_LAYER,
    W_OTHER, W_DISTRIBUTION, W_DISTRIBUTION_NOTE, W_EXPONENTS, W_EXPONENTS_NOTE, W_STEPS, W_STEPS_NOTE, W_STEP, W_MORE_STEPS, W_WORST, W_WORST_NOTE,
    W_TENSOR, W_SCHEME, W_SHAPE, W_BLOCK, W_MISSING, W_EXTRA, W_COMMAND, W_REFERENCE, W_MODEL, W_VERSION, W_COUNT_OF, W_NONE,
    WORDS
};
const char *html_word(const char *lang, enum word w);
void html_escape(FILE *f, const char *s);
void svg_heat(FILE *f, const struct html_page *p);
void svg_distribution(FILE *f, const struct html_page *p);
void svg_exponents(FILE *f, const struct html_page *p);
void svg_steps(FILE *f, const struct html_page *p);
void svg_map(FILE *f, const struct tensor_error *t);

#endif
