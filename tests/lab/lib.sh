# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# What the lab's scripts share. Sourced, never run.

lab_self=${0##*/}
lab_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
lab_build=$lab_root/build/lab

lab_say() { printf 'lab: %s\n' "$*" >&2; }

# lab_die STATUS TEXT: one line, then out
lab_die()
{
	local status=$1
	shift
	printf '%s: %s\n' "$lab_self" "$*" >&2
	exit "$status"
}

# lab_codename: the release this machine runs, if the lab knows it
lab_codename()
{
	local id='' codename=''

	if [[ -r /etc/os-release ]]; then
		id=$(. /etc/os-release && echo "${ID:-}")
		codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	fi
	case $id/$codename in
	debian/bookworm | debian/trixie) echo "$codename" ;;
	*) lab_die 1 "this needs Debian 12 or 13, not ${id:-an unknown system} ${codename}" ;;
	esac
}

# The mirror that the machine's own sources name for an archive (by its label).
lab_mirror()
{
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(REPO_URI)' \
		'Created-By: Packages' "Label: $1" 2>/dev/null | head -n 1
}

# lab_apt_paths FOLDER: options that keep apt away from the machine's sources,
# lists and cache. Sets lab_apt_opts.
lab_apt_paths()
{
	lab_apt_dir=$1
	lab_apt_opts=(
		-q
		-o "Dir::Etc::SourceList=$lab_apt_dir/sources.list"
		-o "Dir::Etc::SourceParts=$lab_apt_dir/none"
		-o "Dir::Etc::Preferences=$lab_apt_dir/none.pref"
		-o "Dir::Etc::PreferencesParts=$lab_apt_dir/none"
		-o "Dir::State::Lists=$lab_apt_dir/lists"
		-o "Dir::Cache=$lab_apt_dir/cache"
		# the checkout may lie where the user _apt cannot go
		-o APT::Sandbox::User=root
		-o Acquire::Languages=none
		-o Acquire::Retries=3
	)
}

# lab_apt_init CODENAME: private sources for a machine of this release, lists not
# older than a day. Bookworm has kernel 6.1 for both; QEMU 10 for Debian 12 and, at
# times, its newest 6.12 are in backports. Sid is by itself: nothing that is installed
# may come from there.
lab_apt_init()
{
	local main security suite keys lists=() suites=("$1" "$1-security") dir=$lab_build/apt

	case $1 in
	bookworm) suites+=(bookworm-backports) ;;
	sid) suites=(sid) dir=$lab_build/apt-sid ;;
	*) suites+=(bookworm bookworm-security) ;;
	esac

	command -v apt-get >/dev/null || lab_die 1 "apt-get is missing: this is no Debian"
	lab_apt_paths "$dir"
	mkdir -p "$lab_apt_dir"/{none,lists/partial,cache/archives/partial}
	# several runs may want packages at once
	exec {lab_apt_lock}>"$lab_apt_dir/lock"
	flock "$lab_apt_lock"

	main=$(lab_mirror Debian)
	if [[ -z $main ]]; then
		lab_say "apt-get update (no package lists yet)"
		apt-get -q update >"$lab_apt_dir/update.log" 2>&1 ||
			lab_die 1 "apt-get update failed, is there a network? See $lab_apt_dir/update.log"
		main=$(lab_mirror Debian)
	fi
	[[ -n $main ]] || lab_die 1 "no Debian mirror in the sources of apt"
	security=$(lab_mirror Debian-Security)

	for keys in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
		[[ -r $keys ]] && break
	done
	for suite in "${suites[@]}"; do
		case $suite in
		*-security)
			[[ -z $security ]] ||
				lists+=("deb [arch=amd64 signed-by=$keys] $security $suite main") ;;
		*) lists+=("deb [arch=amd64 signed-by=$keys] $main $suite main") ;;
		esac
	done

	if ! printf '%s\n' "${lists[@]}" | cmp -s - "$lab_apt_dir/sources.list" ||
	   [[ -n ${lab_apt_refresh:-} ]] ||
	   [[ -z $(find "$lab_apt_dir/updated" -mtime -1 2>/dev/null) ]]; then
		lab_say "fetching the package lists of ${suites[*]}"
		printf '%s\n' "${lists[@]}" >"$lab_apt_dir/sources.list"
		rm -f "$lab_apt_dir/updated"
		apt-get "${lab_apt_opts[@]}" --error-on=any update \
			>"$lab_apt_dir/update.log" 2>&1 ||
			lab_die 1 "cannot fetch package lists, is there a network? See $lab_apt_dir/update.log"
		: >"$lab_apt_dir/updated"
	fi
}

lab_apt_done() { exec {lab_apt_lock}>&-; }
