// The calls of the hot path.
#pragma once

#include <node_api.h>

namespace onepiece::addon {

// Adds postSend, postReceive, postSharedReceive, pollCq, postSendAndPoll, requestNotify, clock and yield to the
// exports, and the frame in which they find their arguments and leave their answer.
void InstallHotPath(napi_env env, napi_value exports);

}  // namespace onepiece::addon
