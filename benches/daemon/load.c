/*
 * load: asks a DNS server over UDP as fast as it answers (or at a rate), checks every reply, and reads what the
 * server paid for it.
 *
 *   load --server ADDRESS:PORT --names FILE [options]      prints one `key value` a line
 *
 *   --names FILE      one name a line (what follows a space is left out, so that a list can be dnsperf's too), asked
 *                     for type A in the file's order, over and over
 *   --unique SEED     the first label (16 octets in the file) becomes 16 hexadecimal digits, new for each query
 *   --sockets N       connected sockets, so source ports (default 64)
 *   --clients FILE    source addresses, one a line, each query from the next (default: the kernel's choice)
 *   --window N        unanswered queries in all (default 256); a query not answered in a second is lost
 *   --rate N          queries a second instead of as fast as the window allows
 *   --warm SECONDS    before the measured interval (default 0.3)
 *   --seconds S       the measured interval (default 1)
 *   --passes N        no interval: ask every name N times and stop
 *   --spin            never yields the processor: for a core of its own
 *   --pids P,P,…      the server's processes: CPU time, and cycles and instructions where the machine counts them
 *   --threads PREFIX  only of threads whose names begin so; the CPU time of the others is `others_us`
 *
 * When there is nothing to receive it yields the processor instead of sleeping. On one core with the server, the
 * server then drains whole batches, as it does when it is the busy one; a generator that sleeps would be woken by
 * the first reply and would cut each batch short.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <getopt.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    BATCH = 64,              /* datagrams a system call */
    QUERY = 512,             /* octets of a query at most */
    REPLY = 2048,            /* octets read of a reply */
    HEADER = 12,             /* octets of a DNS header */
    LABEL = 16,              /* octets of a label that --unique replaces */
    SLOTS = 256,             /* unanswered queries a socket: the low octet of the id is the slot */
    SOCKETS = 1024,          /* sockets at most */
    CLIENTS = 1 << 16,       /* source addresses at most */
    PIDS = 64,               /* processes of the server at most */
    COUNTED_THREADS = 256,   /* threads of the server that counters are opened for */
    RCODES = 16,
    BUCKETS = 64 * 64,       /* latency histogram: 64 steps to each power of two, so 1.6 % wide */
};

static const uint64_t SECOND = 1000000000;          /* nanoseconds */
static const uint64_t LOST_AFTER = 1000000000;      /* nanoseconds */
static const uint64_t SWEEP_EVERY = 50000000;       /* nanoseconds between two looks for lost queries */

/* ------------------------------------------------------------------ what is asked */

struct names {
    unsigned char *octets; /* queries in wire form, one after the other */
    uint64_t *offsets;
    uint16_t *lengths;
    uint32_t count, next;
};

struct slot {
    uint64_t sent; /* nanoseconds; 0 = free */
    uint32_t name;
    uint8_t generation; /* the high octet of the id, so that a late reply is not taken for another's */
};

struct source {
    int fd;
    int in_flight, window;
    int free_count;
    uint8_t free_slots[SLOTS];
    struct slot slots[SLOTS];
};

struct options {
    struct sockaddr_in server;
    const char *names, *clients;
    int sockets, window, is_unique, is_spinning;
    uint64_t seed, passes;
    double rate, warm, seconds;
    int pids[PIDS], pid_count;
    const char *threads;
};

union control {
    struct cmsghdr aligned;
    unsigned char octets[CMSG_SPACE(sizeof(struct in_pktinfo))];
};

/* What the replies said, since the start of the measured interval. */
struct counts {
    uint64_t sent, replies, lost, unasked, wrong_question, with_answer, octets, latency_sum;
    uint64_t rcodes[RCODES], latency[BUCKETS];
};

