/* Tokens with a meaning of their own: what begins a text, what ends one, what stands for what the
 * vocabulary cannot spell. */
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "base/quote.h"
#include "tokenizer/internal.h"

/* Texts that end a generation in the families that have them, whatever ids and types a file gives:
 * ends of a text, of a turn, of a message that waits for an answer, and what only follows a
 * complete file (padding and separators of code models). */
static const char *const end_texts[] = {
    /* of a turn or message */
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eot|>",
    "<|eom|>",
    "<|EOT|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<|end_of_turn|>",
    "<end_of_turn>",
    "<|endofturn|>",
    "[|endofturn|]",
    "<turn|>",
    "<|tool_response>",
    "<|END_OF_TURN_TOKEN|>",
    "<end_of_utterance>",
    "<|endofresponse|>",
    "<|assistant_end|>",
    "<|role_end|>",
    "<|user|>",
    "<|observation|>",
    /* of a text */
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end_of_sentence|>",
    ("<\xef\xbd\x9c" /* the escape would go on with "e" */
     "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>"),
    "</s>",
    "<eos>",
    "<|eos|>",
    "[EOS]",
    "[e~[",
    "<seed:eos>",
    "<|plamo:eos|>",
    /* of a file of code */
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
};

/* Keys with an id that ends a generation, or with an array of them. */
static const char *const end_keys[] = {
    "tokenizer.ggml.eos_token_ids",    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.eom_token_id",     "tokenizer.ggml.fim_pad_token_id",
    "tokenizer.ggml.fim_rep_token_id", "tokenizer.ggml.fim_sep_token_id",
};

enum { N_END_TEXTS = sizeof end_texts / sizeof *end_texts };

/* What a role is read from. */
typedef struct roles {
    umbra_vocabulary *v;
    const umbra_token_index *index;
    const umbra_merges *merges;
    const umbra_gguf *gguf;
    umbra_notes *notes;
} roles;

static void add_end(umbra_vocabulary *v, int32_t id)
{
    for (int i = 0; i < v->n_end; i++)
        if (v->end[i] == id)
            return;
    if (id >= 0 && v->n_end < UMBRA_END_TOKENS_MAX)
        v->end[v->n_end++] = id;
}

/* An id that the file gives, or -1 with a note if there is no such token. */
static int32_t checked(const roles *r, const char *key, int64_t id)
{
    if (id >= 0 && id < r->v->n)
        return (int32_t)id;
    umbra_note(r->notes, "%s is %" PRId64 ", but there are %u tokens: it is ignored", key, id,
               r->v->n);
    return -1;
}

/* The id under a key, or the fallback where there is none that can be used. */
static int32_t read_id(const roles *r, const char *key, int32_t fallback)
{
    uint32_t id = 0;
    int32_t found = -1;
    int rc = umbra_gguf_get_u32(r->gguf, key, &id, NULL);
    if (rc < 0)
        umbra_note(r->notes, "%s holds no id of a token: it is ignored", key);
    if (rc > 0)
        found = checked(r, key, id);
    return found >= 0 ? found : fallback < (int32_t)r->v->n ? fallback : -1;
}

/* All ids under a key as end tokens; the first of them or, where there is none, the fallback. */
static int32_t read_ends(const roles *r, const char *key, int32_t fallback)
{
    umbra_gguf_array a;
    int32_t first = -1;
    if (umbra_gguf_get_array(r->gguf, key, UMBRA_GGUF_I32, &a, NULL) == 1) {
        for (int64_t id; umbra_gguf_next_int(&a, &id);) {
            int32_t end = checked(r, key, id);
            add_end(r->v, end);
            first = first < 0 ? end : first;
        }
        return first >= 0 ? first : fallback < (int32_t)r->v->n ? fallback : -1;
    }
    first = read_id(r, key, fallback);
    add_end(r->v, first);
    return first;
}

static int32_t find(const roles *r, const char *text)
{
    return umbra_token_index_find(r->index, r->v, (umbra_string){text, strlen(text)},
                                  (umbra_string){"", 0});
}

static bool has(const roles *r, const char *text)
{
    return find(r, text) >= 0;
}

/* Whether plain text can become this token: then it is a word like any other. */
static bool is_text(const roles *r, int32_t id)
{
    if (r->v->tokens[id].type != UMBRA_TOKEN_NORMAL)
        return false;
    for (uint32_t i = 0; i < r->merges->n; i++)
        if (r->merges->merged[i] == (uint32_t)id)
            return true;
    return false;
}

/* Whether a token with one of those texts ends a generation in this vocabulary. */
static bool ends(const roles *r, const char *text, int32_t id)
{
    if (is_text(r, id))
        return false;
    if (strcmp(text, "<|end|>") == 0) /* where a turn is several messages, it ends one of them */
        return !(has(r, "<|return|>") && has(r, "<|call|>")) &&
               !(has(r, "<|flush|>") && (has(r, "<|call|>") || has(r, "<|calls|>")));
    if (strcmp(text, "</s>") == 0) /* where another text ends turns, a tag of HTML */
        return r->v->tokens[id].type == UMBRA_TOKEN_CONTROL ||
               !(has(r, "<end_of_turn>") || has(r, "<turn|>") || has(r, "<|plamo:eos|>"));
    if (strcmp(text, "<|user|>") == 0 || strcmp(text, "<|observation|>") == 0)
        return has(r, "<|user|>") && has(r, "<|observation|>"); /* who speaks next ends the turn */
    return true;
}

