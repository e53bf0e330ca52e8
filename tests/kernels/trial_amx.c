/* Whether AMX is trusted: the trial in a child with tile registers that multiply, that multiply
 * wrongly, and at which the program is ended. */
#include <signal.h>

#include "emulate_amx.h"

static enum { RIGHT, WRONG, FATAL } behaviour;

static void multiply(int sum, int a, int b)
{
    if (behaviour == FATAL)
        raise(SIGILL);
    if (behaviour == RIGHT)
        emulated_product(sum, a, b, 1);
}

#undef UMBRA_TILE_ADD_SIGNED
#define UMBRA_TILE_ADD_SIGNED multiply
#define umbra_amx_works       emulated_amx_works
#include "kernels/x86/amx_works.c"

#include "check.h"

static void stay_alive(int number)
{
    (void)number;
}

void umbra_check_amx_trial(void)
{
    behaviour = RIGHT;
    umbra_check(child_succeeds(), "a product by tile registers that is right was refused");
    behaviour = WRONG;
    umbra_check(!child_succeeds(), "a wrong product by tile registers was taken");
    behaviour = FATAL;
    umbra_check(!child_succeeds(), "tile registers at which a program ends were taken");
    /* A handler of the program's own is none of the child's. */
    struct sigaction handler = {.sa_handler = stay_alive}, before;
    sigaction(SIGILL, &handler, &before);
    umbra_check(!child_succeeds(), "with a handler, tile registers that end a program were taken");
    sigaction(SIGILL, &before, NULL);
    umbra_check(!emulated_amx_works() || umbra_kernels_find("avx512"), "AMX without AVX-512");
}
