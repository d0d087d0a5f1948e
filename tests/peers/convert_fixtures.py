"""Writes the tiny random Hugging Face directories of tests/fixtures/convert and what transformers answers to them.

    python convert_fixtures.py FOLDER                       needs torch, transformers, tokenizers and safetensors
    python convert_fixtures.py --answer WIDENED FOLDER      what transformers answers to one directory, written to another

Every family is saved by transformers' own `save_pretrained`; its logits are those of the saved weights, computed in F32.
BitNet's are computed without rounding the activations, which the engine does not do either. `tokens` holds the ids that
were read, `logits` one line for the position 20 and one for the last. `bert` is the embedder of bert_fixture.py.
"""

import json
import pathlib
import shutil
import sys

import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

ROWS, READ = 320, 48
TEXT = ["the pump and the valve are open; the water is cold and the pressure is 42", "no oil in the second tank"] * 4
WORDS = {
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "llama": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}


def byte_level(words, begin, end, extra=()):
    """A byte-level BPE of 306 to 310 tokens: fewer than the table has rows, as in the published models."""
    tokenizer = tokenizers.Tokenizer(models.BPE(ignore_merges=words == "llama"))
    split = pre_tokenizers.Split(Regex(WORDS[words]), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=304, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_special_tokens([token for token in dict.fromkeys([begin, end, *extra]) if token])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=begin, eos_token=end)


def sentence_piece():
    """A BPE with byte fall-back over words that begin with U+2581, as Gemma's tokenizer.json has it."""
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    letters = ["\u2581"] + [chr(code) for code in range(ord("a"), ord("z") + 1)] + list(".,;!?0123456789")
    merges = [("t", "h"), ("th", "e"), ("i", "n"), ("a", "n"), ("an", "d"), ("\u2581", "the"), ("p", "u")]
    pieces += letters + [left + right for left, right in merges]
    model = models.BPE(
        vocab={piece: index for index, piece in enumerate(pieces)}, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True
    )
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    tokenizer.add_special_tokens(list(special.values()))
    tokenizer.add_special_tokens(["<start_of_turn>", "<end_of_turn>"])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, add_bos_token=True, **special)


