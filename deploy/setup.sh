#!/usr/bin/env bash
# Installs what a build and the lab need and this machine lacks. Asks the package manager only if something is missing, so a
# second run fetches nothing.
#
#   deploy/setup.sh          what building, the lab and the tests need
#   deploy/setup.sh verify   also what `make verify` needs
#   deploy/setup.sh ebpf     also what compiling the XDP programs needs
set -euo pipefail

fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else fail "root is needed for: $*"
    fi
}

missing=()
# need PACKAGE TEST...: adds the package unless the test succeeds.
need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}
have() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1"; }

need gcc have cc
need libc6-dev test -e /usr/include/stdio.h
need make have make
need iproute2 have ip
need util-linux have nsenter
need ethtool have ethtool
need curl have curl
need nginx have nginx
need libnginx-mod-stream test -e /usr/lib/nginx/modules/ngx_stream_module.so
need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
# A toolchain from rustup is used as it is; without one, Debian's and Ubuntu's newest packages do.
if ! have cargo >/dev/null && ! [ -x "$HOME/.cargo/bin/cargo" ]; then
    missing+=(cargo-web rustc-web)
fi
if [ "${1:-}" = verify ]; then
    need g++ have g++
fi
if [ "${1:-}" = ebpf ]; then
    need rustc-web test -x /usr/bin/rustc
    need libstd-rust-web-dev-bpf sh -c 'ls -d /usr/lib/rustlib/bpfel-unknown-none'
    need llvm-22-dev test -d /usr/lib/llvm-22
fi

if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null ||
        fail "missing: ${missing[*]} (Debian's names); no apt-get here, install them by hand and run this again"
    printf 'setup: installing %s\n' "${missing[*]}" >&2
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get -qq update
    as_root apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null ||
        fail "apt-get could not install: ${missing[*]} (for cargo-web: add Debian's security suite, or install Rust from rustup)"
    # Debian starts nginx on installation; the lab runs its own.
    case " ${missing[*]} " in
    *" nginx "*)
        if [ -d /run/systemd/system ]; then as_root systemctl disable --now nginx >/dev/null 2>&1 || true; fi
        ;;
    esac
fi

export PATH="$HOME/.cargo/bin:$PATH"
if [ "${1:-}" = ebpf ] && ! command -v bpf-linker >/dev/null; then
    printf 'setup: building bpf-linker\n' >&2
    LLVM_PREFIX=/usr/lib/llvm-22 PATH=/usr/lib/llvm-22/bin:$PATH \
        cargo install --quiet --locked bpf-linker --version 0.13.0 --no-default-features --features llvm-22
fi
if [ "${1:-}" = verify ] && ! command -v cargo-deny >/dev/null; then
    printf 'setup: building cargo-deny\n' >&2
    cargo install --quiet --locked cargo-deny --version 0.20.2
fi
