#!/usr/bin/env bash
# RELION for `make test-hpc`, where it is missing: Debian's package.
set -euo pipefail
command -v relion_reconstruct >/dev/null && exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends relion >/dev/null
else
    echo "ERROR: one of these tests needs relion_reconstruct on the PATH: install RELION >= 3.1" >&2
    exit 1
fi
