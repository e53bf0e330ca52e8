/* Figures of a program under Umbra, and the port that answers with them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "under/metrics.h"

static const umbra_metrics_model models[] = {
    {"one.gguf",
     {.tokens = 7, .store = {.hits = 5, .ahead = {[1] = {.bytes = 3}, [2] = {.bytes = 4}}}}},
    {"t\"w\\o", {.tokens = 8}},
};

static void print_both(FILE *out)
{
    umbra_metrics_print(out, models, 2);
}

static void test_figures(void **state)
{
    (void)state;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    print_both(out);
    fclose(out);
    assert_non_null(strstr(text, "# TYPE umbra_under_tokens_total counter\n"
                                 "umbra_under_tokens_total{model=\"one.gguf\"} 7\n"
                                 "umbra_under_tokens_total{model=\"t\\\"w\\\\o\"} 8\n"));
    assert_non_null(strstr(text, "umbra_under_expert_hits_total{model=\"one.gguf\"} 5\n"));
    assert_non_null(strstr(text, "umbra_under_ahead_bytes_total{model=\"one.gguf\"} 7\n"));
    free(text);
}

/* A port that is free just now. */
static uint16_t free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int s = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(s, (struct sockaddr *)&at, n), 0);
    assert_int_equal(getsockname(s, (struct sockaddr *)&at, &n), 0);
    close(s);
    return ntohs(at.sin_port);
}

static void ask(uint16_t port, const char *request, char *answer, size_t room)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int s = socket(AF_INET, SOCK_STREAM, 0);
    size_t have = 0;
    assert_int_equal(connect(s, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(write(s, request, strlen(request)), (ssize_t)strlen(request));
    for (ssize_t n; have < room - 1 && (n = read(s, answer + have, room - 1 - have)) > 0;)
        have += (size_t)n;
    answer[have] = 0;
    close(s);
}

static void test_port(void **state)
{
    (void)state;
    static char answer[65536];
    uint16_t port = free_port();
    if (!umbra_metrics_open(port, print_both))
        skip(); /* built without HTTP */
    ask(port, "GET /metrics HTTP/1.0\r\n\r\n", answer, sizeof answer);
    assert_non_null(strstr(answer, " 200 "));
    assert_non_null(strstr(answer, "umbra_under_tokens_total{model=\"one.gguf\"} 7\n"));
    ask(port, "GET /etc/passwd HTTP/1.0\r\n\r\n", answer, sizeof answer);
    assert_non_null(strstr(answer, " 404 "));
    ask(port, "POST /metrics HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", answer, sizeof answer);
    assert_non_null(strstr(answer, " 404 "));
    assert_false(umbra_metrics_open(port, print_both)); /* somebody has it already */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
