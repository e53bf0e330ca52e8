/* Inside of the scheduler. */
#ifndef UMBRA_SCHEDULE_INTERNAL_H
#define UMBRA_SCHEDULE_INTERNAL_H

#include <pthread.h>

#include "generate/drafts.h"
#include "schedule/scheduler.h"

enum { SLOT_MARKS = 4 };

typedef struct umbra_text_slot {
    umbra_job *job;        /* NULL: idle */
    int32_t *tokens;       /* (context + 1) what the sequence holds, then what it is to hold */
    int count;             /* tokens known; of an idle slot, those held */
    int held;              /* of these, computed */
    bool written;          /* what is held is on disk */
    uint64_t used;         /* step at which it was last of use */
    uint64_t turn;         /* of the pieces of all prompts, the number of its last */
    int first, rows;       /* of the step in progress: which row is its first, how many it has */
    umbra_drafted *part;   /* of a step that may check drafts; else NULL */
    int drafts;            /* that it checks */
    int32_t next;          /* chosen last in the step in progress, */
    int chosen;            /* which chose so many */
    const umbra_job *told; /* whose text the drafts know, and so many tokens of it */
    int told_count;
    umbra_job_end ending;  /* what the tokens before `next` came to: they ended the text, or not */
    int marks[SLOT_MARKS]; /* where checkpoints are to be made (0: none); see checkpoints.h */
    bool checkpoint;       /* idle, and holds one */
} umbra_text_slot;

struct umbra_scheduler {
    umbra_scheduler_options o;
    int context, chunk;
    umbra_text_slot *slots; /* (sequences) */
    umbra_token *tokens;    /* (chunk + sequences) of a step */
    int *slot_of;           /* the same: whose they are */
    umbra_job *waiting;     /* in order of arrival */
    uint64_t steps, pieces;
    double prompt_per_second;
    uint64_t kept_busy_ns; /* stats.busy_ns when the experts of the cache were written last, */
    uint64_t kept_ns;      /* and when that was, umbra_clock_ns */
    umbra_drafted *parts;  /* (sequences) of the step's texts, of which there are */
    int n_parts;

    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    umbra_job *arrived, **last_arrived;
    bool finishing, finish_now;
    umbra_scheduler_stats stats;
    umbra_text_stats *slot_stats; /* (sequences) */
};

/* Its prompt, or what it has to compute anew: more than its last token. */
bool umbra_scheduler_reads(const umbra_text_slot *slot);
/* Hands out slot->next. Returns whether that ends the text, and how. */
umbra_job_end umbra_scheduler_take(umbra_scheduler *s, umbra_text_slot *slot);

/* drafts.c: what the step checks beside the next token of each text that is written: into the
 * slots' parts. Room: rows that a chunk has beside those of the texts, and of a prompt that is read
 * beside them. */
void umbra_scheduler_draft(umbra_scheduler *s, int room, bool beside);
/* Before a row of a slot chooses: whether its token is the one that the row before it gave, which
 * is handed out then. */
bool umbra_scheduler_agrees(umbra_scheduler *s, umbra_text_slot *slot, int row);
/* The step itself, of n rows; of drafts only those that agree are held afterwards. */
int umbra_scheduler_eval(umbra_scheduler *s, int n, const umbra_tap *tap, umbra_error *err);
/* Rows of a step have left the last layer: for the tap; user: the scheduler. */
int umbra_scheduler_show(void *user, const umbra_rows *rows);
/* umbra_engine_truncate, and umbra_engine_fork, which leaves the slot empty where it fails: also of
 * what drafts come from. */
int umbra_scheduler_cut(umbra_scheduler *s, int slot, int length);
int umbra_scheduler_fork(umbra_scheduler *s, int from, int to);
/* scheduler.c: adds rows of slot i to a step of n. Returns the rows. */
int umbra_scheduler_add(umbra_scheduler *s, int n, int i, int rows);

/* admit.c: gives the job a slot, and the slot what is held of its prompt's beginning. False: it has
 * to wait for a slot, or for a prompt that is being read. */
bool umbra_scheduler_admit(umbra_scheduler *s, umbra_job *job);
/* Puts what an idle slot holds on disk, if that is worth it; wait: also if another is being
 * written.
 */
void umbra_scheduler_keep(umbra_scheduler *s, int slot, bool wait);

#endif
