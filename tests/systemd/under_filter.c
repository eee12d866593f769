/* Becomes a program, after it has put the restrictions of the unit on itself as systemd does: the system calls that
 * "allowed.inc" names, the address families of RestrictAddressFamilies=, no memory that is written and run
 * (MemoryDenyWriteExecute=), no namespaces (RestrictNamespaces=). What systemd lets fail ends the program here, by SIGSYS.
 *
 *     under_filter PROGRAM ARGUMENT...
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/sched.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#else
#error "this machine's architecture is missing here"
#endif

/* One SYS_ number after the other, each followed by a comma. */
static const unsigned allowed[] = {
#include "allowed.inc"
};

/* AF_ numbers, as -DFAMILIES= says them. */
static const unsigned families[] = {FAMILIES};

#define NAMESPACES \
    (CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUSER | CLONE_NEWUTS)
#define CALLS (sizeof allowed / sizeof *allowed)
#define FAMILIES_COUNT (sizeof families / sizeof *families)
#define FIELD(name) offsetof(struct seccomp_data, name)
/* The lower half of an argument; both architectures are little-endian. */
#define ARGUMENT(index) (FIELD(args) + 8 * (index))

static struct sock_filter program[2 * (CALLS + FAMILIES_COUNT) + 64];
static unsigned short length;

static void put(unsigned short code, unsigned k, unsigned char jt, unsigned char jf) {
    program[length++] = (struct sock_filter){code, jt, jf, k};
}

static void load(unsigned at) { put(BPF_LD | BPF_W | BPF_ABS, at, 0, 0); }
static void end(unsigned action) { put(BPF_RET | BPF_K, action, 0, 0); }

/* Ends here if what was loaded is this, and goes on behind it if not. */
static void end_if(unsigned value, unsigned action) {
    put(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
    end(action);
}

/* A call is allowed unless an argument has all of these bits. */
static void unless_all(unsigned call, unsigned index, unsigned bits) {
    put(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 5);
    load(ARGUMENT(index));
    put(BPF_ALU | BPF_AND | BPF_K, bits, 0, 0);
    put(BPF_JMP | BPF_JEQ | BPF_K, bits, 0, 1);
    end(SECCOMP_RET_KILL_PROCESS);
    end(SECCOMP_RET_ALLOW);
}

/* A call is allowed unless an argument has any of these bits. */
static void unless_any(unsigned call, unsigned index, unsigned bits) {
    put(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 4);
    load(ARGUMENT(index));
    put(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1);
    end(SECCOMP_RET_KILL_PROCESS);
    end(SECCOMP_RET_ALLOW);
}

int main(int count, char **arguments) {
    if (count < 2) return 2;
    load(FIELD(arch));
    put(BPF_JMP | BPF_JEQ | BPF_K, NATIVE, 1, 0);
    end(SECCOMP_RET_KILL_PROCESS);
    load(FIELD(nr));
    /* Its flags stand in memory, where no filter sees them: systemd says that the kernel is too old, and clone is used. */
    end_if(SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS);
    unless_any(SYS_clone, 0, NAMESPACES);
    unless_any(SYS_unshare, 0, NAMESPACES);
    end_if(SYS_setns, SECCOMP_RET_KILL_PROCESS);
    unless_all(SYS_mmap, 2, PROT_WRITE | PROT_EXEC);
    unless_any(SYS_mprotect, 2, PROT_EXEC);
    unless_any(SYS_pkey_mprotect, 2, PROT_EXEC);
    put(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 2 + 2 * FAMILIES_COUNT);
    load(ARGUMENT(0));
    for (unsigned index = 0; index < FAMILIES_COUNT; index++) end_if(families[index], SECCOMP_RET_ALLOW);
    end(SECCOMP_RET_KILL_PROCESS);
    for (unsigned index = 0; index < CALLS; index++) end_if(allowed[index], SECCOMP_RET_ALLOW);
    end(SECCOMP_RET_KILL_PROCESS);

    struct sock_fprog filter = {length, program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) {
        perror("the filter");
        return 2;
    }
    execv(arguments[1], arguments + 1);
    perror(arguments[1]);
    return 2;
}
