//! Which variants are meant: a few comparisons, all of which must hold.
//!
//! ```text
//! class=Small and licence=apache-2.0 and bits<=5 and parameters<4B and context>=32k and speed>=8
//! ```

use std::fmt;
use std::str::FromStr;

use super::{CatalogueEntry, ModelError};

/// Longest filter, bytes, and most comparisons in one.
const MOST_BYTES: usize = 1024;
const MOST_TESTS: usize = 32;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Text(&'static str),
    Number(&'static str),
}

const FIELDS: [Field; 12] = [
    Field::Text("model"),
    Field::Text("target"),
    Field::Text("class"),
    Field::Text("family"),
    Field::Text("licence"),
    Field::Text("quantisation"),
    Field::Number("parameters"),
    Field::Number("bits"),
    Field::Number("context"),
    Field::Number("size"),
    Field::Number("speed"),
    Field::Number("golden"),
];

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::Text(name) | Self::Number(name) => name,
        }
    }
}

/// Longest first: `<=` is not `<`.
const OPERATORS: [&str; 6] = ["<=", ">=", "!=", "=", "<", ">"];

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Is { field: &'static str, pattern: String, is: bool },
    Number { field: &'static str, operator: &'static str, value: f64 },
}

/// Comparisons, all of which must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter(Vec<Test>);

impl Filter {
    /// Adds a comparison.
    ///
    /// # Errors
    /// [`ModelError::Invalid`] with the fields that there are.
    pub fn and(mut self, field: &str, operator: &str, value: &str) -> Result<Self, ModelError> {
        let shown = |text: &str| crate::inventory::words::clean(text, 40);
        let known = FIELDS.into_iter().find(|known| known.name() == field);
        let operator = OPERATORS.into_iter().find(|known| *known == operator);
        let value = value.trim().trim_matches(['\'', '"']);
        let test = match (known, operator) {
            (Some(Field::Text(field)), Some("=")) => Test::Is { field, pattern: value.to_lowercase(), is: true },
            (Some(Field::Text(field)), Some("!=")) => Test::Is { field, pattern: value.to_lowercase(), is: false },
            (Some(Field::Text(field)), _) => {
                return Err(ModelError::Invalid(format!(
                    "`{field}` is text: compare it with `=` or `!=`, `*` is anything"
                )));
            }
            (Some(Field::Number(field)), Some(operator)) => {
                let value = number(value).ok_or_else(|| {
                    ModelError::Invalid(format!(
                        "`{}` is no number for `{field}`: write as in `4B`, `32k`, `1.5GiB`",
                        shown(value)
                    ))
                })?;
                Test::Number { field, operator, value }
            }
            _ => {
                let names: Vec<_> = FIELDS.into_iter().map(Field::name).collect();
                let names = names.join(", ");
                return Err(ModelError::Invalid(format!(
                    "`{}` is nothing that a variant is found by; there are: {names}",
                    shown(field)
                )));
            }
        };
        if self.0.len() >= MOST_TESTS {
            return Err(ModelError::Invalid(format!("a filter has {MOST_TESTS} comparisons at most")));
        }
        self.0.push(test);
        Ok(self)
    }

    /// Whether a variant is meant. What is not known of it fits nothing.
    #[must_use]
    pub fn means(&self, entry: &CatalogueEntry) -> bool {
        self.0.iter().all(|test| match test {
            Test::Is { field, pattern, is } => fits(&text_of(entry, field).to_lowercase(), pattern) == *is,
            Test::Number { field, operator, value } => number_of(entry, field).is_some_and(|found| match *operator {
                "<=" => found <= *value,
                ">=" => found >= *value,
                "<" => found < *value,
                ">" => found > *value,
                "!=" => (found - value).abs() > f64::EPSILON,
                _ => (found - value).abs() <= f64::EPSILON,
            }),
        })
    }
}

impl FromStr for Filter {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        if text.len() > MOST_BYTES {
            return Err(ModelError::Invalid(format!("a filter has {MOST_BYTES} bytes at most")));
        }
        let mut filter = Self::default();
        let parts = text.split(" and ").map(str::trim);
        for part in parts.filter(|part| !part.is_empty() && *part != "all") {
            let at = part.find(['<', '>', '=', '!']);
            let found = at.and_then(|at| {
                let operator = OPERATORS.into_iter().find(|operator| part[at..].starts_with(operator))?;
                Some((part[..at].trim(), operator, &part[at + operator.len()..]))
            });
            let Some((field, operator, value)) = found else {
                let shown = crate::inventory::words::clean(part, 60);
                return Err(ModelError::Invalid(format!(
                    "`{shown}` compares nothing; write as in `class=Small and bits<=5`"
                )));
            };
            filter = filter.and(field, operator, value)?;
        }
        Ok(filter)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, test) in self.0.iter().enumerate() {
            if at > 0 {
                formatter.write_str(" and ")?;
            }
            match test {
                Test::Is { field, pattern, is } => {
                    write!(formatter, "{field}{}{pattern}", if *is { "=" } else { "!=" })?;
                }
                Test::Number { field, operator, value } => write!(formatter, "{field}{operator}{value}")?,
            }
        }
        Ok(())
    }
}

