/* How many drafted tokens a step checks, by the clock: as many as make the text go forward fastest,
 * none where drafting does not pay.
 *
 * It is decided from two things that are measured. How often a draft agrees with the text, by kind
 * of draft and by position behind the last certain token; drafts are compared with what came
 * whether they were checked or not, so that those which cost nothing to make are judged without a
 * price. And how long a step takes that checks so many of them: it computes, and it waits for
 * reads. Waits differ greatly from step to step and change as the cache does, for all widths alike,
 * so they are measured on steps of all widths together: what each token that comes is waited for,
 * and what each wrong draft, which mostly asks for experts that nobody else does. What was measured
 * fades, and what has faded is tried again: at a price, which is the time lost against the best
 * that is known, and which never comes to more than a small share of all the time.
 *
 * Several texts may be written in one step, each with drafts of its own: then it is the whole step
 * that is priced, by its rows, whosever they are, and of all drafts those are taken first that are
 * likeliest to come true.
 *
 * No clock is asked here and nothing is random: the same steps give the same decisions. */
#ifndef UMBRA_GENERATE_GATE_H
#define UMBRA_GENERATE_GATE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    UMBRA_DRAFT_MOST = 16, /* drafted tokens of a text's step, at most */
    UMBRA_DRAFT_USUAL = 8, /* the same, where nothing decides how many pay */
    UMBRA_DRAFT_KINDS = 8, /* kinds of drafts whose agreement is counted apart */
    UMBRA_GATE_WATCHED = 2 * UMBRA_DRAFT_MOST, /* drafts that are waited for at once; more go by */
    UMBRA_GATE_ROWS = 64, /* of a step, at most: where more texts are written none is drafted */
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

/* Those of one text. */
typedef struct umbra_watch {
    umbra_watched draft[UMBRA_GATE_WATCHED];
    int n;
} umbra_watch;

/* One text's part in a step: what it has to offer, and what is taken of it. */
typedef struct umbra_offer {
    int kind;
    int n;     /* drafts that it has, or might make; 0: none */
    int taken; /* 0 to n */
} umbra_offer;

/* What a step took, without making its drafts. */
typedef struct umbra_step_cost {
    double seconds;  /* in all */
    double waited_s; /* of these, for reads */
} umbra_step_cost;

/* Products of tokens that came, wrong drafts and waits in seconds, summed over steps that fade. */
typedef struct umbra_waits {
    double came_came, came_wrong, wrong_wrong, came_s, wrong_s;
} umbra_waits;

typedef struct umbra_gate {
    /* Of a step of so many rows, whosever they are: time but for waiting; waiting beside what is
     * usual for its tokens and wrong drafts. */
    umbra_fading compute_s[UMBRA_GATE_ROWS + 1];
    umbra_fading wait_ratio[UMBRA_GATE_ROWS + 1];
    umbra_waits waits;                                           /* whatever the rows */
    umbra_fading make_s[UMBRA_DRAFT_KINDS];                      /* of making one draft */
    umbra_fading agreement[UMBRA_DRAFT_KINDS][UMBRA_DRAFT_MOST]; /* where those before agreed */
    uint64_t steps;
    double all_s, lost_s; /* time of all steps; lost by trying drafts */
    double single_s;      /* time of all steps when one without drafts was measured last */
    double best_rate;     /* tokens per second that the best known choice was to give */
    bool trying;          /* the step in progress is a trial, */
    double trial_s;       /* whose drafts take so long to make */
} umbra_gate;

void umbra_gate_init(umbra_gate *g);

/* How many drafts of each of n texts, which are all that the coming step computes, it is to check:
 * at most `room` in all: into taken, before they are made. Returns how many that are in all. Called
 * once for a step; what stands in trying then goes with that step. */
int umbra_gate_choose(umbra_gate *g, umbra_offer *offers, int n, int room);
/* What choosing so would give in tokens per second: for comparing offers. */
double umbra_gate_rate(const umbra_gate *g, const umbra_offer *offers, int n, int room);

/* Drafts of a text were made in so much time; they are compared with what comes. */
void umbra_gate_made(umbra_gate *g, umbra_watch *w, int kind, const int32_t *tokens, int n,
                     double seconds);
/* The next token of the text. */
void umbra_gate_came(umbra_gate *g, umbra_watch *w, int32_t token);
/* A step of so many texts that checked so many drafts gave so many tokens, at that cost. */
void umbra_gate_step(umbra_gate *g, int texts, int drafts, int tokens, const umbra_step_cost *cost);
/* What making a draft of a kind may take, as long as it was not measured. */
void umbra_gate_expect(umbra_gate *g, int kind, double seconds);
/* A text begins: nothing is waited for there any more, and how often drafts agreed so far says less
 * of what comes; where that was in its own prompt, rather more than in another text. */
void umbra_gate_forget(umbra_gate *g, umbra_watch *w, bool prompt);

#endif
