/* The command table's functions: one file cli/verb_NAME.c each.
 * They return 0, or -1 with a sentence; main turns that into an exit code. */
#ifndef OCTAVO_VERBS_H
#define OCTAVO_VERBS_H

#include "formats/err.h"

int verb_ls(int argc, char **argv, struct err *e);
int verb_convert(int argc, char **argv, struct err *e);
int verb_quantize(int argc, char **argv, struct err *e);
int verb_dequantize(int argc, char **argv, struct err *e);
int verb_calibrate(int argc, char **argv, struct err *e);
int verb_audit(int argc, char **argv, struct err *e);
int verb_verify(int argc, char **argv, struct err *e);
int verb_pack(int argc, char **argv, struct err *e);
int verb_unpack(int argc, char **argv, struct err *e);
int verb_digest(int argc, char **argv, struct err *e);
int verb_fit(int argc, char **argv, struct err *e);
int verb_targets(int argc, char **argv, struct err *e);

#endif
