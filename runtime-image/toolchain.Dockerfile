# What compiles llama.cpp and assembles the runtime image: nothing but Debian's own packages.
ARG BASE
FROM ${BASE}
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ccache cmake g++ gcc ninja-build python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
