/* Rows pooled over whole blocks of positions: what attention's and an index' have in common. */
#include "engine/steps/steps.h"

void umbra_step_pool(const umbra_pass *p, int rope, umbra_pool_step *pool)
{
    const umbra_config *c = &p->model->config;
    umbra_scratch *s = p->scratch;
    for (int t = 0; t < p->rows; t++)
        if ((s->position[t] + 1) % pool->ratio == 0)
            umbra_rope_angles(&c->rope[rope], p->rope_frequency + umbra_rope_at(c, rope),
                              s->position[t] + 1 - pool->ratio,
                              s->pool_angles + (size_t)t * (size_t)c->rope[rope].dim);
    pool->position = s->position;
    pool->angles = s->pool_angles;
    pool->runs = s->runs;
    pool->runs_stride = s->runs_stride;
    umbra_device_pool(p->device, pool, p->rows);
}
