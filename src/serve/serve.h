/* The model at a port: an HTTP server that speaks the APIs of OpenAI and Anthropic.
 *
 * One thread drives the engine (schedule/scheduler.h); each connection has a thread of its own that
 * reads the request, hands it over and writes the answer. A slow client costs its own connection
 * alone. */
#ifndef UMBRA_SERVE_SERVE_H
#define UMBRA_SERVE_SERVE_H

#include <umbra/umbra.h>

typedef struct serve serve;
struct umbra_states;

typedef struct serve_options {
    const umbra_model *model;
    umbra_engine *engine;      /* the server alone uses it until it is closed */
    umbra_prefetch *prefetch;  /* of the engine, for figures; may be NULL */
    umbra_drafts *drafts;      /* of the engine, not by mtp; NULL: none are made */
    int sequences;             /* of the engine */
    int texts;                 /* of them written at once; 0: all */
    const char *name;          /* of the model, as clients see it */
    const char *host;          /* name or address; NULL: 127.0.0.1 */
    int port;                  /* 0: any that is free */
    const char *keys;          /* text, a key per line, # begins a comment; NULL: anybody may ask.
                                  Demanded unless host is a loopback address */
    const char *origin;        /* pages of this origin may ask ("*": any); NULL: own alone */
    const char *template_text; /* chat template; NULL: none, chat is refused */
    size_t template_bytes;
    struct umbra_states
        *states;              /* of serve_open_states or serve_open_engine; NULL: in memory alone */
    const char *state_folder; /* of states; NULL: none */
    uint64_t state_bytes;     /* of all files there */
    uint64_t state_buffer_bytes; /* of the largest of them */
    uint64_t body_bytes;         /* of a request; 0: 8 MiB */
    int connections;             /* at once; 0: 64 */
    int request_seconds;         /* for a request to arrive whole; 0: 30 */
    int alive_seconds;           /* between signs of life on a quiet stream; 0: 10 */
    void (*log)(void *user, const char *message); /* one line; from any thread; may be NULL */
    void *user;
} serve_options;

/* Memory that a server takes beside its engine, but for states on their way to disk: for
 * umbra_engine_options.reserved_bytes. */
uint64_t serve_memory_bytes(const serve_options *options);

/* Opens the folder of states that the options name, if they do, and sets their states. */
int serve_open_states(serve_options *options, const umbra_engine *engine, umbra_error *err);
/* When the server is closed; there may be none. */
void serve_close_states(serve_options *options);
/* umbra_engine_open and serve_open_states, for a server with these options, of which engine and
 * states are set: what a process before had in memory is read back from the start, beside the
 * weights. After a failure, states may be there. */
int serve_open_engine(serve_options *options, const umbra_engine_options *engine, umbra_error *err);

/* Listens and answers. Options are copied, what they point to must stay. UMBRA_E_ARGUMENT: a key is
 * missing, or the template is none; UMBRA_E_SYSTEM: the address cannot be used. On failure *out is
 * NULL. */
int serve_open(serve **out, const serve_options *options, umbra_error *err);
int serve_port(const serve *s);
/* Takes no more requests, lets those under way end for so many seconds, then cuts them; returns how
 * many were cut. States are kept. */
int serve_finish(serve *s, double grace_seconds);
/* Accepts NULL and nulls the pointer. */
void serve_close(serve **s);

#endif
