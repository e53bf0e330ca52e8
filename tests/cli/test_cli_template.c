/* umbra template: renderings, refusals, origins; templates in files and in models. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builder.h"
#include "program.h"

#define WORK UMBRA_TEST_DIR "/"

static const char chat[] = "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
                           "{% endfor %}{% if messages|length > 2 %}\n"
                           "{{ raise_exception('At most 2, please.') }}{% endif %}"
                           "{% if tools is defined %}{{ tools|tojson }}{% endif %}"
                           "{% if day %}{{ strftime_now('%a %d') }}{% endif %}";

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static int write_files(void **state)
{
    (void)state;
    write_text(WORK "chat.jinja", chat);
    write_text(WORK "one.json", "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],"
                                "\"tools\":null,\"bos_token\":\"<s>\",\"extra\":{\"day\":true}}");
    write_text(WORK "three.json", "{\"messages\":[1,2,3],\"tools\":[]}");
    write_text(WORK "list.json", "[]");
    write_text(WORK "broken.json", "{\n\"messages\": }");
    umbra_builder b;
    umbra_builder_init(&b, 3);
    umbra_builder_string(&b, "general.architecture", "none that is known");
    umbra_builder_string(&b, "tokenizer.chat_template", chat);
    umbra_builder_finish(&b);
    umbra_builder_write(&b, WORK "chat.gguf");
    umbra_builder_release(&b);
    return 0;
}

static void expect(const char *arguments, int code, const char *out, const char *error)
{
    result r = umbra("template %s", arguments);
    assert_int_equal(r.code, code);
    assert_string_equal(r.out, out);
    if (!strstr(r.err, error))
        fail_msg("\"%s\" does not say \"%s\"", r.err, error);
    free(r.out);
}

#define AT " --now '2026-11-26 09:30'"

static void renders_files_and_models(void **state)
{
    (void)state;
    expect(WORK "chat.jinja " WORK "one.json" AT, 0, "<s><user>HiThu 26", "");
    expect(WORK "chat.gguf " WORK "one.json" AT, 0, "<s><user>HiThu 26", "");
    expect(WORK "chat.gguf " WORK "one.json --spans" AT, 0,
           "0 4 template\n4 8 input\n8 9 template\n9 11 input\n11 17 template\n", "");
}

static void says_what_is_wrong(void **state)
{
    (void)state;
    expect(WORK "chat.jinja " WORK "three.json", 1, "",
           "chat.jinja: line 2: the template refuses: At most 2, please.");
    expect(WORK "chat.jinja " WORK "list.json", 1, "", "list.json: the case must be a JSON object");
    expect(WORK "chat.jinja " WORK "broken.json", 1, "", "broken.json: line 2: ");
    expect(WORK "chat.jinja " WORK "missing.json", 1, "", "missing.json");
    expect(WORK "broken.json " WORK "one.json --now noon", 2, "", "--now wants a time");
    expect("models/tiny-q8_0.gguf " WORK "one.json", 1, "", "the file has no chat template");
    expect(WORK "chat.jinja", 2, "", "something is missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(renders_files_and_models),
        cmocka_unit_test(says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, write_files, NULL);
}
