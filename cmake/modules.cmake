# What the CMakeLists.txt of our folders are written with. Each folder says what it has; which build takes what is decided here.
#
#   hcsd_module(NAME base PURE text.c … WINDOWS files.c … NATIVE files_posix.c … DEPS dep::jansson … LIBS bcrypt …)
#   hcsd_program(NAME hcsd SOURCES … DEPS … [LIBS …] [RC file.rc] [OUTPUT_DIR bin|emulator|tests|bench])      Windows
#   hcsd_dll(NAME vmcompute SOURCES … DEPS … [LIBS …] [DEF file.def] [RC file.rc] [OUTPUT_DIR emulator])      Windows
#   hcsd_unit_test(NAME base_text SOURCES … DEPS … [TIMEOUT s])                   native, cmocka, label unit
#   hcsd_wine_test(NAME base_files SOURCES … DEPS … [LIBS …] [ARGS …] [PREFIX p] [TIMEOUT s] [LABELS …])      Windows, under Wine, cmocka, label wine
#   hcsd_script_test(NAME … COMMAND … [TIMEOUT s] [LABELS …] [SERIAL])            Windows, any program, label integration
#   hcsd_fuzzer(NAME … SOURCES … DEPS … [CORPUS dir] [DICT file] [MAX_LEN n])     native with sanitizers, label fuzz
#   hcsd_proto(NAME hcsd_proto FILES containerd/task/v3/shim.proto …)             both
#   hcsd_message_table(NAME hcsd-messages-VERSION MC hcsd.mc RC including.rc)     Windows
#
# PURE files are in both builds, WINDOWS files in the cross-build only, NATIVE files (what stands in for them in tests) in the native one only.
# DEPS are our modules by name (base is the target hcsd_base) and the libraries of dependencies.cmake (jansson is dep::jansson); LIBS, or DEPS
# as well, are Windows' own import libraries.

set(HCSD_WINDOWS_LIBRARIES advapi32 bcrypt crypt32 dbghelp iphlpapi kernel32 ntdll ole32 psapi rpcrt4 secur32 shell32 shlwapi synchronization
    user32 userenv version wevtapi ws2_32)

# What tests and measurements run is built with the target test-programs (make test-programs), not with "all".
add_custom_target(test-programs)

# The targets behind a DEPS list.
function(hcsd_targets_of ret)
    set(targets "")
    foreach(dependency IN LISTS ARGN)
        if(dependency MATCHES "::|^hcsd_")
            list(APPEND targets ${dependency})
        elseif(TARGET dep::${dependency})
            list(APPEND targets dep::${dependency})
        elseif(dependency IN_LIST HCSD_WINDOWS_LIBRARIES)
            if(WIN32)
                list(APPEND targets ${dependency})
            endif()
        else()
            list(APPEND targets hcsd_${dependency})
        endif()
    endforeach()
    set(${ret} "${targets}" PARENT_SCOPE)
endfunction()

# Links `target` and remembers its DEPS for hcsd_check_dependencies.
function(hcsd_link target scope)
    cmake_parse_arguments(arg "" "" "DEPS;LIBS" ${ARGN})
    hcsd_targets_of(targets ${arg_DEPS})
    target_link_libraries(${target} ${scope} ${targets})
    if(WIN32 AND arg_LIBS)
        target_link_libraries(${target} ${scope} ${arg_LIBS})
    endif()
    foreach(dependency IN LISTS targets)
        set_property(GLOBAL APPEND PROPERTY HCSD_EDGES "${target} ${dependency}")
    endforeach()
endfunction()

# Says which DEPS name no target: otherwise that is a linker's message about a missing -lhcsd_….
function(hcsd_check_dependencies)
    get_property(edges GLOBAL PROPERTY HCSD_EDGES)
    foreach(edge IN LISTS edges)
        string(REPLACE " " ";" edge "${edge}")
        list(GET edge 0 from)
        list(GET edge 1 to)
        if(to MATCHES "^hcsd_|::" AND NOT TARGET ${to})
            message(WARNING "${from} depends on ${to}, which no CMakeLists.txt makes")
        endif()
    endforeach()
endfunction()

macro(hcsd_parse options one many)
    cmake_parse_arguments(arg "${options}" "NAME;${one}" "${many}" ${ARGN})
    if(arg_UNPARSED_ARGUMENTS OR NOT arg_NAME)
        message(FATAL_ERROR "${CMAKE_CURRENT_FUNCTION}: NAME is missing, or not understood: ${arg_UNPARSED_ARGUMENTS}")
    endif()
endmacro()

