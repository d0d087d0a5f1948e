//! `control-plane/trust/KEYS.md` typed as it stands: every block after the first one, with a device that must follow.

use std::path::{Path, PathBuf};

use clap::Parser;
use outpost_control::{Clock, Config, Fleet};
use outpost_trust::{Floors, catalogue};

use super::dispatch;
use crate::args::Cli;

const PAGE: &str = include_str!("../../trust/KEYS.md");

/// Words of the page that name files or directories.
const PLACES: &[&str] = &["ada", "bo", "cy", "dee", "eve", "fay", "new"];

/// A machine on which the page is typed.
struct Desk(tempfile::TempDir);

/// A device that trusts the first root and keeps floors.
struct Device {
    root: Vec<u8>,
    floors: Floors,
}

/// The blocks of the page, each with its heading.
fn blocks() -> Vec<(String, Vec<String>)> {
    let (mut blocks, mut heading, mut inside) = (Vec::new(), String::new(), false);
    for line in PAGE.lines() {
        match line {
            "```sh" => {
                inside = true;
                blocks.push((heading.clone(), Vec::new()));
            }
            "```" => inside = false,
            line if inside => blocks.last_mut().expect("a block was begun").1.push(line.to_owned()),
            line => {
                if let Some(title) = line.strip_prefix("## ") {
                    heading = title.to_owned();
                }
            }
        }
    }
    blocks
}

impl Desk {
    fn place(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    #[expect(clippy::disallowed_methods, reason = "a test's file needs to survive no power cut")]
    fn lay_out(&self, name: &str, text: &str) {
        std::fs::write(self.place(name), text).unwrap();
    }

    /// Types one line. Names of files are taken as being on this desk, and a question is answered with yes.
    async fn enter(&self, line: &str) {
        let is_file = |word: &str| [".json", ".passphrase"].iter().any(|ending| word.ends_with(ending));
        let is_place = |word: &str| is_file(word) || PLACES.contains(&word.split('/').next().unwrap_or(word));
        let mut flag = "";
        let mut words = Vec::new();
        for word in line.split_whitespace() {
            let named = flag == "--holder" && !word.contains('/');
            words.push(if is_place(word) && !named { self.place(word).display().to_string() } else { word.to_owned() });
            flag = word;
        }
        if line.contains("keys sign") {
            words.push("--yes".to_owned());
        }
        if !line.contains("--state") {
            words.extend(["--state".to_owned(), self.place("state").display().to_string()]);
        }
        words.push("--json".to_owned());
        let cli = Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
        dispatch(cli).await.unwrap_or_else(|error| panic!("{line}: {error:#}"));
    }

    fn fleet(&self) -> Fleet {
        Fleet::open(Config::load(self.place("state")).unwrap(), Clock::system()).unwrap()
    }

    fn catalogue(&self) -> Vec<u8> {
        let wanted = self.fleet().catalogue().unwrap().blake3.to_hex();
        find(&self.place("state/blobs"), &wanted).expect("the newest catalogue is kept")
    }
}

fn find(folder: &Path, name: &str) -> Option<Vec<u8>> {
    std::fs::read_dir(folder).unwrap().map(Result::unwrap).find_map(|entry| {
        let is = entry.file_name().to_string_lossy().contains(name);
        is.then(|| std::fs::read(entry.path()).unwrap())
    })
}

impl Device {
    async fn follow(&mut self, desk: &Desk) {
        let now_s = Clock::system().now_s();
        let bytes = desk.catalogue();
        let taken = catalogue::verify(&bytes, &self.root, &self.floors, now_s, desk.0.path()).await.unwrap();
        self.root = taken.root;
        self.floors = taken.floors;
    }
}

#[tokio::test]
async fn the_page_on_keys_does_what_it_says_and_devices_follow() {
    let blocks = blocks();
    let (first, others) = blocks.split_first().unwrap();
    assert!(others.len() >= 10, "the page has its blocks: {}", others.len());
    for (heading, lines) in others {
        let desk = Desk(tempfile::tempdir().unwrap());
        desk.lay_out("first.passphrase", "correct horse battery staple\n");
        desk.lay_out("second.passphrase", "a second one, as long as the first\n");
        for line in &first.1 {
            desk.enter(line).await;
        }
        let root = std::fs::read(desk.place("state/trust/1.root.json")).unwrap();
        let mut device = Device { root, floors: Floors::default() };
        device.follow(&desk).await;
        for line in lines {
            desk.enter(line).await;
            // Whatever is half done, a device can take what there is.
            device.follow(&desk).await;
        }
        let overview = desk.fleet().keys_overview().unwrap();
        // Until it is retired the stolen director key is a thing to be done; all else is.
        let open = overview.advice.iter().filter(|advice| !advice.contains("keys retire director"));
        assert_eq!(open.collect::<Vec<_>>(), Vec::<&String>::new(), "{heading}");
        assert_eq!(device.floors.root, overview.root, "{heading}");
        let three = overview.roles.iter().find(|role| role.role == "targets").unwrap();
        assert_eq!((three.threshold, three.keys.len()), (2, 3), "{heading}");
    }
}
