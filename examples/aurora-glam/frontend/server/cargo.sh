#!/bin/sh
# Tests the file server, or builds it: `server/cargo.sh test`, `server/cargo.sh image`.
# The binary is static (its image starts FROM scratch) and the same, byte for byte, wherever the repository lies.
set -eu

cd "$(dirname "$0")"
target=x86_64-unknown-linux-gnu
# Cargo takes flags apart at this character, so that paths may hold blanks.
next=$(printf '\037')
flags="-Ctarget-feature=+crt-static"
flags="$flags$next--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo$next--remap-path-prefix=$(pwd -P)=/server"
export CARGO_ENCODED_RUSTFLAGS="$flags"

case "${1:-}" in
test)
    cargo test --locked --release --target $target --target-dir target
    ;;
image)
    cargo build --locked --release --target $target --target-dir target
    umask 022
    mkdir -p ../dist
    install -m 755 target/$target/release/server ../dist/server
    ;;
*)
    echo "usage: server/cargo.sh test|image" >&2
    exit 2
    ;;
esac