function(hcsd_module)
    hcsd_parse("" "" "PURE;WINDOWS;NATIVE;DEPS;LIBS" ${ARGN})
    set(sources ${arg_PURE})
    if(WIN32)
        list(APPEND sources ${arg_WINDOWS})
    else()
        list(APPEND sources ${arg_NATIVE})
    endif()
    if(sources)
        add_library(hcsd_${arg_NAME} STATIC ${sources})
        target_link_libraries(hcsd_${arg_NAME} PRIVATE hcsd_options)
        hcsd_link(hcsd_${arg_NAME} PUBLIC DEPS ${arg_DEPS} LIBS ${arg_LIBS})
    else()
        add_library(hcsd_${arg_NAME} INTERFACE)
        hcsd_link(hcsd_${arg_NAME} INTERFACE DEPS ${arg_DEPS} LIBS ${arg_LIBS})
    endif()
endfunction()

# Debug information goes into NAME.debug beside the file; gdb finds it there by the link left behind.
function(hcsd_split_debug target)
    add_custom_command(TARGET ${target} POST_BUILD
        COMMAND "${CMAKE_OBJCOPY}" --only-keep-debug "$<TARGET_FILE:${target}>" "$<TARGET_FILE:${target}>.debug"
        COMMAND "${CMAKE_STRIP}" "$<TARGET_FILE:${target}>"
        COMMAND "${CMAKE_OBJCOPY}" "--add-gnu-debuglink=$<TARGET_FILE:${target}>.debug" "$<TARGET_FILE:${target}>"
        VERBATIM)
endfunction()

# A Windows executable; `target` and the file's name may differ, so that a test may be called like a program.
function(hcsd_executable target name directory)
    cmake_parse_arguments(arg "" "" "SOURCES;DEPS;LIBS" ${ARGN})
    add_executable(${target} ${arg_SOURCES})
    set_target_properties(${target} PROPERTIES OUTPUT_NAME "${name}" RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/${directory}")
    target_link_libraries(${target} PRIVATE hcsd_options)
    hcsd_link(${target} PRIVATE DEPS ${arg_DEPS} LIBS ${arg_LIBS})
    if(directory MATCHES "^(tests|bench)")
        set_property(TARGET ${target} PROPERTY EXCLUDE_FROM_ALL ON)
        add_dependencies(test-programs ${target})
    endif()
endfunction()

function(hcsd_program)
    hcsd_parse("" "RC;OUTPUT_DIR" "SOURCES;DEPS;LIBS" ${ARGN})
    if(NOT WIN32)
        return()
    endif()
    if(NOT arg_OUTPUT_DIR)
        set(arg_OUTPUT_DIR bin)
    endif()
    hcsd_executable(program_${arg_NAME} ${arg_NAME} ${arg_OUTPUT_DIR} SOURCES ${arg_SOURCES} ${arg_RC} DEPS ${arg_DEPS} LIBS ${arg_LIBS})
    target_link_options(program_${arg_NAME} PRIVATE -municode)
    hcsd_split_debug(program_${arg_NAME})
endfunction()

function(hcsd_dll)
    hcsd_parse("" "RC;DEF;OUTPUT_DIR" "SOURCES;DEPS;LIBS" ${ARGN})
    if(NOT WIN32)
        return()
    endif()
    if(NOT arg_OUTPUT_DIR)
        set(arg_OUTPUT_DIR bin)
    endif()
    set(target dll_${arg_NAME})
    add_library(${target} SHARED ${arg_SOURCES} ${arg_RC} ${arg_DEF})
    set_target_properties(${target} PROPERTIES OUTPUT_NAME "${arg_NAME}" PREFIX "" RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/${arg_OUTPUT_DIR}")
    target_link_libraries(${target} PRIVATE hcsd_options)
    # What static libraries mark for export is not what this DLL promises.
    target_link_options(${target} PRIVATE -Wl,--exclude-all-symbols)
    hcsd_link(${target} PRIVATE DEPS ${arg_DEPS} LIBS ${arg_LIBS})
    hcsd_split_debug(${target})
endfunction()

function(hcsd_unit_test)
    hcsd_parse("" "TIMEOUT" "SOURCES;DEPS;ARGS" ${ARGN})
    if(WIN32)
        return()
    endif()
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 60)
    endif()
    set(target unit_${arg_NAME})
    add_executable(${target} ${arg_SOURCES})
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/tests")
    target_link_libraries(${target} PRIVATE hcsd_options)
    hcsd_link(${target} PRIVATE DEPS ${arg_DEPS} dep::cmocka)
    add_test(NAME unit/${arg_NAME} COMMAND ${target} ${arg_ARGS} WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}")
    set_tests_properties(unit/${arg_NAME} PROPERTIES LABELS unit TIMEOUT ${arg_TIMEOUT}
        ENVIRONMENT "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1;UBSAN_OPTIONS=print_stacktrace=1")
endfunction()

# What tests find their way by.
set(HCSD_WINE_DIR "${CMAKE_SOURCE_DIR}/build/wine" CACHE PATH "where the Wine prefixes of this build are")
set(HCSD_WINE_RUN "${CMAKE_SOURCE_DIR}/cmake/wine-run.sh")
set(HCSD_TEST_ENVIRONMENT
    "HCSD_SOURCE_DIR=${CMAKE_SOURCE_DIR}" "HCSD_BUILD_DIR=${CMAKE_BINARY_DIR}" "HCSD_WINE_DIR=${HCSD_WINE_DIR}" "HCSD_WINE_RUN=${HCSD_WINE_RUN}")

function(hcsd_wine_test)
    hcsd_parse("" "TIMEOUT;PREFIX" "SOURCES;DEPS;LIBS;ARGS;LABELS" ${ARGN})
    if(NOT WIN32)
        return()
    endif()
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 60)
    endif()
    if(NOT arg_PREFIX)
        set(arg_PREFIX unit)
    endif()
    hcsd_executable(test_${arg_NAME} test_${arg_NAME} tests SOURCES ${arg_SOURCES} DEPS ${arg_DEPS} dep::cmocka LIBS ${arg_LIBS})
    # Wine's own start is not the test's fault: the first one makes the prefix.
    math(EXPR timeout "${arg_TIMEOUT} + 60")
    add_test(NAME wine/${arg_NAME}
        COMMAND "${HCSD_WINE_RUN}" --prefix ${arg_PREFIX} --timeout ${arg_TIMEOUT} -- "$<TARGET_FILE:test_${arg_NAME}>" ${arg_ARGS}
        WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}")
    set_tests_properties(wine/${arg_NAME} PROPERTIES LABELS "wine;${arg_LABELS}" TIMEOUT ${timeout} ENVIRONMENT "${HCSD_TEST_ENVIRONMENT}")
