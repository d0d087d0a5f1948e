//! What is mounted where, as `proc/self/mountinfo` tells it.
//!
//! ```text
//! 36 35 98:0 /root /mount rw,noatime master:1 - ext4 /dev/source rw,errors=continue
//! number, parent, device, part of the file system, place, options, …, -, file system, source, its own options
//! ```

use crate::tree::Tree;

/// More are not looked at: a container host has thousands, of which the last hide the first.
const MOST: usize = 1 << 14;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Major and minor number of the device.
    pub(crate) device: (u32, u32),
    /// The part of the file system that is mounted.
    pub(crate) part: String,
    /// Where.
    pub(crate) place: String,
    /// Which file system.
    pub(crate) file_system: String,
    /// Of what.
    pub(crate) source: String,
    /// Whether it was mounted for reading only.
    pub(crate) is_read_only: bool,
    /// What the file system itself was told.
    pub(crate) options: String,
}

/// All mounts that this process sees, the oldest first.
pub(crate) fn read(tree: &Tree) -> Vec<Mount> {
    tree.text("proc/self/mountinfo").map(|text| parse(&text)).unwrap_or_default()
}

/// Lines that are no mounts are passed over.
pub(crate) fn parse(text: &str) -> Vec<Mount> {
    text.lines().take(MOST).filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(2);
    let (major, minor) = before.next()?.split_once(':')?;
    let (part, place, options) = (before.next()?, before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (file_system, source, own) = (after.next()?, after.next()?, after.next().unwrap_or_default());
    let is_read_only = |options: &str| options.split(',').any(|option| option == "ro");
    Some(Mount {
        device: (major.parse().ok()?, minor.parse().ok()?),
        part: unescaped(part),
        place: unescaped(place),
        file_system: file_system.to_owned(),
        source: unescaped(source),
        is_read_only: is_read_only(options) || is_read_only(own),
        options: own.to_owned(),
    })
}

/// Spaces and the like are written as a backslash and three octal digits.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(u8::is_ascii);
        match code {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mount_has_a_device_a_place_and_a_file_system() {
        let text = "36 35 98:1 /a\\040b /mnt\\134x rw,noatime master:1 shared:2 - ext4 /dev/sda1 ro,errors=continue\n\
            41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\nnonsense\n7 7 7 / / rw - x y z\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        let first = &mounts[0];
        assert_eq!((first.device, &*first.part, &*first.place), ((98, 1), "/a b", "/mnt\\x"));
        assert_eq!((&*first.file_system, &*first.source, first.is_read_only), ("ext4", "/dev/sda1", true));
        assert_eq!((&*mounts[1].options, mounts[1].is_read_only), ("rw,nsdelegate", false));
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_mount_that_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), line in "[0-9: /a\\\\-]{0,60}") {
            parse(&String::from_utf8_lossy(&bytes));
            parse(&line);
            parse(&format!("1 1 1:1 {line} {line} rw - {line}"));
        }
    }
}
