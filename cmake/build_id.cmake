cmake_minimum_required(VERSION 3.25)
# Writes build_id.h with the commit that is being built; run at every build, rewritten only when it changes.
execute_process(COMMAND git -C ${SOURCE_DIR} describe --always --dirty --abbrev=12
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT commit)
  set(commit "unknown")
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "#pragma once
#define LOCKSTEP_VERSION \"${VERSION}\"
#define LOCKSTEP_COMMIT \"@commit@\"
#define LOCKSTEP_BUILD_TYPE \"${BUILD_TYPE}\"
" @ONLY)
