/* Runs the program under test and collects what it writes and how it ends. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "program.h"

enum { OUTPUT_BYTES = 4 << 20 };

static void read_stderr(result *r)
{
    FILE *f = fopen(UMBRA_TEST_DIR "/stderr.txt", "r");
    size_t n = f ? fread(r->err, 1, sizeof r->err - 1, f) : 0;
    r->err[n] = '\0';
    if (f)
        fclose(f);
}

result umbra(const char *format, ...)
{
    char arguments[2048], command[4096];
    va_list list;
    va_start(list, format);
    vsnprintf(arguments, sizeof arguments, format, list);
    va_end(list);
    snprintf(command, sizeof command, "%s %s 2>%s/stderr.txt", UMBRA_CLI, arguments,
             UMBRA_TEST_DIR);
    result r = {.out = calloc(1, OUTPUT_BYTES)};
    FILE *f = popen(command, "r");
    assert_non_null(f);
    size_t n = fread(r.out, 1, OUTPUT_BYTES - 1, f);
    r.out[n] = '\0';
    int status = pclose(f);
    r.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    read_stderr(&r);
    return r;
}

json_t *parse(const result *r)
{
    json_error_t error;
    json_t *j = json_loads(r->out, 0, &error);
    if (r->code != 0 || !j)
        fail_msg("exit code %d, %s, stderr: %s", r->code, error.text, r->err);
    free(r->out);
    return j;
}

json_int_t integer(const json_t *j, const char *key)
{
    const json_t *value = json_object_get(j, key);
    if (!json_is_integer(value))
        fail_msg("no integer \"%s\"", key);
    return json_integer_value(value);
}
