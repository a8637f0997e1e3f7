// Picks the kernels: the best that this build has and this CPU runs, or the one that is asked for by name.
#pragma once
#include <string>
#include <vector>
#include "kernels.h"

namespace flyball {

// Best first; only what this CPU (and its operating system) can run.
std::vector<const Kernels*> usableKernels();

// `name` empty: the best. Throws std::runtime_error naming what there is when `name` is not usable here.
const Kernels& chooseKernels(const std::string& name);

}  // namespace flyball
