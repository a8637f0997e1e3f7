// The Node-API face of the engine. JavaScript validates; this side checks again whatever could reach memory.
#include <napi.h>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include "addon_kernels.h"
#include "cpu_device.h"
#include "dispatch.h"
#include "engine.h"
#include "model.h"

namespace flyball {
namespace {

constexpr size_t kQueuedPackets = 4096;  // beyond it the engine waits for JavaScript to read
constexpr size_t kTensorFields = 5;      // type (-1: absent), offset, bytes, columns, rows
constexpr size_t kLayerTensors = 13;

struct Spec {
  std::string path, isa;
  ModelConfig config;
  ModelRefs refs;
  Limits limits;
  TokenText text;
  int threads = 1, spinMicros = 30;
  double kvBytes = 0;
  KvType kvType = kKvBF16;
  bool expand = false, collect = false;
};

// What lives together: the order of members is the order of construction.
struct Core {
  const Kernels* kernels = nullptr;
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<Model> model;
  std::unique_ptr<Engine> engine;
  CpuDevice* device = nullptr;  // the engine's
  Napi::ThreadSafeFunction events;
  std::atomic<bool> stopping{false};  // an engine that waits for room in the queue gives up
  bool closed = false;

  // In this order: the engine's thread must be gone before the function that it calls.
  void stop() {
    stopping = true;
    engine.reset();
    model.reset();
    pool.reset();
  }
};

double number(const Napi::Object& from, const char* key) {
  const Napi::Value value = from.Get(key);
  if (!value.IsNumber()) throw Napi::TypeError::New(from.Env(), std::string(key) + ": expected a number");
  return value.As<Napi::Number>().DoubleValue();
}
int32_t integer(const Napi::Object& from, const char* key, double least, double most) {
  const double value = number(from, key);
  if (!(value >= least && value <= most)) throw Napi::RangeError::New(from.Env(), std::string(key) + ": out of range");
  return static_cast<int32_t>(value);
}
std::string text(const Napi::Object& from, const char* key) {
  const Napi::Value value = from.Get(key);
  if (!value.IsString()) throw Napi::TypeError::New(from.Env(), std::string(key) + ": expected a string");
  return value.As<Napi::String>().Utf8Value();
}
template <class Array> Array typed(const Napi::Object& from, const char* key, napi_typedarray_type type) {
  const Napi::Value value = from.Get(key);
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type)
    throw Napi::TypeError::New(from.Env(), std::string(key) + ": expected another typed array");
  return value.As<Array>();
}

TensorRef tensorAt(const Napi::Float64Array& table, size_t index) {
  const double* f = table.Data() + index * kTensorFields;
  TensorRef ref;
  for (size_t i = 0; i < kTensorFields; i++)
    if (!(f[i] >= -1 && f[i] <= 9007199254740991.0)) throw Napi::RangeError::New(table.Env(), "tensors: out of range");
  if (f[0] < 0) return ref;
  if (f[0] > 255 || f[1] < 0 || f[2] < 0 || !(f[3] >= 1 && f[3] <= INT32_MAX / 4) || !(f[4] >= 1 && f[4] <= INT32_MAX / 4))
    throw Napi::RangeError::New(table.Env(), "tensors: out of range");
  ref.present = true;
  ref.type = static_cast<int32_t>(f[0]);
  ref.offset = static_cast<uint64_t>(f[1]);
  ref.bytes = static_cast<uint64_t>(f[2]);
  ref.columns = static_cast<int32_t>(f[3]);
  ref.rows = static_cast<int32_t>(f[4]);
  return ref;
}

Spec readSpec(const Napi::Object& from) {
  Spec spec;
  spec.path = text(from, "path");
  spec.isa = text(from, "isa");
  ModelConfig& c = spec.config;
  constexpr double kMost = 1 << 24;
  c.vocabulary = integer(from, "vocabulary", 1, kMost);
  c.context = integer(from, "context", 1, kMost);
  c.dim = integer(from, "dim", 1, kMost);
  c.layers = integer(from, "layers", 1, 4096);
  c.ffn = integer(from, "ffn", 1, kMost);
  c.heads = integer(from, "heads", 1, 65536);
  c.kvHeads = integer(from, "kvHeads", 1, 65536);
  c.headDim = integer(from, "headDim", 1, kMaxHeadDim);
  c.ropeDims = integer(from, "ropeDims", 0, kMaxHeadDim);
  c.ropeAdjacent = from.Get("ropeAdjacent").ToBoolean();
  c.eps = static_cast<float>(number(from, "eps"));
  c.window = integer(from, "window", 0, kMost);
  const auto frequencies = typed<Napi::Float64Array>(from, "ropeFrequencies", napi_float64_array);
  c.ropeFrequencies.assign(frequencies.Data(), frequencies.Data() + frequencies.ElementLength());
  const auto table = typed<Napi::Float64Array>(from, "tensors", napi_float64_array);
  if (table.ElementLength() != (3 + static_cast<size_t>(c.layers) * kLayerTensors) * kTensorFields) throw Napi::RangeError::New(from.Env(), "tensors: wrong length");
  size_t at = 0;
  spec.refs.embedding = tensorAt(table, at++);
  spec.refs.outputNorm = tensorAt(table, at++);
  spec.refs.output = tensorAt(table, at++);
  for (int l = 0; l < c.layers; l++) {
    LayerRefs layer;
    for (TensorRef* ref : {&layer.attentionNorm, &layer.query, &layer.key, &layer.value, &layer.queryBias, &layer.keyBias, &layer.valueBias,
                           &layer.attentionOutput, &layer.attentionOutputBias, &layer.ffnNorm, &layer.gate, &layer.up, &layer.down})
      *ref = tensorAt(table, at++);
    spec.refs.layers.push_back(layer);
  }
  spec.threads = integer(from, "threads", 0, 1024);
  spec.spinMicros = integer(from, "spinMicros", 0, 100000);
  spec.kvBytes = number(from, "kvBytes");
  spec.kvType = static_cast<KvType>(integer(from, "kvType", 0, 2));
  spec.collect = from.Get("collect").ToBoolean();
  spec.expand = from.Get("expand").ToBoolean();
  spec.limits = {integer(from, "maxSequences", 1, 65536), integer(from, "tokensPerStep", 1, 65536)};
  const auto offsets = typed<Napi::Uint32Array>(from, "tokenOffsets", napi_uint32_array);
  const auto bytes = typed<Napi::Uint8Array>(from, "tokenBytes", napi_uint8_array);
  spec.text.offsets.assign(offsets.Data(), offsets.Data() + offsets.ElementLength());
  spec.text.bytes.assign(reinterpret_cast<const char*>(bytes.Data()), reinterpret_cast<const char*>(bytes.Data()) + bytes.ElementLength());
  uint32_t last = 0;
  for (const uint32_t offset : spec.text.offsets) {
    if (offset < last || offset > spec.text.bytes.size()) throw Napi::RangeError::New(from.Env(), "tokenOffsets: not ascending");
    last = offset;
  }
  return spec;
}

class CoreObject : public Napi::ObjectWrap<CoreObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Core", {
      InstanceMethod<&CoreObject::submit>("submit"),
      InstanceMethod<&CoreObject::cancel>("cancel"),
      InstanceMethod<&CoreObject::setLimits>("setLimits"),
      InstanceMethod<&CoreObject::dropCache>("dropCache"),
      InstanceMethod<&CoreObject::stats>("stats"),
      InstanceMethod<&CoreObject::describe>("describe"),
      InstanceMethod<&CoreObject::energies>("energies"),
      InstanceMethod<&CoreObject::hold>("hold"),
      InstanceMethod<&CoreObject::close>("close"),
    });
  }
  explicit CoreObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<CoreObject>(info) {}

  void adopt(Napi::Env env, std::shared_ptr<Core> core) {
    core_ = std::move(core);
    // The environment may go (a worker that ends, process.exit) before anybody closes us.
    auto* weak = new std::weak_ptr<Core>(core_);
    env.AddCleanupHook([weak] {
      const auto alive = weak->lock();
      if (alive != nullptr && !alive->closed) {
        alive->closed = true;
        alive->stop();
        alive->events.Abort();
      }
      delete weak;
    });
  }

 private:
  Core& alive(Napi::Env env) const {
    if (core_ == nullptr || core_->closed) throw Napi::Error::New(env, "the engine is closed");
    return *core_;
  }

  void submit(const Napi::CallbackInfo& info) {
    Core& core = alive(info.Env());
    if (info.Length() < 1 || !info[0].IsObject()) throw Napi::TypeError::New(info.Env(), "expected a request");
    const Napi::Object from = info[0].As<Napi::Object>();
    Request r;
    r.id = static_cast<uint32_t>(integer(from, "id", 1, INT32_MAX));
    r.kind = static_cast<Kind>(integer(from, "kind", 0, 3));
    const auto prompt = typed<Napi::Int32Array>(from, "prompt", napi_int32_array);
    r.prompt.assign(prompt.Data(), prompt.Data() + prompt.ElementLength());
    if (r.prompt.empty() || r.prompt.size() > static_cast<size_t>(core.engine->contextLength())) throw Napi::RangeError::New(info.Env(), "prompt: does not fit");
    if (r.kind == Kind::kScore && r.prompt.size() < 2) throw Napi::RangeError::New(info.Env(), "prompt: nothing to score");
    for (const int32_t token : r.prompt)
      if (token < 0 || token >= core.model->config.vocabulary) throw Napi::RangeError::New(info.Env(), "prompt: a token outside the vocabulary");
    const auto stops = typed<Napi::Int32Array>(from, "stopTokens", napi_int32_array);
    r.stopTokens.assign(stops.Data(), stops.Data() + stops.ElementLength());
    const Napi::Value strings = from.Get("stopStrings");
    if (!strings.IsArray()) throw Napi::TypeError::New(info.Env(), "stopStrings: expected an array");
    for (uint32_t i = 0; i < strings.As<Napi::Array>().Length(); i++) {
      const Napi::Value stop = strings.As<Napi::Array>().Get(i);
      if (!stop.IsString()) throw Napi::TypeError::New(info.Env(), "stopStrings: expected strings");
      r.stopStrings.push_back(stop.As<Napi::String>().Utf8Value());
    }
    r.maxTokens = integer(from, "maxTokens", 0, INT32_MAX);
    r.topLogprobs = integer(from, "topLogprobs", -1, 1000);
    r.window = integer(from, "window", 0, INT32_MAX / 2);
    r.sinks = integer(from, "sinks", 0, INT32_MAX / 2);
    r.priority = integer(from, "priority", INT32_MIN, INT32_MAX);
    r.sampling.temperature = static_cast<float>(number(from, "temperature"));
    r.sampling.topP = static_cast<float>(number(from, "topP"));
    r.sampling.minP = static_cast<float>(number(from, "minP"));
    r.sampling.repetitionPenalty = static_cast<float>(number(from, "repetitionPenalty"));
    r.sampling.topK = integer(from, "topK", 0, INT32_MAX);
    const double seed = number(from, "seed");
    if (!(seed >= 0 && seed <= 9007199254740991.0)) throw Napi::RangeError::New(info.Env(), "seed: out of range");
    r.sampling.seed = static_cast<uint64_t>(seed);
    const Napi::Value space = from.Get("cacheSpace");
    if (space.IsString()) {
      r.cache = true;
      r.cacheSpace = space.As<Napi::String>().Utf8Value();
    }
    core.engine->submit(std::move(r));
  }

  void cancel(const Napi::CallbackInfo& info) {
    if (core_ != nullptr && !core_->closed) core_->engine->cancel(info[0].ToNumber().Uint32Value());
  }
  void setLimits(const Napi::CallbackInfo& info) {
    const int32_t sequences = info[0].ToNumber().Int32Value(), tokens = info[1].ToNumber().Int32Value();
    if (sequences < 1 || sequences > 65536 || tokens < 1 || tokens > 65536) throw Napi::RangeError::New(info.Env(), "limits: out of range");
    alive(info.Env()).engine->setLimits({sequences, tokens});
  }
  void dropCache(const Napi::CallbackInfo& info) { alive(info.Env()).engine->dropCache(); }

  Napi::Value stats(const Napi::CallbackInfo& info) {
    const EngineStats s = alive(info.Env()).engine->stats();
    const double values[] = {static_cast<double>(s.steps), static_cast<double>(s.promptTokens), static_cast<double>(s.cachedTokens),
                             static_cast<double>(s.generatedTokens), static_cast<double>(s.preemptions), static_cast<double>(s.running),
                             static_cast<double>(s.waiting), static_cast<double>(s.kvPages), static_cast<double>(s.kvCapacityPages),
                             static_cast<double>(s.cachedPages), static_cast<double>(s.lastBatchTokens), s.stepMillis, s.busyMillis};
    constexpr size_t count = sizeof values / sizeof values[0];
    auto out = Napi::Float64Array::New(info.Env(), count);
    for (size_t i = 0; i < count; i++) out[i] = values[i];
    return out;
  }

  Napi::Value describe(const Napi::CallbackInfo& info) {
    const Core& core = alive(info.Env());
    const auto out = Napi::Object::New(info.Env());
    out.Set("kernels", core.kernels->name);
    out.Set("threads", core.pool->size());
    out.Set("contextLength", core.engine->contextLength());
    out.Set("weightBytes", static_cast<double>(core.model->weightBytes));
    return out;
  }

  // Call it while nothing runs.
  Napi::Value energies(const Napi::CallbackInfo& info) {
    const auto& from = alive(info.Env()).device->energies();
    auto out = Napi::Array::New(info.Env(), from.size());
    for (uint32_t i = 0; i < from.size(); i++) {
      auto values = Napi::Float32Array::New(info.Env(), from[i].size());
      std::transform(from[i].begin(), from[i].end(), values.Data(), [](double value) { return static_cast<float>(value); });
      out.Set(i, values);
    }
    return out;
  }

  // hold(true): the event loop stays up for our events.
  void hold(const Napi::CallbackInfo& info) {
    if (core_ == nullptr || core_->closed) return;
    if (info[0].ToBoolean()) core_->events.Ref(info.Env());
    else core_->events.Unref(info.Env());
  }

  // Off the JavaScript thread: a step under way has to end first.
  Napi::Value close(const Napi::CallbackInfo& info) {
    class Closing final : public Napi::AsyncWorker {
     public:
      Closing(Napi::Env env, std::shared_ptr<Core> core) : AsyncWorker(env), core_(std::move(core)), done_(Napi::Promise::Deferred::New(env)) {}
      Napi::Promise promise() const { return done_.Promise(); }
      void Execute() override { core_->stop(); }
      void OnOK() override {
        core_->events.Release();
        done_.Resolve(Env().Undefined());
      }

     private:
      std::shared_ptr<Core> core_;
      Napi::Promise::Deferred done_;
    };
    if (core_ == nullptr || core_->closed) {
      const auto done = Napi::Promise::Deferred::New(info.Env());
      done.Resolve(info.Env().Undefined());
      return done.Promise();
    }
    core_->closed = true;
    auto* closing = new Closing(info.Env(), core_);
    const Napi::Promise promise = closing->promise();
    closing->Queue();
    return promise;
  }

  std::shared_ptr<Core> core_;
};

