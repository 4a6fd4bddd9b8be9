/* The table of chips for the manual and for the README, from the descriptions
 * of targets: `make tables` puts them where they belong. */
#ifndef OCTAVO_TABLES_H
#define OCTAVO_TABLES_H

#include "formats/target.h"

/* Do experts lie as other weights do? */
bool target_same_role(const struct target_role *a, const struct target_role *b);
/* Prints what stands for t between the marks of octavo-targets(7). */
void table_mdoc(const struct target *t);
/* A row of the README's table; t NULL: its head. */
void table_markdown(const struct target *t);

#endif
