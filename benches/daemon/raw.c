/*
 * raw: the least a UDP responder can do, and so the unit that every figure of `cargo bench --bench daemon` is in.
 *
 *   raw round ADDRESS PORT      Turns each datagram round with a 16-octet A record appended: no parsing, no lookup.
 *                               recvmmsg and sendmmsg in batches of 64, one blocking thread. No don't-fragment option.
 *   raw authority ADDRESS PORT  The same for every name in the DNS, as a right reply: what follows the question (OPT)
 *                               is cut off and the answer put there. The upstream of the forwarding workloads.
 *   raw stream ADDRESS PORT     The TCP counterpart of `round`: turns round all messages of one read with one write.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BATCH = 64,                  /* datagrams a system call */
    DATAGRAM = 1500,             /* octets read of one datagram */
    SLOT = 2048,                 /* octets between two datagrams' buffers: room for the answer */
    HEADER = 12,                 /* octets of a DNS header */
    SOCKET_BUFFER = 4 << 20,     /* octets; the kernel's limit caps it */
    STREAMS = 4096,              /* file descriptors a stream may have */
    STREAM_BUFFER = 64 * 1024,   /* octets read of a stream at once */
    EVENTS = 64,                 /* streams served a wake-up */
};

/* Owner: pointer to the question. A, IN, TTL 3600, 10.1.2.3. */
static const unsigned char answer[16] = {0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4, 10, 1, 2, 3};

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* Sets QR and RA and appends the answer at `end`; returns the reply's length, or 0 for what is no query. */
static size_t append_answer(unsigned char *message, size_t end) {
    if (end < HEADER || (message[2] & 0x80)) return 0;
    message[2] |= 0x80;
    message[3] = 0x80;
    message[7] = 1;
    memcpy(message + end, answer, sizeof answer);
    return end + sizeof answer;
}

/* Where the one question ends, or 0 when it runs over the end. */
static size_t question_end(const unsigned char *message, size_t length) {
    size_t at = HEADER;
    while (at < length && message[at] != 0) at += 1 + message[at];
    return at + 5 <= length ? at + 5 : 0;
}

static size_t reply_as_authority(unsigned char *message, size_t length) {
    size_t end = question_end(message, length);
    if (end == 0) return 0;
    memset(message + 6, 0, 6); /* no record but the answer */
    return append_answer(message, end);
}

static void serve_datagrams(int fd, size_t (*reply)(unsigned char *, size_t)) {
    static unsigned char buffers[BATCH][SLOT];
    static struct sockaddr_in clients[BATCH];
    static struct iovec vectors[BATCH];
    static struct mmsghdr messages[BATCH];
    for (int i = 0; i < BATCH; i++) {
        vectors[i].iov_base = buffers[i];
        messages[i].msg_hdr.msg_iov = &vectors[i];
        messages[i].msg_hdr.msg_iovlen = 1;
        messages[i].msg_hdr.msg_name = &clients[i];
    }
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            vectors[i].iov_len = DATAGRAM;
            messages[i].msg_hdr.msg_namelen = sizeof clients[i];
        }
        int received = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < received; i++) {
            size_t length = reply(buffers[i], messages[i].msg_len);
            vectors[i].iov_len = length ? length : 1; /* one octet: no client of ours takes it for a reply */
        }
        for (int sent = 0; sent < received;) {
            int now = sendmmsg(fd, messages + sent, received - sent, 0);
            sent += now > 0 ? now : 1;
        }
    }
}

struct stream {
    size_t held; /* octets of an unfinished message */
    unsigned char octets[STREAM_BUFFER];
};

/* Turns round every whole message in the stream's buffer with one write; returns -1 when the stream is to be closed. */
static int serve_stream(int fd, struct stream *stream) {
    static unsigned char out[2 * STREAM_BUFFER];
    ssize_t got = read(fd, stream->octets + stream->held, STREAM_BUFFER - stream->held);
    if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
    stream->held += (size_t)got;
    size_t at = 0, written = 0;
    while (stream->held - at >= 2) {
        size_t length = (size_t)stream->octets[at] << 8 | stream->octets[at + 1];
        if (stream->held - at < 2 + length) break;
        if (length > DATAGRAM || written + length + 2 + sizeof answer > sizeof out) return -1;
        memcpy(out + written + 2, stream->octets + at + 2, length);
        size_t reply = append_answer(out + written + 2, length);
        if (reply == 0) return -1;
        out[written] = reply >> 8;
        out[written + 1] = reply & 0xff;
        written += 2 + reply;
        at += 2 + length;
    }
    memmove(stream->octets, stream->octets + at, stream->held - at);
    stream->held -= at;
    if (written == 0) return 0;
    return write(fd, out, written) == (ssize_t)written ? 0 : -1;
}

static void serve_streams(int listener) {
    static struct stream *streams[STREAMS];
    int poll = epoll_create1(0), one = 1;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
    if (poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event)) fail("epoll");
    for (;;) {
        int ready = epoll_wait(poll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                if (fd < 0) continue;
                if (fd >= STREAMS || !(streams[fd] = calloc(1, sizeof **streams))) {
                    close(fd);
                    continue;
                }
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                event.data.fd = fd;
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
            } else if (serve_stream(fd, streams[fd])) {
                close(fd);
                free(streams[fd]);
            }
        }
    }
}

int main(int count, char **arguments) {
    if (count != 4) {
        fprintf(stderr, "usage: raw round|authority|stream ADDRESS PORT\n");
        return 2;
    }
    int is_stream = !strcmp(arguments[1], "stream"), is_authority = !strcmp(arguments[1], "authority");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[3]))};
    if (inet_pton(AF_INET, arguments[2], &address.sin_addr) != 1) {
        fprintf(stderr, "raw: %s is no IPv4 address\n", arguments[2]);
        return 2;
    }
    int fd = socket(AF_INET, is_stream ? SOCK_STREAM : SOCK_DGRAM, 0), octets = SOCKET_BUFFER, one = 1;
    if (fd < 0) fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (!is_stream) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets);
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &octets, sizeof octets);
    }
    if (bind(fd, (struct sockaddr *)&address, sizeof address)) fail("bind");
    if (is_stream && listen(fd, 512)) fail("listen");
    if (is_stream) serve_streams(fd);
    serve_datagrams(fd, is_authority ? reply_as_authority : append_answer);
}
