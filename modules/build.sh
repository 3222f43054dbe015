#!/bin/sh
# Compiles every standard module to target/guests/NAME.wasm, as `como module build modules/standard/NAME` does. Usage: modules/build.sh [NAME...]
set -eu
cd "$(dirname "$0")/.."
target=wasm32-unknown-unknown
if ! rustup target list --installed | grep -qx "$target"; then
    rustup target add "$target"
fi
mkdir -p "${CARGO_TARGET_DIR:-target}/guests"
out=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
export CARGO_TARGET_DIR="$out"
# Settings of whoever builds would replace those of modules/.cargo/config.toml.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS
[ $# -gt 0 ] || set -- $(ls modules/standard)
for name in "$@"; do
    # A guest's memory is fixed at link time: what its module.toml says is what it gets.
    memory_kib=$(sed -n 's/^memory_kib *= *\([0-9]*\).*/\1/p' "modules/standard/$name/module.toml")
    memory_bytes=$((memory_kib * 1024))
    (cd "modules/standard/$name" && cargo rustc --quiet --release --target "$target" --crate-type cdylib -- \
        -C link-arg=--initial-memory=$memory_bytes -C link-arg=--max-memory=$memory_bytes)
    cp "$out/$target/release/como_$(echo "$name" | tr - _).wasm" "$out/guests/$name.wasm"
done
ls -l "$out/guests"
