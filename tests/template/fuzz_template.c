/* Any bytes as a chat template, rendered with a case that has some of everything. Built with
 * libFuzzer this is the fuzz target; with fuzz_driver.c it runs the corpus as an ordinary test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_target.h"
#include "run.h"

static const char variables[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"Be <b>brief</b>.\"},"
    "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\" \xc3\xa5 "
    "\xf0\x9f\xa6\x8a\\n\"}]},"
    "{\"role\":\"assistant\",\"content\":\"a</"
    "think>b\",\"tool_calls\":[{\"id\":\"c1\",\"function\":"
    "{\"name\":\"add\",\"arguments\":{\"a\":1,\"b\":-2.5,\"c\":[null,true]}}}]}],"
    "\"tools\":[{\"function\":{\"name\":\"add\",\"parameters\":{\"items\":{}}}}],"
    "\"bos_token\":\"<s>\",\"n\":3,\"f\":0.5,\"text\":\"one two,three\"}";

/* The spans lie side by side over the whole text. */
static void check_spans(const umbra_template_output *out)
{
    size_t at = 0;
    for (size_t i = 0; i < out->n_spans; i++) {
        const umbra_template_span *s = &out->spans[i];
        if (s->begin != at || s->end <= at || (i > 0 && s->input == s[-1].input))
            abort();
        at = s->end;
    }
    if (at != out->bytes)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    umbra_template_options options = {.steps = 20000,
                                      .depth = 300,
                                      .output_bytes = 1 << 16,
                                      .memory_bytes = 4 << 20,
                                      .now = &test_time};
    umbra_template_output out;
    umbra_error err = {0};
    int rc = render_text((const char *)data, size, variables, &options, &out, &err);
    if (rc == UMBRA_OK)
        check_spans(&out);
    else if (rc != err.status || err.message[0] == '\0' || out.text)
        abort();
    umbra_template_output_free(&out);
    return 0;
}
