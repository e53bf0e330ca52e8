/* What a row is when it enters: its token's embedding, and the angles of its position. */
#include <math.h>

#include "engine/steps/steps.h"

/* (rope.dim / 2, 2) cos, sin of a position. */
static void angles_of(const umbra_pass *p, int position, float *angles)
{
    const umbra_rope *r = &p->model->config.rope;
    for (int i = 0; i < r->dim / 2; i++) {
        double angle = position * p->rope_frequency[i];
        angles[2 * i] = (float)cos(angle) * r->magnitude;
        angles[2 * i + 1] = (float)sin(angle) * r->magnitude;
    }
}

void umbra_step_embed(const umbra_pass *p)
{
    umbra_scratch *s = p->scratch;
    umbra_device_embed(p->device, &p->weights->model[UMBRA_TOKEN_EMBEDDING], s->id, p->rows, s->x);
    for (int t = 0; t < p->rows; t++)
        angles_of(p, s->position[t], s->rope + (size_t)t * (size_t)p->model->config.rope.dim);
}
