/* What config.json makes of the shapes of a layer's tensors, in the families of which it is known. */
#ifndef OCTAVO_CALIBRATE_AUDIT_SHAPES_H
#define OCTAVO_CALIBRATE_AUDIT_SHAPES_H

#include <stdbool.h>
#include <stdint.h>

struct shapes {
    uint64_t size[24];
};
/* config: a json_t object. False for a family that is not known; *s has no size then. */
bool shapes_of(struct shapes *s, const void *config);
/* stem and name: what is before and behind the layer's number, with "*" for an expert's: "model.layers." and
 * "mlp.experts.*.up_proj.weight". The rank, 1 or 2, and dim; 0: nothing is known, as of layers of a vision tower. */
unsigned shapes_find(const struct shapes *s, const char *stem, const char *name, uint64_t dim[2]);

#endif
