/* Logarithms of probabilities. */
#include <math.h>

#include <umbra/generate.h>

/* The logarithm of the sum of exponentials; what is no number does not count. */
static double log_sum(const float *logits, int n)
{
    double top = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        if ((double)logits[i] > top)
            top = (double)logits[i];
    if (isinf(top))
        return top;
    for (int i = 0; i < n; i++)
        if (!isnan(logits[i]))
            sum += exp((double)logits[i] - top);
    return top + log(sum);
}

/* Puts a logprob into the list of the best; who came first wins a tie. */
static int offer(umbra_logprob *best, int have, int room, umbra_logprob item)
{
    if (have == room && !(item.logprob > best[have - 1].logprob))
        return have;
    int at = have < room ? have++ : room - 1;
    for (; at > 0 && item.logprob > best[at - 1].logprob; at--)
        best[at] = best[at - 1];
    best[at] = item;
    return have;
}

int umbra_logprobs(const float *logits, int vocabulary, int32_t id, umbra_logprob *chosen,
                   umbra_logprob *best, int most)
{
    double sum = log_sum(logits, vocabulary);
    int have = 0;
    if (chosen)
        *chosen = (umbra_logprob){id, (float)((double)logits[id] - sum)};
    for (int i = 0; i < vocabulary && most > 0; i++)
        if (!isnan(logits[i]))
            have = offer(best, have, most, (umbra_logprob){i, (float)((double)logits[i] - sum)});
    return have;
}
