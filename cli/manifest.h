/* Manifests: what a delivery consists of, as text, and checking one against it.
 *
 *     # octavo manifest 1
 *     # version 0.1.0
 *     # model NAME
 *     # KEY VALUE                      metadata of the model whose keys begin with octavo.
 *     source SHA256                    the digest of what it was made of, where that was said
 *     SHA256  NAME DTYPE [SHAPE]       a line per tensor, as octavo digest --tensors prints it
 *     file SHA256 NAME                 what lies beside the weights of a directory: config.json, tokenizer files
 *     model SHA256                     the digest of the model */
#ifndef OCTAVO_CLI_MANIFEST_H
#define OCTAVO_CLI_MANIFEST_H

#include "cli/opt.h"

/* The digest of a model in hexadecimal. */
int digest_of_model(const char *path, unsigned threads, char hex[65], struct err *e) MUST_USE;
/* Prints the manifest of a model; source: its original, or NULL. */
int manifest_print(const char *path, const char *source, const struct common *c, struct err *e) MUST_USE;
/* Is `path` what the manifest says? Lines on standard output for all that differs; ERR_NO names the first. ERR_INPUT for a manifest
 * that is none, with its line. */
int manifest_check(const char *manifest, const char *path, const struct common *c, struct err *e) MUST_USE;

#endif
