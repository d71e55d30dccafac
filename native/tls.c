#define _GNU_SOURCE
#include "tls.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define RECORD (16 * 1024)        /* bytes of a record, at most */
#define READ_AHEAD (128 * 1024)   /* bytes that are received at once */
#define WRITE_AHEAD (128 * 1024)  /* bytes that are sent at once */
#define RESTING (4 * 1024)        /* bytes of memory that a connection at rest may keep */

/* Constants of OpenSSL's headers. */
enum {
    SSL_ERROR_WANT_READ = 2,
    SSL_ERROR_WANT_WRITE = 3,
    SSL_ERROR_ZERO_RETURN = 6,
    SSL_VERIFY_PEER = 1,
    SSL_CTRL_MODE = 33,
    SSL_CTRL_SET_READ_AHEAD = 41,
    SSL_CTRL_SET_TLSEXT_HOSTNAME = 55,
    SSL_CTRL_SET_MIN_PROTO_VERSION = 123,
    SSL_MODE_RELEASE_BUFFERS = 0x10,
    TLS1_2_VERSION = 0x0303,
    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS = 0x4,
    X509_V_FLAG_PARTIAL_CHAIN = 0x80000,
    BIO_NOCLOSE = 0,
    BIO_CTRL_FLUSH = 11,
};
/* Of BIO_meth_new: one that is at an end, and no descriptor. */
#define BIO_TYPE_SENDER (127 | 0x0400)

/* AES with the shorter key is as safe, and a fifth cheaper; as in Go. */
#define SUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_method_st SSL_METHOD;
typedef struct bio_st BIO;
typedef struct bio_method_st BIO_METHOD;
typedef struct X509_VERIFY_PARAM_st X509_VERIFY_PARAM;

/* Every function of OpenSSL that is used: result, name, parameters. */
#define FUNCTIONS(F) \
    F(unsigned long, OpenSSL_version_num, (void)) \
    F(const SSL_METHOD *, TLS_client_method, (void)) \
    F(SSL_CTX *, SSL_CTX_new, (const SSL_METHOD *)) \
    F(void, SSL_CTX_free, (SSL_CTX *)) \
    F(long, SSL_CTX_ctrl, (SSL_CTX *, int, long, void *)) \
    F(void, SSL_CTX_set_verify, (SSL_CTX *, int, void *)) \
    F(int, SSL_CTX_load_verify_locations, (SSL_CTX *, const char *, const char *)) \
    F(int, SSL_CTX_set_alpn_protos, (SSL_CTX *, const unsigned char *, unsigned)) \
    F(int, SSL_CTX_set_ciphersuites, (SSL_CTX *, const char *)) \
    F(void, SSL_CTX_set_default_read_buffer_len, (SSL_CTX *, size_t)) \
    F(X509_VERIFY_PARAM *, SSL_CTX_get0_param, (SSL_CTX *)) \
    F(int, X509_VERIFY_PARAM_set_flags, (X509_VERIFY_PARAM *, unsigned long)) \
    F(int, X509_VERIFY_PARAM_set1_ip_asc, (X509_VERIFY_PARAM *, const char *)) \
    F(SSL *, SSL_new, (SSL_CTX *)) \
    F(void, SSL_free, (SSL *)) \
    F(long, SSL_ctrl, (SSL *, int, long, void *)) \
    F(X509_VERIFY_PARAM *, SSL_get0_param, (SSL *)) \
    F(int, SSL_set1_host, (SSL *, const char *)) \
    F(void, SSL_set_hostflags, (SSL *, unsigned)) \
    F(void, SSL_set_bio, (SSL *, BIO *, BIO *)) \
    F(int, SSL_connect, (SSL *)) \
    F(int, SSL_read_ex, (SSL *, void *, size_t, size_t *)) \
    F(int, SSL_write_ex, (SSL *, const void *, size_t, size_t *)) \
    F(int, SSL_get_error, (const SSL *, int)) \
    F(int, SSL_has_pending, (const SSL *)) \
    F(int, SSL_shutdown, (SSL *)) \
    F(BIO *, BIO_new_socket, (int, int)) \
    F(BIO *, BIO_new, (const BIO_METHOD *)) \
    F(int, BIO_free, (BIO *)) \
    F(void, BIO_set_data, (BIO *, void *)) \
    F(void *, BIO_get_data, (BIO *)) \
    F(void, BIO_set_init, (BIO *, int)) \
    F(BIO_METHOD *, BIO_meth_new, (int, const char *)) \
    F(int, BIO_meth_set_write_ex, (BIO_METHOD *, int (*)(BIO *, const char *, size_t, size_t *))) \
    F(int, BIO_meth_set_ctrl, (BIO_METHOD *, long (*)(BIO *, int, long, void *))) \
    F(void, ERR_clear_error, (void))

