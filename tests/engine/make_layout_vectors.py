#!/usr/bin/env python3
"""Writes layout_vectors.h: log-sum-exp of the logits of small models, in double precision.

    test_layout_vectors FOLDER && pip install numpy gguf
    make_layout_vectors.py FOLDER >layout_vectors.h

Shares nothing with the engine: keys and values are expanded for every head, each token looks at all
positions before it, and experts are applied one at a time.
"""
import math
import sys

import numpy as np
from gguf import GGUFReader

TOKENS = [256] + [(t * 37 + 11) % 250 for t in range(1, 72)]  # more than a page


class Model:
    def __init__(self, path):
        reader = GGUFReader(path)
        self.keys = {k: f.contents() for k, f in reader.fields.items()}
        self.tensors = {t.name: np.array(t.data, np.float64) for t in reader.tensors}
        self.name = self.keys["general.architecture"]

    def key(self, name, default=None):
        return self.keys.get(f"{self.name}.{name}", default)

    def get(self, name, layer=None):
        return self.tensors.get(name if layer is None else f"blk.{layer}.{name}")


    def of_layer(self, name, layer, default=None):
        value = self.key(name, default)
        return value[layer] if isinstance(value, list) else value


def norm(x, weight, eps):
    x = x / np.sqrt(np.mean(x * x, -1, keepdims=True) + eps)
    return x if weight is None else x * weight


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


GATED = ("qwen35moe", "qwen3next", "qwen4exp")
STILL = ("kimi-linear", "nemotron_h_moe")  # nothing is rotated
COMPRESSED = ("deepseek2", "glm-dsa", "deepseek32")
ADJACENT = COMPRESSED + ("deepseek4", "llama", "granitemoe", "ernie4_5-moe", "llama4")


