# Compiler options for our own code. Warnings are errors (a user's build may turn that off); floating point is strict: no contraction across statements,
# no fast-math, so that a build of the same commit gives the same bits, and kernels compiled for a GPU those of the emulated device (they wait for
# memory, not for arithmetic).
option(LOCKSTEP_WERROR "Warnings are errors" ON)
set(cxx_options -Wall -Wextra $<$<BOOL:${LOCKSTEP_WERROR}>:-Werror> -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor
  -Woverloaded-virtual
  -Wno-missing-field-initializers  # designated initialisers leave defaults alone on purpose
  -ffp-contract=off)
set(cuda_options $<$<BOOL:${LOCKSTEP_WERROR}>:--Werror=all-warnings> -Xcompiler=-Wall,-Wextra,-Wno-missing-field-initializers,-ffp-contract=off -fmad=false)
add_library(lockstep_options INTERFACE)
foreach(option IN LISTS cxx_options)
  target_compile_options(lockstep_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:${option}>)
endforeach()
foreach(option IN LISTS cuda_options)
  target_compile_options(lockstep_options INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:${option}>)
endforeach()
target_include_directories(lockstep_options INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})

if(LOCKSTEP_SANITIZE)
  add_compile_options(-fno-omit-frame-pointer)
  foreach(option -fsanitize=${LOCKSTEP_SANITIZE} -fno-sanitize-recover=all)
    add_compile_options($<$<COMPILE_LANGUAGE:CXX>:${option}>)
  endforeach()
  add_link_options(-fsanitize=${LOCKSTEP_SANITIZE})
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()
