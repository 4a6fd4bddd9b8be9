/* verify's further answers: outputs of layers by statistics, and words by running both models. */
#ifndef OCTAVO_CLI_VERIFY_MORE_H
#define OCTAVO_CLI_VERIFY_MORE_H

#include "calibrate/compare.h"
#include "cli/opt.h"

struct more {
    const char *calibration;         /* --calibration */
    bool end_to_end;
    const char *tokens, *text, *tokenizer, *activations;
    uint64_t length, limit, greedy;
    double min_output, max_kl, min_top;  /* NaN: no limit */
    struct output_errors outputs;
    struct words words;
};
#define OPTS_MORE(m) \
    {OPT_STRING, 0, "calibration", "FILE", "statistics (octavo calibrate): the error of what each layer puts out", &(m)->calibration}, \
    {OPT_REAL, 0, "min-output", "DB", "fail below this ratio of a layer's output to its error", &(m)->min_output}, \
    {OPT_FLAG, 0, "end-to-end", NULL, "run both models over --text: perplexity, KL divergence, agreement", &(m)->end_to_end}, \
    {OPT_STRING, 0, "text", "FILE", "text for --end-to-end, by REFERENCE's tokenizer", &(m)->text}, \
    {OPT_STRING, 0, "tokenizer", "PATH", "another tokenizer.json, model or GGUF for that, or the word bytes", &(m)->tokenizer}, \
    {OPT_STRING, 0, "tokens", "FILE", "token ids instead of text, as octavo calibrate reads them", &(m)->tokens}, \
    {OPT_SIZE, 0, "length", "N", "tokens of a sequence (default 512, or the rows of the table)", &(m)->length}, \
    {OPT_SIZE, 0, "limit", "N", "only the first N tokens", &(m)->limit}, \
    {OPT_STRING, 0, "activations", "WHAT", "round the inputs of MODEL's linear layers: e4m3, or none (default)", &(m)->activations}, \
    {OPT_SIZE, 0, "greedy", "N", "let both go on for N words, and tell where they part", &(m)->greedy}, \
    {OPT_REAL, 0, "max-kl", "NATS", "fail above this mean KL divergence", &(m)->max_kl}, \
    {OPT_REAL, 0, "min-agreement", "SHARE", "fail below this share of equal likeliest tokens, such as 0.98", &(m)->min_top}

int more_check(const struct more *m, const char *reference, const char *model, struct err *e) MUST_USE;
/* What was asked for; nothing when nothing was. */
int more_run(struct more *m, const char *reference, const char *model, const struct common *c, struct err *e) MUST_USE;
/* The outputs, the worst first (free()), and what is said of one; NULL when memory is out. */
const struct output_error **more_worst_outputs(const struct more *m);
double more_output_db(const struct output_error *x);
void more_print(const struct more *m, bool every);
void more_json(const struct more *m);       /* members, each with a comma before it */
int more_judge(const struct more *m, struct err *e) MUST_USE;
void more_free(struct more *m);

#endif
