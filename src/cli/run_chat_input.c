/* Reads what a user says in a talk. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cli/run_chat.h"

static const char quotes[] = "\"\"\"";

/* A line without its end; -1: there is none. Ctrl-C begins the line anew; another signal makes it
 * -2. */
static ssize_t read_line(const char *sign, char **line, size_t *room)
{
    for (;;) {
        if (sign)
            fputs(sign, stderr);
        errno = 0;
        ssize_t n = getline(line, room, stdin);
        if (n >= 0)
            return n > 0 && (*line)[n - 1] == '\n' ? n - 1 : n;
        int number = cli_take_signal();
        if (number != SIGINT || errno != EINTR)
            return number != 0 && errno == EINTR ? -2 : -1;
        clearerr(stdin);
        fputs("\n(Ctrl-D ends)\n", stderr);
    }
}

static bool append(char **text, size_t *bytes, const char *line, size_t n)
{
    char *larger = realloc(*text, *bytes + n + 2);
    if (!larger)
        return false;
    *text = larger;
    if (n > 0)
        memcpy(larger + *bytes, line, n);
    *bytes += n;
    larger[*bytes] = '\0';
    return true;
}

typedef struct message {
    char *text;
    size_t bytes;
    bool quoted, more; /* between quotes; another line belongs to it */
} message;

/* Adds a line (n bytes); false: no memory is left. */
static bool take_line(message *m, const char *line, size_t n)
{
    bool marks = n == sizeof quotes - 1 && memcmp(line, quotes, n) == 0;
    bool goes_on = !m->quoted && n > 0 && line[n - 1] == '\\';
    if (marks && (m->quoted || m->bytes == 0)) {
        m->more = !m->quoted;
        m->quoted = m->more;
        m->bytes -= m->bytes > 0; /* the line's end before the closing quotes */
        return append(&m->text, &m->bytes, "", 0);
    }
    bool whole = append(&m->text, &m->bytes, line, goes_on ? n - 1 : n);
    m->more = m->quoted || goes_on;
    if (whole && m->more)
        whole = append(&m->text, &m->bytes, "\n", 1);
    return whole;
}

static talk_input command(const char *text)
{
    if (strcmp(text, "/exit") == 0 || strcmp(text, "/quit") == 0)
        return TALK_END;
    if (strcmp(text, "/reset") == 0)
        return TALK_RESET;
    fputs("/reset begins a new talk, /exit or Ctrl-D ends; a backslash at the end of a line, or "
          "lines of \"\"\" around, make messages of several lines; Ctrl-C stops an answer\n",
          stderr);
    return TALK_MESSAGE;
}

talk_input talk_read(bool terminal, char **text, size_t *bytes)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n = 0;
    message m = {.more = true};
    *text = NULL;
    while (m.more) {
        n = read_line(terminal ? (m.text ? ". " : "> ") : NULL, &line, &room);
        if (n < 0 || !take_line(&m, line, (size_t)n))
            break;
    }
    free(line);
    talk_input what = n == -2 ? TALK_STOPPED : n < 0 && m.bytes == 0 ? TALK_END : TALK_MESSAGE;
    if (what == TALK_MESSAGE && m.text && m.text[0] == '/' && !memchr(m.text, '\n', m.bytes)) {
        what = command(m.text);
        m.bytes = 0;
    }
    if (what != TALK_MESSAGE || !m.text) {
        free(m.text);
        m = (message){.text = NULL};
    }
    *text = m.text;
    *bytes = m.bytes;
    return what;
}
