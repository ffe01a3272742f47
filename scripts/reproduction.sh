#!/usr/bin/env bash
# docs/reproduction.md and its plot, from the results of finished studies.
#   scripts/reproduction.sh BAM_BINARY MANIFEST.json [STUDY...]     the manifest of the data that the studies read; default: all of bench/results/studies
# Needs gnuplot (Debian: gnuplot-nox).
set -euo pipefail
[ $# -ge 2 ] || { sed -n 2,4p "$0" >&2; exit 2; }
command -v gnuplot > /dev/null || { echo "error: gnuplot is missing: apt-get install gnuplot-nox" >&2; exit 2; }
here=$(cd "$(dirname "$0")/.." && pwd)
bam=$1 manifest=$2
shift 2
[ $# -gt 0 ] || set -- "$here"/bench/results/studies/*/
inference=()
[ -e "$here/bench/results/inference.json" ] && inference=(--inference "$here/bench/results/inference.json")
"$bam" report --studies "$@" --sources "$manifest" "${inference[@]}" --plot reproduction.svg --out "$here/docs/reproduction.md"
gnuplot -e "table='$here/docs/reproduction.md.csv'; plot_file='$here/docs/reproduction.svg'" "$here/scripts/gains.gp"
rm "$here/docs/reproduction.md.csv"
