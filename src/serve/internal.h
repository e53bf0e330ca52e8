/* Inside of the server. */
#ifndef UMBRA_SERVE_INTERNAL_H
#define UMBRA_SERVE_INTERNAL_H

#include <jansson.h>
#include <microhttpd.h>
#include <pthread.h>

#include "schedule/scheduler.h"
#include "serve/serve.h"

/* ---- buffer.c: bytes that grow ---- */

typedef struct serve_buffer {
    char *data; /* owned; NULL while there is nothing */
    size_t bytes, room;
    bool failed; /* memory was out: what it holds is not whole */
} serve_buffer;

void serve_buffer_add(serve_buffer *b, const char *data, size_t bytes);
__attribute__((format(printf, 2, 3))) void serve_buffer_print(serve_buffer *b, const char *format,
                                                              ...);
/* Takes the first bytes away. */
void serve_buffer_drop(serve_buffer *b, size_t bytes);
void serve_buffer_free(serve_buffer *b);
/* The value, compact; NULL counts as memory that is out. */
void serve_buffer_json(serve_buffer *b, const json_t *value);
/* Once, before any JSON is made: from then on it is known whether there was memory for it. */
void serve_watch_memory(void);
void serve_forget_lack(void); /* a request begins */
/* Whether any was lacking, for JSON or a buffer, in this thread since its request began: then
 * what was made since may be incomplete. */
bool serve_memory_lacked(void);
/* A text as JSON; what is no UTF-8 becomes U+FFFD. */
json_t *serve_json_text(const char *data, size_t n);

/* ---- figures (metrics.c) ---- */

enum { SERVE_BUCKETS = 14 };

/* Seconds, in buckets of growing bounds. */
typedef struct serve_histogram {
    uint64_t count[SERVE_BUCKETS + 1];
    double sum;
} serve_histogram;

typedef struct serve_figures {
    pthread_mutex_t mutex;
    serve_histogram first_token, per_token, request;
    uint64_t answers[600 / 100 + 1]; /* by the hundreds of their HTTP status */
} serve_figures;

void serve_figures_add_job(serve_figures *f, const umbra_job *job);

/* ---- the server ---- */

typedef struct serve_key {
    const char *text;
    size_t bytes;
} serve_key;

struct serve {
    serve_options o;
    int vocabulary, context;
    umbra_scheduler *scheduler;
    umbra_chat *chat; /* NULL: no template */
    pthread_mutex_t spellings_mutex;
    umbra_spellings *spellings; /* from the first request that needs a grammar on */
    struct MHD_Daemon *daemon;
    int listener, port;
    bool loopback;
    char *keys_text; /* owned; keys point into it */
    serve_key *keys;
    int n_keys;
    pthread_t engine_thread;
    bool has_engine_thread, finishing;
    time_t started;
    atomic_ullong next_id, body_bytes; /* of all requests that are held */
    serve_figures figures;
    struct serve_guard *guard;
};

typedef enum serve_dialect { SERVE_OPENAI, SERVE_ANTHROPIC } serve_dialect;

typedef struct serve_exchange serve_exchange;

typedef struct serve_route {
    const char *method, *path;
    serve_dialect dialect; /* of its errors */
    bool open;             /* without a key */
    enum MHD_Result (*answer)(serve_exchange *x);
} serve_route;

/* A request and its answer. */
struct serve_exchange {
    serve *server;
    struct MHD_Connection *connection;
    const serve_route *route;
    const char *path; /* during a call of the HTTP library */
    char *body;       /* (bytes), NUL-terminated; NULL: none */
    size_t bytes, room;
    int refused; /* the status that refuses what has come, or 0 */
};

/* exchange.c: what the HTTP library calls */
enum MHD_Result serve_exchange_access(void *server, struct MHD_Connection *connection,
                                      const char *url, const char *method, const char *version,
                                      const char *data, size_t *bytes, void **context);
void serve_exchange_free(void *server, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code);

