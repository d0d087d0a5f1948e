//! Builds a byte-level BPE tokenizer from `tokenizer.ggml.*`.

use std::collections::{BTreeSet, HashMap};

use tokenizers::SplitDelimiterBehavior::Isolated;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

use super::special::Specials;
use super::{Parts, TokenizerError, bytes};
use crate::gguf::Gguf;

/// How a text is cut into words before merging: `tokenizer.ggml.pre`.
struct Words {
    name: &'static str,
    /// Applied one after the other, each within the pieces of the one before.
    expressions: &'static [&'static str],
    /// A word that is a token as it stands is taken whole.
    ignore_merges: bool,
    /// What `add_bos_token` means when the file does not say.
    add_bos: bool,
}

const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";

/// The expressions are those of the models' own tokenizers, as `llama.cpp` names them.
const WORDS: &[Words] = &[
    Words {
        name: "qwen2",
        expressions: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        ignore_merges: false,
        add_bos: false,
    },
    Words {
        name: "llama-bpe",
        expressions: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        ignore_merges: true,
        add_bos: true,
    },
    Words { name: "gpt-2", expressions: &[GPT_2], ignore_merges: false, add_bos: false },
    Words {
        name: "default",
        expressions: &[r"[\p{P}\$\+<=>\^~\|]+", GPT_2, r"\p{N}+", r"[0-9][0-9][0-9]"],
        ignore_merges: false,
        add_bos: false,
    },
];

/// Names under which the same words go.
const ALIASES: &[(&str, &str)] =
    &[("llama3", "llama-bpe"), ("llama-v3", "llama-bpe"), ("deepseek-r1-qwen", "qwen2"), ("gpt2", "gpt-2")];

/// Spellings that end an answer in models whose files name only one such token.
const ENDINGS: &[&str] = &[
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<end_of_turn>",
    "<|EOT|>",
    "</s>",
];

const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;
const UNUSED: u64 = 5;

pub(super) fn from_gguf(gguf: &Gguf) -> Result<Parts, TokenizerError> {
    let kind = gguf.text("tokenizer.ggml.model").ok_or(TokenizerError::Key { key: "tokenizer.ggml.model" })?;
    if kind != "gpt2" {
        return Err(TokenizerError::Unsupported { key: "tokenizer.ggml.model", value: kind.to_owned(), known: "gpt2" });
    }
    let words = words(gguf.text("tokenizer.ggml.pre").unwrap_or("default"))?;
    let texts = gguf
        .get("tokenizer.ggml.tokens")
        .and_then(|value| value.as_texts())
        .ok_or(TokenizerError::Key { key: "tokenizer.ggml.tokens" })?
        .to_vec();
    if texts.is_empty() {
        return Err(TokenizerError::Key { key: "tokenizer.ggml.tokens" });
    }
    let types = types(gguf, texts.len())?;
    let is_special = |id: usize| matches!(types.get(id), Some(&CONTROL | &USER_DEFINED | &UNKNOWN));
    let is_ordinary = |id: usize| !is_special(id) && types.get(id) != Some(&UNUSED);

    let merges = gguf.get("tokenizer.ggml.merges").and_then(|value| value.as_texts()).unwrap_or_default();
    let ordinary = texts.iter().enumerate().filter(|(id, _)| is_ordinary(*id));
    // The first of equal spellings wins; ids fit u32 because the array's length is bounded by the validator.
    let mut ids: HashMap<&str, u32> = HashMap::new();
    for (id, text) in ordinary {
        ids.entry(text).or_insert(id as u32);
    }
    let merges =
        merges.iter().filter_map(|merge| merge_pair(merge, &ids).transpose()).collect::<Result<Vec<_>, _>>()?;
    let vocabulary: Vec<(String, u32)> = ids.iter().map(|(text, id)| ((*text).to_owned(), *id)).collect();
    let model = BPE::builder()
        .vocab_and_merges(vocabulary.into_iter().collect::<tokenizers::models::bpe::Vocab>(), merges)
        .ignore_merges(words.ignore_merges)
        .build()
        .map_err(TokenizerError::Build)?;

    let specials = Specials::new(
        texts.iter().enumerate().filter(|(id, _)| is_special(*id)).map(|(id, text)| (text.clone(), id as u32)),
    );
    let pieces = texts
        .iter()
        .enumerate()
        .map(|(id, text)| match types.get(id) {
            Some(&CONTROL | &UNKNOWN | &UNUSED) => Box::default(),
            Some(&USER_DEFINED) => text.as_bytes().into(),
            _ => bytes::bytes_of(text),
        })
        .collect();
    let bos = token(gguf, "tokenizer.ggml.bos_token_id", texts.len())?;
    let eos = token(gguf, "tokenizer.ggml.eos_token_id", texts.len())?;
    let mut end_of_generation: BTreeSet<u32> = ENDINGS.iter().filter_map(|text| specials.id(text)).collect();
    end_of_generation.extend(eos);
    end_of_generation.extend(token(gguf, "tokenizer.ggml.eot_token_id", texts.len())?);
    end_of_generation.extend(token(gguf, "tokenizer.ggml.eom_token_id", texts.len())?);
    let add_bos = gguf.flag("tokenizer.ggml.add_bos_token").unwrap_or(words.add_bos);
    let pre_tokenizer = pre_tokenizer(words)?;
    Ok(Parts { model, pre_tokenizer, specials, pieces, texts, bos, eos, add_bos, end_of_generation })
}

