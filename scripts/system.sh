#!/usr/bin/env bash
# Debian packages for the sandbox, the databases and the browser tests. Without root it says what is missing and goes on.
set -euo pipefail
packages=(bubblewrap slirp4netns postgresql mariadb-server podman chromium git iproute2 util-linux openssh-client openssh-server)
missing=()
command -v npm >/dev/null || packages+=(npm)
"${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
for p in "${packages[@]}"; do dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing+=("$p"); done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ]; then
  echo "!! not root: missing Debian packages ${missing[*]}; the tests that need them will be skipped, loudly" >&2
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
