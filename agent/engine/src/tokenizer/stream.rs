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
}

impl StreamDecoder {
    pub(super) fn new(tokenizer: Tokenizer, fresh: bool) -> Self {
        Self { tokenizer, held: Vec::new(), fresh }
    }

    /// Takes one token; returns the text that is complete with it, if any.
    pub fn push(&mut self, id: u32) -> Option<String> {
        self.tokenizer.write(id, &mut self.fresh, &mut self.held);
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
