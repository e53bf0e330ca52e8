/* Divides a training among ranks: compares them, moves checkpoints and networks, adds gradients. */
#include "lab/train/ranks.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "lab/train/checkpoint.h"

enum { D = UMBRA_MAX_DISTANCE, OTHER_CLAIMS = 2, PIECE = 1 << 16 /* floats of a rank at a time */ };

/* ---- comparing ---- */

int umbra_train_compare(const umbra_train_setup *setup, umbra_error *err)
{
    umbra_ranks_claim claims[OTHER_CLAIMS + UMBRA_TRAIN_SETTINGS];
    int n = 0;
    umbra_ranks_claim_set(&claims[n++], "the version of Umbra", UMBRA_VERSION);
    umbra_ranks_claim_set(&claims[n++], "the form of the weights",
                          umbra_weight_form_name(setup->options.weights));
    for (int i = 0; i < setup->n_settings; i++)
        umbra_ranks_claim_set(&claims[n++], setup->settings[i].name, setup->settings[i].value);
    return umbra_ranks_compare(setup->options.ranks, claims, n, err);
}

/* ---- checkpoints ---- */

/* A rank's checkpoint of a network: how far it is (0: there is none), and its file. */
typedef struct holding {
    uint64_t age, bytes;
} holding;

static int newest_of(const holding *all, int count, int owner)
{
    int best = owner;
    for (int r = 0; r < count; r++)
        if (all[r].age > all[best].age)
            best = r;
    return best;
}

/* The file goes from a rank to another by rank 0, whose bytes all are told. */
static int move_checkpoint(const umbra_train_setup *setup, int network, int from, uint64_t bytes,
                           umbra_error *err)
{
    const umbra_ranks *r = setup->options.ranks;
    int to = umbra_train_owner(setup, network);
    void *data = umbra_calloc(bytes, 1);
    int rc = data ? UMBRA_OK : umbra_fail_nomem(err, "a checkpoint", bytes);
    if (rc == UMBRA_OK && r->rank == from)
        rc = umbra_checkpoint_load_file(setup, network, data, bytes, err);
    rc = umbra_ranks_agree(r, rc, err);
    if (rc == UMBRA_OK && from != 0 && (r->rank == 0 || r->rank == from))
        rc = umbra_ranks_bring(r, from, data, bytes, err);
    if (rc == UMBRA_OK && to != 0)
        rc = umbra_ranks_share(r, data, bytes, err);
    if (rc == UMBRA_OK && r->rank == to)
        rc = umbra_checkpoint_save_file(setup, network, data, bytes, err);
    umbra_free(data);
    return umbra_ranks_agree(r, rc, err);
}

static int find_newest(const umbra_train_setup *setup, int network, holding *all, umbra_error *err)
{
    const umbra_ranks *r = setup->options.ranks;
    holding *own = &all[r->rank];
    int rc = umbra_checkpoint_look(setup, network, &own->age, &own->bytes, err);
    rc = umbra_ranks_agree(r, rc, err);
    if (rc == UMBRA_OK)
        rc = umbra_ranks_gather(r, all, sizeof *all, err);
    if (rc != UMBRA_OK)
        return rc;
    int owner = umbra_train_owner(setup, network), from = newest_of(all, r->count, owner);
    return from == owner ? UMBRA_OK : move_checkpoint(setup, network, from, all[from].bytes, err);
}

static int find_checkpoints(const umbra_train_setup *setup, umbra_error *err)
{
    const umbra_ranks *r = setup->options.ranks;
    holding *all = umbra_calloc((size_t)r->count, sizeof *all);
    int rc = all ? UMBRA_OK : umbra_fail_nomem(err, "the ranks' checkpoints", 0);
    rc = umbra_ranks_agree(r, rc, err);
    for (int i = 0; rc == UMBRA_OK && i < setup->networks; i++)
        rc = find_newest(setup, i, all, err);
    umbra_free(all);
    return rc;
}

int umbra_train_open_folders(const umbra_train_setup *setup, umbra_error *err)
{
    const umbra_ranks *r = setup->options.ranks;
    bool first = umbra_ranks_own(r) == 0;
    int rc = first ? umbra_checkpoint_folder_open(setup, err) : UMBRA_OK;
    rc = umbra_ranks_agree(r, rc, err);
    if (rc != UMBRA_OK || !umbra_ranks_divide(r))
        return rc;
    /* Together they keep rank 0's alone. */
    if (!first && !umbra_train_together(setup))
        rc = umbra_checkpoint_folder_join(setup, err);
    rc = umbra_ranks_agree(r, rc, err);
    return rc == UMBRA_OK && setup->options.resume ? find_checkpoints(setup, err) : rc;
}

/* ---- networks ---- */

