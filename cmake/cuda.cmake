# CUDA 12.4+, cuDNN 9, NCCL, cuBLASLt and the headers of cudnn-frontend (tools/setup.sh --cuda fetches them and checks the
# rest). Of all these only the runtime is linked, as a static library: the others are opened when they are first used
# (cuda/libraries), so that the binary starts, and trains on the CPU, where they are not.
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(CMAKE_CUDA_COMPILER nvcc HINTS $ENV{CUDA_HOME}/bin /usr/local/cuda/bin)
  if(NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR "LOCKSTEP_CUDA: no nvcc on the PATH, in $CUDA_HOME/bin or in /usr/local/cuda/bin; tools/setup.sh --cuda says what to install")
  endif()
endif()
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES ${LOCKSTEP_CUDA_ARCHITECTURES})
endif()
if(CCACHE_PROGRAM)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()
enable_language(CUDA)
if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 doesn't know that nvcc has C++20
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
find_package(CUDAToolkit 12.4 REQUIRED)

# A header's folder or a library, or an error that says who installs it.
function(lockstep_find_cuda variable kind file)
  if(kind STREQUAL "header")
    find_path(${variable} ${file} HINTS ${CUDAToolkit_INCLUDE_DIRS} ${CMAKE_SOURCE_DIR}/build/cudnn-frontend/include)
  else()
    find_library(${variable} ${file} HINTS ${CUDAToolkit_LIBRARY_DIR})
  endif()
  if(NOT ${variable})
    message(FATAL_ERROR "LOCKSTEP_CUDA: no ${kind} ${file}; tools/setup.sh --cuda says what to install, or set ${variable}")
  endif()
endfunction()
lockstep_find_cuda(CUDNN_INCLUDE_DIR header cudnn.h)
lockstep_find_cuda(CUDNN_LIBRARY library cudnn)
lockstep_find_cuda(NCCL_INCLUDE_DIR header nccl.h)
lockstep_find_cuda(NCCL_LIBRARY library nccl)
lockstep_find_cuda(CUDNN_FRONTEND_INCLUDE_DIR header cudnn_frontend.h)
get_filename_component(cudnn_folder ${CUDNN_LIBRARY} DIRECTORY)
get_filename_component(nccl_folder ${NCCL_LIBRARY} DIRECTORY)

add_library(lockstep_cuda_headers INTERFACE)
target_include_directories(lockstep_cuda_headers SYSTEM INTERFACE
  ${CUDAToolkit_INCLUDE_DIRS} ${CUDNN_INCLUDE_DIR} ${NCCL_INCLUDE_DIR} ${CUDNN_FRONTEND_INCLUDE_DIR})

# The functions of cuDNN, cuBLASLt, NVRTC and NCCL that we call: each opens its library.
file(GLOB libraries CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/cuda/libraries/*.cpp)
add_library(lockstep_cuda_libraries STATIC ${libraries})
target_link_libraries(lockstep_cuda_libraries PUBLIC lockstep_cuda_headers CUDA::cudart_static ${CMAKE_DL_LIBS} PRIVATE lockstep_options)
target_compile_definitions(lockstep_cuda_libraries PRIVATE LOCKSTEP_CUDA_LIBRARY_DIR="${CUDAToolkit_LIBRARY_DIR}"
  LOCKSTEP_CUDNN_LIBRARY_DIR="${cudnn_folder}" LOCKSTEP_NCCL_LIBRARY_DIR="${nccl_folder}")
add_library(lockstep_nccl ALIAS lockstep_cuda_libraries)  # what distributed/ links
