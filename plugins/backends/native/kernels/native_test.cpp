// A program of its own for the sanitizers: the whole engine without Node. Random models of every weight type, many
// requests, cancellations, too little memory; results must not depend on any of it, and no page may stay taken.
//   native_test [seed [kernels|brief]]      built and run by `npm run test:asan`
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <unistd.h>
#include "cpu_device.h"
#include "dispatch.h"
#include "engine.h"
#include "half.h"
#include "model.h"

using namespace flyball;

namespace {

int failures = 0;
void check(bool holds, const char* what) {
  if (holds) return;
  failures++;
  fprintf(stderr, "FAILED: %s\n", what);
}

std::mt19937 rng;
uint32_t below(uint32_t n) { return rng() % n; }

// A model file without a header: offsets are given from outside anyway.
struct TestFile {
  std::string path = "/tmp/flyball-native-test-XXXXXX";
  FILE* file;
  uint64_t size = 0;
  TestFile() {
    const int fd = mkstemp(path.data());
    file = fdopen(fd, "wb");
  }
  ~TestFile() { unlink(path.c_str()); }
  TensorRef add(int32_t type, int32_t columns, int32_t rows) {
    TensorRef ref;
    ref.present = true;
    ref.type = type;
    ref.offset = size;
    ref.columns = columns;
    ref.rows = rows;
    ref.bytes = ggufRowBytes(type, static_cast<size_t>(columns)) * static_cast<size_t>(rows);
    std::vector<uint8_t> data(ref.bytes);
    const auto scale = [&](uint8_t* at) {
      const uint16_t h = floatToHalf((static_cast<float>(below(1000)) / 1000 + 0.1f) * 0.01f);
      memcpy(at, &h, 2);
    };
    const size_t block = type == kGgufQ8_0 ? 34 : type == kGgufQ4_0 ? 18 : type == kGgufQ4K ? 144 : 210;
    for (size_t i = 0; i < data.size();) {
      const float f = (static_cast<float>(below(2000)) - 1000) / 1000 / std::sqrt(static_cast<float>(columns)) + (rows == 1 ? 1.0f : 0.0f);
      if (type == kGgufF32) {
        memcpy(&data[i], &f, 4);
        i += 4;
      } else if (type == kGgufF16 || type == kGgufBF16) {
        const uint16_t h = type == kGgufF16 ? floatToHalf(f) : floatToBf16(f);
        memcpy(&data[i], &h, 2);
        i += 2;
      } else {
        for (size_t j = 0; j < block; j++) data[i + j] = static_cast<uint8_t>(below(256));
        scale(&data[i + (type == kGgufQ6K ? 208 : 0)]);
        if (type == kGgufQ4K) scale(&data[i + 2]);
        i += block;
      }
    }
    fwrite(data.data(), 1, data.size(), file);
    size += ref.bytes;
    return ref;
  }
};

struct Setup {
  ModelConfig config;
  ModelRefs refs;
  TestFile file;
  Setup(int32_t type, int32_t dim, int32_t heads, int32_t kvHeads, int32_t ffn) {
    config.vocabulary = 77;
    config.context = 300;
    config.dim = dim;
    config.layers = 2;
    config.ffn = ffn;
    config.heads = heads;
    config.kvHeads = kvHeads;
    config.headDim = dim / heads;
    config.ropeDims = config.headDim;
    config.ropeAdjacent = below(2) == 0;
    for (int i = 0; i < config.ropeDims / 2; i++) config.ropeFrequencies.push_back(std::pow(10000.0, -2.0 * i / config.ropeDims));
    const int32_t kv = config.headDim * kvHeads;
    refs.embedding = file.add(type, dim, config.vocabulary);
    refs.outputNorm = file.add(kGgufF32, dim, 1);
    if (below(2) == 0) refs.output = file.add(type, dim, config.vocabulary);
    for (int l = 0; l < config.layers; l++) {
      LayerRefs layer;
      layer.attentionNorm = file.add(kGgufF32, dim, 1);
      layer.query = file.add(type, dim, dim);
      layer.key = file.add(type, dim, kv);
      layer.value = file.add(type == kGgufQ4K ? static_cast<int32_t>(kGgufQ6K) : type, dim, kv);
      if (below(2) == 0) layer.queryBias = file.add(kGgufF32, dim, 1);
      layer.attentionOutput = file.add(type, dim, dim);
      layer.ffnNorm = file.add(kGgufF32, dim, 1);
      layer.gate = file.add(type, dim, ffn);
      layer.up = file.add(type, dim, ffn);
      layer.down = file.add(ggufRowBytes(type, static_cast<size_t>(ffn)) > 0 ? type : static_cast<int32_t>(kGgufF16), ffn, dim);
      refs.layers.push_back(layer);
    }
    fflush(file.file);
  }
};

// Collects what each request produced.
struct Inbox {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<int32_t, std::vector<int32_t>> words;  // tokens and logprob bits, or floats
  std::map<int32_t, int32_t> finished;
  void take(const std::vector<int32_t>& packet) {
    std::lock_guard<std::mutex> lock(mutex);
    for (size_t at = 0; at < packet.size();) {
      const int32_t event = packet[at++], id = packet[at++];
      if (event == kEventFirst) at += 3;
      else if (event == kEventToken) {
        words[id].push_back(packet[at++]);
        words[id].push_back(packet[at++]);
        at += 1 + 2 * static_cast<size_t>(packet[at]);
      } else if (event == kEventFloats) {
        const size_t n = static_cast<size_t>(packet[at++]);
        words[id].insert(words[id].end(), packet.begin() + static_cast<std::ptrdiff_t>(at), packet.begin() + static_cast<std::ptrdiff_t>(at + n));
        at += n;
      } else {
        finished[id] = packet[at];
        at += 2;
      }
    }
    changed.notify_all();
  }
  void wait(size_t count) {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return finished.size() >= count; });
  }
};

