/* The tile registers of AMX: eight matrices of up to 16 rows of 64 bytes, whose shapes a thread
 * sets. Written as instructions: compilers do not order their intrinsics with other accesses to
 * memory. Tests put other definitions in their place. */
#ifndef UMBRA_KERNELS_X86_AMX_H
#define UMBRA_KERNELS_X86_AMX_H

#include <stdbool.h>

#include "kernels/x86/amx_shapes.h"

/* Whether this process may use them and they multiply: asks the processor and the system, then
 * lets a child try, since some virtual machines name instructions at which they end a program. */
bool umbra_amx_works(void);

#ifndef UMBRA_TILES_SET
#define UMBRA_TILES_SET(shapes) __asm__ volatile("ldtilecfg %0" : : "m"(*(shapes)) : "memory")
/* Gives the registers up, so that nobody saves what is in them. */
#define UMBRA_TILES_RELEASE() __asm__ volatile("tilerelease" : : : "memory")
/* Rows `stride` bytes apart. */
#define UMBRA_TILE_LOAD(tile, from, stride)                                                        \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile                                            \
                     :                                                                             \
                     : "r"((const void *)(from)), "r"((long)(stride))                              \
                     : "memory")
#define UMBRA_TILE_STORE(tile, to, stride)                                                         \
    __asm__ volatile("tilestored %%tmm" #tile ", (%0,%1,1)"                                        \
                     :                                                                             \
                     : "r"((void *)(to)), "r"((long)(stride))                                      \
                     : "memory")
#define UMBRA_TILE_CLEAR(tile) __asm__ volatile("tilezero %%tmm" #tile : :)
/* Row i of a holds bytes of a row of the left matrix; row j of b four bytes, 4 j to 4 j + 3, of
 * each column of the right one. sum gets the product in 32 bits: of signed bytes, or of unsigned
 * ones on the left and signed ones on the right. */
#define UMBRA_TILE_ADD_SIGNED(sum, a, b)                                                           \
    __asm__ volatile("tdpbssd %%tmm" #b ", %%tmm" #a ", %%tmm" #sum : :)
#define UMBRA_TILE_ADD_UNSIGNED(sum, a, b)                                                         \
    __asm__ volatile("tdpbusd %%tmm" #b ", %%tmm" #a ", %%tmm" #sum : :)
/* The same of pairs of floats of 16 bits (the front half of a float's), to sums that are floats;
 * products and sums that a float holds are exact. */
#define UMBRA_TILE_ADD_FLOATS(sum, a, b)                                                           \
    __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #sum : :)
#endif

#endif
