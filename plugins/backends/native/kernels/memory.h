// Memory for weights and KV pages: zeroed, page-aligned, touched lazily, huge pages where the system has them.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <new>
#include <utility>
#include <vector>

namespace flyball {

class Region {
 public:
  Region() = default;
  explicit Region(size_t bytes) : bytes_(bytes == 0 ? 64 : bytes) {
    void* p = mmap(nullptr, bytes_ + kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    map_ = static_cast<uint8_t*>(p);
    data_ = bytes_ >= kHuge ? reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(map_) + kHuge - 1) & ~(kHuge - 1)) : map_;
#ifdef MADV_HUGEPAGE
    if (bytes_ >= kHuge) madvise(data_, bytes_ & ~(kHuge - 1), MADV_HUGEPAGE);
#endif
  }
  Region(Region&& other) noexcept { swap(other); }
  Region& operator=(Region&& other) noexcept {
    Region taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~Region() {
    if (map_ != nullptr) munmap(map_, bytes_ + kHuge);
  }
  uint8_t* data() const { return data_; }
  size_t size() const { return bytes_; }
  static constexpr uintptr_t kHuge = 2u << 20;

 private:
  void swap(Region& other) noexcept {
    std::swap(map_, other.map_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }
  uint8_t* map_ = nullptr;
  uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
};

// Hands out memory that lives as long as it does, all of it in huge pages: weight matrices are too small for pages of
// their own, and reading them through small ones costs a tenth of the bandwidth.
class Arena {
 public:
  uint8_t* take(size_t bytes) {
    const size_t whole = (bytes + 63) / 64 * 64;
    if (left_ < whole) {
      const size_t block = whole > kBlockBytes ? (whole + Region::kHuge - 1) / Region::kHuge * Region::kHuge : kBlockBytes;
      blocks_.emplace_back(block);
      next_ = blocks_.back().data();
      left_ = block;
    }
    uint8_t* taken = next_;
    next_ += whole;
    left_ -= whole;
    return taken;
  }

 private:
  static constexpr size_t kBlockBytes = 64u << 20;  // reserved, not resident until touched
  std::vector<Region> blocks_;
  uint8_t* next_ = nullptr;
  size_t left_ = 0;
};

// A growable scratch array of T, 64-byte aligned, not copied on growth.
template <class T> class Scratch {
 public:
  T* reserve(size_t count) {
    if (count > count_) {
      region_ = Region(count * sizeof(T));
      count_ = count;
    }
    return data();
  }
  T* data() const { return reinterpret_cast<T*>(region_.data()); }

 private:
  Region region_;
  size_t count_ = 0;
};

}  // namespace flyball
