// Weight matrices in the layout the kernels want (kernels.h), repacked from GGUF blocks.
#pragma once
#include <cstddef>
#include <cstdint>
#include "kernels.h"
#include "memory.h"

namespace flyball {

// GGUF's numbers of the tensor types that the engine computes with.
enum GgufType : int32_t { kGgufF32 = 0, kGgufF16 = 1, kGgufQ4_0 = 2, kGgufQ8_0 = 8, kGgufQ4K = 12, kGgufQ6K = 14, kGgufBF16 = 30 };

// Bytes of one row of k values; 0 when the type is unknown or k is not whole blocks.
size_t ggufRowBytes(int32_t type, size_t k);

struct Matrix {
  Panel panel{};
  uint8_t *q = nullptr, *scales = nullptr;  // the panel's, to write
  size_t bytes() const { return static_cast<size_t>(panel.groups) * (panel.qStride + panel.scaleStride); }
};

// An empty matrix of n rows and k columns, its memory from `arena`. Throws std::runtime_error on an unknown type or a bad shape.
Matrix makeMatrix(int32_t ggufType, int32_t n, int32_t k, Arena& arena);

// Repacks group g from `rows` (16 rows, or fewer in the last group, as GGUF stores them).
void repackGroup(Matrix& matrix, int32_t ggufType, int32_t g, const uint8_t* rows);

// Row `row` of the panel as k floats.
void panelRow(const Panel& panel, int32_t row, float* out);

}  // namespace flyball
