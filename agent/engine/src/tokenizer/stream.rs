//! Decodes an answer as it comes and never hands out half a character.

use super::Tokenizer;

/// A decoder for one answer.
#[derive(Debug)]
pub struct StreamDecoder {
    tokenizer: Tokenizer,
    /// The beginning of a character whose end has not come yet: at most three bytes between calls.
    held: Vec<u8>,
    /// Whether the next token begins a text, whose first space the tokenizer put there itself.
    fresh: bool,
    /// Special tokens that are spelled out.
    spelled: Vec<u32>,
}

impl StreamDecoder {
    pub(super) fn new(tokenizer: Tokenizer, fresh: bool) -> Self {
        Self { tokenizer, held: Vec::new(), fresh, spelled: Vec::new() }
    }

    /// The same, with these special tokens spelled out as the file spells them instead of writing nothing.
    #[must_use]
    pub fn spelling_out(mut self, tokens: Vec<u32>) -> Self {
        self.spelled = tokens;
        self
    }

    /// The same, with a space at the beginning of the text kept, whoever put it there.
    #[must_use]
    pub fn exact(mut self) -> Self {
        self.fresh = false;
        self
    }

    /// Takes one token; returns the text that is complete with it, if any.
    pub fn push(&mut self, id: u32) -> Option<String> {
        self.tokenizer.write(id, &mut self.fresh, &mut self.held);
        if self.spelled.contains(&id) {
            self.held.extend_from_slice(self.tokenizer.bytes(id));
        }
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.held) {
                Ok(complete) => {
                    text.push_str(complete);
                    self.held.clear();
                    break;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&self.held[..valid]));
                    match error.error_len() {
                        // The rest may still become a character.
                        None => {
                            self.held.drain(..valid);
                            break;
                        }
                        Some(wrong) => {
                            text.push(char::REPLACEMENT_CHARACTER);
                            self.held.drain(..valid + wrong);
                        }
                    }
                }
            }
        }
        (!text.is_empty()).then_some(text)
    }

    /// Ends the answer; a character that never came whole becomes U+FFFD.
    pub fn finish(&mut self) -> Option<String> {
        let held = std::mem::take(&mut self.held);
        (!held.is_empty()).then(|| String::from_utf8_lossy(&held).into_owned())
    }
}
