/* Rank 0 leads: what its engine is told to do, the other ranks' engines are told too. */
#ifndef UMBRA_ENGINE_FOLLOW_H
#define UMBRA_ENGINE_FOLLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <umbra/engine.h>

typedef enum umbra_call_kind {
    UMBRA_CALL_CHUNK,    /* n tokens, at most a chunk, are computed; data: n umbra_led_token */
    UMBRA_CALL_TRUNCATE, /* of a sequence, to n positions */
    UMBRA_CALL_FORK,     /* of a sequence into sequence n */
    UMBRA_CALL_RESTORE,  /* of a sequence; data: a snapshot that was checked */
    UMBRA_CALL_USES,     /* counts are added up */
    UMBRA_CALL_CLOSE,
} umbra_call_kind;

/* A call of an engine that all ranks must make. */
typedef struct umbra_call {
    int32_t kind, sequence;
    int64_t n;
    uint64_t bytes; /* of data */
} umbra_call;

/* A token, without what the others need not know. */
typedef struct umbra_led_token {
    int32_t id, sequence;
    int32_t checked; /* it is a guess */
} umbra_led_token;

/* What an engine with ranks knows of the calls. */
typedef struct umbra_follow {
    bool following; /* inside umbra_engine_follow */
    bool ended;     /* rank 0 has closed its engine */
    char *data;     /* of the last call */
    size_t room;
    umbra_led_token *led; /* (chunk) to be told */
    umbra_token *tokens;  /* (chunk) as told */
} umbra_follow;

/* With ranks only. */
int umbra_follow_open(umbra_engine *engine, umbra_error *err);
/* Of a rank behind the first that has not seen rank 0 close its engine: waits until it does. */
void umbra_follow_close(umbra_engine *engine);

/* Rank 0 tells the others; another rank that makes the call by itself takes part in rank 0's next
 * one, which must be the same (UMBRA_E_ARGUMENT if not). Nothing without ranks, and for calls that
 * umbra_engine_follow makes. data (bytes) is of rank 0, and compared. */
int umbra_lead(const umbra_engine *engine, const umbra_call *call, const void *data,
               umbra_error *err);
/* The same, for tokens that are to be computed. */
int umbra_lead_chunk(const umbra_engine *engine, const umbra_token *tokens, int n,
                     umbra_error *err);

#endif
