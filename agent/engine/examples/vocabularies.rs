//! Checks a directory of vocabularies: every published case, and 10,000 generated texts that must come back from their
//! tokens, per vocabulary.
//!
//! `cargo run --release -p outpost-engine --example vocabularies -- DIR` reads every `*.gguf` of the directory that has
//! a `.gguf.inp` (texts, separated by a line `__ggml_vocab_test__`) and a `.gguf.out` (the tokens of one text per line)
//! beside it, prints what it found and ends with an error if anything differs.
//!
//! Vocabularies of the BERT kind do not keep a text: there the same words in lower case and without accents, one space
//! between two, must come back, of texts whose characters all have tokens. What should come back is worked out from the
//! pieces that the text is generated from, not from the text.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use outpost_engine::gguf::Gguf;
use outpost_engine::tokenizer::Tokenizer;

const TEXTS: usize = 10_000;

fn main() -> Result<()> {
    let directory = std::env::args().nth(1).context("name a directory: vocabularies DIR")?;
    let mut files: Vec<PathBuf> = std::fs::read_dir(&directory)
        .with_context(|| format!("cannot list `{directory}`"))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "gguf") && beside(path, "inp").is_file())
        .collect();
    files.sort();
    ensure!(!files.is_empty(), "`{directory}` holds no vocabulary with cases beside it");
    let mut wrong = 0;
    for file in &files {
        wrong += check(file).with_context(|| format!("cannot check `{}`", file.display()))?;
    }
    ensure!(wrong == 0, "{wrong} differences");
    Ok(())
}

fn beside(file: &Path, extension: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

#[expect(clippy::print_stdout, reason = "the figures are what the program is for")]
fn check(file: &Path) -> Result<usize> {
    let start = Instant::now();
    let gguf = Gguf::open(file)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let loaded = start.elapsed();
    let kind = gguf.text("tokenizer.ggml.model").unwrap_or_default();
    let (cases, unequal) = published(&tokenizer, file)?;
    let start = Instant::now();
    let lost = generated(&tokenizer, kind == "bert");
    let taken = start.elapsed();
    println!(
        "{}: {kind}, {} tokens, loaded in {loaded:.0?}; {}/{cases} cases equal; {}/{TEXTS} texts back in {taken:.1?}",
        file.file_name().unwrap_or_default().display(),
        tokenizer.vocabulary(),
        cases - unequal,
        TEXTS - lost,
    );
    Ok(unequal + lost)
}

#[expect(clippy::print_stdout, reason = "the differences are what the program is for")]
fn published(tokenizer: &Tokenizer, file: &Path) -> Result<(usize, usize)> {
    let texts = std::fs::read_to_string(beside(file, "inp"))?;
    let answers = std::fs::read_to_string(beside(file, "out"))?;
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let answers: Vec<&str> = answers.lines().collect();
    // The last text is followed by a separator, and so by an empty text without an answer.
    ensure!(answers.len() <= texts.len(), "{} texts, {} answers", texts.len(), answers.len());
    ensure!(texts[answers.len()..].iter().all(|text| text.trim().is_empty()), "texts without an answer");
    let mut unequal = 0;
    for (text, answer) in texts.iter().zip(&answers) {
        let expected = answer.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>()?;
        let tokens = tokenizer.encode(text, false, false);
        if tokens != expected {
            println!("{text:?}\n  expected {expected:?}\n  got      {tokens:?}");
            unequal += 1;
        }
    }
    Ok((answers.len(), unequal))
}

/// How many generated texts do not come back.
#[expect(clippy::print_stdout, reason = "the differences are what the program is for")]
fn generated(tokenizer: &Tokenizer, lossy: bool) -> usize {
    let mut random = Random(0x5EED);
    let mut lost = 0;
    for _ in 0..TEXTS {
        let (text, expected) = if lossy { random.words() } else { random.text() };
        let tokens = tokenizer.encode(&text, false, false);
        let whole = tokenizer.decode(&tokens);
        let mut stream = tokenizer.decode_stream();
        let mut streamed: String = tokens.iter().filter_map(|id| stream.push(*id)).collect();
        streamed.extend(stream.finish());
        if whole != expected || streamed != expected {
            println!("{text:?}\n  expected {expected:?}\n  whole    {whole:?}\n  streamed {streamed:?}");
            lost += 1;
        }
    }
    lost
}

/// SplitMix64: the same texts on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((mixed ^ (mixed >> 31)) >> 32) as u32) % limit
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(u32::try_from(items.len()).unwrap_or(u32::MAX)) as usize]
    }

    /// Any characters but U+2581, which vocabularies of the SentencePiece kind use for the space.
    fn text(&mut self) -> (String, String) {
        const PIECES: &[&str] = &[
            " ",
            "  ",
            "\n",
            "\n\n",
            "\t",
            "the ",
            " and",
            "'ll",
            "'S",
            "don't",
            "123",
            "4567",
            "Ünïcode",
            "ﬁ",
            "e\u{301}",
            "<|im_end|>",
            "</s>",
            "<s>",
            "[SEP]",
            "<0x0A>",
            "<|end|>",
            "🦙",
            "👩‍🚀",
            "日本語",
            "Привет",
            "\u{0}",
            "\r\n",
            "    ",
            "{}",
            "fn main() {",
            "=>",
            "...",
            "!!",
            "-",
            "_",
            "École",
            "中文",
            "한국어",
            "العربية",
        ];
        let mut text = String::new();
        for _ in 0..self.below(24) {
            match self.below(4) {
                0 => text.extend(char::from_u32(self.below(0x11_0000)).filter(|any| *any != '\u{2581}')),
                1 => text.extend(char::from_u32(0x20 + self.below(0x5F))),
                _ => text.push_str(self.of(PIECES)),
            }
        }
        (text.clone(), text)
    }

    /// Words that a BERT vocabulary of English can spell, as someone might write them and as they come back.
    fn words(&mut self) -> (String, String) {
        const LETTERS: &[(&str, &str)] = &[
            ("a", "a"),
            ("E", "e"),
            ("é", "e"),
            ("n", "n"),
            ("Ñ", "n"),
            ("o", "o"),
            ("Ö", "o"),
            ("s", "s"),
            ("T", "t"),
            ("r", "r"),
            ("u\u{308}", "u"),
            ("7", "7"),
            ("0", "0"),
            ("Ж", "ж"),
            ("я", "я"),
            ("Ω", "ω"),
            ("\u{200D}", ""),
        ];
        const ALONE: &[&str] = &[".", ",", "!", "?", "'", "(", ")", "-", "$", "中", "人"];
        const BETWEEN: &[&str] = &[" ", "  ", "\n", "\t", "\u{3000}", "\u{A0}"];
        let (mut text, mut words) = (String::new(), Vec::<String>::new());
        for _ in 0..self.below(12) {
            let mut word = String::new();
            for _ in 0..=self.below(9) {
                let (written, kept) = self.of(LETTERS);
                text.push_str(written);
                word.push_str(kept);
            }
            words.extend(Some(word).filter(|word| !word.is_empty()));
            if self.below(2) == 0 {
                let sign = self.of(ALONE);
                text.push_str(sign);
                words.push(sign.to_owned());
            }
            text.push_str(self.of(BETWEEN));
        }
        (text, words.join(" "))
    }
}
