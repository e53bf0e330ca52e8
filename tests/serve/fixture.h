/* A server of the embedded model in this process, at a free port. */
#ifndef UMBRA_TESTS_SERVE_FIXTURE_H
#define UMBRA_TESTS_SERVE_FIXTURE_H

#include "serve/serve.h"

extern int port; /* of the server that was opened last */

/* Where drafts come from of servers that are opened; off unless it is set. */
extern umbra_draft drafted;

/* Opens; texts: at once. options: what differs from the usual. */
serve *open_server(const serve_options *options, int texts);
void close_server(serve **s);
/* What umbra_generate makes of a prompt, greedy; static storage. */
const char *expected_text(const char *prompt, int tokens);
/* The server's model; for the group. */
extern umbra_model *model;
int open_model(void **state);
int close_model(void **state);

#endif
