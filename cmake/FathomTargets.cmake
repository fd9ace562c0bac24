# How targets of this project are compiled: warnings, language, sanitizers, link lines.

set(FATHOM_SANITIZE "" CACHE STRING "Sanitizers for everything built here, for example address,undefined or thread")
add_library(fathom_warnings INTERFACE)
target_compile_options(fathom_warnings INTERFACE -Wall -Wextra -Wpedantic -Wno-missing-field-initializers)
# GCC 12 calls vectors inside designated initialisers uninitialised where it unrolls their destruction.
target_compile_options(fathom_warnings INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
if(FATHOM_SANITIZE)
  add_compile_options(-fsanitize=${FATHOM_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${FATHOM_SANITIZE})
endif()
if(FATHOM_FUZZERS)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

function(fathom_library_settings target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_include_directories(${target}
    PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>
    PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${target}
    PUBLIC Threads::Threads
    PRIVATE $<BUILD_INTERFACE:fathom_warnings> $<BUILD_INTERFACE:nlohmann_json::nlohmann_json>
            $<BUILD_INTERFACE:Eigen3::Eigen> $<BUILD_INTERFACE:Boost::headers> hwy::hwy fmt::fmt OpenSSL::Crypto
            PkgConfig::pcre2 PkgConfig::utf8proc PkgConfig::xxhash)
  # Products are fused where the source says so (std::fma, MulAdd) and nowhere else: bits must not depend on the compiler's taste.
  target_compile_options(${target} PRIVATE -ffp-contract=off)
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_EXTENSIONS OFF)
endfunction()

function(fathom_program target)
  add_executable(${target} ${ARGN})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  target_link_libraries(${target} PRIVATE Fathom::fathom fathom_warnings fmt::fmt)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
endfunction()
