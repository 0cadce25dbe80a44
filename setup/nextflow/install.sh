#!/usr/bin/env bash
# Leaves a launcher at .tools/nextflow, see the Makefile.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
tools="$here/../../.tools"
mkdir -p "$tools"

new_enough() {
    local found
    found="$(nextflow -version 2>/dev/null | grep -oE 'version [0-9]+\.[0-9]+' | head -n 1 | cut -d' ' -f2)" || return 1
    [ -n "$found" ] && [ "$(printf '%s\n25.04\n' "$found" | sort -V | head -n 1)" = 25.04 ]
}

command -v java >/dev/null || { echo "ERROR: Nextflow needs Java 17 or later on the PATH: install a JDK." >&2; exit 1; }
if command -v nextflow >/dev/null; then
    new_enough || { echo "ERROR: $(command -v nextflow) is older than 25.04: update it or take it off the PATH." >&2; exit 1; }
    ln -sfn "$(command -v nextflow)" "$tools/nextflow"
elif command -v mvn >/dev/null; then
    rm -rf "$tools/nextflow-runtime"
    # it sets colours back even where it has set none
    mvn -q -B -f "$here/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$tools/nextflow-runtime" | sed $'s/\033\\[[0-9;]*m//g'
    install -m 755 "$here/launcher.sh" "$tools/nextflow"
else
    echo "ERROR: neither Nextflow >= 25.04 nor Maven is on the PATH: install one of them." >&2
    exit 1
fi
"$tools/nextflow" -version | sed -n 's/^ *version/Nextflow/p'
