#!/bin/sh
# Make the secrets of the server profile, once, in a folder that only this account may enter.
#
#   infra/deploy/make-secrets.sh HOSTNAME [FOLDER]
#
# HOSTNAME is the name that people type into their browser. Files that exist are left as they are, so that
# your own certificate, or a restored master key, can be put there first. Needs openssl.
set -eu

host=${1:?usage: make-secrets.sh HOSTNAME [FOLDER]}
folder=${2:-secrets}

umask 077
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

# Writes standard input to a new file; one that exists keeps its content. Containers run under accounts of
# their own and must be able to read the file that is mounted for them: what protects it here is the folder.
keep() {
    if [ -e "$1" ]; then
        cat >/dev/null
    else
        cat >"$1.new"
        chmod 444 "$1.new"
        mv "$1.new" "$1"
    fi
}

random_hex() {
    openssl rand -hex 32
}

# Everything that is encrypted hangs on this one: see docs/operators.md about its backup.
openssl rand -base64 32 | keep master_key

random_hex | keep postgres_password
printf 'postgresql+psycopg://strongroom:%s@postgres:5432/strongroom\n' "$(cat postgres_password)" |
    keep strongroom_database_url

random_hex | keep valkey_password
printf 'requirepass %s\n' "$(cat valkey_password)" | keep valkey_conf
printf 'redis://:%s@valkey:6379/0\n' "$(cat valkey_password)" | keep strongroom_broker_url

random_hex | keep strongroom_qdrant_api_key
printf 'service:\n  api_key: %s\n' "$(cat strongroom_qdrant_api_key)" | keep qdrant_config

random_hex | keep strongroom_model_api_key

# A certificate of a local authority, for where there is none yet. Browsers trust it once tls_authority is
# installed on them; an authority's own key is not needed any more and is thrown away.
if [ ! -e tls_certificate ] || [ ! -e tls_key ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
        -subj "/CN=Strongroom local authority" -addext "keyUsage=critical,keyCertSign" \
        -keyout "$work/ca.key" -out "$work/ca.crt" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$host" \
        -keyout "$work/tls.key" -out "$work/tls.csr" 2>/dev/null
    # 397 days is the longest that browsers accept from any authority.
    printf 'subjectAltName=DNS:%s\nextendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:FALSE\n' "$host" \
        >"$work/tls.ext"
    openssl x509 -req -in "$work/tls.csr" -CA "$work/ca.crt" -CAkey "$work/ca.key" -CAcreateserial \
        -days 397 -extfile "$work/tls.ext" -out "$work/tls.crt" 2>/dev/null
    rm -f tls_authority tls_certificate tls_key
    keep tls_authority <"$work/ca.crt"
    cat "$work/tls.crt" "$work/ca.crt" | keep tls_certificate
    keep tls_key <"$work/tls.key"
fi

echo "The secrets are in $(pwd). Back up master_key now, and keep the copy apart from the data."
