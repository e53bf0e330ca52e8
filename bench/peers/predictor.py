#!/usr/bin/env python3
"""Times the predictor's network in NumPy, PyTorch, ONNX Runtime and MLX, beside `umbra bench
predictor`: same shape, same input, same number of threads, same machine, in turns (A B A B ...), so
that a drift of the machine's speed hits all alike. Whatever is not installed is left out.

    bench/peers/predictor.py [--shape 4096x1024x4x384] [--threads 1] [--rounds 5] [--calls 400]
                             [--umbra build/release/src/cli/umbra]

The network: hidden -> LayerNorm -> SiLU -> 4 heads; then the 8 best experts and a sigmoid per head.
Needs: pip install numpy, and any of torch, onnxruntime with onnx, mlx.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--shape", default="4096x1024x4x384")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--calls", type=int, default=400)
    p.add_argument("--umbra", default="build/release/src/cli/umbra")
    return p.parse_args()


ARGS = arguments()
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(ARGS.threads)

import numpy as np  # noqa: E402  (after the thread counts)

HIDDEN, WIDTH, DISTANCES, EXPERTS = map(int, ARGS.shape.split("x"))
BEST = 8
RNG = np.random.default_rng(1)
W1 = (RNG.standard_normal((WIDTH, HIDDEN)) / HIDDEN**0.5).astype(np.float32)
W2 = (RNG.standard_normal((DISTANCES * EXPERTS, WIDTH)) / WIDTH**0.5).astype(np.float32)
STATE = RNG.standard_normal(HIDDEN).astype(np.float32)


def reference(x):
    """Scores of the network in NumPy."""
    v = W1 @ (x / np.sqrt((x * x).mean() + 1e-12))
    v = (v - v.mean()) / np.sqrt(v.var() + 1e-5)
    return (W2 @ (v / (1 + np.exp(-v)))).reshape(DISTANCES, EXPERTS)


def numpy_peer():
    def call():
        z = reference(STATE)
        best = np.argpartition(-z, BEST, axis=1)[:, :BEST]
        return best, 1 / (1 + np.exp(-z))

    return {"numpy f32": call}


def torch_peers():
    import torch

    torch.set_num_threads(ARGS.threads)

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(HIDDEN, WIDTH, bias=False)
            self.norm = torch.nn.LayerNorm(WIDTH)
            self.heads = torch.nn.Linear(WIDTH, DISTANCES * EXPERTS, bias=False)
            self.first.weight.data = torch.from_numpy(W1)
            self.heads.weight.data = torch.from_numpy(W2)

        def forward(self, x):
            x = x * torch.rsqrt((x * x).mean() + 1e-12)
            z = self.heads(torch.nn.functional.silu(self.norm(self.first(x))))
            z = z.view(DISTANCES, EXPERTS)
            return torch.topk(z, BEST, dim=1).indices, torch.sigmoid(z)

    x = torch.from_numpy(STATE)[None]
    plain = Network().eval()
    half = Network().eval().to(torch.bfloat16)
    int8 = torch.ao.quantization.quantize_dynamic(Network().eval(), {torch.nn.Linear}, torch.qint8)
    x_half = x.to(torch.bfloat16)

    def run(network, value):
        def call():
            with torch.inference_mode():
                return network(value)

        return call

    return {"torch f32": run(plain, x), "torch bf16": run(half, x_half),
            "torch int8": run(int8, x)}


def onnx_peers():
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper
    from onnxruntime.quantization import QuantType, quantize_dynamic
    import tempfile

    def constant(name, value):
        return onnx.numpy_helper.from_array(value, name)

    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("LayerNormalization", ["a", "gain", "shift"], ["b"], epsilon=1e-5),
        helper.make_node("Sigmoid", ["b"], ["s"]),
        helper.make_node("Mul", ["b", "s"], ["c"]),
        helper.make_node("MatMul", ["c", "w2"], ["d"]),
        helper.make_node("Reshape", ["d", "shape"], ["z"]),
        helper.make_node("TopK", ["z", "k"], ["values", "best"], axis=1),
        helper.make_node("Sigmoid", ["z"], ["p"]),
    ]
    graph = helper.make_graph(
        nodes, "predictor",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, HIDDEN])],
        [helper.make_tensor_value_info("best", TensorProto.INT64, [DISTANCES, BEST]),
         helper.make_tensor_value_info("p", TensorProto.FLOAT, [DISTANCES, EXPERTS])],
        [constant("w1", np.ascontiguousarray(W1.T)), constant("w2", np.ascontiguousarray(W2.T)),
         constant("gain", np.ones(WIDTH, np.float32)), constant("shift", np.zeros(WIDTH, np.float32)),
         constant("shape", np.array([DISTANCES, EXPERTS])), constant("k", np.array([BEST]))])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = ARGS.threads
    options.inter_op_num_threads = 1
    feed = {"x": (STATE / np.sqrt((STATE * STATE).mean()))[None]}

    def run(session):
        return lambda: session.run(None, feed)

    with tempfile.TemporaryDirectory() as folder:
        plain, rounded = os.path.join(folder, "f32.onnx"), os.path.join(folder, "int8.onnx")
        onnx.save(model, plain)
        quantize_dynamic(plain, rounded, weight_type=QuantType.QInt8)
        providers = ["CPUExecutionProvider"]
        return {"onnxruntime f32": run(ort.InferenceSession(plain, options, providers)),
                "onnxruntime int8": run(ort.InferenceSession(rounded, options, providers))}


def mlx_peer():
    import mlx.core as mx

    mx.set_default_device(mx.cpu)
    w1, w2, x = mx.array(W1.T), mx.array(W2.T), mx.array(STATE)[None]

    def call():
        v = x @ w1
        v = (v - v.mean()) * mx.rsqrt(v.var() + 1e-5)
        z = ((v * mx.sigmoid(v)) @ w2).reshape(DISTANCES, EXPERTS)
        best = mx.argpartition(-z, BEST, axis=1)[:, :BEST]
        mx.eval(best, mx.sigmoid(z))

    return {"mlx f32": call}


def time_calls(call):
    """Microseconds of each of the calls."""
    for _ in range(20):
        call()
    times = []
    for _ in range(ARGS.calls):
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e6)
    return times


def time_umbra(weights):
    """Medians of a run of the program, from cache."""
    out = subprocess.run(
        [ARGS.umbra, "bench", "predictor", "--shape", ARGS.shape, "--weights", weights, "--threads",
         str(ARGS.threads), "--calls", str(ARGS.calls), "--layers", "6", "--json"],
        check=True, capture_output=True, text=True).stdout
    row = json.loads(out)["rows"][0]
    return [row["predict_us_median"]], row["predict_us_p95"]


def main():
    peers = {}
    for make in (numpy_peer, torch_peers, onnx_peers, mlx_peer):
        try:
            peers.update(make())
        except ImportError as missing:
            print(f"left out: {make.__name__.split('_')[0]} ({missing})", file=sys.stderr)
    results = {name: [] for name in ["umbra i8", "umbra bf16", "umbra f32", *peers]}
    for _ in range(ARGS.rounds):
        for weights in ("i8", "bf16", "f32"):
            results[f"umbra {weights}"] += time_umbra(weights)[0]
        for name, call in peers.items():
            results[name] += [statistics.median(time_calls(call))]
    best = statistics.median(results["umbra i8"])
    print(f"{ARGS.shape}, {ARGS.threads} thread(s), one state; medians of {ARGS.rounds} rounds in "
          f"turn, microseconds")
    for name, values in results.items():
        middle = statistics.median(values)
        print(f"{name:18} {middle:9.1f}   {middle / best:6.2f} x umbra i8")


if __name__ == "__main__":
    main()
