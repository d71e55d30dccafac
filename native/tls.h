/* TLS by the OpenSSL that libcurl or Python has brought into the process. Knows nothing of Python.
 *
 * Nothing of OpenSSL is needed to build this: its functions, whose ABI is the same in all of OpenSSL 3, are looked up
 * when the first connection wants them.
 */
#ifndef DTH_TLS_H
#define DTH_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

/* What all connections to a server share: which authorities are trusted. */
typedef struct TlsContext TlsContext;
/* TLS over one socket. */
typedef struct Tls Tls;

typedef enum { TLS_DONE, TLS_WANTS_READ, TLS_WANTS_WRITE, TLS_FAILED } TlsProgress;

/* The version of the OpenSSL in this library, as OpenSSL tells it; 0: it is none, or is not loaded, or too old. */
unsigned long tls_version(const char *path);

/* Use this library from now on. False where it lacks something. */
bool tls_use(const char *path);

/* Either may be NULL. NULL: `file` or `folder` has no authorities, or there is no memory. */
TlsContext *tls_context(const char *file, const char *folder);
void tls_context_free(TlsContext *context);

/* TLS for a server by this name, or address, over a socket that is connected. */
Tls *tls_open(TlsContext *context, int fd, const char *host, bool is_address);
TlsProgress tls_handshake(Tls *tls);
void tls_free(Tls *tls);

/* The socket will be closed in order. */
void tls_say_goodbye(Tls *tls);

/* As recv and sendmsg. `tls_send` may keep some of what it took, for want of room in the socket: `tls_flush` sends
 * that, and is true when nothing is left. Where it is not, errno says why. */
ssize_t tls_receive(Tls *tls, char *bytes, size_t size);
ssize_t tls_send(Tls *tls, const struct iovec *parts, int count);
bool tls_flush(Tls *tls);
bool tls_keeps(const Tls *tls);

/* Whether bytes have come that epoll does not tell of any more. */
bool tls_pending(Tls *tls);

/* Nothing is under way: give back what is only needed then. */
void tls_rest(Tls *tls);

#endif
