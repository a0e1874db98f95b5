#!/usr/bin/env bash
# Builds fuzz targets with libFuzzer and coverage on a stable compiler, and runs them two at a time.
#
#   deploy/fuzz.sh FOLDER...   those of these crates, as dataplane-node/proxy/fuzz
#
#   TARGETS="http1 path"       only these
#   SECONDS_EACH=600           how long each of them runs
#   JOBS=2                     how many at a time, 1 or 2
#
# Corpora stay below the target folder's `fuzz/corpus`, so that a run begins where the last one ended. Prints the runs of each target, and
# writes them to `fuzz/fuzz.json`. Exits with 1 if a target has found something, and says where the input is and how to run it again.
set -euo pipefail
export LC_ALL=C

fail() { printf 'fuzz: %s\n' "$*" >&2; exit 2; }

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
[ $# -gt 0 ] || fail "which crates? as in: deploy/fuzz.sh dataplane-node/proxy/fuzz"
wanted=${TARGETS:-}
seconds=${SECONDS_EACH:-600}
jobs=${JOBS:-2}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || fail "SECONDS_EACH is a number of seconds, not $seconds"
[[ $jobs =~ ^[12]$ ]] || fail "JOBS is 1 or 2, not $jobs"

out=${CARGO_TARGET_DIR:-$root/target}/fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')
# What `cargo fuzz` would ask a nightly compiler for.
llvm="-Cllvm-args=-sanitizer-coverage"
flags="-Cpasses=sancov-module $llvm-level=4 $llvm-inline-8bit-counters $llvm-pc-table $llvm-trace-compares"
export RUSTFLAGS="$flags --cfg fuzzing -Cdebug-assertions"
export CARGO_TARGET_DIR=$out
mkdir -p "$out/found" "$out/log" "$out/corpus/certificate"

targets=()
for folder in "$@"; do
    [ -e "$folder/Cargo.toml" ] || fail "$folder has no crate"
    all=$(basename -s .rs -a "$folder"/fuzz_targets/*.rs)
    chosen=()
    for target in $all; do
        if [ -z "$wanted" ] || [[ " $wanted " == *" $target "* ]]; then chosen+=("$target"); fi
    done
    [ ${#chosen[@]} -gt 0 ] || continue
    "${CARGO:-cargo}" build --release --target "$triple" --manifest-path "$folder/Cargo.toml" "${chosen[@]/#/--bin=}"
    targets+=("${chosen[@]}")
done
for target in $wanted; do
    [[ " ${targets[*]} " == *" $target "* ]] || fail "there is no target $target in $*"
done

# seed CORPUS TARGET...: puts what is read from here, a file for each line as the corpus of smuggling writes it, into the targets' corpora.
seed() {
    local corpus=$1 line=0 bytes target
    shift
    while IFS= read -r bytes; do
        line=$((line + 1))
        for target in "$@"; do
            mkdir -p "$out/corpus/$target"
            printf '%b' "${bytes//\\s/ }" >"$out/corpus/$target/$corpus-$line"
        done
    done
}
# messages FILE COLUMNS: the messages behind so many columns.
messages() { grep -v '^#' "dataplane-node/proxy/tests/smuggling/$1" | sed -E "s/^([^|]*\| ){$2}//"; }
messages requests.txt 2 | seed request http1 forward
messages responses.txt 3 | seed response http1 forward http2_heads
{ messages requests.txt 2; messages responses.txt 3; } | sed -n 's/.*\\r\\n\\r\\n\(.\)/\1/p' | seed body chunked
messages requests.txt 2 | sed -nE 's/^[A-Z]+ (\/[^ ]*) HTTP.*/\1/p' | seed target path
# Of these no corpus has an example.
seed example http2_heads <<'END'
\x01GET\nhttps\na:80\n/b?c\ncookie:a=b\ncookie:c=d\nte:trailers
\x00POST\nhttp\na\n*\nhost:a\ncontent-length:5\nx-a:b
\x02CONNECT\nhttps\na\n/\nsec-websocket-version:13\nsec-websocket-key:x
END
seed example route <<'END'
*|/a||||/b\nb.c|=/a/b|GET|x-a|k=v|=/x\n*.c|~/a.*||||~a>b\n\nb.c\n/a/b?k=v&l=%41\nGET\nx-a:1
[::1]|/|||\n1.2.3.4|/a/||||/\n\n[0::1]:80\n/a/../b/%61\nPOST
END
seed example packet_question <<'END'
\x01192.0.2.1:4711\n203.0.113.1:80
\x00[2001:db8::1]:1\n2001:db8::2
END
seed example proxy_protocol <<'END'
PROXY TCP4 192.0.2.1 203.0.113.1 4711 80\r\n
END
if [[ " ${targets[*]} " == *" certificate "* ]]; then
    for key in "ec -pkeyopt ec_paramgen_curve:P-256" "rsa:2048" ed25519; do
        # shellcheck disable=SC2086 # It is several arguments.
        openssl req -x509 -nodes -newkey $key -keyout /dev/null -subj /O=a/CN=b -addext subjectAltName=DNS:a.b,IP:192.0.2.1 \
            -outform DER -out "$out/corpus/certificate/example-${key%% *}" 2>/dev/null
    done
fi

binary() { printf '%s' "$out/$triple/release/$1"; }
run() {
    mkdir -p "$out/corpus/$1"
    # One input may take longer than any should if the machine stands still for a while.
    exec "$(binary "$1")" -max_total_time="$seconds" -max_len=2048 -timeout=60 -print_final_stats=1 \
        -artifact_prefix="$out/found/$1-" "$out/corpus/$1" >"$out/log/$1" 2>&1
}

printf '%s targets, %s s each, %s at a time\n' "${#targets[@]}" "$seconds" "$jobs"
declare -A process
# Whoever ends this ends them too.
trap '[ ${#process[@]} = 0 ] || kill "${process[@]}"' EXIT
status=()
finish() { local code=0; wait "${process[$1]}" || code=$?; unset "process[$1]"; status+=("$1 $code"); }
waiting=()
for target in "${targets[@]}"; do
    if [ ${#waiting[@]} -ge "$jobs" ]; then
        finish "${waiting[0]}"
        waiting=("${waiting[@]:1}")
    fi
    run "$target" &
    process[$target]=$!
    waiting+=("$target")
done
for target in "${waiting[@]}"; do finish "$target"; done

found=0 rows=
for entry in "${status[@]}"; do
    read -r target code <<<"$entry"
    log=$out/log/$target
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    edges=$(sed -nE 's/^#[0-9]+.* cov: ([0-9]+) .*/\1/p' "$log" | tail -1)
    inputs=$(find "$out/corpus/$target" -type f | wc -l)
    artifact=$(sed -n 's/.*Test unit written to //p' "$log" | tail -1)
    printf '%-18s %12s runs  %6s edges  %6s inputs  %s\n' "$target" "${runs:-?}" "${edges:-?}" "$inputs" \
        "$([ "$code" = 0 ] && echo 'found nothing' || echo FOUND)"
    if [ "$code" != 0 ]; then
        found=1
        tail -n 25 "$log" >&2
        printf 'the whole log: %s\n' "$log" >&2
        if [ -n "$artifact" ]; then printf 'again: %s %s\n' "$(binary "$target")" "$artifact" >&2; fi
    fi
    rows+="${rows:+,}
    {\"target\": \"$target\", \"runs\": ${runs:-null}, \"edges\": ${edges:-null}, \"inputs\": $inputs, \"found\": $(
        if [ "$code" = 0 ]; then echo null; else echo "\"${artifact:-$log}\""; fi)}"
done
printf '{\n  "seconds_each": %s,\n  "targets": [%s\n  ]\n}\n' "$seconds" "$rows" >"$out/fuzz.json"
printf '%s\n' "$out/fuzz.json"
exit "$found"
