#!/usr/bin/env bash
# Counts the file system calls of our store and of upstream's 0.14, for 1,000 puts of 4 KiB and for
# one multipart upload of 16 parts, and prints them side by side in Markdown.
#
#   benches/syscalls.sh [directory on the file system to write to]
#
# What the program calls before it has a store to work with is counted apart and taken off. The
# engine reads mountinfo (openat, read, close) once for each mount, not once for each object.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v strace >/dev/null || {
  echo "strace is missing: install the package strace (apt-get install strace)" >&2
  exit 1
}

work=$(mktemp -d "${1:-${TMPDIR:-/tmp}}/syscalls.XXXXXX")
trap 'rm -rf "$work"' EXIT

program=$(
  cargo build --quiet --release --example syscalls --message-format=json |
    sed -n 's/.*"executable":"\([^"]*syscalls[^"]*\)".*/\1/p'
)

# Prints "call count" of one run in an empty directory.
count() { # store, work
  local store=$1 kind=$2
  mkdir "$work/objects"
  strace -f -c -U calls,name -o "$work/counts" "$program" "$store" "$kind" "$work/objects"
  rm -r "$work/objects"
  awk '$1 ~ /^[0-9]+$/ && $2 != "total" { print $2, $1 }' "$work/counts"
}

table() { # work, title
  local kind=$1 title=$2 store
  {
    for store in ours upstream; do
      count "$store" nothing | sed "s/^/$store -1 /"
      count "$store" "$kind" | sed "s/^/$store 1 /"
    done
  } | awk -v title="$title" '
    BEGIN {
      calls = "open openat creat read pread64 write pwrite64 writev pwritev lseek ftruncate " \
        "copy_file_range stat lstat fstat newfstatat statx access faccessat faccessat2 close " \
        "fsync fdatasync rename renameat renameat2 link linkat unlink unlinkat mkdir mkdirat " \
        "rmdir readlink readlinkat getdents64 statfs fstatfs flock fcntl utimensat"
      n = split(calls, order)
    }
    { counts[$1, $3] += $2 * $4 }
    END {
      printf "\n| %s | ours | upstream 0.14 |\n| --- | ---: | ---: |\n", title
      for (i = 1; i <= n; i++) {
        call = order[i]
        ours = counts["ours", call] + 0
        upstream = counts["upstream", call] + 0
        all_ours += ours
        all_upstream += upstream
        if (ours || upstream) printf "| %s | %d | %d |\n", call, ours, upstream
      }
      printf "| all of these | %d | %d |\n", all_ours, all_upstream
    }'
}

table puts "1,000 puts of 4 KiB"
table multipart "one multipart of 16 parts"
