# syntax=docker/dockerfile:1
# docker build -t kmwatch .
# docker run --read-only --cap-drop ALL --security-opt no-new-privileges \
#     -v ./kmwatch.yaml:/etc/kmwatch/kmwatch.yaml:ro -v kmwatch-state:/var/lib/kmwatch kmwatch
#
# BASE is anything with Python 3.11 or later and its venv module; a bare Debian 12 with python3-venv will do. Pin a digest
# where your releases must be reproducible to the byte. buildah: --format docker, or it leaves out the health check.
# `./dev image` builds it without a registry and tries it.
ARG BASE=python:3.11-slim-bookworm

# hadolint ignore=DL3006
FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# The locked packages first: they change seldom, and so stay in the cache of layers.
COPY requirements.lock requirements-build.lock requirements-sbom.lock ./
RUN python3 -m venv /opt/kmwatch \
    && /opt/kmwatch/bin/pip install --require-hashes --only-binary :all: -r requirements.lock \
    && python3 -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements-build.lock -r requirements-sbom.lock
COPY pyproject.toml README.md LICENSE ./
COPY config config
COPY kmwatch kmwatch
# What is in the image stands in the image: a CycloneDX list of every package, made of the finished environment.
RUN /opt/build/bin/pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /tmp/wheel . \
    && /opt/kmwatch/bin/pip install --no-deps --no-index /tmp/wheel/*.whl \
    && /opt/kmwatch/bin/pip uninstall --yes --quiet pip setuptools \
    && /opt/build/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
        --output-file /opt/kmwatch/sbom.cdx.json /opt/kmwatch/bin/python \
    && /opt/kmwatch/bin/python -m compileall -q /opt/kmwatch

# hadolint ignore=DL3006
FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="kmwatch" \
      org.opencontainers.image.description="Watches who reads the secrets of OpenStack's Key Manager" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 kmwatch \
    && useradd --uid 10001 --gid kmwatch --no-log-init --no-create-home --home-dir /var/lib/kmwatch --shell /usr/sbin/nologin kmwatch \
    && install -d -o kmwatch -g kmwatch -m 0700 /var/lib/kmwatch \
    && install -d /etc/kmwatch
COPY --from=build /opt/kmwatch /opt/kmwatch
ENV PATH=/opt/kmwatch/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
# Relative paths start at the configuration's folder: name the store's in full, as /var/lib/kmwatch/kmwatch.db.
WORKDIR /var/lib/kmwatch
VOLUME /var/lib/kmwatch
EXPOSE 9464
STOPSIGNAL SIGTERM
# Asks the daemon itself, wherever its configuration has it listen, with TLS or without.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 \
    CMD ["kmwatch", "health", "-c", "/etc/kmwatch/kmwatch.yaml"]
ENTRYPOINT ["kmwatch"]
CMD ["run", "-c", "/etc/kmwatch/kmwatch.yaml"]
