#!/usr/bin/env bash
# Proves that a fresh Debian 12 with Python 3.11 and a shell, and nothing more, is enough for ./dev.
#
# usage (as root; needs debootstrap, git and a way to Debian's archive):
#   tests/fresh-debian.sh [COMMAND ...]      each COMMAND is one ./dev command line; default: demo, test
#
# It makes a minimal Debian in a temporary folder, copies this checkout into it (what git tracks or would add),
# and runs the commands there as root, without stdin. What this machine needs to reach package registries goes
# along: DNS, its own certificate authorities, proxy and pip settings, Maven's settings. All mounts and processes
# live in namespaces of their own and end with it; the folder is removed. Takes some minutes and 2 GB.
set -euo pipefail

if [ "${FRESH_INSIDE:-}" = "" ]; then
    [ "$(id -u)" -eq 0 ] || { echo "fresh-debian: only root can make a Debian" >&2; exit 1; }
    command -v debootstrap >/dev/null || { echo "fresh-debian: apt-get install debootstrap" >&2; exit 1; }
    cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
    root=$(mktemp -d "${TMPDIR:-/tmp}/fresh-debian.XXXXXX")
    trap 'rm -rf --one-file-system -- "$root"' EXIT
    FRESH_INSIDE=$root unshare --mount --pid --fork --kill-child --propagation private "$BASH" "tests/${BASH_SOURCE[0]##*/}" "$@"
    exit
fi

root=$FRESH_INSIDE
[ $# -gt 0 ] || set -- demo test
say() { printf '\n== fresh-debian: %s\n' "$*"; }

say "a minimal Debian 12 with python3"
debootstrap --variant=minbase --include=python3 bookworm "$root" >"$root.log" 2>&1 ||
    { tail -n 20 "$root.log"; rm -f "$root.log"; exit 1; }
rm -f "$root.log"

mkdir "$root/kmwatch"
git ls-files -coz --exclude-standard | tar --null --ignore-failed-read -T - -c 2>/dev/null | tar -x -C "$root/kmwatch"

# The way to the registries, as this machine has it.
for file in /etc/resolv.conf /etc/hosts /etc/pip.conf "$HOME/.config/pip/pip.conf" "$HOME/.m2/settings.xml" \
    /etc/apt/apt.conf.d/*proxy* /usr/local/share/ca-certificates/*.crt; do
    if [ -f "$file" ]; then
        place=$root${file/#$HOME\//\/root\/}
        mkdir -p "$(dirname -- "$place")"
        cp -L -- "$file" "$place"
    fi
done
settings=(HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 CI=true)
while IFS= read -r -d '' entry; do
    case ${entry%%=*} in
    PIP_INDEX_URL | PIP_EXTRA_INDEX_URL | PIP_CERT | PIP_PROXY | PIP_DEFAULT_TIMEOUT) settings+=("$entry") ;;
    *_proxy | *_PROXY | MAVEN_OPTS | JAVA_TOOL_OPTIONS) settings+=("$entry") ;;
    esac
done < <(env -0)

mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"

inside() { env -i "${settings[@]}" chroot "$root" "$@" </dev/null; }

say "what it has: $(inside python3 --version), $(inside dpkg-query -f '.' -W | wc -c) packages;" \
    "pip, venv, git, java, mvn, rsyslogd, make: $(inside sh -c 'for p in pip git java mvn rsyslogd make; do command -v $p; done; python3 -c "import ensurepip" 2>/dev/null && echo ensurepip; true' | tr '\n' ' ')(end)"
for command in "$@"; do
    say "./dev $command"
    started=$SECONDS
    # shellcheck disable=SC2086  # a command line is words
    inside sh -c 'cd /kmwatch && exec ./dev "$@"' dev $command
    say "./dev $command: done in $((SECONDS - started)) s"
done
say "left running: $(inside sh -c 'for p in /proc/[0-9]*/comm; do cat $p; done' | sort | uniq -c | tr -s ' \n' ' ')"
