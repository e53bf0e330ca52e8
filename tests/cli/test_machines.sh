#!/bin/sh
# Four "machines": network namespaces of the test's own, a rank in each, by TCP over links that hold every
# packet back (delayed_links.c). At each delay the scores are those of one process; a rank that fails or is
# killed ends all, with its machine's name. Usage: test_machines.sh UMBRA DELAYED_LINKS
set -eu
umbra=$1
links=$2
tiny=models/tiny-q8_0.gguf
shared=${UMBRA_SHARED:-../shared}
id=umbra$$
machines="1 2 3 4"
hub=5

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
command -v ip >/dev/null || skip "there is no iproute2"
[ -w /dev/net/tun ] || skip "there is no /dev/net/tun that this user may open"
folder=$(mktemp -d)
relay=
cut_links()
{
    [ -z "$relay" ] || { kill "$relay" && wait "$relay" || true; }
    relay=
}
clean_up()
{
    cut_links
    for name in $machines $hub; do
        ip netns del "$id-$name" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap clean_up EXIT
for name in $machines $hub; do
    ip netns add "$id-$name" 2>/dev/null || skip "no network namespace can be made here"
    ip -n "$id-$name" link set lo up
done
for i in $machines; do
    echo "10.77.0.$i slots=1" >>"$folder/hosts"
done

# Links that delay by so many milliseconds, 1 Gbit/s, between the machines and the hub, where mpirun runs.
make_links()
{
    : >"$folder/links"
    "$links" "$1" 1000 $(for i in $machines $hub; do echo "$id-$i"; done) >"$folder/links" 2>"$folder/log" &
    relay=$!
    until grep -q ready "$folder/links"; do
        kill -0 "$relay" 2>/dev/null || { relay=; skip "no link can be made here: $(cat "$folder/log")"; }
        sleep 0.1
    done
    for i in $machines $hub; do
        ip -n "$id-$i" addr add "10.77.0.$i/24" dev slow0
        ip -n "$id-$i" link set slow0 up
    done
}

# What Open MPI takes for ssh: HOST COMMAND, of which the host's last number names the namespace.
cat >"$folder/agent" <<EOF
#!/bin/sh
while [ "\${1#-}" != "\$1" ]; do shift; done
host=\$1
shift
exec ip netns exec $id-\${host##*.} unshare --uts sh -c "hostname machine\${host##*.}; \$*"
EOF
chmod +x "$folder/agent"

OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_orte_tmpdir_base=$folder
export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM OMPI_MCA_orte_tmpdir_base
on_machines()
{
    timeout 300 ip netns exec "$id-$hub" mpirun -n 4 --hostfile "$folder/hosts" --bind-to none --mca mpi_yield_when_idle 1 \
        --mca plm_rsh_agent "$folder/agent" --mca btl self,tcp \
        --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 \
        --mca orte_keep_fqdn_hostnames 1 "$@"
}

score()
{
    sed 's/"tok_s": *[-0-9.e+]*//g'
}
printf 'A page that nobody reads keeps its secret.' >"$folder/words"
for delay in 1 10; do
    make_links $delay
    on_machines hostname >"$folder/names" 2>"$folder/log" || {
        cat "$folder/log"
        skip "Open MPI does not start processes in namespaces here"
    }
    [ "$(sort -u "$folder/names" | wc -l)" -eq 4 ] || fail "the ranks are not on four machines"
    for model in $tiny "$shared/models/lab-q4_0.gguf" "$shared"/arch/*.gguf; do
        [ -e "$model" ] || { echo "SKIPPED: $model is not there"; continue; }
        set -- score "$model" --text "$folder/words" --json --top 5 --experts -t 1
        "$umbra" "$@" | score >"$folder/alone"
        on_machines "$umbra" "$@" | score >"$folder/text"
        cmp "$folder/alone" "$folder/text" || fail "$model: four machines score otherwise"
        echo "$model: with links of $delay ms four machines score as one does"
    done
    [ $delay = 10 ] || cut_links
done

# One machine has another file (a byte of its embedding), or loses its rank: all end, and it is named.
cp $tiny "$folder/other.gguf"
printf 'x' | dd of="$folder/other.gguf" bs=1 seek=1000000 conv=notrunc 2>/dev/null
failing()
{
    words=$1
    shift
    if on_machines "$@" >"$folder/out" 2>&1; then fail "no failure where $words"; fi
    grep -q "$words" "$folder/out" || { cat "$folder/out"; fail "no word of \"$words\""; }
    echo "all ended: $(grep -m 1 "$words" "$folder/out")"
}
failing 'rank 2 (machine3): the hash of the model.s dense weights differs from rank 0' sh -c "file=$tiny
    [ \$(hostname) != machine3 ] || file=$folder/other.gguf
    exec $umbra run \$file -p x -n 5"
failing 'rank 2 .*on node .*3 exited on signal 9' sh -c "[ \$(hostname) != machine3 ] || (
    sleep 5
    kill -9 \$\$) &
    exec $umbra bench $tiny --rounds 1000 -t 1"
cut_links
