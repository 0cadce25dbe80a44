#!/usr/bin/env bash
# Apptainer for `make test-hpc` where it is missing, from the tools beside the checkout.
set -euo pipefail
command -v apptainer >/dev/null && exit 0
install=$(dirname "$0")/../../../shared/tools/install_apptainer.sh
if [ -e "$install" ] && [ "$(id -u)" = 0 ]; then
    bash "$install"
else
    echo "ERROR: the images need Apptainer >= 1.2: its project publishes packages for most distributions" >&2
    exit 1
fi
