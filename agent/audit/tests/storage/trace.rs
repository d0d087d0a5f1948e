//! A trace of a recorder's system calls, read as what it did to its files and what it acknowledged, in order.

use std::collections::HashMap;

/// One thing that happened, to a file by its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A name appeared.
    Created(String),
    /// Bytes were written at an offset.
    Wrote { path: String, offset: u64, bytes: Vec<u8> },
    /// A file was cut or grown.
    Truncated { path: String, length: u64 },
    /// What was written to it so far is on the disk. Of a directory: its names are.
    Synced(String),
    /// A file was renamed over another.
    Renamed { from: String, to: String },
    /// A name went.
    Removed(String),
    /// Somebody was told that a record is durable.
    Acknowledged(String),
}

/// Reads what `strace --strings-in-hex=all` wrote.
pub(crate) fn read(trace: &str) -> Vec<Event> {
    let mut reader = Reader::default();
    for line in trace.lines() {
        reader.line(line);
    }
    reader.events
}

#[derive(Default)]
struct Reader {
    /// What each open descriptor leads to, and where the next plain write goes.
    open: HashMap<u64, (String, u64)>,
    /// Calls that have begun on a thread and not ended.
    unfinished: HashMap<String, String>,
    events: Vec<Event>,
}

impl Reader {
    fn line(&mut self, line: &str) {
        let Some((thread, rest)) = line.split_once(' ') else { return };
        let rest = rest.trim_start();
        if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            // What is written may reach the disk from the moment of the call; only that it is synced takes its return.
            self.unfinished.insert(thread.to_owned(), begun.trim_end().to_owned());
            return;
        }
        let whole = match rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            Some((_, end)) => self.unfinished.remove(thread).unwrap_or_default() + end,
            None => rest.to_owned(),
        };
        self.call(&whole);
    }

    fn call(&mut self, call: &str) {
        let Some((name, rest)) = call.split_once('(') else { return };
        let Some((arguments, result)) = rest.rsplit_once(" = ") else { return };
        let Ok(result) = result.split(' ').next().unwrap_or_default().parse::<u64>() else { return };
        let arguments: Vec<&str> = arguments.trim_end().trim_end_matches(')').split(", ").collect();
        let number = |place: usize| arguments.get(place).and_then(|text| text.parse::<u64>().ok());
        let text = |place: usize| String::from_utf8_lossy(&unescape(arguments.get(place).unwrap_or(&""))).into_owned();
        match name {
            "openat" => {
                let (path, flags) = (text(1), arguments.get(2).unwrap_or(&""));
                if flags.contains("O_CREAT") {
                    self.events.push(Event::Created(path.clone()));
                }
                self.open.insert(result, (path, 0));
            }
            "close" => {
                number(0).and_then(|descriptor| self.open.remove(&descriptor));
            }
            "write" => {
                let Some((path, at)) = number(0).and_then(|descriptor| self.open.get_mut(&descriptor)) else { return };
                let bytes = unescape(arguments[1]);
                let offset = *at;
                *at += bytes.len() as u64;
                self.events.push(Event::Wrote { path: path.clone(), offset, bytes });
            }
            "pwrite64" => {
                let (Some((path, _)), Some(offset)) =
                    (number(0).and_then(|descriptor| self.open.get(&descriptor)), number(3))
                else {
                    return;
                };
                self.events.push(Event::Wrote { path: path.clone(), offset, bytes: unescape(arguments[1]) });
            }
            "ftruncate" => {
                let (Some((path, _)), Some(length)) =
                    (number(0).and_then(|descriptor| self.open.get(&descriptor)), number(1))
                else {
                    return;
                };
                self.events.push(Event::Truncated { path: path.clone(), length });
            }
            "fsync" | "fdatasync" => {
                let Some((path, _)) = number(0).and_then(|descriptor| self.open.get(&descriptor)) else { return };
                self.events.push(Event::Synced(path.clone()));
            }
            "rename" => self.events.push(Event::Renamed { from: text(0), to: text(1) }),
            "unlink" => self.events.push(Event::Removed(text(0))),
            "mkdir" => self.events.push(Event::Created(text(0))),
            "sendto" => self.events.push(Event::Acknowledged(text(1))),
            _ => {}
        }
    }
}

/// The bytes of `"\x61\x62"`.
fn unescape(quoted: &str) -> Vec<u8> {
    let inner = quoted.trim_matches('"');
    inner.split("\\x").skip(1).map(|digits| u8::from_str_radix(digits, 16).expect("two hexadecimal digits")).collect()
}

#[test]
fn a_call_that_was_interrupted_in_the_trace_counts_once_it_returned() {
    let trace = "1 openat(AT_FDCWD, \"\\x61\", O_RDWR|O_CREAT, 0600) = 3\n\
                 1 pwrite64(3, \"\\x01\\x02\", 2, 4096) = 2\n\
                 1 fdatasync(3 <unfinished ...>\n\
                 2 sendto(9, \"\\x37\", 1, MSG_NOSIGNAL, {sa_family=AF_UNIX}, 2) = 1\n\
                 1 <... fdatasync resumed>)          = 0\n\
                 1 fsync(3) = -1 EIO (Input/output error) (INJECTED)\n";
    let path = "a".to_owned();
    let expected = [
        Event::Created(path.clone()),
        Event::Wrote { path: path.clone(), offset: 4096, bytes: vec![1, 2] },
        Event::Acknowledged("7".to_owned()),
        Event::Synced(path),
    ];
    assert_eq!(read(trace), expected);
}
