//! Whether the log can be believed: what the verifier found, whose keys vouch for it, and how to check it again.

use std::collections::BTreeMap;

use super::bounded::Newest;
use super::page::{Cell, Page, grouped, many};
use super::seen::Seen;
use crate::VerifierKey;
use crate::consistency::StoredTree;
use crate::cosignature::CosignerKey;
use crate::note::Note;
use crate::verify::Report;
use crate::witness::{examine, note_in};

/// Problems beyond these are counted: `outpost audit verify` lists them.
const LISTED: usize = 25;

/// Witnesses beyond these are not told apart.
const WITNESSES: usize = 64;

/// What one witness said, by its lines in the log.
#[derive(Debug, Default)]
struct Said {
    lines: u64,
    verified: u64,
    size: u64,
    time_s: u64,
}

/// The cosignatures in the log.
#[derive(Debug)]
pub(super) struct Witnesses {
    by_name: BTreeMap<String, Said>,
    /// Records whose checkpoint is not one of this log, and why.
    rejected: Newest<(u64, String)>,
    pub(super) records: u64,
    keys: Vec<CosignerKey>,
}

impl Witnesses {
    pub(super) fn new(keys: &[CosignerKey]) -> Self {
        Self { by_name: BTreeMap::new(), rejected: Newest::new(LISTED), records: 0, keys: keys.to_vec() }
    }

    /// Looks at a `cosig` record; others are none of its business.
    pub(super) fn take(&mut self, seen: &Seen<'_>, tree: Option<&StoredTree<'_>>, log: Option<&VerifierKey>) {
        let Some(note) = note_in(seen.leaf) else { return };
        self.records += 1;
        let examined = match tree.zip(log) {
            Some((tree, log)) => examine(tree, seen.index, &note, log, &self.keys)
                .map_err(|error| error.to_string())
                .and_then(|examined| examined.map(|cosigned| (cosigned, log))),
            None => Err("the log names no key or no tree to hold it against".to_owned()),
        };
        let (cosigned, log) = match examined {
            Ok(examined) => examined,
            Err(cause) => return self.rejected.push((seen.index, cause)),
        };
        let Ok(note) = Note::parse(&note) else { return };
        for line in note.signatures.iter().filter(|line| line.name != log.name()) {
            let Some((time, _)) = line.bytes.split_first_chunk() else { continue };
            if self.by_name.len() >= WITNESSES && !self.by_name.contains_key(&line.name) {
                continue;
            }
            let said = self.by_name.entry(line.name.clone()).or_default();
            said.lines += 1;
            said.verified += u64::from(cosigned.time_s(&line.name).is_some());
            said.size = said.size.max(cosigned.checkpoint.size);
            said.time_s = said.time_s.max(u64::from_be_bytes(*time));
        }
    }

    pub(super) fn are_none(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Whether some record of cosignatures is not about this log's tree.
    pub(super) fn has_rejected(&self) -> bool {
        self.rejected.total() > 0
    }

    /// Names of witnesses with a line that verified by a key that was brought.
    pub(super) fn verified(&self) -> usize {
        self.by_name.values().filter(|said| said.verified > 0).count()
    }

    fn write(&self, page: &mut Page) {
        page.heading("Witnesses");
        if self.are_none() && !self.has_rejected() {
            return page.paragraph(
                "No witness has cosigned this log, as far as its own records say. Then nothing in this directory shows that \
                 it is not an old copy: compare its size with what you know from elsewhere.",
            );
        }
        let rows = self.by_name.iter().map(|(name, said)| {
            vec![
                Cell::HeadCode(name.clone()),
                Cell::Number(said.lines),
                Cell::Text(match said.verified {
                    0 => "not checked: no key of it was brought".to_owned(),
                    count if count == said.lines => "all verify".to_owned(),
                    count => format!("{} verify by the key that was brought", grouped(count)),
                }),
                Cell::Number(said.size),
                Cell::At(i64::try_from(said.time_s).ok().and_then(|time_s| time_s.checked_mul(1000))),
            ]
        });
        page.table(
            format_args!("Cosignatures in {} of the whole log", many(self.records, "record", "records")),
            &["Witness", "Cosignatures", "Checked", "Largest size it saw", "By its clock (UTC)"],
            rows.collect(),
            "",
        );
        for (index, cause) in self.rejected.iter() {
            page.element(
                "p",
                &[("class", &"bad")],
                format_args!("Record {index} holds a cosigned checkpoint that is not of this log: {cause}"),
            );
        }
    }
}

/// What is said of the check itself.
pub(super) struct Integrity<'a> {
    pub(super) verified: &'a Report,
    pub(super) witnesses: &'a Witnesses,
    /// The newest signed head, as it stands in the database.
    pub(super) head: Option<&'a str>,
    /// Whether the key came from the reader and not from beside the log.
    pub(super) key_was_brought: bool,
    pub(super) unreadable: u64,
    /// Where reading came to an end before the log did, and why.
    pub(super) cut_short: Option<&'a str>,
}

