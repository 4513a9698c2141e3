# Sourced by scripts/demo and scripts/test: brings a checkout on a bare Debian to where it can build and run.
# Asks nothing, does again only what is out of date, and says what it installs.

export DEBIAN_FRONTEND=noninteractive

say() { printf '==> %s\n' "$*" >&2; }

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

require_node() {
  command -v node >/dev/null || die 'Node.js >= 20.19 is needed, and no `node` is on the PATH'
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
    die "Node.js >= 20.19 is needed; this is $(node --version)"
}

# require_packages NAME...: installs those of Debian's packages that are missing.
require_packages() {
  command -v dpkg-query >/dev/null || {
    say "this is no Debian: make sure that you have what these packages of Debian hold: $*"
    return 0
  }
  local missing=() name
  for name in "$@"; do
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0

  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null && sudo -n true 2>/dev/null ||
      die "these packages are missing; as root, run: apt-get install --no-install-recommends ${missing[*]}"
    as_root=(sudo -n --preserve-env=DEBIAN_FRONTEND)
  fi
  say "installing Debian packages: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}

require_node_modules() {
  [ node_modules/.package-lock.json -nt package-lock.json ] && return 0
  say 'installing npm packages (npm ci)'
  npm ci --silent
}

is_built() {
  [ -e dist/.built ] || return 1
  # The compiler for guests of arm64 may have come after the build.
  [ -e dist/guest/polyvisor-agent-arm64 ] || ! command -v aarch64-linux-gnu-gcc >/dev/null || return 1
  [ -z "$(find bin src guest scripts package.json tsconfig*.json -newer dist/.built -print -quit)" ]
}

require_build() {
  is_built && return 0
  say 'building (npm run build)'
  npm run --silent build
  touch dist/.built
}
