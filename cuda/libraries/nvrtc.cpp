// NVRTC as far as the headers of cudnn-frontend name it (library.h): none of our graphs calls it.
// SPDX-License-Identifier: Apache-2.0
#include <nvrtc.h>

#include "cuda/libraries/library.h"

extern "C" {

nvrtcResult nvrtcCreateProgram(nvrtcProgram* prog, const char* src, const char* name, int num_headers, const char* const* headers,
                               const char* const* include_names) {
  LS_FORWARD(nvrtc_library, nvrtcCreateProgram, prog, src, name, num_headers, headers, include_names);
}
nvrtcResult nvrtcDestroyProgram(nvrtcProgram* prog) { LS_FORWARD(nvrtc_library, nvrtcDestroyProgram, prog); }
nvrtcResult nvrtcCompileProgram(nvrtcProgram prog, int num_options, const char* const* options) {
  LS_FORWARD(nvrtc_library, nvrtcCompileProgram, prog, num_options, options);
}
nvrtcResult nvrtcGetCUBINSize(nvrtcProgram prog, size_t* cubin_size_ret) { LS_FORWARD(nvrtc_library, nvrtcGetCUBINSize, prog, cubin_size_ret); }
nvrtcResult nvrtcGetCUBIN(nvrtcProgram prog, char* cubin) { LS_FORWARD(nvrtc_library, nvrtcGetCUBIN, prog, cubin); }
nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram prog, size_t* log_size_ret) { LS_FORWARD(nvrtc_library, nvrtcGetProgramLogSize, prog, log_size_ret); }
nvrtcResult nvrtcGetProgramLog(nvrtcProgram prog, char* log) { LS_FORWARD(nvrtc_library, nvrtcGetProgramLog, prog, log); }

}  // extern "C"