/* routes.c: NULL: there is none; *known: the path, of another method. */
const serve_route *serve_find_route(const char *method, const char *path, bool *known);

/* reply.c */
enum MHD_Result serve_reply(serve_exchange *x, int status, const char *type, const char *data,
                            size_t bytes);
/* Takes the value; NULL: memory is out. */
enum MHD_Result serve_reply_json(serve_exchange *x, int status, json_t *value);
/* The status of a refusal for this error: the server's fault, where it has no memory. */
int serve_fault(const umbra_error *err);
/* An error in the words of the route's API. field: the one at fault, or NULL. */
__attribute__((format(printf, 4, 5))) enum MHD_Result serve_refuse(serve_exchange *x, int status,
                                                                   const char *field,
                                                                   const char *format, ...);
/* Of a request for which there is no memory. */
enum MHD_Result serve_refuse_nomem(serve_exchange *x);
/* The same error as a value: what a stream ends with. */
json_t *serve_error_json(serve_dialect dialect, int status, const char *field, const char *message);
/* With headers for the pages that may ask. */
enum MHD_Result serve_queue(serve_exchange *x, int status, struct MHD_Response *response);

/* access.c: whether the request may be answered at all; else a refusal was queued, *result. */
bool serve_may_ask(serve_exchange *x, enum MHD_Result *result);
/* The keys of a text. */
int serve_read_keys(serve *s, const char *text, umbra_error *err);

/* guard.c: ends connections whose request does not come. */
int serve_guard_open(serve *s, umbra_error *err);
void serve_guard_close(serve *s);
void serve_guard_notify(void *server, struct MHD_Connection *connection, void **socket_context,
                        enum MHD_ConnectionNotificationCode code);
/* The connection's request is here: its time is its own now; false: it begins to wait for another.
 */
void serve_guard_arrived(serve_exchange *x, bool arrived);
/* Whether the client has gone. */
bool serve_client_gone(const serve_exchange *x);

/* ---- fields.c: what stands in a request ---- */

typedef enum serve_kind {
    SERVE_INT,
    SERVE_U64,
    SERVE_FLOAT,
    SERVE_BOOL,
    SERVE_TEXT_FIELD, /* const char *, into the request */
    SERVE_JSON,       /* const json_t *, any value but null */
    SERVE_IGNORED,    /* of no matter for the answer */
    SERVE_ONLY,       /* not supported, but for the value in `only` */
} serve_kind;

/* A row of a table leaves out what its kind does not look at. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

typedef struct serve_field {
    const char *name; /* NULL ends a table */
    serve_kind kind;
    void *value;        /* stays as it is where the field is not there, or null */
    double least, most; /* of a number, both included */
    const char *only;   /* JSON: the value that means what the server does anyway */
} serve_field;

/* Fills what the table says. False: a value is of another kind or out of range, or a field is not
 * in the table; a refusal that names it was queued, *result. */
bool serve_read_fields(serve_exchange *x, const json_t *object, const serve_field *fields,
                       enum MHD_Result *result);
/* The body as an object; NULL: refused. */
json_t *serve_read_body(serve_exchange *x, enum MHD_Result *result);

/* ---- text.c: a text that the scheduler writes ---- */

enum { SERVE_MOST_STOPS = 16, SERVE_MOST_LOGPROBS = 20 };

/* A token as it was chosen. */
typedef struct serve_choice {
    int32_t id;
    size_t end; /* bytes of the text behind it */
    umbra_logprob chosen;
    umbra_logprob best[SERVE_MOST_LOGPROBS];
    int n_best;
} serve_choice;

typedef enum serve_piece_kind {
    SERVE_TEXT,
    SERVE_REASONING,
    SERVE_CALL,      /* of a tool: its name */
    SERVE_ARGUMENTS, /* more of its arguments, JSON */
} serve_piece_kind;

