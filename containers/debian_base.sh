#!/usr/bin/env bash
# Leaves a small Debian with its Python at FOLDER, from the mirror that this machine's own apt uses: debian_base.sh FOLDER
set -euo pipefail
folder=$1 suite=bookworm
command -v debootstrap >/dev/null || { echo "ERROR: debootstrap is missing: install it with apt-get" >&2; exit 1; }
mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' | awk -v suite=$suite '$1 == suite {print $2; exit}')
[ -n "$mirror" ] || { echo "ERROR: apt knows no mirror of $suite on this machine" >&2; exit 1; }
mkdir -p "$(dirname "$folder")"
temporary=$(mktemp -d "$folder.XXXXXX")
debootstrap --variant=minbase --include=python3,procps $suite "$temporary" "$mirror" >"$temporary.log"
# Where and when it was fetched is no part of it.
rm -rf "$temporary"/var/cache/apt "$temporary"/var/lib/apt/lists "$temporary"/var/log/* "$temporary"/etc/apt/sources.list
chmod 755 "$temporary"
mv "$temporary" "$folder"
rm "$temporary.log"
