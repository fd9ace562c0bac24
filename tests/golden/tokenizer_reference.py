"""The reference tokenizers, made from a GGUF file's own tables or a folder's. Next in the flow: tokenizer_oracle.py."""

import json
import pathlib
import struct

import gguf


def tables(path):
    """The tokenizer section of a GGUF file as a dictionary; tokens and merges are text."""
    fields = gguf.GGUFReader(path).fields
    section = {}
    for key, field in fields.items():
        if key.startswith("tokenizer."):
            section[key.removeprefix("tokenizer.").removeprefix("ggml.")] = field.contents()
    return section


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def field(number, value):
    """One field of a protocol buffer: a number, or bytes with their length."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(int(value))


class SentencePiece:
    """`sentencepiece` with a model made from tokens, scores and kinds."""

    name = "sentencepiece"

    def __init__(self, section):
        import sentencepiece

        unknown = section.get("unknown_token_id", 0)
        unknown_piece, proto = "", bytearray()
        for i, (token, score, kind) in enumerate(zip(section["tokens"], section["scores"], section["token_type"])):
            if kind == 4:
                token = token.replace(" ", "\u2581")
            if i == unknown:
                kind, unknown_piece = 2, token
            piece = field(1, token.encode()) + b"\x15" + struct.pack("<f", score) + field(3, kind)
            proto += field(1, piece)
        bpe = 2
        proto += field(2, field(3, bpe) + field(35, 6 in section["token_type"]) + field(45, unknown_piece.encode()))
        prefix = field(3, section.get("add_space_prefix", True))
        keep_spaces, visible_spaces = field(4, False), field(5, True)
        proto += field(3, field(1, b"identity") + prefix + keep_spaces + visible_spaces)
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=bytes(proto))

    def encode(self, text):
        return self.processor.EncodeAsIds(text)

    def token(self, token_id):
        return self.processor.IdToPiece(token_id)


SPLITS = {
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+",
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
}


class Tokenizers:
    """`tokenizers` with the merges of the file, the split of its pre-tokenizer, and NFC where the model has it."""

    name = "tokenizers"

    def __init__(self, section, pre=None):
        from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

        pre = pre or section["pre"]
        kinds = section["token_type"]
        vocab = {token: i for i, token in enumerate(section["tokens"]) if kinds[i] == 1}
        merges = [tuple(merge.split(" ")) for merge in section["merges"]]
        self.tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=pre == "llama-bpe"))
        if pre == "qwen2":
            self.tokenizer.normalizer = normalizers.NFC()
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre not in SPLITS)
        if pre in SPLITS:
            split = pre_tokenizers.Split(Regex(SPLITS[pre]), "isolated")
            byte_level = pre_tokenizers.Sequence([split, byte_level])
        elif pre == "smollm":
            byte_level = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
        self.tokenizer.pre_tokenizer = byte_level
        self.tokens = section["tokens"]
        # Added tokens get new ids here, so they are told back by name.
        added = [i for i, kind in enumerate(kinds) if kind == 4]
        self.tokenizer.add_tokens([AddedToken(section["tokens"][i], normalized=False) for i in added])
        self.ids = {self.tokenizer.token_to_id(section["tokens"][i]): i for i in added}

    def encode(self, text):
        return [self.ids.get(i, i) for i in self.tokenizer.encode(text, add_special_tokens=False).ids]

    def token(self, token_id):
        return self.tokens[token_id]


class WordPiece:
    """`tokenizers` with a folder's own tokenizer.json, but for what cuts texts and what a text may spell: [SEP] in a text
    is five tokens, and not the end of it."""

    name = "tokenizers"

    def __init__(self, folder):
        from tokenizers import Tokenizer

        description = json.loads((pathlib.Path(folder) / "tokenizer.json").read_text())
        description.update(added_tokens=[], truncation=None, padding=None, post_processor=None)
        self.tokenizer = Tokenizer.from_str(json.dumps(description))

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def token(self, token_id):
        return self.tokenizer.id_to_token(token_id)

    def id_of(self, token):
        return self.tokenizer.token_to_id(token)


class LlamaCpp:
    """llama.cpp, which reads the file itself."""

    name = "llama.cpp"

    def __init__(self, path):
        import llama_cpp

        self.llama = llama_cpp.Llama(path, vocab_only=True, verbose=False)

    def encode(self, text):
        return self.llama.tokenize(text.encode(), add_bos=False, special=False)


def reference(model):
    """The reference implementation of the tokenizer of a GGUF file, or of an encoder's folder."""
    if pathlib.Path(model).is_dir():
        return WordPiece(model)
    section = tables(model)
    return SentencePiece(section) if section["model"] == "llama" else Tokenizers(section)
