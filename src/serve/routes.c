/* Which path is answered by what. */
#include <string.h>

#include "serve/internal.h"

static const serve_route routes[] = {
    {"POST", "/v1/completions", SERVE_OPENAI, false, serve_completions},
    {"POST", "/v1/chat/completions", SERVE_OPENAI, false, serve_chat_completions},
    {"POST", "/v1/responses", SERVE_OPENAI, false, serve_responses},
    {"POST", "/v1/messages", SERVE_ANTHROPIC, false, serve_messages},
    {"POST", "/v1/messages/count_tokens", SERVE_ANTHROPIC, false, serve_count_tokens},
    {"POST", "/apply-template", SERVE_OPENAI, false, serve_apply_template},
    {"GET", "/v1/models", SERVE_OPENAI, false, serve_models},
    {"GET", "/v1/models/", SERVE_OPENAI, false, serve_model}, /* and a name behind it */
    {"POST", "/tokenize", SERVE_OPENAI, false, serve_tokenize},
    {"POST", "/detokenize", SERVE_OPENAI, false, serve_detokenize},
    {"GET", "/health", SERVE_OPENAI, true, serve_health},
    {"GET", "/props", SERVE_OPENAI, false, serve_props},
    {"GET", "/slots", SERVE_OPENAI, false, serve_slots},
    {"GET", "/", SERVE_OPENAI, true, serve_page},
    {"GET", "/live", SERVE_OPENAI, false, serve_live},
    {"GET", "/metrics", SERVE_OPENAI, false, serve_metrics},
};

static bool is_path(const serve_route *r, const char *path)
{
    size_t n = strlen(r->path);
    bool prefix = n > 1 && r->path[n - 1] == '/';
    return prefix ? strncmp(path, r->path, n) == 0 : strcmp(path, r->path) == 0;
}

const serve_route *serve_find_route(const char *method, const char *path, bool *known)
{
    *known = false;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (!is_path(&routes[i], path))
            continue;
        *known = true;
        if (strcmp(routes[i].method, method) == 0)
            return &routes[i];
    }
    return NULL;
}
