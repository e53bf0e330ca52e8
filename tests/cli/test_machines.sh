#!/bin/sh
# Four "machines": network namespaces of the test's own on one bridge, a rank in each, by TCP. Each
# link is delayed, or where the kernel has no netem, of 200 Mbit/s. The scores are those of one process. Usage: test_machines.sh UMBRA
set -eu
umbra=$1
tiny=models/tiny-q8_0.gguf
shared=${UMBRA_SHARED:-../shared}
id=umbra$$

skip()
{
    echo "SKIPPED: $1"
    exit 77
}
fail()
{
    echo "$1" >&2
    exit 1
}

command -v mpirun >/dev/null || skip "there is no mpirun"
mpirun --version 2>/dev/null | grep -q 'Open MPI' || skip "mpirun is not Open MPI's"
"$umbra" version | grep -q ' mpi ' || skip "this build has no MPI (-DUMBRA_MPI=ON)"
command -v ip >/dev/null && command -v tc >/dev/null || skip "there is no iproute2"
ip netns add "$id-hub" 2>/dev/null || skip "no network namespace can be made here"
folder=$(mktemp -d)
clean_up()
{
    for name in hub 1 2 3 4; do
        ip netns del "$id-$name" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap clean_up EXIT

# The hub has the bridge; mpirun runs there too and starts each rank's daemon in its machine.
in_hub="ip netns exec $id-hub"
$in_hub ip link add bridge type bridge 2>/dev/null || skip "no bridge can be made here"
$in_hub ip addr add 10.77.0.100/24 dev bridge
$in_hub ip link set bridge up
$in_hub ip link set lo up
for i in 1 2 3 4; do
    ip netns add "$id-$i"
    ip -n "$id-hub" link add "port$i" type veth peer name eth0 netns "$id-$i" 2>/dev/null ||
        skip "no link can be made here"
    ip -n "$id-hub" link set "port$i" master bridge up
    ip -n "$id-$i" addr add "10.77.0.$i/24" dev eth0
    ip -n "$id-$i" link set eth0 up
    ip -n "$id-$i" link set lo up
    ip netns exec "$id-$i" tc qdisc add dev eth0 root netem delay 1ms 2>/dev/null ||
        ip netns exec "$id-$i" tc qdisc add dev eth0 root tbf rate 200mbit burst 32k latency 50ms \
            2>/dev/null || skip "no link can be slowed here"
    echo "10.77.0.$i slots=1" >>"$folder/hosts"
done

# What Open MPI takes for ssh: HOST COMMAND, of which the host's last number names the namespace.
cat >"$folder/agent" <<EOF
#!/bin/sh
while [ "\${1#-}" != "\$1" ]; do shift; done
host=\$1
shift
exec ip netns exec $id-\${host##*.} unshare --uts sh -c "hostname machine\${host##*.}; \$*"
EOF
chmod +x "$folder/agent"

OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM
on_machines()
{
    timeout 300 $in_hub mpirun -n 4 --hostfile "$folder/hosts" --bind-to none \
        --mca plm_rsh_agent "$folder/agent" --mca btl self,tcp \
        --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 \
        --mca orte_keep_fqdn_hostnames 1 "$@"
}
on_machines hostname >"$folder/names" 2>"$folder/log" || {
    cat "$folder/log"
    skip "Open MPI does not start processes in namespaces here"
}
ip netns exec "$id-1" tc qdisc show dev eth0 | head -1
[ "$(sort -u "$folder/names" | wc -l)" -eq 4 ] || fail "the ranks are not on four machines"

first_of()
{
    for file in "$@"; do
        [ ! -e "$file" ] || { echo "$file"; break; }
    done
}
printf 'A page that nobody reads keeps its secret.' >"$folder/words"
for model in $tiny "$shared/models/lab-q4_0.gguf" "$(first_of "$shared"/arch/*.gguf)"; do
    [ -e "$model" ] || { echo "SKIPPED: ${model:-a model of arch} is not there"; continue; }
    "$umbra" score "$model" --text "$folder/words" --json --top 5 --experts -t 1 |
        sed 's/"tok_s": *[-0-9.e+]*//g' >"$folder/alone"
    on_machines "$umbra" score "$model" --text "$folder/words" --json --top 5 --experts -t 1 |
        sed 's/"tok_s": *[-0-9.e+]*//g' >"$folder/text"
    cmp "$folder/alone" "$folder/text" || fail "$model: four machines score otherwise"
    echo "$model: four machines score as one does"
done
