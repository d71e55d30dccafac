/* A store that makes objects up and throws away what it is given, so that the client is what is measured.
 *
 * usage: sink FD COUNT SIZE [--delay US] [--service US] [--limit N]     FD: a socket that listens
 *
 * The bucket `src` lists COUNT objects of SIZE bytes, `data/00000000` and so on; so does `same`. Every other bucket is
 * empty for ever. A body that comes is counted and dropped in the kernel. Checksums are answered as they were sent, in a
 * header or as the trailer of a body in chunks; ETags say nothing about contents.
 *   --delay US    each answer leaves so much later: a store that is far away
 *   --service US  one request is served in this time, and no other meanwhile: a slow store
 *   --limit N     more than N writes in a second are answered with 503 SlowDown
 * GET /bucket?received answers with the bytes of all that was written there.
 * GET /counts answers with what was asked for since the last time, as JSON. Times are on CLOCK_MONOTONIC, in seconds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 16384
#define TAIL_MAX 512
/* All objects repeat these bytes. */
#define BLOCK (8UL << 20)
#define PAGE 1000
#define BUCKETS 1024

#define XML "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
#define ETAG "\"made-up\""

enum phase { HEAD, BODY, WAIT, ANSWER };

typedef struct connection {
    int socket;
    enum phase phase;
    unsigned events;
    bool closing;
    char head[HEAD_MAX + 1];
    size_t head_length;
    /* The request. */
    char method[8], path[2048], query[2048];
    char checksum[160];      /* "x-amz-checksum-...: value\r\n", or empty */
    bool trailer;
    size_t body_left, content;
    char tail[TAIL_MAX + 1]; /* the end of a body that has a trailer */
    size_t tail_length;
    long first, last;        /* the range that was asked for; last < 0: to the end */
    bool ranged;
    /* The answer. */
    char *text;              /* head, and a body that is not an object's */
    size_t text_length, text_sent, object_left;
    long object_at;          /* the next byte of the object */
    long due;
    struct connection *next;
} connection;

static int poller;
static long objects, object_size, delay_us, service_us;
static double limit, tokens;
static long tokens_at;
static char *block;
static connection *waiting_first, *waiting_last;
static struct {
    unsigned long get, put, part, list, other, refused, in, out;
    double first_write, last_write;
} counts;
static struct {
    char name[64];
    size_t bytes;
} buckets[BUCKETS];
static size_t buckets_count;

static long now_us(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000L + at.tv_nsec / 1000;
}

static void watch(connection *c, unsigned events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (c->events == events) return;
    c->events = events;
    epoll_ctl(poller, EPOLL_CTL_MOD, c->socket, &event);
}

static void drop(connection *c) {
    close(c->socket);
    if (c->phase == WAIT) { /* it stands in the queue, which frees it */
        c->socket = -1;
        return;
    }
    free(c->text);
    free(c);
}

/* ------------------------------------------------------------------------------------------------ the answer */

static const char *current_date(void) {
    static char date[64];
    time_t now = time(NULL);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime(&now));
    return date;
}

static void answer(connection *c, const char *status, const char *headers, const char *body, size_t length) {
    free(c->text);
    size_t text = body ? length : 0;
    c->text = malloc(1024 + strlen(headers) + text);
    c->text_length = (size_t)sprintf(
        c->text,
        "HTTP/1.1 %s\r\nDate: %s\r\nServer: sink\r\nx-amz-request-id: 0123456789ABCDEF\r\n%sContent-Length: %zu\r\n\r\n",
        status, current_date(), headers, length);
    if (body) memcpy(c->text + c->text_length, body, text);
    c->text_length += text;
    c->text_sent = 0;
    c->object_left = 0;
}

static void answer_xml(connection *c, const char *status, const char *body) {
    answer(c, status, "Content-Type: application/xml\r\n", body, strlen(body));
}

/* Copy the value of a query argument, decoded; whether there is one. */
static bool argument(const connection *c, const char *name, char *out, size_t size) {
    size_t length = strlen(name);
    for (const char *at = c->query; *at;) {
        if (!strncmp(at, name, length) && (at[length] == '=' || at[length] == '&' || !at[length])) {
            size_t n = 0;
            at += length + (at[length] == '=');
            for (; *at && *at != '&' && n + 1 < size; n++) {
                unsigned code;
                if (*at == '%' && sscanf(at + 1, "%2x", &code) == 1) out[n] = (char)code, at += 3;
                else out[n] = *at++;
            }
            out[n] = 0;
            return true;
        }
        at = strchr(at, '&');
        if (!at) return false;
        at++;
    }
    return false;
}

