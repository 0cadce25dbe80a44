#!/usr/bin/env bash
# Starts the Nextflow that `make setup` assembled from setup/nextflow/pom.xml.
set -euo pipefail
runtime="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/nextflow-runtime"
# Packages that Nextflow's serialisation and file-system layers reach into by reflection.
opens=()
for package in java.io java.lang java.net java.nio java.nio.file.spi java.util java.util.concurrent.atomic \
    java.util.concurrent.locks java.util.regex jdk.internal.misc jdk.internal.vm sun.net.www.protocol.file \
    sun.net.www.protocol.ftp sun.net.www.protocol.http sun.net.www.protocol.https sun.nio.ch sun.nio.fs; do
    opens+=("--add-opens=java.base/${package}=ALL-UNNAMED")
done
# Plugins are not used; without this Nextflow would try to fetch its default ones.
export NXF_OFFLINE=true
export NXF_CLI="$0 $*"
java="${JAVA_HOME:+$JAVA_HOME/bin/}java"
command -v "$java" >/dev/null || { echo "ERROR: Nextflow needs Java 17 or later, and $java is not there: install a JDK, or correct JAVA_HOME." >&2; exit 1; }
exec "$java" ${NXF_OPTS:-} "${opens[@]}" -cp "${runtime}/*" nextflow.cli.Launcher "$@"
