"""Writes the tiny random BERT of tests/fixtures/golden: `bert.gguf`, texts, their tokens and their vectors.

    python bert_fixture.py FOLDER        needs torch, transformers and gguf

Weights are random, shapes odd on purpose. Tokens and vectors are what transformers' BertTokenizer and BertModel answer in
F32: mean over a text's tokens, then length 1. The file's names and keys are those that llama.cpp's converter writes.
"""

import pathlib
import sys
import tempfile

import gguf
import torch
import transformers

WORDS = "the pump press pressure valve is at of and no oil ##ing ##ed ##ure wa ##ter op ##en".split()
TEXTS = [
    "The pump is open.",
    "No oil",
    "",
    "pressing the valve, opening of water-pumps & unknown ☃ signs; the pressure is at 9.5 and no oil",
]


def vocabulary():
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + list("0123456789")
    letters = [letter for letter in letters if letter != "q"]  # so that some words are unknown
    marks = list(".,;:!?-&'()")
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + marks + letters + ["##" + one for one in letters] + WORDS


def model(tokens):
    torch.manual_seed(7)
    config = transformers.BertConfig(
        vocab_size=len(tokens), hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=80,
        max_position_embeddings=72, type_vocab_size=2, layer_norm_eps=1e-12, hidden_act="gelu",
    )
    bert = transformers.BertModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for name, weight in bert.named_parameters():
            centre = 1.0 if name.endswith("LayerNorm.weight") else 0.0
            weight.copy_(centre + 0.25 * torch.randn_like(weight))
    return bert


def names(bert):
    """Tensor names of the file, by the model's own."""
    block = {
        "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
        "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
        "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm",
    }
    front = {
        "word_embeddings": "token_embd", "position_embeddings": "position_embd", "token_type_embeddings": "token_types",
        "LayerNorm": "token_embd_norm",
    }
    for name, weight in bert.named_parameters():
        stem, kind = name.rsplit(".", 1)
        if stem.startswith("embeddings."):
            yield f"{front[stem.removeprefix('embeddings.')]}.{kind}", weight
        else:
            _, _, layer, part = stem.split(".", 3)
            yield f"blk.{layer}.{block[part]}.{kind}", weight


def write(path, bert, tokens):
    config = bert.config
    out = gguf.GGUFWriter(path, "bert")
    out.add_name("tiny random")
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(config.num_attention_heads)
    out.add_layer_norm_eps(config.layer_norm_eps)
    out.add_block_count(config.num_hidden_layers)
    out.add_file_type(0)
    out.add_causal_attention(False)
    out.add_pooling_type(gguf.PoolingType.MEAN)
    out.add_token_type_count(config.type_vocab_size)
    out.add_tokenizer_model("bert")
    out.add_tokenizer_pre("bert-bge")
    out.add_token_list([as_stored(token) for token in tokens])
    out.add_token_types([3 if token.startswith("[") else 1 for token in tokens])
    for add, token in [
        (out.add_unk_token_id, "[UNK]"), (out.add_sep_token_id, "[SEP]"), (out.add_pad_token_id, "[PAD]"),
        (out.add_bos_token_id, "[CLS]"), (out.add_eos_token_id, "[SEP]"), (out.add_mask_token_id, "[MASK]"),
    ]:
        add(tokens.index(token))
    for name, weight in names(bert):
        out.add_tensor(name, weight.detach().numpy())
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def as_stored(token):
    """A piece within a word loses its mark, a piece that begins one gains U+2581; special tokens stay."""
    if token.startswith("["):
        return token
    return token[2:] if token.startswith("##") else "\u2581" + token


def main():
    folder = pathlib.Path(sys.argv[1])
    tokens = vocabulary()
    bert = model(tokens)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as vocab:
        vocab.write("\n".join(tokens))
        vocab.flush()
        tokenizer = transformers.BertTokenizer(vocab.name, do_lower_case=True)
    write(folder / "bert.gguf", bert, tokens)
    ids, vectors = [], []
    for text in TEXTS:
        row = tokenizer(text)["input_ids"]
        with torch.no_grad():
            rows = bert(input_ids=torch.tensor([row])).last_hidden_state[0]
        vector = torch.nn.functional.normalize(rows.mean(0), dim=0)
        ids.append(",".join(map(str, row)))
        vectors.append(" ".join(f"{number:.7g}" for number in vector.tolist()))
    for kind, lines in [("texts", TEXTS), ("tokens", ids), ("vectors", vectors)]:
        (folder / f"bert.{kind}").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
