#ifndef TESTS_GPU_PACKED_H
#define TESTS_GPU_PACKED_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
/* Bytes of a tensor as they lie in the packed file, its shape (1 for what it lacks), how many
 * bytes, and the sentence of its layout (empty: row-major). NULL, with a sentence on standard
 * error, when the file or the tensor is not to be had. The bytes stay mapped. */
const void *packed_bytes(const char *path, const char *name, uint64_t shape[2], uint64_t *size, char layout[64]);
#ifdef __cplusplus
}
#endif
#endif
