/* Running the program under test. */
#ifndef UMBRA_TESTS_PROGRAM_H
#define UMBRA_TESTS_PROGRAM_H

#include <jansson.h>

typedef struct result {
    int code;
    char *out; /* stdout; free() it */
    char err[8192];
} result;

/* Runs `umbra ARGUMENTS`. */
__attribute__((format(printf, 1, 2))) result umbra(const char *format, ...);

/* Runs, expects the exit code, and the text in stderr. */
#define assert_fails(expected_code, text, ...)                                                     \
    do {                                                                                           \
        result r_ = umbra(__VA_ARGS__);                                                            \
        if (r_.code != (expected_code) || !strstr(r_.err, text))                                   \
            fail_msg("exit code %d, stderr: %s", r_.code, r_.err);                                 \
        free(r_.out);                                                                              \
    } while (0)

/* The one JSON object of a run that succeeded; frees its output. */
json_t *parse(const result *r);
json_int_t integer(const json_t *j, const char *key);

#endif
