/* Who may ask: keys, hosts and origins. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/memory.h"
#include "serve/internal.h"

int serve_read_keys(serve *s, const char *text, umbra_error *err)
{
    s->keys_text = umbra_strdup(text);
    s->keys = umbra_calloc(strlen(text) / 2 + 1, sizeof *s->keys);
    if (!s->keys_text || !s->keys)
        return umbra_fail_nomem(err, "the keys", strlen(text));
    char *rest = s->keys_text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        line += strspn(line, " \t\r");
        size_t n = strlen(line);
        while (n > 0 && strchr(" \t\r", line[n - 1]))
            n--;
        line[n] = '\0';
        if (n > 0 && line[0] != '#')
            s->keys[s->n_keys++] = (serve_key){line, n};
    }
    if (s->n_keys == 0)
        return umbra_fail(err, UMBRA_E_ARGUMENT, "there is no key in the file of keys");
    return UMBRA_OK;
}

/* The time does not depend on where they differ, but on the length of what was given. */
static bool equal(const char *given, size_t n, const serve_key *key)
{
    volatile unsigned char differs = n != key->bytes;
    for (size_t i = 0; i < n; i++)
        differs |= (unsigned char)(given[i] ^ key->text[i % key->bytes]);
    return !differs;
}

static const char *header(const serve_exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

static bool has_key(const serve_exchange *x)
{
    const serve *s = x->server;
    const char *given = header(x, "Authorization");
    if (given && strncasecmp(given, "Bearer ", 7) == 0)
        given += 7;
    else
        given = header(x, "x-api-key");
    bool found = false;
    for (int i = 0; given && i < s->n_keys; i++)
        found |= equal(given, strlen(given), &s->keys[i]);
    return found;
}

/* The name in "NAME:PORT" or "[ADDRESS]:PORT". */
static size_t name_bytes(const char *host)
{
    const char *end = host[0] == '[' ? strchr(host, ']') : NULL;
    return end ? (size_t)(end + 1 - host) : strcspn(host, ":");
}

/* A page elsewhere could have its own name lead to this address. Where a key is asked for, such a
 * page has none. */
static bool host_is_ours(const serve *s, const char *host)
{
    const char *const names[] = {"localhost", "127.0.0.1", "[::1]", s->o.host ? s->o.host : ""};
    size_t n = host ? name_bytes(host) : 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (n > 0 && strlen(names[i]) == n && strncasecmp(host, names[i], n) == 0)
            return true;
    return s->n_keys > 0;
}

static bool origin_may_ask(const serve *s, const char *origin, const char *host)
{
    if (!origin)
        return true;
    if (s->o.origin && (strcmp(s->o.origin, "*") == 0 || strcasecmp(s->o.origin, origin) == 0))
        return true;
    const char *name = strstr(origin, "://");
    return name && host && strcasecmp(name + 3, host) == 0;
}

bool serve_may_ask(serve_exchange *x, enum MHD_Result *result)
{
    const serve *s = x->server;
    const char *host = header(x, "Host"), *origin = header(x, "Origin");
    if (!host_is_ours(s, host))
        *result = serve_refuse(x, MHD_HTTP_FORBIDDEN, NULL,
                               "the header Host names none of this server's names");
    else if (!origin_may_ask(s, origin, host))
        *result = serve_refuse(x, MHD_HTTP_FORBIDDEN, NULL,
                               "pages of this origin may not ask here; --origin allows one");
    else if (s->n_keys > 0 && !x->route->open && !has_key(x))
        *result = serve_refuse(x, MHD_HTTP_UNAUTHORIZED, NULL,
                               "a key is asked for: Authorization: Bearer KEY, or x-api-key: KEY");
    else
        return true;
    return false;
}
