#!/bin/sh
# umbra under mpirun: the text and the scores of one process, at every number of ranks, and plain words
# when a rank fails. Usage: test_mpirun.sh UMBRA
set -eu
umbra=$1
tiny=models/tiny-q8_0.gguf
shared=${UMBRA_SHARED:-../shared}

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
"$umbra" version | grep -q ' mpi ' || skip "this build has no MPI (-DUMBRA_MPI=ON)"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# Open MPI as root, on fewer processors than ranks, with no network but the loopback; in a folder that no
# other mpirun makes at the same time.
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl=self,vader OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM OMPI_MCA_rmaps_base_oversubscribe
OMPI_MCA_orte_tmpdir_base=$folder
export OMPI_MCA_btl OMPI_MCA_btl_vader_single_copy_mechanism OMPI_MCA_orte_tmpdir_base
mpirun -n 2 true >/dev/null 2>&1 || skip "mpirun cannot start processes here"


printf 'Once upon a time there was a disk that' >"$folder/prompt"
"$umbra" run $tiny -f "$folder/prompt" -n 40 >"$folder/alone"
for ranks in 1 2 4; do
    mpirun -n $ranks "$umbra" run $tiny -f - -n 40 --ram 22M <"$folder/prompt" >"$folder/text"
    cmp "$folder/alone" "$folder/text" || fail "$ranks ranks write another text"
done
"$umbra" run $tiny -f "$folder/prompt" -n 40 --temp 0.9 --seed 5 >"$folder/alone"
mpirun -n 3 "$umbra" run $tiny -f "$folder/prompt" -n 40 --temp 0.9 --seed 5 --prefetch gate --draft off \
    --usage "$folder/usage" >"$folder/text"
cmp "$folder/alone" "$folder/text" || fail "3 ranks that sample write another text"
# The usage of all, which then divides the experts. Without drafts: how many are checked, and use experts,
# depends on times.
"$umbra" run $tiny -f "$folder/prompt" -n 40 --temp 0.9 --seed 5 --draft off --usage "$folder/usage1" >/dev/null
cmp "$folder/usage" "$folder/usage1" || fail "the usage of ranks does not add up"
mpirun -n 2 "$umbra" run $tiny -f "$folder/prompt" -n 40 --temp 0.9 --seed 5 --pin 20 \
    --usage "$folder/usage" >"$folder/text"
cmp "$folder/alone" "$folder/text" || fail "ranks that divide by usage write another text"

# The scores of every layout that there is a model of.
printf 'A page that nobody reads keeps its secret, and the shelf keeps the page.' >"$folder/words"
for model in $tiny "$shared"/models/lab-q4_0.gguf "$shared"/arch/*.gguf "$shared"/arch2/*.gguf; do
    [ -e "$model" ] || { echo "SKIPPED: $model is not there"; continue; }
    set -- score "$model" --text "$folder/words" --json --top 3 --experts -t 1
    "$umbra" "$@" | sed 's/"tok_s": *[-0-9.e+]*//g' >"$folder/alone"
    for ranks in 2 4; do
        mpirun -n $ranks "$umbra" "$@" | sed 's/"tok_s": *[-0-9.e+]*//g' >"$folder/text"
        cmp "$folder/alone" "$folder/text" || fail "$model: $ranks ranks score otherwise"
    done
done

# A benchmark, which holds the logits of every run against the first one's.
mpirun -n 2 "$umbra" bench $tiny --rounds 1 -n 6 --warm 2 --ram 22M --policy off gate oracle --json -t 1 \
    >"$folder/text" 2>"$folder/log" || { cat "$folder/log"; fail "2 ranks do not bench"; }
grep -q '"oracle"' "$folder/text" || fail "a benchmark of 2 ranks says nothing of a policy"

# Drafts are rank 0's; the others compute what it checks.
printf 'one two three one two three one two three one two' >"$folder/again"
"$umbra" run $tiny -f "$folder/again" -n 30 --draft off >"$folder/alone"
mpirun -n 2 "$umbra" run $tiny -f "$folder/again" -n 30 --draft lookup >"$folder/text"
cmp "$folder/alone" "$folder/text" || fail "ranks with drafts write another text"

