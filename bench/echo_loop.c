/* The yardstick of bench_edge.py: a UDP echo server as one writes it in C, and a client for all.

   echo_loop serve                        one packet per epoll_wait: recvfrom, sendto
   echo_loop drain                        the same until the socket is empty
   echo_loop drive PORT WINDOW MS HEX     keep WINDOW packets under way for MS, print the answers

   Servers print their port and end with their standard input. The client reads and writes in
   batches, so that with a large window it is not what limits. A lost packet is sent again after
   200 ms: a datagram may be lost on loopback too when a buffer is full. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PACKET_MAX = 2048, WINDOW_MAX = 256 };

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int serve(int is_draining) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(name);
    int buffer = 4 * 1024 * 1024;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    struct epoll_event input = {.events = EPOLLIN, .data.fd = 0};
    static char data[PACKET_MAX];
    if (fd < 0 || poll < 0 || bind(fd, (struct sockaddr *)&name, size) < 0) fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
    getsockname(fd, (struct sockaddr *)&name, &size);
    if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
    if (epoll_ctl(poll, EPOLL_CTL_ADD, 0, &input) < 0) fail("epoll_ctl");
    printf("%d\n", ntohs(name.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event ready;
        if (epoll_wait(poll, &ready, 1, -1) < 0) {
            if (errno == EINTR) continue;
            fail("epoll_wait");
        }
        if (ready.data.fd == 0) return 0;
        do {
            struct sockaddr_in from;
            socklen_t from_size = sizeof(from);
            ssize_t got =
                recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&from, &from_size);
            if (got < 0) break;
            sendto(fd, data, got, 0, (struct sockaddr *)&from, from_size);
        } while (is_draining);
    }
}

static size_t unhex(const char *text, uint8_t *out) {
    size_t size = strlen(text) / 2;
    if (size > PACKET_MAX) size = PACKET_MAX;
    for (size_t i = 0; i < size; i++) {
        unsigned byte = 0;
        sscanf(text + 2 * i, "%2x", &byte);
        out[i] = (uint8_t)byte;
    }
    return size;
}

static int drive(int port, int window, int duration_ms, const char *hex) {
    static uint8_t payload[PACKET_MAX], in[WINDOW_MAX][PACKET_MAX];
    static struct mmsghdr out_messages[WINDOW_MAX], in_messages[WINDOW_MAX];
    static struct iovec out_vector, in_vectors[WINDOW_MAX];
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_usec = 200000};
    size_t size = unhex(hex, payload);
    uint64_t answers = 0, lost = 0;
    int fd = socket(AF_INET, SOCK_DGRAM, 0), buffer = 4 * 1024 * 1024;
    if (window < 1 || window > WINDOW_MAX) return 2;
    if (fd < 0 || connect(fd, (struct sockaddr *)&name, sizeof(name)) < 0) fail("connect");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    out_vector.iov_base = payload;
    out_vector.iov_len = size;
    for (int i = 0; i < WINDOW_MAX; i++) {
        out_messages[i].msg_hdr.msg_iov = &out_vector;
        out_messages[i].msg_hdr.msg_iovlen = 1;
        in_vectors[i].iov_base = in[i];
        in_vectors[i].iov_len = PACKET_MAX;
        in_messages[i].msg_hdr.msg_iov = &in_vectors[i];
        in_messages[i].msg_hdr.msg_iovlen = 1;
    }
    double start = now_s(), end = start + duration_ms / 1e3, now;
    int wanted = window;
    do {
        if (wanted == 1) {
            send(fd, payload, size, 0);
        } else {
            sendmmsg(fd, out_messages, wanted, 0);
        }
        int got = recvmmsg(fd, in_messages, window, MSG_WAITFORONE, NULL);
        if (got < 0) {
            if (errno != EAGAIN && errno != EINTR) fail("recvmmsg");
            lost++;
            got = window;
        } else {
            answers += got;
        }
        wanted = got;
        now = now_s();
    } while (now < end);
    printf("%llu %.6f %llu\n", (unsigned long long)answers, now - start, (unsigned long long)lost);
    return 0;
}

int main(int count, char **words) {
    if (count == 2 && strcmp(words[1], "serve") == 0) return serve(0);
    if (count == 2 && strcmp(words[1], "drain") == 0) return serve(1);
    if (count == 6 && strcmp(words[1], "drive") == 0)
        return drive(atoi(words[2]), atoi(words[3]), atoi(words[4]), words[5]);
    fprintf(stderr, "usage: echo_loop serve | drain | drive PORT WINDOW MS HEX\n");
    return 2;
}
