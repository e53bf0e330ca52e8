/* Builds nets. */
#include <string.h>

#include "base/memory.h"
#include "grammar/net.h"
#include "grammar/spellings.h"
#include "grammar/watch.h"

enum { LEAST_ROOM = 256 };

void umbra_net_init(umbra_net *net)
{
    *net = (umbra_net){0};
    net->nodes = umbra_calloc(LEAST_ROOM, sizeof *net->nodes);
    net->failed = net->nodes == NULL;
    net->room = net->failed ? 0 : LEAST_ROOM;
    net->n = 1; /* the one that returns */
}

void umbra_net_release(umbra_net *net)
{
    umbra_free(net->nodes);
    umbra_free(net->sets);
    *net = (umbra_net){0};
}

static int add(umbra_net *net, net_kind kind, int next, int other)
{
    if (net->n == net->room && !net->failed) {
        net_node *nodes = umbra_reallocarray(net->nodes, 2 * (size_t)net->room, sizeof *nodes);
        net->failed = nodes == NULL;
        net->nodes = nodes ? nodes : net->nodes;
        net->room *= nodes ? 2 : 1;
    }
    if (net->failed)
        return 0;
    net->nodes[net->n] = (net_node){.kind = (uint8_t)kind, .next = next, .other = other};
    return net->n++;
}

int umbra_net_set(umbra_net *net, byte_set set, int next)
{
    int at = 0;
    while (at < net->n_sets && memcmp(&net->sets[at], &set, sizeof set) != 0)
        at++;
    if (at == net->sets_room && !net->failed) {
        int room = 2 * net->sets_room + 64;
        byte_set *sets = umbra_reallocarray(net->sets, (size_t)room, sizeof *sets);
        net->failed = sets == NULL;
        net->sets = sets ? sets : net->sets;
        net->sets_room = sets ? room : net->sets_room;
    }
    if (net->failed)
        return 0;
    if (at == net->n_sets)
        net->sets[net->n_sets++] = set;
    return add(net, NET_BYTES, next, at);
}

static void put(byte_set *set, int byte)
{
    set->bits[byte / 64] |= UINT64_C(1) << byte % 64;
}

int umbra_net_range(umbra_net *net, int low, int high, int next)
{
    byte_set set = {{0}};
    for (int b = low; b <= high; b++)
        put(&set, b);
    return umbra_net_set(net, set, next);
}

int umbra_net_one_of(umbra_net *net, const char *characters, int next)
{
    byte_set set = {{0}};
    for (; *characters; characters++)
        put(&set, (unsigned char)*characters);
    return umbra_net_set(net, set, next);
}

int umbra_net_literal(umbra_net *net, const char *text, size_t bytes, int next)
{
    while (bytes-- > 0)
        next = umbra_net_range(net, (unsigned char)text[bytes], (unsigned char)text[bytes], next);
    return next;
}

int umbra_net_call(umbra_net *net, int rule, int next)
{
    return add(net, NET_CALL, next, rule);
}

int umbra_net_split(umbra_net *net, int a, int b)
{
    return add(net, NET_SPLIT, a, b);
}

int umbra_net_forward(umbra_net *net)
{
    return add(net, NET_SPLIT, -1, -1);
}

void umbra_net_lead(umbra_net *net, int forward, int to)
{
    if (!net->failed)
        net->nodes[forward].next = net->nodes[forward].other = to;
}

/* ---- repetitions ---- */

/* One more of them, then `next`. */
static int one(umbra_net *net, int rule, bool comma, int next)
{
    next = umbra_net_call(net, rule, next);
    return comma ? umbra_net_literal(net, ",", 1, umbra_net_call(net, net->space, next)) : next;
}

int umbra_net_repeat(umbra_net *net, int rule, int least, int most, bool comma, int next)
{
    int rest = next; /* where so many have come that no more need to */
    if (most == 0)
        return next;
    if (most < 0) {
        int loop = umbra_net_forward(net);
        umbra_net_lead(net, loop, umbra_net_split(net, one(net, rule, comma, loop), next));
        rest = loop;
        most = least > 1 ? least : 1;
    }
    for (int k = most; k > 1; k--) {
        rest = one(net, rule, comma, rest);
        if (k > least)
            rest = umbra_net_split(net, rest, next);
    }
    rest = umbra_net_call(net, rule, rest);
    return least > 0 ? rest : umbra_net_split(net, rest, next);
}

/* ---- up to a text ---- */

int umbra_net_seen(umbra_net *net, const char *text, size_t seen, const byte_set *can,
                   const int *at, int next)
{
    size_t n = strlen(text);
    int node = -1;
    for (size_t to = 0; to <= seen + 1; to++) {
        byte_set set = {{0}};
        bool some = false;
        for (int b = 0; b <= 0xff; b++) {
            if (!(can->bits[b / 64] >> b % 64 & 1) ||
                umbra_text_seen(text, seen, (unsigned char)b) != to)
                continue;
            put(&set, b);
            some = true;
        }
        if (!some || (to == n && next < 0))
            continue;
        int one = umbra_net_set(net, set, to == n ? next : at[to]);
        node = node < 0 ? one : umbra_net_split(net, one, node);
    }
    return node;
}

