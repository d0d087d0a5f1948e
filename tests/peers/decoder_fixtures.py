"""What transformers answers where llama.cpp's golden files do not reach: longer contexts, other windows, other shapes.

    python decoder_fixtures.py FOLDER        FOLDER is tests/fixtures/golden; needs torch, transformers and gguf

First it answers the golden files themselves, so that this script's reading of them is known to be right. Then it writes
`phi3-long.logits` (phi3.gguf with an original context of 32), `gemma3-scaled.logits` (gemma3.gguf with the metadata of
`GEMMA3` below) and `wide.gguf` with `wide.logits` (a Llama whose heads are wider than embedding / heads, with biases and
linear scaling). All answer the tokens of `qwen3.tokens`, after positions 20 and 47.
"""

import pathlib
import sys

import gguf
import numpy
import torch
import transformers
from gguf import GGUFReader, GGUFWriter

FOLDER = pathlib.Path(sys.argv[1])
GEMMA3 = {"pattern": 3, "factor": 8.0, "softcap": 5.0}
BLOCK = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_qkv": "self_attn.qkv_proj", "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm", "attn_sub_norm": "self_attn.attn_sub_norm",
    "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj", "ffn_sub_norm": "mlp.ffn_sub_norm",
}
OF_PHI3 = {"ffn_up": "mlp.gate_up_proj"}
OF_GEMMA3 = {
    "post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def tokens(family):
    return [int(token) for token in (FOLDER / f"{family}.tokens").read_text().split(",")]


def tensors(family):
    return {tensor.name: torch.tensor(numpy.array(tensor.data)) for tensor in GGUFReader(FOLDER / f"{family}.gguf").tensors}


def unpermuted(weight, heads):
    """Undoes what the converter does to Llama's queries and keys, so that halves turn together again."""
    pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def answers(config, weights, line):
    """Logits after positions 20 and 47 of a model of this configuration with weights under transformers' names."""
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().float()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all(name == "lm_head.weight" for name in missing), (missing, unexpected)
    model.tie_weights()
    with torch.no_grad():
        return model(input_ids=torch.tensor([line])).logits[0][[20, 47]]


def renamed(source, names, of_norm=0.0, heads=None):
    """GGUF's tensors under transformers' names; norms lose what their converter added, queries and keys its order."""
    out = {}
    for name, weight in source.items():
        if name.startswith("rope_"):
            continue
        if name.startswith("blk."):
            _, layer, part, kind = name.split(".")
            if heads and part in ("attn_q", "attn_k"):
                weight = unpermuted(weight, heads[part])
            new = f"model.layers.{layer}.{names.get(part, BLOCK.get(part))}.{kind}"
        else:
            new = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
                   "output.weight": "lm_head.weight"}[name]
        out[new] = weight - of_norm if "norm" in name else weight
    return out


def phi3(original):
    weights = tensors("phi3")
    factors = {kind: weights[f"rope_factors_{kind}.weight"].tolist() for kind in ("long", "short")}
    config = transformers.Phi3Config(
        vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=4096, original_max_position_embeddings=original,
        rms_norm_eps=1e-5, tie_word_embeddings=True, pad_token_id=0,
        rope_parameters={
            "rope_type": "longrope", "rope_theta": 1e4, "partial_rotary_factor": 24 / 32, "long_factor": factors["long"],
            "short_factor": factors["short"], "attention_factor": 1.1902379989624023,
            "original_max_position_embeddings": original,
        },
    )
    return answers(config, renamed(weights, OF_PHI3), tokens("phi3"))


def gemma3(pattern=6, factor=None, softcap=None):
    whole = {"rope_type": "default", "rope_theta": 1e6}
    if factor:
        whole = {"rope_type": "linear", "rope_theta": 1e6, "factor": factor}
    kinds = ["full_attention" if (layer + 1) % pattern == 0 else "sliding_attention" for layer in range(7)]
    config = transformers.Gemma3TextConfig(
        vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=7, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, query_pre_attn_scalar=32, max_position_embeddings=4096, rms_norm_eps=1e-6,
        sliding_window=12, layer_types=kinds, final_logit_softcapping=softcap, tie_word_embeddings=True,
        rope_parameters={"full_attention": whole, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}},
    )
    return answers(config, renamed(tensors("gemma3"), OF_GEMMA3, of_norm=1.0), tokens("gemma3"))


