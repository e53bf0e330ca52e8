/* The k best of what is offered one by one, best first, by insertion: the lists are short. Who came
 * first wins a tie, so ids that are offered in rising order need no other rule. */
#ifndef UMBRA_BASE_BEST_H
#define UMBRA_BASE_BEST_H

#include <stdint.h>

/* Defines int NAME(ITEM *list, int have, int room, ITEM item, const float *score): offers an item
 * to the list of `have` (at most room, which is at least 1) and returns how many it holds then.
 * VALUE(item, score) is what counts; a NaN comes last. */
#define UMBRA_DEFINE_BEST(NAME, ITEM, VALUE)                                                       \
    static inline int NAME(ITEM *list, int have, int room, ITEM item, const float *score)          \
    {                                                                                              \
        const float value = VALUE(item, score);                                                    \
        (void)score;                                                                               \
        if (have == room && value <= VALUE(list[have - 1], score))                                 \
            return have;                                                                           \
        int at = have < room ? have++ : room - 1;                                                  \
        for (; at > 0 && VALUE(list[at - 1], score) < value; at--)                                 \
            list[at] = list[at - 1];                                                               \
        list[at] = item;                                                                           \
        return have;                                                                               \
    }

/* Ids that index the scores. */
#define UMBRA_SCORE_OF(id, score) (score)[id]
UMBRA_DEFINE_BEST(umbra_best_offer, int32_t, UMBRA_SCORE_OF)
UMBRA_DEFINE_BEST(umbra_best_offer_u16, uint16_t, UMBRA_SCORE_OF)

#endif