static struct names names;
static struct source sources[SOCKETS];
static struct options options = {.sockets = 64, .window = 256, .warm = 0.3, .seconds = 1};
static struct counts counts;
static uint64_t unique_state;
static struct in_addr clients[CLIENTS];
static int client_count, next_client;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* Writes the query for a name in text form and returns its length. */
static size_t write_query(unsigned char *out, const char *name) {
    static const unsigned char header[HEADER] = {[2] = 1 /* RD */, [5] = 1 /* one question */};
    memcpy(out, header, HEADER);
    size_t at = HEADER;
    while (*name && strcmp(name, ".")) {
        size_t label = strcspn(name, ".");
        out[at++] = (unsigned char)label;
        memcpy(out + at, name, label);
        at += label;
        name += label + (name[label] == '.');
    }
    static const unsigned char end[5] = {0, 0, 1 /* A */, 0, 1 /* IN */};
    memcpy(out + at, end, sizeof end);
    return at + sizeof end;
}

static void read_names(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) fail(path);
    size_t room = 1 << 20, used = 0, entries = 1 << 12;
    names.octets = malloc(room);
    names.offsets = malloc(entries * sizeof *names.offsets);
    names.lengths = malloc(entries * sizeof *names.lengths);
    char line[300];
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, " \r\n")] = 0;
        if (!line[0]) continue;
        if (used + QUERY > room) names.octets = realloc(names.octets, room *= 2);
        if (names.count == entries) {
            entries *= 2;
            names.offsets = realloc(names.offsets, entries * sizeof *names.offsets);
            names.lengths = realloc(names.lengths, entries * sizeof *names.lengths);
        }
        size_t length = write_query(names.octets + used, line);
        names.offsets[names.count] = used;
        names.lengths[names.count++] = (uint16_t)length;
        used += length;
    }
    fclose(file);
    if (!names.count) {
        fprintf(stderr, "load: %s holds no name\n", path);
        exit(1);
    }
}

/* 16 hexadecimal digits that no other query of this seed has (splitmix64). */
static void write_unique_label(unsigned char *label) {
    uint64_t x = unique_state += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    x ^= x >> 31;
    for (int i = 0; i < LABEL; i++, x >>= 4) label[i] = (unsigned char)"0123456789abcdef"[x & 15];
}

/* ------------------------------------------------------------------ sockets */

static void read_clients(const char *path) {
    FILE *file = fopen(path, "r");
    char line[64];
    if (!file) fail(path);
    while (client_count < CLIENTS && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = 0;
        if (inet_pton(AF_INET, line, &clients[client_count]) == 1) client_count++;
    }
    fclose(file);
}

/* Connected sockets; with clients of our own choice, unconnected ones that say the source with each datagram. */
static void open_sources(int epoll) {
    int octets = 4 << 20;
    for (int i = 0; i < options.sockets; i++) {
        struct source *source = &sources[i];
        source->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        if (source->fd < 0) fail("socket");
        setsockopt(source->fd, SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets);
        struct sockaddr_in any = {.sin_family = AF_INET};
        struct sockaddr_in *address = client_count ? &any : &options.server;
        int failed = (client_count ? bind : connect)(source->fd, (struct sockaddr *)address, sizeof *address);
        if (failed) fail(client_count ? "bind" : "connect");
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, source->fd, &event)) fail("epoll_ctl");
        /* The window is shared out; what does not divide goes to the first sockets. */
        source->window = options.window / options.sockets + (i < options.window % options.sockets);
        if (options.rate || source->window > SLOTS) source->window = SLOTS;
        source->free_count = SLOTS;
        for (int slot = 0; slot < SLOTS; slot++) source->free_slots[slot] = (uint8_t)(SLOTS - 1 - slot);
    }
}

static void release(struct source *source, uint8_t slot) {
    source->slots[slot].sent = 0;
    source->slots[slot].generation++;
    source->free_slots[source->free_count++] = slot;
    source->in_flight--;
}

/* Says in a control message which address a datagram is sent from (ip(7), IP_PKTINFO). */
static void set_source(struct msghdr *header, union control *control) {
    header->msg_name = &options.server;
    header->msg_namelen = sizeof options.server;
    header->msg_control = control;
    header->msg_controllen = sizeof control->octets;
    struct cmsghdr *message = CMSG_FIRSTHDR(header);
    message->cmsg_level = IPPROTO_IP;
    message->cmsg_type = IP_PKTINFO;
    message->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
    struct in_pktinfo info = {.ipi_spec_dst = clients[next_client]};
    memcpy(CMSG_DATA(message), &info, sizeof info);
    next_client = (next_client + 1) % client_count;
}

