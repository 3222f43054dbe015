#!/bin/sh
# Compiles every standard module to target/guests/NAME.wasm. Usage: modules/build.sh [NAME...]
# A guest's memory is fixed at link time: what its module.toml says is what it gets.
set -eu
cd "$(dirname "$0")/.."
target=wasm32-unknown-unknown
if ! rustup target list --installed | grep -qx "$target"; then
    rustup target add "$target"
fi
out=${CARGO_TARGET_DIR:-target}
mkdir -p "$out/guests"
# The guest ABI's features (docs/module-abi.md): no reference types, no tail calls.
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="-C target-cpu=mvp -C target-feature=+bulk-memory,+sign-ext,+nontrapping-fptoint,+mutable-globals,+simd128 -C link-arg=-zstack-size=32768"
[ $# -gt 0 ] || set -- $(ls modules/standard)
for name in "$@"; do
    memory_kib=$(sed -n 's/^memory_kib *= *//p' "modules/standard/$name/module.toml")
    memory_bytes=$((memory_kib * 1024))
    cargo rustc --quiet --profile guest --target "$target" -p "como-$name" --crate-type cdylib -- \
        -C link-arg=--initial-memory=$memory_bytes -C link-arg=--max-memory=$memory_bytes
    cp "$out/$target/guest/como_$(echo "$name" | tr - _).wasm" "$out/guests/$name.wasm"
done
ls -l "$out/guests"
