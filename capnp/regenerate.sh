#!/bin/sh
# Compiles every schema to its request file (needs the `capnp` tool, Debian package capnproto).
set -eu
cd "$(dirname "$0")/schema"
for schema in *.capnp; do
    capnp compile -o- "$schema" > "${schema%.capnp}.request.bin"
done
