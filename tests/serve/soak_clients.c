/* Eight clients that give a server no rest: they ask and check, cancel, send nonsense, huge bodies
 * and half requests, and read slowly. Usage: soak_clients PORT PID SECONDS BUDGET FOLDER
 * [LIMIT_FILE] FOLDER has prompt.0, answer.0 (what `umbra run` wrote), prompt.1, ...; LIMIT_FILE is
 * looked at for how often a limit killed. Exit status 1: an answer was wrong, or memory grew. */
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "soak_memory.h"

enum {
    CLIENTS = 8,
    PROMPTS = 8,
    TOKENS = 24,
    HALF_OPEN = 3, /* of each client */
    REPLY_BYTES = 1 << 18,
    HUGE_BYTES = 9 << 20
};

static struct sockaddr_in address;
static char *prompts[PROMPTS], *answers[PROMPTS];
static int n_prompts;
static time_t end_time;
static atomic_int done[8], wrong, refused;

enum { GOOD, STREAM, TOOLS, CANCEL, NONSENSE, HUGE_BODY, HALF, SLOW };
static const char *const names[] = {"answers",  "streams",     "forced calls",  "cancels",
                                    "nonsense", "huge bodies", "half requests", "slow readers"};

typedef struct client {
    unsigned seed;
    int half[HALF_OPEN], next_half;
    char *reply;
} client;

/* ---- sockets ---- */

static int reach(void)
{
    struct timeval patience = {.tv_sec = 120};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool put(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        bytes += sent;
        n -= (size_t)sent;
    }
    return true;
}

static bool put_request(int fd, const char *path, const char *body)
{
    char head[256];
    snprintf(
        head, sizeof head,
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
        path, strlen(body));
    return put(fd, head, strlen(head)) && put(fd, body, strlen(body));
}

/* All that comes until the server closes; the body, NUL-terminated; *status 0: there was nothing.
 */
static const char *take(client *c, int fd, int *status)
{
    size_t used = 0;
    for (ssize_t n = 1; n > 0 && used + 1 < REPLY_BYTES; used += n > 0 ? (size_t)n : 0)
        n = recv(fd, c->reply + used, REPLY_BYTES - 1 - used, 0);
    c->reply[used] = '\0';
    *status = used > 12 ? atoi(c->reply + 9) : 0;
    const char *body = strstr(c->reply, "\r\n\r\n");
    return body ? body + 4 : "";
}

/* ---- what clients do ---- */

__attribute__((format(printf, 1, 2))) static void say_wrong(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    atomic_fetch_add(&wrong, 1);
}

static char *body_of(const char *prompt, int tokens, bool stream)
{
    json_t *j = json_pack("{s:s, s:i, s:f, s:b}", "prompt", prompt, "max_tokens", tokens,
                          "temperature", 0.0, "stream", stream);
    char *text = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    return text;
}

static void compare(int which, const char *text)
{
    if (!text || strcmp(text, answers[which]) != 0)
        say_wrong("WRONG: prompt %d was answered \"%s\", not \"%s\"", which, text ? text : "",
                  answers[which]);
}

static void ask(client *c, int which)
{
    int fd = reach(), status;
    char *body = body_of(prompts[which], TOKENS, false);
    if (fd < 0 || !put_request(fd, "/v1/completions", body)) {
        atomic_fetch_add(&refused, 1);
    } else {
        json_t *j = json_loads(take(c, fd, &status), 0, NULL);
        const json_t *choice = json_array_get(json_object_get(j, "choices"), 0);
        if (status == 200)
            compare(which, json_string_value(json_object_get(choice, "text")));
        else if (status == 0 || status == 503)
            atomic_fetch_add(&refused, 1);
        else
            say_wrong("WRONG: prompt %d was refused with %d: %s", which, status, c->reply);
        json_decref(j);
    }
    free(body);
    close(fd);
}

