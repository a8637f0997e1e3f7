#include "panel.h"
#include <cstring>
#include <stdexcept>
#include <string>
#include "half.h"

namespace flyball {
namespace {

struct TypeInfo {
  int32_t format;
  size_t values, bytes;  // of a GGUF block
};

bool typeInfo(int32_t type, TypeInfo* info) {
  switch (type) {
    case kGgufF32: *info = {kF32, 1, 4}; return true;
    case kGgufF16: *info = {kF16, 1, 2}; return true;
    case kGgufBF16: *info = {kBF16, 1, 2}; return true;
    case kGgufQ8_0: *info = {kQ8, 32, 34}; return true;
    case kGgufQ4_0: *info = {kQ4, 32, 18}; return true;
    case kGgufQ4K: *info = {kQ4K, 256, 144}; return true;
    case kGgufQ6K: *info = {kQ6K, 256, 210}; return true;
    default: return false;
  }
}

// value(i) of a 32-block, offset kept, into row r of the block's 8-bit panel [8][16][4].
void putBytes(uint8_t* block, int r, const uint8_t* values) {
  for (int quad = 0; quad < 8; quad++) memcpy(block + quad * 64 + r * 4, values + quad * 4, 4);
}
// The same into the nibble panel [4][16][4].
void putNibbles(uint8_t* block, int r, const uint8_t* values) {
  for (int quad = 0; quad < 4; quad++)
    for (int i = 0; i < 4; i++) block[quad * 64 + r * 4 + i] = static_cast<uint8_t>(values[quad * 4 + i] | values[16 + quad * 4 + i] << 4);
}

void repackQ8(const Panel& p, uint8_t* q, uint8_t* scales, int r, const uint8_t* row) {
  for (int b = 0; b < p.kb; b++, row += 34) {
    memcpy(scales + (static_cast<size_t>(b) * 16 + r) * 2, row, 2);
    uint8_t* block = q + static_cast<size_t>(b) * 512;
    for (int quad = 0; quad < 8; quad++) {
      uint32_t word;
      memcpy(&word, row + 2 + quad * 4, 4);
      word ^= 0x80808080u;
      memcpy(block + quad * 64 + r * 4, &word, 4);
    }
  }
}

// GGUF: low nibbles are the first 16 values, high ones the last 16.
void repackQ4(const Panel& p, uint8_t* q, uint8_t* scales, int r, const uint8_t* row) {
  for (int b = 0; b < p.kb; b++, row += 18) {
    memcpy(scales + (static_cast<size_t>(b) * 16 + r) * 2, row, 2);
    uint8_t* block = q + static_cast<size_t>(b) * 256;
    for (int quad = 0; quad < 4; quad++) memcpy(block + quad * 64 + r * 4, row + 2 + quad * 4, 4);
  }
}

// Super-blocks of 256: half d, half dmin, 12 bytes of 6-bit scales and minima, 128 bytes of nibbles.
void repackQ4K(const Panel& p, uint8_t* q, uint8_t* scales, int r, const uint8_t* row) {
  for (int super = 0; super < p.kb / 8; super++, row += 144) {
    uint8_t* record = scales + static_cast<size_t>(super) * kScaleBytesK;
    memcpy(record + r * 2, row, 2);
    memcpy(record + 32 + r * 2, row + 2, 2);
    const uint8_t *packed = row + 4, *nibbles = row + 16;
    for (int b = 0; b < 8; b++) {
      uint8_t scale, min;
      if (b < 4) {
        scale = packed[b] & 63;
        min = packed[b + 4] & 63;
      } else {
        scale = static_cast<uint8_t>((packed[b + 4] & 15) | (packed[b - 4] >> 6) << 4);
        min = static_cast<uint8_t>((packed[b + 4] >> 4) | (packed[b] >> 6) << 4);
      }
      record[64 + b * 16 + r] = scale;
      record[192 + b * 16 + r] = min;
      uint8_t values[32];
      for (int i = 0; i < 32; i++) {
        const uint8_t byte = nibbles[(b / 2) * 32 + i];
        values[i] = b % 2 == 0 ? byte & 15 : byte >> 4;
      }
      putNibbles(q + (static_cast<size_t>(super) * 8 + b) * 256, r, values);
    }
  }
}

// Super-blocks of 256: 128 bytes of low nibbles, 64 of high bit pairs, 16 signed scales, half d.
void repackQ6K(const Panel& p, uint8_t* q, uint8_t* scales, int r, const uint8_t* row) {
  for (int super = 0; super < p.kb / 8; super++, row += 210) {
    uint8_t* record = scales + static_cast<size_t>(super) * kScaleBytes6K;
    memcpy(record + r * 2, row + 208, 2);
    for (int i = 0; i < 16; i++) record[32 + i * 16 + r] = row[192 + i];
    for (int b = 0; b < 8; b++) {
      const uint8_t *low = row + (b / 4) * 64 + (b % 2) * 32, *high = row + 128 + (b / 4) * 32;
      const int nibble = (b % 4) / 2 * 4, pair = (b % 4) * 2;
      uint8_t values[32];
      for (int i = 0; i < 32; i++) values[i] = static_cast<uint8_t>((low[i] >> nibble & 15) | (high[i] >> pair & 3) << 4);
      putBytes(q + (static_cast<size_t>(super) * 8 + b) * 512, r, values);
    }
  }
}

}  // namespace

size_t ggufRowBytes(int32_t type, size_t k) {
  TypeInfo info;
  if (!typeInfo(type, &info) || k % info.values != 0) return 0;
  return k / info.values * info.bytes;
}

Matrix makeMatrix(int32_t ggufType, int32_t n, int32_t k, Arena& arena) {
  TypeInfo info;
  if (!typeInfo(ggufType, &info)) throw std::runtime_error("unsupported weight type " + std::to_string(ggufType));
  if (n <= 0 || k <= 0 || k % static_cast<int32_t>(info.values) != 0) throw std::runtime_error("bad matrix shape");
  Matrix matrix;
  Panel& p = matrix.panel;
  p.format = info.format;
  p.n = n;
  p.k = k;
  p.groups = (n + kGroup - 1) / kGroup;
  p.kb = k / kBlock;
  const size_t columns = static_cast<size_t>(k);
  switch (p.format) {
    case kF32: p.qStride = columns * 64; break;
    case kF16:
    case kBF16: p.qStride = columns * 32; break;
    case kQ8: p.qStride = columns * 16; p.scaleStride = columns; break;
    case kQ4: p.qStride = columns * 8; p.scaleStride = columns; break;
    case kQ4K: p.qStride = columns * 8; p.scaleStride = columns / 256 * kScaleBytesK; break;
    case kQ6K: p.qStride = columns * 16; p.scaleStride = columns / 256 * kScaleBytes6K; break;
  }
  p.q = matrix.q = arena.take(p.qStride * static_cast<size_t>(p.groups));
  p.scales = matrix.scales = arena.take(p.scaleStride * static_cast<size_t>(p.groups));
  return matrix;
}

void repackGroup(Matrix& matrix, int32_t ggufType, int32_t g, const uint8_t* rows) {
  const Panel& p = matrix.panel;
  const size_t rowBytes = ggufRowBytes(ggufType, static_cast<size_t>(p.k));
  uint8_t* q = matrix.q + static_cast<size_t>(g) * p.qStride;
  uint8_t* scales = matrix.scales + static_cast<size_t>(g) * p.scaleStride;
  const int count = p.n - g * kGroup < kGroup ? p.n - g * kGroup : kGroup;  // rows past n keep zero scales: their output is 0
  for (int r = 0; r < count; r++) {
    const uint8_t* row = rows + static_cast<size_t>(r) * rowBytes;
    switch (p.format) {
      case kF32:
        for (int k = 0; k < p.k; k++) memcpy(q + (static_cast<size_t>(k) * 16 + r) * 4, row + static_cast<size_t>(k) * 4, 4);
        break;
      case kF16:
      case kBF16:
        for (int k = 0; k < p.k; k++) memcpy(q + (static_cast<size_t>(k) * 16 + r) * 2, row + static_cast<size_t>(k) * 2, 2);
        break;
      case kQ8: repackQ8(p, q, scales, r, row); break;
      case kQ4: repackQ4(p, q, scales, r, row); break;
      case kQ4K: repackQ4K(p, q, scales, r, row); break;
      case kQ6K: repackQ6K(p, q, scales, r, row); break;
    }
  }
}

void panelRow(const Panel& p, int32_t row, float* out) {
  const int g = row / kGroup, r = row % kGroup;
  const uint8_t *q = p.q + static_cast<size_t>(g) * p.qStride, *s = p.scales + static_cast<size_t>(g) * p.scaleStride;
  const auto half = [](const uint8_t* at) {
    uint16_t h;
    memcpy(&h, at, 2);
    return halfToFloat(h);
  };
  if (!isQuant(p.format)) {
    for (int k = 0; k < p.k; k++) {
      const size_t at = static_cast<size_t>(k) * 16 + r;
      if (p.format == kF32) memcpy(out + k, q + at * 4, 4);
      else if (p.format == kF16) out[k] = half(q + at * 2);
      else {
        uint16_t h;
        memcpy(&h, q + at * 2, 2);
        out[k] = bf16ToFloat(h);
      }
    }
    return;
  }
  for (int b = 0; b < p.kb; b++, out += kBlock) {
    const bool nibbles = p.format == kQ4 || p.format == kQ4K;
    const uint8_t* block = q + static_cast<size_t>(b) * (nibbles ? 256 : 512) + r * 4;
    float scale[2], min = 0;
    int offset = 0;
    if (p.format == kQ4K) {
      const uint8_t* record = s + static_cast<size_t>(b / 8) * kScaleBytesK;
      scale[0] = scale[1] = half(record + r * 2) * record[64 + b % 8 * 16 + r];
      min = half(record + 32 + r * 2) * record[192 + b % 8 * 16 + r];
    } else if (p.format == kQ6K) {
      const uint8_t* record = s + static_cast<size_t>(b / 8) * kScaleBytes6K;
      for (int h = 0; h < 2; h++) scale[h] = half(record + r * 2) * static_cast<int8_t>(record[32 + (b % 8 * 2 + h) * 16 + r]);
      offset = 32;
    } else {
      scale[0] = scale[1] = half(s + (static_cast<size_t>(b) * 16 + r) * 2);
      offset = p.format == kQ8 ? 128 : 8;
    }
    for (int i = 0; i < kBlock; i++) {
      const int quad = i / 4;
      const uint8_t byte = block[(nibbles ? quad % 4 : quad) * 64 + i % 4];
      const int value = nibbles ? (quad < 4 ? byte & 15 : byte >> 4) : byte;
      out[i] = static_cast<float>(value - offset) * scale[i / 16] - min;
    }
  }
}

}  // namespace flyball
