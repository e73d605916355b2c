// cuBLASLt as far as we call it (library.h).
// SPDX-License-Identifier: Apache-2.0
#include <cublasLt.h>

#include "cuda/libraries/library.h"

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* light_handle) { LS_FORWARD(cublas_lt_library, cublasLtCreate, light_handle); }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t light_handle) { LS_FORWARD(cublas_lt_library, cublasLtDestroy, light_handle); }
size_t cublasLtGetVersion(void) { LS_FORWARD(cublas_lt_library, cublasLtGetVersion); }
const char* cublasLtGetStatusString(cublasStatus_t status) { LS_FORWARD(cublas_lt_library, cublasLtGetStatusString, status); }
cublasStatus_t cublasLtMatmul(cublasLtHandle_t light_handle, cublasLtMatmulDesc_t compute_desc, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t adesc, const void* b, cublasLtMatrixLayout_t bdesc, const void* beta, const void* c,
                              cublasLtMatrixLayout_t cdesc, void* d, cublasLtMatrixLayout_t ddesc, const cublasLtMatmulAlgo_t* algo, void* workspace,
                              size_t workspace_size_in_bytes, cudaStream_t stream) {
  LS_FORWARD(cublas_lt_library, cublasLtMatmul, light_handle, compute_desc, alpha, a, adesc, b, bdesc, beta, c, cdesc, d, ddesc, algo, workspace,
             workspace_size_in_bytes, stream);
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* matmul_desc, cublasComputeType_t compute_type, cudaDataType_t scale_type) {
  LS_FORWARD(cublas_lt_library, cublasLtMatmulDescCreate, matmul_desc, compute_type, scale_type);
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t matmul_desc) { LS_FORWARD(cublas_lt_library, cublasLtMatmulDescDestroy, matmul_desc); }
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t matmul_desc, cublasLtMatmulDescAttributes_t attr, const void* buf,
                                              size_t size_in_bytes) {
  LS_FORWARD(cublas_lt_library, cublasLtMatmulDescSetAttribute, matmul_desc, attr, buf, size_in_bytes);
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* mat_layout, cudaDataType type, uint64_t rows, uint64_t cols, int64_t ld) {
  LS_FORWARD(cublas_lt_library, cublasLtMatrixLayoutCreate, mat_layout, type, rows, cols, ld);
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t mat_layout) {
  LS_FORWARD(cublas_lt_library, cublasLtMatrixLayoutDestroy, mat_layout);
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* pref) {
  LS_FORWARD(cublas_lt_library, cublasLtMatmulPreferenceCreate, pref);
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t pref) {
  LS_FORWARD(cublas_lt_library, cublasLtMatmulPreferenceDestroy, pref);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t pref, cublasLtMatmulPreferenceAttributes_t attr, const void* buf,
                                                    size_t size_in_bytes) {
  LS_FORWARD(cublas_lt_library, cublasLtMatmulPreferenceSetAttribute, pref, attr, buf, size_in_bytes);
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t light_handle, cublasLtMatmulDesc_t operation_desc, cublasLtMatrixLayout_t adesc,
                                              cublasLtMatrixLayout_t bdesc, cublasLtMatrixLayout_t cdesc, cublasLtMatrixLayout_t ddesc,
                                              cublasLtMatmulPreference_t preference, int requested_algo_count,
                                              cublasLtMatmulHeuristicResult_t heuristic_results_array[], int* return_algo_count) {
  LS_FORWARD(cublas_lt_library, cublasLtMatmulAlgoGetHeuristic, light_handle, operation_desc, adesc, bdesc, cdesc, ddesc, preference,
             requested_algo_count, heuristic_results_array, return_algo_count);
}

}  // extern "C"
