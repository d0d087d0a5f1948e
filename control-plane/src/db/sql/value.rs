//! Values of columns and parameters: what both databases know, and how the types of this program become that and come of it.

use super::{Error, Result};

/// A parameter or a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    /// Nothing, where this kind would be.
    Null(Kind),
    Integer(i64),
    Real(f64),
    Text(&'a str),
    Blob(&'a [u8]),
}

/// What a parameter is even if there is none: PostgreSQL cannot tell it in `?1 IS NULL OR name = ?1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Integer,
    Real,
    Text,
    Blob,
    /// A column says nothing of it.
    Unknown,
}

/// Types of one kind.
pub(crate) trait OfKind {
    const KIND: Kind;
}

macro_rules! kinds {
    ($($type:ty: $kind:ident),*) => { $(
        impl OfKind for $type {
            const KIND: Kind = Kind::$kind;
        }
    )* };
}
kinds!(i64: Integer, i32: Integer, u8: Integer, u16: Integer, u32: Integer, u64: Integer, usize: Integer, bool: Integer,
    f64: Real, str: Text, String: Text, [u8]: Blob, Vec<u8>: Blob);

impl<const N: usize> OfKind for [u8; N] {
    const KIND: Kind = Kind::Blob;
}

impl<T: OfKind + ?Sized> OfKind for &T {
    const KIND: Kind = T::KIND;
}

impl<'a> Value<'a> {
    pub(super) fn from_sqlite(value: rusqlite::types::ValueRef<'a>) -> std::result::Result<Self, String> {
        use rusqlite::types::ValueRef as Stored;
        Ok(match value {
            Stored::Null => Self::Null(Kind::Unknown),
            Stored::Integer(number) => Self::Integer(number),
            Stored::Real(number) => Self::Real(number),
            Stored::Text(bytes) => Self::Text(std::str::from_utf8(bytes).map_err(|error| error.to_string())?),
            Stored::Blob(bytes) => Self::Blob(bytes),
        })
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::{ToSqlOutput, ValueRef as Stored};
        Ok(ToSqlOutput::Borrowed(match *self {
            Self::Null(_) => Stored::Null,
            Self::Integer(number) => Stored::Integer(number),
            Self::Real(number) => Stored::Real(number),
            Self::Text(text) => Stored::Text(text.as_bytes()),
            Self::Blob(bytes) => Stored::Blob(bytes),
        }))
    }
}

/// What can be a parameter.
pub(crate) trait ToSql {
    fn to_sql(&self) -> Result<Value<'_>>;
}

/// What a column can become; the error says what was found.
pub(crate) trait FromSql: Sized {
    fn from_sql(value: Value<'_>) -> std::result::Result<Self, String>;
}

fn found(value: Value<'_>, expected: &str) -> String {
    let kind = match value {
        Value::Null(_) => "NULL",
        Value::Integer(_) => "a number",
        Value::Real(_) => "a number with a fraction",
        Value::Text(_) => "a text",
        Value::Blob(_) => "bytes",
    };
    format!("{kind} where {expected} is expected")
}

macro_rules! integers {
    ($($type:ty),*) => { $(
        impl ToSql for $type {
            fn to_sql(&self) -> Result<Value<'_>> {
                let too_large = |_| Error::Value { place: "parameter".to_owned(), what: format!("{self} is too large") };
                i64::try_from(*self).map(Value::Integer).map_err(too_large)
            }
        }

        impl FromSql for $type {
            fn from_sql(value: Value<'_>) -> std::result::Result<Self, String> {
                match value {
                    Value::Integer(number) => {
                        Self::try_from(number).map_err(|_| format!("{number} is no {}", stringify!($type)))
                    }
                    other => Err(found(other, "a number")),
                }
            }
        }
    )* };
}
integers!(i64, i32, u8, u16, u32, u64, usize);

impl ToSql for bool {
    fn to_sql(&self) -> Result<Value<'_>> {
        Ok(Value::Integer((*self).into()))
    }
}

impl FromSql for bool {
    fn from_sql(value: Value<'_>) -> std::result::Result<Self, String> {
        i64::from_sql(value).map(|number| number != 0)
    }
}

