# The whole playground in one image; docs/container.md says how to build and run it.
#
#   docker build -t playground .
#
# RUST is the source of today's compiler: `distribution` (Debian's packages, from Debian's archive) or `rustup` (RUSTUP
# then names the toolchain).
# Behind a proxy or with your own certificates, pass two secrets, which are stored in no layer: `pip.conf`, and
# `ca-certificates`, a bundle in PEM form.
ARG RUST=distribution

# --- Debian's part of the running image -------------------------------------------------------------------------------
FROM debian:bookworm-slim AS system
# Omit manuals, but keep licences.
RUN printf 'path-exclude=/usr/share/%s/*\n' man info locale lintian doc >/etc/dpkg/dpkg.cfg.d/no-manuals \
    && echo 'path-include=/usr/share/doc/*/copyright' >>/etc/dpkg/dpkg.cfg.d/no-manuals
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        binutils-multiarch bsdextrautils bubblewrap file gcc libc6-dev lld python3 qemu-system-arm qemu-system-x86 strace tini xxd \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/apt /var/log/*.log \
    # gcc is only needed for linking. Its compiler, link-time optimizer and sanitizers are a tenth of the image.
    && rm -f /usr/lib/gcc/*/*/cc1 /usr/lib/gcc/*/*/lto1 /usr/lib/gcc/*/*/lib?san* /usr/lib/*/lib?san.so* \
        /usr/bin/*lto-dump* /usr/bin/*gcov* /usr/bin/qemu-system-aarch64 /usr/*/qemu-system-i386

# --- today's compiler, when it is the distribution's -------------------------------------------------------------------
FROM system AS compiler
ARG RUST
RUN case "$RUST" in distribution) ;; rustup) exit 0 ;; *) echo "RUST is distribution or rustup" >&2; exit 2 ;; esac; \
    apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends cargo-web rust-web-clippy rustc-web rustfmt-web \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/apt /var/log/*.log

# --- the Python packages of uv.lock, verified by checksum --------------------------------------------------------------
FROM system AS python
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends ca-certificates python3-venv
WORKDIR /opt/playground
COPY pyproject.toml uv.lock ./
COPY deploy/install-python /tmp/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca-certificates,target=/run/ca-certificates.crt \
    if [ -s /run/ca-certificates.crt ]; then export PIP_CERT=/run/ca-certificates.crt; fi; \
    python3 /tmp/install-python cluster \
    && find .venv -name '*.a' -delete
COPY app app
RUN .venv/bin/python -m compileall -q app

# --- every target of every lesson, and the compiler of the post's time -------------------------------------------------
FROM compiler AS targets
ARG RUST
ARG RUSTUP=stable
ARG RUSTUP_INIT=1.28.2
ENV RUSTUP_HOME=/opt/rustup CARGO_HOME=/opt/cargo
# Keep the package lists, with which set-up finds the compiler's sources and the older compiler.
RUN --mount=type=secret,id=ca-certificates,target=/run/ca-certificates.crt \
    set -eu; apt-get update -qq; mkdir -p "$RUSTUP_HOME"; export DEBIAN_FRONTEND=noninteractive; \
    if [ "$RUST" = distribution ]; then apt-get install -qq -y --no-install-recommends rust-web-src; exit 0; fi; \
    apt-get install -qq -y --no-install-recommends ca-certificates curl; \
    if [ -s /run/ca-certificates.crt ]; then export CURL_CA_BUNDLE=/run/ca-certificates.crt SSL_CERT_FILE=/run/ca-certificates.crt; fi; \
    from=https://static.rust-lang.org/rustup/archive/$RUSTUP_INIT/$(uname -m)-unknown-linux-gnu; cd /tmp; \
    for file in rustup-init rustup-init.sha256; do curl --proto =https --fail --silent --show-error -O "$from/$file"; done; \
    echo "$(cut -c 1-64 rustup-init.sha256)  rustup-init" | sha256sum --check --quiet; chmod +x rustup-init; \
    ./rustup-init -y --quiet --no-modify-path --profile minimal --component clippy --component rustfmt --default-toolchain "$RUSTUP"
COPY --from=python /opt/playground /opt/playground
COPY lessons /opt/playground/lessons
RUN --mount=type=secret,id=ca-certificates,target=/run/ca-certificates.crt \
    set -eu; if [ -s /run/ca-certificates.crt ]; then export SSL_CERT_FILE=/run/ca-certificates.crt; fi; \
    export PLAYGROUND_CACHE_DIR=/var/cache/freestanding-playground; \
    /opt/playground/.venv/bin/playground setup --all --era; \
    /opt/playground/.venv/bin/playground doctor; \
    rm -rf "$PLAYGROUND_CACHE_DIR"/*.lock "$PLAYGROUND_CACHE_DIR"/era/*/usr/share

# --- what runs ---------------------------------------------------------------------------------------------------------
FROM compiler
LABEL org.opencontainers.image.title="A Freestanding Rust Binary: the playground" \
      org.opencontainers.image.description="A tutorial of freestanding Rust binaries on the real cargo, in isolated runs"
# Mode 1777, so that a server that is started with --user can use a fresh volume; as root, deploy/entry closes it.
RUN useradd --system --uid 990 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin playground \
    && install -d -m 1777 /data
COPY --from=targets /opt/rustup /opt/rustup
COPY --from=targets /var/cache/freestanding-playground /var/cache/freestanding-playground
COPY --from=python /opt/playground /opt/playground
COPY lessons /opt/playground/lessons
COPY static /opt/playground/static
COPY deploy/as-server deploy/backup deploy/entry deploy/healthcheck deploy/playground deploy/restore /usr/local/bin/
ENV PYTHONDONTWRITEBYTECODE=1 RUSTUP_HOME=/opt/rustup \
    PLAYGROUND_HOST=0.0.0.0 PLAYGROUND_DATA_DIR=/data PLAYGROUND_CACHE_DIR=/var/cache/freestanding-playground \
    PLAYGROUND_LOG_FORMAT=json
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["healthcheck"]
ENTRYPOINT ["tini", "--", "entry"]
CMD ["serve"]
