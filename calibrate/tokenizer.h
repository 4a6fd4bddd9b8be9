/* Text to token ids, by the tokenizer of a model.
 *
 * Byte-level BPE (GPT-2, Llama 3, Qwen, DeepSeek, SmolLM ...), BPE over characters with bytes to fall back to (Llama 2, Mistral),
 * unigram (T5, ALBERT ...), from tokenizer.json; BPE and SentencePiece's BPE from the keys of a GGUF; or plain bytes.
 *
 *     tokenizer.c        encoding: special tokens, normalization, pieces, ids
 *     tokenizer_read.c   tokenizer.json and GGUF
 *     tokenizer_bpe.c    merges; and the best path through a unigram model
 *     split.c            patterns of pre-tokenizers
 *
 * Sources: huggingface/tokenizers (tokenizers/src/models, normalizers, pre_tokenizers), ggml-org/llama.cpp src/llama-vocab.cpp
 * (llm_tokenizer_spm, patterns of tokenizer.ggml.pre). */
#ifndef OCTAVO_CALIBRATE_TOKENIZER_H
#define OCTAVO_CALIBRATE_TOKENIZER_H

#include "formats/mem.h"

#include <stddef.h>
#include <stdint.h>

struct tokenizer;
/* A model's directory or file: tokenizer.json beside it, or the keys of a GGUF; or a tokenizer.json itself; or "bytes". ERR_INPUT
 * for parts of a tokenizer that are not known, by name. */
int tokenizer_open(struct tokenizer **t, const char *path, struct err *e) MUST_USE;
void tokenizer_close(struct tokenizer *t);
/* Ids of n bytes of UTF-8 into memory of their own (free()). Text that holds what its normalizer might change, and this one cannot, is
 * ERR_INPUT, and so is an added token with single_word where a word might go on beside it. */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t n, uint32_t **ids, size_t *count, struct err *e) MUST_USE;
/* The token that a text begins with, or UINT32_MAX. */
uint32_t tokenizer_bos(const struct tokenizer *t);
/* How many ids there are. */
size_t tokenizer_size(const struct tokenizer *t);

#endif
