/* Test support: runs a program and meddles with its system calls, by the kernel's tracing. */
#ifndef UMBRA_TESTS_INJECT_H
#define UMBRA_TESTS_INJECT_H

#include <stdbool.h>

enum { INJECT_CALLS = 16 };

typedef enum inject_action {
    INJECT_COUNT, /* only count */
    INJECT_ERROR, /* the call fails with `error` and does nothing */
    INJECT_SHORT, /* its third argument, a length, is halved (down to a multiple of 4096, as disks
                     are read) */
    INJECT_KILL,  /* SIGKILL before the call */
    INJECT_CALL,  /* call `at` before it; the program waits meanwhile */
    INJECT_HANG   /* the call never returns, until the program is killed */
} inject_action;

typedef struct inject {
    int calls[INJECT_CALLS]; /* numbers of system calls, 0 ends them; read (0) cannot be named */
    bool files;              /* those whose first argument is a descriptor: above 2 alone */
    const char *path;        /* those on a descriptor of such a file alone; NULL: any */
    inject_action action;
    int error;
    int first;                    /* the first call that is met, from 1 */
    bool forever;                 /* and all later ones */
    void (*at)(void *user);       /* for INJECT_CALL */
    void *user;                   /* handed to it */
    void (*hanging)(int process); /* for INJECT_HANG, once: it hangs now. Must make it end. */
    const char *preload;          /* a library to load before all others, or NULL */
    const char *out, *err;        /* files for what the program writes */
    const char *in;               /* a file for it to read, or NULL: as the test */
    int seconds;                  /* 0: 60; then it is killed and `late` */
    int *process;                 /* or NULL: where its id is put before it runs */
} inject;

typedef struct inject_result {
    int code;    /* exit code, or 128 + the signal that ended it */
    int met;     /* calls that came by */
    bool cannot; /* tracing is not possible here: nothing was run */
    bool late;
} inject_result;

/* Runs argv[0]; environment as it is. */
inject_result inject_run(const inject *what, char *const argv[]);

#endif