/* How many keys come before `text`; with `after`, those that are equal to it or begin with it do as well. */
static long keys_before(const char *text, bool after, bool prefix) {
    long low = 0, high = objects;
    while (low < high) {
        long middle = (low + high) / 2;
        char key[32];
        sprintf(key, "data/%08ld", middle);
        int order = prefix ? strncmp(key, text, strlen(text)) : strcmp(key, text);
        if (order < 0 || (after && order == 0)) low = middle + 1;
        else high = middle;
    }
    return low;
}

static void list(connection *c, const char *bucket) {
    char prefix[1024] = "", from[1100] = "", token[32] = "", delimiter[8] = "", text[32] = "";
    bool v2 = argument(c, "list-type", text, sizeof text);
    argument(c, "prefix", prefix, sizeof prefix);
    argument(c, "delimiter", delimiter, sizeof delimiter);
    argument(c, v2 ? "start-after" : "marker", from, sizeof from);
    long most = argument(c, "max-keys", text, sizeof text) && atol(text) < PAGE ? atol(text) : PAGE;

    bool full = !strcmp(bucket, "src") || !strcmp(bucket, "same");
    long start = full ? keys_before(prefix, false, true) : 0, end = full ? keys_before(prefix, true, true) : 0;
    bool folder = *delimiter && !strchr(prefix, '/') && end > start;
    if (argument(c, "continuation-token", token, sizeof token)) start = atol(token);
    else if (*from && keys_before(from, true, false) > start) start = keys_before(from, true, false);
    if (start > end) start = end;
    long stop_at = end - start > most ? start + most : end;

    char *body = malloc(2048 + (size_t)(stop_at - start) * 220), *at = body;
    at += sprintf(at, XML "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>%s</Name>"
                  "<Prefix>%s</Prefix><MaxKeys>%ld</MaxKeys>", bucket, prefix, most);
    if (folder) {
        at += sprintf(at, "<Delimiter>/</Delimiter><KeyCount>%d</KeyCount><IsTruncated>false</IsTruncated>", !*from);
        if (!*from) at += sprintf(at, "<CommonPrefixes><Prefix>data/</Prefix></CommonPrefixes>");
    } else {
        at += sprintf(at, "<KeyCount>%ld</KeyCount><IsTruncated>%s</IsTruncated>", stop_at - start,
                      stop_at < end ? "true" : "false");
        if (stop_at < end && v2) at += sprintf(at, "<NextContinuationToken>%ld</NextContinuationToken>", stop_at);
        else if (stop_at < end) at += sprintf(at, "<NextMarker>data/%08ld</NextMarker>", stop_at - 1);
        for (long n = start; n < stop_at; n++)
            at += sprintf(at, "<Contents><Key>data/%08ld</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                          "<ETag>&quot;made-up&quot;</ETag><Size>%ld</Size><StorageClass>STANDARD</StorageClass>"
                          "</Contents>", n, object_size);
    }
    strcpy(at, "</ListBucketResult>");
    answer_xml(c, "200 OK", body);
    free(body);
}

static size_t *received(const char *name) {
    size_t n = 0;
    while (n < buckets_count && strcmp(buckets[n].name, name)) n++;
    if (n == BUCKETS) exit(3);
    if (n == buckets_count) sprintf(buckets[buckets_count++].name, "%.63s", name);
    return &buckets[n].bytes;
}

static void read_bucket(connection *c, const char *bucket) {
    char value[32];
    if (argument(c, "location", value, sizeof value)) answer_xml(c, "200 OK", XML "<LocationConstraint/>");
    else if (argument(c, "versioning", value, sizeof value)) answer_xml(c, "200 OK", XML "<VersioningConfiguration/>");
    else if (argument(c, "uploads", value, sizeof value))
        answer_xml(c, "200 OK", XML "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>"
                   "</ListMultipartUploadsResult>");
    else if (!strcmp(c->query, "received")) {
        sprintf(value, "%zu", *received(bucket));
        answer(c, "200 OK", "", value, strlen(value));
    } else if (*c->query && !strchr(c->query, '='))
        answer_xml(c, "501 Not Implemented", XML "<Error><Code>NotImplemented</Code></Error>");
    else {
        counts.list++;
        list(c, bucket);
    }
}

