/* Links between network namespaces, as slow as they are told to be.
 *
 *   delayed_links DELAY_MS MBIT NAMESPACE...
 *
 * Makes a device "slow0" in each namespace (at most 16) and prints "ready". A packet from the link
 * of one, to the address that ends in .i, reaches that of the i-th namespace, from 1, after the
 * time that its bytes take at MBIT of a million bits a second, behind those that its sender sent
 * before, and DELAY_MS: in order, and none is lost on the way. Until SIGTERM; then says how many
 * came by. The devices end with the program. */
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { MOST_LINKS = 16, MOST_WAITING = 1024, PACKET = 1536, TO = 16 /* in an IPv4 header */ };

typedef struct packet {
    uint64_t due_ns;
    size_t bytes;
    unsigned char data[PACKET];
} packet;

/* What a namespace has sent and nobody has received yet, oldest first. */
typedef struct link_queue {
    int device;
    uint64_t free_ns; /* when the last packet's bytes are out */
    unsigned first, waiting;
    packet *ring; /* (MOST_WAITING) */
} link_queue;

static volatile sig_atomic_t ended;

static void end(int signal)
{
    (void)signal;
    ended = 1;
}

static _Noreturn void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A device belongs to the namespace in which it is made, whoever reads it. */
static int make_device(const char *namespace)
{
    char path[256];
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    strcpy(request.ifr_name, "slow0");
    snprintf(path, sizeof path, "/run/netns/%s", namespace);
    int in = open(path, O_RDONLY | O_CLOEXEC);
    if (in < 0 || setns(in, CLONE_NEWNET) != 0)
        fail(path);
    close(in);
    int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (device < 0 || ioctl(device, TUNSETIFF, &request) != 0)
        fail("/dev/net/tun");
    return device;
}

static void take_packets(link_queue *l, uint64_t delay_ns, double bits_per_ns)
{
    while (l->waiting < MOST_WAITING) {
        packet *p = &l->ring[(l->first + l->waiting) % MOST_WAITING];
        ssize_t n = read(l->device, p->data, PACKET);
        if (n <= 0)
            return;
        uint64_t now = now_ns(), begin = now > l->free_ns ? now : l->free_ns;
        l->free_ns = begin + (uint64_t)((double)n * 8 / bits_per_ns);
        p->due_ns = l->free_ns + delay_ns;
        p->bytes = (size_t)n;
        l->waiting++;
    }
}

/* Returns how many reached somebody; what is not IPv4, or goes to nobody, is dropped. */
static uint64_t hand_on(link_queue *links, int count, link_queue *from, uint64_t now)
{
    uint64_t n = 0;
    while (from->waiting > 0 && from->ring[from->first].due_ns <= now) {
        const packet *p = &from->ring[from->first];
        int to = p->bytes >= 20 && p->data[0] >> 4 == 4 ? p->data[TO + 3] - 1 : -1;
        if (to >= 0 && to < count && write(links[to].device, p->data, p->bytes) > 0)
            n++;
        from->first = (from->first + 1) % MOST_WAITING;
        from->waiting--;
    }
    return n;
}

/* Sleeps until a packet comes for which there is room, or one is due. */
static void wait_for_packets(const link_queue *links, int count, const sigset_t *signals)
{
    struct pollfd fds[MOST_LINKS];
    uint64_t now = now_ns(), next = now + 1000000000u;
    for (int i = 0; i < count; i++) {
        const link_queue *l = &links[i];
        fds[i] =
            (struct pollfd){.fd = l->waiting < MOST_WAITING ? l->device : -1, .events = POLLIN};
        if (l->waiting > 0 && l->ring[l->first].due_ns < next)
            next = l->ring[l->first].due_ns;
    }
    uint64_t left = next > now ? next - now : 0;
    const struct timespec most = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
    (void)ppoll(fds, (nfds_t)count, &most, signals);
}

int main(int argc, char **argv)
{
    static link_queue links[MOST_LINKS];
    int count = argc - 3;
    uint64_t handed_on = 0;
    if (count < 2 || count > MOST_LINKS) {
        fputs("usage: delayed_links DELAY_MS MBIT NAMESPACE...\n", stderr);
        return 2;
    }
    uint64_t delay_ns = (uint64_t)(atof(argv[1]) * 1e6);
    double bits_per_ns = atof(argv[2]) * 1e-3;
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    signal(SIGTERM, end);
    for (int i = 0; i < count; i++) {
        links[i].device = make_device(argv[3 + i]);
        links[i].ring = calloc(MOST_WAITING, sizeof *links[i].ring);
        if (!links[i].ring)
            fail("the packets under way");
    }
    puts("ready");
    fflush(stdout);
    while (!ended) {
        wait_for_packets(links, count, &before);
        for (int i = 0; i < count; i++) {
            take_packets(&links[i], delay_ns, bits_per_ns);
            handed_on += hand_on(links, count, &links[i], now_ns());
        }
    }
    printf("%llu packets\n", (unsigned long long)handed_on);
    for (int i = 0; i < count; i++) {
        close(links[i].device);
        free(links[i].ring);
    }
    return 0;
}
