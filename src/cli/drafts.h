/* What drafting came to, as commands print it. */
#ifndef UMBRA_CLI_DRAFTS_H
#define UMBRA_CLI_DRAFTS_H

#include <umbra/draft.h>

static inline uint64_t cli_sum_drafts(const uint64_t *of_sources)
{
    uint64_t all = 0;
    for (int i = 0; i < UMBRA_DRAFT_SOURCES; i++)
        all += of_sources[i];
    return all;
}

static inline double cli_share(uint64_t part, uint64_t all)
{
    return all > 0 ? (double)part / (double)all : 0;
}

#endif
