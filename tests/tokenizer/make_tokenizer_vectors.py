#!/usr/bin/env python3
"""Writes tokenizer_vectors.h: what the packages `tokenizers` and `sentencepiece` make of a few
texts, with small vocabularies trained on them. Not needed to build or test.

    pip install tokenizers sentencepiece protobuf
    tests/tokenizer/make_tokenizer_vectors.py > tests/tokenizer/tokenizer_vectors.h

The merges are learned without any cutting, so that they cross the borders of words: every place
where a pre-tokeniser cuts shows in the ids."""
import io
import json

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, models, trainers
from tokenizers.normalizers import NFC
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split

TEXTS = [
    "The shelf's keeper didn't wait; she'LL READ on. We've 3 maps, I'd say, and they're HERE'S.",
    "def read_page(fileName, n=12345):\n\treturn  [x**2 for x in range(n)]  # isEmpty()/HTTPServer"
    "\r\n\r\n    pass\n",
    "Der Fuß über dem Bücherregal, naïve café — «Привет, Мир» und Ωμέγα; ǅungla, ﬁne.",
    "棚の本は一冊ずつ読む。カタカナも書く、漢字kanji漢字123と。한국어 책을 읽는다 中文。",
    "e\u0301tude A\u030angstro\u0308m हिन्दी में किताब العربية كتاب ١٢٣ ²½Ⅷ 1st2nd 字ी𐐀<",
    "  leading,   several\t\ttabs \n\n\n three lines\n  and trailing   ",
    "price: $1,234.56/kg (50% off!!!) <<a|b>> ~{x}~ ^_^ `code` \"q\" [1]/[2]//\n/end",
    "no\u00a0break\u2003em\u3000wide\u200bzero\u0085next\u2028line\u180emongol",
    "emoji 😀👍🏽 and 👨\u200d👩 end; Ünïcode İstanbul ıl ŞS ßẞ \u212a Å ſ'ſ 'S'T",
    "X.Y.Z's camelCaseWord HTTPRequest2XML iPhone15Pro ABCdef_GHI.jklMno 3D-2D v1.2.3",
    "ꞐꞑꭓᏣᏍ ⱤⱦⱿ Ꜩꞌ ა ᲐᲑ Ⴀ ꟼ 𐐀𐐨 𞤀𞤢 ＡＢｃｄ１２３！？：；「引用」『二』〜",
    "'s 's'S 'Tis O'Neil'd rock'n'roll don''t ''ve ' s",
]
NOT_LEARNED = [  # for what normal form C does, and for long numbers and rows of spaces
    "a\u0323\u0302 a\u0302\u0323 q\u0307\u0323 \u1112\u1161\u11ab\u1100\u1161 \u0958 "
    "\u212b \ufb2a \u0301x \u11a7\u11a8",
    "in 12345678 of 1234567x, 123456 and 1.234.567,89 ways" + " " * 23 + "to ㄅㄆ「ㄱ」——\n \t\n 7",
]
MERGES = 420
WHOLE = ["llama-bpe", "tekken", "glm4", "youtu", "minicpm5"]  # families that take tokens that no merge makes
WHOLE_WORDS = ["Ġmaps", "Ġrock"]  # tokens that no merge makes

CASED = (
    "41-5a 61-7a b5 c0-d6 d8-f6 f8-1ba 1bc-1bf 1c4-293 295-2af 370-373 376-377 37b-37d 37f 386 "
    "388-38a 38c 38e-3a1 3a3-3f5 3f7-481 48a-52f 531-556 10a0-10c5 13a0-13f5 13f8-13fd 1c90-1cba "
    "1cbd-1cbf 1d00-1d2b 1d6b-1d77 1d79-1d9a 1e00-1f15 1f18-1f1d 1f20-1f45 1f48-1f4d 1f50-1f57 "
    "1f59 1f5b 1f5d 1f5f-1f7d 1f80-1fb4 1fb6-1fbc 1fbe 1fc2-1fc4 1fc6-1fcc 1fd0-1fd3 1fd6-1fdb "
    "1fe0-1fec 1ff2-1ff4 1ff6-1ffc 2102 2107 210a-2113 2115 2119-211d 2124 2126 2128 212a-212d "
    "212f-2134 2139 213c-213f 2145-2149 214e 2183-2184 2c00-2c7b 2c7e-2ce4 2ceb-2cee 2cf2-2cf3 "
    "a640-a66d a680-a69b a722-a76f a771-a787 a78b-a78e ab70-abbf fb00-fb06 fb13-fb17 ff21-ff3a "
    "ff41-ff5a 10400-1044f 104b0-104d3 104d8-104fb 10c80-10cb2 10cc0-10cf2 118a0-118df 1e900-1e943")
