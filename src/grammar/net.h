/* A net of nodes that reads bytes: a grammar, compiled. Rules call each other, so that what nests
 * needs a stack and nothing else. */
#ifndef UMBRA_GRAMMAR_NET_H
#define UMBRA_GRAMMAR_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum net_kind {
    NET_RETURN, /* to where the rule was called */
    NET_BYTES,  /* one byte of a set, then next */
    NET_CALL,   /* a rule, then next */
    NET_SPLIT   /* next or other */
} net_kind;

typedef struct net_node {
    uint8_t kind;
    bool lives;          /* an end can be reached from here */
    int32_t next, other; /* other: of NET_BYTES the set, of NET_CALL the rule's first node */
} net_node;

enum { SHUNNED_BYTES = 64 };

typedef struct byte_set {
    uint64_t bits[4];
} byte_set;

/* Begins as {0} with umbra_net_init. Nodes are made from the end of a text to its beginning: each
 * function takes the node that follows and returns the one to enter by. Where memory is out they
 * return 0, and `failed` says so. */
typedef struct umbra_net {
    net_node *nodes; /* (n); node 0 returns */
    int n, room;
    byte_set *sets; /* (n_sets) */
    int n_sets, sets_room;
    bool failed;
    const char *quotes;  /* what stands around texts in place of '"', where keys stand bare; NULL:
                            JSON. Looked at while rules are made */
    const char *shunned; /* a text of ASCII, shorter than SHUNNED_BYTES, that stands in no string;
                            NULL: none. As quotes */
    /* Rules that many share. */
    int space, character, string, integer, natural, positive, number, natural_number;
    int value, object; /* any */
} umbra_net;

void umbra_net_init(umbra_net *net);
void umbra_net_release(umbra_net *net);

int umbra_net_set(umbra_net *net, byte_set set, int next);
/* Bytes low to high. */
int umbra_net_range(umbra_net *net, int low, int high, int next);
/* One of some characters. */
int umbra_net_one_of(umbra_net *net, const char *characters, int next);
int umbra_net_literal(umbra_net *net, const char *text, size_t bytes, int next);
int umbra_net_call(umbra_net *net, int rule, int next);
int umbra_net_split(umbra_net *net, int a, int b);
/* A node that leads nowhere yet, and setting where. */
int umbra_net_forward(umbra_net *net);
void umbra_net_lead(umbra_net *net, int forward, int to);
/* The rule least to most times (most < 0: any number), `comma` between two. */
int umbra_net_repeat(umbra_net *net, int rule, int least, int most, bool comma, int next);

/* Any characters up to a text (umbra_spell_text), and that, in these letters however spelled: it
 * stands nowhere before. */
int umbra_net_until(umbra_net *net, const char *spelled, int next);
/* From where `seen` bytes of a text have come: each byte of a set leads to where as many of it have
 * as then have (at); the one that makes it whole to `next`, or nowhere (next < 0). -1: no byte may
 * come. */
int umbra_net_seen(umbra_net *net, const char *text, size_t seen, const byte_set *can,
                   const int *at, int next);

/* Marks which nodes live. */
void umbra_net_settle(umbra_net *net);

/* ---- net_json.c ---- */

/* Makes the shared rules. */
void umbra_net_json(umbra_net *net);
/* What names consist of where they stand bare. */
#define NET_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."
/* Any name of these letters, then `next`. */
int umbra_net_word(umbra_net *net, int next);
/* An object with any keys, and values of a rule. */
int umbra_net_pairs(umbra_net *net, int value);

#endif
