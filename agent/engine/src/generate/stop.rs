//! Finds stop texts in an answer that comes in pieces, also when one spans several tokens.

/// The stop texts of one answer and the text that may still become one of them.
#[derive(Debug)]
pub(super) struct StopStrings {
    texts: Vec<String>,
    held: String,
    came: Option<String>,
}

impl StopStrings {
    pub(super) fn new(mut texts: Vec<String>) -> Self {
        texts.retain(|text| !text.is_empty());
        Self { texts, held: String::new(), came: None }
    }

    /// Takes a piece; returns what may be handed out and whether a stop text came.
    pub(super) fn push(&mut self, piece: &str) -> (Option<String>, bool) {
        self.held.push_str(piece);
        // The earliest stop text counts, whichever it is.
        let earliest = self.texts.iter().filter_map(|text| Some((self.held.find(text.as_str())?, text))).min();
        if let Some((at, text)) = earliest {
            self.came = Some(text.clone());
            self.held.truncate(at);
            return (self.finish(), true);
        }
        let keep = self.texts.iter().map(|text| self.overlap(text)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        let ready = std::mem::replace(&mut self.held, rest);
        ((!ready.is_empty()).then_some(ready), false)
    }

    /// The stop text that came.
    pub(super) fn came(&self) -> Option<&str> {
        self.came.as_deref()
    }

    /// Hands out what was held back.
    pub(super) fn finish(&mut self) -> Option<String> {
        let held = std::mem::take(&mut self.held);
        (!held.is_empty()).then_some(held)
    }

    /// Bytes at the end of the held text that begin this stop text.
    fn overlap(&self, text: &str) -> usize {
        let beginnings = text.char_indices().map(|(at, _)| at).rev();
        beginnings.into_iter().find(|length| self.held.ends_with(&text[..*length])).unwrap_or(0)
    }
}
