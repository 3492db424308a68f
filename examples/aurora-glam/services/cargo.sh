#!/bin/sh
# Runs cargo for the service in whose directory it is called: `../cargo.sh test`, `../cargo.sh image`.
# The binary is static (its image starts FROM scratch) and the same, byte for byte, wherever the repository lies.
set -eu

service=$(basename "$PWD")
services=$(cd .. && pwd -P)
target=x86_64-unknown-linux-gnu
# Cargo takes flags apart at this character, so that paths may hold blanks.
next=$(printf '\037')
flags="-Ctarget-feature=+crt-static"
flags="$flags$next--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo$next--remap-path-prefix=$services=/services"
export CARGO_ENCODED_RUSTFLAGS="$flags"
CARGO_TARGET_DIR="$services/target"
export CARGO_TARGET_DIR

case "${1:-}" in
test)
    # With the flags and the profile of the image: dependencies are compiled once, and what is tested is what runs.
    cargo test --workspace --locked --release --target $target
    ;;
image)
    cargo build --locked --release --target $target
    umask 022
    mkdir -p dist
    install -m 755 "$CARGO_TARGET_DIR/$target/release/$service" "dist/$service"
    ;;
*)
    echo "usage: ../cargo.sh test|image" >&2
    exit 2
    ;;
esac
