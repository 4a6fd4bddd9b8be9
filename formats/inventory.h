/* The tensors of a model from its config.json alone, for planning: names, types
 * and shapes as the files of its family have them, and no bytes.
 *
 * Families, by model_type: llama, mistral, qwen2, qwen3; mixtral, qwen3_moe;
 * deepseek_v2, deepseek_v3, deepseek_v32, kimi_k2.  Names and shapes follow
 * huggingface/transformers' modeling files of these and deepseek-ai/DeepSeek-V3
 * (README_WEIGHTS.md for the layers that predict more tokens). */
#ifndef OCTAVO_INVENTORY_H
#define OCTAVO_INVENTORY_H

#include "formats/model.h"

/* A model without files: reading its bytes is not possible.  path is for messages; text that of config.json.
 * ERR_INPUT for a family that is not in the list, and for sizes that are missing. */
int inventory_open(struct model *m, const char *path, const char *text, struct err *e) MUST_USE;

#endif