/* The numbers of a trained network that say how long its parts are. */
typedef struct head {
    int32_t epochs, best_epoch;
} head;

static int sources_of(const umbra_train_setup *setup, int network, int *first)
{
    int end;
    umbra_learner_sources(setup, network, first, &end);
    return end - *first;
}

/* Room for what comes from others. */
static int make_room(const umbra_train_setup *setup, umbra_train_network *networks,
                     umbra_error *err)
{
    for (int i = 0; i < setup->networks; i++) {
        int first, sources = sources_of(setup, i, &first);
        umbra_train_network *n = &networks[i];
        if (umbra_train_owner(setup, i) == 0)
            continue;
        n->history = umbra_calloc((size_t)setup->options.epochs + 1, sizeof *n->history);
        n->outcomes = umbra_calloc((size_t)sources, sizeof *n->outcomes);
        if (!n->history || !n->outcomes)
            return umbra_fail_nomem(err, "the networks of other ranks", 0);
    }
    return UMBRA_OK;
}

static int bring_network(const umbra_train_setup *setup, umbra_shadow *shadow, int network,
                         umbra_train_network *n, umbra_error *err)
{
    const umbra_ranks *r = setup->options.ranks;
    int from = umbra_train_owner(setup, network), first,
        sources = sources_of(setup, network, &first);
    head h = {n->epochs, n->best_epoch};
    float *parts[UMBRA_SHADOW_PARTS];
    size_t lengths[UMBRA_SHADOW_PARTS];
    umbra_shadow_parts(&setup->spec, &shadow->networks[network], parts, lengths);
    float *calibration = shadow->calibration + (size_t)first * D * 2;
    size_t records = (size_t)setup->options.epochs + 1, fits = (size_t)sources * D * 2;
    int rc = umbra_ranks_bring(r, from, &h, sizeof h, err);
    if (rc == UMBRA_OK)
        rc = umbra_ranks_bring(r, from, n->history, records * sizeof *n->history, err);
    if (rc == UMBRA_OK)
        rc = umbra_ranks_bring(r, from, n->outcomes, (size_t)sources * sizeof *n->outcomes, err);
    if (rc == UMBRA_OK)
        rc = umbra_ranks_bring(r, from, calibration, fits * sizeof *calibration, err);
    for (int i = 0; rc == UMBRA_OK && i < UMBRA_SHADOW_PARTS; i++)
        rc = umbra_ranks_bring(r, from, parts[i], lengths[i] * sizeof(float), err);
    n->epochs = h.epochs;
    n->best_epoch = h.best_epoch;
    return rc;
}

int umbra_train_bring(const umbra_train_setup *setup, umbra_shadow *shadow,
                      umbra_train_network *networks, umbra_error *err)
{
    const umbra_ranks *r = setup->options.ranks;
    if (!umbra_ranks_divide(r) || umbra_train_together(setup))
        return UMBRA_OK;
    int rc = r->rank == 0 ? make_room(setup, networks, err) : UMBRA_OK;
    rc = umbra_ranks_agree(r, rc, err);
    for (int i = 0; rc == UMBRA_OK && i < setup->networks; i++) {
        int owner = umbra_train_owner(setup, i);
        if (owner != 0 && (r->rank == 0 || r->rank == owner))
            rc = bring_network(setup, shadow, i, &networks[i], err);
    }
    return rc;
}

/* ---- sums ---- */

size_t umbra_train_sum_room(const umbra_ranks *ranks)
{
    return (size_t)umbra_ranks_count(ranks) * PIECE;
}

static int sum_loss(const umbra_ranks *r, double *loss, float *room, umbra_error *err)
{
    double part, sum = 0.0;
    memcpy((char *)room + (size_t)r->rank * sizeof part, loss, sizeof part);
    int rc = umbra_ranks_gather(r, room, sizeof part, err);
    for (size_t i = 0; i < (size_t)r->count; i++) {
        memcpy(&part, (const char *)room + i * sizeof part, sizeof part);
        sum += part;
    }
    *loss = sum;
    return rc;
}

int umbra_train_sum(const umbra_ranks *r, float *values, size_t n, double *loss, float *room,
                    umbra_error *err)
{
    if (!umbra_ranks_divide(r))
        return UMBRA_OK;
    int rc = sum_loss(r, loss, room, err);
    for (size_t at = 0, m; rc == UMBRA_OK && at < n; at += m) {
        m = n - at < PIECE ? n - at : PIECE;
        memcpy(room + (size_t)r->rank * m, values + at, m * sizeof *values);
        rc = umbra_ranks_gather(r, room, m * sizeof *values, err);
        memcpy(values + at, room, m * sizeof *values);
        for (size_t k = 1; k < (size_t)r->count; k++)
            for (size_t i = 0; i < m; i++)
                values[at + i] += room[k * m + i];
    }
    return rc;
}
