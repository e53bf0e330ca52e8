/* The command lines of programs that measure. */
#ifndef UMBRA_BENCH_NUMBERS_H
#define UMBRA_BENCH_NUMBERS_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <umbra/status.h>

/* Seconds of the monotonic clock. */
static inline double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Ends the program with what went wrong, if anything did. */
static inline void must(int rc, const umbra_error *err)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, err->message);
    exit(1);
}

/* Ends the program where there was no memory. */
static inline void *need(void *p)
{
    if (p)
        return p;
    fprintf(stderr, "%s: out of memory\n", program_invocation_short_name);
    exit(1);
}

static inline int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values (n). */
static inline double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, compare);
    return values[n / 2];
}

/* A whole number of 1 to most; 0: it is none. */
static inline int count_of(const char *text, int most)
{
    char *end;
    long n = strtol(text, &end, 10);
    return *end == '\0' && n >= 1 && n <= most ? (int)n : 0;
}

/* "60M": decimal, as the program's own sizes; 0: it is none. */
static inline uint64_t size_of(const char *text)
{
    char *end;
    double n = strtod(text, &end);
    double unit = *end == 'K' ? 1e3 : *end == 'M' ? 1e6 : *end == 'G' ? 1e9 : 1;
    bool is_size = n > 0 && end != text && (*end == '\0' || (unit > 1 && end[1] == '\0'));
    return is_size ? (uint64_t)(n * unit) : 0;
}

/* The same, where `usage` ends the program if there is none. */
static inline int number_of(const char *word, int most, void (*usage)(void))
{
    int n = count_of(word, most);
    if (n == 0)
        usage();
    return n;
}

static inline uint64_t bytes_of(const char *word, void (*usage)(void))
{
    uint64_t n = size_of(word);
    if (n == 0)
        usage();
    return n;
}

/* Hands over each word that is no option, with the option before it ("": none so far). */
static inline void each_word(int argc, char **argv,
                             void (*take)(void *self, const char *option, const char *word),
                             void *self)
{
    const char *option = "";
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) == 0)
            option = argv[i];
        else
            take(self, option, argv[i]);
    }
}

/* The numbers behind the option argv[*i], up to the next option and at most `most`; *i is the last
 * of them then. Returns how many. */
static inline int numbers_of(int argc, char **argv, int *i, double *out, int most)
{
    int n = 0;
    while (*i + 1 < argc && argv[*i + 1][0] != '-' && n < most)
        out[n++] = atof(argv[++*i]);
    return n;
}

#endif
