#!/usr/bin/env bash
# Chromium and its driver for the tests of the report, where they are missing: Debian's packages.
set -euo pipefail
command -v chromium >/dev/null && command -v chromedriver >/dev/null && exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null
else
    echo "ERROR: the tests of the report need chromium and chromedriver on the PATH: install Debian's packages chromium" >&2
    echo "and chromium-driver, or those of your system; all other tests: .venv/bin/python -m pytest --ignore tests/browser" >&2
    exit 1
fi