Request requestOf(uint32_t id, int32_t vocabulary) {
  std::mt19937 own(id * 7919);
  Request r;
  r.id = id;
  const uint32_t kind = own() % 8;
  r.kind = kind == 0 ? Kind::kEmbedMean : kind == 1 ? Kind::kScore : Kind::kGenerate;
  for (uint32_t i = 0, n = 2 + own() % 90; i < n; i++) r.prompt.push_back(static_cast<int32_t>((id % 3 == 0 ? i * 5 : own()) % static_cast<uint32_t>(vocabulary)));
  r.maxTokens = static_cast<int32_t>(1 + own() % 40);
  r.topLogprobs = static_cast<int32_t>(own() % 4) - 1;
  r.sampling.temperature = own() % 2 == 0 ? 0.0f : 0.9f;
  r.sampling.topK = own() % 2 == 0 ? 0 : 20;
  r.sampling.repetitionPenalty = own() % 3 == 0 ? 1.2f : 1.0f;
  r.sampling.seed = own();
  r.stopTokens = {static_cast<int32_t>(own() % 10)};
  if (own() % 4 == 0) r.stopStrings = {"ab", "c"};
  if (own() % 3 == 0) {
    r.window = static_cast<int32_t>(1 + own() % 60);
    r.sinks = static_cast<int32_t>(own() % 5);
  }
  r.priority = static_cast<int32_t>(own() % 3);
  r.cache = own() % 2 == 0;
  r.cacheSpace = own() % 2 == 0 ? "a" : "b";
  return r;
}

TokenText textOf(int32_t vocabulary) {
  TokenText text;
  text.offsets.push_back(0);
  for (int32_t i = 0; i < vocabulary; i++) {
    text.bytes.push_back(static_cast<char>('a' + i % 26));
    text.offsets.push_back(static_cast<uint32_t>(text.bytes.size()));
  }
  return text;
}

constexpr uint32_t kRequests = 24;

