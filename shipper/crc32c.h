/* CRC-32C (Castagnoli), as iSCSI, ext4 and Kafka have it. */
#ifndef SHIPPER_CRC32C_H
#define SHIPPER_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Of all bytes; of more pieces one after the other: crc is what the last call returned, 0 at first. */
uint32_t	crc32c(uint32_t crc, const void *bytes, size_t length);
/* The same where the processor has no instruction for it. */
uint32_t	crc32c_by_table(uint32_t crc, const void *bytes, size_t length);

#endif
