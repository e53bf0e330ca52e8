/* The port that answers with figures. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <microhttpd.h>

#include "under/metrics.h"

enum { OK = 200, NOT_FOUND = 404, CONNECTIONS = 8, SECONDS = 10 };

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, void *text,
                              size_t bytes)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(bytes, text, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    (void)MHD_add_response_header(response, "Content-Type", "text/plain; version=0.0.4");
    enum MHD_Result done = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return done;
}

static enum MHD_Result handle(void *print, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_bytes, void **state)
{
    static char nothing[] = "GET /metrics is all there is\n";
    (void)version;
    (void)upload;
    (void)state;
    if (*upload_bytes > 0 || strcmp(method, "GET") != 0 || strcmp(url, "/metrics") != 0)
        return answer(connection, NOT_FOUND, nothing, sizeof nothing - 1);
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out)
        return MHD_NO;
    (*(umbra_metrics_fn **)print)(out);
    enum MHD_Result done = fclose(out) == 0 && text ? answer(connection, OK, text, bytes) : MHD_NO;
    free(text); /* of open_memstream's */
    return done;
}

bool umbra_metrics_open(uint16_t port, umbra_metrics_fn *print)
{
    static umbra_metrics_fn *printer;
    struct sockaddr_in here = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    printer = print;
    if (MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, port, NULL, NULL, handle,
                         (void *)&printer, MHD_OPTION_SOCK_ADDR, &here, MHD_OPTION_CONNECTION_LIMIT,
                         (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SECONDS,
                         MHD_OPTION_END))
        return true;
    fprintf(stderr, "umbra: no figures at port %u of 127.0.0.1: %s\n", (unsigned)port,
            strerror(errno));
    return false;
}