std::map<int32_t, std::vector<int32_t>> runAll(const Model& model, const Kernels& kernels, int threads, int32_t pages, KvType kvType, Limits limits, bool cancelSome) {
  Inbox inbox;
  ThreadPool pool(threads, static_cast<int>(below(40)));
  {
    auto device = std::make_unique<CpuDevice>(model, kernels, pool, pages, kvType);
    Engine engine(std::move(device), pool, model.config.vocabulary, model.config.context, limits, textOf(model.config.vocabulary), [&](std::vector<int32_t>&& words) { inbox.take(words); });
    for (uint32_t id = 1; id <= kRequests; id++) {
      engine.submit(requestOf(id, model.config.vocabulary));
      if (below(4) == 0) usleep(below(2000));
      if (cancelSome && below(3) == 0) {
        engine.submit(requestOf(1000 + id, model.config.vocabulary));
        if (below(2) == 0) usleep(below(3000));
        engine.cancel(1000 + id);
      }
      if (cancelSome && below(8) == 0) engine.setLimits({static_cast<int32_t>(1 + below(8)), static_cast<int32_t>(1 + below(64))});
      if (cancelSome && below(8) == 0) engine.dropCache();
      engine.stats();
    }
    const auto done = [&] {
      std::lock_guard<std::mutex> lock(inbox.mutex);
      uint32_t count = 0;
      for (const auto& [id, why] : inbox.finished) count += id <= static_cast<int32_t>(kRequests) ? 1 : 0;
      return count == kRequests;
    };
    while (!done()) usleep(1000);
    engine.dropCache();
    for (int i = 0; i < 5000 && (engine.stats().kvPages > 0 || engine.stats().running > 0 || engine.stats().waiting > 0); i++) {
      engine.dropCache();
      usleep(1000);
    }
    check(engine.stats().kvPages == 0, "every page is free when all is done");
    engine.submit(requestOf(5000, model.config.vocabulary));  // destroyed under way
  }
  std::map<int32_t, std::vector<int32_t>> out;
  for (const auto& [id, words] : inbox.words)
    if (id <= static_cast<int32_t>(kRequests)) out[id] = words;
  for (const auto& [id, why] : inbox.finished) check(why != static_cast<int32_t>(Finish::kFailed) || id > static_cast<int32_t>(kRequests), "no request fails");
  return out;
}

double worstShare(const std::vector<float>& got, const std::vector<float>& wanted) {
  double most = 1e-30, worst = 0;
  for (size_t i = 0; i < got.size(); i++) {
    most = std::max(most, std::fabs(static_cast<double>(wanted[i])));
    worst = std::isnan(got[i]) ? INFINITY : std::max(worst, std::fabs(static_cast<double>(got[i]) - wanted[i]));
  }
  return worst / most;
}

std::vector<float> product(const Kernels& kernels, const Panel& w, const std::vector<float>& x, int32_t tokens) {
  Acts acts{};
  acts.rows = tokens;
  acts.k = w.k;
  acts.tiles = (tokens + kMaxTile - 1) / kMaxTile;
  acts.tile = (tokens + acts.tiles - 1) / acts.tiles;
  const size_t rows = static_cast<size_t>(acts.tiles) * acts.tile, stride = static_cast<size_t>(w.groups) * kGroup;
  std::vector<uint8_t> blocks(rows * static_cast<size_t>(w.k / kBlock + 1) * kActBytes);
  std::vector<float> plain(rows * static_cast<size_t>(w.k)), out(rows * stride, 0.5f);
  std::copy(x.begin(), x.end(), plain.begin());
  for (int32_t row = 0; row < tokens && isQuant(w.format); row++)
    kernels.quantizeRow(x.data() + static_cast<size_t>(row) * w.k, w.k, blocks.data() + static_cast<size_t>(row / acts.tile) * w.kb * acts.tile * kActBytes, acts.tile, row % acts.tile);
  acts.blocks = blocks.data();
  acts.f = plain.data();
  acts.ldf = static_cast<size_t>(w.k);
  kernels.gemm(&w, 0, w.groups, &acts, out.data(), stride, 1);
  out.resize(static_cast<size_t>(tokens) * stride);
  return out;
}

// One stored key or value; layouts in kernels.h.
float storedAt(const AttendArgs& a, bool key, int32_t position, int32_t d) {
  const uint8_t* const* pages = key ? a.k : a.v;
  const uint8_t* page = pages[position / kPage];
  const int32_t t = position % kPage, hd = a.headDim;
  if (a.kvType == kKvF32) return reinterpret_cast<const float*>(page)[key ? d * kPage + t : t * hd + d];
  const uint16_t* halves = reinterpret_cast<const uint16_t*>(page);
  if (a.kvType == kKvHalf) return halfToFloat(halves[t * hd + d]);
  return bf16ToFloat(halves[key ? (d / 2) * kPage * 2 + t * 2 + d % 2 : ((t / 2) * hd + d) * 2 + t % 2]);
}