static void read_object(connection *c, bool body) {
    char headers[256], range[96] = "", value[32];
    if (argument(c, "tagging", value, sizeof value)) {
        counts.other++;
        answer_xml(c, "200 OK", XML "<Tagging><TagSet/></Tagging>");
        return;
    }
    long first = 0, last = object_size - 1;
    if (c->ranged && c->first < object_size) {
        first = c->first;
        if (c->last >= 0 && c->last < last) last = c->last;
        sprintf(range, "Content-Range: bytes %ld-%ld/%ld\r\n", first, last, object_size);
    }
    /* A destination has only what was just written. */
    const char *modified = objects ? "Thu, 01 Jan 2026 00:00:00 GMT" : current_date();
    sprintf(headers, "ETag: " ETAG "\r\nLast-Modified: %s\r\nAccept-Ranges: bytes\r\n"
            "Content-Type: binary/octet-stream\r\n%s", modified, range);
    size_t length = (size_t)(last - first + 1);
    answer(c, *range ? "206 Partial Content" : "200 OK", headers, NULL, length);
    if (body) {
        c->object_left = length;
        c->object_at = first;
        counts.get++;
        counts.out += length;
    } else counts.other++;
}

static bool over_the_limit(void) {
    long now = now_us();
    tokens += (double)(now - tokens_at) * limit / 1e6;
    tokens_at = now;
    if (tokens > limit * 0.2) tokens = limit * 0.2;
    if (tokens < 1) return true;
    tokens -= 1;
    return false;
}

static void write_object(connection *c, const char *bucket) {
    char headers[256], value[32];
    counts.in += c->content;
    *received(bucket) += c->content;
    counts.last_write = (double)now_us() / 1e6;
    if (!counts.first_write) counts.first_write = counts.last_write;
    if (c->trailer) {
        char *found = strcasestr(c->tail, "x-amz-checksum-");
        if (found) sprintf(c->checksum, "%.*s\r\n", (int)strcspn(found, "\r\n") % 150, found);
    }
    if (argument(c, "partNumber", value, sizeof value)) counts.part++;
    else counts.put++;
    sprintf(headers, "ETag: " ETAG "\r\n%s", c->checksum);
    answer(c, "200 OK", headers, "", 0);
}

static void upload(connection *c, const char *bucket) {
    char value[32], body[512];
    counts.other++;
    if (argument(c, "uploads", value, sizeof value))
        sprintf(body, XML "<InitiateMultipartUploadResult><Bucket>%.99s</Bucket><Key>k</Key><UploadId>u%lu</UploadId>"
                "</InitiateMultipartUploadResult>", bucket, counts.other);
    else
        sprintf(body, XML "<CompleteMultipartUploadResult><Bucket>%.99s</Bucket><Key>k</Key><ETag>&quot;made-up-1&quot;"
                "</ETag></CompleteMultipartUploadResult>", bucket);
    answer_xml(c, "200 OK", body);
}

static void tell_counts(connection *c) {
    char body[512];
    sprintf(body, "{\"get\": %lu, \"put\": %lu, \"part\": %lu, \"list\": %lu, \"other\": %lu, \"refused\": %lu, \"in\": %lu, "
            "\"out\": %lu, \"first_write\": %.6f, \"last_write\": %.6f}", counts.get, counts.put, counts.part, counts.list,
            counts.other, counts.refused, counts.in, counts.out, counts.first_write, counts.last_write);
    memset(&counts, 0, sizeof counts);
    answer(c, "200 OK", "Content-Type: application/json\r\n", body, strlen(body));
}

static void send_answer(connection *c);