/* Bytes of a text that are of one kind. */
typedef struct serve_piece {
    serve_piece_kind kind;
    int call;          /* number of the call, from 0 */
    size_t begin, end; /* in the text */
    char id[48];       /* of a call that begins */
} serve_piece;

typedef struct serve_text {
    serve *server;
    umbra_job job;
    int32_t *prompt; /* owned */
    umbra_sampler *sampler;
    umbra_grammar *grammar; /* NULL: anything may be written */
    umbra_stops *stops;
    umbra_answer *parser; /* NULL: all is text */
    bool one_call;        /* ends behind its first */
    bool logprobs;
    int n_best;

    pthread_mutex_t mutex; /* of what follows, between the engine's thread and the connection's */
    pthread_cond_t changed;
    serve_buffer out; /* all pieces, in whole characters */
    serve_piece *pieces;
    int n_pieces, room_pieces;
    serve_choice *choices; /* where logprobs are asked for */
    int n_choices, room_choices;
    serve_choice pending;
    size_t bytes; /* of all tokens */
    int prompt_done;
    int stop; /* which stop string ended it, or -1 */
    bool ended, failed;
} serve_text;

/* Takes the prompt, which umbra_free_tokens frees. */
void serve_text_init(serve_text *t, serve *s, int32_t *prompt, int prompt_tokens, int max_tokens);
/* What is drawn how, and what ends it; once, before the start. */
int serve_text_prepare(serve_text *t, const umbra_sampling *sampling, const char *const *stops,
                       int n_stops, umbra_error *err);
/* False: the server is closing. */
bool serve_text_start(serve_text *t);
/* Has the answer to a prompt taken apart; tools: the request's, or NULL; both must stay. */
int serve_text_parse(serve_text *t, const umbra_chat_prompt *prompt,
                     const umbra_template_value *tools, umbra_error *err);
/* Waits until there is more than what was seen, or the end, or ns have passed. Returns whether
 * something is new. */
bool serve_text_wait(serve_text *t, int seen_pieces, int seen_choices, uint64_t ns);
/* Cancels what is under way, waits for it and frees what the text holds. */
void serve_text_free(serve_text *t);

/* ---- answer.c: a text on its way to the client ---- */

/* What an API is to write next. */
typedef struct serve_delta {
    serve_piece_kind kind;
    const char *text;
    size_t bytes;
    int call;
    const char *id; /* of a call that begins */
} serve_delta;

typedef struct serve_answer serve_answer;

/* How an API writes. Events and values are appended to or made from the answer's parts. */
typedef struct serve_writer {
    void (*begin)(serve_answer *a);
    void (*delta)(serve_answer *a, const serve_delta *d);
    void (*end)(serve_answer *a);
    void (*fail)(serve_answer *a, int status, const char *message);
    json_t *(*whole)(serve_answer *a);
    const char *alive; /* a comment or event that says nothing */
} serve_writer;

typedef struct serve_tool {
    char id[48];
    serve_buffer name, arguments;
} serve_tool;

enum { SERVE_MOST_TOOLS = 64 };

struct serve_answer {
    serve *server;
    serve_exchange *x;
    const serve_writer *writer;
    serve_text text;
    char id[48]; /* "chatcmpl-..." */
    time_t created;
    bool stream, usage;

    serve_buffer out; /* of a stream, not yet taken */
    bool begun, over;
    int seen_pieces;
    int seen_choices, choices; /* passed on; and with the delta in progress */
    /* The parts so far. */
    serve_buffer content, reasoning;
    serve_tool *tools; /* (SERVE_MOST_TOOLS), or NULL */
    int n_tools;
    umbra_template_tree *tree;     /* that the tools lie in; owned */
    umbra_chat_prompt prompt;      /* without its tokens; owned */
    char *stops[SERVE_MOST_STOPS]; /* owned copies, for APIs that name the one that came */
    /* The writer's: which item is open, its index, its call; all that were; events so far. */
    int kind, part, call;
    size_t from; /* where its text begins in the part */
    json_t *items;
    json_t *echo; /* what of the request stands in the answer again */
    int events;
};

