/* What is certain of coming layers: in some models a token's id alone names the experts of the
 * first ones, so that they can be read before anything of the token is computed. */
#ifndef UMBRA_AHEAD_CERTAIN_H
#define UMBRA_AHEAD_CERTAIN_H

#include "engine/engine.h"

/* From UMBRA_TAP_ENTER: tells the store what the rows that decode will use of such layers.
 * probability: (experts) scratch. */
void umbra_certain_foretell(umbra_engine *engine, const umbra_rows *rows, float *probability);

#endif
