//! A loaded model and the decoder loop that every family shares.

mod decode;
mod error;
mod layer;
mod linear;
mod observer;
mod replace;
mod workspace;

use std::path::Path;
use std::sync::{Arc, OnceLock};

pub(crate) use decode::Part;
pub use error::{ForwardError, LoadError};
use layer::Layer;
pub(crate) use linear::{Beside, Linear, apply};
pub(crate) use observer::{Observer, Place};
pub(crate) use workspace::Workspace;

use crate::accelerator::Accelerator;
use crate::arch::{self, Figures, Traits};
use crate::backends::Backend;
use crate::cpu::{Cpu, Instructions};
use crate::gguf::{Gguf, ModelInfo};
use crate::grammar::{Grammar, GrammarError, Vocabulary};
use crate::ops::Rope;
use crate::session::{self, KvType, Session};
use crate::template::{ChatTemplate, Job, Message, RenderOptions, TemplateError};
use crate::tokenizer::Tokenizer;
use crate::weights::{Loader, Matrix};

/// How to load a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Threads to compute with; 0 means one per core.
    pub threads: usize,
    /// Where matrix products are computed: on this, or else on the best that this binary has and that works.
    pub backend: Option<Backend>,
    /// The instructions to compute with; the best that the processor has where none are named or it has not these.
    pub instructions: Option<Instructions>,
}

impl LoadOptions {
    /// So many threads, the rest by default.
    #[must_use]
    pub fn threads(threads: usize) -> Self {
        Self { threads, ..Self::default() }
    }
}

/// A model ready to answer: weights, tokenizer and template, shared and immutable.
#[derive(Debug)]
pub struct Model {
    info: ModelInfo,
    backend: Backend,
    figures: Figures,
    traits: Traits,
    embedding: Matrix,
    /// Absent when the embedding serves as output too.
    output: Option<Matrix>,
    output_norm: Vec<f32>,
    layers: Vec<Layer>,
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    /// Made when the first grammar is asked for.
    vocabulary: OnceLock<Arc<Vocabulary>>,
    pub(crate) cpu: Cpu,
}

impl Model {
    /// Validates and loads a model file.
    ///
    /// # Errors
    /// Says which check failed, with the file's key or tensor and the way out where there is one.
    pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Arc<Self>, LoadError> {
        Self::from_gguf(&Gguf::open(path)?, options)
    }

    /// Loads a model from a file that is open already.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_gguf(gguf: &Gguf, options: &LoadOptions) -> Result<Arc<Self>, LoadError> {
        let accelerator = Accelerator::open(options.backend)
            .map_err(|reason| LoadError::Backend { backend: options.backend.unwrap_or(Backend::Cpu).name(), reason })?;
        let cpu = Cpu::new(options.threads, options.instructions).map_err(|source| LoadError::Threads { source })?;
        let mut loader = Loader::new(gguf, &cpu);
        let (figures, traits) = arch::describe(gguf, &mut loader)?;
        let has_output = loader.has("output.weight");
        loader.accelerate(accelerator.as_ref());
        let (name, rows, columns) = ("token_embd.weight", figures.vocabulary, figures.embedding);
        let embedding =
            if has_output { loader.table(name, rows, columns) } else { loader.matrix(name, rows, columns) }?;
        let output = match has_output {
            true => Some(loader.matrix("output.weight", figures.vocabulary, figures.embedding)?),
            false => None,
        };
        let output_norm = loader.vector("output_norm.weight", figures.embedding)?;
        let layers = (0..figures.layers)
            .map(|layer| Layer::load(&mut loader, &figures, &traits, layer))
            .collect::<Result<_, _>>()?;
        loader.nothing_left()?;
        let tokenizer = Tokenizer::from_gguf(gguf)?;
        if tokenizer.vocabulary() > figures.vocabulary {
            return Err(LoadError::VocabularyMismatch { tokens: tokenizer.vocabulary(), rows: figures.vocabulary });
        }
        let template = ChatTemplate::from_gguf(gguf, &tokenizer)?;
        let info = gguf.info();
        // What the header and the edges of tensors have left in memory; tables come back row by row as they are looked up.
        gguf.map().let_all_go();
        let backend = accelerator.map_or(Backend::Cpu, |accelerator| accelerator.backend());
        Ok(Arc::new(Self {
            info,
            backend,
            figures,
            traits,
            embedding,
            output,
            output_norm,
            layers,
            tokenizer,
            template,
            vocabulary: OnceLock::new(),
            cpu,
        }))
    }

    /// What the file says of the model.
    #[must_use]
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Where its matrix products are computed.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// The vector instructions that it computes with.
    #[must_use]
    pub fn instructions(&self) -> Instructions {
        self.cpu.instructions()
    }

    /// The threads that it computes on.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.cpu.team.threads()
    }

    /// Text to tokens and back.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat template, if the file has one.
    #[must_use]
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// What grammars for this model are made from. The first call takes some tenths of a second where the vocabulary is large;
    /// it is not for a thread that serves others.
    ///
    /// # Errors
    /// Fails when no grammar can be made from these tokens.
    pub fn vocabulary(&self) -> Result<&Arc<Vocabulary>, GrammarError> {
        if let Some(vocabulary) = self.vocabulary.get() {
            return Ok(vocabulary);
        }
        let vocabulary = Arc::new(Vocabulary::new(&self.tokenizer)?);
        Ok(self.vocabulary.get_or_init(|| vocabulary))
    }

    /// Whether a grammar was made from this model's vocabulary.
    pub(crate) fn speaks(&self, grammar: &Grammar) -> bool {
        self.vocabulary.get().is_some_and(|own| Arc::ptr_eq(own, grammar.vocabulary()))
    }

    pub(crate) fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Buffers for passes of so many tokens, so many of which are asked for their logits.
    pub(crate) fn workspace(&self, tokens: usize, wanted: usize) -> Workspace {
        let pairs: Vec<usize> = self.traits.ropes.iter().map(Rope::pairs).collect();
        Workspace::with_room(&self.figures, &pairs, tokens, wanted)
    }

    /// Whether the embedding serves as output too.
    pub(crate) fn is_tied(&self) -> bool {
        self.output.is_none()
    }

    /// The window of each layer, for those that have one.
    pub(crate) fn windows(&self) -> impl Iterator<Item = Option<usize>> {
        self.traits.layers.iter().map(|layer| layer.window)
    }

    /// Bytes of keys and values that a session of so many tokens holds at the most, in the type that sessions have unless
    /// told otherwise.
    #[must_use]
    pub fn session_bytes(&self, context_tokens: u32) -> u64 {
        session::bytes(self, context_tokens as usize, KvType::default())
    }
}

