/* A small HTTP client over raw sockets. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cmocka.h>

#include "http.h"

static int try_connect(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timeval patience = {.tv_sec = 300}; /* eight texts at once under valgrind */
    inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    close(fd);
    return -1;
}

int http_connect(int port)
{
    int fd = try_connect(port);
    assert_true(fd >= 0);
    return fd;
}

bool http_send(int fd, const char *text, size_t bytes)
{
    while (bytes > 0) {
        ssize_t n = send(fd, text, bytes, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        text += n;
        bytes -= (size_t)n;
    }
    return true;
}

/* Joins chunks in place; what is cut ends there. */
static size_t join_chunks(char *body, size_t bytes)
{
    size_t out = 0, at = 0;
    while (at < bytes) {
        char *end;
        size_t n = strtoul(body + at, &end, 16);
        at = (size_t)(end - body) + 2;
        if (n == 0 || at + n > bytes)
            break;
        memmove(body + out, body + at, n);
        out += n;
        at += n + 2;
    }
    body[out] = '\0';
    return out;
}

static char *read_all(int fd, size_t *bytes)
{
    size_t room = 1 << 16;
    char *all = malloc(room + 1);
    *bytes = 0;
    for (;;) {
        assert_non_null(all);
        ssize_t n = recv(fd, all + *bytes, room - *bytes, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        *bytes += (size_t)n;
        if (*bytes == room)
            all = realloc(all, (room *= 2) + 1);
    }
    all[*bytes] = '\0';
    return all;
}

http_reply http_read(int fd)
{
    http_reply r = {0};
    size_t bytes;
    r.head = read_all(fd, &bytes);
    close(fd);
    sscanf(r.head, "HTTP/1.%*d %d", &r.status);
    char *body = strstr(r.head, "\r\n\r\n");
    if (!body)
        return r;
    *body = '\0';
    r.body = body + 4;
    r.bytes = bytes - (size_t)(r.body - r.head);
    if (strcasestr(r.head, "transfer-encoding: chunked"))
        r.bytes = join_chunks(r.body, r.bytes);
    return r;
}

void http_free(http_reply *r)
{
    free(r->head);
    *r = (http_reply){0};
}

http_reply http_ask(int port, const char *method, const char *path, const char *headers,
                    const char *body)
{
    int fd = try_connect(port);
    char head[2048];
    if (fd < 0)
        return (http_reply){0};
    int n = snprintf(head, sizeof head,
                     "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n"
                     "Content-Length: %zu\r\n%s\r\n",
                     method, path, port, body ? strlen(body) : 0, headers);
    http_send(fd, head, (size_t)n);
    if (body)
        http_send(fd, body, strlen(body));
    return http_read(fd);
}

static json_t *parse(http_reply *r, const char *path, int status)
{
    json_error_t wrong;
    json_t *j = r->body ? json_loadb(r->body, r->bytes, 0, &wrong) : NULL;
    if (r->status != status || !j)
        fail_msg("%s: status %d: %s", path, r->status, r->body ? r->body : "");
    http_free(r);
    return j;
}

json_t *http_post(int port, const char *path, const char *body, int status)
{
    http_reply r = http_ask(port, "POST", path, "", body);
    return parse(&r, path, status);
}

json_t *http_get(int port, const char *path, int status)
{
    http_reply r = http_ask(port, "GET", path, "", NULL);
    return parse(&r, path, status);
}

json_t *http_events(const http_reply *r)
{
    json_t *list = json_array();
    char name[64];
    for (const char *at = r->body; at && *at;) {
        const char *data = strstr(at, "\ndata: "), *end = strstr(at, "\n\n");
        if (*at == ':' && end) {
            at = end + 2;
            continue;
        }
        if (sscanf(at, "event: %63[^\n]", name) != 1 || !data || !end || data > end)
            fail_msg("no event: %s", at);
        json_t *j = json_loadb(data + 7, (size_t)(end - data) - 7, 0, NULL);
        if (!j)
            fail_msg("no JSON: %s", data);
        json_array_append_new(list, json_pack("{s:s, s:o}", "event", name, "data", j));
        at = end + 2;
    }
    return list;
}

static const json_t *find(const json_t *j, const char *path)
{
    char word[64];
    for (const char *at = path; j && *at;) {
        size_t n = strcspn(at, ".");
        snprintf(word, sizeof word, "%.*s", (int)n, at);
        j = json_is_array(j) ? json_array_get(j, (size_t)atoi(word)) : json_object_get(j, word);
        at += n + (at[n] == '.');
    }
    return j;
}

const char *http_text(const json_t *j, const char *path)
{
    const json_t *value = find(j, path);
    if (!json_is_string(value))
        fail_msg("there is no text at %s in %s", path, json_dumps(j, 0));
    return json_string_value(value);
}

long long http_number(const json_t *j, const char *path)
{
    const json_t *value = find(j, path);
    if (!json_is_integer(value))
        fail_msg("there is no integer at %s in %s", path, json_dumps(j, 0));
    return json_integer_value(value);
}
