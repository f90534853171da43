# Every bench is a program bench/NAME_bench in the build folder; `bench/run` runs them and writes the report.
add_library(bench_harness STATIC bench/bench.c bench/data_bare.c bench/data_chunk.c bench/speech.c)
target_link_libraries(bench_harness PUBLIC dataplane m)

# The world: real worker code under a bench's own thread, wrapped by the linker where stages begin.
set(BENCH_WRAPS worker_main transport_lookup srtp_unprotect_burst rtp_parse source_rtp_input red_parse jitter_put jitter_get
  recut_run pcm_write_cell home_fed opus_decode)
list(TRANSFORM BENCH_WRAPS PREPEND "-Wl,--wrap=")
add_library(bench_world OBJECT bench/world.c bench/world_data.c bench/bare.c bench/stages.c bench/path.c)
target_link_libraries(bench_world PUBLIC bench_harness rte_net_ring PkgConfig::URCU_CDS)

file(GLOB BENCH_SOURCES CONFIGURE_DEPENDS bench/*_bench.c)
foreach(source IN LISTS BENCH_SOURCES)
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
  target_link_libraries(${name} PRIVATE bench_harness)
  if(name MATCHES "^(path|table|ogg|crowd)_bench$")
    target_link_libraries(${name} PRIVATE bench_world)
    target_link_options(${name} PRIVATE ${BENCH_WRAPS})
  endif()
  if(TARGET controlplane AND NOT name MATCHES "^(path|table)_bench$")
    target_link_libraries(${name} PRIVATE controlplane)
  endif()
endforeach()
