//! What a file's normaliser and pre-tokenizer come to: which kind of tokenizer it is, and how it cuts words.

use serde_json::Value as Json;

use super::file::File;
use super::shown;
use crate::tokenizer::TokenizerError;
use crate::tokenizer::words::{GPT_2, KNOWN, WORDS};

/// The kind of tokenizer that a file describes.
#[derive(Debug)]
pub(super) enum Plan {
    BytePair { pre: &'static str },
    SentencePiece { space_prefix: bool },
    WordPiece { lowercase: bool, strip_accents: bool },
}

/// Other ways to write expressions that `tokenizer.ggml.pre` names: what they match is the same.
const SPELLINGS: &[(&str, &str)] = &[
    // A single white space that GPT-2's expression leaves over is a word of its own either way.
    (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", "gpt-2"),
    (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        "llama-bpe",
    ),
];

impl Plan {
    pub(super) fn of(file: &File) -> Result<Self, TokenizerError> {
        let (normalizers, cutters) =
            (list(&file.normalizer, "normalizers"), list(&file.pre_tokenizer, "pretokenizers"));
        let model = &file.model;
        if model.kind.as_deref() == Some("WordPiece") {
            return word_piece(file, &normalizers, &cutters);
        }
        for (name, part) in [
            ("model.continuing_subword_prefix", &model.continuing_subword_prefix),
            ("model.end_of_word_suffix", &model.end_of_word_suffix),
        ] {
            if let Some(part) = part.as_deref().filter(|part| !part.is_empty()) {
                return Err(TokenizerError::Unsupported { key: name, value: shown(part), known: "none" });
            }
        }
        if cutters.iter().any(|step| kind(step) == "ByteLevel") {
            return byte_pair(file, &normalizers, &cutters);
        }
        if model.byte_fallback {
            return sentence_piece(&normalizers, &cutters);
        }
        Err(refused("pre_tokenizer", &file.pre_tokenizer, "ByteLevel, or a model with byte_fallback"))
    }
}

fn byte_pair(file: &File, normalizers: &[&Json], cutters: &[&Json]) -> Result<Plan, TokenizerError> {
    if let Some(step) = normalizers.iter().find(|step| kind(step) != "NFC") {
        return Err(refused("normalizer", step, "none, NFC"));
    }
    let mut expressions = Vec::new();
    for step in cutters {
        match kind(step) {
            "Split" => expressions.push(split(step)?),
            "Digits" if step["individual_digits"] == true => expressions.push(r"\p{N}"),
            "ByteLevel" if step["add_prefix_space"] != true => {
                // Left out, it is on.
                if step["use_regex"] != false {
                    expressions.push(GPT_2);
                }
            }
            _ => return Err(refused("pre_tokenizer", step, "Split, Digits (individual), ByteLevel (no prefix space)")),
        }
    }
    let canonical: Vec<&str> = expressions.iter().flat_map(spelled).copied().collect();
    let same = WORDS.iter().filter(|words| words.expressions == canonical).collect::<Vec<_>>();
    let ignore_merges = file.model.ignore_merges;
    match (same.iter().find(|words| words.ignore_merges == ignore_merges), same.first()) {
        (Some(words), _) => Ok(Plan::BytePair { pre: words.name }),
        (None, Some(words)) => Err(TokenizerError::Unsupported {
            key: "model.ignore_merges",
            value: format!("{ignore_merges} with the words of {}", words.name),
            known: if words.ignore_merges { "true" } else { "false" },
        }),
        (None, None) => Err(TokenizerError::Unsupported {
            key: "pre_tokenizer",
            value: shown(&expressions.join("  then  ")),
            known: KNOWN,
        }),
    }
}

/// An expression as [`WORDS`] writes it.
fn spelled<'expression>(expression: &'expression &'expression str) -> &'expression [&'expression str] {
    let name = SPELLINGS.iter().find(|spelling| spelling.0 == *expression).map(|spelling| spelling.1);
    let words = name.and_then(|name| WORDS.iter().find(|words| words.name == name));
    words.map_or_else(|| std::slice::from_ref(expression), |words| words.expressions)
}

/// The expression of a step that makes words of what it matches. `Removed` and inverted, what is not matched goes away,
/// and these expressions match everything.
fn split(step: &Json) -> Result<&str, TokenizerError> {
    let behaviour = step["behavior"].as_str().unwrap_or_default();
    let whole = match step["invert"].as_bool().unwrap_or_default() {
        false => behaviour == "Isolated",
        true => behaviour == "Isolated" || behaviour == "Removed",
    };
    match step["pattern"]["Regex"].as_str() {
        Some(expression) if whole => Ok(expression),
        _ => Err(refused("pre_tokenizer", step, "Split by a Regex, Isolated")),
    }
}

fn sentence_piece(normalizers: &[&Json], cutters: &[&Json]) -> Result<Plan, TokenizerError> {
    let mut space_prefix = false;
    for step in normalizers {
        match kind(step) {
            "Prepend" if step["prepend"] == "▁" => space_prefix = true,
            "Replace" if step["pattern"]["String"] == " " && step["content"] == "▁" => {}
            _ => return Err(refused("normalizer", step, "Prepend ▁, Replace of the space by ▁")),
        }
    }
    for step in cutters {
        match kind(step) {
            "Metaspace" if step["replacement"] == "▁" => {
                let scheme = step["prepend_scheme"].as_str();
                space_prefix |= scheme.map_or(step["add_prefix_space"] != false, |scheme| scheme != "never");
            }
            // Cuts at spaces, of which the normaliser has left none.
            "Split" if step["pattern"]["String"] == " " && !normalizers.is_empty() => {}
            _ => return Err(refused("pre_tokenizer", step, "none, Metaspace, Split at spaces")),
        }
    }
    if normalizers.is_empty() && cutters.is_empty() {
        return Err(refused("normalizer", &Json::Null, "Replace of the space by ▁, or the pre-tokenizer Metaspace"));
    }
    Ok(Plan::SentencePiece { space_prefix })
}

fn word_piece(file: &File, normalizers: &[&Json], cutters: &[&Json]) -> Result<Plan, TokenizerError> {
    let model = &file.model;
    let prefix = model.continuing_subword_prefix.as_deref().unwrap_or("##");
    if prefix != "##" {
        let key = "model.continuing_subword_prefix";
        return Err(TokenizerError::Unsupported { key, value: shown(prefix), known: "##" });
    }
    if let Some(longest) = model.max_input_chars_per_word.filter(|longest| *longest != 100) {
        let key = "model.max_input_chars_per_word";
        return Err(TokenizerError::Unsupported { key, value: longest.to_string(), known: "100" });
    }
    if cutters.len() != 1 || kind(cutters[0]) != "BertPreTokenizer" {
        return Err(refused("pre_tokenizer", &file.pre_tokenizer, "BertPreTokenizer"));
    }
    match normalizers {
        [step]
            if kind(step) == "BertNormalizer"
                && step["clean_text"] != false
                && step["handle_chinese_chars"] != false =>
        {
            let lowercase = step["lowercase"] != false;
            Ok(Plan::WordPiece { lowercase, strip_accents: step["strip_accents"].as_bool().unwrap_or(lowercase) })
        }
        _ => Err(refused("normalizer", &file.normalizer, "BertNormalizer that cleans and parts Chinese characters")),
    }
}

/// The steps of a part: itself, or what it lists. The parser bounds how deep lists nest.
fn list<'file>(part: &'file Json, name: &str) -> Vec<&'file Json> {
    match (part, part.get(name).and_then(Json::as_array)) {
        (Json::Null, _) => Vec::new(),
        (_, Some(steps)) if kind(part) == "Sequence" => steps.iter().flat_map(|step| list(step, name)).collect(),
        _ => vec![part],
    }
}

fn kind(step: &Json) -> &str {
    step.get("type").and_then(Json::as_str).unwrap_or_default()
}

fn refused(key: &'static str, step: &Json, known: &'static str) -> TokenizerError {
    TokenizerError::Unsupported { key, value: shown(&step.to_string()), known }
}
