/* What a model is, as config.json says it and as the keys of a GGUF file do: one table of rows, read both
 * ways.
 *
 * Complete for the architectures llama, qwen2, qwen2moe, qwen3 and qwen3moe (names_complete()).  Sources:
 * ggml-org/llama.cpp convert_hf_to_gguf.py set_gguf_parameters (which member becomes which key),
 * gguf-py/gguf/constants.py and gguf_writer.py (spelling and types), transformers configuration_*.py
 * (defaults).  Tokenizers are not converted. */
#ifndef OCTAVO_CONFIG_KEYS_H
#define OCTAVO_CONFIG_KEYS_H

#include "formats/gguf_keys.h"
#include "formats/model.h"

/* Are the rows all that llama.cpp and transformers need of this architecture? */
bool config_keys_complete(const char *architecture);

/* The keys of m, whose tensors got GGUF names (m->naming) and whose config.json is there. ERR_INPUT when config.json has
 * no number for a key that llama.cpp must have, or says what no key can (rope_scaling). *note: a sentence in
 * m->mem about what llama.cpp takes for granted and config.json has otherwise, or NULL. */
int config_to_keys(struct model *m, struct gguf_keys *k, const char **note, struct err *e) MUST_USE;

/* The text of config.json from the metadata of m, whose tensors got Hugging Face's names; dtype as torch calls it
 * ("bfloat16"). *text in m->mem, or NULL: then *why is a sentence that says what is not known. */
int config_from_keys(struct model *m, const char *dtype, const char **text, const char **why, struct err *e) MUST_USE;

#endif
