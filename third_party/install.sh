#!/usr/bin/env bash
# Installs the Debian packages of packages.txt that are missing, and nothing where all are there.
set -euo pipefail
list=$(dirname "$0")/packages.txt
missing=()
for package in $(grep -v '^#' "$list"); do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
echo "installing ${missing[*]}" >&2
sudo=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo > /dev/null || { echo "error: installing packages needs root; run as root: apt-get install ${missing[*]}" >&2; exit 1; }
  sudo=sudo
fi
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq || true  # a list that could not be renewed may still do
$sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
