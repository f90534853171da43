# relay: thin over CMake, CTest and the scripts in tests/.
.PHONY: help demo demo-web test bench build clean
help:
	@echo "make demo       real speech through a real LiveKit server and relayd to a gRPC client"
	@echo "make demo-web   a page to speak into, with captions and a button for everything that can break"
	@echo "make test       install what is missing, build, run every test"
	@echo "make bench      what a packet and a user cost: one report with plots, in five minutes"
	@echo "make build      build/release/relayd and relayctl"
	@echo "make clean      remove build/ except the cached peers"

build:
	@tests/setup build
	@tests/build release "release (relayd, relayctl)"

demo:
	@tests/setup
	@tests/build release "release (relayd, relayctl)"
	@tests/demo/run

demo-web:
	@tests/setup
	@tests/build release "release (relayd, relayctl)"
	@tests/demo-web

test:
	@tests/run

bench:
	@tests/setup
	@cmake --preset release >/dev/null && cmake --build build/release
	@bench/run

clean:
	@find build -mindepth 1 -maxdepth 1 ! -name peers ! -name soniox -exec rm -rf {} +