class Rope:
    """Interpolates between the original and the stretched frequencies (YaRN, section 3.2)."""

    def __init__(self, m, dim, base, slowed, plain=False):
        factor = None if plain else m.key("rope.scaling.factor")
        self.adjacent = m.name in ADJACENT
        if factor is None:
            slowed = np.ones(dim // 2) if slowed is None else slowed
            self.frequency = [base ** (-2 * i / dim) / slowed[i] for i in range(dim // 2)]
            self.magnitude = 1
            return
        first = m.key("rope.scaling.original_context_length")
        fast = m.key("rope.scaling.yarn_beta_fast", 32.0)
        slow = m.key("rope.scaling.yarn_beta_slow", 1.0)

        def pair(turns):
            return dim * math.log(first / (turns * 2 * math.pi)) / (2 * math.log(base))

        low, high = pair(fast), pair(slow)
        if m.name != "gpt-oss":
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, dim - 1)
        self.frequency = []
        for i in range(dim // 2):
            plain = base ** (-2 * i / dim)
            stretched = min(max((i - low) / max(high - low, 0.001), 0), 1)
            self.frequency.append(plain / factor * stretched + plain * (1 - stretched))
        # DeepSeek's mscale / mscale_all_dim is 1
        self.magnitude = 1 if m.name in COMPRESSED + ("deepseek4",) else 0.1 * math.log(factor) + 1

    def turn(self, x, position):
        out = x.copy()
        n = len(self.frequency)
        for i, f in enumerate(self.frequency):
            a, b = (2 * i, 2 * i + 1) if self.adjacent else (i, i + n)
            c, s = math.cos(position * f), math.sin(position * f)
            out[a] = (x[a] * c - x[b] * s) * self.magnitude
            out[b] = (x[a] * s + x[b] * c) * self.magnitude
        return out


def is_local(m, layer):
    """Whether a layer sees a window alone."""
    if m.name == "gemma4":
        return m.key("attention.sliding_window_pattern")[layer]
    return m.name == "gpt-oss" and layer % 2 == 0


def rope_of(m, layer):
    if m.name in STILL or (m.name == "llama4" and layer % 4 == 3):
        return None
    base, slowed = m.key("rope.freq_base"), None
    key = m.key("attention.key_length", m.key("embedding_length") // m.key("attention.head_count"))
    dim = m.key("rope.dimension_count", key)
    if m.name == "deepseek4":
        pools = m.key("attention.compress_ratios")[layer] > 0
        base = m.key("attention.compress_rope_freq_base") if pools else base
        return Rope(m, dim, base, slowed, plain=not pools)
    if m.name == "gemma4" and is_local(m, layer):
        base, dim = m.key("rope.freq_base_swa"), m.key("rope.dimension_count_swa")
    elif m.name == "gemma4":
        slowed = m.get("rope_freqs.weight")
    return Rope(m, dim, base, slowed)


def project(m, layer, x, kind):
    joined, kinds = m.get("attn_qkv.weight", layer), "qkv"
    if joined is not None:
        dim = m.key("attention.key_length")
        q, kv = m.key("attention.head_count") * dim, m.key("attention.head_count_kv") * dim
        return x @ np.split(joined, [q, q + kv])[kinds.index(kind)].T
    w = m.get(f"attn_{kind}.weight", layer)
    if w is None:  # values are what keys are before norm and rotation
        return project(m, layer, x, "k")
    bias = m.get(f"attn_{kind}.bias", layer)
    if kind == "q" and m.name in GATED:  # each head's query is followed by its gate
        w = w.reshape(m.key("attention.head_count"), 2, -1, w.shape[1])[:, 0].reshape(-1, w.shape[1])
    return x @ w.T + (0 if bias is None else bias)


def shape_heads(m, layer, y, kind, rope):
    """norms and rotation of (tokens, row)"""
    eps, weight = m.key("attention.layer_norm_rms_epsilon"), m.get(f"attn_{kind}_norm.weight", layer)
    heads = m.key("attention.head_count")
    heads = heads if kind == "q" else m.of_layer("attention.head_count_kv", layer)

    def turn(y):
        if rope is None:
            return y
        return np.array([[rope.turn(h, t) for h in row] for t, row in enumerate(y)])

    if m.name == "minimax-m2" and weight is not None:  # of all heads together
        y, weight = norm(y, weight, eps), None
        return turn(y.reshape(len(y), heads, -1))
    y = y.reshape(len(y), heads, -1)
    if kind == "v":
        return norm(y, None, eps) if m.name == "gemma4" else y
    if m.name == "hunyuan-moe":
        return norm(turn(y), weight, eps)
    if m.name == "llama4":
        return y if rope is None else norm(turn(y), None, eps)
    return turn(y if weight is None else norm(y, weight, eps))


def plain_heads(m, layer, x, rope):
    """queries, keys, values of (tokens, heads, dim)"""
    q, k, v = (shape_heads(m, layer, project(m, layer, x, kind), kind, rope) for kind in "qkv")
    shared = q.shape[1] // k.shape[1]
    scale = m.key("attention.scale", 1 / math.sqrt(q.shape[2]))
    scale = 1 if m.name == "gemma4" else scale
    return (q, np.repeat(k, shared, 1), np.repeat(v, shared, 1)), scale


def latent_heads(m, layer, x, rope):
    heads, eps = m.key("attention.head_count"), m.key("attention.layer_norm_rms_epsilon")
    rank, turned = m.key("attention.kv_lora_rank"), m.key("rope.dimension_count")
    key = m.key("attention.key_length_mla", m.key("attention.key_length"))
    value = m.key("attention.value_length_mla", m.key("attention.value_length"))
    low = m.get("attn_q_a.weight", layer)
    if low is None:
        q = x @ m.get("attn_q.weight", layer).T
    else:
        low = norm(x @ low.T, m.get("attn_q_a_norm.weight", layer), eps)
        q = low @ m.get("attn_q_b.weight", layer).T
    q = q.reshape(len(x), heads, key)
    both = x @ m.get("attn_kv_a_mqa.weight", layer).T
    latent = norm(both[:, :rank], m.get("attn_kv_a_norm.weight", layer), eps)
    k, v = np.zeros((len(x), heads, key)), np.zeros((len(x), heads, value))
    for h in range(heads):
        joint = m.get("attn_kv_b.weight", layer)
        if joint is not None:
            rows = joint.reshape(heads, key - turned + value, rank)[h]
            k_b, v_b = rows[: key - turned], rows[key - turned :]
        else:
            k_b, v_b = m.get("attn_k_b.weight", layer)[h].T, m.get("attn_v_b.weight", layer)[h]
        k[:, h, : key - turned], v[:, h] = latent @ k_b.T, latent @ v_b.T
        k[:, h, key - turned :] = both[:, rank:]
        for t in range(len(x) if rope is not None else 0):
            k[t, h, key - turned :] = rope.turn(both[t, rank:], t)
            q[t, h, key - turned :] = rope.turn(q[t, h, key - turned :], t)
    # The key holds 0.1 mscale_all_dim.
    stretch = math.log(m.key("rope.scaling.factor", 1))
    mscale = m.key("rope.scaling.yarn_log_multiplier", 0) * stretch + 1
    return (q, k, v), mscale * mscale / math.sqrt(key)


def convolution(m, layer, x):
    opens, closes, given = np.split(x @ m.get("shortconv.in_proj.weight", layer).T, 3, 1)
    taps = m.get("shortconv.conv.weight", layer)
    width, inputs, out = taps.shape[1], opens * given, np.zeros_like(x)
    for t in range(len(x)):
        for back in range(min(width, t + 1)):
            out[t] += taps[:, width - 1 - back] * inputs[t - back]
    return closes * out @ m.get("shortconv.out_proj.weight", layer).T


def picked(m, layer, x, rope):
    """for each token the positions that attention sees"""
    while m.get("indexer.proj.weight", layer) is None:
        layer, x = layer - 1, PICKING[layer - 1]
    PICKING[layer] = x
    heads, most = m.key("attention.indexer.head_count"), m.key("attention.indexer.top_k")
    eps, turned = m.key("attention.layer_norm_rms_epsilon"), 2 * len(rope.frequency)
    low = norm(x @ m.get("attn_q_a.weight", layer).T, m.get("attn_q_a_norm.weight", layer), eps)
    q = (low @ m.get("indexer.attn_q_b.weight", layer).T).reshape(len(x), heads, -1)
    k = x @ m.get("indexer.attn_k.weight", layer).T
    k = k - k.mean(1, keepdims=True)
    k = k / np.sqrt((k * k).mean(1, keepdims=True) + 1e-6)
    k = k * m.get("indexer.k_norm.weight", layer) + m.get("indexer.k_norm.bias", layer)
    weights = x @ m.get("indexer.proj.weight", layer).T

    def turn(y, t):
        adjacent, rope.adjacent = rope.adjacent, m.name == "glm-dsa"
        out = np.concatenate([rope.turn(y[:turned], t), y[turned:]])
        rope.adjacent = adjacent
        return out

    k = np.array([turn(row, t) for t, row in enumerate(k)])
    out = []
    for t in range(len(x)):
        worth = np.zeros(t + 1)
        for h in range(heads):
            worth += weights[t, h] * np.maximum(k[: t + 1] @ turn(q[t, h], t), 0)
        out.append(best(worth, most))
    return out


PICKING = {}  # what a layer's index sees


def best(worth, most):
    """the places of the largest, of equal ones the first, in order"""
    return sorted(np.argsort(-np.array(worth), kind="stable")[:most])


def index_heads(m, layer, x, rope, name, heads):
    """queries of an index, or its keys before they are normed and turned"""
    y = (x @ m.get(f"indexer.{name}_proj.weight", layer).T).reshape(len(x), heads, -1)
    return y[:, 0] if heads == 1 else y


def index_turned(m, layer, row, rope, name, position):
    eps, turned = m.key("attention.layer_norm_rms_epsilon"), 2 * len(rope.frequency)
    row = norm(row, m.get(f"indexer.{name}_norm.weight", layer), eps)
    return np.concatenate([rope.turn(row[:turned], position), row[turned:]])


def picked_blocks(m, layer, x, rope):
    """for each token and key/value head the positions that attention sees (minimax-m3)"""
    heads, most = m.key("attention.indexer.head_count"), m.key("attention.indexer.top_k")
    size, local = m.key("attention.indexer.block_size"), m.key("attention.indexer.local_blocks")
    q = index_heads(m, layer, x, rope, "q", heads)
    k = index_heads(m, layer, x, rope, "k", 1)
    k = np.array([index_turned(m, layer, row, rope, "k", t) for t, row in enumerate(k)])
    out = []
    for t in range(len(x)):
        for_heads = []
        for h in range(heads):
            products = k[: t + 1] @ index_turned(m, layer, q[t, h], rope, "q", t)
            worth = [products[b : b + size].max() for b in range(0, t + 1, size)]
            worth = [math.inf if b >= len(worth) - local else w for b, w in enumerate(worth)]
            keep = best(worth, most)
            for_heads.append([j for j in range(t + 1) if j // size in keep])
        out.append(for_heads)
    return out


def picked_means(m, layer, x, rope):
    """for each token the positions that attention sees (qwen4exp)"""
    heads, size = m.key("attention.indexer.head_count"), m.key("attention.compress_ratios")[layer]
    most = m.key("attention.indexer.top_k") // size
    q = index_heads(m, layer, x, rope, "q", heads)
    k = index_heads(m, layer, x, rope, "k", 1)
    keys = [index_turned(m, layer, k[b : b + size].mean(0), rope, "k", b)
            for b in range(0, len(x) - size + 1, size)]
    out = []
    for t in range(len(x)):
        whole = (t + 1) // size
        worth = [sum(max(0, keys[b] @ index_turned(m, layer, q[t, h], rope, "q", t))
                     for h in range(heads)) for b in range(whole)]
        keep = best(worth, most) + [whole]  # and what follows
        out.append([j for j in range(t + 1) if j // size in keep])
    return out


def turn_end(rope, x, position):
    """Turns the last values of x."""
    n = 2 * len(rope.frequency)
    return np.concatenate([x[:-n], rope.turn(x[-n:], position)])


def pooled_rows(m, layer, x, rope, name="attn", dim=None):
    """[(position that ends the block, row)]"""
    ratio = m.key("attention.compress_ratios")[layer]
    if ratio == 0:
        return []
    dim, eps = dim or m.key("attention.key_length"), m.key("attention.layer_norm_rms_epsilon")
    values = x @ m.get(f"{name}_compressor_kv.weight", layer).T
    scores = x @ m.get(f"{name}_compressor_gate.weight", layer).T
    scores += np.array([m.get(f"{name}_compressor_ape.weight", layer)[t % ratio]
                        for t in range(len(x))])
    rows = []
    for first in range(0, len(x) - ratio + 1, ratio):
        own = slice(first, first + ratio)
        v, s = values[own, -dim:], scores[own, -dim:]
        if ratio == 4 and first > 0:
            before = slice(first - ratio, first)
            v = np.concatenate([values[before, :dim], v])
            s = np.concatenate([scores[before, :dim], s])
        row = np.array([softmax(s[:, i]) @ v[:, i] for i in range(dim)])
        row = norm(row, m.get(f"{name}_compressor_norm.weight", layer), eps)
        rows.append((first + ratio - 1, turn_end(rope, row, first)))
    return rows


def picked_rows(m, layer, x, low, rope):
    """for each token the numbers of the pooled rows that attention sees"""
    if m.get("indexer.proj.weight", layer) is None:
        return [range(len(x))] * len(x)
    heads, dim = m.key("attention.indexer.head_count"), m.key("attention.indexer.key_length")
    q = (low @ m.get("indexer.attn_q_b.weight", layer).T).reshape(len(x), heads, dim)
    weights = x @ m.get("indexer.proj.weight", layer).T
    keys = pooled_rows(m, layer, x, rope, "indexer", dim)
    out = []
    for t in range(len(x)):
        worth = [sum(weights[t, h] * max(0, key @ turn_end(rope, q[t, h], t))
                     for h in range(heads)) for end, key in keys if end <= t]
        out.append(best(worth, m.key("attention.indexer.top_k")))
    return out


def pooled_attention(m, layer, x, rope):
    heads, dim = m.key("attention.head_count"), m.key("attention.key_length")
    eps, window = m.key("attention.layer_norm_rms_epsilon"), m.key("attention.sliding_window")
    groups, rank = m.key("attention.output_group_count"), m.key("attention.output_lora_rank")
    low = norm(x @ m.get("attn_q_a.weight", layer).T, m.get("attn_q_a_norm.weight", layer), eps)
    q = norm((low @ m.get("attn_q_b.weight", layer).T).reshape(len(x), heads, dim), None, eps)
    kv = norm(x @ m.get("attn_kv.weight", layer).T, m.get("attn_kv_a_norm.weight", layer), eps)
    kv = np.array([turn_end(rope, row, t) for t, row in enumerate(kv)])
    pooled = pooled_rows(m, layer, x, rope)
    picks = picked_rows(m, layer, x, low, rope)
    out = np.zeros((len(x), m.key("embedding_length")))
    for t in range(len(x)):
        rows = [row for i, (end, row) in enumerate(pooled) if end <= t and i in picks[t]]
        seen = list(kv[max(0, t - window + 1) : t + 1]) + rows
        given = []
        for h in range(heads):
            query = turn_end(rope, q[t, h], t)
            scores = np.array([row @ query for row in seen]) / math.sqrt(dim)
            scores = np.append(scores, m.get("attn_sinks.weight", layer)[h])
            mixed = softmax(scores)[:-1] @ np.array(seen)
            given.append(turn_end(rope, mixed, -t))
        parts = np.array(given).reshape(groups, -1)
        a = m.get("attn_output_a.weight", layer).reshape(groups, rank, -1)
        both = np.concatenate([a[g] @ parts[g] for g in range(groups)])
        out[t] = m.get("attn_output_b.weight", layer) @ both
    return out


class Streams:
    """Several residual streams of one token (hyper-connections)."""

    def __init__(self, m, x):
        self.m, self.n = m, m.key("hyper_connection.count")
        self.rows = np.array([x] * self.n)
        self.eps = m.key("hyper_connection.epsilon", 0)

    def scores(self, name, layer):
        m = self.m
        flat = norm(self.rows.reshape(-1), None, m.key("attention.layer_norm_rms_epsilon"))
        return (m.get(f"{name}_fn.weight", layer) @ flat, m.get(f"{name}_scale.weight", layer),
                m.get(f"{name}_base.weight", layer))

    def enter(self, name, layer):
        z, scale, base = self.scores(name, layer)
        n = self.n
        self.gives = 2 * sigmoid(z[n : 2 * n] * scale[1] + base[n : 2 * n])
        between = (z[2 * n :] * scale[2] + base[2 * n :]).reshape(n, n)
        between = np.array([softmax(row) for row in between]) + self.eps
        for i in range(self.m.key("hyper_connection.sinkhorn_iterations")):
            if i > 0:
                between = between / (between.sum(1, keepdims=True) + self.eps)
            between = between / (between.sum(0, keepdims=True) + self.eps)
        self.between = between
        return (sigmoid(z[:n] * scale[0] + base[:n]) + self.eps) @ self.rows

    def leave(self, block):
        self.rows = np.outer(self.gives, block) + self.between.T @ self.rows

    def last(self):
        z, scale, base = self.scores("output_hc", None)
        return (sigmoid(z * scale[0] + base) + self.eps) @ self.rows


def delta_net(m, layer, x):
    """Gated delta rule: what a key finds of its state is taken out, the new value put in."""
    eps, n, nk = m.key("attention.layer_norm_rms_epsilon"), m.key("ssm.state_size"), m.key(
        "ssm.group_count")
    nv = m.key("ssm.time_step_rank")
    r, keys = nv // nk, nk * n
    whole = m.get("ssm_in.weight", layer)
    if whole is None:
        mixed, z = x @ m.get("attn_qkv.weight", layer).T, x @ m.get("attn_gate.weight", layer).T
        z = z.reshape(len(x), nv, n)
    else:
        rows = (x @ whole.T).reshape(len(x), nk, -1)
        q, k, v, z = np.split(rows, [n, 2 * n, 2 * n + r * n], 2)
        mixed = np.concatenate([part.reshape(len(x), -1) for part in (q, k, v)], 1)
        z = z.reshape(len(x), nv, n)
    both = m.get("ssm_ba.weight", layer)
    if both is None:
        b, a = x @ m.get("ssm_beta.weight", layer).T, x @ m.get("ssm_alpha.weight", layer).T
    else:
        b, a = np.split((x @ both.T).reshape(len(x), nk, 2 * r), 2, 2)
        b, a = b.reshape(len(x), nv), a.reshape(len(x), nv)
    decay = np.exp(np.logaddexp(0, a + m.get("ssm_dt.bias", layer)) * m.get("ssm_a", layer))
    mixed = short_convolution(mixed, m.get("ssm_conv1d.weight", layer))
    q, k, v = np.split(mixed, [keys, 2 * keys], 1)
    q, k = (unit(y.reshape(len(x), nk, n), eps) for y in (q, k))
    v, out, state = v.reshape(len(x), nv, n), np.zeros((len(x), nv, n)), np.zeros((nv, n, n))
    for t in range(len(x)):
        for h in range(nv):
            of = h % nk if m.name != "qwen3next" else h // r
            s = decay[t, h] * state[h]
            s = s + np.outer(k[t, of], sigmoid(b[t, h]) * (v[t, h] - s.T @ k[t, of]))
            state[h], out[t, h] = s, s.T @ q[t, of] / math.sqrt(n)
    z = sigmoid(z) * (1 if m.name == "qwen4exp" else z)
    out = norm(out, m.get("ssm_norm.weight", layer), eps) * z
    return out.reshape(len(x), -1) @ m.get("ssm_out.weight", layer).T


def delta_attention(m, layer, x):
    """The gated delta rule with a decay for each value of a key."""
    eps, n, heads = m.key("attention.layer_norm_rms_epsilon"), m.key("kda.head_dim"), m.key(
        "attention.head_count")

    def of_heads(y):
        return y.reshape(len(x), heads, n)

    q, k, v = (of_heads(short_convolution(x @ m.get(f"attn_{kind}.weight", layer).T,
                                          m.get(f"ssm_conv1d_{kind}.weight", layer)))
               for kind in "qkv")
    q, k = unit(q, eps), unit(k, eps)
    steps = x @ m.get("ssm_f_a.weight", layer).T @ m.get("ssm_f_b.weight", layer).T
    steps = np.logaddexp(0, steps + m.get("ssm_dt.bias", layer))
    decay = np.exp(of_heads(steps) * m.get("ssm_a", layer).reshape(1, heads, 1))
    rate = sigmoid(x @ m.get("ssm_beta.weight", layer).T)
    out = np.zeros((len(x), heads, n))
    for h in range(heads):
        state = np.zeros((n, n))
        for t in range(len(x)):
            state = decay[t, h][:, None] * state
            state += np.outer(k[t, h], rate[t, h] * (v[t, h] - state.T @ k[t, h]))
            out[t, h] = state.T @ q[t, h] / math.sqrt(n)
    gate = x @ m.get("ssm_g_a.weight", layer).T @ m.get("ssm_g_b.weight", layer).T
    out = norm(out, m.get("ssm_norm.weight", layer), eps) * sigmoid(of_heads(gate))
    return out.reshape(len(x), -1) @ m.get("attn_output.weight", layer).T


def mamba(m, layer, x):
    inner, n, groups, heads = (m.key(f"ssm.{k}") for k in (
        "inner_size", "state_size", "group_count", "time_step_rank"))
    dim, eps = inner // heads, m.key("attention.layer_norm_rms_epsilon")
    z, mixed, steps = np.split(x @ m.get("ssm_in.weight", layer).T,
                               [inner, 2 * inner + 2 * groups * n], 1)
    mixed = short_convolution(mixed, m.get("ssm_conv1d.weight", layer),
                              m.get("ssm_conv1d.bias", layer))
    given, b, c = np.split(mixed, [inner, inner + groups * n], 1)
    steps = np.logaddexp(0, steps + m.get("ssm_dt.bias", layer))
    a, skip = m.get("ssm_a", layer).reshape(-1), m.get("ssm_d", layer).reshape(-1)
    out = np.zeros((len(x), inner))
    for h in range(heads):
        state, at = np.zeros((dim, n)), slice(h * dim, (h + 1) * dim)
        group = h // (heads // groups)
        part = slice(group * n, (group + 1) * n)
        for t in range(len(x)):
            state = math.exp(steps[t, h] * a[h]) * state + np.outer(
                given[t, at] * steps[t, h], b[t, part])
            out[t, at] = state @ c[t, part] + skip[h] * given[t, at]
    out = (out * z * sigmoid(z)).reshape(len(x), groups, -1)
    out = norm(out, m.get("ssm_norm.weight", layer), eps).reshape(len(x), -1)
    return out @ m.get("ssm_out.weight", layer).T


def short_convolution(x, taps, bias=0):
    width, out = taps.shape[-1], np.zeros_like(x) + bias
    taps = taps.reshape(-1, width)
    for t in range(len(x)):
        for back in range(min(width, t + 1)):
            out[t] += taps[:, width - 1 - back] * x[t - back]
    return out * sigmoid(out)


def unit(x, eps):
    return x / np.sqrt((x * x).sum(-1, keepdims=True) + eps)


def attention(m, layer, x, rope):
    if m.name == "deepseek4":
        return pooled_attention(m, layer, x, rope)
    if m.get("ssm_f_a.weight", layer) is not None:
        return delta_attention(m, layer, x)
    if m.get("ssm_out.weight", layer) is not None:
        return (mamba if m.name == "nemotron_h_moe" else delta_net)(m, layer, x)
    if m.get("shortconv.conv.weight", layer) is not None:
        return convolution(m, layer, x)
    latent, gate = m.key("attention.kv_lora_rank") is not None, 1
    if m.name in GATED:
        gate = (x @ m.get("attn_q.weight", layer).T).reshape(len(x), m.key("attention.head_count"), -1)
        gate = sigmoid(gate[:, :, m.key("attention.key_length") :]).reshape(len(x), -1)
    (q, k, v), scale = (latent_heads if latent else plain_heads)(m, layer, x, rope)
    sinks, window = m.get("attn_sinks.weight", layer), m.key("attention.sliding_window")
    out = np.zeros((len(x), q.shape[1], v.shape[2]))
    picking = {"glm-dsa": picked, "deepseek32": picked, "minimax-m3": picked_blocks,
               "qwen4exp": picked_means}.get(m.name)
    if m.name == "minimax-m3" and layer < m.key("leading_dense_block_count"):
        picking = None
    if m.name == "qwen4exp" and m.key("attention.compress_ratios")[layer] == 0:
        picking = None
    if layer >= m.key("block_count") - m.key("nextn_predict_layers", 0):
        picking = None  # a draft may look at everything
    picks = picking(m, layer, x, rope) if picking else None
    for t in range(len(x)):
        first = max(0, t - window + 1) if is_local(m, layer) else 0
        for h in range(q.shape[1]):
            seen = list(range(first, t + 1)) if picks is None else picks[t]
            if m.name == "minimax-m3" and picks is not None:
                seen = picks[t][h * len(picks[t]) // q.shape[1]]
            scores = k[seen, h] @ q[t, h] * scale
            if sinks is not None:
                scores = np.append(scores, sinks[h])
            out[t, h] = softmax(scores)[: len(seen)] @ v[seen, h]
    out = gate * out.reshape(len(x), -1) @ m.get("attn_output.weight", layer).T
    bias = m.get("attn_output.bias", layer)
    return out if bias is None else out + bias


def swiglu(m, gate, up, clamp=None):
    if m.name == "nemotron_h_moe":
        return np.maximum(up, 0) ** 2
    if clamp is not None:
        gate, up = np.minimum(gate, clamp), np.clip(up, -clamp, clamp)
    if m.name == "gemma4":
        inner = math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)
        return 0.5 * gate * (1 + np.tanh(inner)) * up
    if m.name not in ("gpt-oss", "minimax-m3"):
        return gate * sigmoid(gate) * up
    gate, up = np.minimum(gate, 7), np.clip(up, -7, 7)
    return gate * sigmoid(1.702 * gate) * (up + 1)


BY_SIGMOID = ("glm4moe", "minimax-m2", "llama4", "lfm2moe", "glm-dsa", "minimax-m3") + STILL
RENORMALISED = ("llama", "gpt-oss", "minimax-m2", "hunyuan-moe", "granitemoe", "ernie4_5-moe",
                "gemma4", "lfm2moe", "qwen35moe", "qwen3next", "qwen4exp", "kimi-linear")


def choose(m, layer, z, token):
    """[(expert, weight)]"""
    k, experts = m.key("expert_used_count"), len(z)
    by_sigmoid = m.key("expert_gating_func") == 2 or m.name in BY_SIGMOID
    p = sigmoid(z) if by_sigmoid else softmax(z)
    if m.key("expert_gating_func") == 4:
        p = np.sqrt(np.log1p(np.exp(z)))
    bias = m.get("exp_probs_b.bias", layer)
    wish = p if bias is None else p + bias
    groups, best = m.key("expert_group_count", 1), m.key("expert_group_used_count", 1)
    if groups > 1:
        parts = wish.reshape(groups, -1)
        worth = np.sort(parts, 1)[:, -2:].sum(1) if bias is not None else parts.max(1)
        keep = np.argsort(-worth)[:best]
        wish = np.array([w if e // (experts // groups) in keep else -9 for e, w in enumerate(wish)])
    used = np.argsort(-wish)[:k]
    named = m.get("ffn_gate_tid2eid.weight", layer)
    if named is not None:
        used = named[token].astype(int)
    weights = p[used]
    if m.name in RENORMALISED or m.key("expert_weights_norm", False):
        weights = weights / weights.sum()
    return list(zip(used, weights * m.key("expert_weights_scale", 1.0)))


def feed_forward(m, layer, x, state):
    """x: the normed state"""
    def times(name, y):
        w = m.get(name, layer)
        return None if w is None else w @ y

    def block(gate, up, down, clamp=None):
        return lambda y: m.get(down, layer) @ swiglu(m, times(gate, y), times(up, y), clamp)

    def has(name):
        return m.get(name, layer) is not None

    eps, hidden = m.key("attention.layer_norm_rms_epsilon"), x.shape[1]
    dense = block("ffn_gate.weight", "ffn_up.weight", "ffn_down.weight")
    if has("ffn_gate.weight") and not has("ffn_gate_inp.weight"):
        return np.array([dense(y) for y in x])
    out = np.zeros_like(x)
    scale = m.get("ffn_down_exps.scale", layer)
    routed = x
    if m.name == "gemma4":
        routed = norm(state, None, eps) / math.sqrt(hidden) * m.get("ffn_gate_inp.scale", layer)
        beside = norm(np.array([dense(y) for y in x]), m.get("post_ffw_norm_1.weight", layer), eps)
        x = norm(state, m.get("pre_ffw_norm_2.weight", layer), eps)
    weights = {s: m.get(f"ffn_{s}_exps.weight", layer) for s in ("gate", "up", "down")}
    biases = {s: m.get(f"ffn_{s}_exps.bias", layer) for s in ("gate", "up", "down")}

    def one(s, e, y):
        if weights[s] is None:
            return None
        return weights[s][e] @ y + (0 if biases[s] is None else biases[s][e])

    for t, y in enumerate(x):
        z = m.get("ffn_gate_inp.weight", layer) @ routed[t]
        bias = m.get("ffn_gate_inp.bias", layer)
        for e, w in choose(m, layer, z if bias is None else z + bias, TOKENS[t]):
            into, w = (w * y, 1) if m.name == "llama4" else (y, w)
            into = times("ffn_latent_down.weight", y) if has("ffn_latent_down.weight") else into
            given = one("down", e, swiglu(m, one("gate", e, into), one("up", e, into),
                                          m.key("swiglu_clamp_exp")))
            if has("ffn_latent_up.weight"):
                given = times("ffn_latent_up.weight", given)
            out[t] += w * given * (1 if scale is None else scale[e])
        if has("ffn_up_shexp.weight"):
            weigh = m.get("ffn_gate_inp_shexp.weight", layer)
            weigh = 1 if weigh is None else sigmoid(weigh @ y)
            out[t] += weigh * block("ffn_gate_shexp.weight", "ffn_up_shexp.weight",
                                    "ffn_down_shexp.weight", m.key("swiglu_clamp_shexp"))(y)
    if m.name == "gemma4":
        out = beside + norm(out, m.get("post_ffw_norm_2.weight", layer), eps)
        return norm(out, m.get("post_ffw_norm.weight", layer), eps)
    return out


class NormedStreams(Streams):
    """Mixtures are of normed streams, gated value by value."""

    def mix(self, name, layer):
        m = self.m
        eps, weight = m.key("attention.layer_norm_rms_epsilon"), m.get(f"{name}_norm.weight", layer)
        normed = norm(self.rows, weight.reshape(self.n, -1), eps)
        low = m.get(f"{name}_down.weight", layer) @ normed.reshape(-1) / self.n
        gates = m.get(f"{name}_up.weight", layer) @ (low * sigmoid(low))
        return normed, (normed * sigmoid(gates.reshape(self.n, -1))).mean(0)

    def enter(self, name, layer):
        normed, out = self.mix(name, layer)
        self.scores = self.m.get(f"{name}_inject.weight", layer) @ normed.reshape(-1)
        return out

    def leave(self, block):
        self.rows = self.rows + np.outer(2 * sigmoid(self.scores / self.n), block)

    def last(self):
        return self.mix("output_hc", None)[1]


def say_together(m, layer, streams):
    """What the last tokens say joins the streams."""
    eps, n = m.key("attention.layer_norm_rms_epsilon"), m.key("hyper_connection.count")
    size, heads = m.key("ple.ngram_size"), m.key("ple.heads_per_ngram")
    end, hidden = m.key("ple.eos_token_id"), m.key("embedding_length")
    multipliers, offsets = m.key("ple.layer_multipliers"), m.key("ple.head_offsets")
    sizes, taps = m.key("ple.head_vocab_sizes"), m.get("ple_conv1d.weight", layer)

    def weight(name):
        return m.get(f"ple_norm_{name}.weight", layer).reshape(n, -1)

    given = []
    for t, s in enumerate(streams):
        ids, over = [TOKENS[t]], False
        for back in range(1, size):
            over = over or t < back or TOKENS[t - back] == end
            ids.append(end if over else TOKENS[t - back])
        rows = []
        for g in range(2, size + 1):
            mixed = 0
            for i in range(g):
                mixed ^= ids[i] * multipliers[i] % 2**64
            for j in range(heads):
                head = (g - 2) * heads + j
                row = mixed % sizes[head] + offsets[head]
                rows.append(m.get("per_layer_token_embd.weight")[row])
        e = np.concatenate(rows)
        key = (m.get("ple_key.weight", layer) @ e).reshape(n, -1)
        fit = (norm(key, weight("key"), eps) * norm(s.rows, weight("query"), eps)).sum(1)
        fit = fit / math.sqrt(hidden)
        gate = sigmoid(np.sign(fit) * np.sqrt(np.maximum(abs(fit), 1e-6)))
        given.append(np.outer(gate, m.get("ple_value.weight", layer) @ e))
    width = taps.shape[1]
    for t, s in enumerate(streams):
        conv = np.zeros(n * hidden)
        for j in range(width):
            at = t - (width - 1 - j) * size
            if at >= 0:
                conv += taps[:, j] * norm(given[at], weight("conv"), eps).reshape(-1)
        s.rows = s.rows + given[t] + (conv * sigmoid(conv)).reshape(n, -1)


def through_streams(m, x):
    """x behind all layers"""
    eps = m.key("attention.layer_norm_rms_epsilon")
    normed_already = m.name == "qwen4exp"
    streams = [(NormedStreams if normed_already else Streams)(m, row) for row in x]
    for layer in range(m.key("block_count")):
        if layer in m.key("ple.layers", []):
            say_together(m, layer, streams)
        x = np.array([s.enter("hc_attn", layer) for s in streams])
        normed = x if normed_already else norm(x, m.get("attn_norm.weight", layer), eps)
        for s, given in zip(streams, attention(m, layer, normed, rope_of(m, layer))):
            s.leave(given)
        x = np.array([s.enter("hc_ffn", layer) for s in streams])
        normed = x if normed_already else norm(x, m.get("ffn_norm.weight", layer), eps)
        for s, given in zip(streams, feed_forward(m, layer, normed, x)):
            s.leave(given)
    return np.array([s.last() for s in streams])


def log_sum_exps(path):
    m = Model(path)
    eps = m.key("attention.layer_norm_rms_epsilon")
    x = m.get("token_embd.weight")[TOKENS] * m.key("embedding_scale", 1)
    if m.name == "gemma4":
        x = x * math.sqrt(x.shape[1])
    part = m.key("residual_scale", 1)
    if m.key("hyper_connection.count"):
        x = through_streams(m, x)
    for layer in range(m.key("block_count") if m.key("hyper_connection.count") is None else 0):
        normed = norm(x, m.get("attn_norm.weight", layer), eps)
        if m.name == "nemotron_h_moe":  # one thing in each layer
            only = feed_forward if m.get("ffn_gate_inp.weight", layer) is not None else attention
            x = x + only(m, layer, normed, None)
            continue
        given = attention(m, layer, normed, rope_of(m, layer))
        if m.name == "gemma4":
            given = norm(given, m.get("post_attention_norm.weight", layer), eps)
        x = x + part * given
        before = m.get("ffn_norm.weight", layer)
        before = m.get("post_attention_norm.weight", layer) if before is None else before
        x = x + part * feed_forward(m, layer, norm(x, before, eps), x)
        if m.name == "gemma4":
            x = x * m.get("layer_output_scale.weight", layer)
    last = m.get("token_embd_norm.weight" if m.name == "lfm2moe" else "output_norm.weight")
    logits = (x if last is None else norm(x, last, eps)) @ m.get("output.weight").T
    logits = logits / m.key("logit_scale", 1)
    cap = m.key("final_logit_softcapping")
    logits = logits if cap is None else cap * np.tanh(logits / cap)
    return [math.log(np.exp(row).sum()) for row in logits]


def further_log_sum_exps(path):
    """Of the block for further tokens, behind states that are made up."""
    m = Model(path)
    eps, block = m.key("attention.layer_norm_rms_epsilon"), m.key("block_count") - 1
    own = m.get("nextn.embed_tokens.weight", block)
    x = (m.get("token_embd.weight") if own is None else own)[TOKENS]
    states = np.array([[((t * 37 + i * 11) % 19 - 9) / 8 for i in range(x.shape[1])]
                       for t in range(len(TOKENS))])
    x = np.concatenate([norm(x, m.get("nextn.enorm.weight", block), eps),
                        norm(states, m.get("nextn.hnorm.weight", block), eps)], 1)
    x = x @ m.get("nextn.eh_proj.weight", block).T
    normed = norm(x, m.get("attn_norm.weight", block), eps)
    x = x + attention(m, block, normed, rope_of(m, block))
    before = m.get("ffn_norm.weight", block)
    before = m.get("post_attention_norm.weight", block) if before is None else before
    x = x + feed_forward(m, block, norm(x, before, eps), x)
    last = [w for w in (m.get("nextn.shared_head_norm.weight", block),
                        m.get("layer_output_norm.weight", block),
                        m.get("output_norm.weight")) if w is not None][0]
    head = m.get("nextn.shared_head_head.weight", block)
    logits = norm(x, last, eps) @ (m.get("output.weight") if head is None else head).T
    return [math.log(np.exp(row).sum()) for row in logits]


print("/* Made by make_layout_vectors.py. */")
print(f"enum {{ LAYOUT_VECTOR_TOKENS = {len(TOKENS)} }};")
CASES = ("llama", "lite", "whole", "gpt-oss", "glm4moe", "minimax-m2", "bailingmoe2",
         "hunyuan-moe", "granitemoe", "ernie45-moe", "gemma4", "llama4", "lfm2moe", "glm-dsa",
         "deepseek32", "minimax-m3", "deepseek4", "qwen35moe", "qwen3next",
         "qwen4exp",
         "kimi-linear", "nemotron-h-moe", "further-glm4moe", "further-bailingmoe2",
         "further-glm-dsa")
for case in CASES:
    print(f"\nstatic const double vector_{case.replace('-', '_')}[LAYOUT_VECTOR_TOKENS] = {{")
    of = further_log_sum_exps if case.startswith("further-") else log_sum_exps
    values = [f"{v:.7f}," for v in of(f"{sys.argv[1]}/{case}.gguf")]
    for i in range(0, len(values), 8):
        print("    " + " ".join(values[i : i + 8]))
    print("};")
