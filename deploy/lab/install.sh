#!/bin/sh
# Installs the Debian packages that a part of the project needs and that are missing.
#
#   install.sh GROUP...     groups: build lab oracle bench
#
# Idempotent, and silent when nothing is missing: then neither root nor a network is needed.
# No service is started by it, and nginx is not enabled either.
set -eu

# Each word is PACKAGE or PACKAGE=COMMAND: the command's presence is enough, whoever brought it.
build="libdpdk-dev dpdk-dev dpdk clang=clang libclang-dev pkg-config=pkg-config libpcap-dev
    build-essential=cc"
lab="iproute2=ip ethtool=ethtool nginx-light=nginx curl=curl iperf3=iperf3 tcpdump=tcpdump
    python3=/usr/bin/python3 python3-scapy python3-numpy tshark=tshark keepalived=keepalived
    frr=/usr/lib/frr/vrrpd jq=jq nftables=nft procps=sysctl
    iputils-ping=ping iputils-arping=arping"
oracle="user-mode-linux=linux.uml ipvsadm=ipvsadm busybox-static"
bench="haproxy=haproxy wrk=wrk valgrind=valgrind"

PATH=$PATH:/usr/sbin:/sbin

is_present() { # PACKAGE[=COMMAND]
    case $1 in
    *=*) command -v "${1#*=}" >/dev/null 2>&1 ;;
    *) dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed ;;
    esac
}

missing=""
for group in "$@"; do
    case $group in
    build) words=$build ;;
    lab) words=$lab ;;
    oracle) words=$oracle ;;
    bench) words=$bench ;;
    *) echo "install.sh: unknown group '$group'; there are: build lab oracle bench" >&2; exit 2 ;;
    esac
    for word in $words; do
        is_present "$word" || missing="$missing ${word%%=*}"
    done
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "missing, and this is not a Debian system:$missing" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "missing:$missing" >&2
    echo "install them as root: apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "installing:$missing"

# Debian starts a service when its package is installed; policy-rc.d is how an administrator says no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# shellcheck disable=SC2086
apt-get -qq install -y --no-install-recommends $missing >/dev/null

# Nor may any start at the next boot: nginx would take port 80, the others
# speak on the network.
if command -v systemctl >/dev/null 2>&1; then
    for service in nginx keepalived frr haproxy; do
        case " $missing " in
        *" $service "* | *" $service-light "*) systemctl --quiet disable "$service" || true ;;
        esac
    done
fi
