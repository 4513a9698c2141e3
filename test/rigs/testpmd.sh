#!/bin/sh
# Brings dpdk-testpmd and the libraries that it needs into a folder, by packages that are unpacked and not installed: its own package
# depends on three hundred, of which it needs forty. usage: testpmd.sh FOLDER
set -eu
mkdir -p "$1"
cd "$1"
# Two runs of the tests may want it at once.
exec 9>lock
flock 9
program=$PWD/usr/bin/dpdk-testpmd
libraries=$PWD/usr/lib/$(uname -m)-linux-gnu

# package_of SONAME: `librte_net_mlx5.so.23` is in librte-net-mlx5-23
package_of() {
  case $1 in
    librte_*[0-9].so.*) echo "$1" | sed 's/_/-/g; s/\.so\./-/' ;;
    librte_*) echo "$1" | sed 's/_/-/g; s/\.so\.//' ;;
    libmlx5.so.1) echo ibverbs-providers ;;
    libpcap.so.0.8) echo libpcap0.8 ;;
    *) echo "$1" | sed 's/\.so\.//' ;;
  esac
}

get() {
  apt-get download -qq "$@"
  for package in ./*.deb; do dpkg-deb -x "$package" .; done
  rm ./*.deb
}

missing() {
  for one in "$program" "$libraries"/librte_net_vhost.so.* "$libraries"/librte_mempool_ring.so.*; do
    LD_LIBRARY_PATH=$libraries ldd "$one"
  done | sed -n 's/^\t\(.*\) => not found$/\1/p' | sort -u
}

[ -e "$program" ] || get dpdk-dev
# The versions of its libraries are those of its packages.
abi=$(readelf -d "$program" | sed -n 's/.*\[librte_eal\.so\.\(.*\)\]/\1/p')
[ -e "$libraries/librte_net_vhost.so.$abi" ] || get "librte-net-vhost$abi" "librte-mempool-ring$abi"
while left=$(missing) && [ -n "$left" ]; do
  # shellcheck disable=SC2046
  get $(for one in $left; do package_of "$one"; done)
done