static void find_ends(const roles *r)
{
    for (int i = 0; i < N_END_TEXTS; i++) {
        int32_t id = find(r, end_texts[i]);
        if (id < 0 || !ends(r, end_texts[i], id))
            continue;
        add_end(r->v, id);
        uint8_t *type = &r->v->tokens[id].type;
        if (*type != UMBRA_TOKEN_NORMAL && *type != UMBRA_TOKEN_UNUSED)
            continue;
        umbra_note(r->notes, "token %d \"%s\" has the type %d, but is a control token by its text",
                   id, end_texts[i], *type);
        *type = UMBRA_TOKEN_CONTROL;
    }
}

/* What stands for a character that the vocabulary cannot spell, or -1. */
static int32_t find_unknown(const roles *r)
{
    int32_t key = r->v->kind == UMBRA_SENTENCE_PIECES
                      ? read_id(r, "tokenizer.ggml.unknown_token_id", -1)
                      : -1; /* files of byte pairs often name the end of text there */
    for (uint32_t id = 0; key < 0 && id < r->v->n; id++)
        if (r->v->tokens[id].type == UMBRA_TOKEN_UNKNOWN)
            key = (int32_t)id;
    return key;
}

static void note_bytes(const roles *r)
{
    const umbra_vocabulary *v = r->v;
    int missing = 0, first = 0;
    for (int byte = 255; byte >= 0; byte--)
        if (v->byte_token[byte] < 0) {
            missing++;
            first = byte;
        }
    if (missing == 0)
        return;
    umbra_string s = v->unknown >= 0 ? umbra_vocabulary_text(v, v->unknown) : (umbra_string){"", 0};
    umbra_note(r->notes, "bytes without a token: %d (the first: 0x%02x); %s%s%s", missing,
               (unsigned)first,
               v->unknown >= 0 ? "in a text they become \"" : "they are left out of a text",
               umbra_quote(s.data, s.bytes).text, v->unknown >= 0 ? "\"" : "");
}

/* What a file asks to be done to every text, and is not done here. */
static void note_unmet(const roles *r)
{
    static const struct {
        const char *key, *instead;
    } asked[] = {
        {"tokenizer.ggml.add_eos_token",
         "texts are there to be continued, so none is put at the end"},
        {"tokenizer.ggml.add_sep_token", "no separator is put into a text"},
        {"tokenizer.ggml.normalizer.lowercase", "texts keep their capital letters"},
    };
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        bool set = false;
        if (umbra_gguf_get_bool(r->gguf, asked[i].key, &set, NULL) > 0 && set)
            umbra_note(r->notes, "%s is set: %s", asked[i].key, asked[i].instead);
    }
}

int umbra_roles_init(umbra_tokenizer *t, const umbra_gguf *gguf, bool adds_bos, umbra_error *err)
{
    umbra_vocabulary *v = &t->vocabulary;
    const roles r = {v, &t->index, &t->merges, gguf, &t->notes};
    bool pieces = v->kind == UMBRA_SENTENCE_PIECES; /* which have usual ids */
    v->bos = read_id(&r, "tokenizer.ggml.bos_token_id", pieces ? 1 : -1);
    v->eos = read_ends(&r, "tokenizer.ggml.eos_token_id", pieces ? 2 : -1);
    for (size_t i = 0; i < sizeof end_keys / sizeof *end_keys; i++)
        (void)read_ends(&r, end_keys[i], -1);
    find_ends(&r);
    v->unknown = find_unknown(&r);
    note_bytes(&r);
    note_unmet(&r);
    v->space_prefix = pieces;
    v->add_bos = adds_bos && v->bos >= 0;
    int rc = UMBRA_OK;
    if (pieces)
        rc = umbra_gguf_get_bool(gguf, "tokenizer.ggml.add_space_prefix", &v->space_prefix, err);
    if (rc >= 0)
        rc = umbra_gguf_get_bool(gguf, "tokenizer.ggml.add_bos_token", &v->add_bos, err);
    if (rc < 0)
        return rc;
    if (v->kind == UMBRA_CHARACTER_PAIRS && !v->add_bos && v->bos >= 0) {
        umbra_note(&t->notes, "tokenizer.ggml.add_bos_token is not set, as in early files: texts "
                              "begin with the BOS token all the same, which the family needs");
        v->add_bos = true;
    }
    if (v->add_bos && v->bos < 0) {
        umbra_note(&t->notes, "tokenizer.ggml.add_bos_token is set, but there is no BOS token: "
                              "texts begin without one");
        v->add_bos = false;
    }
    return UMBRA_OK;
}
