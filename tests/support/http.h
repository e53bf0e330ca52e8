/* A small HTTP client over raw sockets, so that tests can say anything. */
#ifndef UMBRA_TESTS_HTTP_H
#define UMBRA_TESTS_HTTP_H

#include <jansson.h>
#include <stddef.h>

typedef struct http_reply {
    int status; /* 0: there was no answer */
    char *head; /* with the status line */
    char *body; /* (bytes), chunks joined, NUL-terminated */
    size_t bytes;
} http_reply;

/* A connection to a port of 127.0.0.1; the test fails without it. */
int http_connect(int port);
/* All of the text; false: the other side has closed. */
bool http_send(int fd, const char *text, size_t bytes);
/* Reads until the server closes; closes. */
http_reply http_read(int fd);
void http_free(http_reply *r);

/* A request and its answer, status 0 where nobody listens. headers: whole lines with \r\n, or "".
 * body NULL: none. */
http_reply http_ask(int port, const char *method, const char *path, const char *headers,
                    const char *body);
/* The answer to a POST of this body, which must have the status, as JSON. */
json_t *http_post(int port, const char *path, const char *body, int status);
/* The same of a GET. */
json_t *http_get(int port, const char *path, int status);
/* The events of a stream, each {"event": its name, "data": its JSON}: a list. The test fails where
 * bytes are neither an event of a name and one JSON, nor a comment. */
json_t *http_events(const http_reply *r);
/* A text in a value by a path as "choices.0.text"; the test fails without it. */
const char *http_text(const json_t *j, const char *path);
long long http_number(const json_t *j, const char *path);

#endif
