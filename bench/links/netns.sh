#!/usr/bin/env bash
# netns.sh GBIT RTT_MS COMMAND...: two ranks on two pretended hosts (network namespaces with names of their own) joined by a
# link of GBIT Gbit/s each way and RTT_MS ms there and back. Prints the command's output and the bytes that crossed the link.
#   sudo bench/links/netns.sh 10 0 build/cpu/lockstep bench step --model resnet50 --batch 16
# Needs root, iproute2, Open MPI. The rate is tbf's on both ends. The delay is netem's, or, where the kernel has none, that of
# delay_link.py, which costs processor time: see there. RTT_MS 0: a veth pair and nothing else.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
if [[ $# -lt 3 ]]; then sed -n '2,4p' "$0" | sed 's/^# //' >&2; exit 64; fi
gbit=$1 rtt_ms=$2; shift 2
here=$(cd "$(dirname "$0")" && pwd)
a=lockstep-a b=lockstep-b relay=
agent=$(mktemp)

cleanup() {
  if [[ -n $relay ]]; then kill "$relay" 2>/dev/null || true; wait "$relay" 2>/dev/null || true; fi
  ip netns delete $a 2>/dev/null || true
  ip netns delete $b 2>/dev/null || true
  rm -f "$agent"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

has_netem() { ip netns exec $a tc qdisc add dev lo root netem delay 1ms 2>/dev/null && ip netns exec $a tc qdisc del dev lo root; }

ip netns add $a
ip netns add $b
delay=none
if [[ $rtt_ms == 0 ]] || has_netem; then
  ip link add link0 netns $a mtu 9000 type veth peer name link0 netns $b mtu 9000
  [[ $rtt_ms == 0 ]] || delay=netem
else
  python3 "$here/delay_link.py" $a $b "$rtt_ms" &
  relay=$!
  for _ in $(seq 50); do ip -n $b link show link0 >/dev/null 2>&1 && break; sleep 0.1; done
  delay=delay_link.py
fi
index=1
for ns in $a $b; do
  ip -n $ns link set lo up
  ip -n $ns addr add 10.77.0.$index/24 dev link0
  ip -n $ns link set link0 up
  # The burst holds what passes in a timer's tick; the queue is a deep one, so that few packets are lost.
  ip netns exec $ns tc qdisc add dev link0 root handle 1: tbf rate "${gbit}gbit" burst 1mb latency 10ms
  if [[ $delay == netem ]]; then ip netns exec $ns tc qdisc add dev link0 parent 1: netem delay "$(bc -l <<<"$rtt_ms/2")ms" limit 10000; fi
  index=$((index + 1))
done

# Open MPI starts its daemon on the other "host" by this instead of ssh: HOST COMMAND...
cat >"$agent" <<'AGENT'
#!/usr/bin/env bash
host=$1; shift
exec ip netns exec "$host" unshare --uts bash -c "hostname $host; $*"
AGENT
chmod +x "$agent"
if [[ $(id -u) -eq 0 ]]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
crossed() { ip netns exec $a cat /sys/class/net/link0/statistics/tx_bytes; }
before=$(crossed)
code=0
ip netns exec $a unshare --uts bash -c 'hostname '$a'; exec "$@"' bash \
  mpirun -n 2 --host $a:1,$b:1 --map-by node --bind-to none --mca plm_rsh_agent "$agent" --mca btl tcp,self --mca pml ob1 \
  --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 --mca mpi_yield_when_idle 1 "$@" </dev/null || code=$?
echo "link: $gbit Gbit/s, $rtt_ms ms there and back (delay: $delay); $((($(crossed) - before) / 1000000)) MB sent by the first rank"
exit $code
