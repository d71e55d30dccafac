/* An HTTP/1.x answer, read as its bytes come. Knows nothing of sockets and of Python.
 *
 * It takes what libcurl takes, and refuses what libcurl refuses (lib/http.c, lib/http_chunks.c of libcurl 8.23), so
 * that it does not matter which of the two reads an answer.
 */
#ifndef DTH_ANSWER_H
#define DTH_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    ANSWER_MORE, /* all was taken; more is to come */
    ANSWER_HEAD, /* the head is there: status, size and headers are known */
    ANSWER_DATA, /* bytes of the body are there */
    ANSWER_END,  /* the answer is complete; what was not taken belongs to no answer */
    ANSWER_BAD,  /* this is no answer; `why` says why not */
    ANSWER_NO_MEMORY
} AnswerEvent;

typedef enum {
    IN_HEAD,
    IN_SIZED,      /* `left` bytes of the body are to come */
    IN_UNTIL_CLOSE,
    IN_CHUNK_SIZE,
    IN_CHUNK_LINE, /* the rest of the line with a chunk's size */
    IN_CHUNK,      /* `left` bytes of the chunk are to come */
    IN_CHUNK_END,
    IN_TRAILER,
    AT_END
} AnswerPhase;

typedef struct {
    AnswerPhase phase;
    bool bodyless; /* the answer to a HEAD */
    bool begun;    /* a byte has come */
    /* What the head says. */
    int status;
    bool close;    /* the connection serves no other request */
    bool chunked;
    bool coded;    /* it has a Transfer-Encoding: a Content-Length does not count */
    int64_t size;  /* of the body; -1: not said */
    uint64_t left;
    const char *why;
    /* The lines of the head, and of the trailer behind them. */
    char *text;
    size_t length, room;
    size_t headers;     /* where the headers begin in it */
    size_t trailer;     /* and the trailer */
    size_t location, location_length; /* the first one that is not empty */
    size_t interim;     /* bytes of the heads before this one */
    size_t line;        /* bytes of the line that is being read */
    char first;         /* the first one of them */
    unsigned lines;
    unsigned digits;    /* of the size of a chunk */
} Answer;

/* A zeroed Answer may begin. What it held of the answer before is used again. */
void answer_begin(Answer *answer, bool bodyless);

/* Take bytes from `bytes`, at most `size`. `taken`: how many. For ANSWER_DATA, `data` is where the bytes of the body
 * are among them, and `length` how many. To be called again with the rest until it says MORE, END or worse. */
AnswerEvent answer_take(Answer *answer, const char *bytes, size_t size, size_t *taken, const char **data,
                        size_t *length);

/* `size` bytes of the body went past `answer_take`. True where they were the last ones. */
bool answer_passed(Answer *answer, size_t size);

/* Whether the answer is complete if the connection is closed now. */
bool answer_may_end(const Answer *answer);

/* The next header, from `*cursor`, which is `answer->headers` at first. False after the last one. */
bool answer_header(const Answer *answer, size_t *cursor, const char **name, size_t *name_length,
                   const char **value, size_t *value_length);

/* Give back the memory that it holds. */
void answer_clear(Answer *answer);

#endif
