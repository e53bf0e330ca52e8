/* Runs a net: which bytes may come after those that have. States are made as they are met, each
 * once; a state is a set of places in the net, each with the stack of calls that led there. */
#ifndef UMBRA_GRAMMAR_AUTOMATON_H
#define UMBRA_GRAMMAR_AUTOMATON_H

#include "grammar/net.h"

enum { AUTOMATON_DEAD = -1, AUTOMATON_NO_MEMORY = -2 };

typedef struct umbra_automaton umbra_automaton;

/* The net, settled, must outlive it. NULL: memory is out. */
umbra_automaton *umbra_automaton_open(const umbra_net *net, int rule);
/* Accepts NULL. */
void umbra_automaton_close(umbra_automaton *a);
/* The state before any byte; AUTOMATON_DEAD: nothing can be read. */
int umbra_automaton_start(const umbra_automaton *a);
/* The state before any byte of another rule of the net; the same. */
int umbra_automaton_enter(umbra_automaton *a, int rule);
/* The state behind a byte; AUTOMATON_DEAD: it may not come; or AUTOMATON_NO_MEMORY. */
int umbra_automaton_step(umbra_automaton *a, int state, unsigned char byte);
/* Whether the text may end here. */
bool umbra_automaton_ends(const umbra_automaton *a, int state);
/* How many states there are. */
int umbra_automaton_states(const umbra_automaton *a);

#endif
