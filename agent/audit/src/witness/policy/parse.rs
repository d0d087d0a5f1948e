//! Reading a policy file, line by line, in bytes: beyond ASCII, names and comments are opaque.

use super::{Party, Policy, Rule};
use crate::VerifierKey;
use crate::checkpoint::decimal;
use crate::cosignature::CosignerKey;

/// Larger files are refused.
const MAX_POLICY_BYTES: usize = 256 * 1024;

/// More logs, or more witnesses and groups, are refused; the specification asks for 32 of each.
const MAX_DEFINITIONS: usize = 256;

/// The quorum that needs no cosignature; nothing else may be called so.
const NONE: &[u8] = b"none";

/// What is wrong with a policy, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the policy: {what}")]
pub struct PolicyError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// With the first line that is wrong.
    pub fn parse(file: &[u8]) -> Result<Self, PolicyError> {
        let whole = |what: &str| PolicyError { line: 1, what: what.to_owned() };
        if file.len() > MAX_POLICY_BYTES {
            return Err(whole("the file is too large"));
        }
        let mut reader = Reader::default();
        let mut last = 1;
        for (line, bytes) in (1..).zip(file.split_inclusive(|&byte| byte == b'\n')) {
            reader.line(bytes).map_err(|what| PolicyError { line, what })?;
            last = line;
        }
        let quorum = reader
            .quorum
            .ok_or_else(|| PolicyError { line: last, what: "the file ends without a `quorum` line".to_owned() })?;
        Ok(Self { logs: reader.logs, parties: reader.parties, quorum })
    }
}

#[derive(Default)]
struct Reader {
    logs: Vec<VerifierKey>,
    parties: Vec<Party>,
    /// Whether the party at this position is in a group already.
    is_member: Vec<bool>,
    quorum: Option<Option<usize>>,
}

impl Reader {
    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        let line = line.strip_suffix(b"\n").ok_or("it does not end in a newline")?;
        if line.iter().any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) {
            return Err("it holds a control character".to_owned());
        }
        let fields: Vec<&[u8]> =
            line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|field| !field.is_empty()).collect();
        match fields.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", key] | [b"log", key, _] => self.log(key),
            [b"witness", name, key] | [b"witness", name, key, _] => self.witness(name, key),
            [b"group", name, threshold, members @ ..] => self.group(name, threshold, members),
            [b"quorum", name] => self.quorum(name),
            [keyword, ..] => Err(match *keyword {
                b"log" => "it must be `log <key> [<url>]`".to_owned(),
                b"witness" => "it must be `witness <name> <key> [<url>]`".to_owned(),
                b"group" => "it must be `group <name> all|any|<number> <name>…`".to_owned(),
                b"quorum" => "it must be `quorum <name>`".to_owned(),
                other => format!("`{}` is not log, witness, group or quorum", shown(other)),
            }),
        }
    }

    fn log(&mut self, key: &[u8]) -> Result<(), String> {
        let key: VerifierKey = text(key)?.parse().map_err(|cause| format!("{cause}"))?;
        if self.logs.iter().any(|known| known.public() == key.public()) {
            return Err("another log has this key".to_owned());
        }
        if self.logs.len() >= MAX_DEFINITIONS {
            return Err(format!("more than {MAX_DEFINITIONS} logs"));
        }
        self.logs.push(key);
        Ok(())
    }

    fn witness(&mut self, name: &[u8], key: &[u8]) -> Result<(), String> {
        let key: CosignerKey = text(key)?.parse().map_err(|cause| format!("{cause}"))?;
        let has_key = |party: &Party| matches!(&party.rule, Rule::Witness(known) if known.public() == key.public());
        if self.parties.iter().any(has_key) {
            return Err("another witness has this key".to_owned());
        }
        self.define(name, Rule::Witness(key))
    }

    fn group(&mut self, name: &[u8], threshold: &[u8], names: &[&[u8]]) -> Result<(), String> {
        if names.is_empty() {
            return Err(format!("the group `{}` has no members", shown(name)));
        }
        let threshold = match threshold {
            b"all" => names.len(),
            b"any" => 1,
            number => decimal(text(number)?)
                .and_then(|number| usize::try_from(number).ok())
                .ok_or_else(|| format!("`{}` is not all, any or a number", shown(number)))?,
        };
        if threshold == 0 || threshold > names.len() {
            return Err(format!("{threshold} of {} members cannot be asked for", names.len()));
        }
        let mut members = Vec::with_capacity(names.len());
        for name in names {
            let member = self.find(name)?;
            if std::mem::replace(&mut self.is_member[member], true) {
                return Err(format!("`{}` is a member of a group already", shown(name)));
            }
            members.push(member);
        }
        self.define(name, Rule::Group { threshold, members })
    }

    fn quorum(&mut self, name: &[u8]) -> Result<(), String> {
        if self.quorum.is_some() {
            return Err("there is a `quorum` line already".to_owned());
        }
        self.quorum = Some(if name == NONE { None } else { Some(self.find(name)?) });
        Ok(())
    }

    fn define(&mut self, name: &[u8], rule: Rule) -> Result<(), String> {
        if name == NONE {
            return Err("nothing can be called `none`".to_owned());
        }
        if self.parties.iter().any(|party| party.name == name) {
            return Err(format!("`{}` is defined already", shown(name)));
        }
        if self.parties.len() >= MAX_DEFINITIONS {
            return Err(format!("more than {MAX_DEFINITIONS} witnesses and groups"));
        }
        self.parties.push(Party { name: name.to_owned(), rule });
        self.is_member.push(false);
        Ok(())
    }

    fn find(&self, name: &[u8]) -> Result<usize, String> {
        let position = self.parties.iter().position(|party| party.name == name);
        position.ok_or_else(|| format!("`{}` is not defined on a line before", shown(name)))
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| format!("`{}` is not text", shown(bytes)))
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
