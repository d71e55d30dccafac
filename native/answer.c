#include "answer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* As in libcurl: MAX_HTTP_RESP_HEADER_SIZE, MAX_HTTP_RESP_HEADER_COUNT, CHUNK_MAXNUM_LEN. */
#define MOST_HEAD (300 * 1024)
#define MOST_LINES 5000
#define MOST_DIGITS 16
/* A head is smaller than this. A larger buffer is not kept. */
#define USUAL_HEAD 4096

void answer_begin(Answer *answer, bool bodyless)
{
    char *text = answer->text;
    size_t room = answer->room;
    if (room > USUAL_HEAD) {
        free(text);
        text = NULL;
        room = 0;
    }
    memset(answer, 0, sizeof *answer);
    answer->text = text;
    answer->room = room;
    answer->bodyless = bodyless;
    answer->size = -1;
}

void answer_clear(Answer *answer)
{
    free(answer->text);
    answer->text = NULL;
    answer->room = answer->length = 0;
}

static AnswerEvent bad(Answer *answer, const char *why)
{
    answer->why = why;
    return ANSWER_BAD;
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

static bool is_digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

static int hex_value(char byte)
{
    if (is_digit(byte))
        return byte - '0';
    if (byte >= 'a' && byte <= 'f')
        return byte - 'a' + 10;
    if (byte >= 'A' && byte <= 'F')
        return byte - 'A' + 10;
    return -1;
}

/* Keep bytes of the head. */
static AnswerEvent keep(Answer *answer, const char *bytes, size_t size)
{
    size_t length = answer->length + size;
    if (answer->interim + length > MOST_HEAD)
        return bad(answer, "too large response headers");
    if (length > answer->room) {
        size_t room = length < USUAL_HEAD ? USUAL_HEAD : 2 * length;
        char *text = realloc(answer->text, room);
        if (!text)
            return ANSWER_NO_MEMORY;
        answer->text = text;
        answer->room = room;
    }
    memcpy(answer->text + answer->length, bytes, size);
    answer->length = length;
    return ANSWER_MORE;
}

/* Read lines up to an empty one, and keep them without it. ANSWER_END: there it is. */
static AnswerEvent take_lines(Answer *answer, const char *bytes, size_t size, size_t *taken)
{
    const char *at = bytes, *end = bytes + size;
    bool whole = false;
    size_t ending = 0;
    while (at < end && !whole) {
        if (!answer->line)
            answer->first = *at;
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *next = newline ? newline + 1 : end;
        answer->line += (size_t)(next - at);
        at = next;
        if (newline) {
            whole = answer->first == '\n' || answer->first == '\r';
            ending = answer->line;
            answer->line = 0;
            if (++answer->lines > MOST_LINES)
                return bad(answer, "too many response headers");
        }
    }
    *taken = (size_t)(at - bytes);
    AnswerEvent event = keep(answer, bytes, *taken);
    if (event != ANSWER_MORE || !whole)
        return event;
    answer->length -= ending;
    return ANSWER_END;
}

/* Whether the lines from `from` on can be read: no NUL, and no CR but before an LF. */
static bool is_clean(const char *text, size_t from, size_t length)
{
    if (memchr(text + from, '\0', length - from))
        return false;
    const char *at = text + from, *end = text + length;
    while ((at = memchr(at, '\r', (size_t)(end - at)))) {
        if (++at >= end || *at != '\n')
            return false;
    }
    return true;
}

/* Join lines that are continued: their break, and the space around it, becomes one space. The line at `from` is a
 * header. */
static void unfold(Answer *answer, size_t from)
{
    char *text = answer->text;
    size_t to = from, at = from, end = answer->length;
    while (at < end) {
        bool folded = text[at] == '\n' && at + 1 < end && is_blank(text[at + 1]);
        if (!folded) {
            text[to++] = text[at++];
            continue;
        }
        while (to > from && (text[to - 1] == '\r' || is_blank(text[to - 1])))
            to--;
        at++;
        while (at < end && is_blank(text[at]))
            at++;
        text[to++] = ' ';
    }
    answer->length = to;
}

/* The end of the line at `at`, without what breaks it; `next` is where the next one begins. */
static size_t line_end(const Answer *answer, size_t at, size_t *next)
{
    const char *newline = memchr(answer->text + at, '\n', answer->length - at);
    size_t end = newline ? (size_t)(newline - answer->text) : answer->length;
    *next = newline ? end + 1 : end;
    if (end > at && answer->text[end - 1] == '\r')
        end--;
    return end;
}

bool answer_header(const Answer *answer, size_t *cursor, const char **name, size_t *name_length,
                   const char **value, size_t *value_length)
{
    const char *text = answer->text;
    while (*cursor < answer->length) {
        size_t at = *cursor, end = line_end(answer, at, cursor);
        const char *colon = memchr(text + at, ':', end - at);
        if (!colon)
            continue;
        size_t from = (size_t)(colon - text) + 1;
        while (from < end && is_blank(text[from]))
            from++;
        while (end > from && is_blank(text[end - 1]))
            end--;
        *name = text + at;
        *name_length = (size_t)(colon - text) - at;
        *value = text + from;
        *value_length = end - from;
        return true;
    }
    return false;
}

static bool is_named(const char *name, size_t length, const char *wanted)
{
    return strlen(wanted) == length && !strncasecmp(name, wanted, length);
}

/* Whether a value has these words in it, as libcurl looks for them: anywhere. */
static bool says(const char *value, size_t length, const char *words)
{
    size_t size = strlen(words);
    for (size_t at = 0; at + size <= length; at++) {
        if (!strncasecmp(value + at, words, size))
            return true;
    }
    return false;
}

/* A Content-Length: one number, or the same one several times. False for anything else. */
static bool read_size(Answer *answer, const char *value, size_t length)
{
    size_t at = 0;
    do {
        int64_t size = 0;
        while (at < length && is_blank(value[at]))
            at++;
        if (at >= length || !is_digit(value[at]))
            return false;
        for (; at < length && is_digit(value[at]); at++) {
            int64_t digit = value[at] - '0';
            /* More than can be said is more than anybody takes. */
            size = size > (INT64_MAX - digit) / 10 ? INT64_MAX : size * 10 + digit;
        }
        if (answer->size != -1 && answer->size != size)
            return false;
        answer->size = size;
        while (at < length && is_blank(value[at]))
            at++;
    } while (at < length && value[at++] == ',');
    return at >= length;
}

/* A Transfer-Encoding: `chunked` is the only one that nobody has to ask for. */
static bool read_coding(Answer *answer, const char *value, size_t length)
{
    for (size_t at = 0; at < length;) {
        const char *comma = memchr(value + at, ',', length - at);
        size_t from = at, end = comma ? (size_t)(comma - value) : length;
        at = comma ? end + 1 : end;
        while (from < end && is_blank(value[from]))
            from++;
        /* As libcurl does: neither control characters nor bytes beyond ASCII are the end of a name. */
        while (end > from && (signed char)value[end - 1] <= ' ')
            end--;
        if (from == end)
            continue;
        if (is_named(value + from, end - from, "chunked"))
            answer->chunked = true;
        else if (answer->chunked || !is_named(value + from, end - from, "identity"))
            return false;
    }
    return true;
}

/* A Location: the same one as before, if there was one. */
static bool read_location(Answer *answer, const char *value, size_t length)
{
    if (!length)
        return true;
    if (answer->location_length)
        return length == answer->location_length && !memcmp(answer->text + answer->location, value, length);
    answer->location = (size_t)(value - answer->text);
    answer->location_length = length;
    return true;
}

/* "HTTP/1.1 200 OK". False for anything else. */
static bool read_status(Answer *answer, size_t length)
{
    const char *text = answer->text;
    if (length < 12 || memcmp(text, "HTTP/1.", 7) || (text[7] != '0' && text[7] != '1') || !is_blank(text[8]))
        return false;
    if (!is_digit(text[9]) || !is_digit(text[10]) || !is_digit(text[11]))
        return false;
    answer->status = (text[9] - '0') * 100 + (text[10] - '0') * 10 + (text[11] - '0');
    answer->close = text[7] == '0';
    return answer->status >= 100;
}

/* Note what a header says about how the body comes, and about the connection. */
static AnswerEvent note(Answer *answer, const char *name, size_t name_length, const char *value, size_t length)
{
    bool bodyless = answer->status < 200 || answer->status == 204 || answer->status == 304;
    if (!bodyless && is_named(name, name_length, "content-length")) {
        if (!read_size(answer, value, length))
            return bad(answer, "invalid Content-Length: value");
    } else if (!bodyless && !answer->bodyless && is_named(name, name_length, "transfer-encoding")) {
        answer->coded = true;
        if (!read_coding(answer, value, length))
            return bad(answer, "unsolicited Transfer-Encoding found");
    } else if (is_named(name, name_length, "location")) {
        if (!read_location(answer, value, length))
            return bad(answer, "multiple Location headers");
    } else if (is_named(name, name_length, "connection")) {
        if (says(value, length, "close"))
            answer->close = true;
        else if (answer->text[7] == '0' && says(value, length, "keep-alive"))
            answer->close = false;
    }
    return ANSWER_HEAD;
}

/* How the body comes, now that the head is known. */
static void expect_body(Answer *answer)
{
    if (answer->bodyless || answer->status == 204 || answer->status == 304) {
        answer->phase = AT_END;
    } else if (answer->chunked) {
        answer->size = -1;
        answer->left = 0;
        answer->phase = IN_CHUNK_SIZE;
    } else if (answer->size >= 0 && !answer->coded) {
        answer->left = (uint64_t)answer->size;
        answer->phase = answer->size ? IN_SIZED : AT_END;
    } else {
        answer->size = -1;
        answer->close = true;
        answer->phase = IN_UNTIL_CLOSE;
    }
}

/* Whether each line from `from` on is a header. */
static bool have_colons(const Answer *answer, size_t from)
{
    while (from < answer->length) {
        size_t at = from, end = line_end(answer, at, &from);
        if (!memchr(answer->text + at, ':', end - at))
            return false;
    }
    return true;
}

static AnswerEvent read_head(Answer *answer)
{
    size_t cursor, name_length, length;
    const char *name, *value;
    size_t end = line_end(answer, 0, &answer->headers);
    if (!is_clean(answer->text, 0, answer->length))
        return bad(answer, "a NUL or a lone carriage return in the head");
    if (!read_status(answer, end))
        return bad(answer, "unsupported HTTP version or status in response");
    if (answer->status == 101)
        return bad(answer, "another protocol, which nobody asked for");
    /* What continues the status line has no colon that counts, and would be a header without a name. */
    unfold(answer, answer->headers);
    if (!have_colons(answer, answer->headers))
        return bad(answer, "header without colon");
    cursor = answer->headers;
    while (answer_header(answer, &cursor, &name, &name_length, &value, &length)) {
        if (note(answer, name, name_length, value, length) == ANSWER_BAD)
            return ANSWER_BAD;
    }
    return ANSWER_HEAD;
}

/* Whether what has come can be the beginning of an answer. To wait for its end would be to wait for ever. */
static bool may_be_answer(const Answer *answer)
{
    size_t length = answer->length < 5 ? answer->length : 5;
    return !memcmp(answer->text, "HTTP/", length);
}

static AnswerEvent take_head(Answer *answer, const char *bytes, size_t size, size_t *taken)
{
    AnswerEvent event = take_lines(answer, bytes, size, taken);
    if (event == ANSWER_BAD || event == ANSWER_NO_MEMORY)
        return event;
    if (!answer->length || !may_be_answer(answer))
        return bad(answer, "received HTTP/0.9 when not allowed");
    if (event == ANSWER_MORE)
        return ANSWER_MORE;
    event = read_head(answer);
    if (event != ANSWER_HEAD)
        return event;
    if (answer->status < 200) {
        /* The answer itself is still to come. */
        answer->interim += answer->length;
        answer->length = answer->lines = 0;
        answer->close = answer->chunked = answer->coded = false;
        answer->size = -1;
        return ANSWER_MORE;
    }
    expect_body(answer);
    return ANSWER_HEAD;
}

static AnswerEvent take_chunk_size(Answer *answer, char byte)
{
    int value = hex_value(byte);
    if (value < 0) {
        if (!answer->digits)
            return bad(answer, "chunk hex-length char not a hex digit");
        answer->phase = IN_CHUNK_LINE;
        return ANSWER_MORE;
    }
    if (++answer->digits > MOST_DIGITS || answer->left > (INT64_MAX >> 4))
        return bad(answer, "invalid chunk size");
    answer->left = answer->left * 16 + (uint64_t)value;
    return ANSWER_MORE;
}

static AnswerEvent take_chunk_line(Answer *answer, const char *bytes, size_t size, size_t *taken)
{
    const char *newline = memchr(bytes, '\n', size);
    *taken = newline ? (size_t)(newline - bytes) + 1 : size;
    if (newline) {
        answer->line = 0;
        answer->trailer = answer->length;
        answer->phase = answer->left ? IN_CHUNK : IN_TRAILER;
    }
    return ANSWER_MORE;
}

static AnswerEvent take_chunk_end(Answer *answer, char byte)
{
    if (byte == '\n') {
        answer->digits = 0;
        answer->left = 0;
        answer->phase = IN_CHUNK_SIZE;
    } else if (byte != '\r') {
        return bad(answer, "malformed encoding found");
    }
    return ANSWER_MORE;
}

static AnswerEvent take_trailer(Answer *answer, const char *bytes, size_t size, size_t *taken)
{
    AnswerEvent event = take_lines(answer, bytes, size, taken);
    if (event != ANSWER_END)
        return event;
    if (!is_clean(answer->text, answer->trailer, answer->length) || !have_colons(answer, answer->trailer))
        return bad(answer, "malformed encoding found");
    answer->phase = AT_END;
    return ANSWER_END;
}

static AnswerEvent take_data(Answer *answer, const char *bytes, size_t size, size_t *taken, const char **data,
                             size_t *length)
{
    *taken = *length = size < answer->left ? size : (size_t)answer->left;
    *data = bytes;
    answer_passed(answer, *taken);
    return ANSWER_DATA;
}

bool answer_passed(Answer *answer, size_t size)
{
    answer->left -= size;
    if (answer->left)
        return false;
    answer->phase = answer->phase == IN_CHUNK ? IN_CHUNK_END : AT_END;
    return answer->phase == AT_END;
}

AnswerEvent answer_take(Answer *answer, const char *bytes, size_t size, size_t *taken, const char **data,
                        size_t *length)
{
    size_t at = 0, step = 0;
    AnswerEvent event = ANSWER_MORE;
    answer->begun = answer->begun || size;
    while (event == ANSWER_MORE && answer->phase != AT_END && at < size) {
        step = 1;
        switch (answer->phase) {
        case IN_HEAD:
            event = take_head(answer, bytes + at, size - at, &step);
            break;
        case IN_CHUNK_SIZE:
            event = take_chunk_size(answer, bytes[at]);
            /* The byte behind the size may be the end of the line. */
            step = answer->phase == IN_CHUNK_LINE ? 0 : 1;
            break;
        case IN_CHUNK_LINE:
            event = take_chunk_line(answer, bytes + at, size - at, &step);
            break;
        case IN_CHUNK_END:
            event = take_chunk_end(answer, bytes[at]);
            break;
        case IN_TRAILER:
            event = take_trailer(answer, bytes + at, size - at, &step);
            break;
        case IN_UNTIL_CLOSE:
            *data = bytes + at;
            *length = step = size - at;
            event = ANSWER_DATA;
            break;
        case IN_SIZED:
        case IN_CHUNK:
            event = take_data(answer, bytes + at, size - at, &step, data, length);
            break;
        case AT_END:
            break;
        }
        at += step;
    }
    *taken = at;
    return event == ANSWER_MORE && answer->phase == AT_END ? ANSWER_END : event;
}

bool answer_may_end(const Answer *answer)
{
    return answer->phase == IN_UNTIL_CLOSE || answer->phase == AT_END;
}