def families():
    """Name, configuration, tokenizer, type to save in, largest shard."""
    common = dict(
        vocab_size=ROWS, hidden_size=48, intermediate_size=72, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=512, bos_token_id=304, eos_token_id=305, pad_token_id=None,
    )
    yield "qwen3", transformers.Qwen3Config(
        **common | dict(bos_token_id=None, hidden_size=64, intermediate_size=96), head_dim=16, rope_theta=1e6, tie_word_embeddings=True
    ), byte_level("qwen2", None, "<|endoftext|>", ["<|im_start|>", "<|im_end|>"]), torch.float32, "120KB"
    yield "llama", transformers.LlamaConfig(
        **common | dict(max_position_embeddings=4096), rope_theta=500000.0, tie_word_embeddings=False,
        rope_scaling={
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ), byte_level("llama", "<|begin_of_text|>", "<|eot_id|>"), torch.bfloat16, "1GB"
    yield "mistral", transformers.MistralConfig(
        **common, head_dim=16, sliding_window=None, rope_theta=1e6
    ), byte_level("llama", "<|begin_of_text|>", "<|eot_id|>"), torch.bfloat16, "1GB"
    factors = [1.0 + 0.25 * index for index in range(6)]
    yield "phi3", transformers.Phi3Config(
        **common | dict(hidden_size=64, max_position_embeddings=4096), original_max_position_embeddings=128,
        partial_rotary_factor=0.75, sliding_window=None, tie_word_embeddings=True,
        rope_scaling={"type": "longrope", "short_factor": factors, "long_factor": [4 * factor for factor in factors]},
    ), byte_level("llama", "<|begin_of_text|>", "<|end|>"), torch.float16, "1GB"
    yield "gemma3", transformers.Gemma3TextConfig(
        **common | dict(hidden_size=32, intermediate_size=40, num_hidden_layers=7, num_attention_heads=2, num_key_value_heads=1),
        head_dim=16, sliding_window=12, query_pre_attn_scalar=16,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    ), sentence_piece(), torch.bfloat16, "1GB"
    yield "bitnet", transformers.BitNetConfig(
        **common, rope_theta=500000.0, hidden_act="relu2", tie_word_embeddings=True
    ), byte_level("llama", "<|begin_of_text|>", "<|eot_id|>"), torch.bfloat16, "1GB"


def randomise(model, kind):
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # Gemma's norms multiply by one more than their weight.
            centre = 1.0 if "norm" in name and model.config.model_type != "gemma3_text" else 0.0
            spread = 0.2 if weight.dim() == 1 else weight.shape[-1] ** -0.5 * 1.5
            weight.copy_((centre + spread * torch.randn(weight.shape, generator=generator)).to(kind))


def save(folder, model, kind, shard):
    model.save_pretrained(folder, max_shard_size=shard)
    for file in folder.glob("*.safetensors"):
        tensors = {name: tensor.to(kind).contiguous() for name, tensor in load_file(file).items()}
        save_file(tensors, file, metadata={"format": "pt"})


def answer(folder, model):
    ids = torch.randint(0, 256, (READ,), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        logits = model(ids[None], use_cache=False).logits[0].float()
    (folder / "tokens").write_text(",".join(str(one) for one in ids.tolist()) + "\n")
    lines = [" ".join(f"{number:.7g}" for number in logits[at].tolist()) for at in (20, READ - 1)]
    (folder / "logits").write_text("\n".join(lines) + "\n")


def ternary(weight):
    """What `WeightQuant` of transformers' BitNet integration makes of a master weight: codes and their scale."""
    scale = weight.abs().mean().clamp(min=1e-5)
    return (weight / scale).round().clamp(-1, 1), scale


def bitnet(folder, model):
    """Three spellings of one model: dense, master weights that are rounded when loaded, packed with a scale."""
    master, packed = folder.with_name("bitnet-master"), folder.with_name("bitnet-packed")
    shutil.copytree(folder, master)
    projections = [name for name, _ in model.named_parameters() if name.endswith("_proj.weight")]
    tensors = load_file(master / "model.safetensors")
    plain, codes = {}, {}
    for name, tensor in tensors.items():
        if name in projections:
            # What packed files hold is exactly a type's numbers; so is what is rounded here, in F32 as transformers does it.
            code, scale = ternary(tensor.float())
            scale = scale.to(torch.bfloat16).float()
            plain[name] = code * scale
            codes[name] = pack(code.to(torch.int8))
            codes[name + "_scale"] = scale.to(torch.bfloat16).reshape(1)
        else:
            plain[name], codes[name] = tensor.float(), tensor
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(plain[name] if name in plain else plain["model.embed_tokens.weight"])
    for target in (packed,):
        shutil.copytree(master, target)
        answer(target, model)
        save_file(codes, target / "model.safetensors", metadata={"format": "pt"})
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in projections:
                code, scale = ternary(tensors[name].float())
                weight.copy_(code * scale)
    answer(master, model)
    for target, mode in ((master, "online"), (packed, "offline")):
        config = json.loads((target / "config.json").read_text())
        config["quantization_config"] = {
            "quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": mode, "modules_to_not_convert": None,
        }
        (target / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def pack(codes):
    """Four rows in a byte, a quarter of the matrix apart: `pack_weights` of transformers."""
    from transformers.integrations.bitnet import pack_weights

    return pack_weights(codes.clone())


def bert(folder):
    """In the layout of sentence-transformers."""
    import bert_fixture

    words = bert_fixture.vocabulary()
    bert_fixture.model(words).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    (folder / "vocab.txt").unlink()
    pooling = {"word_embedding_dimension": 48, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling, indent=2) + "\n")
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules, indent=2) + "\n")


def main():
    if sys.argv[1] == "--answer":
        model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[2], attn_implementation="eager", dtype=torch.float32)
        return answer(pathlib.Path(sys.argv[3]), model.eval())
    out = pathlib.Path(sys.argv[1])
    bert(out / "bert")
    for name, config, tokenizer, kind, shard in families():
        folder = out / name
        folder.mkdir(parents=True)
        config._attn_implementation = "eager"
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
        randomise(model, kind)
        save(folder, model, kind, shard)
        tokenizer.save_pretrained(folder)
        answer(folder, model)
        if name == "bitnet":
            bitnet(folder, model)
        print(name, "rows", ROWS, "tokens", len(tokenizer), flush=True)


if __name__ == "__main__":
    main()