#define DECLARE(result, name, parameters) static result(*name) parameters;
FUNCTIONS(DECLARE)

static BIO_METHOD *sender;

struct Tls {
    SSL *ssl;
    int fd;
    bool broken;  /* OpenSSL must not be called any more, not even to say goodbye */
    /* Records that are to be sent, from `at` on. */
    char *out;
    size_t length, at, room;
};

unsigned long tls_version(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    if (!library)
        return 0;
    unsigned long (*version)(void) = NULL;
    *(void **)&version = dlsym(library, "OpenSSL_version_num");
    unsigned long number = version ? version() : 0;
    dlclose(library);
    return number >> 28 == 3 ? number : 0;
}

/* OpenSSL hands over records: they are sent together. */
static int keep_records(BIO *bio, const char *bytes, size_t size, size_t *written)
{
    Tls *tls = BIO_get_data(bio);
    if (tls->length + size > tls->room) {
        size_t room = tls->length + size < RESTING ? RESTING : 2 * (tls->length + size);
        char *grown = realloc(tls->out, room);
        if (!grown)
            return 0;
        tls->out = grown;
        tls->room = room;
    }
    memcpy(tls->out + tls->length, bytes, size);
    tls->length += size;
    *written = size;
    return 1;
}

static long control(BIO *bio, int what, long number, void *more)
{
    (void)bio;
    (void)number;
    (void)more;
    return what == BIO_CTRL_FLUSH;
}

bool tls_use(const char *path)
{
    /* It stays: connections hold what is of it. */
    void *library = dlopen(path, RTLD_NOW);
    if (!library)
        return false;
#define LOOK_UP(result, name, parameters) \
    if (!(*(void **)&name = dlsym(library, #name))) \
        return false;
    FUNCTIONS(LOOK_UP)
    sender = BIO_meth_new(BIO_TYPE_SENDER, "records");
    return sender && BIO_meth_set_write_ex(sender, keep_records) && BIO_meth_set_ctrl(sender, control);
}

TlsContext *tls_context(const char *file, const char *folder)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context)
        return NULL;
    SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, NULL);
    SSL_CTX_ctrl(context, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS, NULL);
    SSL_CTX_ctrl(context, SSL_CTRL_SET_READ_AHEAD, 1, NULL);
    SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    bool good = X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context), X509_V_FLAG_PARTIAL_CHAIN)
        && SSL_CTX_set_ciphersuites(context, SUITES)
        && !SSL_CTX_set_alpn_protos(context, (const unsigned char *)"\x08http/1.1", 9)
        && ((!file && !folder) || SSL_CTX_load_verify_locations(context, file, folder));
    ERR_clear_error();
    if (good)
        return (TlsContext *)context;
    SSL_CTX_free(context);
    return NULL;
}

void tls_context_free(TlsContext *context)
{
    SSL_CTX_free((SSL_CTX *)context);
}

/* Let the certificate be that of this host, and tell it which one is wanted. */
static bool expect_host(SSL *ssl, const char *host, bool is_address)
{
    /* Without a name, no name would be compared. */
    if (!*host)
        return false;
    if (is_address)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host);
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) && SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, 0, (void *)(uintptr_t)host);
}

Tls *tls_open(TlsContext *context, int fd, const char *host, bool is_address)
{
    Tls *tls = calloc(1, sizeof *tls);
    if (!tls)
        return NULL;
    tls->fd = fd;
    tls->ssl = SSL_new((SSL_CTX *)context);
    BIO *in = BIO_new_socket(fd, BIO_NOCLOSE), *out = BIO_new(sender);
    if (!tls->ssl || !in || !out || !expect_host(tls->ssl, host, is_address)) {
        BIO_free(in);
        BIO_free(out);
        SSL_free(tls->ssl);
        free(tls);
        ERR_clear_error();
        return NULL;
    }
    BIO_set_data(out, tls);
    BIO_set_init(out, 1);
    SSL_set_bio(tls->ssl, in, out);
    return tls;
}

bool tls_keeps(const Tls *tls)
{
    return tls->at < tls->length;
}

bool tls_flush(Tls *tls)
{
    while (tls_keeps(tls)) {
        ssize_t sent = send(tls->fd, tls->out + tls->at, tls->length - tls->at, MSG_NOSIGNAL);
        if (sent > 0)
            tls->at += (size_t)sent;
        else if (errno != EINTR)
            return false;
    }
    tls->at = tls->length = 0;
    return true;
}

