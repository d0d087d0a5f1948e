//! A program of a few hundred bytes for tests: it says one thing and ends, in whichever way it is asked to.

use sha2::Digest;

use crate::build::{Candidate, OWN_TARGET};
use crate::format::FORMAT;
use crate::self_check::SelfCheck;

/// How it ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    /// With this code.
    Exit(u8),
    /// By an instruction that no processor has.
    Illegal,
    /// Never.
    Hang,
}

/// Where it is loaded, and what stands before its first instruction there.
const PLACE: u64 = 0x40_0000;
const HEADERS_BYTES: usize = 64 + 56;

/// The program that says `words`.
pub(crate) fn program(words: &str, end: End) -> Vec<u8> {
    let (machine, code) = code(words.len(), end);
    let bytes = (HEADERS_BYTES + code.len() + words.len()) as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // An executable for this machine, which begins behind its headers; one header of a segment at 64, no sections.
    for half in [2, machine, 1, 0] {
        file.extend(half.to_le_bytes());
    }
    for word in [PLACE + HEADERS_BYTES as u64, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    for half in [0, 0, 64, 56, 1, 64, 0, 0_u16] {
        file.extend(half.to_le_bytes());
    }
    // All of it is loaded, to be read and run.
    for half in [1, 0, 5, 0_u16] {
        file.extend(half.to_le_bytes());
    }
    for word in [0, PLACE, PLACE, bytes, bytes, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    [file, code, words.as_bytes().to_vec()].concat()
}

/// A build that says a version and passes its self-check.
pub(crate) fn build(version: &str) -> Vec<u8> {
    program(&says(version, FORMAT, None), End::Exit(0))
}

/// What a build answers.
pub(crate) fn says(version: &str, state_format: u32, fault: Option<&str>) -> String {
    let check = SelfCheck {
        version: version.to_owned(),
        target: OWN_TARGET.to_owned(),
        state_format,
        kernels: vec!["scalar".to_owned()],
        fault: fault.map(str::to_owned),
    };
    serde_json::to_string(&check).unwrap()
}

/// A build as somebody offers it who says nothing of it but its bytes.
pub(crate) fn offer(bytes: &[u8]) -> Candidate {
    let sha256 = outpost_contract::Sha256(sha2::Sha256::digest(bytes).into());
    Candidate { version: None, target: None, sha256, bytes: bytes.len() as u64 }
}

/// `write(1, words, length)`, then the end; the words stand behind it.
#[cfg(target_arch = "x86_64")]
fn code(length: usize, end: End) -> (u16, Vec<u8>) {
    let number = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let end = match end {
        End::Exit(code) => [&[0xb8][..], &number(60), &[0xbf], &number(code.into()), &[0x0f, 0x05]].concat(),
        End::Illegal => vec![0x0f, 0x0b],
        // `pause()`, again and again.
        End::Hang => [&[0xb8][..], &number(34), &[0x0f, 0x05, 0xeb, 0xf7]].concat(),
    };
    // The distance counts from behind the instruction that holds it.
    let distance = 5 + 2 + end.len();
    let write = [
        &[0xb8][..],
        &number(1),
        &[0xbf],
        &number(1),
        &[0x48, 0x8d, 0x35],
        &number(distance),
        &[0xba],
        &number(length),
        &[0x0f, 0x05],
    ];
    (62, [write.concat(), end].concat())
}

/// The same for the other processor.
#[cfg(target_arch = "aarch64")]
fn code(length: usize, end: End) -> (u16, Vec<u8>) {
    // `movz` of a small number into a register.
    let put = |register: u32, number: u32| 0xd280_0000 | number << 5 | register;
    const CALL: u32 = 0xd400_0001;
    let end = match end {
        End::Exit(code) => vec![put(0, code.into()), put(8, 93), CALL],
        End::Illegal => vec![0],
        // `ppoll` of nothing for ever, again and again.
        End::Hang => vec![put(0, 0), put(1, 0), put(2, 0), put(3, 0), put(8, 73), CALL, 0x17ff_fffa],
    };
    let distance = u32::try_from(4 + end.len()).unwrap();
    let length = u32::try_from(length).unwrap();
    // `adr` counts in steps of four bytes here.
    let write = vec![put(0, 1), 0x1000_0001 | distance << 5, put(2, length), put(8, 64), CALL];
    (183, [write, end].concat().into_iter().flat_map(u32::to_le_bytes).collect())
}
