// The plain-data interface between the engine and the per-ISA kernel files.
// No standard-library headers here: ISA files are compiled with wider instruction sets, and an inline function
// of a header that the linker keeps from one of them would raise SIGILL on a smaller CPU.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace flyball {

// How the weights of one matrix lie in memory after repacking (see weights.cpp).
enum WeightFormat : int32_t {
  kF32 = 0,   // panel [groups][k][16] float
  kF16 = 1,   // panel [groups][k][16] half
  kBF16 = 2,  // panel [groups][k][16] bfloat16
  kQ8 = 3,    // Q8_0: q [groups][kb][8][16][4] u8 = value + 128; scales [groups][kb][16] half
  kQ4 = 4,    // Q4_0: q [groups][kb][4][16][4], low nibble = k quad v, high = quad v + 4; value - 8; scales as kQ8
  kQ4K = 5,   // Q4_K: q as kQ4 (no offset); scales per 256: [16] half d, [16] half dmin, [8][16] u8 sc, [8][16] u8 min
  kQ6K = 6,   // Q6_K: q as kQ8 with value + 32; scales per 256: [16] half d, [16][16] s8 (one per 16 weights)
};

constexpr int kGroup = 16;          // rows of a weight group
constexpr int kBlock = 32;          // weights that share a scale
constexpr int kMaxTile = 8;         // tokens of an activation tile
constexpr int kMaxQueries = 12;     // query rows of an attention tile
constexpr int kActBytes = 44;       // bytes of one token's 32-block: 32 s8, f32 scale, i32 sum, i32 half sum
constexpr int kScaleBytesK = 320;   // Q4_K scale record of 16 rows x 256
constexpr int kScaleBytes6K = 288;  // Q6_K scale record of 16 rows x 256
constexpr int kPage = 32;           // tokens of a KV page
constexpr int kChunkPages = 16;     // pages whose attention is summed before a merge (fixed: results do not depend on batching)
constexpr int kMaxHeadDim = 256;

static inline bool isQuant(int32_t format) { return format >= kQ8; }

struct Panel {
  int32_t format;
  int32_t n, k;        // rows (outputs), columns (inputs)
  int32_t groups, kb;  // ceil(n / 16), k / 32
  const uint8_t* q;
  const uint8_t* scales;
  size_t qStride, scaleStride;  // bytes of one group
};

// The input of a matrix product: `rows` tokens padded to tiles * tile.
// Quantised: blocks + ((t * kb + b) * tile) * kActBytes holds [tile][32] s8, [tile] f32 d, [tile] i32 -128*sum,
// [tile] i32 -128*sum of the first 16. Float: f[m * ldf + k].
struct Acts {
  int32_t rows, tile, tiles, k;
  const uint8_t* blocks;
  const float* f;
  size_t ldf;
};

enum KvType : int32_t {
  kKvF32 = 0,   // K page [headDim][32], V page [32][headDim] float
  kKvBF16 = 1,  // K page [headDim/2][32][2], V page [16][headDim][2] bfloat16
  kKvHalf = 2,  // K and V page [32][headDim] half: the numerics of llama.cpp's default, for agreement in near ties
};

// Attention of up to kMaxQueries query rows over at most kChunkPages pages, online softmax, from a fresh state.
struct AttendArgs {
  int32_t headDim, rows, pageCount, kvType;
  int32_t window, sinks;     // window <= 0: full; else positions p > qpos - window, or p < sinks
  float scale;               // 1 / sqrt(headDim): already in q, but for kKvHalf
  const float* q;            // rows of headDim floats
  const size_t* qOffset;     // [rows] offset of each row in q
  const int32_t* qpos;       // [rows] absolute position of each row
  const uint8_t* const* k;   // [pageCount]
  const uint8_t* const* v;
  const int32_t* base;       // [pageCount] absolute position of a page's first token
  float* m;                  // [rows] running maximum
  float* l;                  // [rows] sum of exponentials
  float* o;                  // [rows][headDim] unnormalised output
};

struct Kernels {
  const char* name;
  // c[m * ldc + (g - g0) * 16 + r] (+)= sum_k w[g*16+r][k] * a[m][k] for g in [g0, g0 + gn), m in [0, tiles * tile)
  void (*gemm)(const Panel* w, int32_t g0, int32_t gn, const Acts* a, float* c, size_t ldc, int32_t accumulate);
  // x[0..k) into token `m` of a tile's blocks
  void (*quantizeRow)(const float* x, int32_t k, uint8_t* tileBlocks, int32_t tile, int32_t m);
  void (*rmsNorm)(const float* x, const float* weight, float eps, int32_t n, float* out);
  void (*siluMul)(float* gate, const float* up, int32_t n);  // gate = silu(gate) * up
  void (*attend)(const AttendArgs* a);
  // For benchmarks: the machine's own limits. XOR of all words (bytes a multiple of 256); 8-bit multiplications and
  // additions done, as fast as the instruction set goes (null where there is none for it).
  uint64_t (*readAll)(const uint8_t* from, size_t bytes);
  double (*int8Peak)(int64_t rounds);
};

extern const Kernels kScalarKernels;
#ifdef FLYBALL_AVX2
extern const Kernels kAvx2Kernels;
#endif
#ifdef FLYBALL_AVX512
extern const Kernels kAvx512Kernels;
#endif
#ifdef FLYBALL_AVX512BF16
extern const Kernels kAvx512Bf16Kernels;
#endif
#ifdef FLYBALL_NEON
extern const Kernels kNeonKernels;
#endif

}  // namespace flyball
