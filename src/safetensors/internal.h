/* What a header says. Only for the files of this layer. */
#ifndef UMBRA_SAFETENSORS_INTERNAL_H
#define UMBRA_SAFETENSORS_INTERNAL_H

#include <stdbool.h>

#include "safetensors/safetensors.h"

#define UMBRA_SAFETENSORS_METADATA   "__metadata__"
#define UMBRA_SAFETENSORS_HEADER_MAX ((uint64_t)64 << 20)

typedef struct umbra_safetensors_header {
    umbra_safetensors_tensor *tensors; /* (n_tensors) in the order of the data */
    size_t n_tensors, tensors_room;
    uint32_t *by_name;                /* (n_tensors) indices in the order of names */
    umbra_safetensors_pair *metadata; /* (n_metadata) in the order of keys */
    size_t n_metadata, metadata_room;
} umbra_safetensors_header;

/* Parses and checks the n bytes of JSON at text, which hold the strings afterwards (they are
 * unescaped in place). file_bytes: size of the whole file, which the tensors must fill. On failure
 * what was made is left for _release. */
int umbra_safetensors_header_parse(umbra_safetensors_header *h, char *text, size_t n,
                                   uint64_t file_bytes, const char *path, umbra_error *err);
/* Accepts a zeroed one. */
void umbra_safetensors_header_release(umbra_safetensors_header *h);

/* Bytes of a tensor of that dtype, dimensions and shape; false if they overflow. */
bool umbra_safetensors_size(const umbra_safetensors_tensor *t, uint64_t *bytes);

#endif
