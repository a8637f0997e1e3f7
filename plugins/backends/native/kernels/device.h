// The narrow seam between the engine (scheduling, paging, sampling) and what computes: weights, KV pages, one step.
// A CUDA device would implement this and nothing else would change.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace flyball {

// Consecutive tokens of one sequence.
struct Segment {
  int32_t firstRow, rows;     // rows of the batch
  int32_t firstPosition;      // position of the first token
  const int32_t* pages;       // page of tokens [32 i, 32 i + 32); -1 where freed or skipped
  int32_t pageCount;
  int32_t window, sinks;      // window 0: full attention
};

struct Batch {
  std::vector<int32_t> tokens;      // [rows]
  std::vector<int32_t> positions;   // [rows]
  std::vector<Segment> segments;    // cover all rows in order
  std::vector<int32_t> outputRows;  // rows whose final hidden states are wanted
  int32_t logitRows = 0;            // the first so many of them: their logits too
};

class Device {
 public:
  virtual ~Device() = default;
  virtual int32_t pageCount() const = 0;
  virtual size_t pageBytes() const = 0;
  // Before a page is first used by a sequence: stale values must not reach another one, not even through NaN.
  virtual void clearPage(int32_t page) = 0;
  virtual void forward(const Batch& batch) = 0;
  // Of the last forward, for output row i.
  virtual float* logits(size_t i) = 0;
  virtual const float* hidden(size_t i) const = 0;
  virtual size_t hiddenSize() const = 0;
};

}  // namespace flyball
