//! `X-Outpost-Data-Class`: what kind of data a caller says that it sends. Rules decide by it, so what cannot be read is
//! refused, never taken for unlabelled.

use axum::http::{HeaderMap, HeaderName};
use outpost_policies::DataClass;

use crate::error::ApiError;

/// The header, as the wire has it and as people read it.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-outpost-data-class");
pub(crate) const HEADER_AS_WRITTEN: &str = "X-Outpost-Data-Class";

/// What a caller says of its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Label {
    /// Nothing.
    #[default]
    Absent,
    /// One of the words.
    Said(DataClass),
    /// No word that there is.
    Unknown,
    /// More than one thing.
    Several,
}

impl Label {
    /// Reads the header.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(HEADER).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(_), Some(_)) => Self::Several,
            (Some(value), None) => {
                let class = DataClass::ALL.into_iter().find(|class| class.word().as_bytes() == value.as_bytes());
                class.map_or(Self::Unknown, Self::Said)
            }
        }
    }

    /// The class that was said, for the record.
    pub(crate) fn said(self) -> Option<DataClass> {
        match self {
            Self::Said(class) => Some(class),
            Self::Absent | Self::Unknown | Self::Several => None,
        }
    }

    /// The class that rules see.
    ///
    /// # Errors
    /// 400 for a label that is none.
    pub(crate) fn class(self) -> Result<DataClass, ApiError> {
        let what = match self {
            Self::Absent => return Ok(DataClass::default()),
            Self::Said(class) => return Ok(class),
            Self::Unknown => format!("has to be one of `{}`", words().join("`, `")),
            Self::Several => "is there more than once: say the most sensitive class of what you send".to_owned(),
        };
        Err(ApiError::invalid(HEADER_AS_WRITTEN, format!("the header `{HEADER_AS_WRITTEN}` {what}")))
    }
}

/// Every word.
pub(crate) fn words() -> [&'static str; DataClass::ALL.len()] {
    DataClass::ALL.map(DataClass::word)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_header_is_a_word_or_refused(values in prop::collection::vec("[ -~]{0,12}|public|special", 0..3)) {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append(HEADER, HeaderValue::from_str(value).unwrap());
            }
            let expected = match &values[..] {
                [] => Some("internal"),
                [one] => words().into_iter().find(|word| *word == one.as_str()),
                _ => None,
            };
            let read = Label::of(&headers).class();
            prop_assert_eq!(read.as_ref().ok().map(|class| class.word()), expected);
            if let Err(error) = read {
                prop_assert!(error.to_json(crate::api::Family::OpenAi).to_string().contains(HEADER_AS_WRITTEN));
            }
        }
    }
}
