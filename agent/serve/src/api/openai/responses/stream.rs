//! A response as server-sent events, each named by its type.

use super::assembly::Assembly;
use crate::error::ApiError;
use crate::stream::{self, named_event};
use crate::{Ending, Said};

/// Writes events.
pub(super) struct Writer {
    assembly: Assembly,
}

impl Writer {
    pub(super) fn new(assembly: Assembly) -> Self {
        Self { assembly }
    }
}

impl stream::Writer for Writer {
    fn opening(&mut self) -> String {
        self.assembly.opening().iter().map(named_event).collect()
    }

    fn said(&mut self, said: Said) -> String {
        self.assembly.said(said).iter().map(named_event).collect()
    }

    fn ending(&mut self, ending: &Ending) -> String {
        let events = self.assembly.ended(ending).0;
        let mut text: String = events.iter().map(named_event).collect();
        text.push_str("data: [DONE]\n\n");
        text
    }

    /// No `[DONE]` after it, so that no client takes half an answer for whole.
    fn failure(&mut self, error: &ApiError) -> String {
        named_event(&self.assembly.failed(error))
    }

    fn idle(&mut self) -> String {
        ": working\n\n".to_owned()
    }
}
