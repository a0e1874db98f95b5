#!/bin/sh
# Builds the XDP programs, and the one that steers connections.
#
#   build.sh [FOLDER]     builds FOLDER/lbfabric.bpf.o and FOLDER/steering.bpf.o, and writes FOLDER/lbfabric.bpf.sources, the
#                         hash of what they were built from; without FOLDER those kept in the repository, beside this file
#   build.sh --hash       prints that hash
#   build.sh --bench FOLDER  builds FOLDER/bench.bpf.o: the programs of `make bench-l4`, never kept
#
# Needs `bpf-linker` and a compiler with `core` for `bpfel-unknown-none`: either Debian's packages `rustc-web` and
# `libstd-rust-web-dev-bpf`, or rustup's nightly with `rust-src`. Exits with 3 if one is missing.
set -eu
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
node=$(dirname "$here")
root=$(dirname "$node")
target=bpfel-unknown-none

# The programs' own sources, those of the crate that they share with the agent, how they are built, and the versions of the
# crates underneath. `dataplane-node/build.rs` computes the same.
sources_hash() {
    cd "$node"
    {
        find abi/src ebpf/src abi/Cargo.toml ebpf/Cargo.toml ebpf/build.sh -type f | sort | xargs sha256sum
        grep -A1 '^name = "aya-ebpf' ../Cargo.lock | grep -v '^--'
    } | sha256sum | cut -d ' ' -f 1
}

missing() {
    echo "$0: $1" >&2
    exit 3
}

if [ "${1:-}" = --hash ]; then
    sources_hash
    exit
fi
package=lbfabric-ebpf
if [ "${1:-}" = --bench ]; then
    package=lbfabric-ebpf-bench
    shift
fi
output=${1:-$here}
mkdir -p "$output"

# What a surrounding cargo says to its compiler is not for this one.
unset RUSTC RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET \
    CARGO_BUILD_RUSTFLAGS RUSTDOC RUSTUP_TOOLCHAIN
build_folder=${CARGO_TARGET_DIR:-$root/target}/ebpf
unset CARGO_TARGET_DIR

PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
command -v cargo >/dev/null || missing 'no cargo'
command -v bpf-linker >/dev/null || missing 'no bpf-linker (cargo install bpf-linker)'

build_std=
if [ -x /usr/bin/rustc ] && [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/$target" ]; then
    # This compiler is a stable one; the BPF target and its inline assembly are behind unstable features.
    export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
elif [ -d "$(rustc +nightly --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library/core" ]; then
    export RUSTUP_TOOLCHAIN=nightly
    build_std=-Zbuild-std=core
else
    missing "no compiler for $target (apt-get install rustc-web libstd-rust-web-dev-bpf, or rustup toolchain install nightly \
--component rust-src)"
fi

# v3 (Linux 5.1) brings 32-bit arithmetic and jumps.
# Copies become loads and stores here: by default the linker has them made by calls, a byte a turn.
set -- -Ctarget-cpu=v3 -Cdebuginfo=0 -Clink-arg=--disable-expand-memcpy-in-order \
    "--remap-path-prefix=$root=lbfabric" "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
separator=$(printf '\037')
CARGO_ENCODED_RUSTFLAGS=
for flag in "$@"; do
    CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS:+$CARGO_ENCODED_RUSTFLAGS$separator}$flag
done
export CARGO_ENCODED_RUSTFLAGS
export CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1

# The hash is taken first: a source that changes during the build leaves an object that is out of date, not one that looks
# up to date.
hash=$(sources_hash)
(
    cd "$root"
    # shellcheck disable=SC2086 # Empty when there is nothing to say.
    cargo build --quiet --locked --release --package $package --target $target --target-dir "$build_folder" $build_std
)
if [ $package = lbfabric-ebpf-bench ]; then
    cp "$build_folder/$target/release/$package" "$output/bench.bpf.o"
    exit
fi
cp "$build_folder/$target/release/$package" "$output/lbfabric.bpf.o"
cp "$build_folder/$target/release/lbfabric-steering" "$output/steering.bpf.o"
echo "$hash" >"$output/lbfabric.bpf.sources"