/* Sends up to `wanted` queries from one socket; returns how many went out. */
static int send_queries(struct source *source, int wanted) {
    static unsigned char buffers[BATCH][QUERY];
    static struct iovec vectors[BATCH];
    static struct mmsghdr messages[BATCH];
    static union control controls[BATCH];
    uint8_t used[BATCH];
    if (wanted > BATCH) wanted = BATCH;
    if (wanted > source->free_count) wanted = source->free_count;
    uint64_t at = now();
    for (int i = 0; i < wanted; i++) {
        uint32_t name = names.next++;
        if (names.next == names.count) names.next = 0;
        uint8_t slot = used[i] = source->free_slots[--source->free_count];
        source->slots[slot].sent = at;
        source->slots[slot].name = name;
        memcpy(buffers[i], names.octets + names.offsets[name], names.lengths[name]);
        buffers[i][0] = source->slots[slot].generation;
        buffers[i][1] = slot;
        if (options.is_unique) write_unique_label(buffers[i] + HEADER + 1);
        vectors[i] = (struct iovec){.iov_base = buffers[i], .iov_len = names.lengths[name]};
        messages[i].msg_hdr.msg_iov = &vectors[i];
        messages[i].msg_hdr.msg_iovlen = 1;
        if (client_count) set_source(&messages[i].msg_hdr, &controls[i]);
    }
    int sent = wanted > 0 ? sendmmsg(source->fd, messages, (unsigned)wanted, 0) : 0;
    if (sent < 0) sent = 0;
    source->in_flight += wanted;
    for (int i = sent; i < wanted; i++) release(source, used[i]);
    counts.sent += (uint64_t)sent;
    return sent;
}

/* ------------------------------------------------------------------ replies */

static int bucket(uint64_t value) {
    if (value < 64) return (int)value;
    int exponent = 63 - __builtin_clzll(value);
    return (exponent - 5) * 64 + (int)(value >> (exponent - 6) & 63);
}

static uint64_t bucket_start(int index) {
    if (index < 64) return (uint64_t)index;
    int exponent = index / 64 + 5;
    return ((uint64_t)1 << exponent) + ((uint64_t)(index % 64) << (exponent - 6));
}

static double percentile_us(double part) {
    uint64_t wanted = (uint64_t)((double)counts.replies * part), seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += counts.latency[i];
        if (seen && seen >= wanted) return (double)bucket_start(i) / 1e3;
    }
    return 0;
}

/* A reply counts when its id is in flight on this socket and its question is the one that was asked, octet for octet. */
static void take_reply(struct source *source, const unsigned char *reply, size_t length, uint64_t at) {
    struct slot *slot = &source->slots[reply[1]];
    if (length < HEADER || !(reply[2] & 0x80) || !slot->sent || slot->generation != reply[0]) {
        counts.unasked++;
        return;
    }
    size_t from = HEADER + (options.is_unique ? 1 + LABEL : 0), end = names.lengths[slot->name];
    const unsigned char *query = names.octets + names.offsets[slot->name];
    if (length < end || memcmp(reply + from, query + from, end - from)) counts.wrong_question++;
    uint64_t latency = at - slot->sent;
    counts.replies++;
    counts.octets += length;
    counts.latency_sum += latency;
    counts.latency[bucket(latency)]++;
    counts.rcodes[reply[3] & 15]++;
    counts.with_answer += (reply[6] | reply[7]) != 0;
    release(source, reply[1]);
}

