//! The small files in which a kernel tells about the machine, below one root: a test hands over a tree of its own.
//!
//! Nothing here is required to exist. What cannot be read is `None`, and what is read has a bound.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The largest file that is read whole: that of the processors of a server with several hundred of them.
const MOST_BYTES: u64 = 2 << 20;

/// The longest name that is taken from the machine.
const NAME_CHARACTERS: usize = 96;

/// No machine has a processor of a higher number.
const MOST_PROCESSORS: u32 = 1 << 14;

/// A root folder with `proc`, `sys` and `dev` in it, each where the system has them.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The tree below this folder.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Whether this is the machine itself: only then may its libraries be asked as well.
    pub(crate) fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// A path as in `sys/class`, below the root.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A whole file; bytes that are no text are replaced.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let mut bytes = Vec::new();
        std::fs::File::open(self.path(path)).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A file of one short line, as it may be shown.
    pub(crate) fn name(&self, path: &str) -> Option<String> {
        shown(&self.text(path)?)
    }

    /// A file with a number in it.
    pub(crate) fn number<T: FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.trim().parse().ok()
    }

    /// A file with numbers of processors in it.
    pub(crate) fn set(&self, path: &str) -> Option<BTreeSet<u32>> {
        parse_set(&self.text(path)?)
    }

    /// Names in a folder, in order.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.take(MOST_PROCESSORS as usize).filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The numbers of entries of a folder that are called so and have a number, as in `cpu7`.
    pub(crate) fn numbers(&self, folder: &str, name: &str) -> BTreeSet<u32> {
        self.names(folder).iter().filter_map(|entry| entry.strip_prefix(name)?.parse().ok()).collect()
    }

    /// The numbers between two parts of the names in a folder, as in `temp3_input`.
    pub(crate) fn numbers_between(&self, folder: &str, before: &str, after: &str) -> BTreeSet<u32> {
        let number = |entry: &String| entry.strip_prefix(before)?.strip_suffix(after)?.parse().ok();
        self.names(folder).iter().filter_map(number).collect()
    }

    /// Whether there is such a file or folder.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The last name of what a link leads to, as in the driver of a device.
    pub(crate) fn link_name(&self, path: &str) -> Option<String> {
        shown(&std::fs::read_link(self.path(path)).ok()?.file_name()?.to_string_lossy())
    }

    /// Where a path leads to in the end, without links, below the root.
    pub(crate) fn resolved(&self, path: &str) -> Option<String> {
        let root = self.root.canonicalize().ok()?;
        let found = self.path(path).canonicalize().ok()?;
        Some(found.strip_prefix(root).ok()?.to_string_lossy().into_owned())
    }
}

/// Text from the machine as it may be shown: one line of bounded length without control characters; `None` if nothing is left.
pub(crate) fn shown(text: &str) -> Option<String> {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<_> = plain.split_whitespace().collect();
    let short: String = words.join(" ").chars().take(NAME_CHARACTERS).collect();
    (!short.is_empty()).then_some(short)
}

/// Numbers of processors as kernels write them: `0-3,8,10-11`. `None` if it is no such list; an empty one is a list.
pub(crate) fn parse_set(text: &str) -> Option<BTreeSet<u32>> {
    let mut set = BTreeSet::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last >= MOST_PROCESSORS || first > last {
            return None;
        }
        set.extend(first..=last);
    }
    Some(set)
}

/// The number behind a name in lines of `name number`; a colon or a unit may stand about it.
pub(crate) fn parse_line(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix(name)?;
        let rest = rest.strip_prefix([':', ' ', '\t'])?;
        rest.split_whitespace().next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_of_processors_are_read_as_kernels_write_them() {
        let read = |text| parse_set(text).map(|set| set.into_iter().collect::<Vec<_>>());
        assert_eq!(read("0-3,8,10-11\n"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(read("\n"), Some(Vec::new()), "nobody is nobody");
        for not_a_list in ["x", "3-1", "0-4294967295", "1-", "-1", "0x3"] {
            assert_eq!(read(not_a_list), None, "{not_a_list}");
        }
    }

    #[test]
    fn a_number_is_found_behind_its_whole_name() {
        let text =
            "anon 200\ninactive_file_of_another 9\ninactive_file 100\nNode 0 MemTotal:  16384 kB\nSwapFree:\t7 kB\n";
        assert_eq!(parse_line(text, "inactive_file"), Some(100));
        assert_eq!(parse_line(text, "Node 0 MemTotal"), Some(16_384));
        assert_eq!((parse_line(text, "SwapFree"), parse_line(text, "Swap")), (Some(7), None));
    }

    #[test]
    fn what_is_shown_is_one_short_line() {
        assert_eq!(shown("Raspberry Pi 5\u{0}").as_deref(), Some("Raspberry Pi 5"));
        assert_eq!(shown(" a\u{1b}[31m\n b ").as_deref(), Some("a [31m b"));
        assert_eq!((shown("\0\n"), shown(&"x".repeat(1000)).map(|text| text.len())), (None, Some(NAME_CHARACTERS)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic_or_grow(bytes in proptest::collection::vec(any::<u8>(), 0..300), list in "[0-9,\\- ]{0,40}") {
            let text = String::from_utf8_lossy(&bytes);
            for text in [&*text, &*list] {
                prop_assert!(parse_set(text).is_none_or(|set| set.len() <= MOST_PROCESSORS as usize));
                prop_assert!(shown(text).is_none_or(|shown| shown.chars().count() <= NAME_CHARACTERS && !shown.contains(char::is_control)));
                parse_line(text, "");
            }
        }
    }
}
