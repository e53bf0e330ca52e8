/* How a trace was made: the free JSON in its manifest, and what two infos differ in. */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "lab/trace/internal.h"

int umbra_trace_json_parse(struct json_t **out, const char *text, size_t bytes, const char *path,
                           umbra_error *err)
{
    json_error_t why;
    *out = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);
    if (*out)
        return UMBRA_OK;
    if (json_error_code(&why) == json_error_out_of_memory)
        return umbra_fail_nomem(err, "a JSON text", bytes);
    for (char *c = why.text; *c; c++) /* it quotes the text, which may hold anything */
        *c = *c < 0x20 || *c > 0x7e ? '?' : *c;
    return umbra_fail_at(err, UMBRA_E_FORMAT, (uint64_t)why.position, "%s: malformed JSON: %s",
                         path, why.text);
}

int umbra_trace_json_text(char **out, const struct json_t *value, umbra_error *err)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
    *out = text ? umbra_strdup(text) : NULL;
    free(text); /* jansson's own */
    return *out ? UMBRA_OK : umbra_fail(err, UMBRA_E_NOMEM, "no memory for a JSON text");
}

int umbra_trace_collection(char **out, const char *text, const char *path, umbra_error *err)
{
    json_t *value;
    *out = NULL;
    if (!text)
        text = "{}";
    int rc = umbra_trace_json_parse(&value, text, strlen(text), path, err);
    if (rc == UMBRA_E_FORMAT)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "%s: the collection is not JSON", path);
    if (rc != UMBRA_OK)
        return rc;
    rc = json_is_object(value)
             ? umbra_trace_json_text(out, value, err)
             : umbra_fail(err, UMBRA_E_ARGUMENT, "%s: the collection is not an object", path);
    json_decref(value);
    return rc;
}

typedef struct list {
    char *text;
    size_t room, used;
} list;

__attribute__((format(printf, 2, 3))) static void add(list *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(l->text + l->used, l->room - l->used, format, args);
    va_end(args);
    size_t left = l->room - l->used - 1;
    if (n >= 0 && (size_t)n <= left) {
        l->used += (size_t)n;
        return;
    }
    size_t end = l->room - 1; /* cut: not inside a character */
    while (end > l->used && ((unsigned char)l->text[end - 1] & 0xc0) == 0x80)
        end--;
    if (end > l->used && (unsigned char)l->text[end - 1] >= 0xc0)
        end--;
    l->text[end] = '\0';
    l->used = end;
}

static void add_text(list *l, const char *name, const char *now, const char *before)
{
    if (strcmp(now, before) != 0)
        add(l, "%s%s \"%s\", it was \"%s\"", l->used ? "; " : "", name, now, before);
}

static void add_int(list *l, const char *name, int now, int before)
{
    if (now != before)
        add(l, "%s%s %d, it was %d", l->used ? "; " : "", name, now, before);
}

/* A member of the collections that differs; either side may be NULL: absent. */
static int add_member(list *l, const char *key, const json_t *now, const json_t *before,
                      umbra_error *err)
{
    char *texts[2] = {NULL, NULL};
    const json_t *values[2] = {now, before};
    int rc = UMBRA_OK;
    for (int i = 0; i < 2 && rc == UMBRA_OK; i++)
        if (values[i])
            rc = umbra_trace_json_text(&texts[i], values[i], err);
    if (rc == UMBRA_OK)
        add(l, "%scollection's \"%s\" %.100s, it was %.100s", l->used ? "; " : "", key,
            now ? texts[0] : "absent", before ? texts[1] : "absent");
    umbra_free(texts[0]);
    umbra_free(texts[1]);
    return rc;
}

static int add_members(list *l, json_t *now, json_t *before, umbra_error *err)
{
    const char *key;
    json_t *value;
    int rc = UMBRA_OK;
    json_object_foreach(now, key, value)
    {
        json_t *other = json_object_get(before, key);
        if (rc == UMBRA_OK && !(other && json_equal(value, other)))
            rc = add_member(l, key, value, other, err);
    }
    json_object_foreach(before, key, value)
    {
        if (rc == UMBRA_OK && !json_object_get(now, key))
            rc = add_member(l, key, NULL, value, err);
    }
    return rc;
}

int umbra_trace_info_difference(const umbra_trace_info *now, const umbra_trace_info *before,
                                char *text, size_t room, umbra_error *err)
{
    list l = {.text = text, .room = room};
    json_t *a = NULL, *b = NULL;
    text[0] = '\0';
    add_text(&l, "model hash", now->model_hash, before->model_hash);
    add_text(&l, "model name", now->model_name, before->model_name);
    add_text(&l, "architecture", now->architecture, before->architecture);
    add_int(&l, "layers", now->layers, before->layers);
    add_int(&l, "hidden", now->hidden, before->hidden);
    add_int(&l, "experts", now->experts, before->experts);
    add_int(&l, "experts used", now->used, before->used);
    add_text(&l, "dtype", now->int8 ? "I8" : "BF16", before->int8 ? "I8" : "BF16");
    add_int(&l, "stride", now->stride, before->stride);
    int rc =
        umbra_trace_json_parse(&a, now->collection, strlen(now->collection), "collection", err);
    if (rc == UMBRA_OK)
        rc = umbra_trace_json_parse(&b, before->collection, strlen(before->collection),
                                    "collection", err);
    if (rc == UMBRA_OK)
        rc = add_members(&l, a, b, err);
    json_decref(a);
    json_decref(b);
    return rc;
}