/* Joins the texts of the events in a reply, chunks and all. */
static void ask_for_stream(client *c, int which)
{
    int fd = reach(), status;
    char *body = body_of(prompts[which], TOKENS, true), joined[4096] = "";
    if (fd < 0 || !put_request(fd, "/v1/completions", body)) {
        atomic_fetch_add(&refused, 1);
    } else {
        const char *at = take(c, fd, &status);
        bool ended = strstr(at, "data: [DONE]") != NULL;
        while ((at = strstr(at, "data: {"))) {
            json_t *j = json_loads(at + 6, JSON_DISABLE_EOF_CHECK, NULL);
            const json_t *choice = json_array_get(json_object_get(j, "choices"), 0);
            const char *text = json_string_value(json_object_get(choice, "text"));
            if (text && strlen(joined) + strlen(text) < sizeof joined)
                strcat(joined, text);
            json_decref(j);
            at += 6;
        }
        if (status == 200 && ended)
            compare(which, joined);
        else if (status == 0 || status == 503)
            atomic_fetch_add(&refused, 1);
        else
            say_wrong("WRONG: a stream ended with status %d: %.300s", status, c->reply);
    }
    free(body);
    close(fd);
}

/* A call that must come: its arguments follow the schema. */
static void ask_for_call(client *c, int which)
{
    json_t *j = json_pack(
        "{s:[{s:s, s:s}], s:i, s:f, s:s, s:b, s:[{s:s, s:{s:s, s:b, s:{s:s, s:{s:{s:s, s:i}}, "
        "s:[s]}}}]}",
        "messages", "role", "user", "content", prompts[which], "max_tokens", 120, "temperature",
        0.0, "tool_choice", "required", "parallel_tool_calls", 0, "tools", "type", "function",
        "function", "name", "count", "strict", 1, "parameters", "type", "object", "properties", "n",
        "type", "integer", "minimum", 0, "required", "n");
    char *body = json_dumps(j, JSON_COMPACT);
    int fd = reach(), status;
    json_decref(j);
    if (fd < 0 || !put_request(fd, "/v1/chat/completions", body)) {
        atomic_fetch_add(&refused, 1);
    } else {
        const char *text = take(c, fd, &status);
        bool called = strstr(text, "\"name\":\"count\"") && strstr(text, "\\\"n\\\"");
        if (status == 0 || status == 503)
            atomic_fetch_add(&refused, 1);
        else if (status != 200 || !called)
            say_wrong("WRONG: no call in: %d %.600s", status, text);
    }
    free(body);
    close(fd);
}

static void cancel(client *c, int which)
{
    int fd = reach();
    char *body = body_of(prompts[which], 200, true);
    if (fd >= 0 && put_request(fd, "/v1/completions", body) && rand_r(&c->seed) % 2)
        (void)!recv(fd, c->reply, 1 + (size_t)(rand_r(&c->seed) % 400), 0);
    free(body);
    close(fd);
}

static void send_nonsense(client *c)
{
    static const char *const bodies[] = {
        "{",
        "[1]",
        "{\"prompt\":",
        "{\"prompt\":\"a\",\"n\":2}",
        "{\"prompt\":\"a\\u0000\xff\"}",
        "{\"max_tokens\":-1,\"prompt\":\"a\"}",
        "\x01\x02",
        "{\"prompt\":{}}",
    };
    int fd = reach(), status;
    if (fd >= 0 && put_request(fd, "/v1/completions", bodies[rand_r(&c->seed) % 8])) {
        take(c, fd, &status);
        if (status == 200 || status == 500)
            say_wrong("WRONG: nonsense was answered with %d", status);
    }
    close(fd);
}

static void send_huge(client *c)
{
    static const char head[] =
        "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: "
        "%d\r\nConnection: close\r\n\r\n";
    static const char filler[1 << 16] = {' '};
    char text[256];
    int fd = reach(), status;
    snprintf(text, sizeof text, head, HUGE_BYTES);
    bool open = fd >= 0 && put(fd, text, strlen(text));
    for (int sent = 0; open && sent < HUGE_BYTES; sent += (int)sizeof filler)
        open = put(fd, filler, sizeof filler);
    if (fd >= 0) {
        take(c, fd, &status);
        if (status == 200 || status == 500)
            say_wrong("WRONG: a huge body was answered with %d", status);
    }
    close(fd);
}

/* Half a request, on a connection that stays open until the server or a later one closes it. */
static void leave_half(client *c)
{
    static const char *const halves[] = {
        "", "POST /v1/comp", "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 90\r\n\r\n{\"pro"};
    const char *half = halves[rand_r(&c->seed) % 4];
    int fd = reach();
    if (fd >= 0)
        put(fd, half, strlen(half));
    if (c->half[c->next_half] >= 0)
        close(c->half[c->next_half]);
    c->half[c->next_half] = fd;
    c->next_half = (c->next_half + 1) % HALF_OPEN;
}

