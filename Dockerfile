# The supervisor as a container. `weos-engine images supervisor` assembles the build context and builds the image.
# The context contains the wheels of supervisor/requirements-server.lock, fetched on the host by hash, and the files
# that determine the engine's version. The build therefore downloads only Debian's packages. docs/deploying.md says how
# to start the container and which rights it then has.
ARG BASE
FROM ${BASE}
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
COPY wheels/ /tmp/wheels/
COPY engine/supervisor/requirements-server.lock /tmp/
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-index --find-links /tmp/wheels --require-hashes --no-deps \
        -r /tmp/requirements-server.lock \
    && rm -rf /tmp/wheels
COPY engine/ /opt/weos-engine/
WORKDIR /opt/weos-engine
ENV PATH=/opt/venv/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 LANG=C.UTF-8 WEOS_NO_INSTALL=1
ENTRYPOINT ["python3", "-m", "supervisor"]
CMD ["serve"]
