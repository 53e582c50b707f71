# syntax=docker/dockerfile:1
# One image, two services: the arguments say which part runs ("serve gateway", "serve worker").

FROM rust:1.95.0-bookworm AS base
WORKDIR /build

# The dependencies alone, below sources that say nothing: built again only when a manifest or the lock file changes.
FROM base AS dependencies
COPY .cargo/config.toml .cargo/
COPY Cargo.toml Cargo.lock ./
# A member of the workspace that only tests use; Cargo reads its manifest nevertheless.
COPY tests/support/gcloud/Cargo.toml tests/support/gcloud/
RUN mkdir -p src tests/support/gcloud/src \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs tests/support/gcloud/src/lib.rs \
    && cargo build --release --locked --bin mediaforge

FROM dependencies AS build
COPY config config
COPY src src
# The sources may be older than what was made of the empty ones, and Cargo goes by their times.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --bin mediaforge \
    && mkdir /data

# glibc, libgcc and the certificates of the authorities, and nothing else: no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot AS runtime
LABEL org.opencontainers.image.title="MediaForge" \
      org.opencontainers.image.description="Accepts slow AI image work in milliseconds, never loses it, never charges twice, and shows it live" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /build/target/release/mediaforge /usr/local/bin/mediaforge
# For the embedded parts; on Google Cloud nothing is written here.
COPY --from=build --chown=nonroot:nonroot /data /data
ENV MEDIAFORGE_DATA_DIR=/data
USER nonroot:nonroot
EXPOSE 8080
# No shell in between: the process itself hears SIGTERM, and has ten seconds then.
ENTRYPOINT ["/usr/local/bin/mediaforge"]
CMD ["serve"]