/* Where one is in a character of UTF-8, and where a byte leads from there: no overlong forms, no
 * surrogates. */
enum { CHARACTER_PLACES = 8 };
static const struct {
    int from, low, high, to;
} character_steps[] = {
    {0, 0x00, 0x7f, 0}, {0, 0xc2, 0xdf, 1}, {0, 0xe0, 0xe0, 4}, {0, 0xe1, 0xec, 2},
    {0, 0xed, 0xed, 5}, {0, 0xee, 0xef, 2}, {0, 0xf0, 0xf0, 6}, {0, 0xf1, 0xf3, 3},
    {0, 0xf4, 0xf4, 7}, {1, 0x80, 0xbf, 0}, {2, 0x80, 0xbf, 1}, {3, 0x80, 0xbf, 2},
    {4, 0xa0, 0xbf, 1}, {5, 0x80, 0x9f, 1}, {6, 0x90, 0xbf, 2}, {7, 0x80, 0x8f, 2},
};

/* A text up to which is read: as its letters, and as it is spelled, with control tokens. */
typedef struct end_text {
    const char *spelled;
    char *letters; /* (n) */
    size_t n;
} end_text;

/* The control tokens of a text that may come where `seen` of its letters have, beside `node`: those
 * at whose place in the text the bytes so far may be. */
static int add_controls(umbra_net *net, const end_text *t, size_t seen, const int *at, int next,
                        int node)
{
    size_t offset = 0;
    for (const char *s = t->spelled; *s; s++) {
        const char *end = strchr(s, SPELLING_CONTROL_END);
        if (*s != SPELLING_CONTROL) {
            offset++;
            continue;
        }
        size_t letters = (size_t)(end - s) - 1, to = offset + letters;
        if (seen >= offset && memcmp(t->letters + seen - offset, t->letters, offset) == 0) {
            int one = umbra_net_literal(net, s, letters + 2, to == t->n ? next : at[to]);
            node = node < 0 ? one : umbra_net_split(net, one, node);
        }
        offset = to;
        s = end;
    }
    return node;
}

/* A node of `until`: `seen` letters of the text have come, and it stands at a place of a character.
 * at: the nodes of all (place, seen). */
static int until_node(umbra_net *net, const end_text *t, size_t seen, int place, const int *at,
                      int next)
{
    int node = -1;
    for (size_t i = 0; i < sizeof character_steps / sizeof *character_steps; i++) {
        byte_set can = {{0}};
        if (character_steps[i].from != place)
            continue;
        for (int b = character_steps[i].low; b <= character_steps[i].high; b++)
            put(&can, b);
        int to = character_steps[i].to;
        int one = umbra_net_seen(net, t->letters, seen, &can, at + (size_t)to * t->n,
                                 to == 0 ? next : -1);
        node = node < 0 ? one : one < 0 ? node : umbra_net_split(net, one, node);
    }
    return place == 0 ? add_controls(net, t, seen, at, next, node) : node;
}

static void read_end_text(end_text *t)
{
    for (const char *s = t->spelled; *s; s++)
        if (*s != SPELLING_CONTROL && *s != SPELLING_CONTROL_END)
            t->letters[t->n++] = *s;
}

int umbra_net_until(umbra_net *net, const char *spelled, int next)
{
    end_text t = {spelled, umbra_calloc(strlen(spelled) + 1, 1), 0};
    if (t.letters)
        read_end_text(&t);
    size_t all = t.n * CHARACTER_PLACES;
    int *at = umbra_calloc(all + 1, sizeof *at), first = next;
    net->failed = net->failed || !at || !t.letters;
    for (size_t i = 0; at && i < all; i++)
        at[i] = umbra_net_forward(net);
    for (size_t i = 0; at && i < all; i++)
        umbra_net_lead(net, at[i], until_node(net, &t, i % t.n, (int)(i / t.n), at, next));
    if (at && all > 0)
        first = at[0];
    umbra_free(t.letters);
    umbra_free(at);
    return first;
}

/* ---- what can end ---- */

static bool lives(const umbra_net *net, const net_node *n)
{
    bool next = n->next >= 0 && net->nodes[n->next].lives;
    bool other = n->other >= 0 && n->kind != NET_BYTES && net->nodes[n->other].lives;
    switch ((net_kind)n->kind) {
    case NET_RETURN:
        return true;
    case NET_BYTES:
        return next;
    case NET_CALL:
        return next && other;
    default:
        return next || other;
    }
}

void umbra_net_settle(umbra_net *net)
{
    for (bool changed = !net->failed; changed;) {
        changed = false;
        for (int i = 0; i < net->n; i++)
            if (!net->nodes[i].lives && lives(net, &net->nodes[i]))
                changed = net->nodes[i].lives = true;
    }
}
