/* What stays unquantized, per family of models: defaults (rules.h) that hold when
 * no rule says otherwise, taken from the checkpoints that the makers of each
 * family published in FP8. */
#ifndef OCTAVO_PRESETS_H
#define OCTAVO_PRESETS_H

#include "formats/target.h"
#include "quantizers/rules.h"

struct preset_line {
    const char *pattern;         /* NULL: the end */
    enum action action;
    const char *why;
};
struct preset {
    const char *name, *title;
    const char *model_types;     /* of config.json, divided by blanks; "": only by name */
    const char *source;          /* the checkpoint that it follows */
    const struct preset_line *line;
};
extern const struct preset preset_table[];
extern const size_t preset_count;
const struct preset *preset_find(const char *name);
/* The preset of a config.json (its model_type, else that of its text_config); "generic" for others and
 * for NULL. */
const struct preset *preset_of(const char *config);
/* Appends its lines as defaults, and then those of "generic", which hold for whatever it does not name. */
int preset_add(struct rules *r, const struct preset *p, struct err *e) MUST_USE;
/* The defaults of a target (NULL: none): what its server does not want quantized, decoded to BF16, and experts that have
 * a scheme of their own in form f. After the preset, before what the run says of the rest. */
int preset_add_target(struct rules *r, const struct target *t, const struct target_form *f, bool saturate,
                      struct err *e) MUST_USE;

#endif
