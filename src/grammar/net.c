/* Builds nets. */
#include <string.h>

#include "base/memory.h"
#include "grammar/net.h"

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
