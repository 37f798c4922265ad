#!/bin/busybox sh
# The guest's first program. `settings` beside it says: MODULES, in the order in which they are loaded; SHARED, the
# folder that can be written, which has the same name on the host; OWN, the part of it that is this guest's.
/bin/busybox mkdir -p /bin /proc /sys /host
/bin/busybox --install -s /bin
. /settings

give_up() {
    echo "wdasync-guest: $*"
    poweroff -f
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in $MODULES; do
    insmod "/modules/$module.ko" || give_up "module $module cannot be loaded"
done

# The host's own root, so that the guest has the same Python; nothing in it can be changed.
options=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o "ro,cache=loose,$options" host /host || give_up "the host's root cannot be mounted"
mount -t 9p -o "$options" shared "/host$SHARED" || give_up "the folder for results cannot be mounted"
mount --move /proc /host/proc
mount --move /sys /host/sys
mount --move /dev /host/dev
mkdir -p /host/dev/shm /host/dev/pts
mount -t tmpfs shm /host/dev/shm
mount -t devpts pts /host/dev/pts
mount -t debugfs debug /host/sys/kernel/debug
mount -t tmpfs -o mode=1777 run /host/run
ifconfig lo 127.0.0.1 up
echo "wdasync-guest: up"

chroot /host /bin/sh "$OWN/job.sh" </host/dev/null
echo $? >"/host$OWN/status"
sync
poweroff -f