// Against double precision. How far an output may be off, as a share of its weighted |v|, follows from where each
// kernel rounds, so for any seed.
bool attentionHolds(const AttendArgs& a, const Kernels* kernels) {
#ifdef FLYBALL_AVX512BF16
  // Only where heads come in whole vectors; all others compute in single precision.
  const bool roundsToBf16 = kernels == &kAvx512Bf16Kernels && a.kvType == kKvBF16 && a.headDim % 16 == 0;
#else
  const bool roundsToBf16 = false && kernels != nullptr;
#endif
  for (int32_t row = 0; row < a.rows; row++) {
    std::vector<int32_t> seen;
    std::vector<double> weights;
    double largest = -1e300, mostTerms = 0, total = 0;
    for (int32_t p = 0; p <= a.qpos[row]; p++) {
      if (a.window > 0 && p <= a.qpos[row] - a.window && p >= a.sinks) continue;
      double dot = 0, terms = 0;
      for (int32_t d = 0; d < a.headDim; d++) {
        const float q = a.q[a.qOffset[row] + static_cast<size_t>(d)];
        const double term = static_cast<double>(a.kvType == kKvHalf ? halfToFloat(floatToHalf(q)) : q) * storedAt(a, true, p, d);
        dot += term;
        terms += std::fabs(term);
      }
      seen.push_back(p);
      weights.push_back(dot);
      largest = std::max(largest, dot);
      mostTerms = std::max(mostTerms, terms);
    }
    // two statements: GCC 12 with its undefined-behaviour checks gets `total += weight = …` wrong
    for (double& weight : weights) {
      weight = std::exp(weight - largest);
      total += weight;
    }
    double share = 1e-5 * (1 + mostTerms);
    // the sum of values is rounded to half precision at every position: a walk of steps of at most 2^-11, taken six deviations far
    if (a.kvType == kKvHalf) share += 6 * 0x1p-11 * std::sqrt(static_cast<double>(seen.size()) / 3);
    // queries and weights are rounded to bf16 too, 2^-9 each: a score is off by that share of its terms, a weight by twice that
    if (roundsToBf16) share += 2 * 0x1p-9 * mostTerms + 0x1p-9;
    for (int32_t d = 0; d < a.headDim; d++) {
      double sum = 0, magnitudes = 0;
      for (size_t i = 0; i < seen.size(); i++) {
        const double term = weights[i] / total * storedAt(a, false, seen[i], d);
        sum += term;
        magnitudes += std::fabs(term);
      }
      const double got = a.o[static_cast<size_t>(row) * a.headDim + static_cast<size_t>(d)] / a.l[row];
      if (!(std::fabs(got - sum) <= share * magnitudes)) return false;
    }
  }
  return true;
}

