#!/bin/bash
# Makes the server images that the tests start: redis:6.0, redis:7.0, redis:8.0 and valkey/valkey:8.1.
#
# An image that exists stays. One that a registry gives is pulled. The rest is built from the Debian release
# that ships that version, under the name of the official image, so that tests name one image everywhere.
# SURECUT_DEBIAN_MIRROR overrides the mirror, which is the one that apt uses on this machine.
set -euo pipefail
cd "$(dirname "$0")/.."

# image, Debian release, server binary, packages
images="redis:6.0 bullseye redis-server redis-server
redis:7.0 bookworm redis-server redis-server
redis:8.0 trixie redis-server redis-server
valkey/valkey:8.1 trixie valkey-server valkey-server"

main() {
	scripts/setup.sh docker
	local missing
	missing=$(missing_images)
	if [ -n "$missing" ] && registry_answers "$missing"; then
		pull "$missing"
		missing=$(missing_images)
	fi
	if [ -n "$missing" ]; then
		scripts/setup.sh debootstrap
		build "$missing"
	fi
	verify
}

missing_images() {
	while read -r image release server packages; do
		docker image inspect "$image" >/dev/null 2>&1 || echo "$image $release $server $packages"
	done <<<"$images"
}

# registry_answers asks for one manifest only: without a registry that must not take longer than a few seconds.
registry_answers() { # registry_answers ROWS
	timeout 6 docker manifest inspect "${1%% *}" >/dev/null 2>&1 </dev/null
}

pull() { # pull ROWS
	while read -r image _; do
		echo "images: pulling $image" >&2
		timeout 300 docker pull -q "$image" >&2 </dev/null || echo "images: $image could not be pulled, building it" >&2
	done <<<"$1"
}

# build makes one root file system per release, the releases side by side, and imports each image from it.
build() { # build ROWS
	work=$(mktemp -d "${TMPDIR:-/var/tmp}/surecut-images.XXXXXX")
	trap 'rm -rf --one-file-system "$work"' EXIT
	mirror_and_proxy
	local release pids=()
	for release in $(cut -d' ' -f2 <<<"$1" | sort -u); do
		(bootstrap "$release" "$(awk -v r="$release" '$2 == r {print $4}' <<<"$1" | paste -sd,)" &&
			awk -v r="$release" '$2 == r' <<<"$1" | import_images) &
		pids+=($!)
	done
	local pid failed=
	for pid in "${pids[@]}"; do wait "$pid" || failed=yes; done
	[ -z "$failed" ]
}

# mirror_and_proxy reads what apt is set to use here.
mirror_and_proxy() {
	mirror=${SURECUT_DEBIAN_MIRROR:-}
	if [ -z "$mirror" ]; then
		mirror=$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
			awk '$2 == "main" && $1 ~ /\/debian\/?$/ {print $1; exit}') || true
	fi
	mirror=${mirror:-http://deb.debian.org/debian}
	local proxy=
	eval "$(apt-config shell proxy Acquire::http::Proxy)"
	if [ -n "$proxy" ] && [ "$proxy" != DIRECT ]; then export http_proxy="$proxy"; fi
}

bootstrap() { # bootstrap RELEASE PACKAGES
	echo "images: building from Debian $1 ($2), mirror $mirror" >&2
	local root="$work/$1"
	if ! debootstrap --variant=minbase --include="$2,ca-certificates" "$1" "$root" "$mirror" >"$work/$1.log" 2>&1 </dev/null; then
		echo "images: debootstrap $1 failed:" >&2
		tail -n 20 "$work/$1.log" >&2
		[ ! -e "$root/debootstrap/debootstrap.log" ] || tail -n 20 "$root/debootstrap/debootstrap.log" >&2
		return 1
	fi
	rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale,info}/* "$root"/var/log/*
	mkdir -p "$root/data"
}

import_images() { # rows on stdin, all of one release
	local image release server packages other
	while read -r image release server packages; do
		# Two servers of one release share the bootstrap, but an image holds only its own.
		other='./usr/bin/valkey-*'
		[ "$server" = redis-server ] || other='./usr/bin/redis-*'
		tar -C "$work/$release" --exclude="$other" --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' -c . |
			docker import --change "CMD [\"$server\", \"--protected-mode\", \"no\"]" --change 'WORKDIR /data' \
				--change 'EXPOSE 6379' --message "Debian $release $server" - "$image" >/dev/null
		echo "images: built $image" >&2
	done
}

# verify runs each server, since a tag is only a promise.
verify() {
	local found want
	while read -r image _ server _; do
		found=$(docker run --rm --network host "$image" "$server" --version </dev/null | grep -o ' v=[0-9.]*' | cut -d= -f2)
		want=${image##*:}
		case $found in
		"$want" | "$want".*) echo "images: $image is version $found" ;;
		*)
			echo "images: $image reports version '$found', not $want" >&2
			return 1
			;;
		esac
	done <<<"$images"
}

main
