# One object library per module of the source tree (src/layers.txt); a module of the lab is called
# lab_NAME. scripts/check-layers.sh holds what a module may include.

add_library(umbra_flags INTERFACE)
target_compile_features(umbra_flags INTERFACE c_std_17)
target_compile_definitions(umbra_flags INTERFACE _GNU_SOURCE UMBRA_VERSION="${PROJECT_VERSION}"
  $<$<BOOL:${UMBRA_ASSERTIONS}>:UMBRA_ASSERTIONS>)
target_include_directories(umbra_flags INTERFACE
  ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
# -ffp-contract=off: a product and a sum are fused only where the source says so, so that every
# build of a kernel gives the same bits.
target_compile_options(umbra_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
  -Wwrite-strings -Wvla -Wundef -ffp-contract=off -fno-math-errno
  $<$<BOOL:${UMBRA_WERROR}>:-Werror>)
if(UMBRA_SANITIZE)
  target_compile_options(umbra_flags INTERFACE
    -fsanitize=${UMBRA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(umbra_flags INTERFACE -fsanitize=${UMBRA_SANITIZE})
endif()
if(UMBRA_COVERAGE)
  target_compile_options(umbra_flags INTERFACE -fprofile-arcs -ftest-coverage -fprofile-update=atomic)
  target_link_options(umbra_flags INTERFACE --coverage)
endif()

set(UMBRA_LAYERS "" CACHE INTERNAL "")

# umbra_layer(NAME SOURCES a.c b.c [LIBRARIES PkgConfig::X])
function(umbra_layer name)
  cmake_parse_arguments(L "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_library(umbra_${name} OBJECT ${L_SOURCES})
  target_link_libraries(umbra_${name} PUBLIC umbra_flags Threads::Threads m ${L_LIBRARIES})
  set(UMBRA_LAYERS ${UMBRA_LAYERS} ${name} CACHE INTERNAL "")
endfunction()

# umbra_test(NAME LAYERS base gguf ... [SOURCES extra.c]): builds NAME.c of this folder with cmocka.
# The test runs in the project's folder. Exit code 77 means skipped.
function(umbra_test name)
  cmake_parse_arguments(T "" "" "LAYERS;SOURCES;LIBRARIES" ${ARGN})
  add_executable(${name} ${name}.c ${T_SOURCES})
  set(objects "")
  foreach(layer ${T_LAYERS})
    list(APPEND objects umbra_${layer})
  endforeach()
  target_link_libraries(${name} PRIVATE ${objects} ${T_LIBRARIES} PkgConfig::CMOCKA)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77)
endfunction()

# umbra_label(LABEL TEST...): what scripts/test-all.sh asks of tests under sanitizers.
#   threads   run under the thread sanitizer; the target thread_tests builds these alone
#   slow      too slow for sanitizers, and quicker tests take the same ways
#   once      says the same of every build
add_custom_target(thread_tests)
function(umbra_label label)
  set_property(TEST ${ARGN} APPEND PROPERTY LABELS ${label})
  if(label STREQUAL threads)
    add_dependencies(thread_tests ${ARGN})
  endif()
endfunction()

# umbra_fuzz(NAME LAYERS ... [SOURCES ...] [LIBRARIES ...] [CORPUS FOLDER] [DICTIONARY FILE]): a fuzz target, NAME.c.
# Its corpus, every file of FOLDER (default: corpus), is an ordinary test; with -DUMBRA_FUZZ=ON (Clang) the
# same source is a libFuzzer program, which scripts/fuzz.sh finds in BUILD/fuzz-targets.
set_property(GLOBAL PROPERTY umbra_fuzz_targets "")
function(umbra_fuzz name)
  cmake_parse_arguments(F "" "CORPUS;DICTIONARY" "LAYERS;SOURCES;LIBRARIES" ${ARGN})
  set(support ${PROJECT_SOURCE_DIR}/tests/support)
  get_filename_component(corpus "${F_CORPUS}" ABSOLUTE)
  if(NOT F_CORPUS)
    set(corpus ${CMAKE_CURRENT_SOURCE_DIR}/corpus)
  endif()
  if(UMBRA_FUZZ)
    add_executable(${name} ${name}.c ${F_SOURCES})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    add_executable(${name} ${name}.c ${support}/fuzz_driver.c ${F_SOURCES})
  endif()
  list(TRANSFORM F_LAYERS PREPEND umbra_)
  target_include_directories(${name} PRIVATE ${support})
  target_link_libraries(${name} PRIVATE ${F_LAYERS} ${F_LIBRARIES})
  file(GLOB files CONFIGURE_DEPENDS ${corpus}/*)
  add_test(NAME ${name} COMMAND ${name} ${files} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_property(GLOBAL APPEND_STRING PROPERTY umbra_fuzz_targets
    "${name} $<TARGET_FILE:${name}> ${corpus} ${F_DICTIONARY}\n")
  add_dependencies(fuzz_targets ${name})
endfunction()
add_custom_target(fuzz_targets)
