#!/bin/sh
# Compiles libllama and the ggml libraries it needs; runs in the toolchain container, without a network.
#
#   compile.sh DEFINITION...     each like -DNAME=VALUE, passed to cmake
#
# Reads /src (the unpacked llama-cpp-python source archive), writes /out/lib. The driving
# CMakeLists is llama.cpp's own rather than llama-cpp-python's: the latter forces
# LLAMA_BUILD_COMMON=ON, which compiles a quarter more objects that no library here links.
set -eu

export CCACHE_DIR=/ccache
# The compiler comes from a package: its content is what identifies it, its mtime is not.
export CCACHE_COMPILERCHECK=content
export CCACHE_MAXSIZE=2G

cmake -S /src/vendor/llama.cpp -B /build -G Ninja "$@"
ninja -C /build llama

# Each under the one name it is looked up by: the bindings' for libllama, its soname for the others.
mkdir -p /out/lib
cp /build/bin/libllama.so /build/bin/libggml*.so.0 /out/lib/
strip --strip-unneeded /out/lib/*
