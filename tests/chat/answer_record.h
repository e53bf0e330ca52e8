/* Writes down what an answer is taken apart into. */
#ifndef UMBRA_TESTS_CHAT_ANSWER_RECORD_H
#define UMBRA_TESTS_CHAT_ANSWER_RECORD_H

#include <stdio.h>

#include <umbra/answer.h>

/* "think{why}text{so}call0{name#id}args{...}end!" ("end?" where the arguments are not whole);
 * pieces of one part in a row are joined. */
typedef struct record {
    FILE *out;
    int part, call; /* of what is being written; part -1: nothing */
} record;

static inline int record_event(void *user, const umbra_answer_event *e)
{
    static const char *const words[] = {"text", "think", "call", "args", "end"};
    record *r = user;
    if (e->part == (umbra_answer_part)r->part && e->part != UMBRA_ANSWER_CALL) {
        fwrite(e->text, 1, e->bytes, r->out);
        return 0;
    }
    if (r->part >= 0)
        fputc('}', r->out);
    r->part = -1;
    fputs(words[e->part], r->out);
    if (e->part == UMBRA_ANSWER_CALL_END) {
        fputc(e->whole ? '!' : '?', r->out);
        return 0;
    }
    if (e->part == UMBRA_ANSWER_CALL)
        fprintf(r->out, "%d", e->call);
    fputc('{', r->out);
    fwrite(e->text, 1, e->bytes, r->out);
    if (e->id_bytes > 0)
        fprintf(r->out, "#%.*s", (int)e->id_bytes, e->id);
    r->part = (int)e->part;
    return 0;
}

static inline void record_end(record *r)
{
    if (r->part >= 0)
        fputc('}', r->out);
    fclose(r->out);
}

#endif
