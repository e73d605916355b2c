# lockstep_room(name LINK libs...): the static library lockstep_<name> of every .cpp in the folder.
# Adding a file to a room needs no CMake change.
function(lockstep_room name)
  cmake_parse_arguments(ARG "" "" "LINK;EXCLUDE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  foreach(pattern IN LISTS ARG_EXCLUDE)
    list(FILTER sources EXCLUDE REGEX ${pattern})
  endforeach()
  if(NOT sources)
    add_library(lockstep_${name} INTERFACE)
    target_link_libraries(lockstep_${name} INTERFACE lockstep_options ${ARG_LINK})
    return()
  endif()
  add_library(lockstep_${name} STATIC ${sources})
  target_link_libraries(lockstep_${name} PUBLIC lockstep_options ${ARG_LINK})
endfunction()

# lockstep_test(name SOURCES files... LINK libs... [LABELS fast] [RANKS n]): a GoogleTest binary, one ctest entry per
# binary. With RANKS it runs under mpirun with that many single-threaded ranks.
function(lockstep_test name)
  cmake_parse_arguments(ARG "" "RANKS;TIMEOUT" "SOURCES;LINK;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE lockstep_options ${ARG_LINK} GTest::gtest GTest::gmock)
  if(ARG_RANKS)
    add_test(NAME ${name}_np${ARG_RANKS} COMMAND ${CMAKE_SOURCE_DIR}/tools/mpi.sh ${ARG_RANKS} $<TARGET_FILE:${name}>)
    set(test_name ${name}_np${ARG_RANKS})
  else()
    add_test(NAME ${name} COMMAND ${name})
    set(test_name ${name})
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 900)  # the longest takes five minutes under the thread sanitizer on a slow processor
  endif()
  set_tests_properties(${test_name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}"
    ENVIRONMENT "OMP_NUM_THREADS=1;LOCKSTEP_SOURCE_DIR=${CMAKE_SOURCE_DIR};LOCKSTEP_BINARY=${CMAKE_BINARY_DIR}/lockstep;XDG_CACHE_HOME=${CMAKE_BINARY_DIR}/cache")
endfunction()
