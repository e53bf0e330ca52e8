/* Trees of values that callers build. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "template/text.h"
#include "template/tree.h"

struct umbra_template_tree {
    umbra_tpl_context c;
    umbra_error err;
};

struct umbra_template_value {
    umbra_tpl_value v;
};

int umbra_template_tree_open(umbra_template_tree **out, umbra_error *err)
{
    umbra_template_tree *tree = umbra_calloc(1, sizeof *tree);
    *out = tree;
    if (!tree)
        return umbra_fail_nomem(err, "the values of a chat template", sizeof *tree);
    tree->c = (umbra_tpl_context){.memory_limit = SIZE_MAX / 2,
                                  .step_limit = UINT64_MAX,
                                  .depth_limit = UINT32_MAX,
                                  .output_limit = SIZE_MAX / 4,
                                  .err = &tree->err};
    return UMBRA_OK;
}

void umbra_template_tree_close(umbra_template_tree **tree)
{
    if (!*tree)
        return;
    umbra_tpl_drop(&(*tree)->c);
    umbra_free(*tree);
    *tree = NULL;
}

static umbra_template_value *keep(umbra_template_tree *tree, int rc, umbra_tpl_value v)
{
    umbra_template_value *out = rc == UMBRA_OK ? umbra_tpl_alloc(&tree->c, 1, sizeof *out) : NULL;
    if (out)
        out->v = v;
    return out;
}

umbra_tpl_context *umbra_tpl_tree_context(umbra_template_tree *tree)
{
    return &tree->c;
}

umbra_template_value *umbra_tpl_to_tree(umbra_template_tree *tree, umbra_tpl_value v)
{
    return keep(tree, UMBRA_OK, v);
}

static umbra_template_value *keep_scalar(umbra_template_tree *tree, umbra_tpl_value v)
{
    v.input = true;
    return keep(tree, UMBRA_OK, v);
}

umbra_template_value *umbra_template_none(umbra_template_tree *tree)
{
    return keep_scalar(tree, umbra_tpl_none());
}

umbra_template_value *umbra_template_bool(umbra_template_tree *tree, bool value)
{
    return keep_scalar(tree, umbra_tpl_bool(value));
}

umbra_template_value *umbra_template_int(umbra_template_tree *tree, int64_t value)
{
    return keep_scalar(tree, umbra_tpl_int(value));
}

umbra_template_value *umbra_template_float(umbra_template_tree *tree, double value)
{
    return keep_scalar(tree, umbra_tpl_float(value));
}

static int copy_checked(umbra_tpl_context *c, const char *text, size_t bytes, bool input,
                        umbra_tpl_value *out)
{
    umbra_tpl_builder b;
    umbra_tpl_builder_init(&b, c);
    int rc = UMBRA_OK;
    for (size_t i = 0; rc == UMBRA_OK && i < bytes;) {
        size_t from = i, n = 1;
        while (i < bytes && (n = umbra_utf8_length(text + i, bytes - i)) > 0)
            i += n;
        rc = umbra_tpl_put(&b, text + from, i - from, input);
        if (rc == UMBRA_OK && i < bytes) {
            rc = umbra_tpl_put_word(&b, "\xef\xbf\xbd", input);
            i++;
        }
    }
    b.input = input;
    return rc == UMBRA_OK ? umbra_tpl_built(&b, out) : rc;
}

umbra_template_value *umbra_template_text(umbra_template_tree *tree, const char *text, size_t bytes,
                                          umbra_template_origin origin)
{
    umbra_tpl_value v = umbra_tpl_none();
    int rc = copy_checked(&tree->c, text, bytes, origin == UMBRA_TEMPLATE_INPUT, &v);
    return keep(tree, rc, v);
}

umbra_template_value *umbra_template_list(umbra_template_tree *tree)
{
    umbra_tpl_value v = umbra_tpl_none();
    int rc = umbra_tpl_new_list(&tree->c, TPL_LIST, 0, &v);
    return keep(tree, rc, v);
}

umbra_template_value *umbra_template_dict(umbra_template_tree *tree)
{
    umbra_tpl_value v = umbra_tpl_none();
    int rc = umbra_tpl_new_dict(&tree->c, TPL_DICT, &v);
    return keep(tree, rc, v);
}

int umbra_template_append(umbra_template_tree *tree, umbra_template_value *list,
                          umbra_template_value *item)
{
    if (!list || !item)
        return UMBRA_E_NOMEM;
    return list->v.kind == TPL_LIST ? umbra_tpl_append(&tree->c, list->v, item->v)
                                    : UMBRA_E_ARGUMENT;
}

int umbra_template_set(umbra_template_tree *tree, umbra_template_value *dict, const char *key,
                       size_t key_bytes, umbra_template_value *item)
{
    umbra_tpl_value name;
    if (!dict || !item)
        return UMBRA_E_NOMEM;
    if (dict->v.kind != TPL_DICT)
        return UMBRA_E_ARGUMENT;
    int rc = copy_checked(&tree->c, key, key_bytes, true, &name);
    return rc == UMBRA_OK ? umbra_tpl_dict_set(&tree->c, dict->v.u.dict, name, item->v) : rc;
}

umbra_tpl_value umbra_tpl_of_tree(const umbra_template_value *v)
{
    return v->v;
}

static int copy_list(umbra_tpl_context *c, const umbra_tpl_list *from, umbra_tpl_value *out)
{
    int rc = umbra_tpl_new_list(c, TPL_LIST, from->count, out);
    for (size_t i = 0; rc == UMBRA_OK && i < from->count; i++) {
        umbra_tpl_value item;
        rc = umbra_tpl_copy_tree(c, from->items[i], &item);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_append(c, *out, item);
    }
    return rc;
}

static int copy_dict(umbra_tpl_context *c, const umbra_tpl_dict *from, umbra_tpl_value *out)
{
    int rc = umbra_tpl_new_dict(c, TPL_DICT, out);
    size_t at = 0;
    for (umbra_tpl_entry *e; rc == UMBRA_OK && (e = umbra_tpl_dict_next(from, &at)) != NULL; at++) {
        umbra_tpl_value item;
        rc = umbra_tpl_copy_tree(c, e->value, &item);
        if (rc == UMBRA_OK)
            rc = umbra_tpl_dict_set(c, out->u.dict, e->key, item);
    }
    return rc;
}

int umbra_tpl_copy_tree(umbra_tpl_context *c, umbra_tpl_value v, umbra_tpl_value *out)
{
    *out = v;
    if (v.kind != TPL_LIST && v.kind != TPL_DICT)
        return UMBRA_OK;
    int rc = umbra_tpl_enter(c);
    if (rc != UMBRA_OK)
        return rc;
    rc = v.kind == TPL_LIST ? copy_list(c, v.u.list, out) : copy_dict(c, v.u.dict, out);
    umbra_tpl_leave(c);
    return rc;
}
