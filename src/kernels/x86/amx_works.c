/* Whether the tile registers of AMX can be used. */
#include "kernels/x86/amx.h"

#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif

enum {
    LEAF_FEATURES = 7,
    BIT_VBMI = 1 << 1,    /* of ecx */
    BIT_FLOATS = 1 << 22, /* of edx: of 16 bits */
    BIT_TILE = 1 << 24,
    BIT_INT8 = 1 << 25,
    BIT_OSXSAVE = 1 << 27,  /* of ecx of leaf 1 */
    STATE_CONFIG = 1 << 17, /* of the system's registers: shapes, and contents */
    STATE_TILES = 1 << 18,
    SIZE = 16,
};

static bool cpu_has_tiles(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & BIT_OSXSAVE)) {
        return false;
    }
    const unsigned tiles = BIT_FLOATS | BIT_TILE | BIT_INT8;
    bool has = __get_cpuid_count(LEAF_FEATURES, 0, &a, &b, &c, &d) && (c & BIT_VBMI) &&
               (d & tiles) == tiles;
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return has && (low & STATE_CONFIG) && (low & STATE_TILES);
}

/* For all threads of the process, also later ones. */
static bool ask_system(void)
{
#if defined(__linux__) && defined(SYS_arch_prctl)
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0;
#else
    return false;
#endif
}

static void set_square_shapes(void)
{
    umbra_tile_shapes shapes = {.palette = 1};
    for (int i = 0; i < 3; i++) {
        shapes.row_bytes[i] = 4 * SIZE;
        shapes.rows[i] = SIZE;
    }
    UMBRA_TILES_SET(&shapes);
}

/* A product of matrices of small numbers, held against a plain loop. */
static bool bytes_are_right(void)
{
    int8_t a[SIZE][4 * SIZE], b[SIZE][4 * SIZE];
    int32_t sum[SIZE][SIZE];
    for (int i = 0; i < SIZE; i++) {
        for (int j = 0; j < 4 * SIZE; j++) {
            a[i][j] = (int8_t)(i - j % 7);
            b[i][j] = (int8_t)(j % 5 - i);
        }
    }
    set_square_shapes();
    UMBRA_TILE_CLEAR(0);
    UMBRA_TILE_LOAD(1, a, 4 * SIZE);
    UMBRA_TILE_LOAD(2, b, 4 * SIZE);
    UMBRA_TILE_ADD_SIGNED(0, 1, 2);
    UMBRA_TILE_STORE(0, sum, 4 * SIZE);
    UMBRA_TILES_RELEASE();
    for (int i = 0; i < SIZE; i++) {
        for (int j = 0; j < SIZE; j++) {
            int32_t want = 0;
            for (int n = 0; n < 4 * SIZE; n++) {
                want += a[i][n] * b[n / 4][4 * j + n % 4];
            }
            if (sum[i][j] != want) {
                return false;
            }
        }
    }
    return true;
}

static uint16_t front_half(int number)
{
    float value = (float)number;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)(bits >> 16);
}

/* The same of floats of 16 bits. */
static bool floats_are_right(void)
{
    uint16_t a[SIZE][2 * SIZE], b[SIZE][2 * SIZE];
    float sum[SIZE][SIZE];
    for (int i = 0; i < SIZE; i++) {
        for (int j = 0; j < 2 * SIZE; j++) {
            a[i][j] = front_half(128 * (i - j % 7));
            b[i][j] = front_half(j % 5 - i);
        }
    }
    set_square_shapes();
    UMBRA_TILE_CLEAR(0);
    UMBRA_TILE_LOAD(1, a, 4 * SIZE);
    UMBRA_TILE_LOAD(2, b, 4 * SIZE);
    UMBRA_TILE_ADD_FLOATS(0, 1, 2);
    UMBRA_TILE_STORE(0, sum, 4 * SIZE);
    UMBRA_TILES_RELEASE();
    for (int i = 0; i < SIZE; i++) {
        for (int j = 0; j < SIZE; j++) {
            int want = 0;
            for (int n = 0; n < 2 * SIZE; n++) {
                want += 128 * (i - n % 7) * ((2 * j + n % 2) % 5 - n / 2);
            }
            if (sum[i][j] != (float)want) {
                return false;
            }
        }
    }
    return true;
}

_Noreturn static void try_in_child(int answer)
{
    signal(SIGILL, SIG_DFL);
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    char yes = bytes_are_right() && floats_are_right();
    _exit(yes && write(answer, &yes, 1) == 1 ? 0 : 1);
}

/* The answer comes through a pipe: what a child ends with may be collected by others. */
static bool child_succeeds(void)
{
    int ends[2];
    if (pipe(ends) != 0) {
        return false;
    }
    pid_t child = fork();
    if (child == 0) {
        try_in_child(ends[1]);
    }
    close(ends[1]);
    char yes = 0;
    ssize_t got = 0;
    while (child > 0 && (got = read(ends[0], &yes, 1)) < 0 && errno == EINTR) {
    }
    close(ends[0]);
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
    return child > 0 && got == 1 && yes;
}

bool umbra_amx_works(void)
{
    return cpu_has_tiles() && ask_system() && child_succeeds();
}
