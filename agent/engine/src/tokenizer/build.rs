//! Builds a tokenizer from `tokenizer.ggml.*`.

use super::byte_pair::BytePair;
use super::keys::Keys;
use super::kinds::Kinds;
use super::sentence_piece::{self, SPACE, SentencePiece};
use super::special::Specials;
use super::vocabulary::{Kind, Vocabulary};
use super::word_piece::WordPiece;
use super::words::words;
use super::{Method, Parts, TokenizerError, bytes};

/// The kinds of tokenizer: `tokenizer.ggml.model`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    BytePair,
    SentencePiece,
    WordPiece,
}

pub(super) fn build(keys: Keys<'_>) -> Result<Parts, TokenizerError> {
    let key = "tokenizer.ggml.model";
    let family = match keys.text(key).ok_or(TokenizerError::Key { key })? {
        "gpt2" => Family::BytePair,
        "llama" => Family::SentencePiece,
        "bert" => Family::WordPiece,
        other => {
            return Err(TokenizerError::Unsupported { key, value: other.to_owned(), known: "gpt2, llama, bert" });
        }
    };
    let texts = keys.tokens()?;
    let kinds = Kinds::new(keys, texts, family == Family::SentencePiece)?;
    let mut vocabulary = Vocabulary::with_capacity(texts.len());
    let (mut specials, mut added, mut end_of_generation) = (Vec::new(), Vec::new(), kinds.endings());
    let mut piece = Vec::new();
    for (id, text) in (0..).zip(texts) {
        let kind = kinds.of(id, text);
        piece.clear();
        let found = write(family, kind, text, &mut piece);
        vocabulary.push(text, &piece, kind, found);
        match kind {
            Kind::Special => {
                specials.push((text.clone(), id));
                if kinds.ends(id, text) {
                    end_of_generation.insert(id);
                }
            }
            Kind::Added => added.push((String::from_utf8_lossy(&piece).into_owned(), id)),
            Kind::Ordinary | Kind::Byte | Kind::Unused => {}
        }
    }
    let specials = Specials::new(specials.into_iter());
    let ids = Ids::new(keys, family, texts.len(), &specials)?;
    let pre = keys.text("tokenizer.ggml.pre").unwrap_or("default");
    let (method, begins, ends) = match family {
        Family::BytePair => {
            let words = words(pre)?;
            (Method::BytePair(BytePair::new(keys, words, &vocabulary)?), words.add_bos, false)
        }
        Family::SentencePiece => {
            (Method::SentencePiece(SentencePiece::new(keys, &vocabulary, ids.unknown)?), true, false)
        }
        Family::WordPiece => {
            let unknown = ids.unknown.ok_or(TokenizerError::Key { key: "tokenizer.ggml.unknown_token_id" })?;
            (Method::WordPiece(WordPiece::new(keys, unknown)), true, true)
        }
    };
    let ends = if family == Family::WordPiece {
        keys.flag("tokenizer.ggml.add_sep_token").unwrap_or(ends)
    } else {
        keys.flag("tokenizer.ggml.add_eos_token").unwrap_or(ends)
    };
    Ok(Parts {
        space_prefix: match family {
            Family::BytePair => false,
            Family::SentencePiece => keys.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true),
            Family::WordPiece => true,
        },
        strips_after_specials: strips_after_specials(keys),
        add_bos: keys.flag("tokenizer.ggml.add_bos_token").unwrap_or(begins),
        closing: if family == Family::WordPiece { ids.separator } else { ids.eos }.filter(|_| ends),
        bos: ids.bos,
        eos: ids.eos,
        method,
        vocabulary,
        specials,
        added: Specials::new(added.into_iter()),
        end_of_generation,
    })
}

/// Appends what a token writes; says whether text can take it by the rules of the family.
fn write(family: Family, kind: Kind, text: &str, piece: &mut Vec<u8>) -> bool {
    match (kind, family) {
        (Kind::Special | Kind::Unused, _) => false,
        (Kind::Byte, _) => {
            piece.extend(sentence_piece::byte_of(text));
            false
        }
        (Kind::Added, Family::BytePair) => {
            piece.extend_from_slice(text.as_bytes());
            false
        }
        (Kind::Ordinary, Family::BytePair) => bytes::write(text, piece),
        (Kind::Added | Kind::Ordinary, Family::SentencePiece | Family::WordPiece) => {
            piece.extend_from_slice(text.replace(SPACE, " ").as_bytes());
            kind == Kind::Ordinary && !text.contains(' ')
        }
    }
}

/// The tokens that have a role.
struct Ids {
    bos: Option<u32>,
    eos: Option<u32>,
    unknown: Option<u32>,
    separator: Option<u32>,
}

impl Ids {
    fn new(keys: Keys<'_>, family: Family, tokens: usize, specials: &Specials) -> Result<Self, TokenizerError> {
        let id = |key| keys.token(key, tokens);
        let named = |spelling: &str| specials.id(spelling);
        let (bos, eos) = (id("tokenizer.ggml.bos_token_id")?, id("tokenizer.ggml.eos_token_id")?);
        let unknown = id("tokenizer.ggml.unknown_token_id")?;
        Ok(match family {
            Family::BytePair => Self { bos, eos, unknown, separator: None },
            // Early files of this family name none of them: the places are those of the first Llama.
            Family::SentencePiece => Self {
                bos: bos.or_else(|| named("<s>")),
                eos: eos.or_else(|| named("</s>")),
                unknown: unknown.or_else(|| named("<unk>")),
                separator: None,
            },
            Family::WordPiece => Self {
                bos: id("tokenizer.ggml.cls_token_id")?.or(bos).or_else(|| named("[CLS]")),
                eos,
                unknown: unknown.or_else(|| named("[UNK]")),
                // The key is spelled so in every file; the format cannot change it any more.
                separator: id("tokenizer.ggml.seperator_token_id")?.or_else(|| named("[SEP]")),
            },
        })
    }
}

/// Whether white space after a special token goes away. Files do not say; of the known families Phi-3 was trained so,
/// and `llama.cpp` goes by the model's name as well.
fn strips_after_specials(keys: Keys<'_>) -> bool {
    let name = keys.text("general.name").unwrap_or_default().to_ascii_lowercase();
    keys.text("tokenizer.ggml.model") == Some("llama") && (name.contains("phi-3") || name.contains("phi3"))
}
