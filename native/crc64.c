/* CRC64NVME (NVM Express, NVM Command Set Specification): reflected, all bits inverted before and after.
 *
 * Blocks of 16 bytes are folded over later ones with carry-less products, as in Gopal et al., "Fast CRC Computation for
 * Generic Polynomials Using PCLMULQDQ Instruction" (Intel, 2009). What is left after the last fold is 16 bytes with the
 * same remainder as all before them, so a table takes the rest. awscrt computes the same, but loading it takes as long
 * as copying some hundred small objects.
 */
#include "crc64.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <string.h>
#include <wmmintrin.h>
#include <smmintrin.h>

/* Bit 63 - k is the coefficient of x^k; x^64 is left out. */
#define POLYNOMIAL 0x9a6c9329ac4bc9b5u
/* Accumulators, which are independent, so that products overlap. */
#define LANES 8
#define STRIDE (LANES * sizeof(__m128i))

static uint64_t table[8][256];
/* Factors that move 16 bytes over one block, and over `LANES` blocks: for their first half and their second half. */
static uint64_t by_one[2], by_all[2];

/* x^power modulo the polynomial. */
static uint64_t power_of_x(unsigned power)
{
    uint64_t value = 1ull << 63;
    while (power--)
        value = value >> 1 ^ (value & 1 ? POLYNOMIAL : 0);
    return value;
}

/* The first bytes have the higher powers. The product of two reflected values has one factor x too many. */
static void find_factors(uint64_t factors[2], unsigned bits)
{
    factors[0] = power_of_x(bits + 64 - 1);
    factors[1] = power_of_x(bits - 1);
}

bool crc64_ready(void)
{
    if (!__builtin_cpu_supports("pclmul") || !__builtin_cpu_supports("sse4.1"))
        return false;
    for (unsigned byte = 0; byte < 256; byte++) {
        uint64_t value = byte;
        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? POLYNOMIAL : 0);
        table[0][byte] = value;
    }
    for (unsigned byte = 0; byte < 256; byte++)
        for (int after = 1; after < 8; after++) {
            uint64_t value = table[after - 1][byte];
            table[after][byte] = value >> 8 ^ table[0][value & 0xff];
        }
    find_factors(by_one, 8 * sizeof(__m128i));
    find_factors(by_all, 8 * STRIDE);
    return true;
}

/* Without the inversions. */
static uint64_t add_by_table(uint64_t sum, const uint8_t *bytes, size_t size)
{
    for (; size >= 8; bytes += 8, size -= 8) {
        uint64_t eight;
        memcpy(&eight, bytes, 8);
        sum ^= eight;
        uint64_t next = 0;
        for (int byte = 0; byte < 8; byte++)
            next ^= table[7 - byte][sum >> 8 * byte & 0xff];
        sum = next;
    }
    while (size--)
        sum = sum >> 8 ^ table[0][(sum ^ *bytes++) & 0xff];
    return sum;
}

__attribute__((target("pclmul,sse4.1")))
static __m128i fold(__m128i block, __m128i factors, __m128i onto)
{
    __m128i first = _mm_clmulepi64_si128(block, factors, 0x00);
    __m128i second = _mm_clmulepi64_si128(block, factors, 0x11);
    return _mm_xor_si128(_mm_xor_si128(first, second), onto);
}

__attribute__((target("pclmul,sse4.1")))
static uint64_t add_by_folding(uint64_t sum, const uint8_t *bytes, size_t size)
{
    const __m128i all = _mm_loadu_si128((const __m128i *)by_all), one = _mm_loadu_si128((const __m128i *)by_one);
    const __m128i *blocks = (const __m128i *)bytes;
    __m128i lanes[LANES];
    for (int lane = 0; lane < LANES; lane++)
        lanes[lane] = _mm_loadu_si128(blocks++);
    lanes[0] = _mm_xor_si128(lanes[0], _mm_cvtsi64_si128((long long)sum));
    for (size -= STRIDE; size >= STRIDE; size -= STRIDE)
        for (int lane = 0; lane < LANES; lane++)
            lanes[lane] = fold(lanes[lane], all, _mm_loadu_si128(blocks++));
    for (int lane = 1; lane < LANES; lane++)
        lanes[0] = fold(lanes[0], one, lanes[lane]);
    for (; size >= sizeof(__m128i); size -= sizeof(__m128i))
        lanes[0] = fold(lanes[0], one, _mm_loadu_si128(blocks++));
    uint8_t left[sizeof(__m128i)];
    _mm_storeu_si128((__m128i *)left, lanes[0]);
    return add_by_table(add_by_table(0, left, sizeof left), (const uint8_t *)blocks, size);
}

uint64_t crc64_add(uint64_t total, const uint8_t *bytes, size_t size)
{
    uint64_t sum = ~total;
    return ~(size >= STRIDE ? add_by_folding(sum, bytes, size) : add_by_table(sum, bytes, size));
}

#else

bool crc64_ready(void)
{
    return false;
}

uint64_t crc64_add(uint64_t total, const uint8_t *bytes, size_t size)
{
    (void)bytes;
    (void)size;
    return total;
}

#endif