impl Integrity<'_> {
    /// The verdict, first of all and in words.
    pub(super) fn write_verdict(&self, page: &mut Page) {
        let (verified, found) = (self.verified, self.problems());
        if self.is_good() {
            page.markup("<div class=\"verdict good\" role=\"status\"><p><strong>✓ The log verifies.</strong> ");
            page.text(format_args!(
                "All {} were read and hashed, they lead to the root that is signed, and no signature, hash or index is wrong.",
                many(verified.records, "record", "records"),
            ));
        } else {
            page.markup("<div class=\"verdict bad\" role=\"alert\"><p><strong>✗ This log does NOT verify.</strong> ");
            page.text(format_args!(
                "{} found. Everything below is what its records say; do not rely on it before each of these is explained.",
                many(found, "problem was", "problems were"),
            ));
        }
        page.markup("</p>");
        if !self.is_good() {
            page.markup("<ul>");
            self.cut_short.iter().for_each(|cause| page.element("li", &[], cause));
            verified.problems.iter().take(LISTED).for_each(|problem| page.element("li", &[], problem));
            page.markup("</ul>");
            let further =
                (verified.problems.len().saturating_sub(LISTED) as u64).saturating_add(verified.further_problems);
            if further > 0 {
                page.paragraph(format_args!("And {} more: `outpost audit verify` lists them.", grouped(further)));
            }
        }
        page.markup("</div>\n");
        if !self.key_was_brought {
            page.element(
                "p",
                &[("class", &"verdict care")],
                "! The key that signatures were checked with lay beside the log. That shows damage, and not somebody who wrote \
                 the log anew under another key: compare the key below with the one that you were told at enrolment.",
            );
        }
    }

    pub(super) fn is_good(&self) -> bool {
        self.verified.is_ok() && self.unreadable == 0 && self.cut_short.is_none() && !self.witnesses.has_rejected()
    }

    fn problems(&self) -> u64 {
        let listed = self.verified.problems.len() as u64 + self.verified.further_problems;
        // A record that does not parse is among the verifier's problems already.
        listed.max(self.unreadable) + u64::from(self.cut_short.is_some()) + self.witnesses.rejected.total()
    }

    pub(super) fn write(&self, page: &mut Page, directory: &str) {
        let verified = self.verified;
        page.markup("<dl class=\"facts\">");
        let signed = verified
            .checkpoint_size
            .map_or_else(|| "no signed head".to_owned(), |size| many(size, "record", "records"));
        let source = if self.key_was_brought { "brought by the reader" } else { "from beside the log" };
        for (name, value, is_code) in [
            ("Log", &verified.origin, true),
            ("Records", &grouped(verified.records), false),
            ("Root (RFC 6962, SHA-256)", &verified.root_hex, true),
            ("Largest signed head", &signed, false),
            ("Signed checkpoints that verify", &grouped(verified.checkpoints as u64), false),
            ("Verifier key", &verified.verifier_key, true),
            ("Where the key is from", &source.to_owned(), false),
        ] {
            page.element("dt", &[], name);
            page.markup("<dd>");
            page.element(if is_code { "code" } else { "span" }, &[], if value.is_empty() { "none" } else { value });
            page.markup("</dd>");
        }
        page.markup("</dl>\n");
        self.witnesses.write(page);
        page.heading("Check it again, in three commands");
        page.paragraph("Save the signed head below as report.checkpoint, its last line with a line feed, and take the verifier key from where you were told it, as audit.vkey. Then:");
        page.markup("<ol class=\"commands\"><li>");
        page.element("code", &[], "outpost audit export --format tiles --out tiles");
        page.markup(" – whoever runs the device takes the whole log out, on record</li><li>");
        page.element("code", &[], "outpost audit verify tiles --key audit.vkey --checkpoint report.checkpoint");
        page.markup(" – checks it, and that it begins with the log of this report</li><li>");
        page.element("code", &[], "python3 verify.py tiles tiles --key audit.vkey");
        page.markup(" – a second opinion: two hundred lines of Python that share nothing with the program (tests/peers/audit)</li></ol>\n");
        page.note(format_args!("This report was made from `{directory}`. A log that has gone on since then has more records and another root; it must still begin with this one."));
        match self.head {
            Some(head) => page.element("pre", &[("aria-label", &"Signed head of the log")], head),
            None => page.paragraph("The log holds no signed head."),
        }
        page.note(
            "What no check of a log shows: that it is the newest copy (witnesses and earlier checkpoints do), that everything \
             that happened was recorded (that is what the program promises: nothing is answered that cannot be recorded), and \
             who a pseudonym is (names are not in the log).",
        );
    }
}