// On the engine's thread.
void deliver(Core& core, std::vector<int32_t>&& words) {
  auto* packet = new std::vector<int32_t>(std::move(words));
  napi_status status;
  while ((status = core.events.NonBlockingCall(packet, [](Napi::Env env, Napi::Function callback, std::vector<int32_t>* data) {
            const std::unique_ptr<std::vector<int32_t>> owned(data);
            if (static_cast<napi_env>(env) == nullptr || callback.IsEmpty()) return;
            auto array = Napi::Int32Array::New(env, owned->size());
            std::copy(owned->begin(), owned->end(), array.Data());
            callback.Call({array});
          })) == napi_queue_full && !core.stopping)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  if (status != napi_ok) delete packet;
}

class Loading final : public Napi::AsyncWorker {
 public:
  Loading(Napi::Env env, Napi::Function constructor, Spec spec, Napi::Function onEvents)
      : AsyncWorker(env), constructor_(Napi::Persistent(constructor)), spec_(std::move(spec)), core_(std::make_shared<Core>()), done_(Napi::Promise::Deferred::New(env)) {
    core_->events = Napi::ThreadSafeFunction::New(env, onEvents, "flyball-native", kQueuedPackets, 1);
    core_->events.Unref(env);
  }
  Napi::Promise promise() const { return done_.Promise(); }

