#!/usr/bin/env bash
# SlateDB's own tests, as published on crates.io, with our store where they have an in-memory one:
#
#     bash suite.sh             # ours; fails if a test fails that is not in suite/known.txt
#     bash suite.sh memory      # as published, to compare
#     bash suite.sh upstream    # on upstream's LocalFileSystem, to compare
#
# Nothing of SlateDB's is in this repository: its sources are copied from cargo's registry to target/.
# Their code is not touched. What changes is the object_store under them: a copy of it, made by
# `localfs patch`, in which suite/memory.rs is `object_store::memory`.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")"
store=${1:-localfs}
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
dir=$PWD/target/suite/$store

# Where cargo has the sources of a crate that the example is built with.
cargo fetch --locked --quiet
source_of() {
    cargo metadata --locked --offline --format-version 1 |
        grep -o "\"manifest_path\":\"[^\"]*/$1-[0-9][^\"/]*/Cargo.toml\"" |
        sed 's/.*:"\(.*\)\/Cargo.toml"/\1/'
}

rm -rf "$dir"
mkdir -p "$dir"
for crate in slatedb slatedb-common slatedb-mirror slatedb-txn-obj; do
    cp -r "$(source_of "$crate")" "$dir/$crate"
done
# The versions that SlateDB was released with.
cp "$dir/slatedb/Cargo.lock" "$dir/Cargo.lock"
rm "$dir"/*/Cargo.lock
# The benches need much that the tests do not.
awk '/^\[/ { skip = /^\[\[bench\]\]$/ || /dev-dependencies\.(criterion|pprof)\]$/ } !skip' \
    "$dir/slatedb/Cargo.toml" >"$dir/manifest"
mv "$dir/manifest" "$dir/slatedb/Cargo.toml"
cat >"$dir/Cargo.toml" <<'MANIFEST'
[workspace]
members = ["slatedb", "slatedb-common", "slatedb-mirror", "slatedb-txn-obj"]
resolver = "2"

[patch.crates-io]
slatedb-common = { path = "slatedb-common" }
slatedb-mirror = { path = "slatedb-mirror" }
slatedb-txn-obj = { path = "slatedb-txn-obj" }
MANIFEST

case $store in
memory) ;;
upstream)
    cp -r "$(source_of object_store)" "$dir/object_store"
    cp suite/memory.rs "$dir/object_store/src/memory.rs"
    echo 'object_store = { path = "object_store" }' >>"$dir/Cargo.toml"
    ;;
localfs)
    CARGO_TARGET_DIR=../../target cargo run --locked --quiet --manifest-path ../../Cargo.toml \
        --features cli --bin localfs -- patch --manifest-path "$dir/Cargo.toml"
    cp suite/memory.rs "$dir"/patches/object_store-*/src/memory.rs
    ;;
*)
    echo "which store? memory, upstream or localfs" >&2
    exit 2
    ;;
esac

# All features but the clouds' and those of the benches.
features=compaction_filters,foyer,lz4,moka,snappy,test-util,wal_disable,zlib,zstd
log=$dir/log
skip=()
if [ "$store" != memory ]; then
    mapfile -t skip < <(sed -n 's/ # skip$//p' suite/known.txt | sed 's/^/--skip=/')
fi
cargo test --manifest-path "$dir/Cargo.toml" --workspace --lib --tests --no-fail-fast \
    --no-default-features --features "slatedb/${features//,/,slatedb/}" -- "${skip[@]}" \
    >"$log" 2>&1 || true
# All of them have come to their end, else nothing is known.
if [ "$(grep -c '^test result' "$log")" -lt 13 ]; then
    tail -n 60 "$log"
    exit 1
fi
awk '/^test result/ { passed += $4; failed += $6 } END { print passed " passed, " failed " failed" }' \
    "$log"
sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | sort >"$dir/failed"
echo "the log: $log"
known=$dir/known
sed 's/ *#.*//; /^$/d' suite/known.txt | sort >"$known"
echo "failed, and why is in suite/known.txt:"
comm -12 "$known" "$dir/failed"
echo "in suite/known.txt, and did not fail:"
comm -23 "$known" "$dir/failed"
echo "failed besides:"
comm -13 "$known" "$dir/failed"
[ -z "$(comm -13 "$known" "$dir/failed")" ]