def bitnet():
    config = transformers.BitNetConfig(
        vocab_size=320, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, hidden_act="relu2", rms_norm_eps=1e-5, tie_word_embeddings=True, pad_token_id=0,
        rope_parameters={"rope_type": "default", "rope_theta": 5e5},
    )
    return answers(config, renamed(tensors("bitnet"), {}), tokens("bitnet"))


def wide():
    """Writes the file from a transformers model, so permutes as the converter does."""
    heads, kv_heads, length = 3, 1, 24
    config = transformers.LlamaConfig(
        vocab_size=320, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=heads,
        num_key_value_heads=kv_heads, head_dim=length, max_position_embeddings=512, rms_norm_eps=1e-5,
        tie_word_embeddings=False, attention_bias=True, mlp_bias=True,
        rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
    )
    torch.manual_seed(11)
    model = transformers.LlamaForCausalLM(config)
    weights = {
        name: (1.0 if "norm" in name else 0.0) + 0.2 * torch.randn_like(weight)
        for name, weight in model.state_dict().items()
    }
    out = GGUFWriter(FOLDER / "wide.gguf", "llama")
    out.add_name("tiny random")
    out.add_context_length(512)
    out.add_embedding_length(48)
    out.add_block_count(2)
    out.add_feed_forward_length(80)
    out.add_head_count(heads)
    out.add_head_count_kv(kv_heads)
    out.add_key_length(length)
    out.add_value_length(length)
    out.add_rope_dimension_count(length)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
    out.add_rope_scaling_factor(4.0)
    out.add_file_type(0)
    tokenizer = GGUFReader(FOLDER / "llama.gguf").fields
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2")
    out.add_token_list(tokenizer["tokenizer.ggml.tokens"].contents())
    out.add_token_types(tokenizer["tokenizer.ggml.token_type"].contents())
    out.add_token_merges(tokenizer["tokenizer.ggml.merges"].contents())
    out.add_eos_token_id(tokenizer["tokenizer.ggml.eos_token_id"].contents())
    out.add_add_bos_token(False)
    names = {theirs: ours for ours, theirs in BLOCK.items()}
    for name, weight in weights.items():
        parts = name.split(".")
        if parts[1] == "layers":
            part = names[".".join(parts[3:-1])]
            if part in ("attn_q", "attn_k"):
                count = heads if part == "attn_q" else kv_heads
                halves = weight.reshape(count, 2, weight.shape[0] // count // 2, *weight.shape[1:])
                weight = halves.swapaxes(1, 2).reshape(weight.shape)
            name = f"blk.{parts[2]}.{part}.{parts[-1]}"
        else:
            name = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
                    "lm_head.weight": "output.weight"}[name]
        out.add_tensor(name, weight.contiguous().numpy())
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return answers(config, weights, tokens("qwen3"))


def write(name, rows):
    lines = [",".join(f"{number:.7g}" for number in row.tolist()) for row in rows]
    (FOLDER / f"{name}.logits").write_text("\n".join(lines) + "\n")


def main():
    for family, rows in [("phi3", phi3(2048)), ("gemma3", gemma3()), ("bitnet", bitnet())]:
        golden = (FOLDER / f"{family}.logits").read_text().replace(",", " ").splitlines()
        golden = torch.tensor([[float(number) for number in line.split()] for line in golden])
        print(f"{family:8} largest difference from the golden logits {(rows - golden).abs().max():.2e}")
    write("phi3-long", phi3(32))
    write("gemma3-scaled", gemma3(**GEMMA3))
    write("wide", wide())


main()
