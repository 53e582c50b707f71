# syntax=docker/dockerfile:1
# One image for both services: the arguments select the role ("serve gateway", "serve worker").

FROM rust:1.95.0-bookworm AS base
WORKDIR /build

# The dependencies alone, with empty sources. This layer is rebuilt only when a manifest or the lock file changes.
FROM base AS dependencies
COPY .cargo/config.toml .cargo/
COPY Cargo.toml Cargo.lock ./
# Only tests use this member of the workspace, but Cargo reads its manifest.
COPY tests/support/gcloud/Cargo.toml tests/support/gcloud/
RUN mkdir -p src tests/support/gcloud/src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs tests/support/gcloud/src/lib.rs \
    && cargo build --release --locked --bin mediaforge

FROM dependencies AS build
COPY config config
COPY src src
# Cargo compares modification times, and the sources may be older than the build of the empty ones.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --bin mediaforge \
    && mkdir /data

# Only glibc, libgcc and the CA certificates: no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot AS runtime
LABEL org.opencontainers.image.title="MediaForge" \
      org.opencontainers.image.description="Accepts slow AI image work in milliseconds, never loses it, never charges twice, and shows it live" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /build/target/release/mediaforge /usr/local/bin/mediaforge
# For the embedded backends. On Google Cloud nothing is written here.
COPY --from=build --chown=nonroot:nonroot /data /data
ENV MEDIAFORGE_DATA_DIR=/data
USER nonroot:nonroot
EXPOSE 8080
# No shell in between: the process itself receives SIGTERM and then has ten seconds to stop.
ENTRYPOINT ["/usr/local/bin/mediaforge"]
CMD ["serve"]
