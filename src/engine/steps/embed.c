/* What a row is when it enters: its token's embedding, and the angles of its position. */
#include <math.h>

#include "engine/steps/steps.h"

void umbra_rope_angles(const umbra_rope *r, const double *frequency, int position, float *angles)
{
    for (int i = 0; i < r->dim / 2; i++) {
        double angle = position * frequency[i];
        angles[2 * i] = (float)cos(angle) * r->magnitude;
        angles[2 * i + 1] = (float)sin(angle) * r->magnitude;
    }
}

typedef struct turn_run {
    const umbra_pass *pass;
} turn_run;

/* Angles of rows [begin, end). */
static void turn_rows(void *context, int begin, int end, int worker)
{
    (void)worker;
    const umbra_pass *p = ((const turn_run *)context)->pass;
    const umbra_config *c = &p->model->config;
    for (int i = 0; i < UMBRA_ROPES; i++)
        for (int t = begin; t < end; t++)
            umbra_rope_angles(&c->rope[i], p->rope_frequency + umbra_rope_at(c, i),
                              p->scratch->position[t],
                              p->scratch->rope[i] + (size_t)t * (size_t)c->rope[i].dim);
}

void umbra_step_embed(const umbra_pass *p)
{
    const umbra_config *c = &p->model->config;
    umbra_scratch *s = p->scratch;
    umbra_device_profile(p->device, UMBRA_PROFILE_EMBED);
    umbra_device_embed(p->device, &p->weights->model[UMBRA_TOKEN_EMBEDDING], s->id, p->rows, s->x);
    umbra_device_scale(p->device, s->x, c->embedding_scale, p->rows, c->hidden);
    turn_run run = {p};
    umbra_device_run(p->device, p->rows, 8, turn_rows, &run);
    umbra_step_split(p);
}
