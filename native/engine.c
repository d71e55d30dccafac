/* The hot path of HTTP: requests and answers over connections that Python has made.
 *
 * An Engine has one epoll descriptor, which the event loop watches. `run` serves every connection that is ready, and
 * returns all that has happened. Connections are registered once, for reading; an idle one is watched too, so that it
 * is known when the other side closes it. A request goes out by sendmsg from the caller's own buffers. The body of an
 * answer of known size is received into the bytes object that the caller gets.
 *
 * Python decides everything else: which connection serves which request, what is tried again, what an error is called.
 */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "answer.h"
#include "crc64.h"
#include "tls.h"

#define SCRATCH (64 * 1024)   /* bytes that are read at once where it is not known what comes */
#define MOST_PIECES 64        /* buffers that are sent at once */
#define MOST_EVENTS 256       /* ready connections that are asked for at once */
/* Bytes of a body from which its checksum is computed piece by piece as it comes: a later pass would find it in memory,
 * no more in the caches, and cost three times as much. */
#define SUMMED (256 * 1024)
#define LARGE (4 * 1024 * 1024)  /* bytes of a body that is sure to have a huge page in it (2 MiB, aligned) */
#define PAGE 4096
#define MOST_KEPT (32 * 1024 * 1024) /* bytes of one allocation that can be kept (mallopt(3), M_MMAP_THRESHOLD) */
#define PIECE_SIZE (256 * 1024) /* bytes of a streamed body that are handed over at once */

/* What became of a request, where it is not an HTTP status. */
enum { BROKEN = -1, STALE = -2, TIMED_OUT = -3, TOO_LARGE = -4 };
/* What happens on the way. */
enum { DRY = -5, PIECE = -6, HUNGRY = -7 };

/* Which calls there are. To be raised with each change of one, here and in src/dth/core/native.py: an extension that was
 * built from other sources is not used. */
#define INTERFACE 4

typedef struct Engine Engine;

typedef struct {
    PyObject_HEAD
    Engine *engine;      /* borrowed: an engine holds its open connections, and leaves them before it goes */
    int fd;              /* -1: closed */
    Tls *tls;            /* NULL without */
    uint32_t watched;    /* events that epoll waits for */
    bool sending;        /* it waits until more can be sent */
    bool buffered;       /* TLS has bytes that epoll does not tell of any more */
    bool used;           /* it has carried an answer */
    /* The request under way; no future: none. */
    PyObject *future;
    Py_buffer *pieces;   /* what is to be sent */
    Py_ssize_t piece_count, piece, piece_at;
    Py_ssize_t unsent;   /* bytes of the body that are not sent yet */
    Py_ssize_t sent;
    int send_error;      /* errno; sending has ended with it */
    Py_ssize_t most;     /* bytes of body that may come */
    bool paced;          /* the body waits for grants */
    Py_ssize_t granted;  /* bytes of it that may pass now; below 0: so many came with others unasked */
    bool sends;          /* the body that is paced is that of the request */
    bool dry;            /* it waits for a grant */
    bool hungry;         /* it waits for more of a body that comes bit by bit */
    bool streams;        /* the body of a good answer is handed over piece by piece */
    bool held;           /* but not now */
    double active;       /* when the last byte passed */
    double patience;     /* seconds that may pass without one */
    Answer answer;
    PyObject *body;      /* bytes object of a body whose size is known, or of the piece that is coming */
    Py_ssize_t received;
    Py_ssize_t filled, piece_size; /* of that piece */
    bool sums;           /* the checksum of the body is computed */
    uint64_t sum;        /* CRC64NVME of what was received */
    char *grown;         /* a body whose size is not known */
    size_t grown_room;
} Connection;

struct Engine {
    PyObject_HEAD
    int epoll;
    Connection **open;   /* by descriptor */
    int open_size;
    char *scratch;
    PyObject *events;    /* list of what has happened and was not returned yet */
    double now;
};

static PyTypeObject *connection_type;
/* Whether this machine computes CRC64NVME fast. */
static bool has_crc64;

