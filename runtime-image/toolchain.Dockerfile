# The tools that compile llama.cpp and assemble the runtime image; all are Debian packages.
ARG BASE
FROM ${BASE}
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ccache cmake g++ gcc ninja-build python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
