#!/bin/sh
# Does each program find its libraries and start? What it says to an empty input is its own affair.
set -u
status=0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for program in /opt/frealign/bin/*; do
    missing=$(ldd "$program" 2>&1 | grep 'not found')
    if [ -n "$missing" ]; then
        printf 'ERROR: %s:\n%s\n' "$program" "$missing" >&2
        status=1
        continue
    fi
    timeout 10 "$program" </dev/null >output 2>&1
    code=$?
    case $code in
        126 | 127 | 132) printf 'ERROR: %s does not start (status %s):\n' "$program" "$code" >&2; cat output >&2; status=1 ;;
        *) printf '%s starts\n' "${program##*/}" ;;
    esac
done
exit $status