fn text_of<'a>(entry: &'a CatalogueEntry, field: &str) -> &'a str {
    match field {
        "model" => entry.model.as_str(),
        "target" => entry.target.as_str(),
        "class" => &entry.class,
        "family" => &entry.family,
        "licence" => &entry.licence,
        _ => &entry.quantisation,
    }
}

#[expect(clippy::cast_precision_loss, reason = "for comparing with what somebody wrote")]
fn number_of(entry: &CatalogueEntry, field: &str) -> Option<f64> {
    Some(match field {
        "parameters" => entry.parameters as f64,
        "bits" => f64::from(entry.bits_per_weight_milli) / 1000.0,
        "context" => f64::from(entry.context_tokens),
        "size" => entry.file_bytes as f64,
        "golden" => f64::from(entry.golden_prompts),
        _ => entry.speed_milli? as f64 / 1000.0,
    })
}

/// `4B`, `600M`, `32k`, `1.5GiB`, `4.5`: names of many are decimal for weights, binary for context and bytes.
fn number(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 8] = [
        ("GiB", 1_073_741_824.0),
        ("MiB", 1_048_576.0),
        ("KiB", 1024.0),
        ("B", 1e9),
        ("b", 1e9),
        ("M", 1e6),
        ("k", 1024.0),
        ("K", 1024.0),
    ];
    let (text, unit) =
        UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).unwrap_or((text, 1.0));
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let value: f64 = text.trim().parse().ok().filter(|_| is_plain)?;
    (value * unit).is_finite().then_some(value * unit)
}

/// Whether a text is what a pattern says; `*` is anything.
fn fits(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> CatalogueEntry {
        CatalogueEntry {
            target: "qwen3-0.6b.Q4_0".parse().unwrap(),
            model: "qwen3-0.6b".parse().unwrap(),
            class: "Micro".into(),
            family: "qwen3".into(),
            licence: "apache-2.0".into(),
            quantisation: "Q4_0".into(),
            parameters: 596_000_000,
            bits_per_weight_milli: 4_500,
            file_bytes: 340 << 20,
            weight_bytes: 335 << 20,
            context_tokens: 32_768,
            layers: 28,
            release: 1,
            golden_prompts: 2,
            speed_milli: Some(12_500),
            devices: 3,
            speeds: Vec::new(),
            withdrawn: None,
            origin: None,
        }
    }

    #[test]
    fn a_variant_is_found_by_what_is_known_of_it() {
        let means =
            |text: &str| text.parse::<Filter>().unwrap_or_else(|error| panic!("{text}: {error}")).means(&entry());
        for yes in [
            "",
            "all",
            "class=micro",
            "class=Micro and licence=Apache-2.0",
            "bits<=4.5 and bits>4",
            "parameters<1B",
            "context>=32k",
            "size<0.5GiB",
            "speed>=12.5",
            "model=qwen3*",
            "quantisation!=Q8_0",
            "golden=2",
            "model=*0.6*",
            "family='qwen3'",
        ] {
            assert!(means(yes), "{yes}");
        }
        for no in ["class=Small", "bits<4.5", "parameters>=1B", "speed>12.5", "licence=mit", "model=qwen", "model=*x*"]
        {
            assert!(!means(no), "{no}");
        }
        let unmeasured = CatalogueEntry { speed_milli: None, ..entry() };
        assert!(!"speed<1000".parse::<Filter>().unwrap().means(&unmeasured));
    }

    #[test]
    fn what_cannot_be_compared_is_refused_with_what_can() {
        let refused = |text: &str| text.parse::<Filter>().unwrap_err().to_string();
        assert!(refused("colour=red").contains("there are: model, target, class"));
        assert!(refused("class<Small").contains("compare it with `=`"));
        assert!(refused("bits<=many").contains("is no number for `bits`"));
        assert!(refused("small").contains("compares nothing"));
        assert!(refused(&"bits<1 and ".repeat(60)).contains("at most"));
        assert!(refused("bits<-1").contains("is no number"));
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_or_refused_and_prints_as_it_is_read(text in "[a-z<>=!* .0-9BkGi'-]{0,60}|\\PC{0,80}") {
            if let Ok(filter) = text.parse::<Filter>() {
                let again: Filter = filter.to_string().parse().unwrap();
                prop_assert_eq!(again.means(&entry()), filter.means(&entry()));
            }
        }
    }
}
