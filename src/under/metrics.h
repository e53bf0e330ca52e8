/* Live figures of a program under Umbra: a port of this machine that answers GET /metrics in the
 * text form of Prometheus. */
#ifndef UMBRA_UNDER_METRICS_H
#define UMBRA_UNDER_METRICS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <umbra/under.h>

/* Figures of one of the models. */
typedef struct umbra_metrics_model {
    const char *name;
    umbra_under_stats stats;
} umbra_metrics_model;

void umbra_metrics_print(FILE *out, const umbra_metrics_model *models, int n);

/* Writes what is to be answered; called by the port's thread. */
typedef void umbra_metrics_fn(FILE *out);
/* Listens on 127.0.0.1 until the process ends. False: it cannot, which is said on stderr. */
bool umbra_metrics_open(uint16_t port, umbra_metrics_fn *print);

#endif
