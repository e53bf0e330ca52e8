/* A tracer: a seccomp filter stops the program at the system calls of interest alone. */
#include "inject.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/seccomp.h>

#ifdef __x86_64__

enum { CANNOT = 121, SECONDS = 60 };

typedef struct tracer {
    const inject *what;
    inject_result result;
    pid_t process;
    pid_t held; /* a thread whose call hangs, or 0 */
} tracer;

static void filter_calls(const int *calls)
{
    struct sock_filter code[INJECT_CALLS * 2 + 2];
    unsigned short n = 0;
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < INJECT_CALLS && calls[i]; i++) {
        code[n++] =
            (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {n, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(CANNOT);
}

static void direct(const char *path, int to)
{
    int fd = open(path ? path : "/dev/null", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || dup2(fd, to) < 0)
        _exit(CANNOT);
    close(fd);
}

static void become(const inject *what, char *const argv[])
{
    direct(what->out, 1);
    direct(what->err, 2);
    int in = what->in ? open(what->in, O_RDONLY) : 0;
    if (in < 0 || dup2(in, 0) < 0)
        _exit(CANNOT);
    if (what->preload)
        setenv("LD_PRELOAD", what->preload, 1);
    if (what->calls[0]) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0)
            _exit(CANNOT);
        raise(SIGSTOP);
        filter_calls(what->calls);
    }
    execv(argv[0], argv);
    _exit(CANNOT);
}

static void halve(struct user_regs_struct *r)
{
    unsigned long long half = r->rdx / 2 / 4096 * 4096;
    if (half > 0)
        r->rdx = half;
}

static void meddle(tracer *t, pid_t thread, struct user_regs_struct *r)
{
    const inject *w = t->what;
    if (w->action == INJECT_KILL) {
        kill(t->process, SIGKILL);
    } else if (w->action == INJECT_CALL) {
        w->at(w->user);
    } else if (w->action == INJECT_ERROR) {
        r->orig_rax = (unsigned long long)-1;
        r->rax = (unsigned long long)-w->error;
        ptrace(PTRACE_SETREGS, thread, 0, r);
    } else if (w->action == INJECT_SHORT) {
        halve(r);
        ptrace(PTRACE_SETREGS, thread, 0, r);
    } else if (w->action == INJECT_HANG) {
        bool first = t->held == 0;
        t->held = thread;
        if (first && w->hanging)
            w->hanging(t->process);
    }
}

/* Whether the descriptor is one of the files of interest. */
static bool is_of(const tracer *t, unsigned long long fd)
{
    const inject *w = t->what;
    char link[64], path[1024];
    if (w->files && (int)fd >= 0 && (int)fd <= 2)
        return false;
    if (!w->path)
        return true;
    snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)t->process, (int)fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    return strstr(path, w->path) != NULL;
}

/* A call of interest is about to happen. */
static void meet(tracer *t, pid_t thread)
{
    const inject *w = t->what;
    struct user_regs_struct r;
    if (ptrace(PTRACE_GETREGS, thread, 0, &r) != 0)
        return;
    if (!is_of(t, r.rdi))
        return;
    t->result.met++;
    if (t->result.met == w->first || (w->forever && t->result.met > w->first))
        meddle(t, thread, &r);
}

static void take_stop(tracer *t, pid_t thread, int status)
{
    int number = WSTOPSIG(status), event = status >> 16;
    if (event == PTRACE_EVENT_SECCOMP) {
        meet(t, thread);
        if (t->held == thread)
            return;
    }
    /* Stops of tracing itself are no signals for the program; a new thread begins with one. */
    bool own = event != 0 || number == SIGTRAP || (number == SIGSTOP && thread != t->process);
    ptrace(PTRACE_CONT, thread, 0, own ? 0 : number);
}

static bool begin(tracer *t)
{
    int status;
    if (waitpid(t->process, &status, __WALL) != t->process || !WIFSTOPPED(status))
        return false;
    long options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
                   PTRACE_O_TRACEVFORK | PTRACE_O_EXITKILL;
    return ptrace(PTRACE_SETOPTIONS, t->process, 0, options) == 0 &&
           ptrace(PTRACE_CONT, t->process, 0, 0) == 0;
}

/* In which system call each thread of a program is that does not end. */
static void tell_where(pid_t process)
{
    char line[128];
    snprintf(line, sizeof line, "cd /proc/%d/task && grep -H . */syscall */wchan >&2",
             (int)process);
    (void)!system(line);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Time counts while this process runs: where all is stopped for a while, nothing hangs. */
static void follow(tracer *t)
{
    static const double most = .1;
    double left = t->what->seconds ? t->what->seconds : SECONDS, last = now();
    for (;;) {
        int status;
        pid_t thread = waitpid(-1, &status, __WALL | WNOHANG);
        if (thread < 0)
            return;
        if (thread == 0) {
            nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
            double at = now();
            left -= at - last < most ? at - last : most;
            last = at;
            if (left < 0 && !t->result.late) {
                tell_where(t->process);
                t->result.late = true;
                kill(t->process, SIGKILL);
            }
        } else if (WIFSTOPPED(status)) {
            take_stop(t, thread, status);
        } else if (thread == t->process) {
            t->result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
    }
}

inject_result inject_run(const inject *what, char *const argv[])
{
    tracer t = {.what = what};
    t.process = fork();
    if (t.process == 0)
        become(what, argv);
    if (what->process)
        *what->process = t.process;
    if (t.process < 0 || (what->calls[0] && !begin(&t)))
        t.result.cannot = true;
    follow(&t);
    t.result.cannot = t.result.cannot || t.result.code == CANNOT;
    return t.result;
}

#else

inject_result inject_run(const inject *what, char *const argv[])
{
    (void)what;
    (void)argv;
    return (inject_result){.cannot = true};
}

#endif
