/* The text of a run: printed while it comes, or kept, up to a stop string. */
#include <stdlib.h>
#include <string.h>

#include "cli/run.h"

enum { TOKEN_BYTES = 256 };

bool run_output_open(run_output *o, const umbra_model *model, const run_options *r, int *code)
{
    umbra_error err = {0};
    *o = (run_output){.model = model, .stream = !r->json};
    int rc = umbra_stops_open(&o->stops, (const char *const *)r->stop.words, r->stop.count, &err);
    if (rc == UMBRA_OK) {
        o->tokens = calloc((size_t)r->tokens + 1, sizeof *o->tokens);
        if (o->tokens)
            return true;
        err = (umbra_error){.status = UMBRA_E_NOMEM, .message = "no memory for the text"};
    }
    *code = cli_fail(&err);
    return false;
}

void run_output_release(run_output *o)
{
    umbra_stops_close(&o->stops);
    free(o->text);
    free(o->tokens);
}

static void print(run_output *o, const char *text, size_t n)
{
    cli_progress_end();
    fwrite(text, 1, n, stdout);
    o->failed = o->failed || fflush(stdout) != 0;
}

static void keep(run_output *o, const char *text, size_t n)
{
    if (o->bytes + n > o->room) {
        size_t room = (o->bytes + n) * 2;
        char *larger = realloc(o->text, room);
        if (!larger) {
            o->failed = true;
            return;
        }
        o->text = larger;
        o->room = room;
    }
    memcpy(o->text + o->bytes, text, n);
    o->bytes += n;
}

static void write_text(run_output *o, const char *text, size_t n)
{
    if (n > 0 && o->stream)
        print(o, text, n);
    else if (n > 0)
        keep(o, text, n);
}

/* The bytes of a token: in small (room), or in memory that the caller frees; NULL: none is left. */
static char *token_text(const umbra_model *model, int32_t id, char *small, size_t room, size_t *n)
{
    char *text = small;
    *n = umbra_detokenize(model, id, false, small, room);
    if (*n > room) {
        text = malloc(*n);
        if (text)
            umbra_detokenize(model, id, false, text, *n);
    }
    return text;
}

int run_output_take(void *user, int32_t id)
{
    run_output *o = user;
    char small[TOKEN_BYTES];
    const char *out;
    size_t n;
    char *text = token_text(o->model, id, small, sizeof small, &n);
    int rc = text ? umbra_stops_take(o->stops, text, n, &out, &n) : UMBRA_E_NOMEM;
    o->tokens[o->count++] = id;
    o->stopped = rc > 0;
    o->failed = rc < 0;
    if (rc >= 0)
        write_text(o, out, n);
    if (text != small)
        free(text);
    return o->stopped || o->failed;
}

void run_output_end(run_output *o)
{
    const char *out;
    size_t n;
    umbra_stops_end(o->stops, &out, &n);
    o->stopped = umbra_stops_found(o->stops) >= 0;
    if (!o->failed)
        write_text(o, out, n);
}
