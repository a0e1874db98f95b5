#!/usr/bin/env bash
# Installs what a build and the lab need and this machine lacks. Asks the package manager only if something is missing, so a
# second run fetches nothing.
#
#   deploy/setup.sh          what building and the lab need
#   deploy/setup.sh test     also what the tests need: a Linux 6.1 kernel, unpacked into a cache folder, and an emulator to boot it
#   deploy/setup.sh verify   also what `make verify` needs
#   deploy/setup.sh bench    also what `make bench-l7` and `make bench-failover` need: what they compare with, and clients
#   deploy/setup.sh fuzz     also what building fuzz targets needs
#   deploy/setup.sh ebpf     also what compiling the XDP programs needs
set -euo pipefail

fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else fail "root is needed for: $*"
    fi
}

# What tests boot. A file that is there is whole.
kernel_folder=${XDG_CACHE_HOME:-$HOME/.cache}/lbfabric/linux-6.1
need_kernel=
if [ "${1:-}" = test ] && [ "$(uname -m)" = x86_64 ] && ! [ -e "$kernel_folder/vmlinuz" ]; then need_kernel=yes; fi

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
need nghttp2-client have h2load
need openssl have openssl
# Clients and servers of WebSockets. Whatever else is called python3 does not have Debian's packages.
for module in websockets h2 wsproto; do
    need "python3-$module" /usr/bin/python3 -c "import $module"
done
need bird2 have bird
need libnginx-mod-stream test -e /usr/lib/nginx/modules/ngx_stream_module.so
need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
# A toolchain from rustup is used as it is; without one, Debian's and Ubuntu's newest packages do.
if ! have cargo >/dev/null && ! [ -x "$HOME/.cargo/bin/cargo" ]; then
    missing+=(cargo-web rustc-web)
fi
if [ "${1:-}" = test ] && [ "$(uname -m)" = x86_64 ]; then
    need qemu-system-x86 have qemu-system-x86_64
    need kmod have insmod
fi
if [ "${1:-}" = test ]; then
    need jq have jq
    need frr test -x /usr/lib/frr/bgpd
    need gobgpd have gobgpd
fi
# libFuzzer is written in C++.
if [ "${1:-}" = verify ] || [ "${1:-}" = fuzz ]; then
    need g++ have g++
fi
if [ "${1:-}" = bench ]; then
    need haproxy have haproxy
    need wrk have wrk
    need keepalived have keepalived
fi
if [ "${1:-}" = ebpf ]; then
    need rustc-web test -x /usr/bin/rustc
    need libstd-rust-web-dev-bpf sh -c 'ls -d /usr/lib/rustlib/bpfel-unknown-none'
    need llvm-22-dev test -d /usr/lib/llvm-22
fi

if [ ${#missing[@]} -gt 0 ] || [ -n "$need_kernel" ]; then
    command -v apt-get >/dev/null ||
        fail "missing: ${missing[*]}${need_kernel:+ linux-image-6.1} (Debian's names); no apt-get here, install them by hand and run this again"
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get -qq update
fi
if [ ${#missing[@]} -gt 0 ]; then
    printf 'setup: installing %s\n' "${missing[*]}" >&2
    as_root apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null ||
        fail "apt-get could not install: ${missing[*]} (for cargo-web: add Debian's security suite, or install Rust from rustup)"
    # Debian starts these on installation; the lab, the tests and the benchmark run their own.
    for service in nginx haproxy bird2 frr gobgpd keepalived; do
        case " ${missing[*]} " in
        *" $service "*)
            if [ -d /run/systemd/system ]; then
                as_root systemctl disable --now "${service%2}" >/dev/null 2>&1 || true
            elif [ -x "/etc/init.d/${service%2}" ]; then
                as_root "/etc/init.d/${service%2}" stop >/dev/null 2>&1 || true
            fi
            ;;
        esac
    done
fi

# fetch_kernel: takes the kernel and its veth driver out of Debian's newest package of Linux 6.1. Nothing is installed.
fetch_kernel() {
    local package
    package=$(apt-cache pkgnames linux-image-6.1. | grep -E '^linux-image-6\.1\.[0-9]+-[0-9]+-cloud-amd64$' | sort -V | tail -n 1)
    [ -n "$package" ] || fail "no package linux-image-6.1.*-cloud-amd64: add Debian 12's suites to apt's sources"
    printf 'setup: fetching %s\n' "$package" >&2
    mkdir -p "$kernel_folder"
    # Beside its place first, so that an interrupted run leaves no half of a file there.
    local part=$kernel_folder/part
    rm -rf "$part"
    mkdir "$part"
    (
        cd "$part"
        apt-get -qq -o APT::Sandbox::User=root download "$package"
        dpkg-deb --fsys-tarfile ./*.deb | tar -x --wildcards './boot/*' './lib/modules/*/kernel/drivers/net/veth.ko'
        mv lib/modules/*/kernel/drivers/net/veth.ko ../veth.ko
        mv boot/config-* ../config
        mv boot/vmlinuz-* ../vmlinuz
    ) || fail "could not fetch $package"
    rm -rf "$part"
}
if [ -n "$need_kernel" ]; then fetch_kernel; fi

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
