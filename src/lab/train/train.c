/* A training run: its networks and the file in the end. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "lab/train/checkpoint.h"
#include "lab/train/ranks.h"
#include "lab/train/workers.h"

static int check_rounding(const umbra_train_setup *setup, const umbra_train_result *result,
                          umbra_error *err)
{
    static const double most = 0.002;
    for (int d = 0; d < UMBRA_MAX_DISTANCE && !setup->options.force; d++)
        if (result->lost[d] > most)
            return umbra_fail(err, UMBRA_E_ARGUMENT,
                              "%s weights cost %.2f points of recall at distance %d, more than "
                              "%.1f: resume with another form, or force it",
                              umbra_weight_form_name(setup->options.weights), 100 * result->lost[d],
                              d + 1, 100 * most);
    return UMBRA_OK;
}

static int save(const umbra_train_setup *setup, umbra_shadow *shadow,
                const umbra_train_network *networks, uint64_t start_ns, umbra_train_result *result,
                umbra_error *err)
{
    umbra_train_summarise(setup, networks, result);
    result->seconds = umbra_seconds_since(start_ns);
    int rc = check_rounding(setup, result, err);
    if (rc == UMBRA_OK)
        rc = umbra_train_training_json(&shadow->training, setup, networks, result, err);
    if (rc == UMBRA_OK)
        rc = umbra_train_recall_json(&shadow->recall, setup, networks, result, err);
    if (rc == UMBRA_OK)
        rc = umbra_shadow_save(shadow, setup->options.output, err);
    struct stat st;
    if (rc == UMBRA_OK && stat(setup->options.output, &st) != 0)
        rc = umbra_fail(err, UMBRA_E_IO, "%s: cannot stat: %s", setup->options.output,
                        strerror(errno));
    if (rc == UMBRA_OK)
        result->file_bytes = (uint64_t)st.st_size;
    return rc;
}

/* Rank 0 saves for all, which learn what came of it. */
static int save_for_all(const umbra_train_setup *setup, umbra_shadow *shadow,
                        const umbra_train_network *networks, uint64_t start_ns,
                        umbra_train_result *result, umbra_error *err)
{
    const umbra_ranks *ranks = setup->options.ranks;
    int rc = UMBRA_OK;
    if (umbra_ranks_own(ranks) == 0)
        rc = save(setup, shadow, networks, start_ns, result, err);
    rc = umbra_ranks_agree(ranks, rc, err);
    return rc == UMBRA_OK ? umbra_ranks_share(ranks, result, sizeof *result, err) : rc;
}

/* Each step ends with all ranks agreeing, so that none waits for one that has failed. */
static int train(const umbra_train_setup *setup, umbra_shadow *shadow,
                 umbra_train_network *networks, umbra_error *err)
{
    int rc = umbra_train_compare(setup, err);
    if (rc == UMBRA_OK)
        rc = umbra_train_open_folders(setup, err);
    if (rc == UMBRA_OK)
        rc = umbra_ranks_agree(setup->options.ranks,
                               umbra_train_networks(setup, shadow, networks, err), err);
    return rc == UMBRA_OK ? umbra_train_bring(setup, shadow, networks, err) : rc;
}

static int check_ranks(const umbra_train_options *options, umbra_error *err)
{
    const umbra_ranks *ranks = options ? options->ranks : NULL;
    int rc = umbra_ranks_check(ranks, err);
    return rc == UMBRA_OK && umbra_ranks_divide(ranks)
               ? umbra_ranks_check_functions(ranks, true, err)
               : rc;
}

int umbra_train(const umbra_train_options *options, umbra_train_result *out, umbra_error *err)
{
    uint64_t start_ns = umbra_clock_ns();
    if (out)
        *out = (umbra_train_result){0};
    umbra_train_setup setup;
    umbra_train_result result = {0};
    umbra_shadow *shadow = NULL;
    umbra_train_network *networks = NULL;
    int rc = check_ranks(options, err);
    if (rc != UMBRA_OK)
        return rc;
    rc = umbra_train_setup_open(&setup, options, err);
    if (rc == UMBRA_OK)
        rc = umbra_shadow_create(&shadow, &setup.spec, err);
    if (rc == UMBRA_OK) {
        networks = umbra_calloc((size_t)setup.networks, sizeof *networks);
        rc = networks ? UMBRA_OK : umbra_fail_nomem(err, "the networks", 0);
    }
    rc = umbra_ranks_agree(options ? options->ranks : NULL, rc, err);
    if (rc == UMBRA_OK)
        rc = train(&setup, shadow, networks, err);
    if (rc == UMBRA_OK)
        rc = save_for_all(&setup, shadow, networks, start_ns, &result, err);
    if (rc == UMBRA_OK) {
        umbra_checkpoint_folder_remove(&setup);
        if (out)
            *out = result;
    } else if (setup.checkpoint) {
        umbra_checkpoint_folder_tidy(&setup);
    }
    for (int i = 0; networks && i < setup.networks; i++)
        umbra_train_network_release(&networks[i]);
    umbra_free(networks);
    umbra_shadow_free(&shadow);
    umbra_train_setup_release(&setup);
    return rc;
}