  void Execute() override {
    try {
      core_->kernels = &chooseKernels(spec_.isa);
      core_->pool = std::make_unique<ThreadPool>(spec_.collect ? 1 : spec_.threads > 0 ? spec_.threads : physicalCores(), spec_.spinMicros);
      core_->model = loadModel(spec_.path, spec_.config, spec_.refs, *core_->pool, spec_.expand);
      const size_t pageBytes = CpuDevice::pageBytesFor(spec_.config, spec_.kvType);
      const double pages = spec_.kvBytes / static_cast<double>(pageBytes);
      if (!(pages >= 1)) throw std::runtime_error("the key-value budget is smaller than one page of " + std::to_string(pageBytes) + " bytes");
      auto device = std::make_unique<CpuDevice>(*core_->model, *core_->kernels, *core_->pool, static_cast<int32_t>(pages < 1e6 ? pages : 1e6), spec_.kvType);
      core_->device = device.get();
      if (spec_.collect) device->collectEnergies();
      Core* core = core_.get();  // outlives its engine
      core_->engine = std::make_unique<Engine>(std::move(device), *core_->pool, spec_.config.vocabulary, spec_.config.context, spec_.limits,
                                               std::move(spec_.text), [core](std::vector<int32_t>&& words) { deliver(*core, std::move(words)); });
    } catch (const std::bad_alloc&) {
      SetError("not enough memory for the model");
    } catch (const std::exception& error) {
      SetError(error.what());
    }
  }
  void OnOK() override {
    const Napi::Object object = constructor_.New({});
    CoreObject::Unwrap(object)->adopt(Env(), core_);
    done_.Resolve(object);
  }
  void OnError(const Napi::Error& error) override {
    core_->events.Abort();
    done_.Reject(error.Value());
  }

