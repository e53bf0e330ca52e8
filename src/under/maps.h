/* Where the process has files mapped. */
#ifndef UMBRA_UNDER_MAPS_H
#define UMBRA_UNDER_MAPS_H

#include <stdint.h>

#include <umbra/status.h>

typedef struct umbra_mapping {
    uintptr_t begin, end;
    uint64_t offset; /* of begin in the file */
    int file;
} umbra_mapping;

typedef struct umbra_maps {
    umbra_mapping *mapping;
    int n, room;
} umbra_maps;

/* The mappings of n files that lie in [low, high); neighbours that go on in the file are one. On
 * failure nothing is left behind. */
int umbra_maps_read(umbra_maps *maps, const char *const *paths, int n, uintptr_t low,
                    uintptr_t high, umbra_error *err);
void umbra_maps_free(umbra_maps *maps);
/* Where these bytes of a file lie, all of them; NULL: nowhere. */
char *umbra_maps_find(const umbra_maps *maps, int file, uint64_t offset, uint64_t bytes);

/* What the process has allocated, touched or not, since what it asked for it will use; of threads'
 * stacks what was touched. Mappings of files do not count: the kernel drops their pages when it
 * must. 0: unknown. */
uint64_t umbra_maps_allocated(void);

#endif
