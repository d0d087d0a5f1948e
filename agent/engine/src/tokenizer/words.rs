//! How a text is cut into words before byte pairs are merged: `tokenizer.ggml.pre`.

use tokenizers::utils::SysRegex;

use super::TokenizerError;

/// One way of cutting, as the models' own tokenizers define it and `llama.cpp` names it.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) name: &'static str,
    /// Applied one after the other, each within the pieces of the one before.
    pub(super) expressions: &'static [&'static str],
    /// A word that is a token as it stands is taken whole.
    pub(super) ignore_merges: bool,
    /// What `add_bos_token` means when the file does not say.
    pub(super) add_bos: bool,
}

pub(super) const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";

/// GPT-4's, which Llama 3, Phi-4 (14B) and many others took over: up to three digits together.
const CL100K: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

pub(super) const WORDS: &[Words] = &[
    Words {
        name: "qwen2",
        expressions: &[
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        ignore_merges: false,
        add_bos: false,
    },
    Words { name: "llama-bpe", expressions: &[CL100K], ignore_merges: true, add_bos: true },
    Words { name: "dbrx", expressions: &[CL100K], ignore_merges: false, add_bos: false },
    Words { name: "smaug-bpe", expressions: &[CL100K], ignore_merges: false, add_bos: false },
    Words {
        name: "gpt-4o",
        expressions: &[
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        ignore_merges: false,
        add_bos: false,
    },
    Words {
        name: "tekken",
        expressions: &[
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        ignore_merges: true,
        add_bos: true,
    },
    Words { name: "gpt-2", expressions: &[GPT_2], ignore_merges: false, add_bos: false },
    Words { name: "smollm", expressions: &[r"\p{N}", GPT_2], ignore_merges: false, add_bos: false },
    Words {
        name: "default",
        expressions: &[r"[\p{P}\$\+<=>\^~\|]+", GPT_2, r"\p{N}+", r"[0-9][0-9][0-9]"],
        ignore_merges: false,
        add_bos: false,
    },
];

/// Names under which the same words go.
const ALIASES: &[(&str, &str)] = &[
    ("llama3", "llama-bpe"),
    ("llama-v3", "llama-bpe"),
    ("deepseek-r1-qwen", "qwen2"),
    ("llama4", "gpt-4o"),
    ("gpt2", "gpt-2"),
    ("phi-2", "gpt-2"),
];

/// The names of [`WORDS`] and [`ALIASES`], for messages.
pub(super) const KNOWN: &str = "qwen2, deepseek-r1-qwen, llama-bpe, llama3, llama-v3, dbrx, smaug-bpe, gpt-4o, llama4, \
                     tekken, gpt-2, gpt2, phi-2, smollm, default";

pub(super) fn words(name: &str) -> Result<&'static Words, TokenizerError> {
    let name = ALIASES.iter().find(|alias| alias.0 == name).map_or(name, |alias| alias.1);
    WORDS.iter().find(|words| words.name == name).ok_or_else(|| TokenizerError::Unsupported {
        key: "tokenizer.ggml.pre",
        value: name.to_owned(),
        known: KNOWN,
    })
}

/// Compiled expressions.
#[derive(Debug)]
pub(super) struct Cutter(Vec<SysRegex>);

impl Cutter {
    pub(super) fn new(words: &Words) -> Result<Self, TokenizerError> {
        let compile = |expression: &&str| SysRegex::new(expression).map_err(TokenizerError::Build);
        words.expressions.iter().map(compile).collect::<Result<_, _>>().map(Self)
    }

    /// Hands out the words in order; together they are the text.
    ///
    /// An expression gives up on a stretch that would take it a million steps, such as as many spaces in a row; the
    /// rest of the text is one word then.
    pub(super) fn cut(&self, text: &str, take: &mut dyn FnMut(&str)) {
        each(&self.0, text, take);
    }
}

fn each(expressions: &[SysRegex], text: &str, take: &mut dyn FnMut(&str)) {
    let Some((first, others)) = expressions.split_first() else {
        if !text.is_empty() {
            take(text);
        }
        return;
    };
    let mut from = 0;
    for (start, end) in first.find_iter(text) {
        if from < start {
            each(others, &text[from..start], take);
        }
        each(others, &text[start..end], take);
        from = end;
    }
    if from < text.len() {
        each(others, &text[from..], take);
    }
}