fn words(name: &str) -> Result<&'static Words, TokenizerError> {
    let name = ALIASES.iter().find(|alias| alias.0 == name).map_or(name, |alias| alias.1);
    WORDS.iter().find(|words| words.name == name).ok_or_else(|| TokenizerError::Unsupported {
        key: "tokenizer.ggml.pre",
        value: name.to_owned(),
        known: "qwen2, llama-bpe, gpt-2, default",
    })
}

fn types(gguf: &Gguf, tokens: usize) -> Result<Vec<u64>, TokenizerError> {
    let key = "tokenizer.ggml.token_type";
    let Some(value) = gguf.get(key) else { return Ok(Vec::new()) };
    let types = value.as_counts().ok_or(TokenizerError::Key { key })?;
    if types.len() == tokens {
        return Ok(types);
    }
    Err(TokenizerError::Inconsistent { key, why: format!("{} types for {tokens} tokens", types.len()) })
}

fn token(gguf: &Gguf, key: &'static str, tokens: usize) -> Result<Option<u32>, TokenizerError> {
    match gguf.count(key) {
        None => Ok(None),
        Some(id) if id < tokens as u64 => Ok(u32::try_from(id).ok()),
        Some(id) => Err(TokenizerError::Inconsistent { key, why: format!("token {id} of {tokens}") }),
    }
}

/// `a b`, cut at the first space after the first character. A merge that names something that is no ordinary token can
/// never apply and is left out: the BPE builder relies on both parts and their sum being tokens.
fn merge_pair(merge: &str, ids: &HashMap<&str, u32>) -> Result<Option<(String, String)>, TokenizerError> {
    let first = merge.chars().next().map_or(0, char::len_utf8);
    let Some(cut) = merge[first..].find(' ').map(|cut| cut + first) else {
        let start: String = merge.chars().take(40).collect();
        return Err(TokenizerError::Inconsistent {
            key: "tokenizer.ggml.merges",
            why: format!("merge `{start}` has no space between two parts"),
        });
    };
    let (left, right) = (&merge[..cut], &merge[cut + 1..]);
    let joined = format!("{left}{right}");
    let known = [left, right, joined.as_str()].iter().all(|token| ids.contains_key(token));
    Ok(known.then(|| (left.to_owned(), right.to_owned())))
}

fn pre_tokenizer(words: &Words) -> Result<Sequence, TokenizerError> {
    let mut steps = Vec::new();
    for expression in words.expressions {
        let pattern = SplitPattern::Regex((*expression).to_owned());
        steps.push(PreTokenizerWrapper::Split(Split::new(pattern, Isolated, false).map_err(TokenizerError::Build)?));
    }
    steps.push(PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, false)));
    Ok(Sequence::new(steps))
}