/* The request is there as a whole. */
static void serve(connection *c) {
    char bucket[256];
    const char *start = c->path + 1, *slash = strchr(start, '/');
    sprintf(bucket, "%.*s", slash ? (int)(slash - start) % 255 : 250, start);
    bool key = slash && slash[1], reads = !strcmp(c->method, "GET"), looks = !strcmp(c->method, "HEAD");
    if (limit > 0 && key && *c->method == 'P' && over_the_limit()) {
        counts.refused++;
        answer_xml(c, "503 Slow Down", XML "<Error><Code>SlowDown</Code><Message>Please reduce your request rate."
                   "</Message></Error>");
    } else if (reads && !strcmp(c->path, "/counts")) tell_counts(c);
    else if (reads && key) read_object(c, true);
    else if (reads) read_bucket(c, bucket);
    else if (looks && key) read_object(c, false);
    else if (!strcmp(c->method, "PUT") && key) write_object(c, bucket);
    else if (!strcmp(c->method, "POST") && key) upload(c, bucket);
    else if (looks || !strcmp(c->method, "PUT")) answer(c, "200 OK", "x-amz-bucket-region: us-east-1\r\n", NULL, 0);
    else if (!strcmp(c->method, "DELETE")) answer(c, "204 No Content", "", NULL, 0);
    else answer_xml(c, "501 Not Implemented", XML "<Error><Code>NotImplemented</Code></Error>");

    if (service_us) {
        struct timespec pause = {0, service_us * 1000};
        nanosleep(&pause, NULL);
    }
    c->phase = ANSWER;
    if (!delay_us) {
        send_answer(c);
        return;
    }
    c->phase = WAIT;
    c->due = now_us() + delay_us;
    c->next = NULL;
    watch(c, 0);
    if (waiting_last) waiting_last->next = c;
    else waiting_first = c;
    waiting_last = c;
}

/* ----------------------------------------------------------------------------------------------- the request */

static const char *header(const char *lines, const char *name) {
    size_t length = strlen(name);
    for (const char *at = lines; at && *at; at = strstr(at, "\r\n"), at = at ? at + 2 : NULL)
        if (!strncasecmp(at, name, length) && at[length] == ':') return at + length + 1 + strspn(at + length + 1, " ");
    return NULL;
}

static void read_headers(connection *c, const char *lines) {
    static const char *const checksums[] = {
        "x-amz-checksum-crc64nvme", "x-amz-checksum-crc32c", "x-amz-checksum-crc32",
        "x-amz-checksum-sha256", "x-amz-checksum-sha1",
    };
    const char *value = header(lines, "content-length");
    c->body_left = value ? strtoul(value, NULL, 10) : 0;
    value = header(lines, "x-amz-decoded-content-length");
    c->content = value ? strtoul(value, NULL, 10) : c->body_left;
    value = header(lines, "connection");
    c->closing = value && !strncasecmp(value, "close", 5);
    c->trailer = header(lines, "x-amz-trailer") != NULL;
    c->checksum[0] = 0;
    for (size_t n = 0; n < sizeof checksums / sizeof *checksums && !*c->checksum; n++)
        if ((value = header(lines, checksums[n])))
            sprintf(c->checksum, "%s: %.*s\r\n", checksums[n], (int)strcspn(value, "\r\n") % 100, value);
    c->ranged = (value = header(lines, "range")) && !strncasecmp(value, "bytes=", 6);
    if (c->ranged) {
        char *end;
        c->first = strtol(value + 6, &end, 10);
        c->last = *end == '-' && end[1] >= '0' && end[1] <= '9' ? atol(end + 1) : -1;
    }
    c->tail_length = 0;
    c->tail[0] = 0;
}

static void keep_tail(connection *c, const char *bytes, size_t length) {
    if (length > TAIL_MAX) bytes += length - TAIL_MAX, length = TAIL_MAX;
    size_t over = c->tail_length + length > TAIL_MAX ? c->tail_length + length - TAIL_MAX : 0;
    memmove(c->tail, c->tail + over, c->tail_length - over);
    c->tail_length -= over;
    memcpy(c->tail + c->tail_length, bytes, length);
    c->tail_length += length;
    c->tail[c->tail_length] = 0;
}

/* Whether a request has a whole head, which is then taken off the buffer. */
static bool take_head(connection *c) {
    c->head[c->head_length] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) return false;
    end[2] = 0;
    char target[4096], *question;
    if (sscanf(c->head, "%7s %4095s", c->method, target) != 2) target[0] = 0;
    if ((question = strchr(target, '?'))) *question++ = 0;
    sprintf(c->path, "%.2047s", target);
    sprintf(c->query, "%.2047s", question ? question : "");
    read_headers(c, strstr(c->head, "\r\n") + 2);
    bool expects = header(c->head, "expect") != NULL;
    size_t used = (size_t)(end + 4 - c->head);
    c->head_length -= used;
    memmove(c->head, c->head + used, c->head_length);
    if (expects && !c->head_length && c->body_left) send(c->socket, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL);
    return true;
}

