//! The command line of `outpost model`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `outpost model …`
#[derive(Debug, Subcommand)]
pub enum Model {
    /// List the models of this device
    #[command(after_help = "Example: outpost model ls")]
    Ls,
    /// Check a GGUF file and copy it into the store
    #[command(after_help = "Example: outpost model import qwen3-0.6b-Q4_0.gguf")]
    Import {
        /// The file
        file: PathBuf,
    },
    /// Fetch a model from the directories that outpost.toml names as `model.sources`, or from a Hugging Face hub (`HF_ENDPOINT`,
    /// `HF_TOKEN`, `HF_HUB_OFFLINE`): the variant that fits this machine, resumed where it was cut, checked against the commit
    #[command(
        after_help = "Examples: outpost model pull qwen3-4b\n          outpost model pull hf:Qwen/Qwen3-0.6B-GGUF --file '*Q8_0*'"
    )]
    Pull {
        /// A well-known model (`outpost plan` lists them), `hf:OWNER/REPO` or `hf:OWNER/REPO@REVISION`, or the name of a file in
        /// those directories or of the model in it
        reference: String,
        /// Which file of the repository, with `*` and `?`; without it, the plan chooses
        #[arg(long, value_name = "PATTERN")]
        file: Option<String>,
    },
    /// Remove a model from this device
    #[command(after_help = "Example: outpost model rm qwen3-0.6b:q4_0")]
    Rm {
        /// Its name, as `ls` shows it
        name: String,
    },
    /// Keep a model on this device whatever else needs room
    #[command(after_help = "Example: outpost model pin qwen3-0.6b:q4_0")]
    Pin {
        /// Its name, as `ls` shows it
        name: String,
    },
    /// Let a model leave again when room is needed
    #[command(after_help = "Example: outpost model unpin qwen3-0.6b:q4_0")]
    Unpin {
        /// Its name, as `ls` shows it
        name: String,
    },
    /// Show what a GGUF file is, without trusting it; with --golden, what it answers, for devices to compare with
    #[command(
        after_help = "Example: outpost model inspect qwen3-0.6b-Q4_0.gguf --json --golden \"The capital of France is\""
    )]
    Inspect {
        /// The file
        file: PathBuf,
        /// A text that the model continues greedily; the release then carries how. May be given up to 8 times
        #[arg(long, value_name = "PROMPT")]
        golden: Vec<String>,
        /// Tokens of each golden answer
        #[arg(long, value_name = "N", default_value_t = 16, requires = "golden")]
        golden_tokens: u32,
    },
    /// Show two GGUF files side by side, and what differs between them
    #[command(after_help = "Example: outpost model compare model-f16.gguf model-Q4_0.gguf")]
    Compare {
        /// One file
        left: PathBuf,
        /// The other
        right: PathBuf,
    },
    /// Make one GGUF file of a Hugging Face directory (config.json, safetensors, tokenizer.json)
    #[command(after_help = "Example: outpost model convert Qwen3-0.6B qwen3-0.6b-f16.gguf")]
    Convert {
        /// The directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Where to write
        output: PathBuf,
        /// `F16`, `BF16` or `F32`, for matrices; norms are always F32
        #[arg(long, default_value = "F16")]
        to: String,
    },
    /// Write a smaller variant of a GGUF file; with a sample text, sparing what matters to such texts
    #[command(after_help = "Examples: outpost model quantize model-f16.gguf model-Q8_0.gguf --to Q8_0\n          \
                            outpost model quantize model-f16.gguf model-mixed.gguf --to mixed --like Q4_K_M --sample words.txt")]
    Quantize(Quantize),
    /// The logits after given tokens, for comparison with another implementation
    #[command(after_help = "Example: outpost model logits model.gguf --tokens 1,2,3")]
    Logits {
        /// The file
        file: PathBuf,
        /// Token ids
        #[arg(long, value_delimiter = ',', required = true)]
        tokens: Vec<u32>,
        /// Positions to show; the last unless told otherwise
        #[arg(long, value_delimiter = ',')]
        positions: Vec<usize>,
        /// `cpu`, `cuda` or `metal`; the best that works unless told otherwise
        #[arg(long, value_name = "NAME")]
        backend: Option<String>,
    },
    /// The tokens of a text
    #[command(after_help = "Example: outpost model tokenize model.gguf --text-file words.txt")]
    Tokenize {
        /// The file
        file: PathBuf,
        /// The text
        #[arg(long, value_name = "FILE")]
        text_file: PathBuf,
        /// Match special tokens in the text
        #[arg(long)]
        special: bool,
        /// Begin with the BOS token
        #[arg(long)]
        bos: bool,
    },
    /// How well a model predicts a text; against another variant, how far the two disagree
    #[command(
        after_help = "Example: outpost model perplexity model-Q4_0.gguf --text-file words.txt --against model-f16.gguf"
    )]
    Perplexity(Perplexity),
    /// How fast a model file is on this machine: reading a prompt and generating, measured apart
    #[command(
        after_help = "Example: outpost model bench model-Q4_0.gguf --prompt 512 --generate 128 --threads 2 --repeat 5"
    )]
    Bench(Bench),
    /// The vectors of a text's lines; without --json, how near each line is to the first
    #[command(after_help = "Example: outpost model embed all-MiniLM-L6-v2.gguf --text-file sentences.txt --json")]
    Embed {
        /// A sentence embedder
        file: PathBuf,
        /// The text, one sentence a line
        #[arg(long, value_name = "FILE")]
        text_file: PathBuf,
    },
    /// What a chat template makes of a conversation
    #[command(after_help = "Example: outpost model template model.gguf --messages conversation.json")]
    Template(Template),
}