LETTERS = "".join("-".join(chr(int(c, 16)) for c in r.split("-")) for r in CASED.split())

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
ENDS = r"\s*[\r\n]+|\s+(?!\S)|\s+"


def digits(n):
    return (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|" + n + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|" +
            ENDS)


def cased(less, marks_end, end=CONTRACTIONS + "?", numbers=r"\p{N}{1,3}"):
    capital = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}" + less + "]"
    small = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}" + less + "]"
    word = r"[^\r\n\p{L}\p{N}]?" + capital + "%s" + small + "%s" + end + "|"
    return (word % ("*", "+") + word % ("+", "*") + numbers + r"| ?[^\s\p{L}\p{N}]+" + marks_end +
            "|" + ENDS)


HAN_HANGUL = "[一-龥ࠀ-一가-\ud7ff]+"
FAMILIES = {
    "gpt-2": [r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"],
    "qwen2": [digits(r"\p{N}")],
    "llama-bpe": [digits(r"\p{N}{1,3}")],
    "dbrx": [digits(r"\p{N}{1,3}")],
    "gpt-4o": [cased("", r"[\r\n/]*")],
    "kimi-k2": [r"[\p{Han}]+|" + cased(r"&&[^\p{Han}]", r"[\r\n]*")],
    "deepseek-llm": ["[\r\n]", r"\s?[" + LETTERS + "]+",
                     r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", HAN_HANGUL, None],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN_HANGUL, None],
    "deepseek-v3": [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
                    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
                    r"""|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|""" + ENDS],
}

FAMILIES["olmo"] = FAMILIES["gpt-2"]
FAMILIES["refact"] = [r"\p{N}"] + FAMILIES["gpt-2"]
FAMILIES["qwen35"] = [CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
                      r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + ENDS]
FAMILIES["bailingmoe2"] = [
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"]
FAMILIES["seed-coder"] = [CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}"
                          r"| ?[^\s\p{L}\p{N}\r\n]+|" + ENDS]
FAMILIES["tekken"] = [cased("", r"[\r\n/]*", "", r"\p{N}")]
FAMILIES["glm4"] = FAMILIES["llama-bpe"]
FAMILIES["laguna"] = [r"[^\n]+|[\n]+", digits(r"\p{N}")]
FAMILIES["minicpm5"] = [r"\p{N}{1,3}", digits(r"\p{N}+")]
FAMILIES["jais-2"] = [digits(r"\p{N}{1,3}").replace(
    r"\s+(?!\S)|\s+", "".join(r"\s{%s}(?!\S)|" % n for n in "512 256 128 64 32 16 8 4 1,2".split())
    + r"\s{1}")]
FAMILIES["tiny_aya"] = [r"\d{1,3}(?=(?:\d{3})*\b)", cased("", r"[\r\n/]*")]
FAMILIES["youtu"] = ["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
                     cased("", r"[\r\n/]*", numbers=r"\p{N}")]
FAMILIES["superbpe"] = [r"\p{N}+", r"(?=(\d{3})+(?!\d))"]
FAMILIES["spark2_5"] = FAMILIES["deepseek-v3"][:2] + [
    FAMILIES["deepseek-v3"][2].replace(r"[\r\n]*|\s*[\r\n]+", r"|[\r\n]"), r"\p{N}"]
COMPOSED = ["olmo", "qwen2", "qwen35"]  # those whose published tokenizers bring text into normal form C


def alphabet():
    codes = []
    for b in range(256):
        if b <= 0x20:
            codes.append(0x100 + b)
        elif 0x7f <= b <= 0xa0:
            codes.append(0x121 + b - 0x7f)
        else:
            codes.append(0x143 if b == 0xad else b)
    return [chr(c) for c in codes]


def learn_merges():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=256 + MERGES, initial_alphabet=ByteLevel.alphabet(),
                                  show_progress=False, max_token_length=6)
    t.train_from_iterator(TEXTS + [text[k:] for text in TEXTS for k in (1, 2, 3)], trainer)
    seen, merges = set(alphabet()), []
    for a, b in json.loads(t.to_str())["model"]["merges"]:
        if a + b not in seen:
            seen.add(a + b)
            merges.append((a, b))
    return merges


def byte_pairs(family, tokens, merges):
    t = Tokenizer(models.BPE(vocab={x: i for i, x in enumerate(tokens)}, merges=merges,
                             ignore_merges=family in WHOLE))
    t.pre_tokenizer = Sequence(
        [Split(Regex(p), "isolated") if p else Digits(individual_digits=True)
         for p in FAMILIES[family]] + [ByteLevel(add_prefix_space=False, use_regex=False)])
    if family in COMPOSED:
        t.normalizer = NFC()
    return t


def train_pieces():
    out = io.BytesIO()
    lines = [line for text in TEXTS for line in text.split("\n") if line] * 4
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, model_type="bpe", vocab_size=540,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        split_digits=True, character_coverage=0.98, user_defined_symbols=["<tool>"],
        max_sentencepiece_length=8, hard_vocab_limit=False, minloglevel=2)
    return out.getvalue()