/* What OpenSSL wants after a call that did not succeed. */
static TlsProgress progress(Tls *tls, int result)
{
    int error = SSL_get_error(tls->ssl, result);
    ERR_clear_error();
    if (error == SSL_ERROR_WANT_READ)
        return TLS_WANTS_READ;
    if (error == SSL_ERROR_WANT_WRITE)
        return TLS_WANTS_WRITE;
    if (error != SSL_ERROR_ZERO_RETURN)
        tls->broken = true;
    return error == SSL_ERROR_ZERO_RETURN ? TLS_DONE : TLS_FAILED;
}

/* What OpenSSL has to say besides: it may wait for room, and an error will come up where bytes are sent. */
static void answer_by_the_way(Tls *tls)
{
    int before = errno;
    if (tls_keeps(tls))
        tls_flush(tls);
    errno = before;
}

TlsProgress tls_handshake(Tls *tls)
{
    if (tls_keeps(tls) && !tls_flush(tls))
        return errno == EAGAIN ? TLS_WANTS_WRITE : TLS_FAILED;
    ERR_clear_error();
    int result = SSL_connect(tls->ssl);
    TlsProgress now = result == 1 ? TLS_DONE : progress(tls, result);
    if (result != 1 && now == TLS_DONE)
        now = TLS_FAILED;
    if (tls_keeps(tls) && !tls_flush(tls) && now != TLS_FAILED)
        return errno == EAGAIN ? TLS_WANTS_WRITE : TLS_FAILED;
    return now;
}

void tls_say_goodbye(Tls *tls)
{
    if (tls->broken)
        return;
    SSL_shutdown(tls->ssl);
    ERR_clear_error();
    tls_flush(tls);
}

void tls_free(Tls *tls)
{
    if (!tls)
        return;
    SSL_free(tls->ssl);
    free(tls->out);
    free(tls);
}

ssize_t tls_receive(Tls *tls, char *bytes, size_t size)
{
    size_t count = 0;
    /* Others in this thread may have left errors. */
    ERR_clear_error();
    /* A record at a time is what OpenSSL gives. */
    while (count < size) {
        size_t step = 0;
        int result = SSL_read_ex(tls->ssl, bytes + count, size - count, &step);
        if (result == 1) {
            count += step;
            continue;
        }
        TlsProgress now = progress(tls, result);
        answer_by_the_way(tls);
        /* An end or an error comes again when there is nothing before it. */
        if (count)
            break;
        if (now == TLS_DONE)
            return 0;
        errno = now == TLS_FAILED ? ECONNRESET : EAGAIN;
        return -1;
    }
    return (ssize_t)count;
}

/* Make records of some bytes. */
static bool write_records(Tls *tls, const char *bytes, size_t size)
{
    size_t written;
    if (!size)
        return true;
    int result = SSL_write_ex(tls->ssl, bytes, size, &written);
    if (result == 1)
        return true;
    progress(tls, result);
    tls->broken = true;
    errno = ECONNRESET;
    return false;
}

ssize_t tls_send(Tls *tls, const struct iovec *parts, int count)
{
    char joined[RECORD];
    size_t length = 0, taken = 0;
    if (!tls_flush(tls))
        return -1;
    ERR_clear_error();
    for (int i = 0; i < count && taken < WRITE_AHEAD; i++) {
        const char *bytes = parts[i].iov_base;
        size_t size = parts[i].iov_len < WRITE_AHEAD - taken ? parts[i].iov_len : WRITE_AHEAD - taken;
        taken += size;
        /* Small pieces make up a record together. */
        if (length || size < RECORD) {
            size_t step = size < RECORD - length ? size : RECORD - length;
            memcpy(joined + length, bytes, step);
            length += step;
            bytes += step;
            size -= step;
            if (length < RECORD)
                continue;
            if (!write_records(tls, joined, length))
                return -1;
            length = 0;
        }
        if (!write_records(tls, bytes, size))
            return -1;
    }
    if (!write_records(tls, joined, length))
        return -1;
    return tls_flush(tls) || errno == EAGAIN ? (ssize_t)taken : -1;
}

bool tls_pending(Tls *tls)
{
    return !tls->broken && SSL_has_pending(tls->ssl);
}

void tls_rest(Tls *tls)
{
    if (tls->room > RESTING && !tls_keeps(tls)) {
        free(tls->out);
        tls->out = NULL;
        tls->length = tls->at = tls->room = 0;
    }
}
