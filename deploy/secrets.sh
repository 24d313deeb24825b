#!/bin/sh
# Makes the secrets of compose.yaml, once: what is there stays. As root, for each belongs to the user that reads it.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets
cd secrets

ALLOYSORT=10001 MOSQUITTO=1883 PROMETHEUS=65534 GRAFANA=472
MOSQUITTO_IMAGE=eclipse-mosquitto:2.0.22

random() { [ -e "$1" ] || head -c 24 /dev/urandom | base64 | tr '+/' '-_' > "$1"; }

hash_passwords() {
    if command -v mosquitto_passwd > /dev/null; then
        mosquitto_passwd -U "$1"
    else
        docker run --rm --user 0:0 --network none -v "$PWD:/secrets" "$MOSQUITTO_IMAGE" mosquitto_passwd -U "/secrets/$1"
    fi
}

for name in postgres-password mqtt-password mqtt-plant-password grafana-password; do random "$name"; done
[ -e pgpass ] || printf 'postgres:5432:alloysort:alloysort:%s\n' "$(cat postgres-password)" > pgpass
if [ ! -e mosquitto-passwords ]; then
    printf 'line-1:%s\nplant:%s\n' "$(cat mqtt-password)" "$(cat mqtt-plant-password)" > mosquitto-passwords.new
    hash_passwords mosquitto-passwords.new
    mv mosquitto-passwords.new mosquitto-passwords
fi
touch tokens.toml prometheus-token

chown "$ALLOYSORT:$ALLOYSORT" tokens.toml pgpass mqtt-password
chown "$MOSQUITTO:$MOSQUITTO" mosquitto-passwords
chown "$PROMETHEUS:$PROMETHEUS" prometheus-token
chown "$GRAFANA" grafana-password
chmod 600 ./*
