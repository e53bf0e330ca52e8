/* Texts for the scheduler, and what they must be. */
#ifndef UMBRA_TESTS_JOBS_H
#define UMBRA_TESTS_JOBS_H

#include "schedule/scheduler.h"

enum { MOST_TEXT = 512 };

typedef struct text {
    umbra_job job;
    int32_t prompt[MOST_TEXT], out[MOST_TEXT];
    int n; /* in out */
    int vocabulary;
    int ends; /* calls of `ended` */
} text;

extern umbra_model *model;

/* Opens models/tiny-q8_0.gguf into `model` for the group; and closes it. */
int open_model(void **state);
int close_model(void **state);
umbra_engine *open_engine(int sequences);
/* A prompt of n tokens that begins as those of the same kind do, and differs by seed from `shared`
 * on; greedy. */
void make_text(text *t, int n, int shared, int seed, int new_tokens);
/* What umbra_generate makes of the prompt in an engine of its own. */
void expect_same(const text *t);
void step_until_ended(umbra_scheduler *s, text *const *texts, int n);

#endif
