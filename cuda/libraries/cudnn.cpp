// cuDNN as far as we and the headers of cudnn-frontend call it (library.h).
// SPDX-License-Identifier: Apache-2.0
#include <cudnn.h>

#include "cuda/libraries/library.h"

extern "C" {

size_t cudnnGetVersion() { LS_FORWARD(cudnn_library, cudnnGetVersion); }
size_t cudnnGetCudartVersion() { LS_FORWARD(cudnn_library, cudnnGetCudartVersion); }
cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) { LS_FORWARD(cudnn_library, cudnnCreate, handle); }
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) { LS_FORWARD(cudnn_library, cudnnDestroy, handle); }
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream_id) { LS_FORWARD(cudnn_library, cudnnSetStream, handle, stream_id); }
cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t* stream_id) { LS_FORWARD(cudnn_library, cudnnGetStream, handle, stream_id); }
const char* cudnnGetErrorString(cudnnStatus_t status) { LS_FORWARD(cudnn_library, cudnnGetErrorString, status); }
void cudnnGetLastErrorString(char* message, size_t max_size) { LS_FORWARD(cudnn_library, cudnnGetLastErrorString, message, max_size); }
cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t descriptor_type, cudnnBackendDescriptor_t* descriptor) {
  LS_FORWARD(cudnn_library, cudnnBackendCreateDescriptor, descriptor_type, descriptor);
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  LS_FORWARD(cudnn_library, cudnnBackendDestroyDescriptor, descriptor);
}
cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) { LS_FORWARD(cudnn_library, cudnnBackendFinalize, descriptor); }
cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t attribute_name,
                                       cudnnBackendAttributeType_t attribute_type, int64_t element_count, const void* array_of_elements) {
  LS_FORWARD(cudnn_library, cudnnBackendSetAttribute, descriptor, attribute_name, attribute_type, element_count, array_of_elements);
}
cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor, cudnnBackendAttributeName_t attribute_name,
                                       cudnnBackendAttributeType_t attribute_type, int64_t requested_element_count, int64_t* element_count,
                                       void* array_of_elements) {
  LS_FORWARD(cudnn_library, cudnnBackendGetAttribute, descriptor, attribute_name, attribute_type, requested_element_count, element_count,
             array_of_elements);
}
cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t execution_plan, cudnnBackendDescriptor_t variant_pack) {
  LS_FORWARD(cudnn_library, cudnnBackendExecute, handle, execution_plan, variant_pack);
}

}  // extern "C"
