/* Rendering in tests. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/template_case.h"
#include "run.h"

const struct tm test_time = {.tm_year = 126,
                             .tm_mon = 10,
                             .tm_mday = 26,
                             .tm_hour = 9,
                             .tm_min = 30,
                             .tm_wday = 4,
                             .tm_yday = 329};

int render_text(const char *source, size_t bytes, const char *variables,
                const umbra_template_options *options, umbra_template_output *out, umbra_error *err)
{
    umbra_template_options at_test_time = {.now = &test_time};
    umbra_template *t = NULL;
    umbra_template_tree *tree = NULL;
    umbra_template_value *values = NULL;
    *out = (umbra_template_output){0};
    int rc = umbra_template_open(&t, source, bytes, err);
    if (rc == UMBRA_OK && variables)
        rc = cli_template_case(&tree, &values, variables, strlen(variables), "variables", err);
    if (rc == UMBRA_OK)
        rc = umbra_template_render(t, values, options ? options : &at_test_time, out, err);
    umbra_template_tree_close(&tree);
    umbra_template_close(&t);
    return rc;
}

char *read_whole(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    long end = f && fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    char *text = end >= 0 ? malloc((size_t)end + 1) : NULL;
    if (text) {
        rewind(f);
        *bytes = fread(text, 1, (size_t)end, f);
        text[*bytes] = '\0';
    }
    if (f)
        fclose(f);
    return text;
}
