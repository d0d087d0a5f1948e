//! Pages, the same of every list: `?after=…&limit=…` in, `{"entries": […], "next": …}` out.
//!
//! `next` is the `after` of the page that follows, and none after the last.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde::{Deserialize, Serialize};

use super::ApiError;

/// Entries of a page if nothing is said.
pub(crate) const ENTRIES: u32 = 100;

/// Most entries of a page.
pub(crate) const MOST_ENTRIES: u32 = 1000;

/// Which page is wanted, by the name of the entry before it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, bound = "A: serde::de::DeserializeOwned")]
pub(crate) struct Wanted<A> {
    #[serde(default = "none")]
    pub(crate) after: Option<A>,
    limit: Option<u32>,
}

fn none<A>() -> Option<A> {
    None
}

/// As it stands after `?`.
pub(crate) type Asked<A> = Result<Query<Wanted<A>>, QueryRejection>;

/// The page that was asked for: what it comes after, and how many entries it has at most.
pub(crate) fn wanted<A>(asked: Asked<A>) -> Result<(Option<A>, u32), ApiError> {
    let Query(Wanted { after, limit }) = asked?;
    Ok((after, entries(limit)?))
}

/// How many entries a page has at most.
pub(crate) fn entries(limit: Option<u32>) -> Result<u32, ApiError> {
    let limit = limit.unwrap_or(ENTRIES);
    if (1..=MOST_ENTRIES).contains(&limit) {
        return Ok(limit);
    }
    Err(ApiError::bad_request(format!("`limit` is 1 to {MOST_ENTRIES}, not {limit}")))
}

/// A page of a list.
#[derive(Debug, Serialize)]
pub(crate) struct Listed<T> {
    pub(crate) entries: Vec<T>,
    /// Where the next page begins; none if this is the last.
    pub(crate) next: Option<String>,
}

impl<T> Listed<T> {
    /// A page of which one entry more was read: that shows whether another one follows.
    pub(crate) fn of(mut entries: Vec<T>, limit: u32, name: impl Fn(&T) -> String) -> Self {
        let more = entries.len() > limit as usize;
        entries.truncate(limit as usize);
        let next = entries.last().filter(|_| more).map(name);
        Self { entries, next }
    }

    /// A page out of a list that is short by its nature and was read whole. After an entry that is gone, the list begins anew.
    pub(crate) fn cut(all: Vec<T>, after: Option<&str>, limit: u32, name: impl Fn(&T) -> String) -> Self {
        let begin = after.and_then(|after| all.iter().position(|entry| name(entry) == after)).map_or(0, |at| at + 1);
        Self::of(all.into_iter().skip(begin).take(limit as usize + 1).collect(), limit, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_a_short_list_hold_every_entry_once() {
        let all: Vec<u32> = (0..10).collect();
        for limit in 1..12 {
            let (mut seen, mut after) = (Vec::new(), None::<String>);
            loop {
                let page = Listed::cut(all.clone(), after.as_deref(), limit, u32::to_string);
                assert!(page.entries.len() <= limit as usize);
                seen.extend(page.entries);
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            assert_eq!(seen, all, "{limit}");
        }
    }

    #[test]
    fn a_page_has_one_entry_at_least() {
        assert!(entries(Some(0)).is_err() && entries(Some(MOST_ENTRIES + 1)).is_err());
        assert_eq!((entries(None).unwrap(), entries(Some(1)).unwrap()), (ENTRIES, 1));
    }
}
