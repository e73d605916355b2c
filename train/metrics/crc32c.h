// CRC-32C (Castagnoli, RFC 3720), the checksum of TensorBoard's records.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace lockstep {

// With the processor's own instruction where it has one (SSE4.2), else by table; the same result.
uint32_t crc32c(const void* data, size_t bytes);
uint32_t crc32c_by_table(const void* data, size_t bytes);

// As event files store it: rotated and offset, so that a checksum of data that holds checksums stays useful.
uint32_t masked_crc32c(const void* data, size_t bytes);

}  // namespace lockstep
