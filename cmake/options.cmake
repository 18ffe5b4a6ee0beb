# How our own code is compiled and linked: the interface target hcsd_options, which every module, program and test of ours uses and generated
# or foreign code does not.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()
foreach(language C CXX)
    # No NDEBUG: what asserts check in our code is checked in production too.
    set(CMAKE_${language}_FLAGS_RELWITHDEBINFO "-O2 -g")
    set(CMAKE_${language}_FLAGS_DEBUG "-O1 -g")
endforeach()

find_program(CCACHE ccache)
mark_as_advanced(CCACHE)
if(CCACHE)
    set(CMAKE_C_COMPILER_LAUNCHER "${CCACHE}")
    set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE}")
endif()

set(HCSD_GENERATED_DIR "${CMAKE_BINARY_DIR}/generated")

set(warnings
    -Wall -Wextra -Wshadow -Wvla -Wformat=2 -Wpointer-arith -Wundef -Wwrite-strings -Wimplicit-fallthrough -Wcast-align -Werror)
set(warnings_c -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Werror=implicit-function-declaration)

add_library(hcsd_options INTERFACE)
target_include_directories(hcsd_options INTERFACE "${CMAKE_SOURCE_DIR}" "${CMAKE_SOURCE_DIR}/lib" "${HCSD_GENERATED_DIR}")
target_compile_options(hcsd_options INTERFACE
    ${warnings} "$<$<COMPILE_LANGUAGE:C>:${warnings_c}>"
    -fno-common -fno-strict-aliasing -ffunction-sections -fdata-sections -fstack-protector-strong
    "-ffile-prefix-map=${CMAKE_SOURCE_DIR}/=")

# Everything of this build, generated code too.
if(WIN32)
    add_compile_definitions(UNICODE _UNICODE _WIN32_WINNT=0x0A00 NTDDI_VERSION=0x0A000006)
    # C99's printf family (%zu, %llu, %ls/%hs as the standard has them) instead of msvcrt's; -Wformat then checks against it.
    add_compile_definitions(__USE_MINGW_ANSI_STDIO=1)
    target_compile_definitions(hcsd_options INTERFACE _FORTIFY_SOURCE=2)
    # The stack protector is a library of its own here.
    add_link_options(-static -fstack-protector-strong -Wl,--gc-sections -Wl,--dynamicbase,--high-entropy-va,--nxcompat)
else()
    add_compile_definitions(_GNU_SOURCE)
    if(HCSD_SANITIZE)
        if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
            message(FATAL_ERROR "HCSD_SANITIZE needs clang (use the preset native-sanitize)")
        endif()
        set(sanitizers -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
        add_compile_options(${sanitizers} -fsanitize=fuzzer-no-link)
        add_link_options(${sanitizers})
    endif()
endif()
