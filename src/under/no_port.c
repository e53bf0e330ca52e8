/* In place of port.c where libmicrohttpd is not there. */
#include "under/metrics.h"

bool umbra_metrics_open(uint16_t port, umbra_metrics_fn *print)
{
    (void)print;
    fprintf(stderr,
            "umbra: no figures at port %u: this build has no HTTP (install libmicrohttpd and build "
            "with UMBRA_SERVE)\n",
            (unsigned)port);
    return false;
}
