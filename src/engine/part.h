/* Parts of a model: copies of its files that hold the experts of one rank alone.
 *
 * A part has the header and the places of the whole; where other ranks' experts lie it has holes,
 * which take no room on the disk. What it holds is said behind the end of its last file, where
 * readers of GGUF do not look, little-endian:
 *       u16[]    owners: the rank that has each expert, (layers, experts)
 *    0  char[8]  "UMBRAPRT"
 *    8  u32      version, 1
 *   12  u32      rank
 *   16  u32      ranks
 *   20  u32      layers * experts
 *   24  u64      XXH3 of the owners
 *   32  u64      XXH3 of the 32 bytes before
 */
#ifndef UMBRA_ENGINE_PART_H
#define UMBRA_ENGINE_PART_H

#include "engine/division.h"

/* If the model is a part, *rank whose and of how many *ranks, else 0 of 0; owners (layers,
 * experts), which may be NULL, is filled only then. */
int umbra_part_read(const umbra_model *model, int *rank, int *ranks, uint16_t *owners,
                    umbra_error *err);
/* UMBRA_E_MISMATCH if the model is a part, and not that of this division's rank. */
int umbra_part_check(const umbra_model *model, const umbra_division *d, umbra_error *err);

#endif
