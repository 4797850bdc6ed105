# Sourced by scripts/lab and scripts/test: the virtual environments, from the hashed locks and nothing else.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
peers=$root/.peers

# say TEXT...: one line of progress, on standard error so that output stays clean.
say() { printf '%s\n' "$*" >&2; }

# stop TEXT WHAT-TO-DO: an error is what happened and what to do about it.
stop() {
  printf 'error: %s\n%s\n' "$1" "$2" >&2
  exit 1
}

# make_venv DIR LOCK: DIR holds exactly what LOCK pins; a changed lock is installed again.
make_venv() {
  local dir=$1 lock=$2 stamp
  stamp=$(sha256sum <"$lock")
  [ "$(cat "$dir/.lock-stamp" 2>/dev/null)" = "$stamp" ] && return
  if [ ! -x "$dir/bin/python" ]; then
    local python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
      stop "$python is missing or older than 3.11" "Install Python 3.11 or newer, or name one: PYTHON=python3.12 $0"
    "$python" -m venv "$dir" ||
      stop "$python cannot make a virtual environment" "On Debian: apt-get install python3-venv"
  fi
  say "installing $(grep -c '==' "$lock") pinned packages of $(basename "$lock") into ${dir#"$root"/}"
  "$dir/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off \
    --require-hashes -r "$lock" 2>&1 | tee "$dir/pip.log" | sed -un 's/^\(Collecting [^ ]*\).*/  \1/p' >&2 || {
    tail -n 20 "$dir/pip.log" >&2
    stop "pip could not install $(basename "$lock")" "Its message is above; the package index must carry the pinned files"
  }
  printf '%s\n' "$stamp" >"$dir/.lock-stamp"
}

# make_project_venv: .venv with every pinned package and this tree installed in place (the command `kdc`).
make_project_venv() {
  make_venv "$venv" "$root/requirements.lock"
  local stamp
  stamp=$(cat "$root/pyproject.toml" <(printf '%s\n' "$root") | sha256sum)
  [ "$(cat "$venv/.project-stamp" 2>/dev/null)" = "$stamp" ] && return
  say "installing the project in place"
  "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --quiet \
    --no-deps --no-build-isolation --no-index -e "$root" >&2 ||
    stop "the project itself could not be installed" "Read pip's message above"
  printf '%s\n' "$stamp" >"$venv/.project-stamp"
}
