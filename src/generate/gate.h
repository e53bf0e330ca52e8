/* How many drafted tokens a step checks, by the clock: as many as make the text go forward fastest,
 * none where drafting does not pay.
 *
 * It is decided from two things that are measured. How often a draft agrees with the text, by kind
 * of draft and by position behind the last certain token; drafts are compared with what came
 * whether they were checked or not, so that those which cost nothing to make are judged without a
 * price. And how long a step takes that checks so many of them: it computes, and it waits for
 * reads. The reads are of the experts that any of its rows needs, the union, times what one of them
 * is waited for by the present hit rate: that is measured on steps of all widths together, since it
 * changes quickly and differs greatly from step to step. What was measured fades, and what has
 * faded is tried again: at a price, which is the time lost against the best that is known, and
 * which never comes to more than a small share of all the time.
 *
 * No clock is asked here and nothing is random: the same steps give the same decisions. */
#ifndef UMBRA_GENERATE_GATE_H
#define UMBRA_GENERATE_GATE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    UMBRA_DRAFT_MOST = 16, /* drafted tokens of a step, at most */
    UMBRA_DRAFT_USUAL = 8, /* the same, where nothing decides how many pay */
    UMBRA_DRAFT_KINDS = 8, /* kinds of drafts whose agreement is counted apart */
    UMBRA_GATE_WATCHED = 2 * UMBRA_DRAFT_MOST, /* drafts that are waited for at once; more go by */
};

/* A mean that forgets: of the times of steps, or of agreements (0 and 1). */
typedef struct umbra_fading {
    double mean;
    double weight; /* how much of what it was measured on is not yet forgotten; 0: never measured */
    uint64_t when; /* the number of the step at which it was measured last */
} umbra_fading;

/* Drafts that wait for the text to come. */
typedef struct umbra_watched {
    int32_t token[UMBRA_DRAFT_MOST];
    int n, next; /* drafts; of these, how many the text has agreed with */
    int kind;
} umbra_watched;

/* What a step took, without making its drafts. */
typedef struct umbra_step_cost {
    double seconds;  /* in all */
    double waited_s; /* of these, for reads */
    double experts;  /* asked for: those that any row of a layer needs; 0: not known */
} umbra_step_cost;

typedef struct umbra_gate {
    int most; /* drafts of a step */
    /* Of a step that checks so many: time but for waiting; experts that its rows need together; how
     * long each is waited for beside what is usual. */
    umbra_fading compute_s[UMBRA_DRAFT_MOST + 1];
    umbra_fading experts[UMBRA_DRAFT_MOST + 1];
    umbra_fading wait_ratio[UMBRA_DRAFT_MOST + 1];
    umbra_fading wait_s;                    /* for an expert, whatever the width */
    umbra_fading make_s[UMBRA_DRAFT_KINDS]; /* of making one draft */
    umbra_fading agreement[UMBRA_DRAFT_KINDS][UMBRA_DRAFT_MOST]; /* where those before agreed */
    umbra_watched watched[UMBRA_GATE_WATCHED];
    int n_watched;
    uint64_t steps;
    double all_s, lost_s; /* time of all steps; lost by trying drafts */
    double single_s;      /* time of all steps when one without drafts was measured last */
    double best_rate;     /* tokens per second that the best known choice was to give */
    bool trying;          /* the step in progress is a trial, */
    double trial_s;       /* whose drafts take so long to make */
} umbra_gate;

/* most: 1 to UMBRA_DRAFT_MOST. */
void umbra_gate_init(umbra_gate *g, int most);

/* How many of n drafts of a kind the coming step is to check, 0 to n: before they are made, as many
 * as it might. Called once for a step; what stands in trying then goes with that step. */
int umbra_gate_choose(umbra_gate *g, int kind, int n);
/* What choosing so would give in tokens per second, and what no drafts would: for comparing kinds.
 */
double umbra_gate_rate(const umbra_gate *g, int kind, int n);

/* Drafts were made in so much time; they are compared with what comes. */
void umbra_gate_made(umbra_gate *g, int kind, const int32_t *tokens, int n, double seconds);
/* The next token of the text. */
void umbra_gate_came(umbra_gate *g, int32_t token);
/* A step that checked so many drafts gave so many tokens, at that cost. */
void umbra_gate_step(umbra_gate *g, int drafts, int tokens, const umbra_step_cost *cost);
/* What making a draft of a kind may take, as long as it was not measured. */
void umbra_gate_expect(umbra_gate *g, int kind, double seconds);
/* The text goes on elsewhere: nothing is waited for any more, and how often drafts agreed so far
 * says less of what comes. */
void umbra_gate_forget(umbra_gate *g);

#endif