// Every kernel of every variant on odd sizes: attention against plain arithmetic, the others against scalar.
void checkKernels() {
  const auto random = [](size_t n) {
    std::vector<float> x(n);
    for (float& value : x) value = (static_cast<float>(below(2001)) - 1000) / 500;
    return x;
  };
  for (const Kernels* kernels : usableKernels()) {
    for (const int32_t type : {kGgufF32, kGgufF16, kGgufBF16, kGgufQ8_0, kGgufQ4_0, kGgufQ4K, kGgufQ6K})
      for (int round = 0; round < 4; round++) {
        const int32_t block = type == kGgufQ4K || type == kGgufQ6K ? 256 : type == kGgufQ8_0 || type == kGgufQ4_0 ? 32 : 1;
        const int32_t n = static_cast<int32_t>(1 + below(70)), k = block * static_cast<int32_t>(1 + below(block == 1 ? 90 : 4)), tokens = static_cast<int32_t>(1 + below(30));
        TestFile file;
        const TensorRef ref = file.add(type, k, n);
        fflush(file.file);
        std::vector<uint8_t> bytes(ref.bytes);
        FILE* in = fopen(file.path.c_str(), "rb");
        check(fread(bytes.data(), 1, bytes.size(), in) == bytes.size(), "the test file is read back");
        fclose(in);
        Arena memory;
        Matrix matrix = makeMatrix(type, n, k, memory);
        for (int32_t g = 0; g < matrix.panel.groups; g++) repackGroup(matrix, type, g, bytes.data() + static_cast<size_t>(g) * kGroup * ggufRowBytes(type, static_cast<size_t>(k)));
        const std::vector<float> x = random(static_cast<size_t>(tokens) * k);
        check(worstShare(product(*kernels, matrix.panel, x, tokens), product(kScalarKernels, matrix.panel, x, tokens)) < 2e-5, "matrix product equals scalar");
      }
    for (const KvType kvType : {kKvF32, kKvBF16, kKvHalf})
      for (const int32_t hd : {8, 16, 48, 64, 128}) {
        const int32_t rows = static_cast<int32_t>(1 + below(kMaxQueries)), pages = static_cast<int32_t>(1 + below(6)), window = below(2) == 0 ? 0 : static_cast<int32_t>(1 + below(80));
        const size_t headBytes = static_cast<size_t>(kPage) * hd * (kvType == kKvF32 ? 4 : 2);
        Region memory(headBytes * 2 * static_cast<size_t>(pages));
        for (size_t i = 0; i < memory.size(); i += kvType == kKvF32 ? 4 : 2) {
          const float value = (static_cast<float>(below(2001)) - 1000) / 700;
          const uint16_t h = kvType == kKvBF16 ? floatToBf16(value) : floatToHalf(value);
          if (kvType == kKvF32) memcpy(memory.data() + i, &value, 4);
          else memcpy(memory.data() + i, &h, 2);
        }
        std::vector<const uint8_t*> keys, values;
        std::vector<int32_t> base, qpos;
        for (int32_t p = 0; p < pages; p++) {
          keys.push_back(memory.data() + static_cast<size_t>(p) * 2 * headBytes);
          values.push_back(keys.back() + headBytes);
          base.push_back(p * kPage);
        }
        std::vector<size_t> offsets;
        for (int32_t i = 0; i < rows; i++) {
          qpos.push_back(pages * kPage - rows + i);
          offsets.push_back(static_cast<size_t>(i) * hd);
        }
        std::vector<float> q = random(static_cast<size_t>(rows) * hd);
        for (float& value : q) value /= std::sqrt(static_cast<float>(hd));
        std::vector<float> m(static_cast<size_t>(rows)), l(m.size()), o(q.size());
        const AttendArgs args = {hd, rows, pages, kvType, window, 3, 1.0f, q.data(), offsets.data(), qpos.data(), keys.data(), values.data(), base.data(), m.data(), l.data(), o.data()};
        kernels->attend(&args);
        check(attentionHolds(args, kernels), "attention equals plain arithmetic");
      }
    for (const size_t n : {1u, 7u, 32u, 33u, 172u, 2048u}) {
      const std::vector<float> x = random(n), w = random(n);
      std::vector<float> a(n), b(n), c = x, d = x;
      kernels->rmsNorm(x.data(), w.data(), 1e-5f, static_cast<int32_t>(n), a.data());
      kScalarKernels.rmsNorm(x.data(), w.data(), 1e-5f, static_cast<int32_t>(n), b.data());
      kernels->siluMul(c.data(), w.data(), static_cast<int32_t>(n));
      kScalarKernels.siluMul(d.data(), w.data(), static_cast<int32_t>(n));
      check(worstShare(a, b) < 2e-6 && worstShare(c, d) < 2e-6, "norm and gate equal scalar");
    }
    printf("%s kernels checked\n", kernels->name);
  }
}

// A cancelled request gives its pages back before the next step, and nothing more is heard of it. The sink runs on the
// engine's thread between two steps, so that nothing here depends on time.
void checkCancellation(const Model& model) {
  ThreadPool pool(2);
  std::mutex mutex;
  std::condition_variable changed;
  int32_t steps = 0, cancelledAt = -1, wordsAfter = 0, runningAfter = -1, pagesAfter = -1;
  bool done = false;
  Engine* self = nullptr;
  const auto asked = [&](uint32_t id, size_t length) {
    Request r;
    r.id = id;
    for (size_t i = 0; i < length; i++) r.prompt.push_back(static_cast<int32_t>(i) % model.config.vocabulary);
    r.maxTokens = 60;
    return r;
  };
  {
    auto device = std::make_unique<CpuDevice>(model, kScalarKernels, pool, 40, kKvBF16);
    Engine engine(std::move(device), pool, model.config.vocabulary, model.config.context, {4, 512}, textOf(model.config.vocabulary), [&](std::vector<int32_t>&& packet) {
      std::lock_guard<std::mutex> lock(mutex);
      Inbox events;
      events.take(packet);
      steps++;
      const EngineStats stats = self->stats();
      if (cancelledAt < 0 && events.words.count(1) > 0 && events.words.count(2) > 0) {
        cancelledAt = steps;
        self->cancel(2);
      } else if (cancelledAt >= 0) {
        wordsAfter += static_cast<int32_t>(events.words.count(2) + events.finished.count(2));
        if (steps == cancelledAt + 1) {
          runningAfter = stats.running;
          pagesAfter = stats.kvPages;
        }
      }
      done = done || events.finished.count(1) > 0;
      changed.notify_all();
    });
    {
      std::lock_guard<std::mutex> lock(mutex);  // the sink waits until we are named
      self = &engine;
      engine.submit(asked(1, 10));
      engine.submit(asked(2, 200));
    }
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return done; });
  }
  check(cancelledAt >= 0 && runningAfter == 1 && pagesAfter == 1, "a cancelled request's pages are free after one step");
  check(wordsAfter == 0, "nothing is heard of a cancelled request");
}