def literal(text):
    return '"%s"' % "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else "\\%03o" % b
                            for b in text.encode())


def put(items, opening, closing="};\n"):
    print(opening)
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > 100:
            print(line)
            line = "   "
        line += " " + item + ","
    print(line)
    print(closing)


def put_ids(name, ids):
    put(["%d" % i for per_text in ids for i in per_text + [-1]],
        "static const int16_t %s[] = {" % name)


def main():
    print("/* Made by make_tokenizer_vectors.py; -1 ends the ids of a text. */\n/* clang-format off */")
    merges = learn_merges()
    tokens = alphabet() + [a + b for a, b in merges] + WHOLE_WORDS
    # Byte 0 ends none of the texts, so C strings will do.
    print("static const char *const vector_texts[] = {")
    for text in TEXTS + NOT_LEARNED:
        parts = text.encode().split(b"\n")
        whole = literal(text)[1:-1]
        while len(whole) > 88:
            cut = whole.rfind("\\", 0, 88) if "\\" in whole[84:92] else 88
            print('    "%s"' % whole[:cut])
            whole = whole[cut:]
        print('    "%s",' % whole)
    print("};\n")
    put([literal(a + " " + b) for a, b in merges], "static const char *const vector_merges[] = {")
    put([literal(w) for w in WHOLE_WORDS], "static const char *const vector_whole_words[] = {")
    for family in FAMILIES:
        t = byte_pairs(family, tokens, merges)
        put_ids("ids_" + family.replace("-", "_"), [t.encode(text).ids for text in TEXTS + NOT_LEARNED])
    put(['{"%s", ids_%s}' % (f, f.replace("-", "_")) for f in FAMILIES],
        "static const struct {\n    const char *pre;\n    const int16_t *ids;\n} vector_families[] = {")

    trained = train_pieces()
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(trained)
    put(["{%s, %g, %d}" % (literal(p.piece), p.score, p.type) for p in model.pieces],
        "static const struct {\n    const char *text;\n    float score;\n    int type;\n"
        "} vector_pieces[] = {")
    encoder = sentencepiece.SentencePieceProcessor(model_proto=trained)
    put_ids("vector_piece_ids", [encoder.encode(text) for text in TEXTS + NOT_LEARNED])
    print("/* clang-format on */")


if __name__ == "__main__":
    main()