static double monotonic(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ------------------------------------------------------------------------------------------------ connections */

/* Wait for what the connection needs from now on. What is not going to be read must not wake us again and again. */
static bool watch(Connection *self, bool sending)
{
    self->sending = sending;
    bool done = self->future && self->answer.phase == AT_END;
    bool reading = !done && !self->held && !(self->dry && !self->sends);
    /* What has come already wakes nobody: that the socket has room does. */
    bool nudged = reading && self->buffered;
    uint32_t events = (reading ? EPOLLIN : 0u) | (sending || nudged ? EPOLLOUT : 0u);
    if (self->watched == events)
        return true;
    struct epoll_event event = {.events = events, .data.fd = self->fd};
    if (epoll_ctl(self->engine->epoll, EPOLL_CTL_MOD, self->fd, &event)) {
        PyErr_SetFromErrno(PyExc_OSError);
        return false;
    }
    self->watched = events;
    return true;
}

static void release_pieces(Connection *self)
{
    for (Py_ssize_t i = 0; i < self->piece_count; i++)
        PyBuffer_Release(&self->pieces[i]);
    PyMem_Free(self->pieces);
    self->pieces = NULL;
    self->piece_count = self->piece = self->piece_at = 0;
}

/* Let go of everything that the request under way holds. */
static void end_request(Connection *self)
{
    release_pieces(self);
    Py_CLEAR(self->future);
    Py_CLEAR(self->body);
    free(self->grown);
    self->grown = NULL;
    self->grown_room = 0;
    self->received = self->sent = self->unsent = self->filled = 0;
    self->dry = self->hungry = self->held = self->streams = self->buffered = false;
    if (self->tls)
        tls_rest(self->tls);
}

static void close_connection(Connection *self)
{
    if (self->fd < 0)
        return;
    int fd = self->fd;
    self->fd = -1;
    if (self->tls)
        tls_say_goodbye(self->tls);
    tls_free(self->tls);
    self->tls = NULL;
    close(fd);
    answer_clear(&self->answer);
    Engine *engine = self->engine;
    self->engine = NULL;
    if (engine && fd < engine->open_size && engine->open[fd] == self) {
        engine->open[fd] = NULL;
        /* Last: this may be the end of the connection itself. */
        Py_DECREF((PyObject *)self);
    }
}

/* Tell Python: (connection, future, what, more, chunks). Steals `more` and `chunks`, which may be NULL for None. */
static bool report(Connection *self, long what, PyObject *more, PyObject *chunks)
{
    PyObject *event = Py_BuildValue("(OOlNN)", self, self->future ? self->future : Py_None, what,
                                    more ? more : Py_NewRef(Py_None), chunks ? chunks : Py_NewRef(Py_None));
    if (!event)
        return false;
    int failed = PyList_Append(self->engine->events, event);
    Py_DECREF(event);
    return !failed;
}

/* The request has failed; `format` says in libcurl's words why. Its connection is of no use any more. */
static bool fail(Connection *self, long what, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    PyObject *why = PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    bool told = why && report(self, what, why, NULL);
    end_request(self);
    close_connection(self);
    return told;
}

/* The connection has ended before the answer was complete. `number`: errno, or 0 where it was closed in order. */
static bool fail_broken(Connection *self, const char *doing, int number)
{
    if (!self->answer.begun && self->used)
        return fail(self, STALE, "the connection was closed meanwhile");
    if (self->send_error)
        return fail(self, BROKEN, "send failure: %s", strerror(self->send_error));
    if (number)
        return fail(self, BROKEN, "%s failure: %s", doing, strerror(number));
    if (!self->answer.begun)
        return fail(self, BROKEN, "empty reply from server");
    if (self->answer.phase == IN_HEAD)
        return fail(self, BROKEN, "the answer broke off in its head");
    if (self->answer.phase == IN_SIZED)
        return fail(self, BROKEN, "end of response with %zd bytes missing", (Py_ssize_t)self->answer.left);
    return fail(self, BROKEN, "the answer broke off in its body");
}

/* ------------------------------------------------------------------------------------------------ bytes in and out */

/* As recv and sendmsg: bytes, 0 at the end, -1 with errno. */

static Py_ssize_t receive(Connection *self, char *bytes, Py_ssize_t size)
{
    if (self->tls)
        return tls_receive(self->tls, bytes, (size_t)size);
    Py_ssize_t count;
    do
        count = recv(self->fd, bytes, (size_t)size, 0);
    while (count < 0 && errno == EINTR);
    return count;
}

static Py_ssize_t transmit(Connection *self, struct iovec *parts, int count)
{
    if (self->tls)
        return tls_send(self->tls, parts, count);
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
    Py_ssize_t sent;
    do
        sent = sendmsg(self->fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent;
}

/* ------------------------------------------------------------------------------------------------ answers */

/* Add a header. One that comes twice is a list (RFC 9110, section 5.2): `lists` has what those consist of. */
static bool add_header(PyObject *headers, PyObject *lists, PyObject *name, PyObject *value)
{
    PyObject *before = PyDict_GetItemWithError(headers, name);
    if (!before)
        return !PyErr_Occurred() && !PyDict_SetItem(headers, name, value);
    PyObject *list = PyDict_GetItemWithError(lists, name);
    if (!list) {
        if (PyErr_Occurred() || !(list = PyList_New(0)))
            return false;
        bool added = !PyList_Append(list, before) && !PyDict_SetItem(lists, name, list);
        Py_DECREF(list);
        if (!added)
            return false;
    }
    int known = PySequence_Contains(list, value);
    if (known || PyList_Append(list, value))
        return known > 0;
    PyObject *comma = PyUnicode_FromString(",");
    PyObject *joined = comma ? PyUnicode_Join(comma, list) : NULL;
    bool set = joined && !PyDict_SetItem(headers, name, joined);
    Py_XDECREF(comma);
    Py_XDECREF(joined);
    return set;
}

/* A header's name in lower case. */
static PyObject *header_name(const char *name, size_t length)
{
    char lower[64];
    if (length <= sizeof lower) {
        size_t i = 0;
        for (; i < length && !(name[i] & 0x80); i++)
            lower[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] | 0x20) : name[i];
        if (i == length)
            return PyUnicode_DecodeLatin1(lower, (Py_ssize_t)length, NULL);
    }
    PyObject *text = PyUnicode_DecodeLatin1(name, (Py_ssize_t)length, NULL);
    PyObject *result = text ? PyObject_CallMethod(text, "lower", NULL) : NULL;
    Py_XDECREF(text);
    return result;
}

/* All headers of the answer, as `dth.core.transport.parse_headers` makes them. */
static PyObject *all_headers(const Answer *answer)
{
    PyObject *headers = PyDict_New(), *lists = PyDict_New();
    size_t cursor = answer->headers, name_length, length;
    const char *name, *value;
    bool good = headers && lists;
    while (good && answer_header(answer, &cursor, &name, &name_length, &value, &length)) {
        PyObject *key = header_name(name, name_length);
        PyObject *text = key ? PyUnicode_DecodeLatin1(value, (Py_ssize_t)length, NULL) : NULL;
        good = text && add_header(headers, lists, key, text);
        Py_XDECREF(key);
        Py_XDECREF(text);
    }
    Py_XDECREF(lists);
    if (!good)
        Py_CLEAR(headers);
    return headers;
}

/* Whether the body goes to the caller piece by piece. That of an error does not. */
static bool is_streaming(const Connection *self)
{
    return self->streams && self->answer.status && self->answer.status < 300;
}

/* Hand over the piece of a streamed body as far as it has come. */
static bool hand_over(Connection *self)
{
    if (!self->filled)
        return true;
    PyObject *piece = self->body;
    if (self->filled < self->piece_size)
        piece = PyBytes_FromStringAndSize(PyBytes_AsString(self->body), self->filled);
    else
        self->body = NULL;
    self->filled = 0;
    return piece && report(self, PIECE, piece, NULL);
}

/* Have a piece to receive into, when `coming` bytes of the body are known to come. */
static bool have_piece(Connection *self, uint64_t coming)
{
    if (self->body)
        return true;
    self->piece_size = coming && coming < PIECE_SIZE ? (Py_ssize_t)coming : PIECE_SIZE;
    self->body = PyBytes_FromStringAndSize(NULL, self->piece_size);
    return self->body != NULL;
}

/* Put bytes of a streamed body that came with others into pieces. */
static bool pour(Connection *self, const char *data, size_t size)
{
    while (size) {
        if (!have_piece(self, self->answer.size < 0 ? 0 : self->answer.left + size))
            return false;
        size_t room = (size_t)(self->piece_size - self->filled);
        size_t step = size < room ? size : room;
        memcpy(PyBytes_AsString(self->body) + self->filled, data, step);
        self->filled += (Py_ssize_t)step;
        data += step;
        size -= step;
        if (self->filled == self->piece_size && !hand_over(self))
            return false;
    }
    return true;
}

/* The body in a list, as it is handed to the caller. */
static PyObject *all_chunks(Connection *self)
{
    PyObject *chunks = PyList_New(0);
    if (!chunks || !self->received || is_streaming(self))
        return chunks;
    PyObject *body = self->body ? Py_NewRef(self->body) : PyBytes_FromStringAndSize(self->grown, self->received);
    if (!body || PyList_Append(chunks, body))
        Py_CLEAR(chunks);
    Py_XDECREF(body);
    return chunks;
}

/* Whether something of the request is still to be sent. */
static bool is_unsent(const Connection *self)
{
    return self->unsent || (self->tls && tls_keeps(self->tls));
}

/* The answer is complete. */
static bool finish(Connection *self)
{
    /* What says that all is well must not come before all was said. */
    if (is_unsent(self) && !self->send_error && self->answer.status < 300)
        return watch(self, !self->dry);
    if (self->send_error && self->answer.status < 300)
        return fail_broken(self, "send", self->send_error);
    bool keep = !is_unsent(self) && !self->answer.close && !self->send_error;
    if (is_streaming(self) && !hand_over(self))
        return false;
    PyObject *headers = all_headers(&self->answer);
    PyObject *chunks = headers ? all_chunks(self) : NULL;
    if (!chunks) {
        Py_XDECREF(headers);
        return false;
    }
    if (!report(self, self->answer.status, headers, chunks))
        return false;
    self->used = true;
    end_request(self);
    if (keep && !watch(self, false))
        PyErr_Clear();
    else if (keep)
        return true;
    close_connection(self);
    return true;
}

/* Let a large body be received into huge pages: a sixth of its cost is page by page otherwise. It is a wish. */
static void want_huge_pages(char *bytes, size_t size)
{
    uintptr_t from = ((uintptr_t)bytes + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
    uintptr_t to = ((uintptr_t)bytes + size) & ~(uintptr_t)(PAGE - 1);
    madvise((void *)from, to - from, MADV_HUGEPAGE);
}

/* The head is there: make room for the body. */
static bool expect_body(Connection *self)
{
    Answer *answer = &self->answer;
    if (answer->phase != IN_SIZED)
        return true;
    if (answer->size > self->most)
        return fail(self, TOO_LARGE, "maximum file size exceeded");
    if (is_streaming(self))
        return true;
    self->body = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)answer->size);
    if (!self->body)
        return false;
    self->sums = has_crc64 && answer->size >= SUMMED;
    if (answer->size >= LARGE)
        want_huge_pages(PyBytes_AsString(self->body), (size_t)answer->size);
    return true;
}

