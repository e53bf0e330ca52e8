#!/bin/sh
# layouts.sh BUILD LLAMA-BENCH FOLDER [THREADS...]: prompts of 512 and 2,048 tokens and decode of the
# first layers of large models' shapes (tools/random_gguf makes them in FOLDER, 26 GB, and leaves
# them there), all in memory, Umbra and llama.cpp in turns on the same file. BUILD is a build folder
# of Umbra, LLAMA-BENCH the program (bench/peers/llama.sh). SHAPES="SHAPE:LAYERS..." measures others,
# ROUNDS=N repeats; PROMPTS="N..." are other lengths.
set -eu
if [ $# -lt 3 ]; then
    sed -n '2,6s/^# //p' "$0" >&2
    exit 2
fi
build=$1 peer=$2 folder=$3
shift 3
threads=${*:-4 16}
shapes=${SHAPES:-qwen3-30b-a3b-q4_k_m:4 qwen3.6-35b-a3b-ud-q4_k_xl:4 qwen3.8-flash-next-iq3_xxs:4
    deepseek-v4-flash-iq2_xxs:4 gpt-oss-120b-mxfp4:2}
prompts=${PROMPTS:-512 2048}

for pair in $shapes; do
    shape=${pair%:*} layers=${pair##*:}
    file=$folder/$shape-$layers.gguf
    case $shape in
    qwen3.8-*) rows="--rows 20000" ;; # the table of n-grams is 28.8 GB
    *) rows= ;;
    esac
    # shellcheck disable=SC2086 # words on purpose
    [ -e "$file" ] || "$build/tools/random_gguf" "$shape" "$file" --layers "$layers" $rows
    cat "$file" >/dev/null # into the page cache, for both
    for round in $(seq "${ROUNDS:-2}"); do
        for n in $threads; do
            echo "== $shape, $layers layers, $n threads, round $round"
            # shellcheck disable=SC2086 # words on purpose
            "$build/bench/bench_threads" "$file" --threads "$n" --prompt $prompts --rounds 1
            "$peer" -m "$file" -t "$n" -p "$(echo "$prompts" | tr ' ' ,)" -n 32 -r 1 -ub 512 -b 2048
        done
    done
done