/* Reads a body into an answer, so that its text can start. False: refused, *result. */
typedef bool serve_reader(serve_exchange *x, serve_answer *a, const json_t *body,
                          enum MHD_Result *result);
/* The request's text, by this reader and in this writer's form; prefix: of its id. */
enum MHD_Result serve_answer_request(serve_exchange *x, const serve_writer *writer,
                                     const char *prefix, serve_reader *read);
/* "data: VALUE", with "event: NAME" before it unless name is NULL; takes the value. */
void serve_event(serve_answer *a, const char *name, json_t *value);
/* Logprobs of the choices [from, to) in OpenAI's form for chats. */
json_t *serve_chat_logprobs(const serve_answer *a, int from, int to);
/* The bytes of a token as text. */
json_t *serve_token_text(const serve *s, int32_t id);

/* ---- ask.c: what all APIs ask alike ---- */

typedef struct serve_ask {
    umbra_sampling sampling;
    int max_tokens; /* -1: not given */
    const json_t *stop, *logit_bias;
    bool ignore_end;
    umbra_bias *bias;                 /* owned */
    const struct serve_prompt *calls; /* whose tools are to be called as it says; NULL: freely */
    bool json;                        /* an object is to be written */
    const json_t *schema;             /* that it follows; NULL: any */
} serve_ask;

/* Fields that OpenAI's two older APIs share. */
#define SERVE_SAMPLING_FIELDS(k)                                                                   \
    {"temperature", SERVE_FLOAT, &(k).sampling.temperature, 0, 2},                                 \
        {"top_p", SERVE_FLOAT, &(k).sampling.top_p, 0, 1},                                         \
        {"top_k", SERVE_INT, &(k).sampling.top_k, 0, 1e9},                                         \
        {"min_p", SERVE_FLOAT, &(k).sampling.min_p, 0, 1},                                         \
        {"typical_p", SERVE_FLOAT, &(k).sampling.typical_p, 0, 1},                                 \
        {"repetition_penalty", SERVE_FLOAT, &(k).sampling.repetition_penalty, 0, 10},              \
        {"repeat_penalty", SERVE_FLOAT, &(k).sampling.repetition_penalty, 0, 10},                  \
        {"presence_penalty", SERVE_FLOAT, &(k).sampling.presence_penalty, -2, 2},                  \
        {"frequency_penalty", SERVE_FLOAT, &(k).sampling.frequency_penalty, -2, 2},                \
        {"penalty_tokens", SERVE_INT, &(k).sampling.penalty_tokens, -1, 1e9},                      \
        {"seed", SERVE_U64, &(k).sampling.seed}, {"logit_bias", SERVE_JSON, &(k).logit_bias},      \
        {"ignore_eos", SERVE_BOOL, &(k).ignore_end},                                               \
    {                                                                                              \
        "stop", SERVE_JSON, &(k).stop                                                              \
    }

/* As the APIs say where nothing is given: temperature 1, another seed each time. */
void serve_ask_begin(serve_ask *ask);
/* format.c: what response_format (OpenAI's older API: nested) or text.format says; NULL: nothing.
 * False: refused, *result. */
bool serve_read_format(serve_exchange *x, const json_t *format, const char *field, serve_ask *ask,
                       enum MHD_Result *result);
/* The tokens' texts are put in order once, for all requests. */
int serve_need_spellings(serve *s, umbra_error *err);
/* Lets the text write what was asked for alone; after: text that ends its reasoning, or NULL. */
int serve_open_grammar(serve_text *t, const serve_ask *ask, const char *after, umbra_error *err);
/* Makes the text of a prompt, which it takes, in the answer, as asked. False: refused, *result. */
bool serve_ask_text(serve_answer *a, serve_ask *ask, int32_t *prompt, size_t prompt_tokens,
                    enum MHD_Result *result);