/* Bytes of the body have passed: they count. */
static void count_passed(Connection *self, Py_ssize_t size)
{
    self->granted -= size;
}

/* Bytes of the body were received to where they stay. */
static void add_received(Connection *self, Py_ssize_t count)
{
    if (self->sums)
        self->sum = crc64_add(self->sum, (uint8_t *)PyBytes_AsString(self->body) + self->received, (size_t)count);
    self->received += count;
}

/* Keep bytes of the body that came with others. */
static bool keep_data(Connection *self, const char *data, size_t size)
{
    if (!self->sends)
        count_passed(self, (Py_ssize_t)size);
    size_t length = (size_t)self->received + size;
    if (length > (size_t)self->most)
        return fail(self, TOO_LARGE, "maximum file size exceeded");
    if (is_streaming(self)) {
        self->received += (Py_ssize_t)size;
        return pour(self, data, size);
    }
    if (self->body) {
        memcpy(PyBytes_AsString(self->body) + self->received, data, size);
        add_received(self, (Py_ssize_t)size);
        return true;
    }
    if (length > self->grown_room) {
        size_t room = length < SCRATCH ? SCRATCH : 2 * length;
        char *grown = realloc(self->grown, room);
        if (!grown) {
            PyErr_NoMemory();
            return false;
        }
        self->grown = grown;
        self->grown_room = room;
    }
    memcpy(self->grown + self->received, data, size);
    self->received += (Py_ssize_t)size;
    return true;
}

