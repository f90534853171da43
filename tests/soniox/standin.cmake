# soniox-standin: a stand-in of Soniox real-time speech-to-text; no code of relay in it but base.h.
find_library(POCKETSPHINX_LIB pocketsphinx REQUIRED) # Debian's .pc files name a folder that is not there
find_library(SPHINXBASE_LIB sphinxbase REQUIRED)
find_path(POCKETSPHINX_INCLUDE pocketsphinx.h PATH_SUFFIXES pocketsphinx REQUIRED)
pkg_check_modules(OGG REQUIRED IMPORTED_TARGET ogg)

file(GLOB STANDIN_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/soniox/*.c)
list(FILTER STANDIN_SOURCES EXCLUDE REGEX "/main\\.c$")
add_library(standin STATIC ${STANDIN_SOURCES})
target_link_libraries(standin PUBLIC relay_flags ${POCKETSPHINX_LIB} ${SPHINXBASE_LIB} PkgConfig::OGG PkgConfig::OPUS
  PkgConfig::OPENSSL PkgConfig::JANSSON Threads::Threads m)
target_include_directories(standin SYSTEM PRIVATE ${POCKETSPHINX_INCLUDE})
add_executable(soniox-standin ${CMAKE_SOURCE_DIR}/tests/soniox/main.c)
target_link_libraries(soniox-standin PRIVATE standin)

foreach(user IN ITEMS standin_test standin_fuzz soniox_test soniox_line_test soniox_trust_test alloc_soniox_test)
  if(TARGET ${user})
    target_link_libraries(${user} PRIVATE standin)
  endif()
endforeach()

# Over the wire, the last two with Soniox' own SDKs; the first two once more under AddressSanitizer.
if(RELAY_SUITES)
  foreach(suite IN ITEMS protocol faults sdk sdk_python)
    add_test(NAME soniox.standin_${suite} COMMAND ${CMAKE_SOURCE_DIR}/tests/soniox/run ${suite} ${CMAKE_BINARY_DIR})
    set_tests_properties(soniox.standin_${suite} PROPERTIES LABELS soniox TIMEOUT 200 SKIP_RETURN_CODE 77)
  endforeach()
  foreach(suite IN ITEMS protocol faults)
    add_test(NAME soniox.standin_${suite}_asan
      COMMAND ${CMAKE_SOURCE_DIR}/tests/soniox/run ${suite} ${CMAKE_SOURCE_DIR}/build/asan)
    set_tests_properties(soniox.standin_${suite}_asan PROPERTIES LABELS soniox TIMEOUT 200 SKIP_RETURN_CODE 77)
  endforeach()
endif()