endfunction()

function(hcsd_script_test)
    hcsd_parse("SERIAL" "TIMEOUT" "COMMAND;LABELS" ${ARGN})
    if(NOT WIN32)
        return()
    endif()
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 120)
    endif()
    if(NOT arg_LABELS)
        set(arg_LABELS integration)
    endif()
    add_test(NAME ${arg_NAME} COMMAND ${arg_COMMAND} WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}")
    set_tests_properties(${arg_NAME} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT} ENVIRONMENT "${HCSD_TEST_ENVIRONMENT}")
    if(arg_SERIAL)
        set_property(TEST ${arg_NAME} PROPERTY RUN_SERIAL ON)
    endif()
endfunction()

# ctest runs cmake/fuzz-run.sh: the corpus first, then FUZZ_SECONDS (10) of fuzzing from a seed that is printed. New inputs stay in the build.
function(hcsd_fuzzer)
    hcsd_parse("" "CORPUS;DICT;MAX_LEN" "SOURCES;DEPS" ${ARGN})
    if(NOT HCSD_SANITIZE)
        return()
    endif()
    set(target fuzz_${arg_NAME})
    add_executable(${target} ${arg_SOURCES})
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/fuzz")
    target_link_libraries(${target} PRIVATE hcsd_options)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    hcsd_link(${target} PRIVATE DEPS ${arg_DEPS})
    set(options "")
    if(arg_MAX_LEN)
        list(APPEND options -max_len=${arg_MAX_LEN})
    endif()
    if(arg_DICT)
        list(APPEND options "-dict=${CMAKE_CURRENT_SOURCE_DIR}/${arg_DICT}")
    endif()
    set(corpus "")
    if(arg_CORPUS)
        set(corpus "${CMAKE_CURRENT_SOURCE_DIR}/${arg_CORPUS}")
    endif()
    add_test(NAME fuzz/${arg_NAME}
        COMMAND "${CMAKE_SOURCE_DIR}/cmake/fuzz-run.sh" "$<TARGET_FILE:${target}>" "${CMAKE_BINARY_DIR}/fuzz/${arg_NAME}" "${corpus}" ${options})
    # No time limit of ctest's here: how long it runs is the runner's, which libFuzzer keeps.
    set_tests_properties(fuzz/${arg_NAME} PROPERTIES LABELS fuzz TIMEOUT 0 ENVIRONMENT "UBSAN_OPTIONS=print_stacktrace=1")
endfunction()

