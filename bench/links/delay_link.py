#!/usr/bin/env python3
"""delay_link.py NS_A NS_B RTT_MS: a link between two network namespaces that delivers each packet RTT_MS / 2 later.

For kernels without netem. Each end is a TUN device `link0`; this process reads a packet on one and writes it on the other
when its time has come. Packets are whole TCP segments of up to 64 KB (segmentation offload), so a packet's cost of some
20 us is 4 % of one core at 1 Gbit/s. Ends with SIGTERM.
SPDX-License-Identifier: Apache-2.0
"""
import collections
import ctypes
import fcntl
import os
import select
import struct
import sys
import time

TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x1, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4 = 0x1, 0x2
CLONE_NEWNET = 0x40000000
VNET_HEADER = 10


def open_end(namespace):
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}") as handle:
        if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"link0", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", VNET_HEADER))
    fcntl.ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4)
    return fd


def read_all(fd, queue, delay):
    due = time.monotonic() + delay
    try:
        while True:
            queue.append((due, os.read(fd, 65536 + VNET_HEADER)))
    except BlockingIOError:
        pass


def main():
    ends = [open_end(name) for name in sys.argv[1:3]]
    delay = float(sys.argv[3]) / 2e3
    queues = {ends[0]: collections.deque(), ends[1]: collections.deque()}  # by reader
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    poller = select.epoll()
    for end in ends:
        poller.register(end, select.EPOLLIN)
    while True:
        dues = [queue[0][0] for queue in queues.values() if queue]
        timeout = max(0.0, min(dues) - time.monotonic()) if dues else -1
        if 0 < timeout < 0.001:  # epoll counts in milliseconds
            time.sleep(min(timeout, 0.0001))
            timeout = 0
        for fd, _ in poller.poll(timeout):
            read_all(fd, queues[fd], delay)
        now = time.monotonic()
        for fd, queue in queues.items():
            while queue and queue[0][0] <= now:
                packet = queue.popleft()[1]
                try:
                    os.write(other[fd], packet)
                except (BlockingIOError, OSError):
                    pass  # a full or closed link drops, and TCP knows what to do


if __name__ == "__main__":
    main()