/* Read an answer, or some of it, from bytes that have come. */
static bool take(Connection *self, const char *bytes, size_t size)
{
    Answer *answer = &self->answer;
    while (self->future) {
        size_t taken = 0, length = 0;
        const char *data = NULL;
        AnswerEvent event = answer_take(answer, bytes, size, &taken, &data, &length);
        bytes += taken;
        size -= taken;
        switch (event) {
        case ANSWER_MORE:
            return true;
        case ANSWER_HEAD:
            if (!expect_body(self))
                return false;
            break;
        case ANSWER_DATA:
            if (!keep_data(self, data, length))
                return false;
            break;
        case ANSWER_END:
            /* What follows belongs to no request. */
            if (size)
                answer->close = true;
            return finish(self);
        case ANSWER_BAD:
            return fail(self, BROKEN, "%s", answer->why);
        case ANSWER_NO_MEMORY:
            PyErr_NoMemory();
            return false;
        }
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------ readiness */

/* What is paced has used up its grant: say so, once, and read no more until there is another. */
static bool run_dry(Connection *self)
{
    if (self->dry)
        return true;
    self->dry = true;
    return watch(self, false) && report(self, DRY, NULL, NULL);
}

static int gather(Connection *self, struct iovec *parts)
{
    int count = 0;
    Py_ssize_t room = self->sends && self->paced ? self->granted : PY_SSIZE_T_MAX;
    for (Py_ssize_t i = self->piece; i < self->piece_count && count < MOST_PIECES; i++) {
        Py_ssize_t at = i == self->piece ? self->piece_at : 0;
        Py_ssize_t size = self->pieces[i].len - at;
        /* The head, which is the first piece, needs no grant. */
        if (i > 0) {
            size = size < room ? size : room;
            room -= size;
        }
        if (size > 0) {
            parts[count].iov_base = (char *)self->pieces[i].buf + at;
            parts[count++].iov_len = (size_t)size;
        }
    }
    return count;
}

/* Note that so many bytes from the present piece on are sent. */
static void advance(Connection *self, Py_ssize_t count)
{
    while (self->piece < self->piece_count) {
        Py_ssize_t left = self->pieces[self->piece].len - self->piece_at;
        Py_ssize_t step = count < left ? count : left;
        if (self->piece > 0) {
            self->sent += step;
            self->unsent -= step;
            if (self->sends)
                count_passed(self, step);
        }
        self->piece_at += step;
        count -= step;
        if (step < left)
            return;
        self->piece++;
        self->piece_at = 0;
    }
}

/* Sending has ended early. What came before may be the answer that says why: that is read, not this reported. */
static bool stop_sending(Connection *self, int number)
{
    self->send_error = number;
    /* Over TLS, an error need not be one of the socket, which would wake us. */
    shutdown(self->fd, self->tls ? SHUT_RDWR : SHUT_WR);
    return watch(self, false);
}

static bool send_more(Connection *self)
{
    struct iovec parts[MOST_PIECES];
    while (self->piece < self->piece_count) {
        int count = gather(self, parts);
        if (!count && self->unsent)
            return run_dry(self);
        if (count) {
            Py_ssize_t sent = transmit(self, parts, count);
            if (sent < 0 && errno == EAGAIN)
                return watch(self, true);
            if (sent < 0)
                return stop_sending(self, errno);
            self->active = self->engine->now;
            advance(self, sent);
        } else {
            self->piece = self->piece_count;
        }
    }
    release_pieces(self);
    if (self->tls && !tls_flush(self->tls))
        return errno == EAGAIN ? watch(self, true) : stop_sending(self, errno);
    self->hungry = self->unsent > 0;
    if (self->answer.phase == AT_END && !self->hungry)
        return finish(self);
    return watch(self, false);
}

/* The other side has closed the connection, or it broke. */
static bool at_end(Connection *self, int number)
{
    if (!number && answer_may_end(&self->answer) && self->answer.status) {
        self->answer.phase = AT_END;
        self->answer.close = true;
        if (self->unsent && !self->send_error)
            self->send_error = EPIPE;
        return finish(self);
    }
    return fail_broken(self, "recv", number);
}

static bool receive_more(Connection *self)
{
    for (;;) {
        bool sized = self->answer.phase == IN_SIZED, streaming = is_streaming(self);
        if (sized && streaming && !have_piece(self, self->answer.left))
            return false;
        bool direct = sized && self->body;
        bool paced = self->paced && !self->sends && self->answer.phase != IN_HEAD;
        Py_ssize_t at = streaming ? self->filled : self->received;
        Py_ssize_t room = direct ? (Py_ssize_t)self->answer.left : SCRATCH;
        if (direct && streaming && room > self->piece_size - at)
            room = self->piece_size - at;
        if (direct && self->sums && room > SUMMED)
            room = SUMMED;
        if (paced && room > self->granted)
            room = self->granted;
        if (room <= 0)
            return run_dry(self);
        char *bytes = direct ? PyBytes_AsString(self->body) + at : self->engine->scratch;
        Py_ssize_t count = receive(self, bytes, room);
        self->buffered = self->tls && count == room && tls_pending(self->tls);
        if (count < 0 && errno == EAGAIN)
            return watch(self, self->sending);
        if (count <= 0)
            return at_end(self, count ? errno : 0);
        self->active = self->engine->now;
        if (direct) {
            add_received(self, count);
            self->filled += streaming ? count : 0;
            if (!self->sends)
                count_passed(self, count);
            /* The caller may want no more for now: the rest is read by the next `run`. */
            if (streaming && self->filled == self->piece_size && self->answer.left > (uint64_t)count)
                return (answer_passed(&self->answer, (size_t)count) || hand_over(self)) && watch(self, self->sending);
            if (answer_passed(&self->answer, (size_t)count))
                return finish(self);
        } else if (!take(self, bytes, (size_t)count)) {
            return false;
        }
        if (!self->future || self->answer.phase == AT_END)
            return true;
        /* Less than was asked for: that was all. */
        if (streaming || count < room)
            return watch(self, self->sending);
    }
}

/* Whether a connection at rest can serve. One that has something to read cannot: it was closed, or says what nobody
 * asked for. Over TLS it may have been told something that is no data. */
static bool is_alive(Connection *self)
{
    char byte;
    Py_ssize_t count = recv(self->fd, &byte, 1, MSG_PEEK);
    bool silent = count < 0 && errno == EAGAIN;
    if (!self->tls || (!silent && count <= 0))
        return silent;
    if (silent && !tls_pending(self->tls))
        return true;
    return tls_receive(self->tls, &byte, 1) < 0 && errno == EAGAIN;
}

static bool serve(Connection *self, uint32_t ready)
{
    if (!self->future) {
        if (is_alive(self))
            return true;
        bool told = report(self, BROKEN, NULL, NULL);
        close_connection(self);
        return told;
    }
    /* Nothing is read that would tell of it. */
    if (!(self->watched & EPOLLIN) && ready & (EPOLLERR | EPOLLHUP))
        return fail_broken(self, "recv", ECONNRESET);
    if (ready & EPOLLOUT && self->sending) {
        /* The other side has taken something. */
        self->active = self->engine->now;
        if (!send_more(self) || (self->hungry && !report(self, HUNGRY, NULL, NULL)))
            return false;
    }
    bool come = ready & (EPOLLIN | EPOLLHUP | EPOLLERR) || self->buffered;
    if (come && self->future && self->watched & EPOLLIN && self->answer.phase != AT_END)
        return receive_more(self);
    return true;
}

/* ------------------------------------------------------------------------------------------------ Connection */

/* Take hold of buffers to be sent: the head, if it is still to go, and pieces of the body. */
static bool hold_pieces(Connection *self, PyObject *head, PyObject *body)
{
    Py_ssize_t count = PySequence_Size(body);
    if (count < 0)
        return false;
    self->pieces = PyMem_Calloc((size_t)count + 1, sizeof *self->pieces);
    if (!self->pieces) {
        PyErr_NoMemory();
        return false;
    }
    for (Py_ssize_t i = 0; i <= count; i++) {
        if (!i && !head) {
            self->piece_count = 1;
            continue;
        }
        PyObject *piece = i ? PySequence_GetItem(body, i - 1) : Py_NewRef(head);
        bool held = piece && !PyObject_GetBuffer(piece, &self->pieces[i], PyBUF_SIMPLE);
        Py_XDECREF(piece);
        if (!held)
            return false;
        self->piece_count = i + 1;
    }
    return true;
}

PyDoc_STRVAR(start_doc,
"start(future, granted, streams, head, body, size, most, bodyless, patience) -> bool\n\n"
"Send a request. `granted`: bytes of body that may pass, -1 for all; `head`: bytes with its line and headers; `body`:\n"
"a sequence of buffers; `size`: bytes of it with those that will be fed; `most`: bytes of body that may come;\n"
"`bodyless`: it is a HEAD; `streams`: the body of a good answer is reported piece by piece; `patience`: seconds that\n"
"may pass without a byte. False: the connection is closed, and nothing was sent.");

static PyObject *connection_start(Connection *self, PyObject *arguments)
{
    PyObject *future, *head, *body;
    Py_ssize_t size, most, granted;
    double patience;
    int bodyless, streams;
    if (!PyArg_ParseTuple(arguments, "OnpSOnnpd", &future, &granted, &streams, &head, &body, &size, &most, &bodyless,
                          &patience))
        return NULL;
    if (self->future) {
        PyErr_SetString(PyExc_RuntimeError, "a request is under way");
        return NULL;
    }
    if (self->fd >= 0 && self->used && !is_alive(self))
        close_connection(self);
    if (self->fd < 0)
        Py_RETURN_FALSE;
    if (!hold_pieces(self, head, body)) {
        end_request(self);
        return NULL;
    }
    self->future = Py_NewRef(future);
    self->most = most;
    self->patience = patience;
    self->granted = granted;
    self->paced = granted >= 0;
    self->unsent = size;
    self->sends = size > 0;
    self->streams = streams;
    self->sums = false;
    self->sum = 0;
    self->send_error = 0;
    self->active = self->engine->now = monotonic();
    answer_begin(&self->answer, bodyless);
    if (!send_more(self)) {
        end_request(self);
        close_connection(self);
        return NULL;
    }
    Py_RETURN_TRUE;
}

PyDoc_STRVAR(allow_doc, "allow(granted)\n\nSo many bytes of the body may pass from now on; -1 for all.");

static PyObject *connection_allow(Connection *self, PyObject *argument)
{
    Py_ssize_t granted = PyLong_AsSsize_t(argument);
    if (granted == -1 && PyErr_Occurred())
        return NULL;
    self->granted = granted;
    self->paced = granted >= 0;
    if (!self->future || !self->dry || !granted)
        Py_RETURN_NONE;
    self->dry = false;
    self->active = monotonic();
    /* What can be done is done by `run`, which epoll wakes at once. */
    if (!watch(self, self->sends))
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(feed_doc,
"feed(pieces)\n\n"
"Send these buffers next, where all that came before are sent (`hungry`). When that takes more than one step, HUNGRY\n"
"says that it is done.");

static PyObject *connection_feed(Connection *self, PyObject *pieces)
{
    if (!self->future || !self->hungry)
        Py_RETURN_NONE;
    if (!hold_pieces(self, NULL, pieces)) {
        release_pieces(self);
        return NULL;
    }
    self->hungry = false;
    self->active = self->engine->now = monotonic();
    if (!send_more(self))
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(hold_doc, "hold(whether)\n\nRead no more of a streamed body for now, or go on.");

static PyObject *connection_hold(Connection *self, PyObject *argument)
{
    int held = PyObject_IsTrue(argument);
    if (held < 0)
        return NULL;
    if (!self->future || self->held == held)
        Py_RETURN_NONE;
    self->held = held;
    self->active = monotonic();
    if (!watch(self, self->watched & EPOLLOUT))
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(abort_doc, "abort()\n\nClose. Nothing is reported of the request under way.");

static PyObject *connection_abort(Connection *self, PyObject *unused)
{
    (void)unused;
    end_request(self);
    close_connection(self);
    Py_RETURN_NONE;
}

static PyObject *connection_fileno(Connection *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLong(self->fd);
}

static PyObject *connection_passed(Connection *self, void *unused)
{
    (void)unused;
    return PyLong_FromSsize_t(self->future ? self->received + self->sent : 0);
}

static PyObject *connection_left(Connection *self, void *unused)
{
    (void)unused;
    return PyLong_FromSsize_t(self->granted);
}

static PyObject *connection_hungry(Connection *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(self->hungry);
}

static PyObject *connection_closed(Connection *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(self->fd < 0);
}

static int connection_traverse(Connection *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->future);
    for (Py_ssize_t i = 0; i < self->piece_count; i++)
        Py_VISIT(self->pieces[i].obj);
    return 0;
}

static int connection_clear(Connection *self)
{
    end_request(self);
    close_connection(self);
    return 0;
}

static void connection_dealloc(Connection *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    connection_clear(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyMethodDef connection_methods[] = {
    {"start", (PyCFunction)connection_start, METH_VARARGS, start_doc},
    {"allow", (PyCFunction)connection_allow, METH_O, allow_doc},
    {"feed", (PyCFunction)connection_feed, METH_O, feed_doc},
    {"hold", (PyCFunction)connection_hold, METH_O, hold_doc},
    {"abort", (PyCFunction)connection_abort, METH_NOARGS, abort_doc},
    {"fileno", (PyCFunction)connection_fileno, METH_NOARGS, "fileno() -> int\n\nThe socket; -1 once it is closed."},
    {NULL, NULL, 0, NULL},
};

static PyObject *connection_crc64nvme(Connection *self, void *unused)
{
    (void)unused;
    if (!self->sums || self->future || self->answer.phase != AT_END)
        Py_RETURN_NONE;
    return PyLong_FromUnsignedLongLong(self->sum);
}

static PyGetSetDef connection_members[] = {
    {"passed", (getter)connection_passed, NULL, "Bytes of bodies that have passed in the request under way.", NULL},
    {"granted", (getter)connection_left, NULL, "Bytes of the body that may still pass; below 0, too many have.", NULL},
    {"hungry", (getter)connection_hungry, NULL, "Whether it can be fed.", NULL},
    {"crc64nvme", (getter)connection_crc64nvme, NULL,
     "Of the body of the last answer, which is complete; None where it was not computed.", NULL},
    {"closed", (getter)connection_closed, NULL, "Whether it can serve no request any more.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot connection_slots[] = {
    {Py_tp_doc, "One connection, which serves one request at a time. Made by Engine.adopt."},
    {Py_tp_methods, connection_methods},
    {Py_tp_getset, connection_members},
    {Py_tp_traverse, connection_traverse},
    {Py_tp_clear, connection_clear},
    {Py_tp_dealloc, connection_dealloc},
    {0, NULL},
};

static PyType_Spec connection_spec = {
    .name = "dth._http.Connection",
    .basicsize = sizeof(Connection),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = connection_slots,
};

/* ------------------------------------------------------------------------------------------------ TLS */

typedef struct {
    PyObject_HEAD
    TlsContext *context;
} Trust;

/* A connection on its way to being sealed. */
typedef struct {
    PyObject_HEAD
    Tls *tls; /* NULL: it is a connection's now */
} Session;

static PyTypeObject *session_type;
static bool tls_found;

static PyObject *trust_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    (void)keywords;
    const char *file, *folder;
    if (!PyArg_ParseTuple(arguments, "zz", &file, &folder))
        return NULL;
    if (!tls_found) {
        PyErr_SetString(PyExc_RuntimeError, "there is no OpenSSL");
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Trust *self = (Trust *)allocate(type, 0);
    if (self && !(self->context = tls_context(file, folder))) {
        PyErr_SetString(PyExc_ValueError, "no authorities can be read there");
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void trust_dealloc(Trust *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    if (self->context)
        tls_context_free(self->context);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

PyDoc_STRVAR(session_doc,
"session(fd, host, is_address) -> Session\n\n"
"TLS for the server of this name, or address, over a connected socket.");

static PyObject *trust_session(Trust *self, PyObject *arguments)
{
    int fd, is_address;
    const char *host;
    if (!PyArg_ParseTuple(arguments, "isp", &fd, &host, &is_address))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(session_type, Py_tp_alloc);
    Session *session = (Session *)allocate(session_type, 0);
    if (session && !(session->tls = tls_open(self->context, fd, host, is_address))) {
        PyErr_SetString(PyExc_ValueError, "no name of a server");
        Py_CLEAR(session);
    }
    return (PyObject *)session;
}

static PyMethodDef trust_methods[] = {
    {"session", (PyCFunction)trust_session, METH_VARARGS, session_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot trust_slots[] = {
    {Py_tp_doc, "Trust(file, folder)\n\nThe authorities that are trusted, in a file and a folder as OpenSSL has them."},
    {Py_tp_new, trust_new},
    {Py_tp_methods, trust_methods},
    {Py_tp_dealloc, trust_dealloc},
    {0, NULL},
};

static PyType_Spec trust_spec = {
    .name = "dth._http.Trust",
    .basicsize = sizeof(Trust),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = trust_slots,
};

PyDoc_STRVAR(handshake_doc,
"handshake() -> int\n\n"
"Go on with the handshake as far as the socket lets it: 0 when it is done, or the event of epoll that it waits for.\n"
"Raises ConnectionError.");

static PyObject *session_handshake(Session *self, PyObject *unused)
{
    (void)unused;
    switch (self->tls ? tls_handshake(self->tls) : TLS_FAILED) {
    case TLS_DONE:
        return PyLong_FromLong(0);
    case TLS_WANTS_READ:
        return PyLong_FromLong(EPOLLIN);
    case TLS_WANTS_WRITE:
        return PyLong_FromLong(EPOLLOUT);
    case TLS_FAILED:
        break;
    }
    PyErr_SetString(PyExc_ConnectionError, "no TLS");
    return NULL;
}

static void session_dealloc(Session *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    tls_free(self->tls);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyMethodDef session_methods[] = {
    {"handshake", (PyCFunction)session_handshake, METH_NOARGS, handshake_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot session_slots[] = {
    {Py_tp_doc, "TLS over a socket, until a connection takes it. Made by Trust.session."},
    {Py_tp_methods, session_methods},
    {Py_tp_dealloc, session_dealloc},
    {0, NULL},
};

static PyType_Spec session_spec = {
    .name = "dth._http.Session",
    .basicsize = sizeof(Session),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = session_slots,
};

PyDoc_STRVAR(tls_version_doc,
"tls_version(path) -> int\n\nThe version of the OpenSSL that is loaded from there; 0 where that is none, or is not OpenSSL 3.");

static PyObject *find_tls_version(PyObject *module, PyObject *path)
{
    (void)module;
    PyObject *bytes = NULL;
    if (!PyUnicode_FSConverter(path, &bytes))
        return NULL;
    unsigned long version = tls_version(PyBytes_AsString(bytes));
    Py_DECREF(bytes);
    return PyLong_FromUnsignedLong(version);
}

PyDoc_STRVAR(tls_use_doc, "tls_use(path) -> bool\n\nUse the OpenSSL in this library. To be called once. False: it lacks something.");

static PyObject *use_tls(PyObject *module, PyObject *path)
{
    (void)module;
    PyObject *bytes = NULL;
    if (!PyUnicode_FSConverter(path, &bytes))
        return NULL;
    tls_found = tls_found || tls_use(PyBytes_AsString(bytes));
    Py_DECREF(bytes);
    return PyBool_FromLong(tls_found);
}

/* ------------------------------------------------------------------------------------------------ Engine */

static PyObject *engine_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    (void)arguments;
    (void)keywords;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Engine *self = (Engine *)allocate(type, 0);
    if (!self)
        return NULL;
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (self->epoll < 0)
        PyErr_SetFromErrno(PyExc_OSError);
    else if (!(self->scratch = PyMem_Malloc(SCRATCH)))
        PyErr_NoMemory();
    else
        self->events = PyList_New(0);
    if (!self->events)
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* Make the table reach to this descriptor. */
static bool reach(Engine *self, int fd)
{
    if (fd < self->open_size)
        return true;
    int size = fd < 64 ? 128 : 2 * fd;
    Connection **open = realloc(self->open, (size_t)size * sizeof *open);
    if (!open) {
        PyErr_NoMemory();
        return false;
    }
    memset(open + self->open_size, 0, (size_t)(size - self->open_size) * sizeof *open);
    self->open = open;
    self->open_size = size;
    return true;
}

PyDoc_STRVAR(adopt_doc,
"adopt(fd, session=None) -> Connection\n\n"
"A connection over this non-blocking socket, which is closed with it; with `session`, over the TLS on it.");

static PyObject *engine_adopt(Engine *self, PyObject *arguments)
{
    int fd;
    Session *session = NULL;
    if (!PyArg_ParseTuple(arguments, "i|O!", &fd, session_type, &session))
        return NULL;
    if (self->epoll < 0 || fd < 0 || (session && !session->tls)) {
        PyErr_SetString(PyExc_ValueError, "closed");
        return NULL;
    }
    if (!reach(self, fd))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(connection_type, Py_tp_alloc);
    Connection *connection = (Connection *)allocate(connection_type, 0);
    if (!connection)
        return NULL;
    connection->fd = -1;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(self->epoll, EPOLL_CTL_ADD, fd, &event)) {
        PyErr_SetFromErrno(PyExc_OSError);
        Py_DECREF((PyObject *)connection);
        return NULL;
    }
    connection->fd = fd;
    connection->engine = self;
    connection->watched = EPOLLIN;
    if (session) {
        connection->tls = session->tls;
        session->tls = NULL;
    }
    self->open[fd] = (Connection *)Py_NewRef((PyObject *)connection);
    return (PyObject *)connection;
}

/* All that has happened since the last time. */
static PyObject *take_events(Engine *self)
{
    PyObject *fresh = PyList_New(0);
    if (!fresh)
        return NULL;
    PyObject *events = self->events;
    self->events = fresh;
    return events;
}

/* Serve one connection. Where Python itself fails, which is for want of memory, its request does. */
static bool serve_one(Engine *self, int fd, uint32_t ready)
{
    Connection *connection = fd < self->open_size ? self->open[fd] : NULL;
    if (!connection)
        return true;
    Py_INCREF((PyObject *)connection);
    bool good = serve(connection, ready);
    if (!good && connection->future) {
        PyErr_Clear();
        good = fail(connection, BROKEN, "out of memory");
    }
    Py_DECREF((PyObject *)connection);
    return good;
}

PyDoc_STRVAR(run_doc,
"run() -> list\n\n"
"Serve what is ready, and return what has happened: tuples (connection, future, what, more, chunks). `what` is the\n"
"status of an answer, `more` its headers and `chunks` its body; or a constant of this module that says what became of\n"
"the request, and `more` says why; or DRY, PIECE (which is `more`) or HUNGRY, and the request goes on. Without a\n"
"future: a connection at rest was closed.");

static PyObject *engine_run(Engine *self, PyObject *unused)
{
    (void)unused;
    struct epoll_event ready[MOST_EVENTS];
    int count = self->epoll < 0 ? 0 : epoll_wait(self->epoll, ready, MOST_EVENTS, 0);
    self->now = monotonic();
    for (int i = 0; i < count; i++) {
        if (!serve_one(self, ready[i].data.fd, ready[i].events))
            return NULL;
    }
    return take_events(self);
}

/* Look at one request that may have stood still. What little has come of a piece does not wait for more. */
static bool look_at(Engine *self, Connection *connection)
{
    if (is_streaming(connection) && !hand_over(connection))
        return false;
    bool waits = connection->dry || connection->hungry || connection->held;
    if (waits || self->now - connection->active < connection->patience)
        return true;
    return fail(connection, TIMED_OUT,
                "operation too slow. Less than 1 bytes/sec transferred the last %d seconds", (int)connection->patience);
}

PyDoc_STRVAR(sweep_doc, "sweep() -> list\n\nEnd the requests on which no byte has passed for too long; as `run`.");

static PyObject *engine_sweep(Engine *self, PyObject *unused)
{
    (void)unused;
    self->now = monotonic();
    for (int fd = 0; fd < self->open_size; fd++) {
        Connection *each = self->open[fd];
        if (each && each->future && !look_at(self, each))
            return NULL;
    }
    return take_events(self);
}

static PyObject *engine_under_way(Engine *self, void *unused)
{
    (void)unused;
    Py_ssize_t passed = 0;
    for (int fd = 0; fd < self->open_size; fd++) {
        Connection *each = self->open[fd];
        if (each && each->future)
            passed += each->received + each->sent;
    }
    return PyLong_FromSsize_t(passed);
}

static int engine_clear(Engine *self)
{
    for (int fd = 0; fd < self->open_size; fd++) {
        Connection *each = self->open[fd];
        if (each) {
            end_request(each);
            close_connection(each);
        }
    }
    Py_CLEAR(self->events);
    return 0;
}

static PyObject *engine_close(Engine *self, PyObject *unused)
{
    (void)unused;
    if (self->epoll >= 0) {
        PyObject *events = self->events;
        self->events = NULL;
        engine_clear(self);
        self->events = events;
        close(self->epoll);
        self->epoll = -1;
    }
    Py_RETURN_NONE;
}

static PyObject *engine_fileno(Engine *self, PyObject *unused)
{
    (void)unused;
    return PyLong_FromLong(self->epoll);
}

static int engine_traverse(Engine *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE((PyObject *)self));
    Py_VISIT(self->events);
    for (int fd = 0; fd < self->open_size; fd++)
        Py_VISIT((PyObject *)self->open[fd]);
    return 0;
}

static void engine_dealloc(Engine *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    PyObject_GC_UnTrack(self);
    engine_clear(self);
    if (self->epoll >= 0)
        close(self->epoll);
    free(self->open);
    PyMem_Free(self->scratch);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyMethodDef engine_methods[] = {
    {"adopt", (PyCFunction)engine_adopt, METH_VARARGS, adopt_doc},
    {"run", (PyCFunction)engine_run, METH_NOARGS, run_doc},
    {"sweep", (PyCFunction)engine_sweep, METH_NOARGS, sweep_doc},
    {"close", (PyCFunction)engine_close, METH_NOARGS, "close()\n\nClose all connections; nothing is reported."},
    {"fileno", (PyCFunction)engine_fileno, METH_NOARGS, "fileno() -> int\n\nReadable when `run` has something to do."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef engine_members[] = {
    {"under_way", (getter)engine_under_way, NULL, "Bytes of bodies that have passed in requests under way.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot engine_slots[] = {
    {Py_tp_doc, "Connections, and the one descriptor that tells when one of them is ready."},
    {Py_tp_new, engine_new},
    {Py_tp_methods, engine_methods},
    {Py_tp_getset, engine_members},
    {Py_tp_traverse, engine_traverse},
    {Py_tp_clear, engine_clear},
    {Py_tp_dealloc, engine_dealloc},
    {0, NULL},
};

static PyType_Spec engine_spec = {
    .name = "dth._http.Engine",
    .basicsize = sizeof(Engine),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = engine_slots,
};

/* ------------------------------------------------------------------------------------------------ heads */

typedef struct {
    char *bytes;
    size_t length, room;
    bool clean; /* nothing in it would be read as the end of a header */
} Text;

static bool put(Text *text, const char *bytes, size_t size)
{
    if (text->length + size > text->room) {
        size_t room = 2 * (text->length + size);
        char *grown = PyMem_Realloc(text->bytes, room);
        if (!grown) {
            PyErr_NoMemory();
            return false;
        }
        text->bytes = grown;
        text->room = room;
    }
    memcpy(text->bytes + text->length, bytes, size);
    text->length += size;
    return true;
}

static bool is_plain(const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] == '\r' || bytes[i] == '\n' || !bytes[i])
            return false;
    }
    return true;
}

static bool is_ascii(const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] & 0x80)
            return false;
    }
    return true;
}

/* Put a str as latin-1, which holds the raw bytes of a header. */
static bool put_text(Text *text, PyObject *part)
{
    Py_ssize_t size;
    const char *bytes = PyUnicode_AsUTF8AndSize(part, &size);
    if (bytes && is_ascii(bytes, (size_t)size)) {
        text->clean = text->clean && is_plain(bytes, (size_t)size);
        return put(text, bytes, (size_t)size);
    }
    PyErr_Clear();
    PyObject *latin = PyUnicode_AsLatin1String(part);
    char *raw;
    bool good = latin && !PyBytes_AsStringAndSize(latin, &raw, &size);
    if (good) {
        text->clean = text->clean && is_plain(raw, (size_t)size);
        good = put(text, raw, (size_t)size);
    }
    Py_XDECREF(latin);
    return good;
}

static bool put_headers(Text *text, PyObject *headers)
{
    PyObject *name, *value;
    Py_ssize_t cursor = 0;
    while (PyDict_Next(headers, &cursor, &name, &value)) {
        if (!put_text(text, name) || !put(text, ": ", 2))
            return false;
        size_t before = text->length;
        if (!put_text(text, value))
            return false;
        /* Without a value, without the space. */
        if (text->length == before)
            text->length--;
        if (!put(text, "\r\n", 2))
            return false;
    }
    return true;
}

/* Whether what is asked for stands in the line of a request as it is. */
static bool is_target(PyObject *target)
{
    Py_ssize_t size;
    const char *bytes = PyUnicode_AsUTF8AndSize(target, &size);
    if (!bytes || !size) {
        PyErr_Clear();
        return false;
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        if (bytes[i] <= ' ' || bytes[i] == '#' || bytes[i] == 0x7f)
            return false;
    }
    return true;
}

PyDoc_STRVAR(head_doc,
"head(method, target, first, headers, size) -> bytes | None\n\n"
"The head of a request. `first`: bytes of the first headers, each with its line break; `headers`: a dict; `size`: bytes\n"
"of the body, -1 for no Content-Length. None where something in it would be read as the end of a line, or is not for\n"
"the line of a request.");

static PyObject *make_head(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *method, *target, *headers;
    const char *first;
    Py_ssize_t first_size, size;
    if (!PyArg_ParseTuple(arguments, "UUy#O!n", &method, &target, &first, &first_size, &PyDict_Type, &headers, &size))
        return NULL;
    if (!is_target(target))
        Py_RETURN_NONE;
    Text text = {.clean = true};
    char length[48];
    int digits = size < 0 ? 0 : snprintf(length, sizeof length, "Content-Length: %zd\r\n", size);
    PyObject *head = NULL;
    if (put_text(&text, method) && put(&text, " ", 1) && put_text(&text, target) && put(&text, " HTTP/1.1\r\n", 11)
        && put(&text, first, (size_t)first_size) && put_headers(&text, headers)
        && put(&text, length, (size_t)digits) && put(&text, "\r\n", 2))
        head = text.clean ? PyBytes_FromStringAndSize(text.bytes, (Py_ssize_t)text.length) : Py_NewRef(Py_None);
    PyMem_Free(text.bytes);
    return head;
}

/* ------------------------------------------------------------------------------------------------ the module */

PyDoc_STRVAR(keep_memory_doc,
"keep_memory(size)\n\n"
"Do not give memory back to the system until so many bytes are free: each page would cost a fault when the next body\n"
"comes.");

#ifdef __GLIBC__
/* Let what malloc will hand out next come in huge pages: it takes nothing until it is used. */
static void reserve(Py_ssize_t size)
{
    /* One that is larger would be a mapping of its own. */
    const Py_ssize_t each = MOST_KEPT / 2;
    void *taken[16];
    int count = 0;
    while (count < 16 && count * each < size && (taken[count] = malloc((size_t)each)))
        want_huge_pages(taken[count++], (size_t)each);
    while (count)
        free(taken[--count]);
}
#endif

static PyObject *keep_memory(PyObject *module, PyObject *argument)
{
    (void)module;
    Py_ssize_t size = PyLong_AsSsize_t(argument);
    if (size == -1 && PyErr_Occurred())
        return NULL;
#ifdef __GLIBC__
    mallopt(M_TRIM_THRESHOLD, size < INT_MAX ? (int)size : INT_MAX);
    /* As large as it may be. Bodies that are larger are mappings of their own. */
    mallopt(M_MMAP_THRESHOLD, MOST_KEPT);
    reserve(size);
#endif
    Py_RETURN_NONE;
}

PyDoc_STRVAR(crc64nvme_doc,
"crc64nvme(data, previous=0)\n\n"
"The CRC64NVME of bytes that follow bytes with the CRC `previous`. The module has it where the processor computes it\n"
"fast.");

static PyObject *crc64nvme(PyObject *module, PyObject *arguments)
{
    (void)module;
    Py_buffer data;
    unsigned long long total = 0;
    if (!PyArg_ParseTuple(arguments, "y*|K", &data, &total))
        return NULL;
    total = crc64_add(total, data.buf, (size_t)data.len);
    PyBuffer_Release(&data);
    return PyLong_FromUnsignedLongLong(total);
}

static PyMethodDef crc64_function = {"crc64nvme", crc64nvme, METH_VARARGS, crc64nvme_doc};

static PyMethodDef functions[] = {
    {"keep_memory", keep_memory, METH_O, keep_memory_doc},
    {"head", make_head, METH_VARARGS, head_doc},
    {"tls_version", find_tls_version, METH_O, tls_version_doc},
    {"tls_use", use_tls, METH_O, tls_use_doc},
    {NULL, NULL, 0, NULL},
};

static bool add_function(PyObject *module, PyMethodDef *definition)
{
    PyObject *function = PyCFunction_New(definition, NULL);
    return function && !PyModule_AddObject(module, definition->ml_name, function);
}

static bool fill(PyObject *module)
{
    connection_type = (PyTypeObject *)PyType_FromSpec(&connection_spec);
    PyObject *engine_type = PyType_FromSpec(&engine_spec);
    PyObject *trust_type = PyType_FromSpec(&trust_spec);
    session_type = (PyTypeObject *)PyType_FromSpec(&session_spec);
    return connection_type && engine_type && trust_type && session_type
        && !PyModule_AddObject(module, "Trust", trust_type)
        && !PyModule_AddObjectRef(module, "Session", (PyObject *)session_type)
        && !PyModule_AddObjectRef(module, "Connection", (PyObject *)connection_type)
        && !PyModule_AddObject(module, "Engine", engine_type)
        && (!(has_crc64 = crc64_ready()) || add_function(module, &crc64_function))
        && !PyModule_AddIntConstant(module, "INTERFACE", INTERFACE)
        && !PyModule_AddIntConstant(module, "BROKEN", BROKEN)
        && !PyModule_AddIntConstant(module, "STALE", STALE)
        && !PyModule_AddIntConstant(module, "TIMED_OUT", TIMED_OUT)
        && !PyModule_AddIntConstant(module, "TOO_LARGE", TOO_LARGE)
        && !PyModule_AddIntConstant(module, "DRY", DRY)
        && !PyModule_AddIntConstant(module, "PIECE", PIECE)
        && !PyModule_AddIntConstant(module, "HUNGRY", HUNGRY);
}

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "dth._http",
    .m_doc = "HTTP over connections that Python has made (see native/engine.c).",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__http(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module && !fill(module))
        Py_CLEAR(module);
    return module;
}
