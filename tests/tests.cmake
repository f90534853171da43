# Every suite that `ctest` runs. Unit tests: tests/unit/NAME_test.c, one program each.
option(RELAY_SUITES "the dev build runs the suites of the other builds too" OFF)
set(RELAY_UNIT all CACHE STRING "unit tests of this build: all, concurrent, none")
# The concurrent parts, for ThreadSanitizer; gRPC's core is not instrumented and would only cry wolf.
set(CONCURRENT dataplane hearing hostility latency pcm rcu resolve soniox_line soniox_trust ws)
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
pkg_check_modules(SRTP2 REQUIRED IMPORTED_TARGET libsrtp2)
pkg_check_modules(USRSCTP REQUIRED IMPORTED_TARGET usrsctp) # the reference peer of our own SCTP

# libsrtp2 has function names of ours: it is loaded at run time by a file of its own.
add_library(test_support STATIC tests/support/srtp_oracle.c)
target_link_libraries(test_support PUBLIC relay_flags PkgConfig::SRTP2 PkgConfig::OPENSSL ${CMAKE_DL_LIBS})

file(GLOB UNIT_SOURCES CONFIGURE_DEPENDS tests/unit/*_test.c)
if(RELAY_UNIT STREQUAL concurrent)
  list(TRANSFORM CONCURRENT REPLACE "(.+)" "${CMAKE_SOURCE_DIR}/tests/unit/\\1_test.c" OUTPUT_VARIABLE UNIT_SOURCES)
elseif(RELAY_UNIT STREQUAL none)
  set(UNIT_SOURCES)
endif()
foreach(source IN LISTS UNIT_SOURCES)
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  if(TARGET controlplane)
    target_link_libraries(${name} PRIVATE controlplane)
  endif()
  target_link_libraries(${name} PRIVATE test_support dataplane PkgConfig::CMOCKA)
  if(name MATCHES "usrsctp")
    target_link_libraries(${name} PRIVATE PkgConfig::USRSCTP)
  endif()
  add_test(NAME unit.${name} COMMAND ${name})
  set_tests_properties(unit.${name} PROPERTIES LABELS unit TIMEOUT 300 WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
endforeach()
if(TARGET ogg_opus_test)
  pkg_check_modules(OPUSFILE REQUIRED IMPORTED_TARGET opusfile)
  target_link_libraries(ogg_opus_test PRIVATE PkgConfig::OPUSFILE PkgConfig::OPUS)
endif()

# The network that misbehaves, of tests/testbed up --injector.
add_executable(injector tests/support/injector.c)
target_link_libraries(injector PRIVATE relay_flags)

# It puts a ring device into the place of the configured one before a worker runs.
if(TARGET hostility_test)
  target_link_libraries(hostility_test PRIVATE rte_net_ring)
  target_link_options(hostility_test PRIVATE -Wl,--wrap=port_start)
endif()

# Names without an answer, and time that flies.
if(TARGET resolve_test)
  target_link_options(resolve_test PRIVATE -Wl,--wrap=getaddrinfo,--wrap=clock_gettime)
endif()

# It counts lines of the log.
if(TARGET leg_test)
  target_link_options(leg_test PRIVATE -Wl,--wrap=log_write)
endif()

# It plays control in the middle of a worker's turn.
if(TARGET home_test)
  target_link_options(home_test PRIVATE -Wl,--wrap=source_deadline_ns,--wrap=source_hear)
endif()

# A hostile gRPC client, for tests/e2e and bench/.
add_executable(grpc-attack tests/support/grpc_attack.c)
target_link_libraries(grpc-attack PRIVATE relay_flags PkgConfig::ZLIB)
# Stops one thread of relayd.
add_executable(thread-stall tests/support/thread_stall.c)
target_link_libraries(thread-stall PRIVATE relay_flags)
# Random datagrams at a rate.
add_executable(udp-flood tests/support/udp_flood.c)
target_link_libraries(udp-flood PRIVATE relay_flags)

# Fuzz targets: with RELAY_FUZZ real libFuzzer programs, otherwise a replay of the corpus and of every old crash.
file(GLOB FUZZ_SOURCES CONFIGURE_DEPENDS tests/fuzz/*_fuzz.c)
if(NOT RELAY_UNIT STREQUAL all)
  set(FUZZ_SOURCES)
endif()
foreach(source IN LISTS FUZZ_SOURCES)
  get_filename_component(name ${source} NAME_WE)
  string(REPLACE "_fuzz" "" token ${name})
  if(RELAY_FUZZ)
    add_executable(${name} ${source})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    add_executable(${name} ${source} tests/fuzz/replay.c)
    add_test(NAME fuzz.${token} COMMAND ${name} tests/fuzz/corpus/${token} tests/fuzz/regress/${token})
    set_tests_properties(fuzz.${token} PROPERTIES LABELS fuzz TIMEOUT 120 WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  endif()
  set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-Wno-missing-prototypes")
  if(TARGET controlplane)
    target_link_libraries(${name} PRIVATE controlplane)
  endif()
  target_link_libraries(${name} PRIVATE dataplane)
endforeach()

include(${CMAKE_SOURCE_DIR}/tests/soniox/standin.cmake)

# Lints: what a reader may rely on without looking.
foreach(lint IN ITEMS check-roles check-door check-size)
  add_test(NAME lint.${lint} COMMAND ${CMAKE_SOURCE_DIR}/tests/lint/${lint})
  set_tests_properties(lint.${lint} PROPERTIES LABELS lint TIMEOUT 60 WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
endforeach()
find_program(CLANG clang)
if(CLANG)
  add_test(NAME lint.roles_checked COMMAND ${CLANG} -std=c17 -fsyntax-only -Wthread-safety -Werror -I${CMAKE_SOURCE_DIR}
    ${CMAKE_SOURCE_DIR}/tests/lint/roles_negative.c)
  set_tests_properties(lint.roles_checked PROPERTIES LABELS lint WILL_FAIL TRUE)
endif()

# What a packet of a track, and of the data way, costs against the bare parts of the same run, and what a user takes of memory, in
# the build that ships.
if(RELAY_SUITES)
  foreach(bench IN ITEMS path data memory)
    add_test(NAME bench.${bench} COMMAND ${CMAKE_SOURCE_DIR}/build/release/bench/${bench}_bench --short)
    set_tests_properties(bench.${bench} PROPERTIES LABELS bench TIMEOUT 120 RUN_SERIAL TRUE)
  endforeach()
endif()

# End to end: a real LiveKit server, its real SDK as the phone, the stock gRPC client as the cloud. One at a time: two cores.
if(RELAY_SUITES)
  file(GLOB E2E_TESTS CONFIGURE_DEPENDS tests/e2e/*.test.mjs)
  foreach(test IN LISTS E2E_TESTS)
    get_filename_component(name ${test} NAME_WE)
    add_test(NAME e2e.${name} COMMAND ${CMAKE_SOURCE_DIR}/tests/e2e/run ${test} ${CMAKE_SOURCE_DIR}/build/release)
    set_tests_properties(e2e.${name} PROPERTIES LABELS e2e TIMEOUT 420 RUN_SERIAL TRUE SKIP_RETURN_CODE 77
      WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  endforeach()
  # The page of `make demo-web` in Chromium, each of its buttons; and with a key, by TLS to what stands in Soniox' place.
  add_test(NAME web.demo COMMAND ${CMAKE_SOURCE_DIR}/tests/web/run)
  add_test(NAME web.service COMMAND ${CMAKE_SOURCE_DIR}/tests/web/run service.test.mjs)
  set_tests_properties(web.demo web.service PROPERTIES LABELS e2e TIMEOUT 420 RUN_SERIAL TRUE SKIP_RETURN_CODE 77 WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  # The program as it ships: what the optimiser made of it is what runs.
  add_test(NAME lint.check-hotpath COMMAND ${CMAKE_SOURCE_DIR}/tests/lint/check-hotpath ${CMAKE_SOURCE_DIR}/build/release/relayd)
  set_tests_properties(lint.check-hotpath PROPERTIES LABELS lint TIMEOUT 120)
  # The same unit tests under the sanitizers, whose builds stand beside this one.
  foreach(sanitizer IN ITEMS asan tsan)
    add_test(NAME ${sanitizer}.unit COMMAND ${CMAKE_SOURCE_DIR}/tests/unit/sanitized ${sanitizer})
    set_tests_properties(${sanitizer}.unit PROPERTIES LABELS ${sanitizer} TIMEOUT 900 RUN_SERIAL TRUE
      WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  endforeach()
endif()