/* One read of a body. Only what the trailer may be in is copied out of the kernel. */
static ssize_t drop_body(connection *c) {
    char bytes[TAIL_MAX];
    if (c->trailer && c->body_left <= TAIL_MAX) {
        ssize_t got = recv(c->socket, bytes, c->body_left, 0);
        if (got > 0) keep_tail(c, bytes, (size_t)got);
        return got;
    }
    return recv(c->socket, NULL, c->body_left - (c->trailer ? TAIL_MAX : 0), MSG_TRUNC);
}

static void read_request(connection *c) {
    for (;;) {
        if (c->phase == HEAD) {
            if (!take_head(c)) {
                if (c->head_length == HEAD_MAX) return drop(c);
                ssize_t got = recv(c->socket, c->head + c->head_length, HEAD_MAX - c->head_length, 0);
                if (got < 0 && errno == EAGAIN) return watch(c, EPOLLIN);
                if (got <= 0) return drop(c);
                c->head_length += (size_t)got;
                continue;
            }
            size_t there = c->head_length < c->body_left ? c->head_length : c->body_left;
            keep_tail(c, c->head, there);
            c->body_left -= there;
            c->head_length -= there;
            memmove(c->head, c->head + there, c->head_length);
            c->phase = BODY;
        }
        if (!c->body_left) return serve(c);
        ssize_t got = drop_body(c);
        if (got < 0 && errno == EAGAIN) return watch(c, EPOLLIN);
        if (got <= 0) return drop(c);
        c->body_left -= (size_t)got;
    }
}

static void send_answer(connection *c) {
    while (c->text_sent < c->text_length || c->object_left) {
        size_t at = (size_t)c->object_at % BLOCK, rest = BLOCK - at;
        struct iovec pieces[2] = {
            {c->text + c->text_sent, c->text_length - c->text_sent},
            {block + at, c->object_left < rest ? c->object_left : rest},
        };
        struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
        ssize_t sent = sendmsg(c->socket, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) return watch(c, EPOLLOUT);
        if (sent < 0) return drop(c);
        size_t text = (size_t)sent < pieces[0].iov_len ? (size_t)sent : pieces[0].iov_len;
        c->text_sent += text;
        c->object_left -= (size_t)sent - text;
        c->object_at += (long)((size_t)sent - text);
    }
    if (c->closing) return drop(c);
    c->phase = HEAD;
    read_request(c);
}

/* -------------------------------------------------------------------------------------------------- the loop */

static void accept_all(int listener) {
    int one = 1, fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        connection *c = calloc(1, sizeof *c);
        c->socket = fd;
        c->events = EPOLLIN;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

/* Send the answers whose time has come; milliseconds until the next one, or -1. */
static int send_due(void) {
    long now = now_us();
    while (waiting_first && waiting_first->due <= now) {
        connection *c = waiting_first;
        waiting_first = c->next;
        if (!waiting_first) waiting_last = NULL;
        c->phase = ANSWER;
        if (c->socket < 0) {
            free(c->text);
            free(c);
        } else send_answer(c);
    }
    return waiting_first ? (int)((waiting_first->due - now + 999) / 1000) : -1;
}

int main(int count, char **words) {
    if (count < 4) return 2;
    objects = atol(words[2]);
    object_size = atol(words[3]);
    for (int n = 4; n + 1 < count; n += 2) {
        if (!strcmp(words[n], "--delay")) delay_us = atol(words[n + 1]);
        if (!strcmp(words[n], "--service")) service_us = atol(words[n + 1]);
        if (!strcmp(words[n], "--limit")) limit = atof(words[n + 1]);
    }
    block = malloc(BLOCK);
    srandom(1);
    for (size_t n = 0; n < BLOCK; n++) block[n] = (char)random();

    int listener = atoi(words[1]);
    fcntl(listener, F_SETFL, O_NONBLOCK);
    poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int found = epoll_wait(poller, events, 256, send_due());
        for (int n = 0; n < found; n++) {
            connection *c = events[n].data.ptr;
            if (!c) accept_all(listener);
            else if (c->phase == ANSWER) send_answer(c);
            else if (c->phase != WAIT) read_request(c);
            else if (events[n].events & (EPOLLHUP | EPOLLERR)) drop(c);
        }
    }
}
