/* POST /tokenize and /detokenize. */
#include "base/memory.h"
#include "serve/internal.h"

enum { MOST_TOKENS = 1 << 20 };

static json_t *token_list(const serve *s, const int32_t *ids, size_t n, bool pieces)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *id = json_integer(ids[i]);
        json_array_append_new(
            list,
            pieces ? json_pack("{s:o, s:o}", "id", id, "piece", serve_token_text(s, ids[i])) : id);
    }
    return list;
}

static enum MHD_Result tokenize(serve_exchange *x, const json_t *body)
{
    const json_t *content = NULL;
    bool bos = false, special = true, pieces = false;
    enum MHD_Result result;
    umbra_error err = {0};
    int32_t *ids;
    size_t n;
    const serve_field fields[] = {
        {"content", SERVE_JSON, &content},
        {"add_special", SERVE_BOOL, &bos},
        {"parse_special", SERVE_BOOL, &special},
        {"with_pieces", SERVE_BOOL, &pieces},
        {"model", SERVE_IGNORED},
        {0},
    };
    if (!serve_read_fields(x, body, fields, &result))
        return result;
    if (!json_is_string(content))
        return serve_refuse(x, MHD_HTTP_BAD_REQUEST, "content", "content: must be a string");
    if (umbra_tokenize_first(x->server->o.model, json_string_value(content),
                             json_string_length(content), bos, special, MOST_TOKENS, &ids, &n,
                             &err) != UMBRA_OK)
        return serve_refuse(x, MHD_HTTP_INTERNAL_SERVER_ERROR, NULL, "%s", err.message);
    json_t *list = token_list(x->server, ids, n, pieces);
    umbra_free_tokens(ids);
    return serve_reply_json(x, MHD_HTTP_OK, json_pack("{s:o}", "tokens", list));
}

enum MHD_Result serve_tokenize(serve_exchange *x)
{
    enum MHD_Result result = MHD_NO;
    json_t *body = serve_read_body(x, &result);
    if (body)
        result = tokenize(x, body);
    json_decref(body);
    return result;
}

static void add_token(const serve *s, serve_buffer *text, int32_t id)
{
    char small[256];
    size_t n = umbra_detokenize(s->o.model, id, true, small, sizeof small);
    if (n <= sizeof small) {
        serve_buffer_add(text, small, n);
        return;
    }
    char *large = umbra_calloc(n, 1);
    if (large) {
        umbra_detokenize(s->o.model, id, true, large, n);
        serve_buffer_add(text, large, n);
    }
    text->failed |= !large;
    umbra_free(large);
}

static enum MHD_Result detokenize(serve_exchange *x, const json_t *body)
{
    const json_t *tokens = NULL;
    enum MHD_Result result;
    size_t i;
    json_t *id;
    const serve_field fields[] = {{"tokens", SERVE_JSON, &tokens}, {"model", SERVE_IGNORED}, {0}};
    if (!serve_read_fields(x, body, fields, &result))
        return result;
    if (!json_is_array(tokens))
        return serve_refuse(x, MHD_HTTP_BAD_REQUEST, "tokens", "tokens: must be a list of ids");
    serve_buffer text = {0};
    json_array_foreach((json_t *)(uintptr_t)tokens, i, id)
    {
        json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
        if (value < 0 || value >= x->server->vocabulary) {
            serve_buffer_free(&text);
            return serve_refuse(x, MHD_HTTP_BAD_REQUEST, "tokens", "tokens: ids are 0..%d",
                                x->server->vocabulary - 1);
        }
        add_token(x->server, &text, (int32_t)value);
    }
    if (text.failed) {
        serve_buffer_free(&text);
        return serve_refuse_nomem(x);
    }
    json_t *content = serve_json_text(text.data, text.bytes);
    serve_buffer_free(&text);
    return serve_reply_json(x, MHD_HTTP_OK, json_pack("{s:o}", "content", content));
}

enum MHD_Result serve_detokenize(serve_exchange *x)
{
    enum MHD_Result result = MHD_NO;
    json_t *body = serve_read_body(x, &result);
    if (body)
        result = detokenize(x, body);
    json_decref(body);
    return result;
}
