// The calls of the hot path.
#pragma once

#include <node_api.h>

namespace onepiece::addon {

// Adds postSend, postReceive, pollCq and requestNotify to the exports.
void InstallHotPath(napi_env env, napi_value exports);

}  // namespace onepiece::addon
