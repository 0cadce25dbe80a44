#!/bin/bash
# Stands in for every script of bin/ in benchmarks/overhead.py: sleeps, then makes empty outputs of the right names.
set -eu
step=$(basename "$0" .py)
declare -A given=()
for word in "$@"; do
    case $word in
        --*) name=${word#--}; given[$name]= ;;
        *) [ -z "${name:-}" ] || given[$name]=$word; name= ;;
    esac
done
output=${given[output]:-}

# Only what a round consists of takes time; what comes before the first round and after the last does not.
case $step in
    train|embed|cluster|decode|refine) sleep "$STUB_SECONDS" ;;
    split) [ -n "${given[consensus]+set}" ] || sleep "$STUB_SECONDS" ;;
    reconstruct) [[ $output == */consensus ]] || sleep "$STUB_SECONDS" ;;
    merge) [ "${given[round]}" = 0 ] || sleep "$STUB_SECONDS" ;;
esac

maps() {
    touch "$1_half1.mrc" "$1_half2.mrc" "$1.mrc" "$1_fsc.csv"
}

case $step in
    versions) echo "stub: 0" ;;
    digest) echo '{}' > "$output" ;;
    check_inputs) touch "$output" "${given[report]}" ;;
    downsample) touch "${given[stack]}" "${given[noise]}" ;;
    train|decode) mkdir "$output"; touch "$output/file" ;;
    embed) mkdir "$output"; touch "$output/embedding.csv" ;;
    cluster) touch "$output" "${given[record]}" ;;
    split)
        mkdir "$output"
        clusters=consensus
        [ -n "${given[consensus]+set}" ] || clusters=$(seq -f 'cluster_%02g' "$STUB_CLUSTERS")
        reference=consensus
        [ "${given[limit]}" != none ] || reference=reconstruct
        echo cluster,limit,reference,chunk > "$output/plan.csv"
        for cluster in $clusters; do
            for chunk in $(seq -f "${cluster}_chunk_%04g.star" "$([ "$cluster" = consensus ] && echo 1 || echo "$STUB_CHUNKS")"); do
                touch "$output/$chunk"
                echo "$cluster,${given[limit]},$reference,$chunk" >> "$output/plan.csv"
            done
        done ;;
    mask) touch "$output" ;;
    insert) touch "${given[part]}" ;;
    refine) touch "${given[part]}" "$output" ;;
    reconstruct) maps "$output" ;;
    merge)
        mkdir "${given[references]}"
        for name in consensus $(seq -f 'cluster_%02g' "$STUB_CLUSTERS"); do maps "${given[references]}/$name"; done
        touch "${given[references]}/mask.mrc" "${given[references]}/noise.csv" "${given[references]}/fsc.csv"
        touch "${given[particles]}" "${given[metrics]}" "${given[said]}"
        echo false ;;
    report) mkdir "$output"; touch "$output/summary.csv" ;;
    export) mkdir "$output" ;;
esac
