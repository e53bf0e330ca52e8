/* JSON as the values that a chat template is rendered with. */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/quote.h"
#include "cli/template_case.h"

static int fail(umbra_error *err, int status, const char *name, const char *what)
{
    if (err) {
        *err = (umbra_error){.status = status};
        char message[sizeof err->message];
        snprintf(message, sizeof message, "%s: %s", name, what);
        umbra_plain_text(err->message, sizeof err->message, message, strlen(message));
    }
    return status;
}

static umbra_template_value *convert(umbra_template_tree *tree, json_t *j,
                                     umbra_template_origin origin);

static umbra_template_value *convert_array(umbra_template_tree *tree, json_t *j)
{
    umbra_template_value *list = umbra_template_list(tree);
    size_t i;
    json_t *item;
    json_array_foreach(j, i, item)
    {
        if (umbra_template_append(tree, list, convert(tree, item, UMBRA_TEMPLATE_INPUT)) !=
            UMBRA_OK)
            return NULL;
    }
    return list;
}

/* Adds the members of an object to a dict. */
static int add_members(umbra_template_tree *tree, umbra_template_value *dict, json_t *j)
{
    const char *key;
    json_t *item;
    int rc = UMBRA_OK;
    json_object_foreach(j, key, item)
    {
        if (rc == UMBRA_OK)
            rc = umbra_template_set(tree, dict, key, strlen(key),
                                    convert(tree, item, UMBRA_TEMPLATE_INPUT));
    }
    return rc;
}

/* The parser has bounded the depth. */
static umbra_template_value *convert(umbra_template_tree *tree, json_t *j,
                                     umbra_template_origin origin)
{
    umbra_template_value *dict;
    switch (json_typeof(j)) {
    case JSON_OBJECT:
        dict = umbra_template_dict(tree);
        return add_members(tree, dict, j) == UMBRA_OK ? dict : NULL;
    case JSON_ARRAY:
        return convert_array(tree, j);
    case JSON_STRING:
        return umbra_template_text(tree, json_string_value(j), json_string_length(j), origin);
    case JSON_INTEGER:
        return umbra_template_int(tree, json_integer_value(j));
    case JSON_REAL:
        return umbra_template_float(tree, json_real_value(j));
    case JSON_TRUE:
    case JSON_FALSE:
        return umbra_template_bool(tree, json_is_true(j));
    default:
        return umbra_template_none(tree);
    }
}

/* bos_token, eos_token and the like are the tokenizer's, not a user's. */
static umbra_template_origin origin_of(const char *key)
{
    static const char suffix[] = "_token";
    size_t n = strlen(key), m = sizeof suffix - 1;
    return n > m && strcmp(key + n - m, suffix) == 0 ? UMBRA_TEMPLATE_MARKUP : UMBRA_TEMPLATE_INPUT;
}

static int fill(umbra_template_tree *tree, umbra_template_value *variables, json_t *j)
{
    const char *key;
    json_t *item;
    int rc = variables ? UMBRA_OK : UMBRA_E_NOMEM;
    json_object_foreach(j, key, item)
    {
        if (rc != UMBRA_OK || json_is_null(item))
            continue;
        if (strcmp(key, "extra") == 0 && json_is_object(item))
            rc = add_members(tree, variables, item);
        else
            rc = umbra_template_set(tree, variables, key, strlen(key),
                                    convert(tree, item, origin_of(key)));
    }
    return rc;
}

int cli_template_case(umbra_template_tree **tree, umbra_template_value **variables,
                      const char *json, size_t bytes, const char *name, umbra_error *err)
{
    json_error_t wrong;
    *tree = NULL;
    json_t *j = json_loadb(json, bytes, JSON_ALLOW_NUL, &wrong);
    if (!json_is_object(j)) {
        char text[sizeof wrong.text + 32];
        snprintf(text, sizeof text, "line %d: %s", wrong.line, wrong.text);
        int rc = fail(err, UMBRA_E_FORMAT, name, j ? "the case must be a JSON object" : text);
        json_decref(j);
        return rc;
    }
    int rc = umbra_template_tree_open(tree, err);
    if (rc == UMBRA_OK) {
        *variables = umbra_template_dict(*tree);
        rc = fill(*tree, *variables, j);
        if (rc != UMBRA_OK) {
            fail(err, rc, name, "no memory for the case");
            umbra_template_tree_close(tree);
        }
    }
    json_decref(j);
    return rc;
}
