// Single kernels for JavaScript's tests.
#pragma once
#include <napi.h>

namespace flyball {
void defineKernelProbes(Napi::Env env, Napi::Object exports);
}