impl ToSql for f64 {
    fn to_sql(&self) -> Result<Value<'_>> {
        Ok(Value::Real(*self))
    }
}

impl FromSql for f64 {
    fn from_sql(value: Value<'_>) -> std::result::Result<Self, String> {
        match value {
            Value::Real(number) => Ok(number),
            other => Err(found(other, "a number with a fraction")),
        }
    }
}

impl ToSql for str {
    fn to_sql(&self) -> Result<Value<'_>> {
        Ok(Value::Text(self))
    }
}

impl ToSql for String {
    fn to_sql(&self) -> Result<Value<'_>> {
        Ok(Value::Text(self))
    }
}

impl FromSql for String {
    fn from_sql(value: Value<'_>) -> std::result::Result<Self, String> {
        match value {
            Value::Text(text) => Ok(text.to_owned()),
            other => Err(found(other, "a text")),
        }
    }
}

impl ToSql for [u8] {
    fn to_sql(&self) -> Result<Value<'_>> {
        Ok(Value::Blob(self))
    }
}

impl<const N: usize> ToSql for [u8; N] {
    fn to_sql(&self) -> Result<Value<'_>> {
        Ok(Value::Blob(self))
    }
}

impl<const N: usize> FromSql for [u8; N] {
    fn from_sql(value: Value<'_>) -> std::result::Result<Self, String> {
        match value {
            Value::Blob(bytes) => bytes.try_into().map_err(|_| format!("{} bytes where {N} are expected", bytes.len())),
            other => Err(found(other, "bytes")),
        }
    }
}

impl ToSql for Vec<u8> {
    fn to_sql(&self) -> Result<Value<'_>> {
        Ok(Value::Blob(self))
    }
}

impl FromSql for Vec<u8> {
    fn from_sql(value: Value<'_>) -> std::result::Result<Self, String> {
        match value {
            Value::Blob(bytes) => Ok(bytes.to_owned()),
            other => Err(found(other, "bytes")),
        }
    }
}

impl<T: ToSql + ?Sized> ToSql for &T {
    fn to_sql(&self) -> Result<Value<'_>> {
        (**self).to_sql()
    }
}

impl<T: ToSql + OfKind> ToSql for Option<T> {
    fn to_sql(&self) -> Result<Value<'_>> {
        self.as_ref().map_or(Ok(Value::Null(T::KIND)), ToSql::to_sql)
    }
}

impl<T: FromSql> FromSql for Option<T> {
    fn from_sql(value: Value<'_>) -> std::result::Result<Self, String> {
        if matches!(value, Value::Null(_)) { Ok(None) } else { T::from_sql(value).map(Some) }
    }
}

/// Parameters of a statement: `[]`, an array of one type, or `params![…]`.
pub(crate) trait Params {
    /// Gives them to `act`.
    fn with<T>(self, act: impl FnOnce(&[Value<'_>]) -> Result<T>) -> Result<T>;
}

fn with<T>(values: &[&dyn ToSql], act: impl FnOnce(&[Value<'_>]) -> Result<T>) -> Result<T> {
    act(&values.iter().map(|value| value.to_sql()).collect::<Result<Vec<_>>>()?)
}

impl Params for [&(dyn ToSql + Sync); 0] {
    fn with<T>(self, act: impl FnOnce(&[Value<'_>]) -> Result<T>) -> Result<T> {
        act(&[])
    }
}

impl Params for &[Value<'_>] {
    fn with<T>(self, act: impl FnOnce(&[Value<'_>]) -> Result<T>) -> Result<T> {
        act(self)
    }
}

impl Params for &[&dyn ToSql] {
    fn with<T>(self, act: impl FnOnce(&[Value<'_>]) -> Result<T>) -> Result<T> {
        with(self, act)
    }
}

// Not for every N: an empty array would belong to two of these.
macro_rules! arrays {
    ($($count:literal),*) => { $(
        impl<V: ToSql> Params for [V; $count] {
            fn with<T>(self, act: impl FnOnce(&[Value<'_>]) -> Result<T>) -> Result<T> {
                with(&self.each_ref().map(|value| value as &dyn ToSql), act)
            }
        }
    )* };
}
arrays!(1, 2, 3, 4, 5, 6, 7, 8);
