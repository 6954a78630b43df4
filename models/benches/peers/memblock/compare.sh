#!/bin/sh
# Runs the same sequences of memblock operations on the model and on the kernel's own memblock, and prints the rates of
# both and their ratio. Installs nothing; says what it needs. README.md says more.
#
#     models/benches/peers/memblock/compare.sh [ROUNDS] [RECORDING.jsonl.gz...]
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

for tool in cc make tar awk cargo; do
    command -v "$tool" > /dev/null || fail "needs \`$tool\`, which is not there"
done
echo '#include <urcu/uatomic.h>' | cc -E - > /dev/null 2>&1 ||
    fail "needs the header urcu/uatomic.h (Debian's package liburcu-dev)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
mkdir "$work/linux"
parts='tools/include tools/lib tools/arch/x86/include tools/testing/memblock
    tools/testing/selftests/kselftest.h lib/cmdline.c mm/memblock.c include/linux arch/x86/include'
if [ -n "${LINUX_SOURCE:-}" ]; then
    [ -r "$LINUX_SOURCE/mm/memblock.c" ] || fail "LINUX_SOURCE=$LINUX_SOURCE has no mm/memblock.c"
    # shellcheck disable=SC2086
    (cd "$LINUX_SOURCE" && tar cf - $parts) | tar xf - -C "$work/linux"
elif [ -r "$archive" ]; then
    # shellcheck disable=SC2046
    tar xJf "$archive" -C "$work/linux" --strip-components=1 $(for part in $parts; do echo "linux-source-6.12/$part"; done)
else
    fail "needs the source of Linux 6.12: Debian's package linux-source-6.12, or LINUX_SOURCE=folder"
fi

# The harness of tools/testing/memblock with its own flags, but for the sanitisers, which are no part of the kernel.
flags='-I. -I../../include -Wall -O2 -D CONFIG_PHYS_ADDR_T_64BIT -D CONFIG_NUMA -D CONFIG_NODES_SHIFT=10'
harness=$work/linux/tools/testing/memblock
make -s -C "$harness" CFLAGS="$flags" LDFLAGS= include memblock.o lib/slab.o mmzone.o slab.o cmdline.o \
    > "$work/make.log" 2>&1 || { cat "$work/make.log" >&2; fail "the kernel's harness did not build"; }
# shellcheck disable=SC2086
(cd "$harness" && cc $flags -DMEMBLOCK_C='"memblock.c"' -o "$work/peer" "$here/peer.c" \
    lib/slab.o mmzone.o slab.o cmdline.o) || fail "the driver did not build"

(cd "$root" && cargo build --quiet --release -p dmasim-models --example memblock_peer) ||
    fail "the example memblock_peer did not build"
model=${CARGO_TARGET_DIR:-$root/target}/release/examples/memblock_peer

"$model" write "$work/ops" "$@"
# In turn, so that what else the machine does hits both.
for turn in 1 2 3; do
    "$model" run "$work/ops" "$rounds" >> "$work/model"
    "$work/peer" "$work/ops" "$rounds" >> "$work/kernel" 2> "$work/kernel.log" ||
        { grep -v 'assertion failed' "$work/kernel.log" >&2; fail "the kernel answered otherwise than the model"; }
done

awk '
    $1 != "result" { next }
    {
        name = $2; sub(/^vector-.*/, "recorded", name)
        key = FILENAME == ARGV[1] ? "model" : "kernel"
        if (!((key, $2) in best) || $4 < best[key, $2]) best[key, $2] = $4
        if (!($2 in ops)) { ops[$2] = $3; group[$2] = name; if (!(name in known)) { known[name]; order[++names] = name } }
    }
    END {
        for (one in ops) {
            total[group[one]] += ops[one]
            model[group[one]] += best["model", one]; kernel[group[one]] += best["kernel", one]
        }
        printf "%-20s %10s %14s %14s %8s\n", "work-regions", "operations", "model ops/s", "kernel ops/s", "ratio"
        for (i = 1; i <= names; i++) {
            n = order[i]
            printf "%-20s %10d %14.0f %14.0f %8.2f\n", n, total[n], total[n] * 1e9 / model[n],
                total[n] * 1e9 / kernel[n], kernel[n] / model[n]
        }
    }' "$work/model" "$work/kernel"
