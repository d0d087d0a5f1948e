//! A metadata value of a GGUF file.

/// One metadata value.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the variants are the value types of the format")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Text(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// A list of values of one type.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the variants are the value types of the format")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    Text(Vec<String>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl Value {
    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, if it is one and not negative.
    #[must_use]
    pub fn as_count(&self) -> Option<u64> {
        match self {
            Self::U8(number) => Some(u64::from(*number)),
            Self::U16(number) => Some(u64::from(*number)),
            Self::U32(number) => Some(u64::from(*number)),
            Self::U64(number) => Some(*number),
            Self::I8(number) => u64::try_from(*number).ok(),
            Self::I16(number) => u64::try_from(*number).ok(),
            Self::I32(number) => u64::try_from(*number).ok(),
            Self::I64(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The number, whole or not.
    #[must_use]
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::F32(number) => Some(f64::from(*number)),
            Self::F64(number) => Some(*number),
            Self::I8(number) => Some(f64::from(*number)),
            Self::I16(number) => Some(f64::from(*number)),
            Self::I32(number) => Some(f64::from(*number)),
            Self::I64(number) => Some(*number as f64),
            other => other.as_count().map(|number| number as f64),
        }
    }

    /// The yes or no, if it is one.
    #[must_use]
    pub fn as_flag(&self) -> Option<bool> {
        match self {
            Self::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The texts, if it is a list of texts.
    #[must_use]
    pub fn as_texts(&self) -> Option<&[String]> {
        match self {
            Self::Array(Array::Text(texts)) => Some(texts),
            _ => None,
        }
    }

    /// The whole numbers, if it is a list of them and none is negative.
    #[must_use]
    pub fn as_counts(&self) -> Option<Vec<u64>> {
        fn all<T: Copy + TryInto<u64>>(numbers: &[T]) -> Option<Vec<u64>> {
            numbers.iter().map(|number| (*number).try_into().ok()).collect()
        }
        match self {
            Self::Array(Array::U8(numbers)) => all(numbers),
            Self::Array(Array::U16(numbers)) => all(numbers),
            Self::Array(Array::U32(numbers)) => all(numbers),
            Self::Array(Array::U64(numbers)) => all(numbers),
            Self::Array(Array::I8(numbers)) => all(numbers),
            Self::Array(Array::I16(numbers)) => all(numbers),
            Self::Array(Array::I32(numbers)) => all(numbers),
            Self::Array(Array::I64(numbers)) => all(numbers),
            _ => None,
        }
    }
}
