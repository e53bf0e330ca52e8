#!/bin/sh
# Makes models/tiny-q8_0.shadow.safetensors, the shadow of the embedded model, from text that the model
# writes itself: about four minutes on two cores.
#   models/make-tiny-shadow.sh [UMBRA]     UMBRA: the program (default: build/release/src/cli/umbra)
set -eu
cd "$(dirname "$0")/.."
umbra=${1:-build/release/src/cli/umbra}
traces=build/tiny-shadow.d
rm -rf "$traces"
mkdir -p "$traces"

"$umbra" collect models/tiny-q8_0.gguf -o "$traces/train" --tokens 100000 --seed 1
"$umbra" collect models/tiny-q8_0.gguf -o "$traces/test" --tokens 10000 --seed 2
"$umbra" train "$traces/train" -o models/tiny-q8_0.shadow.safetensors --quantize i8
"$umbra" eval "$traces/test" --shadow models/tiny-q8_0.shadow.safetensors
rm -rf "$traces"
