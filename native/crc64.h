#ifndef DTH_CRC64_H
#define DTH_CRC64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Prepare the tables. Returns whether this processor computes it fast; call nothing else if it does not. */
bool crc64_ready(void);

/* The CRC64NVME of bytes, after bytes with the CRC `total`; 0 at the beginning. */
uint64_t crc64_add(uint64_t total, const uint8_t *bytes, size_t size);

#endif
