#!/bin/sh
# An authority of one's own and certificates of it, to try TLS with or where there is no other:
#
#   certificates.sh DIRECTORY NAME=SUBJECT[,SUBJECT…] …
#
# For each NAME there is then DIRECTORY/NAME with tls.crt, tls.key and ca.crt, valid for these subjects (DNS:… or IP:…), as
# a server and as a client. The authority is DIRECTORY/ca.crt; its key is beside it, and belongs on no server. Called again
# it makes new certificates of the same authority, and puts them in the place of the old ones.
set -eu
umask 077
directory=$1
shift
mkdir -p "$directory"
cd "$directory"
scratch=$(mktemp -d .making.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
key='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
if [ ! -e ca.key ]; then
  openssl req -x509 $key -days 3650 -subj '/CN=workplane' -addext 'keyUsage=critical,keyCertSign,cRLSign' \
    -keyout ca.key -out ca.crt 2>/dev/null
fi
for one; do
  name=${one%%=*}
  mkdir -p "$name"
  openssl req -new $key -subj "/CN=$name" -keyout "$scratch/tls.key" -out "$scratch/request" 2>/dev/null
  printf '%s\n' "subjectAltName=${one#*=}" 'basicConstraints=critical,CA:false' 'keyUsage=critical,digitalSignature' \
    'extendedKeyUsage=serverAuth,clientAuth' >"$scratch/extensions"
  openssl x509 -req -in "$scratch/request" -CA ca.crt -CAkey ca.key -CAcreateserial -days 397 \
    -extfile "$scratch/extensions" -out "$scratch/tls.crt" 2>/dev/null
  cp ca.crt "$scratch/ca.crt"
  # In the place of what is there, each whole.
  mv "$scratch/ca.crt" "$scratch/tls.crt" "$scratch/tls.key" "$name/"
done