/* Tokens of a text with control tokens in it, to be freed; NULL: refused. */
int32_t *serve_tokens_of(serve_exchange *x, const json_t *text, bool bos, size_t *count,
                         enum MHD_Result *result);

/* ---- prompt.c ---- */

/* What a chat is asked with, in OpenAI's form; NULL: none. */
typedef struct serve_chat {
    const json_t *messages, *tools, *variables;
    bool must;          /* a tool is to be called */
    const char *only;   /* its name; NULL: any */
    const char *effort; /* how much to think; NULL: the template's own */
} serve_chat;

typedef struct serve_prompt {
    umbra_chat_prompt prompt;
    umbra_template_tree *tree;
    const umbra_template_value *tools; /* in the tree; NULL: none */
    /* Where calls are held to their tools' schemas, or must come: the tools as JSON text, and the
     * name of the one that is to be called (empty: any). */
    serve_buffer held, only;
    bool must;
} serve_prompt;

/* Rendered and tokenised. False: refused, *result. */
bool serve_render(serve_exchange *x, const serve_chat *chat, serve_prompt *out,
                  enum MHD_Result *result);
void serve_prompt_free(serve_prompt *p);
/* The text that answers the prompt, which it takes, in the answer, as asked. False: refused. */
bool serve_ask_chat(serve_answer *a, serve_ask *ask, serve_prompt *prompt, enum MHD_Result *result);

/* ---- tools.c ---- */

/* What tool_choice says, in any API's words: of chat what follows from it. False: refused. */
bool serve_read_choice(serve_exchange *x, const json_t *choice, serve_chat *chat,
                       enum MHD_Result *result);
bool serve_has_strict(const json_t *tools);
/* The tools without what says how they are called, which is no business of the template's. */
json_t *serve_plain_tools(const json_t *tools);
/* Lets the text call tools as the prompt has them alone. */
int serve_open_calls(serve_text *t, const serve_prompt *p, umbra_error *err);

/* ---- blocks.c: Anthropic's requests in OpenAI's form; NULL and false: refused ---- */

json_t *serve_convert_messages(serve_exchange *x, const json_t *messages, const json_t *system,
                               enum MHD_Result *result);
json_t *serve_convert_tools(serve_exchange *x, const json_t *tools, enum MHD_Result *result);
/* As a variable of the template; what a budget for it says, no model can be held to. */
bool serve_convert_thinking(serve_exchange *x, const json_t *thinking, json_t **variables,
                            enum MHD_Result *result);

/* ---- routes ---- */

enum MHD_Result serve_completions(serve_exchange *x); /* completions.c */
json_t *serve_usage(const serve_answer *a);
/* "stop", "length" or "tool_calls". */
const char *serve_finish_reason(const serve_answer *a);
void serve_openai_fail(serve_answer *a, int status, const char *message);
bool serve_read_stream_options(serve_exchange *x, const json_t *options, serve_answer *a,
                               enum MHD_Result *result);

enum MHD_Result serve_chat_completions(serve_exchange *x); /* chat.c */
enum MHD_Result serve_responses(serve_exchange *x);        /* responses.c */
enum MHD_Result serve_messages(serve_exchange *x);         /* messages.c */
enum MHD_Result serve_count_tokens(serve_exchange *x);
enum MHD_Result serve_apply_template(serve_exchange *x); /* prompt.c */
enum MHD_Result serve_models(serve_exchange *x);         /* about.c */
enum MHD_Result serve_model(serve_exchange *x);
enum MHD_Result serve_health(serve_exchange *x);
enum MHD_Result serve_props(serve_exchange *x);
enum MHD_Result serve_slots(serve_exchange *x);
enum MHD_Result serve_live(serve_exchange *x); /* page.c */
enum MHD_Result serve_page(serve_exchange *x);
enum MHD_Result serve_tokenize(serve_exchange *x); /* tokens.c */
enum MHD_Result serve_detokenize(serve_exchange *x);
enum MHD_Result serve_metrics(serve_exchange *x); /* metrics.c */

#endif
