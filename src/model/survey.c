/* Surveys a GGUF file of any kind: what it is, and what stands in the way of running it. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/quote.h"
#include "model/account.h"
#include "model/architecture.h"

static void add_obstacle(umbra_model_survey *s, const char *text)
{
    if (s->n_obstacles < UMBRA_SURVEY_OBSTACLES)
        snprintf(s->obstacle[s->n_obstacles++], sizeof s->obstacle[0], "%s", text);
}

/* A text of the file, or "" where there is none. */
static void copy_text(const umbra_gguf *gguf, const char *key, char *out, size_t size)
{
    umbra_string text = {"", 0};
    (void)umbra_gguf_get_string(gguf, key, &text, NULL);
    umbra_plain_text(out, size, text.data, text.bytes);
}

/* ARCHITECTURE.key as a number; 0 where the file does not say, or says it by layer. */
static uint64_t number_of(const umbra_gguf *gguf, const char *architecture, const char *key)
{
    char name[128];
    uint32_t value = 0;
    snprintf(name, sizeof name, "%s.%s", architecture, key);
    (void)umbra_gguf_get_u32(gguf, name, &value, NULL);
    return value;
}

/* What of a tensor's name is the same in all layers: "blk.17.attn_q.weight" is "attn_q.weight". */
static umbra_string role_of(umbra_string name)
{
    size_t at = 4;
    if (name.bytes <= at || memcmp(name.data, "blk.", at) != 0)
        return name;
    while (at < name.bytes && name.data[at] >= '0' && name.data[at] <= '9')
        at++;
    return at + 1 < name.bytes ? (umbra_string){name.data + at + 1, name.bytes - at - 1} : name;
}

static bool is_experts(umbra_string name)
{
    static const char mark[] = "_exps.";
    for (size_t i = 0; i + sizeof mark - 1 <= name.bytes; i++)
        if (memcmp(name.data + i, mark, sizeof mark - 1) == 0)
            return true;
    return false;
}

/* Adds a layer's role to the list, if it is new there and fits. */
static void add_role(umbra_model_survey *s, umbra_string role)
{
    char text[64];
    umbra_plain_text(text, sizeof text, role.data, role.bytes);
    char *dot = strrchr(text, '.');
    if (dot && strcmp(dot, ".weight") == 0)
        *dot = '\0';
    size_t used = strlen(s->roles), n = strlen(text);
    for (const char *at = s->roles; (at = strstr(at, text)) != NULL; at += n)
        if ((at == s->roles || at[-1] == ' ') && (at[n] == ',' || at[n] == '\0'))
            return;
    if (used + n + 3 <= sizeof s->roles)
        snprintf(s->roles + used, sizeof s->roles - used, "%s%s", used ? ", " : "", text);
}

static void survey_tensors(umbra_model_survey *s, const umbra_gguf *gguf)
{
    for (uint64_t i = 0; i < s->tensors; i++) {
        const umbra_gguf_tensor *t = umbra_gguf_tensor_at(gguf, i);
        umbra_string role = role_of(t->name);
        *(is_experts(t->name) ? &s->expert_bytes : &s->other_bytes) += t->bytes;
        if (role.data != t->name.data)
            add_role(s, role);
    }
}

static void survey_keys(umbra_model_survey *s, const umbra_gguf *gguf)
{
    char pre[64];
    copy_text(gguf, "general.architecture", s->architecture, sizeof s->architecture);
    copy_text(gguf, "general.name", s->name, sizeof s->name);
    copy_text(gguf, "tokenizer.ggml.model", s->tokenizer, sizeof s->tokenizer);
    copy_text(gguf, "tokenizer.ggml.pre", pre, sizeof pre);
    size_t used = strlen(s->tokenizer);
    if (pre[0] != '\0')
        snprintf(s->tokenizer + used, sizeof s->tokenizer - used, ", %s", pre);
    s->file_bytes = umbra_gguf_file_bytes(gguf);
    s->files = umbra_gguf_file_count(gguf);
    s->keys = umbra_gguf_pair_count(gguf);
    s->tensors = umbra_gguf_tensor_count(gguf);
    const struct {
        const char *key;
        uint64_t *out;
    } numbers[] = {
        {"block_count", &s->layers},     {"embedding_length", &s->hidden},
        {"expert_count", &s->experts},   {"expert_used_count", &s->experts_used},
        {"context_length", &s->context},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        *numbers[i].out = number_of(gguf, s->architecture, numbers[i].key);
}

/* Opens, part by part, what opening a model opens, and keeps the reason where a part is refused. */
static int try_parts(umbra_model_survey *s, umbra_model *model, umbra_error *err)
{
    umbra_string name = {"", 0};
    umbra_error why = {0};
    int rc = umbra_account_file(model->gguf, &why);
    if (rc < 0)
        add_obstacle(s, why.message);
    (void)umbra_gguf_get_string(model->gguf, "general.architecture", &name, NULL);
    const umbra_architecture *known = umbra_architecture_find(name);
    s->architecture_known = known != NULL;
    if (!known)
        add_obstacle(s, name.bytes ? "Umbra has no layout of this architecture"
                                   : "the key general.architecture is missing");
    if (known && s->experts == 0 && s->expert_bytes == 0)
        add_obstacle(s, "the model has no experts");
    rc = umbra_tokenizer_open(&model->tokenizer, model->gguf, &why);
    if (rc < 0 && rc != UMBRA_E_NOMEM)
        add_obstacle(s, why.message);
    if (rc == UMBRA_OK && known)
        rc = umbra_architecture_load(known, model, &why);
    if (rc < 0 && rc != UMBRA_E_NOMEM && model->tokenizer)
        add_obstacle(s, why.message);
    return rc == UMBRA_E_NOMEM ? umbra_fail_as(&why, err) : UMBRA_OK;
}

int umbra_model_survey_file(umbra_model_survey *out, const char *path, umbra_error *err)
{
    *out = (umbra_model_survey){0};
    umbra_model *model = umbra_calloc(1, sizeof *model);
    if (!model)
        return umbra_fail_nomem(err, "the model", sizeof *model);
    int rc = umbra_gguf_open_all(&model->gguf, path, err);
    if (rc == UMBRA_OK) {
        survey_keys(out, model->gguf);
        survey_tensors(out, model->gguf);
        out->n_types = umbra_model_get_types(model, out->type, UMBRA_SURVEY_TYPES);
        if (out->n_types > UMBRA_SURVEY_TYPES)
            out->n_types = UMBRA_SURVEY_TYPES;
        rc = try_parts(out, model, err);
    }
    umbra_model_close(&model);
    return rc;
}
