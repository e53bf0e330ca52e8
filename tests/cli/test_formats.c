/* The JSON of every command has exactly the keys and types that docs/formats.md tells. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

#define WORK UMBRA_TEST_DIR "/work"
#define TINY "models/tiny-q8_0.gguf"

enum { KEYS = 128, KEY_CHARS = 96 };

/* A row of the table: where values are, and what they may be. */
typedef struct row {
    char path[KEY_CHARS]; /* "budgets[].slots" */
    bool boolean, integer, number, string, null;
    bool seen;
} row;

typedef struct format {
    const char *command;
    row rows[KEYS];
    int n;
} format;

static void read_row(format *f, const char *line)
{
    char type[64];
    assert_true(f->n < KEYS);
    row *r = &f->rows[f->n++];
    *r = (row){0};
    if (sscanf(line, "| `%95[^`]` | %63[^|] |", r->path, type) != 2)
        fail_msg("not a row of keys: %s", line);
    r->boolean = strstr(type, "boolean") != NULL;
    r->integer = strstr(type, "integer") != NULL;
    r->number = strstr(type, "number") != NULL;
    r->string = strstr(type, "string") != NULL;
    r->null = strstr(type, "null") != NULL;
}

/* The rows below "### umbra COMMAND". */
static void read_format(format *f, const char *command)
{
    char heading[128], line[1024];
    snprintf(heading, sizeof heading, "### umbra %s\n", command);
    *f = (format){.command = command};
    FILE *file = fopen("docs/formats.md", "r");
    assert_non_null(file);
    bool inside = false;
    while (fgets(line, sizeof line, file)) {
        if (line[0] == '#')
            inside = strcmp(line, heading) == 0;
        else if (inside && strncmp(line, "| `", 3) == 0)
            read_row(f, line);
    }
    fclose(file);
    if (f->n == 0)
        fail_msg("docs/formats.md has no keys below: %s", heading);
}

static void check_value(format *f, const char *path, const json_t *value)
{
    for (int i = 0; i < f->n; i++) {
        row *r = &f->rows[i];
        if (strcmp(r->path, path) != 0)
            continue;
        r->seen = true;
        bool fits = (json_is_boolean(value) && r->boolean) || (json_is_null(value) && r->null) ||
                    (json_is_integer(value) && (r->integer || r->number)) ||
                    (json_is_real(value) && r->number) || (json_is_string(value) && r->string);
        if (!fits)
            fail_msg("umbra %s: %s is of another type than documented", f->command, path);
        return;
    }
    fail_msg("umbra %s: %s is not in docs/formats.md", f->command, path);
}

static void check_values(format *f, const char *path, const json_t *value)
{
    char below[KEY_CHARS * 2];
    const char *key;
    const json_t *child;
    size_t i;
    if (json_is_array(value)) {
        snprintf(below, sizeof below, "%s[]", path);
        json_array_foreach(value, i, child)
        {
            check_values(f, below, child);
        }
    } else if (json_is_object(value)) {
        json_object_foreach((json_t *)value, key, child)
        {
            snprintf(below, sizeof below, "%s%s%s", path, path[0] ? "." : "",
                     isdigit((unsigned char)key[0]) ? "M" : key);
            check_values(f, below, child);
        }
    } else {
        check_value(f, path, value);
    }
}

/* Optional keys too: the arguments are chosen so that all of them come. */
static void check(const char *command, const char *arguments)
{
    format *f = malloc(sizeof *f);
    assert_non_null(f);
    read_format(f, command);
    result r = umbra("%s %s --json", command, arguments);
    json_t *j = parse(&r);
    check_values(f, "", j);
    json_decref(j);
    for (int i = 0; i < f->n; i++)
        if (!f->rows[i].seen)
            fail_msg("umbra %s: docs/formats.md tells of %s, which does not come", command,
                     f->rows[i].path);
    free(f);
}

static void of_the_model(void **state)
{
    (void)state;
    check("version", "");
    check("inspect", TINY);
    check("run", TINY " -p Once -n 4");
    check("score", TINY " --text tests/golden/own-chat.txt --top 2 --experts");
}

static void of_the_shadow(void **state)
{
    (void)state;
    assert_int_equal(system("rm -rf '" WORK "' && mkdir -p '" WORK "'"), 0);
    check("collect", TINY " -o " WORK "/train --tokens 1500 --seed 1 --ctx 128");
    check("collect", TINY " -o " WORK "/test --tokens 1500 --seed 2 --ctx 128");
    check("train", WORK "/train -o " WORK "/tiny.st --epochs 1 --hidden 16 --averages none");
    check("quantize-shadow", WORK "/tiny.st " WORK "/i8.st --force --on " WORK "/test");
    check("eval",
          WORK "/test --shadow " WORK "/tiny.st --model " TINY " --residency 0.5 --walk-tokens 66");
    check("bench",
          TINY " --ram 24M --policy off gate --draft off told:0.5 --rounds 1 --tokens 4 --warm 2 "
               "--against 'echo 1'");
    check("bench predictor", "--shape 256x64x4x32 --layers 6 --calls 20");
    assert_int_equal(system("rm -rf '" WORK "'"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_the_model),
        cmocka_unit_test(of_the_shadow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
