#!/bin/bash
# Installs and starts what a make target needs, on a Debian machine with root:
#
#   scripts/setup.sh docker debootstrap chromium redis
#
# What is there already is left alone, so on a prepared machine this changes nothing and needs no network.
set -euo pipefail

updated=

# apt runs apt-get. A machine that has just been started is often still updating itself, so it waits for apt's locks: for dpkg's
# by apt's own option, for those of the lists and the archives, which that does not cover, by trying again. 10 minutes at most.
apt() { # apt ARGUMENT...
	local log=/tmp/surecut-apt.$$ end=$((SECONDS + 600)) told= status
	while :; do
		status=0
		DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=600 "$@" </dev/null >"$log" 2>&1 || status=$?
		[ "$status" != 0 ] && [ "$SECONDS" -lt "$end" ] && grep -qE 'Could not get lock|Unable to (acquire|lock)' "$log" || break
		[ -n "$told" ] || echo "setup: another apt is at work on this machine, waiting for it" >&2
		told=yes
		sleep 2
	done
	[ "$status" = 0 ] || cat "$log" >&2
	rm -f "$log"
	return "$status"
}

install() { # install PACKAGE...
	if [ "$(id -u)" != 0 ]; then
		echo "setup: $* missing, and only root can install it: apt-get install --no-install-recommends $*" >&2
		return 1
	fi
	if [ -z "$updated" ]; then
		apt update
		updated=yes
	fi
	echo "setup: installing $*" >&2
	# A package's own service must not start: make picks the ports, and stops what it starts.
	local policy=
	if [ ! -e /usr/sbin/policy-rc.d ]; then
		policy=/usr/sbin/policy-rc.d
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod +x "$policy"
	fi
	local status=0
	apt install -y --no-install-recommends "$@" || status=$?
	[ -z "$policy" ] || rm -f "$policy"
	return "$status"
}

docker_answers() { timeout 20 docker info >/dev/null 2>&1; }

# start_dockerd ARG... gives the engine 30 s to answer.
start_dockerd() {
	echo "setup: starting dockerd $*" >&2
	setsid nohup dockerd "$@" >>/var/log/surecut-dockerd.log 2>&1 </dev/null &
	local pid=$! i
	for i in $(seq 60); do
		docker_answers && return 0
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.5
	done
	kill "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
	return 1
}

need_docker() {
	command -v dockerd >/dev/null || command -v docker >/dev/null || install docker.io
	# Newer Debian releases ship the client apart from the engine.
	command -v docker >/dev/null || install docker-cli
	docker_answers && return 0
	if [ -d /run/systemd/system ] && systemctl start docker 2>/dev/null && docker_answers; then return 0; fi
	# The tests use the host's network only, so an engine without bridge and iptables does as well.
	start_dockerd && return 0
	start_dockerd --iptables=false --bridge=none && return 0
	start_dockerd --iptables=false --bridge=none --storage-driver=vfs && return 0
	echo "setup: no Docker engine answers and none could be started; see /var/log/surecut-dockerd.log" >&2
	tail -n 5 /var/log/surecut-dockerd.log >&2
	return 1
}

for what in "$@"; do
	case $what in
	docker) need_docker ;;
	debootstrap) command -v debootstrap >/dev/null || install debootstrap debian-archive-keyring ;;
	chromium) command -v chromium >/dev/null || install chromium ;;
	cgo) command -v gcc >/dev/null && [ -e /usr/include/stdlib.h ] || install gcc libc6-dev ;;
	twemproxy) command -v nutcracker >/dev/null || install nutcracker ;;
	redis) command -v redis-server >/dev/null || install redis-server ;;
	*)
		echo "setup: unknown part $what; there are cgo, docker, debootstrap, chromium, twemproxy and redis" >&2
		exit 1
		;;
	esac
done