# A server, of which rank 0 listens.
if command -v curl >/dev/null && "$umbra" serve --help >/dev/null 2>&1; then
    mpirun -n 2 "$umbra" serve $tiny --port 0 --no-probe >"$folder/url" 2>"$folder/log" &
    server=$!
    tries=0
    until [ -s "$folder/url" ] || [ $tries -ge 300 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    "$umbra" run $tiny -p "Once upon" -n 12 >"$folder/alone"
    curl -s -d '{"prompt":"Once upon","max_tokens":12,"temperature":0,"stream":false}' \
        -H 'Content-Type: application/json' "$(cat "$folder/url")v1/completions" >"$folder/answer"
    kill -TERM $server
    wait $server || true
    grep -q '"text"' "$folder/answer" || { cat "$folder/answer" "$folder/log"; fail "no answer"; }
fi

# A rank needs no more than its part of the file, and a part runs with the others alone.
"$umbra" run $tiny -f "$folder/prompt" -n 20 >"$folder/alone"
for rank in 0 1 2; do
    mkdir "$folder/$rank"
    "$umbra" split $tiny "$folder/$rank" --ranks 3 --experts-of $rank --usage "$folder/usage" >/dev/null
    [ "$(stat -c %s "$folder/$rank/tiny-q8_0.gguf")" -ge "$(stat -c %s $tiny)" ] || fail "a short part"
done
part()
{
    echo "-n 1 $umbra run $folder/$1/tiny-q8_0.gguf -f - -n 20"
}
mpirun $(part 0) : $(part 1) : $(part 2) <"$folder/prompt" >"$folder/text"
cmp "$folder/alone" "$folder/text" || fail "parts write another text"

# Traces, whose documents are divided: the same files, and one number of ranks goes on after another.
"$umbra" collect $tiny -o "$folder/trace" --tokens 600 --ctx 40 >/dev/null 2>&1
mpirun -n 2 "$umbra" collect $tiny -o "$folder/trace2" --tokens 600 --ctx 40 >/dev/null 2>"$folder/log"
diff -r "$folder/trace" "$folder/trace2" || fail "2 ranks collect other traces"
[ "$(grep -c 'tokens; will write' "$folder/log")" -eq 1 ] || fail "more than one rank speaks"

# Training: networks are divided, the same file; a rank that is interrupted stops all, and another number
# goes on. One network of all layers: the same file for the same ranks.
train()
{
    ranks=$1 out=$2
    shift 2
    mpirun -n "$ranks" "$umbra" train "$folder/trace" -o "$out" --hidden 16 --epochs 2 "$@" >/dev/null 2>"$folder/log"
}
"$umbra" train "$folder/trace" -o "$folder/shadow" --hidden 16 --epochs 2 >/dev/null 2>&1
for ranks in 2 3; do
    train $ranks "$folder/shadow$ranks"
    cmp "$folder/shadow" "$folder/shadow$ranks" || fail "$ranks ranks train another shadow"
    [ ! -e "$folder/shadow$ranks.checkpoint" ] || fail "$ranks ranks leave checkpoints behind"
done
# Each rank is a process of its own below mpirun; the last one gets the signal while it trains.
mpirun -n 2 "$umbra" train "$folder/trace" -o "$folder/stopped" --hidden 16 --epochs 1000 --patience 0 \
    >/dev/null 2>"$folder/stops" &
started=$!
tries=0
until [ -s "$folder/stops" ] || [ $tries -ge 300 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
kill -INT "$(pgrep -P "$started" | tail -1)"
if wait $started; then fail "an interrupted training ends well"; fi
grep -q '^umbra: .*interrupted' "$folder/stops" || { cat "$folder/stops"; fail "no word of the interruption"; }
[ -e "$folder/stopped.checkpoint/network-0000.safetensors" ] || fail "an interrupted training left no checkpoint"
train 3 "$folder/stopped" --resume 2>/dev/null && fail "a checkpoint of other settings was gone on with"
grep -q 'was made with epochs 1000' "$folder/log" || { cat "$folder/log"; fail "no word of other settings"; }
train 2 "$folder/one" --scope shared -t 1
train 2 "$folder/one2" --scope shared -t 1
cmp "$folder/one" "$folder/one2" || fail "2 ranks train one network otherwise the second time"

# Failures: one message, with the rank where only one fails, and no rank is left behind.
expect()
{
    words=$1
    shift
    if timeout 180 mpirun "$@" >"$folder/out" 2>&1; then fail "no failure: $*"; fi
    grep -q "$words" "$folder/out" || { cat "$folder/out"; fail "no word of \"$words\": $*"; }
}
expect 'inspect does not divide its work' -n 2 "$umbra" inspect $tiny
expect 'a budget of 9000000 bytes is too small' -n 2 "$umbra" run $tiny -p x --ram 9M
expect 'rank 1 (.*failed: umbra: nothing.gguf: cannot open' \
    -n 1 "$umbra" run $tiny -p x -n 5 : -n 1 "$umbra" run nothing.gguf -p x -n 5
expect 'rank 1 (.*the context differs from rank 0' \
    -n 1 "$umbra" run $tiny -p x -n 5 : -n 1 "$umbra" run $tiny -p x -n 5 --ctx 77
expect 'rank 1 (.*the set of kernels differs from rank 0' \
    -n 1 "$umbra" run $tiny -p x -n 5 : -n 1 "$umbra" run $tiny -p x -n 5 --kernels reference
expect 'rank 0 (.*trace: already holds a trace' -n 2 "$umbra" collect $tiny -o "$folder/trace" --tokens 9
expect 'rank 1 (.*what is collected differs from rank 0' \
    -n 1 "$umbra" collect $tiny -o "$folder/new" : -n 1 "$umbra" collect $tiny -o "$folder/new" --stride 2
[ ! -e "$folder/new" ] || fail "a collection that failed left its folder"
# One rank's budget is too small, or its file another's, in a byte of its header or of its embedding; another
# shape, where lab is there.
expect 'rank 1 (.*a budget of 9000000 bytes is too small' \
    -n 1 "$umbra" run $tiny -p x --ram 22M : -n 1 "$umbra" run $tiny -p x --ram 9M
expect 'that was rank 0 (.*) alone' -n 1 "$umbra" run $tiny -p x --ram 9M : -n 1 "$umbra" run $tiny -p x --ram 22M
LC_ALL=C sed 's/umbra-tiny/umbra-tinY/' $tiny >"$folder/header.gguf"
cp $tiny "$folder/byte.gguf"
printf 'x' | dd of="$folder/byte.gguf" bs=1 seek=1000000 conv=notrunc 2>/dev/null
expect "rank 1 (.*the hash of the model's header differs from rank 0" \
    -n 1 "$umbra" run $tiny -p x -n 5 : -n 1 "$umbra" run "$folder/header.gguf" -p x -n 5
expect "rank 1 (.*the hash of the model's dense weights differs from rank 0" \
    -n 1 "$umbra" run $tiny -p x -n 5 : -n 1 "$umbra" run "$folder/byte.gguf" -p x -n 5
lab="$shared/models/lab-q4_0.gguf"
if [ -e "$lab" ]; then
    expect "rank 1 (.*header differs from rank 0" \
        -n 1 "$umbra" run $tiny -p x -n 5 : -n 1 "$umbra" run "$lab" -p x -n 5
    expect "rank 1 (.*header differs from rank 0" \
        -n 1 "$umbra" run "$lab" -p x -n 5 : -n 1 "$umbra" run $tiny -p x -n 5
fi
# A copy of the program that calls itself another version, which is a string in it.
version=$("$umbra" version | sed -n '1s/umbra //p')
LC_ALL=C sed "s/$version/9.9.9/g" "$umbra" >"$folder/umbra"
chmod +x "$folder/umbra"
if [ "$("$folder/umbra" version 2>/dev/null | head -1)" = "umbra 9.9.9" ] && [ ${#version} -eq 5 ]; then
    expect "rank 1 (.*the version of Umbra differs from rank 0's: \"9.9.9\" here, \"$version\" there" \
        -n 1 "$umbra" run $tiny -p x -n 5 : -n 1 "$folder/umbra" run $tiny -p x -n 5
    expect "rank 1 (.*the version of Umbra differs from rank 0's" \
        -n 1 "$umbra" collect $tiny -o "$folder/new" : -n 1 "$folder/umbra" collect $tiny -o "$folder/new"
else
    echo "SKIPPED: another version, which cannot be made of this program"
fi
# A rank that is killed ends all: MPI says which on which machine.
expect 'rank 1 .*on node .* exited on signal 9' -n 1 "$umbra" bench $tiny --rounds 1000 -t 1 : \
    -n 1 sh -c '(sleep 2; kill -9 $$) & exec "$@"' sh "$umbra" bench $tiny --rounds 1000 -t 1
expect 'rank 1 (.*nothing/manifest.json: there is none' -n 1 "$umbra" train "$folder/trace" -o "$folder/new" : \
    -n 1 "$umbra" train nothing -o "$folder/new"
expect 'rank 1 (.*width differs from rank 0' -n 1 "$umbra" train "$folder/trace" -o "$folder/new" : \
    -n 1 "$umbra" train "$folder/trace" -o "$folder/new" --hidden 9
[ ! -e "$folder/new.checkpoint" ] || fail "a training that failed left its folder"
expect 'has the experts of rank 2 of 3 alone' $(part 0) : $(part 2) : $(part 1)
"$umbra" split $tiny "$folder/1" --ranks 3 --experts-of 1 >/dev/null
expect 'experts were divided otherwise' $(part 0) : $(part 1) : $(part 2)
if "$umbra" run "$folder/1/tiny-q8_0.gguf" -p x -n 1 2>"$folder/out"; then fail "a part runs alone"; fi
grep -q 'has the experts of rank 1 of 3 alone' "$folder/out"