// Whatever the chunks and however the threads run: every piece of work is handed out once, in multiples of the unit.
void checkWorkShare() {
  for (int round = 0; round < 60; round++) {
    ThreadPool pool(1 + static_cast<int>(below(4)));
    struct Work {
      WorkShare share;
      int total, chunk, unit;
      std::vector<std::atomic<int>> times;
      std::atomic<bool> aligned{true};
    };
    const int unit = 1 + static_cast<int>(below(2)), total = static_cast<int>(below(70));
    Work work{WorkShare(pool.size()), total, unit * (1 + static_cast<int>(below(5))), unit, std::vector<std::atomic<int>>(static_cast<size_t>(total))};
    work.share.reset();
    pool.run(
        [](void* context, int thread) {
          Work& w = *static_cast<Work*>(context);
          for (int from, to; w.share.take(thread, w.total, w.chunk, w.unit, &from, &to);) {
            if (from % w.unit != 0 || (to % w.unit != 0 && to != w.total)) w.aligned = false;
            for (int i = from; i < to; i++) w.times[static_cast<size_t>(i)]++;
          }
        },
        &work);
    bool once = work.aligned;
    for (const auto& times : work.times) once = once && times == 1;
    check(once, "work is handed out once");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const uint32_t seed = argc > 1 ? static_cast<uint32_t>(atoi(argv[1])) : std::random_device()();
  printf("seed %u\n", seed);
  rng.seed(seed);
  setvbuf(stdout, nullptr, _IOLBF, 0);
  checkKernels();
  checkWorkShare();
  const std::string mode = argc > 2 ? argv[2] : "";
  if (mode == "kernels") return failures == 0 ? 0 : 1;
  const struct {
    const char* name;
    int32_t type, dim, heads, kvHeads, ffn;
  } models[] = {{"F32", kGgufF32, 40, 5, 5, 52}, {"F16", kGgufF16, 64, 4, 2, 90}, {"BF16", kGgufBF16, 64, 4, 1, 33},
                {"Q8_0", kGgufQ8_0, 64, 2, 1, 96}, {"Q4_0", kGgufQ4_0, 96, 2, 2, 100}, {"Q4_K", kGgufQ4K, 256, 4, 2, 256}, {"Q6_K", kGgufQ6K, 256, 8, 4, 300}};
  for (const auto& m : models) {
    // The thread sanitizer is slow, and threads care little for weight types.
    if (mode == "brief" && m.type != kGgufQ8_0 && m.type != kGgufF32) continue;
    Setup setup(m.type, m.dim, m.heads, m.kvHeads, m.ffn);
    ThreadPool loader(2);
    const auto model = loadModel(setup.file.path, setup.config, setup.refs, loader);
    checkCancellation(*model);
    for (const Kernels* kernels : usableKernels()) {
      if (mode == "brief" && kernels != usableKernels().front()) continue;
      const KvType kvType = static_cast<KvType>(below(3));
      const auto calm = runAll(*model, *kernels, 1, 400, kvType, {32, 512}, false);
      // 10 pages hold one sequence of the full context at least; 24 requests do not fit at once
      const auto stormy = runAll(*model, *kernels, 1 + static_cast<int>(below(4)), 10, kvType, {1 + static_cast<int32_t>(below(kMaxQueries)), 1 + static_cast<int32_t>(below(100))}, true);
      check(calm == stormy, "preemption, reuse, batching, cancellation of others and threads change nothing");
      printf("%s %s: %zu requests\n", m.name, kernels->name, calm.size());
    }
    TensorRef outside = setup.refs.outputNorm;
    ModelRefs refs = setup.refs;
    refs.outputNorm.offset = setup.file.size;
    try {
      loadModel(setup.file.path, setup.config, refs, loader);
      check(false, "a tensor outside the file is refused");
    } catch (const std::exception&) {
    }
    refs.outputNorm = outside;
    refs.layers[0].query.rows += 16;
    try {
      loadModel(setup.file.path, setup.config, refs, loader);
      check(false, "a wrong shape is refused");
    } catch (const std::exception&) {
    }
  }
  printf(failures == 0 ? "all good\n" : "%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
