#!/bin/busybox sh
# The first process of the VM: one NFS server and two clients of it, each in namespaces of its own
# (network, mounts, host name, IPC), with the export mounted at /share. Then it runs /job.
/bin/busybox --install -s /bin
export PATH=/bin:/host
mkdir -p /proc /sys /dev /tmp /run /share /export /disk /var/lib/nfs/v4recovery /var/lib/nfs/rpc_pipefs
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /disk

end() {
    echo "VM ends with $1"
    sync
    poweroff -f
}
fail() {
    echo "VM: $*" >&2
    dmesg | tail -30 >&2
    end 125
}

for module in $(cat /modules/order); do
    insmod "/modules/$module" || fail "insmod $module"
done
/host/ip link set lo up
hostname server

# /host is this machine's: busybox would take its own `ip`, whatever PATH says.

# What is exported lies on ext4, with directories hashed and times as that kernel keeps them.
truncate -s 512M /disk/image
/host/mkfs.ext4 -q -F -J size=8 -E nodiscard /disk/image || fail mkfs.ext4
mount -o loop /disk/image /export || fail "mount ext4"
mkdir /export/share /export/local
chmod 777 /export/share

# A client that is gone is forgotten after ten seconds, not ninety; nobody has state to reclaim.
mount -t nfsd nfsd /proc/fs/nfsd
mount -t rpc_pipefs rpc_pipefs /var/lib/nfs/rpc_pipefs
echo 10 >/proc/fs/nfsd/nfsv4leasetime
echo 10 >/proc/fs/nfsd/nfsv4gracetime
mkdir -p /run/rpcbind /var/lib/nfs/sm /var/lib/nfs/sm.bak
touch /var/lib/nfs/etab /var/lib/nfs/rmtab
/host/rpcbind -w || fail rpcbind
# async: this server does not crash.
echo '/export/share *(rw,no_root_squash,no_subtree_check,async,insecure)' >/etc/exports
/host/exportfs -a || fail exportfs
/host/rpc.mountd || fail rpc.mountd
/host/rpc.statd --no-notify || fail rpc.statd
/host/rpc.nfsd 4 || fail rpc.nfsd
echo Y >/proc/fs/nfsd/v4_end_grace

# host NAME NET VERSION: a host with 10.0.NET.2, whose processes are started by
# `nsenter -t $(cat /run/NAME) -n -u -m -i`.
host() {
    unshare -n -u -m -i sh -c "hostname $1; mount --make-rprivate /; mount -t tmpfs tmpfs /dev/shm
        echo \$\$ >/run/$1; exec sleep 1000000" &
    while [ ! -s "/run/$1" ]; do sleep 0.1; done
    on="nsenter -t $(cat "/run/$1") -n -u -m -i"
    /host/ip link add "veth-$1" type veth peer name eth0 netns "$(cat "/run/$1")"
    /host/ip addr add "10.0.$2.1/24" dev "veth-$1"
    /host/ip link set "veth-$1" up
    $on /host/ip link set lo up
    $on /host/ip addr add "10.0.$2.2/24" dev eth0
    $on /host/ip link set eth0 up
    $on /host/mount.nfs "10.0.$2.1:/export/share" /share -o "vers=4.2" || fail "mount on $1"
}
host a 1
host b 2
echo "VM is up after $(cut -d' ' -f1 /proc/uptime) s: $(uname -r), $(cut -d' ' -f1,3 /proc/fs/nfsd/versions)"
sh /job
end $?
