# Ceph's gateway on one monitor and one OSD, from Debian's packages. Needs root.
install() {
    command -v radosgw ceph-osd ceph-mon >/dev/null && return
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends radosgw ceph-mon ceph-osd ceph-common
}

ceph_() { command ceph -c "$dir/ceph.conf" "$@"; }

prepare() {
    local fsid mon_port=${ports[1]}
    fsid=$(cat /proc/sys/kernel/random/uuid)
    mkdir -p "$dir/mon" "$dir/osd" "$dir/run"
    # Everything below one folder and on loopback; one copy of everything.
    cat >"$dir/ceph.conf" <<CONF
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$mon_port/0]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv4 = true
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = $dir/keyring
run dir = $dir/run
admin socket = $dir/run/\$name.asok
log file = $dir/\$name.log
pid file =
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail crit = 1
osd objectstore = memstore
memstore device bytes = 2147483648
[mon.a]
mon data = $dir/mon
[osd.0]
osd data = $dir/osd
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$port
rgw data = $dir
rgw enable usage log = false
CONF
    ceph-authtool --create-keyring "$dir/keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
    ceph-authtool "$dir/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' >/dev/null
    ceph-authtool "$dir/keyring" --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *' >/dev/null
    ceph-authtool "$dir/keyring" --gen-key -n client.rgw --cap mon 'allow rw' --cap osd 'allow rwx' >/dev/null
    monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$mon_port]" "$dir/monmap" >/dev/null
    ceph-mon -c "$dir/ceph.conf" -i a --mkfs --monmap "$dir/monmap" --keyring "$dir/keyring"
    start 1-mon ceph-mon -c "$dir/ceph.conf" -i a -f
    # The monitor knows its own key and the administrator's; the others it is told.
    timeout 60 bash -c "until ceph -c '$dir/ceph.conf' --connect-timeout 2 auth import -i '$dir/keyring'; do sleep 0.2; done" 2>>"$dir/prepare.log"
    ceph_ osd new "$(cat /proc/sys/kernel/random/uuid)" 0 >>"$dir/prepare.log" 2>&1 || true
    local uuid
    uuid=$(ceph_ osd dump --format json | python3 -c 'import json, sys; print(json.load(sys.stdin)["osds"][0]["uuid"])')
    ceph-osd -c "$dir/ceph.conf" -i 0 --mkfs --osd-uuid "$uuid" >>"$dir/prepare.log" 2>&1
    ceph_ osd crush add osd.0 1.0 root=default >>"$dir/prepare.log" 2>&1
}

run() {
    [ -f "$dir/1-mon.pid" ] || start 1-mon ceph-mon -c "$dir/ceph.conf" -i a -f
    start 2-osd ceph-osd -c "$dir/ceph.conf" -i 0 -f
    timeout 60 bash -c "until ceph -c '$dir/ceph.conf' osd stat 2>/dev/null | grep -q '1 up'; do sleep 0.2; done"
    start 3-rgw radosgw -c "$dir/ceph.conf" -n client.rgw -f
    if ! [ -f "$dir/user" ]; then
        timeout 120 radosgw-admin -c "$dir/ceph.conf" -n client.rgw user create --uid test --display-name test \
            --access-key "$AWS_ACCESS_KEY_ID" --secret-key "$AWS_SECRET_ACCESS_KEY" >"$dir/user" 2>>"$dir/prepare.log"
    fi
}
