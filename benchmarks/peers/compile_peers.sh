#!/bin/sh
# Compiles llama-bench and llama-server; runs in the toolchain container, without a network.
#
#   compile_peers.sh DEFINITION...     each like -DNAME=VALUE, passed to cmake
#
# Reads /src (the unpacked llama-cpp-python source archive), writes /out/peers.
set -eu

export CCACHE_DIR=/ccache
# The compiler comes from a package: its content is what identifies it, its mtime is not.
export CCACHE_COMPILERCHECK=content
export CCACHE_MAXSIZE=2G

cmake -S /src/vendor/llama.cpp -B /build -G Ninja "$@"
ninja -C /build llama-bench llama-server

# With the C library they were linked to: the host's may be an older one.
mkdir -p /out/peers/lib
cp /build/bin/llama-bench /build/bin/llama-server /out/peers/
for program in llama-bench llama-server; do
    ldd "/build/bin/$program" | sed -nE 's/^.* (\/[^ ]+) \(0x.*$/\1/p'
done | sort -u | while read -r library; do
    cp -L "$library" "/out/peers/lib/${library##*/}"
done
cp -L /lib64/ld-linux-x86-64.so.2 /out/peers/lib/
strip --strip-unneeded /out/peers/lib/libllama* /out/peers/lib/libggml* /out/peers/llama-*
