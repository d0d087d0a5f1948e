//! `outpost tune`: what may be combined, what is asked of the best, and how it is told.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Objective;

/// `outpost tune`
#[derive(Debug, Args)]
pub struct Tune {
    /// The GGUF file that all variants are made of
    #[arg(value_name = "MODEL", required_unless_present = "show_key")]
    pub model: Option<PathBuf>,
    /// Only this variant, as in `Q4_0`; may be given more than once [default: the file and every usual one that is smaller]
    #[arg(long = "variant", value_name = "NAME")]
    pub variants: Vec<String>,
    /// A file that is another variant of the model; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub also: Vec<PathBuf>,
    /// Keep keys and values as this; may be given more than once [default: both]
    #[arg(long = "kv", value_enum, value_name = "TYPE")]
    pub kvs: Vec<KvType>,
    /// Tokens of one conversation; may be given more than once [default: what the model was trained for, up to 8192]
    #[arg(long = "context", value_name = "TOKENS")]
    pub contexts: Vec<u32>,
    /// Conversations at once; may be given more than once [default: 4 and 1]
    #[arg(long = "slots", value_name = "N")]
    pub slots: Vec<u32>,
    /// Threads; may be given more than once [default: all usable cores, and half of them]
    #[arg(long = "threads", value_name = "N")]
    pub threads: Vec<u32>,
    /// What is best among those that keep every limit
    #[arg(long, value_enum, default_value_t = Objective::Quality)]
    pub objective: Objective,
    /// Slowest decoding that is of use, tokens per second of one conversation while all are answered; 0 for any
    #[arg(long, value_name = "TOKENS", default_value_t = 0.0)]
    pub minimum_speed: f64,
    /// Lowest quality that is of use, bits per weight; 0 for any
    #[arg(long, value_name = "BITS", default_value_t = 0.0)]
    pub minimum_quality: f64,
    /// Smallest share of tokens that the largest variant would choose, too, percent; 0 for any
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    pub minimum_agreement: f64,
    /// Judge variants by this text [default: some prose that is built in]
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Ask every variant these tasks, too: a line each of {"prompt": …, "expect": …, "match": "contains" or "exact"}
    #[arg(long, value_name = "FILE.jsonl")]
    pub tasks: Option<PathBuf>,
    /// Tokens of each prompt, as far as the model's context allows
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub prompt: u32,
    /// Tokens of each answer, likewise
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub answer: u32,
    /// Undisturbed runs of each setting; others are dropped and repeated
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub repeat: u32,
    /// Say what would be measured and why the rest would not, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Measure anew what is known from before
    #[arg(long)]
    pub again: bool,
    /// Write a page with a picture of quality against speed, the choice and why
    #[arg(long, value_name = "FILE.html")]
    pub picture: Option<PathBuf>,
    /// Write the signed evidence to this file, too
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Reuse another box's evidence instead of measuring
    #[arg(long, value_name = "FILE", requires = "trust", conflicts_with_all = ["dry_run", "again", "out"])]
    pub evidence: Option<PathBuf>,
    /// A file with the public key of the box whose evidence is believed
    #[arg(long, value_name = "KEYFILE", requires = "evidence")]
    pub trust: Option<PathBuf>,
    /// Show the public key of this box, by which others believe its evidence, and do nothing else
    #[arg(long, conflicts_with_all = ["model", "evidence", "dry_run"])]
    pub show_key: bool,
}

/// What keys and values are kept as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KvType {
    /// Half precision, as the service keeps them
    F16,
    /// Single precision, to see what half precision costs
    F32,
}