/// The tokens of a conversation as the model's template writes it. Special tokens are recognised in the template's own
/// text only: a caller who types one gets it spelled out in ordinary tokens.
///
/// The template runs in this process; see [`encode_chat_with`].
///
/// # Errors
/// Fails when the file has no template or the template does not take this conversation.
pub fn encode_chat(model: &Model, messages: &[Message], options: &RenderOptions) -> Result<Vec<u32>, TemplateError> {
    let compiled = model.template().ok_or(TemplateError::Missing)?.compile()?;
    encode_chat_with(model, messages, options, |job| compiled.run(job))
}

/// As [`encode_chat`], each of the template's jobs run by `run`, which must answer as [`template::Compiled::run`] would: in a
/// process of its own, where a stranger's template can end nothing else.
///
/// [`template::Compiled::run`]: crate::template::Compiled::run
///
/// # Errors
/// Fails when the file has no template, and with whatever `run` fails with.
pub fn encode_chat_with<E: From<TemplateError>>(
    model: &Model,
    messages: &[Message],
    options: &RenderOptions,
    run: impl FnMut(&Job) -> Result<String, E>,
) -> Result<Vec<u32>, E> {
    let template = model.template().ok_or(TemplateError::Missing)?;
    let pieces = template.render_with(messages, options, run)?;
    Ok(model.tokenizer().encode_pieces(&pieces, true))
}

/// The logits after each of the given positions (counting from 0) of a token sequence.
///
/// # Errors
/// Fails on a token outside the vocabulary, a position outside the sequence or a sequence longer than the context.
pub fn logits(model: &Model, tokens: &[u32], positions: &[usize]) -> Result<Vec<Vec<f32>>, ForwardError> {
    logits_in_chunks(model, tokens, positions, 128)
}

/// As [`logits`], reading so many tokens at a time.
///
/// # Errors
/// As [`logits`].
pub(crate) fn logits_in_chunks(
    model: &Model,
    tokens: &[u32],
    positions: &[usize],
    chunk: usize,
) -> Result<Vec<Vec<f32>>, ForwardError> {
    if let Some(position) = positions.iter().find(|position| **position >= tokens.len()) {
        return Err(ForwardError::NoSuchPosition { position: *position, tokens: tokens.len() });
    }
    let longest = model.figures.context_tokens;
    if tokens.len() > longest {
        return Err(ForwardError::ContextFull { needed: tokens.len(), capacity: longest });
    }
    let mut session = Session::of(model, tokens.len(), KvType::F32);
    let mut workspace = Workspace::default();
    let mut answers = vec![Vec::new(); positions.len()];
    for part in tokens.chunks(chunk.max(1)) {
        let first = session.length();
        let here = |position: &usize| (first..first + part.len()).contains(position);
        let mut wanted: Vec<usize> = positions.iter().filter(|position| here(position)).map(|p| p - first).collect();
        wanted.sort_unstable();
        wanted.dedup();
        model.forward(&mut session, part, &wanted, &mut workspace)?;
        for (position, answer) in positions.iter().zip(&mut answers).filter(|(position, _)| here(position)) {
            let at = wanted.iter().position(|index| index + first == *position);
            let at = at.expect("every position of this chunk is in `wanted`") * model.figures.vocabulary;
            answer.extend_from_slice(&workspace.logits[at..at + model.figures.vocabulary]);
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests;
