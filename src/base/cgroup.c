/* Finds the folders of this process's control groups: /proc/self/cgroup names the group in each
 * hierarchy, /proc/self/mountinfo where which part of a hierarchy is mounted.
 *
 * What there is no memory to read counts as not there, which is why memory comes from the C
 * library: the tests that make umbra_calloc fail expect an error. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cgroup.h"

/* A hierarchy as this process sees it; the strings lie in the text that was read. */
typedef struct mount {
    const char *root;  /* the group that is mounted */
    const char *point; /* where */
    bool v2;
} mount;

typedef struct search {
    const char *root;       /* before every path */
    const char *controller; /* that is asked for */
    char *v1, *v2;          /* this process's groups; NULL: unknown */
    umbra_cgroup_visitor *visit;
    void *user;
} search;

/* Has the comma-separated list the word? */
static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (strncmp(p, word, n) == 0 && (p[n] == ',' || p[n] == '\0'))
            return true;
    return false;
}

static FILE *open_below(const char *root, const char *path)
{
    char full[4096];
    int n = snprintf(full, sizeof full, "%s%s", root, path);
    return n > 0 && (size_t)n < sizeof full ? fopen(full, "re") : NULL;
}

/* The next line without its newline, of any length; false at the end. */
static bool next_line(FILE *f, char **line, size_t *room)
{
    ssize_t n = getline(line, room, f);
    if (n > 0 && (*line)[n - 1] == '\n')
        (*line)[n - 1] = '\0';
    return n > 0;
}

/* ---- /proc/self/cgroup: "ID:CONTROLLERS:/PATH"; version 2 has no controllers ---- */

static void take_group(search *s, char *line)
{
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group || group[1] != '/')
        return;
    *group++ = '\0';
    controllers++;
    char **kept = *controllers == '\0' ? &s->v2 : &s->v1;
    if (!*kept && (*controllers == '\0' || has_word(controllers, s->controller)))
        *kept = strdup(group);
}

static void find_groups(search *s)
{
    FILE *f = open_below(s->root, "/proc/self/cgroup");
    char *line = NULL;
    size_t room = 0;
    while (f && next_line(f, &line, &room))
        take_group(s, line);
    free(line);
    if (f)
        fclose(f);
}

/* ---- /proc/self/mountinfo ---- */

/* Spaces and the like are written as \040. */
static void unescape(char *s)
{
    char *out = s;
    while (*s) {
        bool octal = s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
                     s[3] >= '0' && s[3] <= '7';
        *out++ = octal ? (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0')) : *s;
        s += octal ? 4 : 1;
    }
    *out = '\0';
}

/* "ID PARENT DEVICE ROOT POINT OPTIONS [MORE...] - TYPE SOURCE SUPER": true if the line, which is
 * cut up, mounts a hierarchy of the controller. */
static bool parse_mount(char *line, const char *controller, mount *out)
{
    char *dash = strstr(line, " - ");
    if (!dash)
        return false;
    *dash = '\0';
    char *fields[6] = {0}, *tail[3] = {0}, *rest = NULL;
    for (int i = 0; i < 6; i++)
        fields[i] = strtok_r(i == 0 ? line : NULL, " ", &rest);
    for (int i = 0; i < 3; i++)
        tail[i] = strtok_r(i == 0 ? dash + 3 : NULL, " ", &rest);
    if (!fields[4] || !tail[0])
        return false;
    out->v2 = strcmp(tail[0], "cgroup2") == 0;
    if (!out->v2 && (strcmp(tail[0], "cgroup") != 0 || !tail[2] || !has_word(tail[2], controller)))
        return false;
    unescape(fields[3]);
    unescape(fields[4]);
    out->root = fields[3];
    out->point = fields[4];
    return true;
}

/* What of the group's path lies below the mount. NULL: the group is not in what is mounted. */
static const char *path_below(const char *group, const char *mounted)
{
    size_t n = strcmp(mounted, "/") == 0 ? 0 : strlen(mounted);
    if (strncmp(group, mounted, n) != 0 || (group[n] != '/' && group[n] != '\0'))
        return NULL;
    return strstr(group + n, "/..") ? NULL : group + n;
}

/* Visits the group and those above it up to the mount. The path need not exist there: a container
 * may see the host's name of its group and have only the group itself mounted. */
static void visit_groups(const search *s, const mount *m, const char *below)
{
    size_t base = strlen(s->root) + strlen(m->point);
    char *folder;
    if (asprintf(&folder, "%s%s%s", s->root, m->point, below) < 0)
        return;
    for (;;) {
        s->visit(s->user, folder, m->v2);
        char *slash = strrchr(folder + base, '/');
        if (!slash)
            break;
        *slash = '\0';
    }
    free(folder);
}

/* Visits the mounts that hold the process's group, or (`others`) those that do not. Returns how
 * many of each version held it. */
static void visit_mounts(const search *s, bool others, int held[2])
{
    FILE *f = open_below(s->root, "/proc/self/mountinfo");
    char *line = NULL;
    size_t room = 0;
    while (f && next_line(f, &line, &room)) {
        mount m;
        if (!parse_mount(line, s->controller, &m))
            continue;
        const char *group = m.v2 ? s->v2 : s->v1;
        const char *below = group ? path_below(group, m.root) : NULL;
        if (below && !others)
            visit_groups(s, &m, below);
        else if (!below && others && held[m.v2] == 0)
            visit_groups(s, &m, "");
        held[m.v2] += below && !others;
    }
    free(line);
    if (f)
        fclose(f);
}

/* Where the mounts cannot be read, they are where they always are. */
static void visit_usual_places(const search *s)
{
    char point[64];
    snprintf(point, sizeof point, "/sys/fs/cgroup/%s", s->controller);
    visit_groups(s, &(mount){"/", point, false}, s->v1 ? s->v1 : "");
    visit_groups(s, &(mount){"/", "/sys/fs/cgroup", true}, s->v2 ? s->v2 : "");
}

void umbra_cgroup_visit(const char *root, const char *controller, umbra_cgroup_visitor *visit,
                        void *user)
{
    search s = {.root = root, .controller = controller, .visit = visit, .user = user};
    find_groups(&s);
    FILE *f = open_below(root, "/proc/self/mountinfo");
    if (f) {
        fclose(f);
        int held[2] = {0, 0};
        visit_mounts(&s, false, held);
        visit_mounts(&s, true, held);
    } else {
        visit_usual_places(&s);
    }
    free(s.v1);
    free(s.v2);
}
