#!/usr/bin/env bash
# docs/reproduction.md and its plot, from the results of finished studies.
#   scripts/reproduction.sh BAM_BINARY [MANIFEST.json [STUDY...]]   the manifest of the data that the studies read, for the table of sources ("" where there is none); default: all studies of BAM in bench/results/studies
# Needs gnuplot (Debian: gnuplot-nox).
set -euo pipefail
[ $# -ge 1 ] || { sed -n 2,4p "$0" >&2; exit 2; }
command -v gnuplot > /dev/null || { echo "error: gnuplot is missing: apt-get install gnuplot-nox" >&2; exit 2; }
here=$(cd "$(dirname "$0")/.." && pwd)
bam=$1 sources=()
[ -z "${2:-}" ] || sources=(--sources "$2")
shift $(($# < 2 ? $# : 2))
if [ $# = 0 ]; then  # studies of transfer are another subject
  for folder in "$here"/bench/results/studies/*/; do grep -qs '"study": "clt"' "$folder/study.json" || set -- "$@" "$folder"; done
fi
inference=()
[ -e "$here/bench/results/inference.json" ] && inference=(--inference "$here/bench/results/inference.json")
"$bam" report --studies "$@" "${sources[@]}" "${inference[@]}" --plot reproduction.svg --out "$here/docs/reproduction.md"
gnuplot -e "table='$here/docs/reproduction.md.csv'; plot_file='$here/docs/reproduction.svg'" "$here/scripts/gains.gp"
rm "$here/docs/reproduction.md.csv"