static void read_slowly(client *c, int which)
{
    int fd = reach(), small = 2048;
    char *body = body_of(prompts[which], 100, true), byte;
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        put_request(fd, "/v1/completions", body);
        for (int i = rand_r(&c->seed) % 40; i > 0 && time(NULL) < end_time; i--) {
            if (recv(fd, &byte, 1, 0) <= 0)
                break;
            usleep(50000);
        }
    }
    free(body);
    close(fd);
}

static void *run_client(void *argument)
{
    client *c = argument;
    while (time(NULL) < end_time) {
        int which = rand_r(&c->seed) % n_prompts, dice = rand_r(&c->seed) % 20;
        int what = dice < 6    ? GOOD
                   : dice < 9  ? STREAM
                   : dice < 10 ? TOOLS
                   : dice < 14 ? CANCEL
                   : dice < 16 ? NONSENSE
                   : dice < 17 ? HUGE_BODY
                   : dice < 19 ? HALF
                               : SLOW;
        switch (what) {
        case GOOD:
            ask(c, which);
            break;
        case STREAM:
            ask_for_stream(c, which);
            break;
        case TOOLS:
            ask_for_call(c, which);
            break;
        case CANCEL:
            cancel(c, which);
            break;
        case NONSENSE:
            send_nonsense(c);
            break;
        case HUGE_BODY:
            send_huge(c);
            break;
        case HALF:
            leave_half(c);
            break;
        default:
            read_slowly(c, which);
        }
        atomic_fetch_add(&done[what], 1);
    }
    for (int i = 0; i < HALF_OPEN; i++)
        if (c->half[i] >= 0)
            close(c->half[i]);
    return NULL;
}

/* ---- the run ---- */

static char *read_text(const char *folder, const char *name, int i)
{
    char path[512], *text = calloc(1, 8192);
    snprintf(path, sizeof path, "%s/%s.%d", folder, name, i);
    FILE *f = fopen(path, "r");
    if (!f || !text) {
        free(text);
        return NULL;
    }
    text[fread(text, 1, 8191, f)] = '\0';
    fclose(f);
    return text;
}

static void report(int seconds)
{
    printf("%d s, 8 clients:", seconds);
    for (int i = 0; i < 8; i++)
        printf(" %d %s%s", atomic_load(&done[i]), names[i], i < 7 ? "," : "");
    printf("; %d turned away, %d wrong\n", atomic_load(&refused), atomic_load(&wrong));
}

int main(int argc, char **argv)
{
    static client clients[CLIENTS];
    pthread_t threads[CLIENTS];
    if (argc < 6)
        return 2;
    int pid = atoi(argv[2]), seconds = atoi(argv[3]), files = soak_open_files(pid);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    while (n_prompts < PROMPTS && (prompts[n_prompts] = read_text(argv[5], "prompt", n_prompts)) &&
           (answers[n_prompts] = read_text(argv[5], "answer", n_prompts)))
        n_prompts++;
    if (n_prompts == 0)
        return 2;
    end_time = time(NULL) + seconds;
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (client){.seed = (unsigned)i + 1, .reply = malloc(REPLY_BYTES)};
        memset(clients[i].half, -1, sizeof clients[i].half);
        pthread_create(&threads[i], NULL, run_client, &clients[i]);
    }
    bool good = soak_watch(pid, atol(argv[4]) / 1024, end_time, seconds);
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        free(clients[i].reply);
    }
    sleep(1);
    for (int i = 0; good && i < n_prompts; i++) { /* and it answers still */
        client c = {.reply = malloc(REPLY_BYTES)};
        ask(&c, i);
        ask_for_stream(&c, i);
        free(c.reply);
    }
    report(seconds);
    int left = soak_open_files(pid);
    if (left > files + 4)
        fprintf(stderr, "FAILED: %d files are open, %d were\n", left, files);
    if (argc > 6 && soak_was_killed(argv[6]))
        fprintf(stderr, "FAILED: the memory limit killed\n");
    good = good && left <= files + 4 && !(argc > 6 && soak_was_killed(argv[6])) && wrong == 0 &&
           done[GOOD] > 0;
    for (int i = 0; i < n_prompts; i++) {
        free(prompts[i]);
        free(answers[i]);
    }
    return good ? 0 : 1;
}
