# shellcheck shell=bash
# For scripts/debian-root and scripts/peers, which source it: a release of Debian, fetched as packages are fetched here.

debian_keys=/usr/share/keyrings/debian-archive-keyring.gpg # a host of another maker does not trust them by itself

find_mmdebstrap() { # installs it where it is missing, if that may be done unasked
    local needed=(mmdebstrap debian-archive-keyring) sudo=()
    if command -v mmdebstrap > /dev/null && [ -e "$debian_keys" ]; then return; fi
    [ "$(id -u)" = 0 ] || sudo=(sudo -n)
    if ! "${sudo[@]}" apt-get --version > /dev/null 2>&1; then
        say "please install what these Debian packages bring: ${needed[*]}"
        return 1
    fi
    say "installing ${needed[*]}"
    "${sudo[@]}" apt-get -qq update
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${needed[@]}" >&2
}

apt_settings() { # how apt gets to its mirrors from here, as lines of its configuration
    local scheme proxy
    apt-config dump Acquire | grep -E '^Acquire::(https?::|Check-(Date|Valid-Until) )' || true
    for scheme in http https; do
        proxy=${scheme}_proxy
        [ -z "${!proxy:-}" ] || echo "Acquire::$scheme::Proxy \"${!proxy}\";"
    done
}

make_debian() { # make_debian RELEASE TARGET OPTION...: mmdebstrap from the mirrors of here, or from Debian's own
    local main security
    # shellcheck disable=SC2016 # apt expands it
    mirror() { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Label: $1" | head -n 1; }
    main=$(mirror Debian)
    security=$(mirror Debian-Security)
    mmdebstrap --keyring="$debian_keys" "${@:3}" "$1" "$2" \
        ${main:+"deb $main $1 main"} ${security:+"deb $security $1-security main"}
}
