# Sourced by scripts/lab for --tenant: the lab tenant beside the KDC, and one whole flow through both.
# shellcheck shell=bash disable=SC2154  # venv, state, keys, kdc, port and servers are the lab's

tenant=$venv/bin/tenant
export TENANT_STATE=$state/tenant
wendy=$keys/wendy
https=127.0.0.1:$((port < 65530 ? port + 2 : port - 3)) proxy=127.0.0.1:$((port < 65530 ? port + 3 : port - 4))

add_wendy() { add_user wendy --upn wendy@lab.test; }
add_web() { "$kdc" service add host/web.lab.test >/dev/null || [ $? = 4 ]; }
make_tenant() {
  "$kdc" cloud-trust create >/dev/null || [ $? = 4 ]
  rm -f "$keys/cloud.key"
  "$kdc" cloud-trust export-key -o "$keys/cloud.key" >/dev/null
  "$tenant" init --domain lab.test --kdc-state "$state" --listen "$https" --proxy "$proxy" --cloud-key "$keys/cloud.key" >/dev/null
  rm -f "$keys/cloud.key" # the tenant keeps it sealed
}
# Her account comes by the sync, as from Entra Connect; her password there is the tenant's own.
make_wendy() {
  "$tenant" sync --once >/dev/null
  "$tenant" user password wendy --password-file "$keys/wendy.password" >/dev/null
  # Nobody is here to be asked for a second factor.
  "$tenant" user mfa wendy assumed >/dev/null
}
[ -s "$keys/wendy.password" ] ||
  (umask 077 && "$venv/bin/python" -c 'import secrets; print(secrets.token_hex(8))' >"$keys/wendy.password") # an argument of roadtx: no "-" in front
done_once wendy add_wendy
done_once web add_web
if [ ! -e "$TENANT_STATE/tenant.toml" ]; then
  # A new tenant, or what is left of one: devices and keys of an earlier one are worth nothing.
  rm -rf "$TENANT_STATE" "$wendy" "$keys/.wendy-synced-done"
  make_tenant
else
  "$tenant" init --domain lab.test --kdc-state "$state" >/dev/null # a certificate near its end is made anew
fi
done_once wendy-synced make_wendy

tenant_log=$state/tenant-serve.log
exec 4< <(umask 077 && exec "$tenant" serve --listen "$https" --proxy "$proxy" 2>>"$tenant_log")
servers+=("$!")
read -r -t 30 ready <&4 || {
  tail -n 5 "$tenant_log" >&2
  stop "the tenant did not start on $https and $proxy" "Its own words are above, and all of them in $tenant_log"
}
say "$ready"
say "its log: $tenant_log"

# The whole flow: join, Hello key, PRT; the key is refused by the KDC until the sync has carried it there.
hello_logon() { "$kdc" logon wendy --identity "$wendy/hello.pem" --kdc "127.0.0.1:$port" 2>&1; }
first=''
[ -e "$wendy/hello.key" ] || first=1
"$tenant" logon wendy --folder "$wendy" --password-file "$keys/wendy.password" --tenant "$https" >/dev/null ||
  stop "wendy could not sign in at the tenant with a Hello key" "The reason: tail $TENANT_STATE/audit.jsonl"
if [ -n "$first" ]; then
  refused=$(hello_logon) && stop "the KDC let wendy in with a key that was never synced" "This is a fault: please report it"
  [[ $refused == *KDC_ERR_CLIENT_NOT_TRUSTED* ]] || stop "wendy's key was refused, but for another reason" "$refused"
fi
"$tenant" sync --once >/dev/null || stop "the sync failed" "Run it again: TENANT_STATE=$TENANT_STATE $tenant sync --once"
hello_logon >/dev/null || stop "wendy's Hello key was refused after the sync" "The reason: KDC_STATE=$state $kdc explain --last"
"$kdc" cloud-trust redeem --prt "$wendy/user.prt" --ccache "$wendy/cloud.ccache" --service host/web.lab.test --kdc "127.0.0.1:$port" >/dev/null ||
  stop "the partial TGT was not redeemed" "The reason: KDC_STATE=$state $kdc explain --last"

tenant_lines() {
  local roadtx=roadtx note=' (not here: pip install roadtx, or run ./scripts/test, which sets it up)'
  [ ! -x "$peers/roadtx-venv/bin/roadtx" ] || roadtx=$peers/roadtx-venv/bin/roadtx
  if [ -x "$peers/roadtx-venv/bin/roadtx" ] || command -v roadtx >/dev/null; then note=''; fi
  cat <<EOF
wendy joined a device at the tenant, registered a Hello key${first:+, which the KDC refused (62) before the sync,} and logged on with it (key trust)
the partial TGT that came with her primary refresh token became a full TGT and a ticket for host/web.lab.test (cloud trust)

The same with roadtx$note, in an empty folder:
  export HTTPS_PROXY=http://$proxy REQUESTS_CA_BUNDLE=$TENANT_STATE/pki/ca.pem
  $roadtx gettokens -u wendy@lab.test -p $(cat "$keys/wendy.password") -c broker -r drs
  $roadtx device -a join -n pc2 -d lab.test
  $roadtx prt -u wendy@lab.test -p $(cat "$keys/wendy.password") -c pc2.pem -k pc2.key
  $roadtx prtauth -c broker -r drs
  $roadtx winhello -k hello.key
  $roadtx prt -u wendy@lab.test -hk hello.key -c pc2.pem -k pc2.key
  $roadtx prt -a renew
then the key into the realm, and the partial TGT into a full one:
  TENANT_STATE=$TENANT_STATE $tenant sync --once
  KDC_STATE=$state $kdc cloud-trust redeem --prt roadtx.prt --ccache cloud.ccache --kdc 127.0.0.1:$port
what the tenant knows:
  TENANT_STATE=$TENANT_STATE $tenant show

EOF
}
