// NCCL as far as we call it (library.h).
// SPDX-License-Identifier: Apache-2.0
#include <nccl.h>

#include "cuda/libraries/library.h"

extern "C" {

ncclResult_t ncclGetVersion(int* version) { LS_FORWARD(nccl_library, ncclGetVersion, version); }
ncclResult_t ncclGetUniqueId(ncclUniqueId* unique_id) { LS_FORWARD(nccl_library, ncclGetUniqueId, unique_id); }
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int nranks, ncclUniqueId comm_id, int rank, ncclConfig_t* config) {
  LS_FORWARD(nccl_library, ncclCommInitRankConfig, comm, nranks, comm_id, rank, config);
}
ncclResult_t ncclCommFinalize(ncclComm_t comm) { LS_FORWARD(nccl_library, ncclCommFinalize, comm); }
ncclResult_t ncclCommDestroy(ncclComm_t comm) { LS_FORWARD(nccl_library, ncclCommDestroy, comm); }
ncclResult_t ncclCommAbort(ncclComm_t comm) { LS_FORWARD(nccl_library, ncclCommAbort, comm); }
const char* ncclGetErrorString(ncclResult_t result) { LS_FORWARD(nccl_library, ncclGetErrorString, result); }
const char* ncclGetLastError(ncclComm_t comm) { LS_FORWARD(nccl_library, ncclGetLastError, comm); }
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* async_error) { LS_FORWARD(nccl_library, ncclCommGetAsyncError, comm, async_error); }
ncclResult_t ncclAllReduce(const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm,
                           cudaStream_t stream) {
  LS_FORWARD(nccl_library, ncclAllReduce, sendbuff, recvbuff, count, datatype, op, comm, stream);
}
ncclResult_t ncclSend(const void* sendbuff, size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm, cudaStream_t stream) {
  LS_FORWARD(nccl_library, ncclSend, sendbuff, count, datatype, peer, comm, stream);
}
ncclResult_t ncclRecv(void* recvbuff, size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm, cudaStream_t stream) {
  LS_FORWARD(nccl_library, ncclRecv, recvbuff, count, datatype, peer, comm, stream);
}
ncclResult_t ncclGroupStart() { LS_FORWARD(nccl_library, ncclGroupStart); }
ncclResult_t ncclGroupEnd() { LS_FORWARD(nccl_library, ncclGroupEnd); }

}  // extern "C"