 private:
  Napi::FunctionReference constructor_;
  Spec spec_;
  std::shared_ptr<Core> core_;
  Napi::Promise::Deferred done_;
};

struct Instance {
  Napi::FunctionReference core;
};

Napi::Value load(const Napi::CallbackInfo& info) {
  if (info.Length() < 2 || !info[0].IsObject() || !info[1].IsFunction()) throw Napi::TypeError::New(info.Env(), "expected a specification and a function");
  auto* loading = new Loading(info.Env(), info.Env().GetInstanceData<Instance>()->core.Value(), readSpec(info[0].As<Napi::Object>()), info[1].As<Napi::Function>());
  const Napi::Promise promise = loading->promise();
  loading->Queue();
  return promise;
}

Napi::Value kernelNames(const Napi::CallbackInfo& info) {
  const auto names = Napi::Array::New(info.Env());
  uint32_t at = 0;
  for (const Kernels* kernels : usableKernels()) names.Set(at++, kernels->name);
  return names;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto* instance = new Instance{Napi::Persistent(CoreObject::define(env))};
  env.SetInstanceData(instance);
  exports.Set("load", Napi::Function::New(env, load));
  exports.Set("kernels", Napi::Function::New(env, kernelNames));
  exports.Set("physicalCores", Napi::Function::New(env, [](const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), physicalCores()); }));
  defineKernelProbes(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(flyball_native, init)

}  // namespace flyball
