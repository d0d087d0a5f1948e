//! The byte-level BPE of the demo model: trained here on the corpus, written into the GGUF as llama.cpp knows it.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, PreTokenizerWrapper, Tokenizer};

use super::corpus::Conversation;

/// All tokens, the three special ones included.
const TOKENS: usize = 2048;
/// Share of merges that the loose cut leaves out.
const MERGES_LEFT_OUT: f32 = 0.08;
pub(crate) const END_OF_TEXT: &str = "<|endoftext|>";
pub(crate) const TURN_START: &str = "<|im_start|>";
pub(crate) const TURN_END: &str = "<|im_end|>";
/// How Qwen2 cuts text into words before BPE (`tokenizer.ggml.pre` = `qwen2`).
const WORDS: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The tokens of a conversation, and which of them are answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Encoded {
    pub(crate) tokens: Vec<u32>,
    /// Positions whose *next* token the model must learn to say.
    pub(crate) lessons: Vec<usize>,
}

pub(crate) struct Vocabulary {
    tokenizer: Tokenizer,
    /// Cuts the same text a little differently each time (BPE dropout; Provilkov, Emelianenko and Voita, 2020), so that training
    /// sees that `deleted` is `delete` with an end.
    loose: Tokenizer,
    turn_start: u32,
    pub(crate) turn_end: u32,
}

impl Vocabulary {
    /// Learns the merges from texts.
    pub(crate) fn train(texts: Vec<String>) -> Result<Tokenizer> {
        let mut tokenizer = Tokenizer::new(BPE::default());
        let words = Split::new(SplitPattern::Regex(WORDS.to_owned()), SplitDelimiterBehavior::Isolated, false)
            .map_err(|error| anyhow!(error))?;
        let pieces: Vec<PreTokenizerWrapper> = vec![words.into(), ByteLevel::new(false, false, false).into()];
        tokenizer.with_pre_tokenizer(Some(Sequence::new(pieces)));
        tokenizer.with_decoder(Some(ByteLevel::new(false, false, false)));
        let trainer = BpeTrainerBuilder::new()
            .vocab_size(TOKENS - 3)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        tokenizer.train(&mut trainer.into_wrapper(), texts.into_iter()).map_err(|error| anyhow!(error))?;
        let special = [END_OF_TEXT, TURN_START, TURN_END].map(|text| AddedToken::from(text, true));
        tokenizer.add_special_tokens(special).map_err(|error| anyhow!(error))?;
        Ok(tokenizer)
    }

    pub(crate) fn load(path: &Path) -> Result<Self> {
        Self::from_tokenizer(
            Tokenizer::from_file(path)
                .map_err(|error| anyhow!("cannot read the vocabulary of `{}`: {error}", path.display()))?,
        )
    }

    fn from_tokenizer(tokenizer: Tokenizer) -> Result<Self> {
        let id = |text: &str| tokenizer.token_to_id(text).ok_or_else(|| anyhow!("the vocabulary has no `{text}`"));
        let (turn_start, turn_end) = (id(TURN_START)?, id(TURN_END)?);
        let mut loose = tokenizer.clone();
        let ModelWrapper::BPE(mut merges) = tokenizer.get_model().clone() else { bail!("the vocabulary is not a BPE") };
        merges.dropout = Some(MERGES_LEFT_OUT);
        loose.with_model(merges);
        Ok(Vocabulary { tokenizer, loose, turn_start, turn_end })
    }

    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    pub(crate) fn size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    fn text(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.tokenizer.encode(text, false).map_err(|error| anyhow!(error))?.get_ids().to_vec())
    }

    /// One turn in ChatML; the answer of the assistant is what is to be learnt, its end included.
    fn turn(&self, encoded: &mut Encoded, role: &str, content: &str, loose: bool) -> Result<()> {
        encoded.tokens.push(self.turn_start);
        if role == "assistant" {
            encoded.tokens.extend(self.text("assistant\n")?);
            let answer = self.text(content)?;
            encoded.lessons.extend(encoded.tokens.len() - 1..encoded.tokens.len() + answer.len());
            encoded.tokens.extend(answer);
        } else {
            let cut = if loose { &self.loose } else { &self.tokenizer };
            encoded.tokens.extend(self.text(&format!("{role}\n"))?);
            encoded.tokens.extend(cut.encode(content, false).map_err(|error| anyhow!(error))?.get_ids());
        }
        encoded.tokens.push(self.turn_end);
        encoded.tokens.extend(self.text("\n")?);
        Ok(())
    }

    /// A whole conversation; `loose` cuts its questions differently each time.
    pub(crate) fn encode(&self, conversation: &Conversation, loose: bool) -> Result<Encoded> {
        let mut encoded = Encoded::default();
        if let Some(system) = &conversation.system {
            self.turn(&mut encoded, "system", system, false)?;
        }
        for (question, answer) in &conversation.turns {
            self.turn(&mut encoded, "user", question, loose)?;
            self.turn(&mut encoded, "assistant", answer, false)?;
        }
        Ok(encoded)
    }

    /// The tokens that ask one question and open the answer.
    pub(crate) fn prompt(&self, question: &str) -> Result<Vec<u32>> {
        let mut encoded = Encoded::default();
        self.turn(&mut encoded, "user", question, false)?;
        encoded.tokens.push(self.turn_start);
        encoded.tokens.extend(self.text("assistant\n")?);
        Ok(encoded.tokens)
    }

    pub(crate) fn decode(&self, tokens: &[u32]) -> Result<String> {
        self.tokenizer.decode(tokens, true).map_err(|error| anyhow!(error))
    }
}

trait IntoWrapper {
    fn into_wrapper(self) -> tokenizers::models::TrainerWrapper;
}

impl IntoWrapper for tokenizers::models::bpe::BpeTrainer {
    fn into_wrapper(self) -> tokenizers::models::TrainerWrapper {
        self.into()
    }
}