# One library with the C code of all FILES (paths below this folder) and of google/protobuf's well-known types, and the descriptor set of all of
# them as hcsd_descriptor_set[] (hcsd_descriptor_set.h) for server reflection.
function(hcsd_proto)
    hcsd_parse("" "" "FILES" ${ARGN})
    find_program(PROTOC protoc REQUIRED)
    find_program(PROTOC_GEN_C protoc-gen-c REQUIRED)
    find_path(PROTOBUF_INCLUDE google/protobuf/any.proto PATHS /usr/include NO_CMAKE_FIND_ROOT_PATH REQUIRED)
    mark_as_advanced(PROTOC PROTOC_GEN_C PROTOBUF_INCLUDE)
    set(well_known google/protobuf/any.proto google/protobuf/timestamp.proto google/protobuf/duration.proto google/protobuf/empty.proto)
    set(directory "${HCSD_GENERATED_DIR}/proto")
    set(sources "")
    set(inputs "")
    foreach(file IN LISTS arg_FILES well_known)
        string(REGEX REPLACE "\\.proto$" ".pb-c" stem "${file}")
        list(APPEND sources "${directory}/${stem}.c")
        list(APPEND headers "${directory}/${stem}.h")
    endforeach()
    foreach(file IN LISTS arg_FILES)
        list(APPEND inputs "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
    endforeach()
    set(descriptor "${directory}/hcsd_descriptor_set")
    file(MAKE_DIRECTORY "${directory}")
    # One run makes all of it: what messages refer to one another by is then of one moment.
    add_custom_command(
        OUTPUT ${sources} ${headers} "${descriptor}.bin"
        COMMAND "${PROTOC}" "--plugin=protoc-gen-c=${PROTOC_GEN_C}" -I . -I "${PROTOBUF_INCLUDE}" "--c_out=${directory}"
            --include_imports "--descriptor_set_out=${descriptor}.bin" ${arg_FILES} ${well_known}
        WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}" DEPENDS ${inputs} VERBATIM COMMENT "protoc ${arg_NAME}")
    add_custom_command(
        OUTPUT "${descriptor}.c" "${descriptor}.h"
        COMMAND "${CMAKE_COMMAND}" -DINPUT=${descriptor}.bin -DNAME=hcsd_descriptor_set -DOUTPUT=${descriptor} -P "${CMAKE_SOURCE_DIR}/cmake/embed.cmake"
        DEPENDS "${descriptor}.bin" "${CMAKE_SOURCE_DIR}/cmake/embed.cmake" VERBATIM COMMENT "")
    add_library(${arg_NAME} STATIC ${sources} ${headers} "${descriptor}.c" "${descriptor}.h")
    target_compile_options(${arg_NAME} PRIVATE -w)
    target_include_directories(${arg_NAME} SYSTEM PUBLIC "${directory}")
    target_link_libraries(${arg_NAME} PUBLIC dep::protobuf_c)
endfunction()

# A DLL without code that holds the texts of the event log, and, as the target hcsd_messages, the header with their identifiers (NAME OF THE .mc
# FILE + .h). The .mc file is UTF-8.
function(hcsd_message_table)
    hcsd_parse("" "MC;RC" "" ${ARGN})
    add_library(hcsd_messages INTERFACE)
    if(NOT WIN32)
        return()
    endif()
    find_program(WINDMC x86_64-w64-mingw32-windmc REQUIRED)
    mark_as_advanced(WINDMC)
    get_filename_component(stem "${arg_MC}" NAME_WE)
    set(directory "${HCSD_GENERATED_DIR}/messages")
    file(MAKE_DIRECTORY "${directory}")
    if(IS_ABSOLUTE "${arg_MC}")
        set(input "${arg_MC}")
    else()
        set(input "${CMAKE_CURRENT_SOURCE_DIR}/${arg_MC}")
    endif()
    add_custom_command(
        OUTPUT "${directory}/${stem}.h" "${directory}/${stem}.rc"
        COMMAND "${WINDMC}" -U -C 65001 -O 65001 -h "${directory}" -r "${directory}" "${input}"
        WORKING_DIRECTORY "${directory}" DEPENDS "${input}" VERBATIM COMMENT "windmc ${arg_MC}")
    add_custom_command(
        OUTPUT "${directory}/${stem}.o"
        COMMAND "${CMAKE_RC_COMPILER}" -c 65001 -I "${directory}" "${arg_RC}" "${directory}/${stem}.o"
        DEPENDS "${directory}/${stem}.rc" "${arg_RC}" VERBATIM COMMENT "windres ${stem}.rc")
    add_custom_target(hcsd_messages_header DEPENDS "${directory}/${stem}.h")
    add_dependencies(hcsd_messages hcsd_messages_header)
    target_include_directories(hcsd_messages SYSTEM INTERFACE "${directory}")
    add_library(dll_messages SHARED "${directory}/${stem}.o")
    set_target_properties(dll_messages PROPERTIES OUTPUT_NAME "${arg_NAME}" PREFIX "" LINKER_LANGUAGE C
        RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
    target_link_options(dll_messages PRIVATE -nostdlib -s -Wl,--entry=0)
endfunction()