/// `outpost model quantize`
#[derive(Debug, Args)]
pub struct Quantize {
    /// A larger variant: F16, F32 or any other that is read here
    pub input: PathBuf,
    /// Where to write
    pub output: PathBuf,
    /// `F16`, `Q8_0`, `Q6_K`, `Q5_1`, `Q4_K_M`, `Q4_0` or `TQ2_0`; `mixed`: a format for every matrix, by what it costs there
    #[arg(long)]
    pub to: String,
    /// A text like what the model will be asked, of 512 tokens or more; `mixed` needs one
    #[arg(long, value_name = "FILE")]
    pub sample: Option<PathBuf>,
    /// Match special tokens in the sample, as a chat template writes them
    #[arg(long, requires = "sample")]
    pub special: bool,
    /// Bits per weight that a mix may have, as in `4.8`
    #[arg(long, value_name = "N", conflicts_with_all = ["size", "like"])]
    pub bits: Option<f64>,
    /// Bytes that the file of a mix may have
    #[arg(long, value_name = "BYTES", conflicts_with = "like")]
    pub size: Option<u64>,
    /// The quantisation than whose file a mix may not be larger, as in `Q4_K_M`
    #[arg(long, value_name = "NAME")]
    pub like: Option<String>,
    /// Threads to measure with; all cores unless told otherwise
    #[arg(long, value_name = "N", requires = "sample")]
    pub threads: Option<usize>,
}

/// `outpost model perplexity`
#[derive(Debug, Args)]
pub struct Perplexity {
    /// The file
    pub file: PathBuf,
    /// The text
    #[arg(long, value_name = "FILE")]
    pub text_file: PathBuf,
    /// Tokens of one window; its second half is scored
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub context: usize,
    /// Another variant of the same model to disagree with, usually a larger one
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Match special tokens in the text
    #[arg(long)]
    pub special: bool,
    /// Threads; all cores unless told otherwise
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// `cpu`, `cuda` or `metal`; the best that works unless told otherwise
    #[arg(long, value_name = "NAME")]
    pub backend: Option<String>,
}

/// `outpost model bench`
#[derive(Debug, Args)]
pub struct Bench {
    /// The file
    pub file: PathBuf,
    /// Tokens to read in one go; 0 to leave that out
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub prompt: usize,
    /// Tokens to generate one by one; 0 to leave that out
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub generate: usize,
    /// Tokens that lie in the context before either is measured
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub depth: usize,
    /// Threads; all cores unless told otherwise
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// How often to measure; medians are shown
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub repeat: u32,
    /// Measure how fast this text is said instead, with and without guessing ahead; weights need not be trained
    #[arg(long, value_name = "FILE")]
    pub answer: Option<PathBuf>,
    /// The text in front of the answer, in which guesses are looked for too
    #[arg(long, value_name = "FILE", requires = "answer")]
    pub after: Option<PathBuf>,
    /// A smaller model of the same vocabulary that guesses where the text itself says nothing
    #[arg(long, value_name = "FILE", requires = "answer")]
    pub draft: Option<PathBuf>,
    /// `cpu`, `cuda` or `metal`; the best that works unless told otherwise
    #[arg(long, value_name = "NAME")]
    pub backend: Option<String>,
}

/// `outpost model template`
#[derive(Debug, Args)]
pub struct Template {
    /// A GGUF file, or a template of its own in a file that ends in `.jinja`
    pub file: PathBuf,
    /// A conversation: a JSON list of messages, or an object with `messages`, `tools` and variables of the template
    #[arg(long, value_name = "FILE")]
    pub messages: PathBuf,
    /// Do not open the assistant's turn at the end
    #[arg(long)]
    pub no_generation_prompt: bool,
}