static void receive_replies(struct source *source) {
    static unsigned char buffers[BATCH][REPLY];
    static struct iovec vectors[BATCH];
    static struct mmsghdr messages[BATCH];
    for (int i = 0; i < BATCH && !vectors[i].iov_base; i++) {
        vectors[i] = (struct iovec){.iov_base = buffers[i], .iov_len = REPLY};
        messages[i].msg_hdr.msg_iov = &vectors[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int received = recvmmsg(source->fd, messages, BATCH, MSG_DONTWAIT, NULL);
    uint64_t at = now();
    for (int i = 0; i < received; i++) take_reply(source, buffers[i], messages[i].msg_len, at);
}

static void count_lost(uint64_t at) {
    for (int i = 0; i < options.sockets; i++) {
        struct source *source = &sources[i];
        for (int slot = 0; slot < SLOTS && source->in_flight; slot++) {
            if (!source->slots[slot].sent || source->slots[slot].sent + LOST_AFTER > at) continue;
            counts.lost++;
            release(source, (uint8_t)slot);
        }
    }
}

/* ------------------------------------------------------------------ what the server pays */

enum { CYCLES_USER, CYCLES_KERNEL, INSTRUCTIONS_USER, INSTRUCTIONS_KERNEL, COUNTERS };

struct cost {
    uint64_t run, slices;         /* nanoseconds on a CPU; times it was put there */
    uint64_t others;              /* nanoseconds on a CPU of threads that are not looked at */
    uint64_t user, kernel;        /* clock ticks */
    uint64_t counters[COUNTERS];
};

static int counter_fds[COUNTED_THREADS][COUNTERS], counted_threads;

static void for_each_thread(void (*visit)(int pid, int thread, struct cost *), struct cost *cost) {
    for (int i = 0; i < options.pid_count; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/task", options.pids[i]);
        DIR *folder = opendir(path);
        if (!folder) continue;
        for (struct dirent *entry; (entry = readdir(folder));)
            if (entry->d_name[0] != '.') visit(options.pids[i], atoi(entry->d_name), cost);
        closedir(folder);
    }
}

static int is_looked_at(int pid, int thread) {
    if (!options.threads) return 1;
    char path[64], name[32] = "";
    snprintf(path, sizeof path, "/proc/%d/task/%d/comm", pid, thread);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    if (!fgets(name, sizeof name, file)) name[0] = 0;
    fclose(file);
    return !strncmp(name, options.threads, strlen(options.threads));
}

static void open_counters(int pid, int thread, struct cost *unused) {
    (void)unused;
    if (counted_threads == COUNTED_THREADS || !is_looked_at(pid, thread)) return;
    for (int i = 0; i < COUNTERS; i++) {
        struct perf_event_attr event = {.size = sizeof event, .type = PERF_TYPE_HARDWARE, .exclude_hv = 1};
        event.config = i <= CYCLES_KERNEL ? PERF_COUNT_HW_CPU_CYCLES : PERF_COUNT_HW_INSTRUCTIONS;
        event.exclude_kernel = i == CYCLES_USER || i == INSTRUCTIONS_USER;
        event.exclude_user = !event.exclude_kernel;
        int fd = (int)syscall(SYS_perf_event_open, &event, thread, -1, -1, 0);
        if (fd < 0) return; /* no counters here: CPU time is the measure */
        counter_fds[counted_threads][i] = fd;
    }
    counted_threads++;
}

static void add_thread(int pid, int thread, struct cost *cost) {
    char path[64];
    unsigned long long run, wait, slices;
    snprintf(path, sizeof path, "/proc/%d/task/%d/schedstat", pid, thread);
    FILE *file = fopen(path, "r");
    if (!file) return;
    int is_read = fscanf(file, "%llu %llu %llu", &run, &wait, &slices) == 3;
    fclose(file);
    if (!is_read) return;
    if (is_looked_at(pid, thread)) cost->run += run, cost->slices += slices;
    else cost->others += run;
}

static struct cost read_cost(void) {
    struct cost cost = {0};
    for_each_thread(add_thread, &cost);
    for (int i = 0; i < options.pid_count; i++) {
        char path[64], text[1024];
        snprintf(path, sizeof path, "/proc/%d/stat", options.pids[i]);
        FILE *file = fopen(path, "r");
        if (!file) continue;
        text[fread(text, 1, sizeof text - 1, file)] = 0;
        fclose(file);
        unsigned long long user, kernel;
        char *rest = strrchr(text, ')'); /* the name before it may hold anything */
        if (rest && sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &kernel) == 2)
            cost.user += user, cost.kernel += kernel;
    }
    for (int thread = 0; thread < counted_threads; thread++)
        for (int i = 0; i < COUNTERS; i++) {
            uint64_t value;
            if (read(counter_fds[thread][i], &value, sizeof value) == sizeof value) cost.counters[i] += value;
        }
    return cost;
}

/* ------------------------------------------------------------------ the run */

/* Queries that may still be sent: all for an interval, what is left of the passes otherwise. */
static uint64_t allowance(void) {
    uint64_t wanted = options.passes * names.count;
    return !options.passes ? UINT64_MAX : wanted > counts.sent ? wanted - counts.sent : 0;
}

/* Fills every window; a socket waits until a quarter of its window is free, so that its system calls carry batches. */
static void fill_windows(void) {
    for (int i = 0; i < options.sockets; i++) {
        struct source *source = &sources[i];
        int room = source->window - source->in_flight;
        if (room * 4 < source->window) continue;
        while (room > 0 && allowance()) {
            int sent = send_queries(source, (uint64_t)room < allowance() ? room : (int)allowance());
            if (sent <= 0) break;
            room -= sent;
        }
    }
}

/* Sends what is due at the rate, one query a socket in turn. */
static void send_due(uint64_t at, uint64_t *due) {
    static int turn;
    uint64_t gap = (uint64_t)((double)SECOND / options.rate);
    for (int burst = 0; *due <= at && burst < BATCH; burst++, *due += gap) {
        send_queries(&sources[turn], 1);
        turn = (turn + 1) % options.sockets;
    }
}

static int in_flight(void) {
    int sum = 0;
    for (int i = 0; i < options.sockets; i++) sum += sources[i].in_flight;
    return sum;
}

static void report(const struct cost *before, const struct cost *after, double seconds) {
    double replies = counts.replies ? (double)counts.replies : 1, tick = 1e6 / (double)sysconf(_SC_CLK_TCK);
    printf("seconds %.3f\nsent %llu\nreplies %llu\nlost %llu\n", seconds, (unsigned long long)counts.sent,
           (unsigned long long)counts.replies, (unsigned long long)counts.lost);
    printf("unasked %llu\nwrong_question %llu\nwith_answer %llu\n", (unsigned long long)counts.unasked,
           (unsigned long long)counts.wrong_question, (unsigned long long)counts.with_answer);
    printf("noerror %llu\nservfail %llu\nnxdomain %llu\nrefused %llu\n", (unsigned long long)counts.rcodes[0],
           (unsigned long long)counts.rcodes[2], (unsigned long long)counts.rcodes[3],
           (unsigned long long)counts.rcodes[5]);
    printf("rate %.0f\nreply_octets %.1f\n", (double)counts.replies / seconds, (double)counts.octets / replies);
    printf("mean_us %.1f\np50_us %.1f\np99_us %.1f\np999_us %.1f\n", (double)counts.latency_sum / 1e3 / replies,
           percentile_us(.5), percentile_us(.99), percentile_us(.999));
    if (!options.pid_count) return;
    double run = (double)(after->run - before->run), slices = (double)(after->slices - before->slices);
    printf("cpu_us %.4f\nserver_busy %.3f\n", run / 1e3 / replies, run / 1e9 / seconds);
    printf("others_us %.4f\n", (double)(after->others - before->others) / 1e3 / replies);
    printf("user_us %.3f\nkernel_us %.3f\n", (double)(after->user - before->user) * tick / replies,
           (double)(after->kernel - before->kernel) * tick / replies);
    printf("queries_per_wakeup %.1f\n", replies / (slices > 0 ? slices : 1));
    if (!counted_threads) return;
    static const char *labels[COUNTERS] = {"cycles_user", "cycles_kernel", "instructions_user", "instructions_kernel"};
    for (int i = 0; i < COUNTERS; i++)
        printf("%s %.1f\n", labels[i], (double)(after->counters[i] - before->counters[i]) / replies);
}

static void run(int epoll) {
    struct epoll_event events[SOCKETS];
    struct cost before = {0};
    uint64_t started = now(), swept = started, due = started;
    uint64_t begin = started + (uint64_t)(options.passes ? 0 : options.warm * 1e9), end = UINT64_MAX;
    int is_measuring = 0;
    for (;;) {
        uint64_t at = now();
        if (!is_measuring && at >= begin) {
            is_measuring = 1;
            memset(&counts, 0, sizeof counts);
            before = read_cost();
            begin = due = at = now();
            if (!options.passes) end = begin + (uint64_t)(options.seconds * 1e9);
        }
        if (at >= end || (!allowance() && !in_flight())) break;
        int ready = epoll_wait(epoll, events, options.sockets, 0);
        for (int i = 0; i < ready; i++) receive_replies(&sources[events[i].data.u32]);
        if (options.rate) send_due(at, &due);
        else fill_windows();
        if (at - swept > SWEEP_EVERY) count_lost(swept = at);
        if (ready <= 0 && !options.is_spinning) sched_yield();
    }
    uint64_t stopped = now();
    struct cost after = read_cost();
    report(&before, &after, (double)(stopped - begin) / 1e9);
}

static void read_options(int count, char **arguments) {
    enum { SERVER = 1, NAMES, UNIQUE, SOCKET_COUNT, CLIENT_LIST, WINDOW, RATE, WARM, SECONDS, PASSES, PID_LIST, SPIN, THREADS };
    static const struct option known[] = {
        {"server", 1, 0, SERVER},   {"names", 1, 0, NAMES},   {"unique", 1, 0, UNIQUE}, {"sockets", 1, 0, SOCKET_COUNT},
        {"clients", 1, 0, CLIENT_LIST}, {"window", 1, 0, WINDOW}, {"rate", 1, 0, RATE},     {"warm", 1, 0, WARM},
        {"seconds", 1, 0, SECONDS}, {"passes", 1, 0, PASSES}, {"pids", 1, 0, PID_LIST},
        {"threads", 1, 0, THREADS}, {"spin", 0, 0, SPIN},       {0, 0, 0, 0}};
    for (int option; (option = getopt_long(count, arguments, "", known, NULL)) != -1;) switch (option) {
        case SERVER: {
            char *colon = strrchr(optarg, ':');
            if (!colon) exit(2);
            *colon = 0;
            options.server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(colon + 1))};
            if (inet_pton(AF_INET, optarg, &options.server.sin_addr) != 1) exit(2);
            break;
        }
        case NAMES: options.names = optarg; break;
        case UNIQUE: options.is_unique = 1, options.seed = strtoull(optarg, NULL, 10); break;
        case SOCKET_COUNT: options.sockets = atoi(optarg); break;
        case CLIENT_LIST: options.clients = optarg; break;
        case WINDOW: options.window = atoi(optarg); break;
        case RATE: options.rate = atof(optarg); break;
        case WARM: options.warm = atof(optarg); break;
        case SECONDS: options.seconds = atof(optarg); break;
        case PASSES: options.passes = strtoull(optarg, NULL, 10); break;
        case THREADS: options.threads = optarg; break;
        case SPIN: options.is_spinning = 1; break;
        case PID_LIST:
            for (char *pid = strtok(optarg, ","); pid && options.pid_count < PIDS; pid = strtok(NULL, ","))
                options.pids[options.pid_count++] = atoi(pid);
            break;
        default: exit(2);
    }
    if (!options.server.sin_port || !options.names || options.sockets < 1 || options.sockets > SOCKETS) {
        fprintf(stderr, "usage: load --server ADDRESS:PORT --names FILE [options]; see the head of load.c\n");
        exit(2);
    }
}

int main(int count, char **arguments) {
    read_options(count, arguments);
    read_names(options.names);
    unique_state = options.seed * 0x2545f4914f6cdd1d;
    int epoll = epoll_create1(0);
    if (epoll < 0) fail("epoll_create1");
    if (options.clients) read_clients(options.clients);
    open_sources(epoll);
    for_each_thread(open_counters, NULL);
    run(epoll);
}
