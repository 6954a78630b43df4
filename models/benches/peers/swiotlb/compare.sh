#!/bin/sh
# Runs the same sequences of mappings on the model and on the kernel's own swiotlb, and prints the rates of both, their
# ratio, and a checksum of the slots chosen. Installs nothing; says what it needs. README.md says more.
#
#     models/benches/peers/swiotlb/compare.sh [ROUNDS] [RECORDING.jsonl.gz...]
#
# LINUX_SOURCE may name an unpacked source of Linux 6.12; else Debian's /usr/src/linux-source-6.12.tar.xz is unpacked in
# part. All files that are made lie in a temporary folder, which is removed at the end.
set -eu

fail() {
    echo "compare.sh: $1" >&2
    exit 2
}

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../../.." && pwd)
archive=/usr/src/linux-source-6.12.tar.xz
rounds=${1:-20}
[ $# -eq 0 ] || shift
case $rounds in *[!0-9]* | '' | 0) fail "the number of rounds is \`$rounds\`; expected 1 or more" ;; esac
for recording in "$@"; do
    [ -r "$recording" ] || fail "cannot read the recording $recording"
done
[ $# -gt 0 ] || set -- "$root/models/conform/tests/data/swiotlb-6.12-sample.jsonl.gz"

for tool in cc tar awk sed sort cargo; do
    command -v "$tool" > /dev/null || fail "needs \`$tool\`, which is not there"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
mkdir "$work/linux"
parts='kernel/dma/swiotlb.c include/linux/swiotlb.h include/linux/iommu-helper.h include/linux/dma-direction.h'
if [ -n "${LINUX_SOURCE:-}" ]; then
    [ -r "$LINUX_SOURCE/kernel/dma/swiotlb.c" ] || fail "LINUX_SOURCE=$LINUX_SOURCE has no kernel/dma/swiotlb.c"
    # shellcheck disable=SC2086
    (cd "$LINUX_SOURCE" && tar cf - $parts) | tar xf - -C "$work/linux"
elif [ -r "$archive" ]; then
    # shellcheck disable=SC2046
    tar xJf "$archive" -C "$work/linux" --strip-components=1 $(for part in $parts; do echo "linux-source-6.12/$part"; done)
else
    fail "needs the source of Linux 6.12: Debian's package linux-source-6.12, or LINUX_SOURCE=folder"
fi

# Every other header that these include is the shim.
# shellcheck disable=SC2086
(cd "$work/linux" && sed -n 's/^#include <\(.*\)>.*/\1/p' $parts) | sort -u | while read -r header; do
    [ -e "$work/linux/include/$header" ] && continue
    mkdir -p "$(dirname "$work/linux/include/$header")"
    echo '#include "shim.h"' > "$work/linux/include/$header"
done
flags="-std=gnu11 -O2 -fno-strict-aliasing -fwrapv -I$work/linux/include -I$here"
for build in peer peer-threads; do
    define=
    [ "$build" = peer ] || define=-DPEER_THREADS
    # shellcheck disable=SC2086
    cc $flags $define "-DSWIOTLB_C=\"$work/linux/kernel/dma/swiotlb.c\"" -o "$work/$build" "$here/peer.c" -lpthread \
        2> "$work/cc.log" || { cat "$work/cc.log" >&2; fail "the kernel's code did not build"; }
done

(cd "$root" && cargo build --quiet --release -p dmasim-models --example swiotlb_peer) ||
    fail "the example swiotlb_peer did not build"
model=${CARGO_TARGET_DIR:-$root/target}/release/examples/swiotlb_peer

"$model" write "$work/ops" "$@"
run_peer() {
    "$@" 2> "$work/peer.log" || { cat "$work/peer.log" >&2; fail "the kernel chose other slots than the model"; }
}
# In turn, so that what else the machine does hits both.
for turn in 1 2 3; do
    "$model" run "$work/ops" "$rounds" >> "$work/model"
    run_peer "$work/peer" "$work/ops" "$rounds" >> "$work/kernel"
    run_peer "$work/peer-threads" "$work/ops" "$rounds" >> "$work/kernel"
    "$model" run "$work/ops" "$rounds" copying | sed 's/^result /result copying-/' >> "$work/model"
    run_peer "$work/peer" "$work/ops" "$rounds" copying | sed 's/^result /result copying-/' >> "$work/kernel"
done

awk '
    $1 != "result" { next }
    {
        key = FILENAME == ARGV[1] ? "model" : "kernel"
        if (!((key, $2) in best) || $4 < best[key, $2]) best[key, $2] = $4
        if (key == "model") sum[$2] = $5
        else if (sum[$2] != $5 && $2 !~ /threads-/) { print "compare.sh: other slots in " $2 > "/dev/stderr"; failed = 1 }
        if (!($2 in pairs)) {
            pairs[$2] = $3
            name = $2; sub(/^recorded-.*/, "recorded", name)
            group[$2] = name
            if (!(name in known)) { known[name]; order[++names] = name }
            listed[++count] = $2
        }
    }
    END {
        for (i = 1; i <= count; i++) {
            one = listed[i]
            if (!(("kernel", one) in best)) { print "compare.sh: the kernel did not run " one > "/dev/stderr"; failed = 1 }
            total[group[one]] += pairs[one]
            model[group[one]] += best["model", one]; kernel[group[one]] += best["kernel", one]
            slots[group[one]] = sum[one]
        }
        printf "%-30s %8s %14s %14s %8s  %s\n", "sequence", "pairs", "model pairs/s", "kernel pairs/s", "ratio", "slots chosen"
        for (i = 1; i <= names; i++) {
            n = order[i]
            printf "%-30s %8d %14.0f %14.0f %8.2f  %s\n", n, total[n], total[n] * 1e9 / model[n],
                total[n] * 1e9 / kernel[n], kernel[n] / model[n], n == "recorded" ? "the same" : slots[n]
        }
        exit failed
    }' "$work/model" "$work/kernel"
