#!/usr/bin/env bash
# Tries how the two units react to each exit code of docs/exit-codes.md, under a real systemd: boots a small Debian in a container
# (as root; needs the Debian packages systemd-container and debootstrap), in which a stand-in for the program ends with each code.
# usage: packaging/systemd/try.sh [ROOT]   ROOT: where the Debian is put and kept (default: a new folder, removed at the end)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [[ $# -gt 0 ]]; then
  root=$1
else
  root=$(mktemp -d)
  trap 'rm -rf "$root"' EXIT
fi
[[ -x $root/lib/systemd/systemd ]] || debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus bookworm "$root"

install -m 644 "$here"/fedalt-{server,site}.service "$root/etc/systemd/system/"
# The stand-in: ends as /run/code says.
# shellcheck disable=SC2016  # it is the container's shell that reads the variable
printf '#!/bin/sh\ncode=$(cat /run/code)\n[ "$code" != crash ] || kill -ABRT $$\nexit "$code"\n' >"$root/usr/bin/fedalt"
chmod 755 "$root/usr/bin/fedalt"
cat >"$root/usr/bin/try-units" <<'END'
#!/bin/bash
# One line for each unit and code: what systemd does next. A minute between starts is only in the way here.
id fedalt >/dev/null 2>&1 || useradd --system --home /var/lib/fedalt fedalt
for unit in fedalt-server fedalt-site; do
  for code in 0 1 2 3 4 5 6 7 8 9 10 11 130 crash; do
    echo "$code" >/run/code
    systemctl reset-failed "$unit" 2>/dev/null
    systemctl start "$unit"
    state=
    until [[ $state =~ ^(auto-restart|failed|dead)$ ]]; do state=$(systemctl show -P SubState "$unit"); done
    systemctl stop "$unit"
    echo "$unit $code ${state/dead/done}"
  done
done >/tried.txt 2>/tried.err
systemctl poweroff
END
chmod 755 "$root/usr/bin/try-units"
printf '[Unit]\nAfter=basic.target\n[Service]\nExecStart=/usr/bin/try-units\n' >"$root/etc/systemd/system/try-units.service"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -sf ../try-units.service "$root/etc/systemd/system/multi-user.target.wants/try-units.service"

rm -f "$root/tried.txt"
systemd-nspawn --quiet --register=no --keep-unit --directory "$root" --boot --console=pipe >"$root/boot.log" 2>&1 </dev/null || true

expected=$(for unit in fedalt-server fedalt-site; do
  for code in 0 130; do echo "$unit $code done"; done
  for code in 1 6 11 crash; do echo "$unit $code auto-restart"; done
  for code in 2 3 4 5 7 8 9 10; do echo "$unit $code failed"; done
done | sort)
if ! diff <(echo "$expected") <(sort "$root/tried.txt"); then
  echo "try.sh: the units do not react as they should (< expected, > found); $root/boot.log has what systemd said" >&2
  exit 1
fi
echo "both units react to each of 14 ends as they should"
